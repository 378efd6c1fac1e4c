"""The record on its partition."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.ledger import LEDGER_OFFSET, encode_ledger
from imagekit.boot.slotstate import COPY_OFFSETS, FACTORY, begin_boot, encode_partition, encode_record
from imagekit.device.state import StatePartition
from imagekit.errors import TargetError


def test_writes_alternate_and_the_newest_counts(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(encode_partition(FACTORY))
    partition = StatePartition(device=path)
    state = FACTORY
    for number in range(1, 6):
        state = begin_boot(state, state.slot).record
        before = path.read_bytes()
        partition.store(state)
        assert partition.load() == state
        changed = COPY_OFFSETS[number % 2]
        after = path.read_bytes()
        assert after[changed:changed + 512] == encode_record(state)
        assert after[:changed] == before[:changed]
        assert after[changed + 512:] == before[changed + 512:]


def test_record_counts_as_written_only_when_it_was_flushed() -> None:
    """A null device takes every write, and no flush."""
    with pytest.raises(TargetError, match="cannot write the slot-state record on /dev/null: Invalid argument"):
        StatePartition(device=Path("/dev/null")).store(FACTORY)
    with pytest.raises(TargetError, match="Invalid argument"):
        StatePartition(device=Path("/dev/null")).want_reset(True)


def test_torn_write_leaves_the_state_before_it(tmp_path: Path) -> None:
    path = tmp_path / "state"
    partition = StatePartition(device=path)
    path.write_bytes(encode_partition(FACTORY))
    partition.store(replace(FACTORY, generation=2, unhealthy=1))
    raw = bytearray(path.read_bytes())
    raw[COPY_OFFSETS[1] + 300:COPY_OFFSETS[1] + 512] = b"\xff" * 212
    path.write_bytes(raw)
    assert partition.load() == FACTORY


def test_ledger_is_cleared_and_a_clear_one_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "state"
    front = encode_partition(FACTORY).ljust(LEDGER_OFFSET, b"\0")
    path.write_bytes(front + encode_ledger(6))
    partition = StatePartition(device=path)
    partition.clear_ledger()
    assert path.read_bytes() == front + encode_ledger(0)
    for untouched in (front + bytes(512), front, front + b"\xff" * 512):
        path.write_bytes(untouched)
        partition.clear_ledger()
        assert path.read_bytes() == untouched
    path.unlink()
    with pytest.raises(TargetError, match="cannot write"):
        partition.clear_ledger()


@pytest.mark.parametrize("raw", [b"", bytes(8192), b"\xff" * 100])
def test_lost_record_is_none(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "state").write_bytes(raw)
    assert StatePartition(device=tmp_path / "state").load() is None


def test_missing_partition_is_refused_with_its_name(tmp_path: Path) -> None:
    partition = StatePartition(device=tmp_path / "vda2")
    with pytest.raises(TargetError, match=r"cannot read the slot-state record on .*vda2"):
        partition.load()
    with pytest.raises(TargetError, match=r"cannot write the slot-state record on .*vda2"):
        partition.store(FACTORY)
