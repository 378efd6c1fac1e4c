"""The image stays as it is, and nothing stays behind."""

from __future__ import annotations

import json
import os
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.disk.gpt import LINUX_DATA, Partition, Table, encode
from imagekit.errors import DocumentError
from imagekit.host.tools import LocalTools
from imagekit.qemu.machine import SD_CARD, Machine, load_machine
from imagekit.qemu.workbench import copy_sparse, data_extents, workbench

MIB = 1 << 20


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    with path.open("wb") as stream:
        stream.truncate(64 * MIB)
        for offset in (0, 10 * MIB + 4096, 64 * MIB - 4096):
            stream.seek(offset)
            stream.write(os.urandom(4096))
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """The PC, with firmware that is only bytes."""
    flash = tmp_path / "flash.fd"
    flash.write_bytes(b"flash")
    loaded = load_machine("pc", [Path(__file__).parents[3] / "qemu"])
    return replace(loaded, firmware=replace(loaded.firmware, code=(flash,), variables=(flash,)))


def test_sparse_copy_has_the_same_bytes_and_the_same_holes(image: Path, tmp_path: Path) -> None:
    copy_sparse(image, tmp_path / "copy.img")
    assert (tmp_path / "copy.img").read_bytes() == image.read_bytes()
    assert (tmp_path / "copy.img").stat().st_blocks <= image.stat().st_blocks + 8


def test_extents_cover_the_data_and_skip_the_holes(image: Path) -> None:
    with image.open("rb") as stream:
        extents = list(data_extents(stream.fileno(), 64 * MIB))
    assert extents[0][0] == 0
    assert extents[-1][1] == 64 * MIB
    assert sum(end - start for start, end in extents) < MIB


@pytest.mark.parametrize(("copy", "mib"), [(True, 64), (False, 64), (True, 65), (False, 65)])
def test_card_of_a_board_is_the_next_power_of_two_and_the_image_stays(image: Path, machine: Machine, copy: bool,
                                                                      mib: int) -> None:
    os.truncate(image, mib * MIB)
    tools = LocalTools()
    with workbench(tools, replace(machine, disk=SD_CARD), image, copy=copy) as bench:
        told = json.loads(tools.run("qemu-img", "info", "--output=json", bench.disk).stdout)
        assert told["virtual-size"] == (64 if mib == 64 else 128) * MIB
    assert image.stat().st_size == mib * MIB


def test_copy_is_private_and_gone_afterwards(image: Path, machine: Machine) -> None:
    before = image.read_bytes()
    with workbench(LocalTools(), machine, image, copy=True) as bench:
        assert bench.folder.stat().st_mode & 0o777 == 0o700
        with bench.disk.open("r+b") as stream:
            stream.write(b"broken")
        assert bench.firmware_variables is not None
        bench.firmware_variables.write_bytes(b"changed")
    assert not bench.folder.exists()
    assert image.read_bytes() == before
    assert machine.firmware.variables[0].read_bytes() == b"flash"


def card(path: Path, partition: str, files: dict[str, bytes]) -> Path:
    """A disk with one FAT in one partition."""
    table = Table(disk_guid=uuid.UUID(int=1), disk_size=16 * MIB, partitions=(Partition(
        index=1, name=partition, type_guid=LINUX_DATA, unique_guid=uuid.UUID(int=2), start=MIB, end=9 * MIB),))
    plan = plan_fat(8 * MIB, "BOOT", 1, [FatFile(path=name, source=raw) for name, raw in files.items()],
                    time=datetime(2024, 1, 1, tzinfo=UTC))
    with path.open("wb") as stream:
        stream.truncate(table.disk_size)
        for offset, raw in (*encode(table), *((MIB + offset, raw) for offset, raw in plan.extents)):
            assert isinstance(raw, bytes)
            stream.seek(offset)
            stream.write(raw)
    return path


def test_firmware_of_the_card_is_read_out_of_the_image(tmp_path: Path) -> None:
    machine = load_machine("arm64-uboot", [Path(__file__).parents[3] / "qemu"])
    image = card(tmp_path / "card.img", "boot", {"u-boot.bin": b"u-boot" * 1000})
    with workbench(LocalTools(), machine, image, copy=True) as bench:
        assert (bench.firmware_code, bench.firmware_variables) == (None, None)
        assert [(name, path.read_bytes()) for name, path in bench.card_files] == [("bios", b"u-boot" * 1000)]


@pytest.mark.parametrize(("partition", "file", "reason"), [
    ("other", "u-boot.bin", "it has no partition 'boot', where the machine's firmware lies"),
    ("boot", "other.bin", "u-boot"),
])
def test_card_without_its_firmware_is_refused(tmp_path: Path, partition: str, file: str, reason: str) -> None:
    machine = load_machine("arm64-uboot", [Path(__file__).parents[3] / "qemu"])
    image = card(tmp_path / "card.img", partition, {file: b"u-boot"})
    with pytest.raises(DocumentError, match=reason), workbench(LocalTools(), machine, image, copy=True):
        pass


def test_failure_inside_leaves_nothing_behind(image: Path, machine: Machine) -> None:
    with pytest.raises(KeyboardInterrupt), workbench(LocalTools(), machine, image, copy=True) as bench:
        raise KeyboardInterrupt
    assert not bench.folder.exists()


def test_kept_folder_stays(image: Path, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with workbench(LocalTools(), machine, image, copy=True, keep=True) as bench:
        pass
    assert bench.disk.exists()


def test_image_that_is_no_file_is_refused(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(DocumentError), workbench(LocalTools(), machine, tmp_path / "none.img"):
        pass
