"""`imagekit board recover`: boards in their boot ROM are files as in sysfs, programs write down their words."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.boot.fastboot import UsbAddress
from imagekit.build.boards import board_names
from imagekit.cli.board import board as command
from imagekit.cli.board_fastboot import FastbootRequest
from imagekit.cli.board_recover import (
    Around,
    RecoverRequest,
    allowed_for,
    flash_by_ums,
    recover,
    recovery_of,
    wait_for_disk,
)
from imagekit.cli.flash_run import Request, find_targets
from imagekit.errors import HostError, PlanError, TargetError, UsageError
from imagekit.host.usbdevices import DeniedError, UsbDevice, usb_devices
from imagekit.packages.board import RECOVERY_TOOLS
from imagekit.plan.flash_device import Allowed, Device, Identity, Kind, RefusedError
from imagekit.plan.recover import INSTALL, RomPlace, plan_command
from imagekit.testing.blocks import FakeInventory, card
from imagekit.testing.fakes import FakeTools
from tests.unit.host.test_usbdevices import plug

PI, FEL, SDP = ("0a5c", "2711"), ("1f3a", "efe8"), ("15a2", "0054")


@dataclass(slots=True, kw_only=True)
class Bench:
    """A machine of files."""

    root: Path
    bin: Path
    denied: bool = False

    def plug(self, port: str, ids: tuple[str, str], **more: str) -> None:
        plug(self.root, port, idVendor=ids[0], idProduct=ids[1], busnum="1", devnum=port.rpartition(".")[2][-1], **more)

    def install(self, *names: str, ends: str = "exit 0") -> None:
        self.bin.mkdir(exist_ok=True)
        for name in names:
            path = self.bin / name
            path.write_text('#!/bin/sh\n{ echo "$0"; for word in "$@"; do echo "$word"; done; } >'
                            f' {shlex.quote(str(self.root / "ran"))}\n{ends}\n')
            path.chmod(0o755)

    def ran(self) -> list[str]:
        path = self.root / "ran"
        if not path.exists():
            return []
        words = path.read_text().splitlines()
        return [words[0].rpartition("/")[2], *words[1:]]

    def recover(self, board: str, around: Around | None = None, **more: object) -> None:
        around = around or Around()
        recover(RecoverRequest(board=board, **more), replace(around, usb=self.usb))  # type: ignore[arg-type]

    def usb(self) -> tuple[UsbDevice, ...]:
        return usb_devices(sys=self.root / "sys", dev=self.root / "dev", access=lambda path, mode: not self.denied)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return Bench(root=tmp_path, bin=tmp_path / "bin")


def test_pi_is_loaded_at_its_port(bench: Bench) -> None:
    bench.plug("1-1.4", PI)
    bench.install("rpiboot")
    bench.recover("pi")
    assert bench.ran() == ["rpiboot", "-p", "1-1.4"]
    bench.recover("pi", loader=bench.root)
    assert bench.ran() == ["rpiboot", "-p", "1-1.4", "-d", str(bench.root)]


def test_allwinner_by_whatever_is_installed(bench: Bench) -> None:
    loader = bench.root / "it's u-boot.bin"
    loader.write_bytes(b"x")
    bench.plug("1-1.7", FEL)
    bench.install("snagrecover")
    bench.recover("orangepi-pc", loader=loader)
    words = bench.ran()
    assert words[:4] == ["snagrecover", "-s", "h3", "-F"]
    assert words[4] == f"{{'u-boot-with-spl': {{'path': {str(loader)!r}}}}}"
    bench.install("sunxi-fel")
    bench.recover("orangepi-pc", loader=loader)
    assert bench.ran() == ["sunxi-fel", "--dev", "1:7", "uboot", str(loader)]
    bench.recover("orangepi-pc", loader=loader, tool="snagrecover")
    assert bench.ran()[0] == "snagrecover"


def test_imx_is_named_as_uuu_names_ports(bench: Bench) -> None:
    bench.plug("1-1.4", SDP)
    bench.install("uuu")
    bench.recover("sabrelite", loader=bench.root)
    assert bench.ran() == ["uuu", "-m", "1:14", str(bench.root)]


def test_dry_run_runs_nothing(bench: Bench) -> None:
    bench.plug("1-1.4", PI)
    bench.install("rpiboot")
    bench.recover("pi", dry_run=True)
    assert bench.ran() == []


def test_no_program_is_told_with_how_to_install_each(bench: Bench) -> None:
    bare = Around(tools=FakeTools())
    bench.plug("1-1.4", FEL)
    with pytest.raises(HostError, match="sunxi-fel or snagrecover is not installed") as caught:
        bench.recover("bpim2u", bare)
    assert "sunxi-tools" in str(caught.value.hint)
    assert "pipx install snagboot" in str(caught.value.hint)
    with pytest.raises(UsageError, match="cannot recover this board with rpiboot: its recipe has sunxi-fel"):
        bench.recover("bpim2u", bare, tool="rpiboot")


def test_program_that_fails_is_told_in_its_words(bench: Bench) -> None:
    bench.plug("1-1.4", PI)
    bench.install("rpiboot", ends="echo 'Failed to claim interface' >&2; exit 1")
    with pytest.raises(HostError, match="cannot run rpiboot: it failed with exit status 1") as caught:
        bench.recover("pi")
    assert "Failed to claim interface" in caught.value.details


def test_absent_board_is_told_with_how_to_get_there(bench: Bench) -> None:
    bench.plug("1-1.4", FEL)
    bench.install("rpiboot")
    with pytest.raises(TargetError, match="no USB device has id 0a5c:2763 or") as caught:
        bench.recover("pi")
    assert "nRPIBOOT" in str(caught.value.hint)


def test_two_boards_are_told_apart_by_port(bench: Bench) -> None:
    bench.plug("1-1.3", PI)
    bench.plug("1-1.4", PI)
    bench.install("rpiboot")
    with pytest.raises(TargetError, match="2 are in their boot ROM") as caught:
        bench.recover("pi")
    assert caught.value.hint == "name one: --port 1-1.3"
    bench.recover("pi", port="1-1.4")
    assert bench.ran() == ["rpiboot", "-p", "1-1.4"]


def test_program_that_takes_no_port_is_not_run_among_two_boards(bench: Bench) -> None:
    bench.plug("1-1.3", FEL)
    bench.plug("1-1.4", FEL)
    bench.install("snagrecover")
    with pytest.raises(PlanError, match="cannot tell snagrecover which board is meant"):
        bench.recover("orangepi-pc", port="1-1.3", loader=bench.root, tool="snagrecover")
    assert bench.ran() == []


def test_missing_loader_is_told_with_what_it_is(bench: Bench) -> None:
    bench.plug("1-1.4", FEL)
    bench.install("sunxi-fel")
    with pytest.raises(UsageError, match="cannot run sunxi-fel: it needs something to load") as caught:
        bench.recover("cubieboard")
    assert "u-boot-sunxi-with-spl.bin" in str(caught.value.hint)


def test_board_that_may_not_be_opened_is_denied_and_not_absent(bench: Bench) -> None:
    bench.plug("1-1.4", PI)
    (bench.root / "dev/bus/usb/001").mkdir(parents=True)
    (bench.root / "dev/bus/usb/001/004").write_bytes(b"")
    bench.denied = True
    bench.install("rpiboot")
    with pytest.raises(DeniedError, match="it is there, but you may not open it") as caught:
        bench.recover("pi")
    assert "doctor --udev-rules" in str(caught.value.hint)
    assert bench.ran() == []


def test_board_without_a_word_on_recovery_is_told() -> None:
    with pytest.raises(UsageError, match=r"its recipe\.yaml does not say how") as caught:
        recovery_of("pc")
    assert "orangepi-pc" in str(caught.value.hint)


def test_every_board_that_can_be_recovered_has_a_command_for_each_program() -> None:
    found = 0
    for name in board_names():
        try:
            recovery = recovery_of(name)
        except UsageError:
            continue
        for tool in recovery.tools:
            words = plan_command(recovery, tool, RomPlace(port="2-1.3", bus=2, device=9), loader="/l", others=0)
            assert "{" not in "".join(words).replace("{'", "")
            found += 1
    assert found >= 8
    assert set(INSTALL) == set(RECOVERY_TOOLS)


# ---- going on


class Media:
    """`Inventory` that shows more at each look."""

    def __init__(self, *looks: list[Device]) -> None:
        self.looks = list(looks)

    def devices(self) -> list[Device]:
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def device(self, path: Path) -> Device:
        raise AssertionError

    open = None


def usb_disk(path: str, *, port: str, serial: str = "") -> Device:
    found = card(path, size=1 << 20)
    return replace(found, kind=Kind.DISK, bus="usb", port=port, identity=Identity(size=1 << 20, serial=serial))


def around(*looks: list[Device]) -> Around:
    return Around(inventory=Media(*looks), look_s=0.01)  # type: ignore[arg-type]


def test_disk_of_the_board_is_waited_for_at_its_port() -> None:
    stick, found = usb_disk("/dev/sdx", port="1-1.3"), usb_disk("/dev/sdy", port="1-1.4", serial="B1")
    media = around([stick], [stick], [stick, found])
    assert wait_for_disk(media, UsbAddress(port="1-1.4"), wait_s=60) == found
    assert wait_for_disk(media, UsbAddress(serial="B1"), wait_s=0) == found
    assert wait_for_disk(media, UsbAddress(port="1-1.4", serial="B1"), wait_s=0) == found
    with pytest.raises(TargetError, match="no USB disk with serial B2 is there"):
        wait_for_disk(media, UsbAddress(serial="B2"), wait_s=0)
    with pytest.raises(TargetError, match=r"no USB disk with port 1-1\.3 and serial B1 is there"):
        wait_for_disk(media, UsbAddress(port="1-1.3", serial="B1"), wait_s=0)


def test_two_disks_of_one_board_are_not_chosen_from() -> None:
    media = around([usb_disk("/dev/sdx", port="1-4"), usb_disk("/dev/sdy", port="1-4")])
    with pytest.raises(TargetError, match="2 have port 1-4"):
        wait_for_disk(media, UsbAddress(port="1-4"), wait_s=0)


def test_recovered_board_is_flashed_where_it_comes_up(bench: Bench) -> None:
    written: list[Request] = []
    sent: list[FastbootRequest] = []
    ways = replace(around([usb_disk("/dev/sdx", port="1-1.3"), usb_disk("/dev/sdy", port="1-1.4")]),
                   write=written.append, fastboot=lambda request, wish: sent.append(wish))
    request = Request(image=bench.root, targets=(), allowed=allowed_for("1-1.4"), trust=())
    bench.plug("1-1.4", PI)
    bench.install("rpiboot", "sunxi-fel")
    bench.recover("pi", ways, flash=request)
    assert (bench.ran()[0], sent) == ("rpiboot", [])
    assert ([item.path for item in written[0].found], written[0].allowed) == (["/dev/sdy"], allowed_for("1-1.4"))
    bench.plug("1-1.5", FEL)
    bench.recover("orangepi-pc", ways, loader=bench.root, flash=request)
    assert (bench.ran()[0], len(written)) == ("sunxi-fel", 1)
    assert (sent[0].place, sent[0].board) == ("usb:1-1.5", "orangepi-pc")


@pytest.mark.parametrize(("now", "why"), [
    (usb_disk("/dev/sdy", port="1-1.3", serial="STICK"), "serial was B1, is STICK"),
    (usb_disk("/dev/sdy", port="1-1.3", serial="B1"), r"port was 1-1\.4, is 1-1\.3"),
], ids=["a-stick", "its-twin"])
def test_disk_that_was_found_at_its_port_is_not_written_by_its_name(bench: Bench, now: Device, why: str) -> None:
    board = usb_disk("/dev/sdy", port="1-1.4", serial="B1")
    written: list[Request] = []
    request = Request(image=bench.bin.parent, targets=(), allowed=Allowed(), trust=())
    flash_by_ums(request, UsbAddress(port="1-1.4"), wait_s=0, around=replace(around([board]), write=written.append))
    assert find_targets(written[0], FakeInventory(known=(board,))) == [board]
    with pytest.raises(RefusedError, match=f"cannot write /dev/sdy: identity-changed: {why}"):
        find_targets(written[0], FakeInventory(known=(now,)))


def test_board_whose_disk_nobody_names_is_left_in_its_rom(bench: Bench) -> None:
    sent: list[FastbootRequest] = []
    ways = replace(around([]), fastboot=lambda request, wish: sent.append(wish))
    request = Request(image=bench.root, targets=(), allowed=allowed_for(None), trust=())
    bench.plug("1-1.4", SDP)
    bench.install("uuu")
    with pytest.raises(UsageError, match="cannot tell which disk of board 'sabrelite' is meant") as caught:
        bench.recover("sabrelite", ways, loader=bench.root, flash=request)
    assert "--partition NAME" in str(caught.value.hint)
    assert bench.ran() == []
    bench.recover("sabrelite", ways, loader=bench.root, flash=request, partition="mmc0")
    assert (bench.ran()[0], sent[0].partition) == ("uuu", "mmc0")


def test_what_is_known_of_recovery_is_shown() -> None:
    shown = CliRunner().invoke(command, ["show", "orangepi-pc"])
    assert "by sunxi-fel, snagrecover, then fastboot; USB ids 1f3a:efe8" in shown.output
    document = json.loads(CliRunner().invoke(command, ["show", "pi", "--json"]).output)
    assert document["recover"]["then"] == "ums"
    assert json.loads(CliRunner().invoke(command, ["show", "pc", "--json"]).output)["recover"] is None


def test_words_for_an_image_need_one() -> None:
    done = CliRunner().invoke(command, ["recover", "--board", "pi", "--foreign", "--confirm", "x"])
    assert (done.exit_code, "--confirm, --foreign: only with IMAGE" in done.output) == (2, True)


@pytest.mark.parametrize("place", ["usb", "tcp:board"])
def test_ums_needs_a_name(place: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    done = CliRunner().invoke(command, ["flash", str(tmp_path / "image"), "--ums", place])
    assert (done.exit_code, "says which disk is the board's" in done.output) == (2, True)
