"""A real image boots and is healthy; control images that differ in one thing are not."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.entries import ENTRY_FOLDER, encode_entry
from imagekit.boot.numbers import NUMBER_SIZE, RESET
from imagekit.boot.slotstate import Slot
from imagekit.qemu.device import Device
from imagekit.qemu.surgery import Disk
from imagekit.qemu.workbench import copy_sparse
from imagekit.units import SECTOR
from tests.boot.boards import ARM64_UBOOT
from tests.boot.stock import Stock, StockOf, imagekit

pytestmark = pytest.mark.boot


def boot(stock: Stock, image: Path, *args: str) -> tuple[int, dict[str, object]]:
    """`imagekit boot --json`: its exit code and its document."""
    ended = imagekit("boot", image, "--json", "--trust", stock.trust, *args, data=stock.data)
    return ended.returncode, json.loads(ended.stdout)


def refused(told: dict[str, object]) -> str:
    failure = told["failure"]
    assert isinstance(failure, dict)
    return "; ".join(failure["reasons"])


def test_image_boots_healthy_and_is_not_changed(board_stock: Stock) -> None:
    stock = board_stock
    before = stock.image.stat()
    code, told = boot(stock, stock.image, "--machine", stock.board.name, "--deadline",
                      f"{stock.board.deadline_s:g}")
    assert (code, told["healthy"], told["slot"], told["reboots"]) == (0, True, "a", 0), told
    verdict = told["verdict"]
    assert isinstance(verdict, dict)
    assert (verdict["degraded"], verdict["reasons"]) == (False, [])
    phases = told["phases"]
    assert isinstance(phases, dict)
    assert set(phases) == {"firmware", "loader", "kernel", "initrd", "systemd", "health"}
    after = stock.image.stat()
    assert (before.st_mtime_ns, before.st_blocks) == (after.st_mtime_ns, after.st_blocks)
    manifest = json.loads((stock.image.parent / "manifest.json").read_text())
    assert manifest["booted"]["machine"] == stock.board.name
    assert manifest["booted"]["digest"] == manifest["image"]["digest"]


@pytest.mark.parametrize("at", [
    pytest.param(2 * SECTOR, id="entries"),  # whose checksum is in the header before them
    pytest.param(SECTOR + 72 + 4, id="header"),  # the entries lie far behind the end of the disk
])
def test_table_that_is_damaged_is_read_from_its_backup(stock_of: StockOf, tmp_path: Path, at: int) -> None:
    """U-Boot does that by itself, Linux with `gpt` among its arguments; UEFI firmware mends the table before."""
    stock = stock_of(ARM64_UBOOT)
    torn = tmp_path / "torn.img"
    copy_sparse(stock.image, torn)
    with torn.open("r+b") as disk:
        disk.seek(at)
        was = disk.read(1)
        disk.seek(at)
        disk.write(bytes((was[0] ^ 1,)))
    code, told = boot(stock, torn, "--machine", stock.board.name, "--deadline", f"{stock.board.deadline_s:g}")
    assert (code, told["healthy"], told["slot"]) == (0, True, "a"), told


@pytest.fixture
def control(stock: Stock, tmp_path: Path) -> Path:
    """A copy of the image, to be changed in one thing."""
    path = tmp_path / "control.img"
    copy_sparse(stock.image, path)
    return path


@pytest.mark.parametrize(("part", "machine"), [("base", "pc-ahci"), ("kernel", "pc-nvme")])
def test_other_revision_of_one_package_is_healthy_by_itself_and_refused(stock: Stock, control: Path, part: str,
                                                                        machine: str) -> None:
    with Disk(control) as disk:
        base = stock.other_base if part == "base" else stock.base
        kernel = stock.other_kernel if part == "kernel" else stock.kernel
        name, entry = disk.entries()[Slot.A]
        roots = {"base": disk.put_package("base-a", base), "kernel": disk.put_package("kernel-a", kernel)}
        files = disk.esp_files()
        files[f"{ENTRY_FOLDER}/{name}"] = encode_entry(
            replace(entry, base_root=roots["base"], kernel_root=roots["kernel"]))
        disk.set_esp_files(files)
    code, told = boot(stock, control, "--machine", machine)  # and so the other controllers are seen to work
    verdict = told["verdict"]
    assert isinstance(verdict, dict)
    assert (verdict["healthy"], told["machine"]) == (True, machine)
    assert code == 7
    assert f"the {part} that runs is" in refused(told)


def test_other_slot_is_healthy_by_itself_and_refused(stock: Stock, control: Path) -> None:
    with Disk(control) as disk:
        disk.install(Slot.B, base=stock.base, kernel=stock.kernel, tries=None)
    code, told = boot(stock, control)
    assert (code, told["slot"]) == (7, "b")
    assert refused(told) == "slot b came up, slot a is expected"


def test_image_without_a_loader_fails_in_the_firmware_by_name(stock: Stock, control: Path) -> None:
    with Disk(control) as disk:
        disk.set_esp_files({"readme.txt": b"nothing to boot"})
    code, told = boot(stock, control, "--deadline", "25")
    failure = told["failure"]
    assert isinstance(failure, dict)
    assert (code, failure["phase"]) == (7, "firmware")
    assert failure["hint"]


def data_files(device: Device, *words: str) -> str:
    """What debugfs says of the data partition, which starts somewhere on the disk."""
    with device.disk() as disk:
        start = disk.partition("data").start
    done = subprocess.run(["debugfs", *words, f"{device.disk_path}?offset={start}"], capture_output=True, text=True,
                          check=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"})
    return done.stdout


def test_device_survives_a_power_cut_and_a_reset_and_is_emptied_when_somebody_asked(device: Device, tmp_path: Path
                                                                                    ) -> None:
    device.power_on()
    device.expect(r"imagekit: phase verity")
    device.power_cut()
    (tmp_path / "secret").write_text("secret\n")
    data_files(device, "-w", "-R", f"write {tmp_path / 'secret'} secret")
    assert "/secret/" in data_files(device, "-R", "ls -p /")
    with device.disk() as disk:
        disk.write("slot-state", RESET.offset, RESET.encode(1))
    first = device.boot()
    assert "factory reset: the data partition is emptied" in device.transcript.text()
    assert first.number == 2
    identity = first.dialogue.boot_id
    second = device.reboot()
    assert second.dialogue.boot_id != identity
    assert device.slot == "a"
    device.power_cut()
    with device.disk() as disk:
        state = disk.state
        assert state is not None
        assert (state.slot, state.confirmed, state.unhealthy) == (Slot.A, True, 0)
        assert RESET.decode(disk.read("slot-state", RESET.offset, NUMBER_SIZE)) == 0
    assert device.transcript.text().count("factory reset: ") == 1
    assert "/secret/" not in data_files(device, "-R", "ls -p /")
