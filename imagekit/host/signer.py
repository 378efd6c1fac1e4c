"""A key that a program has: a PKCS#11 token, an HSM or a KMS stands behind it, and only signatures come out.

The program is started as a list of arguments, without a shell. It gets one line of JSON on its standard input, and
answers one line on its standard output (docs/reference/keys.md has the contract):

    {"imagekit-signer": 1, "key_id": ..., "algorithm": "rsa-pkcs1v15-sha512", "digest": hex, "digest_info": base64,
     "what": ...}
    {"signature": base64}    or    {"error": text}

Standard error and the controlling terminal are the user's, so that a program can ask for a PIN at /dev/tty. Decides how
long it may take and how much it may say; it is never asked twice. Whether its signature is one is decided in
`imagekit.keys.sign_content`, before anybody gets to see it.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import selectors
import shlex
import shutil
import signal
import stat
import subprocess
import termios
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagekit.assertions.wire import printable
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.files import reason
from imagekit.host.tools import SYSTEM_PATH
from imagekit.keys import PublicKey

VERSION = 1
ALGORITHM = "rsa-pkcs1v15-sha512"
DIGEST_INFO = bytes.fromhex("3051300d060960864801650304020305000440")  # RFC 8017, 9.2 note 1: before the digest
TIMEOUT_S = 120.0  # somebody may have to find a token and type a PIN
LONGEST_TIMEOUT_S = 3600.0
MAX_ANSWER = 64 * 1024
MAX_WHAT = 200
CONTRACT = "docs/reference/keys.md says what is asked of it"
_POLL_S, _GRACE_S = 0.05, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How a signing program is started. Nothing in it is secret."""

    argv: tuple[str, ...]
    timeout_s: float = TIMEOUT_S

    def encode(self) -> bytes:
        """The content of `NAME.signer`."""
        shown = {"imagekit-signer": VERSION, "argv": list(self.argv), "timeout_s": self.timeout_s}
        return json.dumps(shown, indent=2).encode() + b"\n"

    def found(self) -> str:
        """The path of the program.

        Raises:
            HostError: it is not there, or may not be run.
            TrustError: everybody may write to it.
        """
        name = self.argv[0]
        folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder.startswith("/")]
        found = shutil.which(name, path=":".join((*folders, SYSTEM_PATH)))
        if found is None:
            raise HostError(f"cannot run signing program {name}: it is not there, or may not be run",
                            hint="install it, or give the key another one: imagekit key add")
        mode = Path(found).stat().st_mode
        if mode & stat.S_IWOTH:
            raise TrustError(f"cannot run signing program {found}: everybody may write to it (mode"
                             f" {stat.S_IMODE(mode):04o})", hint=f"chmod o-w {found}, after a look at what is in it")
        return found


