"""Boards over a serial line, from the command line: what is refused before anything is sent, and the terminal."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.cli.board import board
from imagekit.cli.board_serial import Wiring, connected, converse, profile_of, prompted, raised
from imagekit.errors import HostError, TargetError, UsageError
from imagekit.flash.uboot import UBoot
from imagekit.host.clock import SystemClock
from tests.patience import patience
from tests.unit.flash.ptys import exactly, line_of_its_own
from tests.unit.flash.test_console import switching


def test_board_without_a_word_on_its_uboot_is_told_with_those_that_have_one() -> None:
    with pytest.raises(UsageError, match="cannot talk to board 'pc'") as caught:
        profile_of("pc")
    assert {"pi", "arm64-uboot", "cubieboard"} <= set(str(caught.value.hint).rpartition(": ")[2].split(", "))


def test_profile_is_the_recipes() -> None:
    found = profile_of("pi")
    assert (found.prompt, found.key, found.baud, found.disk) == ("U-Boot> ", " ", 115200, "mmc 0")


@pytest.mark.parametrize("disk", ["mmc", "mmc 10", "sata 0", "mmc 0; reset"])
def test_disk_is_named_as_uboot_does(disk: str) -> None:
    with (pytest.raises(UsageError, match="it is named as U-Boot does"),
          connected(Wiring(serial="/dev/null/none", board="pi"), disk=disk)):
        pass


def test_line_is_looked_for_before_the_board_is_waited_for(tmp_path: Path) -> None:
    with (pytest.raises(HostError, match="there is no such device"),
          prompted(Wiring(serial=str(tmp_path / "none"), board="pi"))):
        pass


@pytest.mark.parametrize(("words", "told"), [
    (["console", "--serial", "/dev/x", "--run", "version"], "--run needs --board"),
    (["console", "--serial", "/dev/x", "--json"], "--json goes with --run"),
    (["load", "FILE", "--board", "pi", "--serial", "/dev/x", "--address", "here"], "'here' is no number"),
    (["flash", "FILE", "--board", "pi", "--serial", "/dev/x", "--tftp", "lab"], "'lab' is no IPv4 address"),
    (["flash", "FILE", "--board", "pi", "--serial", "socket://lab:2000", "--raise-to", "921600"], "rfc2217:// sets it"),
])
def test_call_that_makes_no_sense_is_refused(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    ended = CliRunner().invoke(board, [str(tmp_path / "file") if word == "FILE" else word for word in words])
    assert (ended.exit_code, told in ended.output) == (2, True), ended.output


def test_terminal_carries_both_ways_until_it_is_left() -> None:
    with patience(waits=True), line_of_its_own() as (near, far):
        keys, typed = os.pipe()
        shown, screen = os.pipe()
        thread = threading.Thread(target=converse, args=(near, keys, screen))
        thread.start()
        far.write(b"Hit any key\r\n")
        assert exactly(shown, 13) == b"Hit any key\r\n"
        os.write(typed, b"version\r\x03")
        got = b""
        while len(got) < 9:
            got += far.read(60)
        assert got == b"version\r\x03"
        os.write(typed, b"x\x1dnever sent")
        thread.join()
        assert far.read(60) == b"x"
        for descriptor in (keys, typed, shown, screen):
            os.close(descriptor)


@pytest.mark.parametrize("error", [None, TargetError("cannot write"), KeyboardInterrupt()], ids=repr)
def test_board_is_at_its_own_rate_again_however_it_ends(error: BaseException | None) -> None:
    with switching() as (console, rates), contextlib.suppress(TargetError, KeyboardInterrupt):
        with raised(UBoot(console, SystemClock()), 921600):
            assert (rates.ours, rates.boards) == (921600, 921600)
            if error is not None:
                raise error
        assert error is None
    assert (rates.ours, rates.boards) == (115200, 115200)


def test_board_that_was_found_at_the_higher_rate_goes_back_from_it_too() -> None:
    with switching() as (console, rates):
        assert console.change_baud(921600)
        with raised(UBoot(console, SystemClock()), 921600):
            assert (rates.ours, rates.boards) == (921600, 921600)
        assert (rates.ours, rates.boards) == (115200, 115200)


def test_line_that_is_gone_is_told_first_and_where_the_board_is_then(capsys: pytest.CaptureFixture[str]) -> None:
    with switching() as (console, rates):
        with pytest.raises(TargetError, match="it is gone"), raised(UBoot(console, SystemClock()), 921600):
            rates.gone = True
            console.must("version")
        assert "the board may be at 921600 baud still: the same line" in capsys.readouterr().err
        assert rates.boards == 921600


def test_rate_that_the_adapter_cannot_have_is_told_and_the_old_one_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with switching(most=115200) as (console, rates), raised(UBoot(console, SystemClock()), 921600):
        assert (rates.ours, rates.boards, console.must("version")) == (115200, 115200, "U-Boot 2025.01")
    assert "board, adapter or wire cannot do 921600 baud; stays at 115200" in capsys.readouterr().err
