"""`imagekit board flash --fastboot`, from the command line to the disk of a pretended board; every way it breaks."""

from __future__ import annotations

import io
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imagekit.boot.fastboot import USB_CLASS, TcpAddress, UsbAddress
from imagekit.cli.board import board as command
from imagekit.cli.board_fastboot import FastbootRequest, flash_by_fastboot
from imagekit.cli.board_serial import profile_of
from imagekit.cli.flash_run import Request
from imagekit.disk import gpt
from imagekit.errors import DocumentError, HostError, ImagekitError, PlanError, TargetError, UsageError
from imagekit.host.fastboot_usb import find_fastboot, open_usb
from imagekit.host.ports import PacketLink
from imagekit.host.usbdevices import DeniedError, LastingError, UsbDevice
from imagekit.plan.flash_device import Allowed, RefusedError
from imagekit.testing.fastboot import FastbootBoard, FastbootServer
from imagekit.testing.usbfastboot import ADDRESS, BUS, FakeBackend, UsbBoard
from imagekit.units import BLOCK, MIB
from tests.patience import patience
from tests.unit.flash.conftest import SIZE, USED, write_image

STALE = b"\xee"


@dataclass(slots=True, kw_only=True)
class Desk:
    """A board on a network, an image, and the command."""

    server: FastbootServer
    image: Path
    state: Path
    default: list[str] = field(default_factory=lambda: ["--board", "pi"])

    @property
    def board(self) -> FastbootBoard:
        return self.server.board

    @property
    def disk(self) -> bytearray:
        return self.board.disk

    def is_untouched(self) -> bool:
        return self.disk == STALE * len(self.disk)

    def run(self, *words: str, bare: bool = False) -> Result:
        return CliRunner().invoke(command, ["flash", str(self.image), "--foreign", "--fastboot", self.server.address,
                                            "--wait", "0", *([] if bare else self.default), *words])

    def planned(self, *words: str, bare: bool = False) -> dict[str, Any]:
        done = self.run("--dry-run", "--json", *words, bare=bare)
        assert done.exit_code == 0, (done.output, done.exception)
        return next(line for line in lines_of(done) if line["event"] == "plan")

    def flash(self, *words: str, bare: bool = False) -> Result:
        return self.run("--json", "--confirm", str(self.planned(*words, bare=bare)["token"]), *words, bare=bare)

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_bytes()) for path in sorted(self.state.glob("imagekit/flash/*-board-*.json"))]

    def is_right(self) -> bool:
        """Whether the disk has the image's ranges, and a table at its own end."""
        wanted = self.image.read_bytes()
        table = gpt.decode(io.BytesIO(self.disk))
        return (all(self.disk[start:end] == wanted[start:end] for start, end in USED)
                and table is not None and table.disk_size == len(self.disk))


