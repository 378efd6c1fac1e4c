"""U-Boot's console over a serial line: stop the autoboot, find the prompt, run a command, know what it said.

Decides when a line was typed and when a command has ended. A line is typed a few characters at a time, each waited for
in the echo, so that nothing overruns and nothing but what was meant is ever entered; a garbled line is taken back and
typed again. What a command says stands between two markers that are quoted apart where they are typed, so that the echo
cannot be taken for them. A command whose end is not heard is run again: only such may be run that can be.

What U-Boot has for a prompt is the board's (`packages.board.UBoot`).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from imagekit.errors import TargetError
from imagekit.host.ports import Clock, SerialLine
from imagekit.packages.board import UBoot

CTRL_C = b"\x03"
ENTER = b"\r"
RUN = 16  # characters that are typed before their echo is waited for: less than any receiver's buffer
LONGEST = 240  # a line; U-Boot takes 256 characters where it is built with the least
NOISY = "is the line noisy? try a shorter or better cable, or a lower rate"
CLEAR = "UUUU0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,:_+-=UUUU"  # U: every bit changes
KEYS_LEAST, KEYS_MOST = 3, 40  # that shall stop the autoboot: one may be lost, and a countdown takes ten seconds
KEPT = 4000  # characters of the conversation that are shown when it fails

_CONTROLS = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[78])|[\x00\x07]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long is waited, in seconds, and how often a line is typed."""

    echo_s: float = 2.0
    answer_s: float = 10.0
    quiet_s: float = 0.3  # nothing comes for so long: it has finished speaking
    key_s: float = 0.3  # between two keys that shall stop the autoboot
    tries: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command said, without what was typed, and its status."""

    text: str
    status: int


class GarbledError(TargetError):
    """What came back is not what was typed, or the end of an answer did not come."""


class Console:
    """A U-Boot that is spoken with. `heard` gets everything that the board says."""

    def __init__(self, line: SerialLine, board: UBoot, clock: Clock, *, patience: Patience | None = None,
                 heard: Callable[[bytes], None] = lambda _: None) -> None:
        self.line, self.board, self.patience = line, board, patience or Patience()
        self._clock, self._heard = clock, heard
        self._said = bytearray()
        self._number = 0
        self._rest = ""  # what came with an awaited text, behind it

    # ---- hearing

    def hear(self, timeout_s: float) -> bytes:
        """What comes next; nothing when nothing does."""
        got = self.line.read(timeout_s)
        if got:
            self._heard(got)
            self._said += got
            del self._said[:-KEPT]
        return got

    def drain(self) -> bytes:
        """Hear it out, until it is quiet."""
        got = bytearray()
        while more := self.hear(self.patience.quiet_s):
            got += more
        return bytes(got)

    def _until(self, pattern: str, timeout_s: float) -> re.Match[str]:
        """Hear until the text has `pattern`. Raises: GarbledError: it does not come in time."""
        text, end = "", self._clock.monotonic_s() + timeout_s
        while True:
            left = end - self._clock.monotonic_s()
            got = self.hear(max(min(left, 1.0), 0.0))
            text += got.decode("latin-1")
            plain = _CONTROLS.sub("", text)
            if found := re.search(pattern, plain):
                self._rest = plain[found.end():]
                return found
            if left <= 0:
                raise GarbledError(f"cannot hear the board: it did not answer within {timeout_s:g} s",
                                   details=self.last_words())

    def last_words(self) -> tuple[str, ...]:
        """The last lines of the conversation, for an error's details."""
        text = _CONTROLS.sub("", self._said.decode("latin-1")).replace("\r", "\n")
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        return tuple(f"board: {ascii(line)[1:-1][:160]}" for line in lines[-8:])

    # ---- the prompt

    def catch(self, timeout_s: float, *, away: int | None = None) -> None:
        """Come to the prompt: of a board that waits at it, or of one that is switched on in the meantime.

        It may wait at the rate `away`, where a run has left it that could not bring it back: then we are there too.

        Raises:
            TargetError: there is none within `timeout_s`.
        """
        end = self._clock.monotonic_s() + timeout_s
        self.line.write(CTRL_C)  # where it waits already, this asks for the prompt and enters nothing
        text = ""
        while (left := end - self._clock.monotonic_s()) > 0:
            got = self.hear(min(left, self.patience.key_s))
            if not got and away is not None:  # it says nothing, so nothing is missed
                if self._waits_at(away):
                    return
                away = None
            text = (text + got.decode("latin-1"))[-KEPT:]
            plain = _CONTROLS.sub("", text)
            if plain.endswith(self.board.prompt) and self._is_prompt():
                return
            if self.board.interrupt in plain:
                self._interrupt()
                text = ""
                self.line.write(CTRL_C)
        raise TargetError(f"cannot reach U-Boot on {self.line.name}: no prompt {self.board.prompt.strip()!r} within"
                          f" {timeout_s:g} s", details=self.last_words(),
                          hint="was it left at another rate? --raise-to or --baud as it was then; else switch the board"
                               " off and on again while this waits; are the wires crossed (its TX to our RX)?")

    def _waits_at(self, away: int) -> bool:
        """Whether it waits at another rate; then that is ours. Short, since it may be switched on meanwhile."""
        before = self.line.baud
        if not self._line_can(away):
            return False
        self.line.set_baud(away)
        for _ in range(2):  # the first may be lost in what the board heard at the wrong rate
            self.line.write(CTRL_C)
            said = _CONTROLS.sub("", self.drain().decode("latin-1"))
            if said.endswith(self.board.prompt) and self._is_prompt():
                return True
        self.line.set_baud(before)
        return False

    def _interrupt(self) -> None:
        """Press the key, not too fast, until the prompt comes; a few times at least, where it goes on instead."""
        said = ""
        for pressed in range(1, KEYS_MOST + 1):
            self.line.write(self.board.key.encode())
            end = self._clock.monotonic_s() + self.patience.key_s
            while (left := end - self._clock.monotonic_s()) > 0 and not said.endswith(self.board.prompt):
                said += self.hear(left).decode("latin-1")
            if said.endswith(self.board.prompt) or ("\n" in said and pressed >= KEYS_LEAST):
                break
        self.drain()

    def _is_prompt(self) -> bool:
        """Whether it runs a command, once."""
        self.drain()
        try:
            self._say("true", self.patience.answer_s)
        except GarbledError:
            self._take_back()
            return False
        return True

    def _take_back(self) -> None:
        """Leave whatever was typed or runs, and come back to an empty line."""
        self.line.write(CTRL_C)
        self.drain()

    # ---- commands

    def run(self, command: str, *, timeout_s: float | None = None) -> Answer:
        """Run a command that may be run again, and return what it said.

        Raises:
            TargetError: nothing that can be understood came back, however often it was asked.
        """
        for left in reversed(range(self.patience.tries)):
            try:
                return self._say(command, timeout_s or self.patience.answer_s)
            except GarbledError as error:
                self._take_back()
                if not left:
                    raise TargetError(f"cannot run {command!r} on the board: {error.message.partition(': ')[2]}",
                                      details=error.details, hint=NOISY) from error
        raise AssertionError("no try is left")

    def must(self, command: str, *, timeout_s: float | None = None) -> str:
        """Run a command that must succeed; what it said. Raises: TargetError: it failed, or as `run`."""
        answer = self.run(command, timeout_s=timeout_s)
        if answer.status:
            raise TargetError(f"cannot run {command!r} on the board: it failed with status {answer.status}",
                              details=tuple(f"board: {line}" for line in answer.text.splitlines()[-8:]))
        return answer.text

    @contextlib.contextmanager
    def dialogue(self, command: str, ready: str, *, timeout_s: float | None = None) -> Iterator[None]:
        """Start a command that then speaks with its caller over the same line; `ready` is what it says first.

        When the block ends the command must have ended too. Raises: GarbledError: it did not say so, or has not ended.
        """
        limit = timeout_s or self.patience.answer_s
        end = self._enter(command)
        try:
            self._until(ready, limit)
            yield
            self._until(end, limit)
            self.drain_prompt()
        except BaseException:
            self._take_back()
            raise

    def change_baud(self, baud: int) -> bool:
        """Go on at another rate; False: line or board cannot, and all is as before, as after Ctrl-C.

        Raises:
            TargetError: the board has gone over to it and cannot be heard there, nor at the old one: it must be reset.
        """
        before = self.line.baud
        if not self._line_can(baud):
            return False
        self.run("true")  # nothing is left to be heard
        try:
            end = self._enter(f"setenv baudrate {baud}")
            if "Switch" not in self._until(rf"Switch baudrate to {baud} |{end}", self.patience.answer_s)[0]:
                self.drain()
                return False
            self.drain()
            self.line.set_baud(baud)
            if self._arrives(end) and self._is_clear():
                return True
        except GarbledError:
            pass  # whether it has gone over is not known
        except BaseException:
            with contextlib.suppress(TargetError):
                self.go_back(before, away=baud)
            raise
        if self.go_back(before, away=baud):
            return False
        raise TargetError(f"cannot go on at {baud} baud: the board has gone over to it, and cannot be heard",
                          details=self.last_words(), hint="switch the board off and on; leave the rate as it was")

    def _line_can(self, baud: int) -> bool:
        """Whether our end can have a rate, found while the board still has the old one."""
        before = self.line.baud
        try:
            self.line.set_baud(baud)
        except TargetError:
            return False
        finally:
            self.line.set_baud(before)
        return True

    def _arrives(self, end: str) -> bool:
        """Press ENTER at the new rate until the board says that it has heard it."""
        for _ in range(self.patience.tries):
            self.line.write(ENTER)
            try:
                self._until(end, self.patience.echo_s / 2)
            except GarbledError:
                continue
            self.drain()
            return True
        return False

    def _is_clear(self) -> bool:
        """Whether the line carries all that a terminal shows, without a mistake."""
        try:
            return all(self._say(f"echo {CLEAR}", self.patience.answer_s).text == CLEAR for _ in range(4))
        except GarbledError:
            self._take_back()
            return False

    def go_back(self, baud: int, *, away: int) -> bool:
        """Bring both ends to the rate `baud`, of a board that is at `away` or there already, whatever it was doing.

        However badly `away` carries. False: it cannot be heard, at either.
        """
        self.line.set_baud(away)
        for _ in range(self.patience.tries):
            try:
                self._wake()
                self._enter(f"setenv baudrate {baud}")
                self._until(rf"Switch baudrate to {baud} ", self.patience.echo_s)
            except GarbledError:
                continue
            break
        self.line.set_baud(baud)
        self.drain()
        for _ in range(self.patience.tries):
            self._wake()
            if self._is_clear():
                return True
        return False

    def _wake(self) -> None:
        """Come to an empty line, also where it waits for ENTER at a new rate. A mere ENTER may repeat a command."""
        self._take_back()
        self.line.write(b"true" + ENTER)
        self.drain()

    def _say(self, command: str, timeout_s: float) -> Answer:
        end = self._enter(command)
        found = self._until(rf"(?s)ik{self._number:x}b\r?\n(.*?){end}", timeout_s)
        self.drain_prompt()
        return Answer(text=found[1].replace("\r\n", "\n").strip("\n"), status=int(found[2]))

    def drain_prompt(self) -> None:
        """Hear the prompt that follows an answer; a lost one is missed by nobody."""
        end, text = self._clock.monotonic_s() + self.patience.quiet_s, self._rest
        while not text.endswith(self.board.prompt) and self._clock.monotonic_s() < end:
            text += self.hear(self.patience.quiet_s).decode("latin-1")

    def _enter(self, command: str) -> str:
        """Type a command between its markers, and enter it; the pattern of its end, with the status as a group."""
        self._number = (self._number + 1) % 0x1000
        name = f"{self._number:x}"
        typed = f'echo ik""{name}b; {command}; echo ik""{name}e$?'
        if len(typed) > LONGEST:
            raise ValueError(f"a line of {len(typed)} characters: {command}")
        self._type(typed)
        self.line.write(ENTER)
        return rf"ik{name}e(\d+)\r?\n"

    def _type(self, text: str) -> None:
        """Type, and see it in the echo. Raises: GarbledError: something else came back."""
        for start in range(0, len(text), RUN):
            piece = text[start:start + RUN]
            self.line.write(piece.encode("ascii"))
            seen, end = "", self._clock.monotonic_s() + self.patience.echo_s
            while seen != piece:
                left = end - self._clock.monotonic_s()
                seen = _CONTROLS.sub("", seen + self.hear(max(min(left, 1.0), 0.0)).decode("latin-1"))
                if not piece.startswith(seen) or (left <= 0 and seen != piece):
                    raise GarbledError(f"cannot type on the board's console: {piece!r} came back as {seen!r}",
                                       details=self.last_words())
