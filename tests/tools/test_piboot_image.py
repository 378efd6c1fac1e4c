"""A card that the Pi's firmware boots: read back by other people's tools, followed by the model, filled by surgery."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from imagekit.boot.autoboot import AUTOBOOT_SIZE, Autoboot, decode_autoboot
from imagekit.boot.piboot import BOARDS, POWER_ON, Family, Reset, choose, rules_of
from imagekit.boot.picard import read_card
from imagekit.boot.pislot import is_whole, parse_cmdline
from imagekit.boot.slotstate import FACTORY, Slot
from imagekit.errors import ExitCode, HostError, TargetError
from imagekit.host.tools import LocalTools
from imagekit.qemu.device import Device
from imagekit.qemu.judge import Expectation, Package
from imagekit.qemu.machine import MACHINES, Accelerator, load_machine
from imagekit.qemu.pifirmware import PiFirmware, load, partition_of
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_piboot import install_piboot, name_slot, named_slot, set_slot_files, slot_files
from tests.tools.conftest import RunTool
from tests.tools.small_boards import PI_TREES, PIBOOT

pytestmark = pytest.mark.tools

PI3, PI4 = BOARDS["raspi3b"], BOARDS["raspi4b"]
FIRMWARE = PiFirmware(board=PI4, rules=rules_of(Family.PI4, date(2025, 8, 20)), reset_register=0)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("piboot")
    done = PIBOOT.build(folder)
    assert done.returncode == 0, done.stderr
    return folder / "out/pc.img"


@pytest.fixture
def both(image: Path, tmp_path: Path) -> Path:
    """A card of one's own, both slots filled, b on trial."""
    copy = tmp_path / "both.img"
    copy.write_bytes(image.read_bytes())
    packages = image.parent.parent / "packages"
    with Disk(copy) as disk:
        install_piboot(disk, Slot.B, base=packages / "debian-13_1.snap", kernel=packages / "pc-kernel_1.snap")
    return copy


def test_slot_is_a_sound_fat_that_others_read(image: Path, run_tool: RunTool, tmp_path: Path) -> None:
    for name in ("boot", "boot-a"):
        with Disk(image) as disk:
            (tmp_path / name).write_bytes(disk.read(name, 0, disk.partition(name).size))
        run_tool("fsck.fat", "-n", tmp_path / name)
    copied = {name: PIBOOT.kernel[name] for name in ("Image", "initrd")}
    for name, wanted in (copied | PI_TREES | dict(PIBOOT.own)).items():
        run_tool("mcopy", "-n", "-i", tmp_path / "boot-a", f"::{name}", tmp_path / f"out-{name}")
        assert (tmp_path / f"out-{name}").read_bytes() == wanted
    run_tool("mcopy", "-n", "-i", tmp_path / "boot", "::autoboot.txt", tmp_path / "autoboot.txt")
    assert (tmp_path / "autoboot.txt").stat().st_size == AUTOBOOT_SIZE
    assert decode_autoboot((tmp_path / "autoboot.txt").read_bytes()) == Autoboot(boot=2, trial=3)


def test_autoboot_lies_in_one_sector_of_the_card(image: Path) -> None:
    raw = image.read_bytes()
    at = raw.index(b"[all]\ntryboot_a_b=1\n")
    assert at % 512 == 0
    assert raw.count(b"[all]\ntryboot_a_b=1\n") == 1


def test_fresh_card_boots_slot_a_on_every_board_and_has_no_other(image: Path) -> None:
    with image.open("rb") as stream:
        card = read_card(stream)
    assert sorted(card) == [1, 2]
    for board in (PI3, PI4):
        found = choose(card, board=board, rules=FIRMWARE.rules).load
        assert found is not None
        assert (found.partition, found.kernel, found.initramfs) == (2, "Image", "initrd")
        entry = parse_cmdline(found.cmdline.encode(), name="cmdline.txt")
        assert (entry.slot, entry.cmdline) == (Slot.A, "console=ttyS1,115200 panic=10")
    with Disk(image) as disk:
        assert disk.state == FACTORY
        assert named_slot(disk) is Slot.A
        assert is_whole(slot_files(disk, Slot.A), Slot.A)


