"""Which media are meant, what confirms them, and how it is told."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import subprocess
import sys
import termios
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from imagekit.cli import board_fastboot, board_flash
from imagekit.cli.factory_show import Teller
from imagekit.cli.failure import Terminated
from imagekit.cli.flash_run import Records, Request, _end, confirm, find_targets, raise_for, refuse
from imagekit.cli.flash_show import JsonLines, Painter, painter, show_plan
from imagekit.cli.output import Talk, warn
from imagekit.disk.bmap import MappedRange
from imagekit.disk.ext_csd import BootArea
from imagekit.errors import HostError, TargetError, TrustError, UsageError
from imagekit.flash.journal import Journals
from imagekit.flash.run import Outcome
from imagekit.plan.board_flash import SentPiece
from imagekit.plan.fastboot import FilePart
from imagekit.plan.flash import FlashPlan, ImageFacts, device_json, plan_flash, plan_target
from imagekit.plan.flash_device import Allowed, Code, Demand, Device, Identity, Kind, Refusal, RefusedError, judge
from imagekit.plan.flash_events import Ended, Phase, Result, Stalled, Started, State, event_json
from imagekit.testing.blocks import FakeInventory, card
from imagekit.testing.images import Silent

IMAGE = ImageFacts(path="disk.img", size=4096, digest="d", ranges=(MappedRange(start=0, end=4096, sha256=""),))
ONE = card("/dev/sdx")
OTHER = card("/dev/sdy", identity=Identity(size=64 << 20, serial="0002", diskseq=8), port="1-1.3")


def request(*, serials: tuple[str, ...] = (), ports: tuple[str, ...] = (), word: str | None = None,
            targets: tuple[str, ...] = ()) -> Request:
    return Request(image=Path("/disk.img"), targets=tuple(Path(item) for item in targets), trust=(), confirm=word,
                   allowed=Allowed(serials=frozenset(serials), ports=frozenset(ports)))


def plan(*devices: Device, allowed: Allowed | None = None) -> FlashPlan:
    return plan_flash(IMAGE, [plan_target(IMAGE, item, patches=(), refusals=judge(
        item, Demand(size=4096), allowed or Allowed())) for item in devices])


def ended(target: str = "/dev/sdx", problem: str = "") -> Ended:
    return Ended(target=target, result=Result.FAILED if problem else Result.DONE, written=4096, verified=4096,
                 state=State.NOT_BOOTABLE if problem else State.VERIFIED, seconds=2.0, problem=problem)


def outcome(*items: Ended, error: TrustError | None = None, interrupt: BaseException | None = None) -> Outcome:
    return Outcome(ended=items, digests={}, source_error=error, interrupt=interrupt)


def test_media_on_the_list_are_meant_when_none_is_named() -> None:
    inventory = FakeInventory(known=(ONE, OTHER, card("/dev/sdx1", kind=Kind.PARTITION, whole="/dev/sdx")))
    assert find_targets(request(ports=("1-1.3",)), inventory) == [OTHER]
    assert find_targets(request(ports=("1-1.3",), serials=("0001",)), inventory) == [ONE, OTHER]


def test_empty_reader_on_the_list_is_not_meant() -> None:
    empty = card("/dev/sdz", size=0)
    with pytest.raises(TargetError, match="nothing on the list is plugged in"):
        find_targets(request(ports=("1-1.4",)), FakeInventory(known=(empty,)))


def test_two_media_with_the_serial_number_that_means_one_are_refused() -> None:
    twin = card("/dev/sdy", port="1-1.3")
    with pytest.raises(TargetError, match="two media have the same serial number") as caught:
        find_targets(request(serials=("0001",)), FakeInventory(known=(ONE, twin)))
    assert "--port" in str(caught.value.hint)
    assert find_targets(request(ports=("1-1.3",)), FakeInventory(known=(ONE, twin))) == [twin]


def test_two_cards_in_one_reader_are_not_both_meant_by_its_port(tmp_path: Path) -> None:
    second = card("/dev/sdz", identity=Identity(size=64 << 20, serial="0003"))
    inventory = FakeInventory(known=(ONE, second, OTHER))
    with pytest.raises(TargetError, match=r"at port 1-1\.4 are /dev/sdx, /dev/sdz, and the list means one"):
        find_targets(request(ports=("1-1.4", "1-1.3")), inventory)
    (tmp_path / "disk.img").write_bytes(b"image")
    named = replace(request(ports=("1-1.4",), targets=("/dev/sdz",)), image=tmp_path / "disk.img")
    assert find_targets(named, inventory) == [second]


def test_neither_target_nor_list_is_a_mistake_of_the_call() -> None:
    with pytest.raises(UsageError, match="no target is named"):
        find_targets(request(), FakeInventory(known=(ONE,)))


def test_word_of_the_plan_confirms_it() -> None:
    made = plan(ONE, OTHER)
    confirm(made, request(word=made.token))


def test_word_of_another_plan_is_an_identity_that_changed() -> None:
    again = card("/dev/sdx", identity=Identity(size=64 << 20, serial="0001", diskseq=9))
    with pytest.raises(RefusedError, match="identity-changed"):
        confirm(plan(again), request(word=plan(ONE).token))


def test_list_confirms_what_is_on_it_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    confirm(plan(ONE), request(serials=("0001",)))
    with pytest.raises(UsageError, match="cannot erase /dev/sdy: there is no terminal"):
        confirm(plan(ONE, OTHER), request(serials=("0001",)))


def test_file_that_will_be_made_needs_no_question() -> None:
    confirm(plan(Device(path="out.img", kind=Kind.FILE, identity=Identity(size=0), exists=False)), request())


def test_refused_targets_are_told_together_and_nothing_is_written() -> None:
    with pytest.raises(TargetError, match="cannot write 2 of 3 targets") as caught:
        refuse(plan(ONE, card("/dev/sda", read_only=True), card("/dev/sdb", size=512)))
    assert [line.split(":")[0] + line.split(":")[1] for line in caught.value.details] == [
        "/dev/sda read-only", "/dev/sdb too-small"]


def test_one_failure_is_told_as_it_is_and_several_with_their_number() -> None:
    raise_for(outcome(ended(), ended("/dev/sdy")))
    with pytest.raises(TargetError, match="it was pulled out"):
        raise_for(outcome(ended(), ended("/dev/sdy", "cannot write /dev/sdy: it was pulled out")))
    with pytest.raises(TargetError, match="cannot flash 2 of 3 media"):
        raise_for(outcome(ended(), ended("/dev/sdy", "a"), ended("/dev/sdz", "b")))


def test_file_that_could_not_be_written_is_no_broken_card(tmp_path: Path) -> None:
    (tmp_path / "card.img").write_bytes(b"")
    with pytest.raises(TargetError) as caught:
        raise_for(outcome(ended(f"{tmp_path}/card.img", "cannot write card.img: no space left on its disk")))
    assert "make room" in str(caught.value.hint)
    with pytest.raises(TargetError) as caught:
        raise_for(outcome(ended("/dev/sdy", "cannot write /dev/sdy: it was pulled out")))
    assert "another reader" in str(caught.value.hint)


@pytest.mark.parametrize("status", [0, 1])
def test_record_of_a_boot_partition_is_ended_before_the_chip_is_told_to_boot_from_it(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """Whatever `mmc` does then, the record says what was written."""
    path = "/dev/mmcblk7boot0"
    made = plan(card(path, kind=Kind.EMMC_BOOT))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    records, journals = Records(made, "a boot loader"), Journals(tmp_path / "journals", IMAGE, warn=print)
    record, = (tmp_path / "state/imagekit/flash").glob("*.json")
    program, then = tmp_path / "mmc", tmp_path / "then.json"
    program.write_text(f"#!/bin/sh\ncp {record} {then}\nexit {status}\n")
    program.chmod(0o755)
    with contextlib.nullcontext() if not status else pytest.raises(HostError, match="mmc"):
        _end(replace(request(), boot_from_it=True), made, outcome(ended(path)), journals, records, JsonLines(Talk()))
    assert json.loads(then.read_text())["result"] == json.loads(record.read_text())["result"] == "done"


def test_every_chip_is_told_to_boot_from_it_though_no_record_can_be_written(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And though it fails with the other chip."""
    paths = ["/dev/mmcblk7boot0", "/dev/mmcblk8boot1"]
    made = plan(*(card(path, kind=Kind.EMMC_BOOT) for path in paths))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    records, journals = Records(made, "a boot loader"), Journals(tmp_path / "journals", IMAGE, warn=print)
    monkeypatch.setattr("imagekit.cli.flash_run.write_record", no_room)
    program, told = tmp_path / "mmc", tmp_path / "told"
    program.write_text(f'#!/bin/sh\necho "$@" >> {told}\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(HostError):
        _end(replace(request(), boot_from_it=True), made, outcome(*map(ended, paths)), journals, records,
             JsonLines(Talk()))
    assert sorted(told.read_text().splitlines()) == ["bootpart enable 1 1 /dev/mmcblk7",
                                                     "bootpart enable 2 1 /dev/mmcblk8"]


def no_room(path: Path, content: object) -> None:
    raise HostError(f"cannot write {path}: no space left on its disk")


@pytest.mark.parametrize(("update", "words"), [
    (False, "all that is on it will be erased; this plan is "),
    (True, "what differs on it will be written over; this plan is "),
])
def test_plan_says_what_is_lost(capsys: pytest.CaptureFixture[str], *, update: bool, words: str) -> None:
    show_plan(plan(card("/dev/sdx")), about="an image", update=update)
    assert capsys.readouterr().out.splitlines()[-1].startswith(words)


def test_plan_says_when_an_mbr_may_be_for_other_sectors(capsys: pytest.CaptureFixture[str]) -> None:
    image = replace(IMAGE, mbr_sectors=(512, 4096))
    for sector, told in ((512, False), (4096, True)):
        show_plan(replace(plan(card("/dev/sdx", sector=sector)), image=image), about="an image")
        assert ("its MBR counts in sectors of 512 or 4096 bytes" in capsys.readouterr().out) is told
    assert (image.demand.sector, replace(image, mbr_sectors=(4096,)).demand.sector) == (0, 4096)


@pytest.mark.parametrize(("area", "words"), [
    (BootArea.BOOT0, "its eMMC boots from it"), (BootArea.BOOT1, "its eMMC boots from boot1, not from it"),
    (BootArea.USER, "its eMMC boots from the user area, not from it"),
    (BootArea.NONE, "its eMMC is not set to boot from any part"),
    (None, "what its eMMC boots from is not known; only root may ask"),
])
def test_plan_for_a_boot_partition_tells_what_the_chip_boots_from(capsys: pytest.CaptureFixture[str],
                                                                  area: BootArea | None, words: str) -> None:
    boot = card("/dev/mmcblk7boot0", kind=Kind.EMMC_BOOT, boots_from=area)
    show_plan(plan(boot, card("/dev/mmcblk7", boots_from=area)), about="a boot loader")
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "eMMC" in line] == [f"/dev/mmcblk7boot0: {words}"]
    assert device_json(boot)["boots_from"] == (None if area is None else str(area))


