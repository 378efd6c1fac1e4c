"""The console driver against a scripted board on a pty: one that says what U-Boot says, and a line that is bad."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.errors import TargetError
from imagekit.flash.console import Console, Patience
from imagekit.host.clock import SystemClock
from imagekit.host.ports import SerialLine
from imagekit.packages.board import UBoot
from imagekit.testing.ymodem import FaultyLine, Kind
from tests.patience import patience
from tests.unit.flash.ptys import Far, line_of_its_own

BOARD = UBoot(prompt="=> ", interrupt="Hit any key to stop autoboot", key=" ", baud=115200, address=0x1000,
              room=1 << 20, disk="mmc 0")
QUICK = Patience(echo_s=0.3, answer_s=0.6, quiet_s=0.02, key_s=0.02, tries=40)
ANSWERS = {"version": "U-Boot 2025.01", "true": "", "crc32 1000 10": "crc32 for 1000 ... 100f ==> 89abcdef"}


class Scripted:
    """A U-Boot's console: its banner, its line editor, `echo`, and commands that answer from a table."""

    def __init__(self, line: SerialLine, answers: Mapping[str, str], *, banner: str = "", prompt: str = "=> ") -> None:
        self._line, self._answers, self._over = line, answers, threading.Event()
        self.entered: list[str] = []
        self._banner, self._prompt = banner, prompt
        self.counting = bool(banner)
        self.deaf = 0  # keys that are not heard while it counts

    def run(self) -> None:
        self._line.write(self._banner.encode())
        typed = ""
        while not self._over.is_set():
            for code in self._line.read(0.02):
                character = chr(code)
                if self.counting and character == " " and self.deaf:
                    self.deaf -= 1
                    self._line.write(b"\b\b\b 1 ")
                elif self.counting:
                    self.counting = character != " "
                    if not self.counting:
                        self._line.write(f"\r\n{self._prompt}".encode())
                elif character == "\x03":
                    typed = ""
                    self._line.write(f"<INTERRUPT>\r\n{self._prompt}".encode())
                elif character == "\r":
                    self.entered.append(typed)
                    self._line.write(f"\r\n{self._answer(typed)}{self._prompt}".encode())
                    typed = ""
                elif character.isprintable():
                    typed += character
                    self._line.write(character.encode())

    def _answer(self, typed: str) -> str:
        said, status = "", 0
        for command in filter(None, typed.split("; ")):
            if found := re.fullmatch(r"echo (.*)", command):
                said += found[1].replace('""', "").replace("$?", str(status)) + "\r\n"
            elif command in self._answers:
                said += self._answers[command] + "\r\n"
            else:
                said, status = said + f"Unknown command '{command}'\r\n", 1
        return said

    def end(self) -> None:
        self._over.set()


@contextmanager
def spoken_with(*, banner: str = "", ours: Callable[[SerialLine], SerialLine] = lambda line: line,
                theirs: Callable[[Far], SerialLine] = lambda line: line,
                wait: Patience = QUICK) -> Iterator[tuple[Console, Scripted]]:
    with patience(waits=True), line_of_its_own() as (near, far):
        board = Scripted(theirs(far), ANSWERS, banner=banner)
        thread = threading.Thread(target=board.run)
        thread.start()
        try:
            yield Console(ours(near), BOARD, SystemClock(), patience=wait), board
        finally:
            board.end()
            thread.join()


def test_autoboot_is_stopped() -> None:
    with spoken_with(banner="U-Boot 2025.01\r\nHit any key to stop autoboot:  2 ") as (console, board):
        console.catch(30)
        assert not board.counting
        assert console.must("version") == "U-Boot 2025.01"


def test_autoboot_is_stopped_before_the_board_is_looked_for_at_another_rate() -> None:
    with spoken_with(banner="U-Boot 2025.01\r\nHit any key to stop autoboot:  2 ",
                     wait=replace(QUICK, key_s=2.0)) as (console, board):
        console.catch(30, away=921600)
        assert not board.counting
        assert console.line.baud == 115200


def test_autoboot_of_a_board_that_misses_keys_is_stopped_while_it_counts() -> None:
    with spoken_with(banner="U-Boot 2025.01\r\nHit any key to stop autoboot:  9 ") as (console, board):
        board.deaf = 12
        console.catch(30)
        assert not board.counting


def test_board_that_waits_at_its_prompt_is_asked_nothing_it_would_do_again() -> None:
    with spoken_with() as (console, board):
        console.catch(30)
        assert [line for line in board.entered if "echo" not in line] == []