def test_surgery_fills_the_other_slot_for_a_trial(both: Path) -> None:
    with Disk(both) as disk:
        one, two = slot_files(disk, Slot.A), slot_files(disk, Slot.B)
        assert is_whole(two, Slot.B)
        assert not is_whole(one | {"cmdline.txt": two["cmdline.txt"]}, Slot.A)
        entries = [parse_cmdline(files["cmdline.txt"], name="x") for files in (one, two)]
        assert entries[1] == replace(entries[0], slot=Slot.B)
        assert named_slot(disk) is Slot.B
        state = disk.state
        assert state is not None
        assert (state.slot, state.tries, state.confirmed, state.other_good) == (Slot.B, 3, False, True)
        name_slot(disk, Slot.A)
        assert named_slot(disk) is Slot.A


def played(card: Path, folder: Path, reset: Reset = POWER_ON) -> dict[str, str]:
    """The options that the played firmware gives to QEMU; none: it starts nothing."""
    found = load(LocalTools(), FIRMWARE, card, folder, reset=reset, edits=())
    options = found.options or ()
    return dict(zip(options[::2], options[1::2], strict=True))


def test_played_firmware_hands_over_what_lies_in_the_slot(both: Path, tmp_path: Path) -> None:
    for reset, slot in ((POWER_ON, "b"), (Reset(tryboot=True), "a"), (Reset(partition=2), "a")):
        found = played(both, tmp_path, reset)
        assert found["-append"].startswith(f"imagekit.slot={slot} ")
        assert Path(found["-kernel"]).read_bytes() == PIBOOT.kernel["Image"]
        assert Path(found["-initrd"]).read_bytes() == PIBOOT.kernel["initrd"]
        assert Path(found["-dtb"]).read_bytes() == PI_TREES["bcm2711-rpi-4-b.dtb"]


def test_played_firmware_walks_on_from_a_slot_that_is_lost_and_stops_at_a_missing_kernel(both: Path,
                                                                                         tmp_path: Path) -> None:
    with Disk(both) as disk:
        files = slot_files(disk, Slot.B)
        set_slot_files(disk, Slot.B, {name: raw for name, raw in files.items() if name != "Image"})
        assert played(both, tmp_path) == {}
        disk.write("boot-b", 0, bytes(1 << 20))
    assert played(both, tmp_path)["-append"].startswith("imagekit.slot=a ")


@pytest.mark.parametrize(("shown", "number"), [
    ("000000003f100020: 0x00001000\r\n", 0), ("3f100020: 0x00000004\n", 2), ("3f100020: 0x00000005", 3),
    ("3f100020: 0x00000555", 63), ("3f100020: 0x00001aaa", 0)])
def test_partition_number_is_every_other_bit_of_the_register(shown: str, number: int) -> None:
    assert partition_of(shown) == number


def test_answer_that_is_no_register_is_refused() -> None:
    with pytest.raises(HostError, match="cannot read the reset register"):
        partition_of("Cannot access memory\r\n")


@pytest.mark.parametrize(("kernel", "reason"), [
    ({name: raw for name, raw in PIBOOT.kernel.items() if name != "initrd"}, "it has no initrd"),
    ({name: raw for name, raw in PIBOOT.kernel.items() if not name.endswith(".dtb")}, "no device tree below dtbs/"),
    ({**PIBOOT.kernel, "dtbs/other/bcm2711-rpi-4-b.dtb": b"x"}, "looks for bcm2711-rpi-4-b.dtb in one place"),
])
def test_kernel_that_the_firmware_could_not_boot_is_refused(tmp_path: Path, kernel: dict[str, bytes],
                                                            reason: str) -> None:
    done = PIBOOT.build(tmp_path, kernel=kernel)
    assert done.returncode == ExitCode.PLAN, done.stderr
    assert reason in done.stderr


def test_machine_whose_firmware_starts_nothing_says_why_and_waits_for_nobody(both: Path) -> None:
    with Disk(both) as disk:
        files = slot_files(disk, Slot.B)
        set_slot_files(disk, Slot.B, {name: raw for name, raw in files.items() if name != "Image"})
    package = Package(name="x", revision=1, root="0" * 64)
    with Device(both, tools=LocalTools(), machine=load_machine("pi-tryboot", [MACHINES]), accelerator=Accelerator.TCG,
                expectation=Expectation(model="x", kernel=package, base=package)) as device:
        with pytest.raises(TargetError, match="the firmware starts nothing") as caught:
            device.boot(slot=None, deadline_s=60)
        assert "partition 3 has no Image" in " ".join(line.text for line in device.transcript.lines)
        assert len(device.boots) == 1
        assert "firmware finds nothing to start" in (caught.value.hint or "")