def lines_of(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def failed(done: Result, kind: type[ImagekitError], why: str) -> ImagekitError:
    error = done.exception
    assert isinstance(error, kind), (done.output, error)
    assert why in error.message, error.message
    return error


Make = Callable[..., Desk]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """A desk whose board has a disk of 40 MiB with something old on it."""
    for name in ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "IMAGEKIT_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    image = tmp_path / "disk.img"
    write_image(image)
    profile = profile_of("pi")
    servers: list[FastbootServer] = []

    def desk(*, size: int = 40 * MIB, **values: Any) -> Desk:
        board = FastbootBoard(disk=bytearray(STALE * size), **{"address": profile.address, "room": 9 * MIB,
                                                              **values})
        servers.append(FastbootServer(board).__enter__())
        return Desk(server=servers[-1], image=image, state=tmp_path / "XDG_STATE_HOME")

    with patience(waits=True):
        yield desk
        for server in servers:
            server.__exit__(None, None, None)


def test_image_is_written_and_read_back(make: Make) -> None:
    desk = make()
    planned = desk.planned()
    assert (planned["reads_back"], planned["blind"], planned["max_download_size"]) == (True, None, 4 << 20)
    assert planned["targets"][0]["size"] == 40 * MIB
    assert desk.is_untouched()
    assert not desk.records()
    done = desk.flash("--reboot")
    assert done.exit_code == 0, (done.output, done.exception)
    assert desk.is_right()
    last = lines_of(done)[-1]
    assert (last["event"], last["ok"], last["reads_back"]) == ("result", True, True)
    wrote = [(line["start"], line["end"]) for line in lines_of(done) if line["event"] == "wrote"]
    assert len(wrote) == planned["files"]
    assert wrote[-1] == (0, BLOCK)
    record = desk.records()[0]
    assert (record["result"], record["reads_back"], record["device"]["bus"]) == ("done", True, "fastboot")
    assert desk.board.commands[-1] == "reboot"
    assert max(map(len, desk.board.files)) <= 4 << 20
    assert not list(desk.state.glob("imagekit/flash/journals/board-*"))


def test_old_signatures_do_not_show_through(make: Make) -> None:
    desk = make()
    assert desk.flash().exit_code == 0
    for start, end in ((BLOCK * 8, MIB), (8 * MIB, 9 * MIB), (39 * MIB, 40 * MIB - 33 * 512)):
        assert desk.disk[start:end] == bytes(end - start), (start, end)
    assert desk.disk[5 * MIB:6 * MIB] == STALE * MIB  # where the image has nothing, nothing is sent


def test_people_see_the_plan_and_are_asked(make: Make) -> None:
    desk = make()
    done = desk.run()
    error = failed(done, ImagekitError, "there is no terminal to ask on")
    assert "--confirm " in str(error.hint)
    assert "the board reads each file back from its disk, by CRC-32" in done.stdout
    assert "product pretended, serial TEST-0001" in done.stdout
    assert desk.is_untouched()


def test_partition_that_is_the_disk_is_written_blindly_and_that_is_said(make: Make) -> None:
    desk = make(runner=None, partitions={"mmc0": (0, 40 * MIB)}, tells_sizes=True, size_form="{:x}")
    shown = desk.run("--partition", "mmc0", "--dry-run", bare=True)
    assert "nothing can be read back: no --board says which memory is free" in shown.stdout
    done = desk.flash("--partition", "mmc0", bare=True)
    assert done.exit_code == 0, (done.output, done.exception)
    assert desk.is_right()
    assert lines_of(done)[-1]["reads_back"] is False
    assert desk.records()[0]["reads_back"] is False


@pytest.mark.parametrize(("values", "blind"), [({"runner": None}, "it runs no commands (`oem run`)"),
                                               ({"crc": "none"}, "its U-Boot cannot compare a crc32")])
def test_why_nothing_is_read_back_is_told(make: Make, values: dict[str, Any], blind: str) -> None:
    desk = make(partitions={"mmc0": (0, 40 * MIB)}, tells_sizes=True, **values)
    assert desk.planned("--partition", "mmc0")["blind"] == blind


def test_size_that_nobody_tells_leaves_the_table_where_it_is(make: Make) -> None:
    desk = make(runner=None, partitions={"mmc0": (0, 40 * MIB)})
    assert "does not tell its size" in desk.run("--partition", "mmc0", "--dry-run").stderr
    assert desk.flash("--partition", "mmc0").exit_code == 0
    table = gpt.decode(io.BytesIO(desk.disk[:SIZE]))
    assert table is not None
    assert table.disk_size == SIZE


# ---- what goes wrong


def test_partition_of_no_whole_sectors_is_refused(make: Make) -> None:
    desk = make(runner=None, partitions={"mmc0": (0, 40 * MIB - 100)}, tells_sizes=True)
    done = desk.run("--partition", "mmc0", bare=True)
    assert "it says that it has 41942940 bytes, which are no whole sectors of 512" in str(done.exception)
    assert desk.is_untouched()


def test_refused_write_ends_it_and_the_disk_does_not_boot(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.fail_flash = 1
    failed(desk.run("--confirm", token), TargetError, "it says flash write failure")
    assert desk.records()[0]["result"] == "failed"


def test_dropped_connection_is_gone_on_with(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.drop_at = "flash:"
    failed(desk.run("--confirm", token), TargetError, "the connection is gone")
    assert desk.run("--confirm", token).exit_code == 0
    assert desk.is_right()


def test_connection_dropped_in_the_middle_of_a_file_goes_on_after_the_last_good_one(make: Make) -> None:
    desk = make()
    planned = desk.planned()
    sizes = [len(item) for item in sent_files(desk, planned["token"])]
    fresh = make()
    token = fresh.planned()["token"]
    fresh.board.drop_at = f"download:{sizes[2]:08x}"  # the mark, the first file, and then
    failed(fresh.run("--confirm", token), TargetError, "is gone")
    assert fresh.disk[:BLOCK].startswith(b"imagekit: this disk is being written")
    again = fresh.run("--json", "--confirm", token)
    assert again.exit_code == 0, again.exception
    plan = next(line for line in lines_of(again) if line["event"] == "plan")
    assert plan["resumed"]
    assert plan["bytes"] < planned["bytes"]
    assert fresh.is_right()
    assert [item["result"] for item in fresh.records()].count("failed") == 1


def test_older_table_at_the_disks_end_does_not_come_back_when_it_is_interrupted(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    sizes = [len(item) for item in sent_files(desk, token)]
    assert desk.is_right()
    desk.board.drop_at = f"download:{sizes[2]:08x}"
    failed(desk.run("--confirm", token), TargetError, "is gone")
    with pytest.raises(DocumentError):
        gpt.decode(io.BytesIO(desk.disk))


def sent_files(desk: Desk, token: str) -> list[bytes]:
    assert desk.run("--confirm", token).exit_code == 0
    return desk.board.files


def test_write_that_puts_something_else_there_is_repeated(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.damages = 2
    assert desk.run("--confirm", token).exit_code == 0
    assert desk.is_right()


def test_wrong_checksum_is_asked_for_again_before_anything_is_written_again(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.wrong_crcs, desk.board.was_read = 1, False
    assert desk.run("--confirm", token).exit_code == 0
    assert (desk.is_right(), desk.board.wrong_crcs) == (True, 0)
    assert len(desk.board.files) == len(set(desk.board.files))
    desk.board.wrong_crcs, desk.board.was_read = 1000, False
    failed(desk.run("--confirm", token), TargetError, "something else when they are read back, after 3 writes")


def test_plan_that_reads_back_is_not_carried_out_blindly(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.crc = "none"
    error = desk.run("--confirm", token).exception
    assert isinstance(error, RefusedError)
    assert [item.code.value for item in error.refusals] == ["identity-changed"]
    assert desk.is_untouched()


def test_disk_that_never_holds_what_was_written_is_given_up(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.damages = 1000
    error = failed(desk.run("--confirm", token), TargetError, "something else when they are read back, after 3 writes")
    assert "do not use this disk any more" in str(error.hint)


def test_partition_that_is_not_the_whole_disk_is_found_by_reading_back(make: Make) -> None:
    desk = make(partitions={"data": (4 * MIB, 40 * MIB)}, tells_sizes=True)
    error = failed(desk.flash("--partition", "data"), TargetError, "cannot write partition data")
    assert "is data all of disk mmc 0?" in str(error.hint)


def test_disk_that_is_too_small_is_refused(make: Make) -> None:
    desk = make(size=20 * MIB)
    error = desk.run("--dry-run").exception
    assert isinstance(error, RefusedError)
    assert [item.code.value for item in error.refusals] == ["too-small"]


def test_board_that_takes_too_little_at_once_is_refused(make: Make) -> None:
    failed(make(most=1000).run("--dry-run"), PlanError, "the boot loader takes 1000 B at once")


def test_board_that_takes_little_at_once_gets_many_files(make: Make) -> None:
    desk = make(most=512 << 10)
    assert desk.planned()["files"] > 10
    assert desk.flash().exit_code == 0
    assert desk.is_right()
    assert max(map(len, desk.board.files)) <= 512 << 10


def test_board_that_does_not_say_how_much_it_takes_gets_some(make: Make) -> None:
    desk = make(most=None)
    assert "does not say how much it takes at once" in desk.run("--dry-run").stderr
    assert desk.flash().exit_code == 0
    assert desk.is_right()


def test_unknown_partition_is_its_refusal(make: Make) -> None:
    desk = make()
    failed(desk.flash("--partition", "nowhere"), TargetError, "it says cannot find partition")


def test_other_plan_that_was_confirmed_is_refused(make: Make) -> None:
    error = make().run("--confirm", "000000000000").exception
    assert isinstance(error, RefusedError)
    assert error.refusals[0].code.value == "identity-changed"


def test_other_board_under_the_same_address_has_another_plan(make: Make) -> None:
    desk = make()
    token = desk.planned()["token"]
    desk.board.serial = "TEST-0002"
    assert isinstance(desk.run("--confirm", token).exception, RefusedError)
    assert desk.is_untouched()


# ---- over USB


PLUGGED = UsbDevice(port="1-1.4", vendor=0x1F3A, product=0x1010, bus=BUS, address=ADDRESS, interfaces=(USB_CLASS,))


def over_usb(board: FastbootBoard, address: TcpAddress | UsbAddress) -> PacketLink:
    """A board that is plugged in at port 1-1.4."""
    assert isinstance(address, UsbAddress)
    return open_usb(find_fastboot(address, [PLUGGED]), backend=FakeBackend(UsbBoard(board=board)))


def test_image_goes_over_usb_and_a_port_that_was_named_is_not_asked_about(make: Make) -> None:
    desk = make()
    request = Request(image=desk.image, targets=(), allowed=Allowed(), trust=(), foreign=True)
    wish = FastbootRequest(place="usb:1-1.4", board="pi")
    opener = partial(over_usb, desk.board)
    with pytest.raises(UsageError, match="there is no terminal to ask on"):
        flash_by_fastboot(request, wish, opener=opener)
    other = replace(request, allowed=Allowed(ports=frozenset({"1-1.3"})))
    with pytest.raises(RefusedError, match="not-allowed"):
        flash_by_fastboot(other, wish, opener=opener)
    assert desk.is_untouched()
    flash_by_fastboot(replace(request, allowed=Allowed(ports=frozenset({"1-1.4"}))), wish, opener=opener)
    assert desk.is_right()
    assert desk.records()[0]["device"]["port"] == "1-1.4"


def test_board_that_comes_up_late_is_waited_for_and_what_lasts_is_not(
        make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make()
    request = Request(image=desk.image, targets=(), allowed=Allowed(), trust=(), foreign=True)
    wish = FastbootRequest(place="usb:1-1.4", board="pi", wait_s=3600, dry_run=True)
    tries: list[object] = []

    def late(address: TcpAddress | UsbAddress) -> PacketLink:
        tries.append(address)
        if len(tries) < 3:
            raise HostError("cannot find fastboot")
        return over_usb(desk.board, address)

    flash_by_fastboot(request, wish, opener=late)
    assert len(tries) == 3

    def denied(address: TcpAddress | UsbAddress) -> PacketLink:
        raise DeniedError(PLUGGED)

    with pytest.raises(DeniedError):
        flash_by_fastboot(request, wish, opener=denied)

    def without_libusb(address: TcpAddress | UsbAddress) -> PacketLink:
        return open_usb(PLUGGED)

    for name in ("libusb0", "libusb1", "openusb"):
        monkeypatch.setattr(f"usb.backend.{name}.get_backend", lambda: None)
    with pytest.raises(LastingError, match="libusb is not installed"):
        flash_by_fastboot(request, wish, opener=without_libusb)


# ---- interrupted, and as the page says


def test_interrupt_is_recorded_and_told(make: Make) -> None:
    desk = make(mute_at="flash:")
    token = desk.planned()["token"]
    running = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "board", "flash", str(desk.image), "--foreign",
                                "--board", "pi", "--fastboot", desk.server.address, "--confirm", token],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while not any(command.startswith("flash:") for command in desk.board.commands):
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate()
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 130, said
    assert "is not complete, and does not boot: the same line goes on where it was" in said
    assert desk.records()[0]["result"] == "interrupted"


def plain(text: str) -> list[str]:
    """What was said, without what is another one each time."""
    return [re.sub(r"127\.0\.0\.1:\d+|[0-9a-f]{12}$|\S*disk\.img", "-", line.strip()) for line in text.splitlines()
            if line.strip()]


def test_lines_of_the_page_do_what_it_says(make: Make) -> None:
    page = Path(__file__).parents[3] / "docs/how-to/flash-by-fastboot.md"
    lines = [line for block in re.findall(r"^```\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
             for line in block.splitlines() if "--fastboot" in line]
    assert len(lines) == 3
    desk = make(partitions={"mmc0": (0, 40 * MIB)}, tells_sizes=True)
    word = ""
    for line in lines:
        words = shlex.split(line.replace("out/pi.img", str(desk.image))
                            .replace("tcp:192.168.1.20", desk.server.address))[2:]
        if "--dry-run" not in words:
            word = str(desk.planned("--partition", "mmc0", bare=True)["token"]) if "--partition" in words else word
            words += ["--confirm", word]
        done = CliRunner().invoke(command, [*words, "--foreign", "--wait", "0"])
        assert done.exit_code == 0, (line, done.output, done.exception)
        found = re.search(r"this plan is ([0-9a-f]+)", done.stdout)
        word = found[1] if found else word
        if "--dry-run" in words:
            assert desk.is_untouched()
            indented = "\n".join(text for text in page.read_text().splitlines() if text.startswith("    "))
            assert plain(done.stdout) == plain(indented)
    assert desk.is_right()
    assert "reboot" in desk.board.commands


@pytest.mark.parametrize(("words", "told"), [
    (["--board", "pi"], "one of --serial, --fastboot and --ums"),
    (["--serial", "/dev/x", "--fastboot", "usb"], "one of --serial, --fastboot and --ums"),
    (["--serial", "/dev/x"], "--serial needs --board"),
    (["--fastboot", "usb", "--tftp", "10.0.0.1"], "--tftp: not with --fastboot"),
    (["--ums", "usb:1-1", "--disk", "mmc 1", "--dry-run"], "--disk, --dry-run: not with --ums"),
    (["--fastboot", "usb", "--disk", "mmc 1"], "--disk needs --board"),
    (["--fastboot", "usb", "--baud", "9600"], "--baud: not with --fastboot"),
    (["--serial", "/dev/x", "--board", "pi", "--partition", "a", "--reboot"], "--partition, --reboot: not with"),
])
def test_ways_are_not_mixed(words: list[str], told: str, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"x")
    done = CliRunner().invoke(command, ["flash", str(tmp_path / "image"), *words])
    assert (done.exit_code, told in done.output) == (2, True), done.output


def test_disk_that_nobody_names_is_not_guessed(make: Make) -> None:
    failed(make().run("--dry-run", bare=True), ImagekitError, "neither --board nor --partition says it")


def test_board_whose_uboot_nobody_knows_needs_a_partition(make: Make) -> None:
    desk = make(partitions={"all": (0, 40 * MIB)}, tells_sizes=True)
    desk.default = ["--board", "sabrelite"]
    failed(desk.run("--dry-run"), UsageError, "its recipe.yaml does not say how its U-Boot is reached")
    assert desk.board.commands == []
    plan = desk.planned("--partition", "all")
    assert (plan["reads_back"], plan["blind"]) == (
        False, "the recipe of board sabrelite does not say which memory is free")


def test_board_without_commands_and_partition_is_told_what_to_do(make: Make) -> None:
    error = failed(make(runner=None).run("--dry-run"), TargetError, "it runs no commands")
    assert "--partition" in str(error.hint)