def test_failure_tells_the_status_and_what_was_said() -> None:
    with spoken_with() as (console, _):
        assert console.run("gzwrite").status == 1
        with pytest.raises(TargetError, match="failed with status 1") as caught:
            console.must("gzwrite")
        assert caught.value.details == ("board: Unknown command 'gzwrite'",)


def test_silence_is_told_with_its_time() -> None:
    with line_of_its_own() as (near, _):
        console = Console(near, BOARD, SystemClock(), patience=QUICK)
        with pytest.raises(TargetError, match=r"no prompt '=>' within 0\.1 s") as caught:
            console.catch(0.1, away=921600)
        assert near.baud == 115200
        assert "switch the board off and on" in str(caught.value.hint)


def test_command_that_never_ends_is_given_up() -> None:
    with (spoken_with(theirs=Deaf, wait=Patience(echo_s=0.1, answer_s=0.1, quiet_s=0.02, tries=2)) as (console, _),
          pytest.raises(TargetError, match="cannot run 'version' on the board")):
        console.run("version")


class Deaf(FaultyLine):
    """A board that hears all and is heard by nobody."""

    def __init__(self, under: SerialLine) -> None:
        super().__init__(under=under)

    def write(self, content: bytes) -> None:
        self.sent += len(content)


def test_a_line_too_long_is_a_bug_of_the_caller() -> None:
    with spoken_with() as (console, _), pytest.raises(ValueError, match="a line of"):
        console.run("x" * 300)


STEPS = st.lists(st.tuples(st.integers(1, 90), st.sampled_from([Kind.LOSE, Kind.DOUBLE, Kind.CHANGE])), max_size=5)


def placed(steps: list[tuple[int, Kind]]) -> dict[int, Kind]:
    at, found = 0, {}
    for step, kind in steps:
        at += step
        found[at] = kind
    return found


