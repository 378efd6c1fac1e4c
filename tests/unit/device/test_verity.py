"""The kernel's answer about a device, and the reading of all of it."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from imagekit.device.verity import mounted_verity, parse_status, scrub
from imagekit.errors import TargetError

TABLE = f"1 253:3 253:3 4096 4096 300 301 sha256 {'a' * 64} {'5' * 64} 1 restart_on_corruption"


def answer(table: str, *, kind: bytes = b"verity", count: int = 1, start: int = 312) -> bytes:
    """A `struct dm_ioctl` with one `struct dm_target_spec` behind it."""
    head = struct.pack("=3I3IiIIIQ128s129s7x", 4, 48, 0, 4096, start, count, 1, 0, 0, 0, 0xFD00, b"imagekit-base", b"")
    assert len(head) == 312
    spec = struct.pack("=QQiI16s", 0, 2400, 0, 0, kind)
    return (head + spec + table.encode() + b"\0").ljust(4096, b"\0")


def test_answer_of_the_kernel_is_read() -> None:
    assert parse_status(answer(TABLE)) == (2400, "verity", TABLE)


@pytest.mark.parametrize("raw", [answer(TABLE, count=2), answer(TABLE, count=0), b"", answer(TABLE)[:100],
                                 answer(TABLE, start=5000)])
def test_answer_that_is_not_one_target_is_refused(raw: bytes) -> None:
    with pytest.raises((ValueError, struct.error)):
        parse_status(raw)


def test_mount_point_without_device_mapper_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot read the table below"):
        mounted_verity(tmp_path, control=tmp_path / "absent")
    with pytest.raises(TargetError, match="cannot read the table below"):
        mounted_verity(tmp_path / "absent")


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 20) - 1, (3 << 20) + 5])
def test_scrub_reads_to_the_last_byte(tmp_path: Path, size: int) -> None:
    (tmp_path / "device").write_bytes(bytes(size))
    assert scrub(tmp_path / "device") == size


def test_scrub_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"cannot read .*absent at byte 0"):
        scrub(tmp_path / "absent")