def test_wrong_image_is_graver_than_what_it_did_to_media_and_ctrl_c_than_both() -> None:
    wrong = TrustError("cannot use disk.img")
    with pytest.raises(TrustError):
        raise_for(outcome(ended(problem="cannot use disk.img"), error=wrong))
    with pytest.raises(KeyboardInterrupt):
        raise_for(outcome(ended(problem="interrupted"), error=wrong, interrupt=KeyboardInterrupt()))


def test_stall_and_end_are_told_in_words() -> None:
    said: list[str] = []
    painter = Painter(said.append)
    painter.told(Stalled(target="/dev/sdx", phase=Phase.WRITE, seconds=12.0))
    painter.told(Started(target="/dev/sdx", phase=Phase.DIAGNOSE, total=4096))
    painter.told(ended(problem="cannot write /dev/sdx: it was pulled out"))
    painter.told(ended())
    refusal = Refusal(code=Code.IDENTITY_CHANGED, reason="disk sequence was 7, is 8", allow="look again")
    painter.told(replace(ended(problem="cannot write /dev/sdx: identity-changed"), refusals=(refusal,)))
    assert said == [
        "warning: /dev/sdx: nothing has moved for 12 s while it was told to write: the medium, its reader or the cable"
        " hangs",
        "/dev/sdx: something else is read back; looking for what is wrong",
        "/dev/sdx: cannot write /dev/sdx: it was pulled out: it does not boot: it has no partition table; write it"
        " again, or go on with --resume (4 KiB in 2.0 s, 2 KiB/s)",
        "/dev/sdx: written and verified (4 KiB in 2.0 s, 2 KiB/s)",
        "/dev/sdx: cannot write /dev/sdx: identity-changed: of the one that was there before: it does not boot: it has"
        " no partition table; write it again, or go on with --resume (4 KiB in 2.0 s, 2 KiB/s)"]