def program_from(command: str, *, timeout_s: float = TIMEOUT_S) -> Program:
    """The program of a command line in the words of a shell; a path in it is made absolute.

    Raises:
        UsageError: it is no command line, or the time makes no sense.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"cannot use signing program {command!r}: {str(error).lower()}") from error
    if not words or any("\0" in word for word in words):
        raise UsageError(f"cannot use signing program {command!r}: a program, and perhaps arguments, are expected")
    if not 0 < timeout_s <= LONGEST_TIMEOUT_S:
        raise UsageError(f"cannot wait {timeout_s:g} s for a signing program: more than 0, at most"
                         f" {LONGEST_TIMEOUT_S:g} s are allowed")
    if "/" in words[0]:
        words[0] = str(Path(words[0]).expanduser().absolute())
    return Program(argv=tuple(words), timeout_s=timeout_s)


def parse_program(raw: bytes, *, name: str) -> Program:
    """Read the content of `NAME.signer`. Raises: DocumentError: it is none."""
    try:
        value = json.loads(raw)
        version, argv, timeout_s = value["imagekit-signer"], value["argv"], float(value["timeout_s"])
        if version != VERSION:
            raise DocumentError(f"cannot read {name}: version {version!r}, only {VERSION} is known")
        if not (isinstance(argv, list) and argv and all(isinstance(word, str) and "\0" not in word for word in argv)
                and 0 < timeout_s <= LONGEST_TIMEOUT_S):
            raise ValueError
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise DocumentError(f"cannot read {name}: it does not say how a signing program is started") from error
    return Program(argv=tuple(argv), timeout_s=timeout_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalKey:
    """A `Signer` that asks a program."""

    public: PublicKey
    program: Program

    def sign_digest(self, digest: bytes, *, what: str) -> bytes:
        """
        Raises:
            HostError: the program is missing, fails, hangs, or answers what cannot be understood.
            TrustError: its answer has not the length of a signature by this key.
        """
        request = {"imagekit-signer": VERSION, "key_id": self.public.key_id, "algorithm": ALGORITHM,
                   "digest": digest.hex(), "digest_info": base64.b64encode(DIGEST_INFO + digest).decode(),
                   "what": printable(what)[:MAX_WHAT]}
        status, answer = _converse(self.program, json.dumps(request).encode() + b"\n", what)
        signature = _signature(self.program, status, answer, what)
        size = (self.public.bits + 7) // 8
        if len(signature) != size:
            raise TrustError(f"cannot sign {what}: signing program {self.program.argv[0]} gave {len(signature)} bytes,"
                             f" a signature of this key has {size}")
        return signature


def _signature(program: Program, status: int, answer: bytes, what: str) -> bytes:
    about = f"cannot sign {what}: signing program {program.argv[0]}"
    value: object = None
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(answer)
    if isinstance(value, dict) and isinstance(value.get("error"), str):
        raise HostError(f"{about} refused: {printable(value['error'])[:500]}")
    if status:
        how = f"exit status {status}" if status > 0 else f"signal {-status}"
        raise HostError(f"{about} failed with {how}", hint=CONTRACT)
    if not isinstance(value, dict) or not isinstance(value.get("signature"), str):
        raise HostError(f"{about} gave an answer that cannot be understood ({len(answer)} bytes)", hint=CONTRACT)
    try:
        return base64.b64decode(value["signature"], validate=True)
    except ValueError as error:
        raise HostError(f"{about} gave a signature that is no base64", hint=CONTRACT) from error


def _converse(program: Program, request: bytes, what: str) -> tuple[int, bytes]:
    """Start the program, hand it the request, and take its answer: exit status and what it wrote."""
    about = f"cannot sign {what}: signing program {program.argv[0]}"
    settings = _terminal_settings()  # before it runs: it may switch the echo off at once
    try:
        process = subprocess.Popen(program.argv, executable=program.found(), bufsize=0, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE)
    except OSError as error:
        raise HostError(f"{about} cannot be started: {reason(error)}") from error
    try:
        return _answer(process, request, program.timeout_s, about)
    except BaseException:  # Ctrl-C too: it does not outlive us, nor does what it started
        _end(process)
        _restore_terminal(settings)
        raise
    finally:
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def _answer(process: subprocess.Popen[bytes], request: bytes, timeout_s: float, about: str) -> tuple[int, bytes]:
    assert process.stdin is not None and process.stdout is not None
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(BrokenPipeError):  # it need not read; a line fits into the pipe's buffer
        process.stdin.write(request)
    process.stdin.close()
    answer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while time.monotonic() < deadline:
            if selector.select(_POLL_S):
                chunk = os.read(process.stdout.fileno(), MAX_ANSWER)
                answer += chunk
                if len(answer) > MAX_ANSWER:
                    raise HostError(f"{about} says more than {MAX_ANSWER} bytes", hint=CONTRACT)
                if not chunk:
                    break
            elif process.poll() is not None:
                break  # it has ended; what it has left behind in its place still holds the pipe
    try:
        return process.wait(max(0.0, deadline - time.monotonic())), answer
    except subprocess.TimeoutExpired as error:
        raise HostError(f"{about} did not end within {timeout_s:g} s",
                        hint="give it longer: imagekit key add --timeout SECONDS") from error


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a program and all that it has started: a script's token tool would go on waiting for its PIN."""
    handles = []
    for pid in (process.pid, *_below(process.pid)):
        with contextlib.suppress(OSError):
            handles.append(os.pidfd_open(pid))
    try:
        _signal_all(handles, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
    finally:
        _signal_all(handles, signal.SIGKILL)
        process.wait()
        for handle in handles:
            select.select([handle], [], [], _GRACE_S)  # readable once it has ended (pidfd_open(2))
            os.close(handle)


def _below(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that these have (proc(5))."""
    with contextlib.suppress(OSError):
        for listing in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, listing.read_text().split()):
                yield child
                yield from _below(child)


def _signal_all(handles: list[int], number: signal.Signals) -> None:
    for handle in handles:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, number)


def _terminal_settings() -> list[object] | None:
    """Those of the controlling terminal: who asks for a PIN switches its echo off, and may be ended in the middle."""
    with contextlib.suppress(OSError, termios.error), Path("/dev/tty").open("rb", buffering=0) as terminal:
        return list(termios.tcgetattr(terminal))
    return None


def _restore_terminal(settings: list[object] | None) -> None:
    if settings is None:
        return
    with contextlib.suppress(OSError, termios.error), Path("/dev/tty").open("rb", buffering=0) as terminal:
        termios.tcsetattr(terminal, termios.TCSADRAIN, settings)  # type: ignore[arg-type]  # tcgetattr's own list