@given(steps=STEPS, back=st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_nothing_but_what_was_meant_is_entered_on_a_bad_line(steps: list[tuple[int, Kind]], back: bool) -> None:
    """In one direction at a time: two faults that undo each other cannot be noticed by anybody."""
    faults = placed(steps)
    with spoken_with(ours=lambda line: FaultyLine(under=line, written={} if back else faults,
                                                  read_=faults if back else {})) as (console, board):
        answer = console.run("crc32 1000 10")
        commands = {part for line in board.entered for part in line.split("; ") if not part.startswith("echo ")}
        assert commands <= {"crc32 1000 10"}
        assert answer.status == 0
        assert back or answer.text == ANSWERS["crc32 1000 10"]


class Rates:
    """The rates of both ends of a line; a byte that leaves while they differ, or at a bad one, arrives as another.

    `bad`: of how many bytes at such a rate one does. `most`: what our adapter can. `interrupted`: Ctrl-C is pressed as
    often as we write at the higher rate, or set it, when the board has gone over. `gone`: our adapter is unplugged.
    """

    def __init__(self, *, bad: Mapping[int, int], most: int) -> None:
        self.ours = self.boards = 115200
        self.interrupted: list[str] = []
        self.gone = False
        self._bad, self._most, self._carried = bad, most, 0

    def carried(self, content: bytes) -> bytes:
        if self.ours != self.boards:
            return b"_" * len(content)
        if self.ours not in self._bad:
            return content
        first, self._carried = self._carried, self._carried + len(content)
        return bytes(ord("_") if at % self._bad[self.ours] == 0 else byte for at, byte in enumerate(content, first + 1))

    def interrupt(self, what: str) -> None:
        if self.gone:
            raise TargetError("cannot use serial line near end: it is gone")
        if self.boards != 115200 and what in self.interrupted:
            self.interrupted.remove(what)
            raise KeyboardInterrupt

    def set_ours(self, baud: int) -> None:
        self.interrupt("set")
        if baud > self._most:
            raise TargetError(f"cannot use near end at {baud} baud: Invalid argument")
        self.ours = baud


class Ours(FaultyLine):
    rates: Rates

    def write(self, content: bytes) -> None:
        self.rates.interrupt("write")
        self.under.write(self.rates.carried(content))

    def set_baud(self, baud: int) -> None:
        self.rates.set_ours(baud)
        self.under.set_baud(baud)


class Boards(FaultyLine):
    rates: Rates

    def write(self, content: bytes) -> None:
        self.under.write(self.rates.carried(content))


class Switching(Scripted):
    """A board that goes over to another rate, and waits there for ENTER."""

    def __init__(self, line: SerialLine, rates: Rates, *, known: tuple[int, ...],
                 answers: Mapping[str, str] = ANSWERS, prompt: str = "=> ") -> None:
        super().__init__(line, answers, prompt=prompt)
        self._known, self._rates = known, rates

    def _answer(self, typed: str) -> str:
        found = re.search(r"setenv baudrate (\d+)", typed)
        if found is None:
            return super()._answer(typed)
        baud = int(found[1])
        if baud not in self._known:
            return super()._answer(typed)
        self._line.write(f"## Switch baudrate to {baud} bps and press ENTER ...\r\n".encode())
        self._rates.boards = baud
        while not self._over.is_set() and b"\r" not in self._line.read(0.02):
            pass
        return super()._answer(typed.rpartition("; ")[2])


@contextmanager
def switching(*, known: tuple[int, ...] = (115200, 921600), bad: Mapping[int, int] | None = None,
              most: int = 12_000_000) -> Iterator[tuple[Console, Rates]]:
    quick = Patience(echo_s=0.3, answer_s=0.6, quiet_s=0.02, key_s=0.02, tries=5)
    with patience(waits=True), line_of_its_own() as (near, far):
        rates = Rates(bad=bad or {}, most=most)
        ours, boards = Ours(under=near), Boards(under=far)
        ours.rates = boards.rates = rates
        board = Switching(boards, rates, known=known)
        thread = threading.Thread(target=board.run)
        thread.start()
        try:
            yield Console(ours, BOARD, SystemClock(), patience=quick), rates
        finally:
            board.end()
            thread.join()


def test_rate_is_raised() -> None:
    with switching() as (console, rates):
        assert console.change_baud(921600)
        assert (rates.ours, rates.boards) == (921600, 921600)
        assert console.must("version") == "U-Boot 2025.01"


def test_rate_that_the_board_does_not_know_is_left_alone() -> None:
    with switching(known=(115200,)) as (console, rates):
        assert not console.change_baud(921600)
        assert (rates.ours, rates.boards) == (115200, 115200)
        assert console.must("version") == "U-Boot 2025.01"


def test_rate_that_our_adapter_cannot_have_is_found_before_the_board_goes_over() -> None:
    with switching(most=115200) as (console, rates):
        assert not console.change_baud(921600)
        assert (console.line.baud, rates.ours, rates.boards) == (115200, 115200, 115200)
        assert console.must("version") == "U-Boot 2025.01"


def test_rate_that_the_wire_carries_badly_is_left_again() -> None:
    with switching(bad={921600: 700}) as (console, rates):
        assert not console.change_baud(921600)
        assert (console.line.baud, rates.ours, rates.boards) == (115200, 115200, 115200)
        assert console.must("version") == "U-Boot 2025.01"


@pytest.mark.parametrize("when", ["set", "write"])
def test_interrupted_while_the_rate_changes_the_board_is_brought_back(when: str) -> None:
    """It has gone over, and waits for ENTER; we have not, or have just done so."""
    with switching() as (console, rates):
        rates.interrupted = [when]
        with pytest.raises(KeyboardInterrupt):
            console.change_baud(921600)
        assert (rates.interrupted, rates.ours, rates.boards) == ([], 115200, 115200)
        assert console.must("version") == "U-Boot 2025.01"


def test_board_goes_back_to_its_rate() -> None:
    with switching() as (console, rates):
        assert console.change_baud(921600)
        assert console.go_back(115200, away=921600)
        assert (rates.ours, rates.boards) == (115200, 115200)
        assert console.must("version") == "U-Boot 2025.01"


def left_away(console: Console) -> Console:
    """Who comes to a board that a killed run has left at the higher rate: the line has its usual one."""
    assert console.change_baud(921600)
    console.line.set_baud(115200)
    return Console(console.line, BOARD, SystemClock(), patience=console.patience)


def test_board_that_was_left_at_a_higher_rate_is_found_there() -> None:
    with switching() as (console, rates):
        again = left_away(console)
        again.catch(30, away=921600)
        assert (again.line.baud, rates.ours) == (921600, 921600)
        assert again.must("version") == "U-Boot 2025.01"


def test_board_that_was_left_at_a_rate_nobody_names_is_told_of_before_it_is_switched_off() -> None:
    with switching() as (console, _):
        again = left_away(console)
        with pytest.raises(TargetError, match="no prompt") as caught:
            again.catch(2)
        assert str(caught.value.hint).startswith("was it left at another rate? --raise-to or --baud as it was then;")


def test_rate_at_which_nothing_is_understood_ends_with_what_to_do() -> None:
    with (switching(bad={921600: 1}) as (console, _),
          pytest.raises(TargetError, match="the board has gone over to it") as caught):
        console.change_baud(921600)
    assert caught.value.hint == "switch the board off and on; leave the rate as it was"
