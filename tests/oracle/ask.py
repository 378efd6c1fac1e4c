"""Asking the oracle: requests in, answers out, many at a time.

A request is what `program/main.go` documents, with bytes in place of base64 texts. One process answers all requests of
a call; should the library take the whole process down, the request that did it is answered with `crashed` and the rest
are asked anew.
"""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Request = Mapping[str, Any]
Answer = dict[str, Any]

TIMEOUT_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Oracle:
    """snapd's judgement, of one version."""

    suite: str
    version: str
    program: Path

    def ask(self, request: Request) -> Answer:
        return self.ask_all([request])[0]

    @contextmanager
    def converse(self) -> Iterator[Conversation]:
        """One process for many questions, each of which may depend on the answer before it."""
        with subprocess.Popen([self.program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            yield Conversation(process)
            assert process.stdin
            process.stdin.close()

    def ask_all(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers, in the order of the requests. Raises: AssertionError: a request was not understood."""
        answers: list[Answer] = []
        while len(answers) < len(requests):
            lines = [json.dumps(plain(request)) for request in requests[len(answers):]]
            done = subprocess.run([self.program], input="\n".join(lines) + "\n", capture_output=True, text=True,
                                  check=False, timeout=TIMEOUT_S)
            answers += [json.loads(line) for line in done.stdout.splitlines()]
            if done.returncode and len(answers) < len(requests):
                last = done.stderr.splitlines()[0] if done.stderr else f"status {done.returncode}"
                answers.append({"verdict": "crashed", "error": last})
            elif not done.returncode:
                assert len(answers) == len(requests), "an answer is missing"
        for request, answer in zip(requests, answers, strict=True):
            assert answer["verdict"] != "misused", f"{request['op']}: {answer['error']}"
        return answers


class Conversation:
    """A running oracle that is asked one thing at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, request: Request) -> Answer:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(plain(request)) + "\n")
        self._process.stdin.flush()
        answer: Answer = json.loads(self._process.stdout.readline())
        assert answer["verdict"] != "misused", answer["error"]
        return answer


def plain(value: Any) -> Any:
    """`value` for JSON: bytes as base64, mappings and tuples as what JSON has."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
