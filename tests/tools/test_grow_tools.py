"""Growing the data partition with the device's own programs: what it may not touch."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from imagekit.device.grow import grow
from imagekit.device.machine import LocalPrograms
from imagekit.disk import gpt
from imagekit.units import KIB, MIB
from tests.tools.conftest import require
from tests.tools.device_life import machine_of

pytestmark = pytest.mark.tools

VAR = uuid.UUID("4d21b016-b534-45c2-a9fb-5c16e091fd2d")  # Discoverable Partitions Specification: variable data


class TableOnly:
    """systemd-repart for real; there is no file system to grow."""

    def run(self, *command: str) -> str:
        return LocalPrograms().run(*command) if command[0] == "systemd-repart" else ""


@pytest.mark.parametrize(("entries", "loader_at"), [(56, 8 * KIB), (128, 32 * KIB)], ids=["Allwinner", "Rockchip"])
def test_boot_loader_between_table_and_first_partition_stays(tmp_path: Path, entries: int, loader_at: int) -> None:
    """Nothing in the table says that it is there: to a program that tidies up it is free space."""
    require("systemd-repart")
    table = gpt.Table(disk_guid=uuid.UUID(int=1), disk_size=8 * MIB, entries=entries, partitions=(
        gpt.Partition(index=1, name="boot", type_guid=gpt.ESP, unique_guid=uuid.UUID(int=2), start=MIB, end=2 * MIB),
        gpt.Partition(index=2, name="data", type_guid=VAR, unique_guid=uuid.UUID(int=3), start=2 * MIB, end=6 * MIB)))
    loader = b"SPL and U-Boot! " * ((MIB - loader_at) // 16)
    disk = tmp_path / "card.img"
    with disk.open("wb") as out:
        for offset, raw in (*gpt.encode(table), (loader_at, loader)):
            out.seek(offset)
            out.write(raw)
    os.truncate(disk, 64 * MIB)
    grow(machine_of(tmp_path, disk, programs=TableOnly()), lambda line: None)
    with disk.open("rb") as stream:
        grown = gpt.decode(stream)
        stream.seek(loader_at)
        assert stream.read(len(loader)) == loader
    data = grown.find("data")
    assert data is not None
    assert data.size > 60 * MIB
    assert grown.entries == entries
    assert not grown.problems
