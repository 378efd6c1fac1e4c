"""The Pi's firmware as it is played: a guest of a few instructions is loaded, resets, and is loaded again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.disk.writelog import Kind
from imagekit.errors import HostError, TargetError
from imagekit.host.tools import LocalTools
from imagekit.powercut.rebuild import check_log, open_recording
from imagekit.qemu.device import Device
from imagekit.qemu.judge import Expectation, Package
from imagekit.qemu.machine import MACHINES, Accelerator, load_machine
from imagekit.qemu.surgery import Disk
from imagekit.qemu.surgery_piboot import install_piboot, name_slot, set_slot_files, slot_files
from imagekit.qemu.workbench import copy_sparse
from tests.boot.stock import missing_tool
from tests.tools.small_boards import PI_TREES, PIBOOT

pytestmark = pytest.mark.boot

PM, UART = 0x3F100000, 0x3F215040  # power management; data register of the second serial line
RSTC, RSTS, PASSWORD, FULL_RESET = 0x1C, 0x20, 0x5A000000, 0x20


def load_word(register: int, value: int) -> list[int]:
    """movz and movk: a 32-bit value into a register."""
    return [0xD2800000 | (value & 0xFFFF) << 5 | register, 0xF2A00000 | (value >> 16) << 5 | register]


def store(offset: int) -> int:
    """str w1, [x0, #offset]"""
    return 0xB9000001 | offset // 4 << 10


def guest(says: str, *, reset_into: int | None = None) -> bytes:
    """A program for a bare Pi 3: it says a line, and resets into a partition or stays where it is."""
    code = load_word(0, UART)
    for letter in f"{says}\n":
        code += [*load_word(1, ord(letter)), store(0)]
    if reset_into is not None:
        number = sum((reset_into >> bit & 1) << 2 * bit for bit in range(6))
        code += [*load_word(0, PM), *load_word(1, PASSWORD | number), store(RSTS),
                 *load_word(1, PASSWORD | FULL_RESET), store(RSTC)]
    code.append(0x14000000)  # b .
    return b"".join(word.to_bytes(4, "little") for word in code)


def least_tree() -> bytes:
    """A device tree of one node with its two sizes: the least that QEMU takes (Devicetree Specification, chapter 5)."""
    names = b"#address-cells\0#size-cells\0"
    words = (1, 0, 3, 4, 0, 1, 3, 4, names.index(b"#size"), 1, 2, 9)
    body = b"".join(word.to_bytes(4, "big") for word in words)
    head = (0xD00DFEED, 56 + len(body) + len(names), 56, 56 + len(body), 40, 17, 16, 0, len(names), len(body))
    return b"".join(word.to_bytes(4, "big") for word in head) + bytes(16) + body + names


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both slots filled; each with a kernel that says which it is. autoboot.txt names slot a."""
    try:
        LocalTools().find("qemu-system-aarch64")
    except HostError as error:
        missing_tool(error.message)
    folder = tmp_path_factory.mktemp("piboot")
    trees = {f"dtbs/broadcom/{name}": least_tree() for name in PI_TREES}
    done = PIBOOT.build(folder, kernel={**PIBOOT.kernel, **trees})
    assert done.returncode == 0, done.stderr
    packages, image = folder / "packages", folder / "out/pc.img"
    with Disk(image) as disk:
        install_piboot(disk, Slot.B, base=packages / "debian-13_1.snap", kernel=packages / "pc-kernel_1.snap")
        name_slot(disk, Slot.A)
    return image


@pytest.fixture
def device(card: Path) -> Iterator[Device]:
    package = Package(name="x", revision=1, root="0" * 64)
    machine = load_machine(str(Path(__file__).parent / "bare-pi.yaml"), [MACHINES])
    with Device(card, tools=LocalTools(), machine=machine, accelerator=Accelerator.TCG,
                expectation=Expectation(model="x", kernel=package, base=package)) as made:
        yield made


def put_kernels(device: Device, kernels: dict[Slot, bytes]) -> None:
    with device.disk() as disk:
        for slot, kernel in kernels.items():
            files = slot_files(disk, slot)
            set_slot_files(disk, slot, {**files, "Image": kernel})


def test_guest_that_resets_into_a_partition_is_loaded_from_there(device: Device) -> None:
    put_kernels(device, {Slot.A: guest("this is slot a", reset_into=3), Slot.B: guest("this is slot b")})
    device.power_on()
    device.expect(r"firmware: autoboot\.txt names partition 2$")
    device.expect("^this is slot a$")
    device.expect("firmware: the reset asks for partition 3")
    device.expect("^this is slot b$")
    assert [boot.cause for boot in device.boots] == ["power on", "the guest's reset (guest-reset)"]


def test_reset_without_a_partition_and_one_from_outside_go_by_autoboot(device: Device) -> None:
    put_kernels(device, {Slot.A: guest("this is slot a")})
    device.power_on()
    device.expect("^this is slot a$")
    device.power_cut()
    with device.disk() as disk:
        name_slot(disk, Slot.B)
    put_kernels(device, {Slot.B: guest("this is slot b")})
    device.power_on()
    device.expect("^this is slot b$")
    with pytest.raises(TargetError, match="not healthy after"):
        device.reboot(slot=None, deadline_s=5)
    device.expect(r"firmware: autoboot\.txt names partition 3$")
    device.expect("^this is slot b$")
    assert [boot.cause for boot in device.boots] == ["power on", "power on", "our reset"]


def test_reset_into_the_halt_partition_switches_the_machine_off(device: Device) -> None:
    put_kernels(device, {Slot.A: guest("this is slot a", reset_into=63)})
    with pytest.raises(TargetError, match="the guest switched itself off"):
        device.boot(slot=None, deadline_s=60)
    device.expect("^this is slot a$")
    assert len(device.boots) == 1


def test_reset_into_a_slot_without_a_kernel_ends_the_run_with_the_reason(device: Device) -> None:
    put_kernels(device, {Slot.A: guest("this is slot a", reset_into=3)})
    with device.disk() as disk:
        files = slot_files(disk, Slot.B)
        set_slot_files(disk, Slot.B, {name: raw for name, raw in files.items() if name != "Image"})
    device.power_on()
    device.expect("firmware: partition 3 has no Image")
    assert device.boots[-1].ended == "the firmware starts nothing"


def test_log_of_writes_goes_on_over_a_reset(card: Path, device: Device, tmp_path: Path) -> None:
    put_kernels(device, {Slot.A: guest("this is slot a")})
    before, log = tmp_path / "before.img", tmp_path / "writes.log"
    copy_sparse(device.disk_path, before)
    device.log_writes(log)
    device.power_on()
    device.expect("^this is slot a$")
    write_through_qemu(device, "write -P 7 1M 1k")
    with pytest.raises(TargetError, match="not healthy after"):
        device.reboot(slot=None, deadline_s=5)
    device.expect("^this is slot a$")
    write_through_qemu(device, "write -P 9 2M 512")
    device.power_cut()
    size = device.disk_path.stat().st_size
    with open_recording(before, log, size=size) as (disk, requests), device.disk_path.open("rb") as written:
        check_log(disk, requests, written)
    assert [(item.first, item.count) for item in requests if item.kind is Kind.WRITE] == [(2048, 2), (4096, 1)]
    device.power_on()
    write_through_qemu(device, "write -P 5 3M 512")
    device.power_cut()
    with open_recording(before, log, size=size) as (_, requests):
        assert [item.first for item in requests if item.kind is Kind.WRITE] == [6144], "each power-on begins anew"


def write_through_qemu(device: Device, command: str) -> None:
    """As if the guest had written it."""
    said = device._do(device._runner.execute(  # no guest here can write to a card
        "human-monitor-command", **{"command-line": f'qemu-io sd0 "{command}"'}))
    assert "error" not in said.lower(), said