def test_medium_that_was_changed_is_a_refusal_with_its_code() -> None:
    refusal = Refusal(code=Code.IDENTITY_CHANGED, reason="disk sequence was 7, is 8", allow="look again")
    with pytest.raises(RefusedError, match="cannot write /dev/sdx: identity-changed: disk sequence was 7") as caught:
        raise_for(outcome(replace(ended(problem="cannot write /dev/sdx"), refusals=(refusal,))))
    assert (caught.value.refusals, caught.value.hint) == ((refusal,), "look again")
    assert event_json(replace(ended(), refusals=(refusal,)))["refusals"] == ["identity-changed"]


def test_medium_that_was_only_read_is_not_said_to_be_written() -> None:
    said: list[str] = []
    Painter(said.append).told(replace(ended(), written=0, verified=8192))
    assert said == ["/dev/sdx: it holds the image: all was read and compared (8 KiB in 2.0 s, 4 KiB/s)"]


BARS = """
import click
from imagekit.cli.flash_show import painter
from imagekit.plan.flash_events import Moved, Phase, Started
@click.command()
def work():
    with painter() as told:
        for target, durable in (("/dev/sdx", 25), ("/dev/sdy", 75)):
            told.told(Started(target=target, phase=Phase.WRITE, total=100 << 20))
            for part in (1, durable >> 1, durable):
                told.told(Moved(target=target, phase=Phase.WRITE, durable=part << 20, total=100 << 20))
work()
"""


