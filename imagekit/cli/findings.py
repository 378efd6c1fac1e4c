"""Findings in documents, told: lines that other programs understand, the source on a terminal, and JSON.

Decides how problems and warnings of a document look, whatever its format; the commands that check say what is one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imagekit.cli.output import console, drawn, emit_json, say, write, write_report
from imagekit.errors import DocumentError
from imagekit.schema import Problem, dotted

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a check of one document found; `remark` says by which rules, `more` is what its JSON has besides."""

    name: str
    text: bytes
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    remark: str
    more: dict[str, Any]


def report(found: Sequence[Findings], *, what: str, strict: bool, output: Path | None, as_json: bool) -> None:
    """Tell the findings in all documents, and write them as JSON to `output`, if one is named.

    Raises:
        DocumentError: there are problems, or with `strict` warnings. `what` is the word for several documents.
    """
    document = {"files": [_json(item, strict=strict) for item in found]}
    write_report(document, output)
    if as_json:
        emit_json(document)
    else:
        for item in found:
            _tell(item)
    bad = [item for item in found if item.problems or (strict and item.warnings)]
    if bad:
        count = sum(len(item.problems) + (len(item.warnings) if strict else 0) for item in bad)
        raise DocumentError(f"cannot use {bad[0].name if len(bad) == 1 else f'{len(bad)} {what}'}:"
                            f" {count} problem{'s' if count > 1 else ''}")


def _json(item: Findings, *, strict: bool) -> dict[str, Any]:
    return {"file": item.name, **item.more, "ok": not item.problems and not (strict and item.warnings),
            "problems": [_problem_json(problem) for problem in item.problems],
            "warnings": [_problem_json(problem) for problem in item.warnings]}


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {"file": problem.name, "line": problem.line, "path": dotted(problem.path),
            "rule": problem.rule.id if problem.rule else None, "text": problem.text}


def _tell(item: Findings) -> None:
    """One document for people: lines that other programs understand, or with its source on a terminal."""
    if drawn(sys.stdout):
        console().print(_drawing(item), soft_wrap=True)
    else:
        for problem in item.problems:
            write(str(problem))
        for problem in item.warnings:
            write(f"{problem.name}:{problem.line}: {dotted(problem.path)}: warning: {problem.text}")
    say(f"{item.name}: {_count(item.problems, 'problem')}, {_count(item.warnings, 'warning')} ({item.remark})")


def _count(found: Sequence[Problem], what: str) -> str:
    return f"{len(found) or 'no'} {what}{'' if len(found) == 1 else 's'}"


def _drawing(item: Findings) -> Text:
    """Each problem with its line of the document and a mark below what it is about."""
    from rich.text import Text

    lines = item.text.decode("utf-8", "replace").split("\n")
    text = Text()
    for problem, style, word in (*((problem, "bold red", "error") for problem in item.problems),
                                 *((problem, "bold yellow", "warning") for problem in item.warnings)):
        text.append(f"{word}", style=style)
        text.append(f": {problem.text}", style="bold")
        text.append(f" [{problem.rule.id}]\n" if problem.rule else "\n", style="dim")
        text.append(f"  --> {problem.name}:{problem.line}: {dotted(problem.path)}\n", style="cyan")
        row = lines[problem.line - 1].rstrip("\r") if problem.line <= len(lines) else ""
        shown = "".join(letter if letter.isprintable() else " " for letter in row[:200])
        start, width = mark(shown, problem)
        number = str(problem.line)
        text.append(f"  {number} | ", style="dim")
        text.append(f"{shown}\n")
        text.append(f"  {' ' * len(number)} | ", style="dim")
        text.append(" " * start + "^" * width + "\n\n", style=style)
    return text


def mark(row: str, problem: Problem) -> tuple[int, int]:
    """Where in its line a problem is: the key it ends in, or all of the line; column and width."""
    start = len(row) - len(row.lstrip())
    for part in reversed(problem.path):
        found = re.search(rf"(?<![\w-]){re.escape(part)}(?=[\"']?\s*:)", row) if isinstance(part, str) else None
        if found is not None:
            return found.start(), found.end() - found.start()
    return start, max(len(row.strip()), 1)