def test_terminal_has_a_bar_for_each_medium_with_what_is_durable_speed_and_time_left() -> None:
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (30, 160))
    with subprocess.Popen([sys.executable, "-c", BARS], stdin=slave, stdout=slave, stderr=slave,
                          env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"}) as working:
        os.close(slave)
        seen = b""
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other side is closed
                break
            seen += piece
    os.close(master)
    assert working.returncode == 0, seen
    for target, amount in ((b"/dev/sdx", b"25.0"), (b"/dev/sdy", b"75.0")):
        assert re.search(target + rb" write [^\n]*" + amount + rb"/100\.0 MiB +[0-9.]+ .B/s +\d:\d\d:\d\d", seen), seen


def test_events_are_one_json_document_to_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk()
    JsonLines(talk).told(Stalled(target="/dev/sdx", phase=Phase.VERIFY, seconds=12.0))
    JsonLines(talk).told(ended())
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"event": "stalled", "target": "/dev/sdx", "phase": "verify", "seconds": 12.0}
    assert (second["event"], second["result"], second["state"], second["damage"]) == (
        "ended", "done", "verified", None)
    assert talk.emitted


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """Whatever the program says goes to a disk that is full."""
    with contextlib.ExitStack() as stack:
        disk, nowhere = (stack.enter_context(Path(path).open("w")) for path in ("/dev/full", os.devnull))
        stack.callback(os.dup2, nowhere.fileno(), disk.fileno())  # or closing it fails
        stack.enter_context(contextlib.redirect_stdout(disk))
        stack.enter_context(contextlib.redirect_stderr(disk))
        yield


@pytest.mark.parametrize(("error", "code", "kind", "refusals"), [
    (KeyboardInterrupt(), 130, "interrupted", []), (click.Abort(), 130, "interrupted", []),
    (Terminated(), 143, "terminated", []),
    (RefusedError("/dev/sdx", (Refusal(code=Code.READ_ONLY, reason="its switch"),)), 7, "target", ["read-only"])])
def test_what_cannot_go_on_or_shall_not_says_so_in_the_last_line(capsys: pytest.CaptureFixture[str],
                                                                 error: BaseException, code: int, kind: str,
                                                                 refusals: list[str]) -> None:
    for wanted in (True, False):
        with pytest.raises(type(error)), JsonLines(Talk()).ended(wanted=wanted):
            raise error
    line, = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["event"], line["exit_code"], line["kind"], line["refusals"]) == ("error", code, kind, refusals)
    assert set(line) == {"event", "exit_code", "kind", "message", "details", "hint", "refusals"}


def test_full_disk_under_what_is_told_ends_no_medium_no_unit_and_no_board() -> None:
    with full_disk():
        lines = JsonLines(Talk())
        lines.told(ended())
        with pytest.raises(OSError, match="No space left"):
            lines.line({"event": "result"})
        with painter() as shown:
            shown.told(ended())
        for teller in (Teller(lines), Teller(None)):
            teller.told("1", "recorded", {"number": 1, "serial": "S1", "problem": None})
        board_flash.Teller(Silent(), lines).wrote(SentPiece(start=0, end=512, packed=20))
        board_fastboot.Teller(Silent(), lines).wrote(FilePart(extents=((0, 512),)))


def test_event_that_was_lost_is_told_though_there_is_room_again() -> None:
    lines = JsonLines(Talk())
    with full_disk():
        lines.told(ended())
    with pytest.raises(OSError, match="No space left"):
        lines.line({"event": "result"})


def test_journal_on_the_full_disk_of_what_is_told_ends_no_medium(tmp_path: Path) -> None:
    with full_disk():
        Journals(tmp_path, IMAGE, warn=warn, write=no_room).reached(ONE, 1)
