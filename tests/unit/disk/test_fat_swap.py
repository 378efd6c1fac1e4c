"""Files on a FAT get new content: at every cut each is old or new, and nothing else on the volume changes."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from imagekit.disk.fat_read import read_fat
from imagekit.disk.fat_swap import FatSwap, plan_swap, plan_sweep, pointed, sector_with
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.errors import PlanError
from imagekit.units import MIB, SECTOR

NOISE = random.Random(7)
OLD = {
    "EFI/BOOT/BOOTX64.EFI": NOISE.randbytes(20_001),
    "loader/loader.conf": b"timeout 0\n",
    "startup.nsh": b"reset\r\n",
    "empty": b"",
    "a rather long name": b"kept",
    "loader/entries/imagekit-a.conf": b"title a\n".ljust(1024, b"#"),
}
NEW = {
    "EFI/BOOT/BOOTX64.EFI": NOISE.randbytes(31_000),
    "loader/loader.conf": b"",
    "empty": b"no more",
}
Write = tuple[int, bytes]


def volume(bits: int) -> bytes:
    size = 3 * MIB if bits == 16 else 33 * MIB + 512 * 1024
    plan = plan_fat(size, "ubuntu-boot", 7, [FatFile(path=path, source=content) for path, content in OLD.items()],
                    time=datetime(2026, 3, 4, tzinfo=UTC), bits=bits)
    raw = bytearray(size)
    for offset, content in plan.extents:
        assert isinstance(content, bytes)
        raw[offset:offset + len(content)] = content
    return bytes(raw)


VOLUMES = {bits: volume(bits) for bits in (16, 32)}
BITS = pytest.mark.parametrize("bits", VOLUMES)


def with_writes(raw: bytes, writes: Iterator[Write] | tuple[Write, ...] | list[Write]) -> bytes:
    changed = bytearray(raw)
    for offset, content in writes:
        changed[offset:offset + len(content)] = content
    return bytes(changed)


def files_of(raw: bytes) -> dict[str, bytes]:
    found = read_fat(io.BytesIO(raw))
    return {entry.path: found.read(entry.path) for entry in found.walk() if not entry.is_dir}


def switched(raw: bytes, swap: FatSwap, count: int) -> bytes:
    """The volume after so many switches."""
    for item in swap.switches[:count]:
        at = item.at // SECTOR * SECTOR
        raw = with_writes(raw, [sector_with(raw[at:at + SECTOR], item.at, item.new)])
    return raw


def planned(raw: bytes, files: dict[str, bytes] = NEW) -> FatSwap:
    return plan_swap(read_fat(io.BytesIO(raw)), files)


def sectors(writes: tuple[Write, ...]) -> list[Write]:
    return [(offset + at, content[at:at + SECTOR]) for offset, content in writes
            for at in range(0, len(content), SECTOR)]


@BITS
def test_all_switches_give_the_new_contents_and_nothing_else(bits: int) -> None:
    raw = VOLUMES[bits]
    swap = planned(raw)
    assert [item.path for item in swap.switches] == list(NEW)
    assert files_of(switched(with_writes(raw, swap.prepare), swap, 3)) == {**OLD, **NEW}


@BITS
def test_cut_while_preparing_leaves_every_file_old(bits: int) -> None:
    """Every prefix, and sectors of it left out, first halves only, in any order: all of it is read by nobody yet."""
    raw = VOLUMES[bits]
    pieces = sectors(planned(raw).prepare)
    assert len(pieces) > 60
    step = 1 if bits == 16 else 20  # a FAT32 is never small
    for count in range(0, len(pieces) + 1, step):
        assert files_of(with_writes(raw, pieces[:count])) == OLD
    for seed in range(50 // step + 1):
        draw = random.Random(seed)
        some = [(offset, content[:draw.choice((SECTOR, SECTOR // 2))])
                for offset, content in pieces if draw.random() < .5]
        draw.shuffle(some)
        assert files_of(with_writes(raw, some)) == OLD


@BITS
def test_cut_between_switches_leaves_each_file_old_or_new(bits: int) -> None:
    raw = VOLUMES[bits]
    swap = planned(raw)
    prepared = with_writes(raw, swap.prepare)
    for count in range(4):
        assert files_of(switched(prepared, swap, count)) == {**OLD, **dict(itertools.islice(NEW.items(), count))}


@BITS
def test_switch_changes_no_byte_outside_of_its_entry_so_that_a_torn_sector_tears_none(bits: int) -> None:
    raw = with_writes(VOLUMES[bits], planned(VOLUMES[bits]).prepare)
    for count, item in enumerate(planned(VOLUMES[bits]).switches):
        before = switched(raw, planned(VOLUMES[bits]), count)
        after = switched(raw, planned(VOLUMES[bits]), count + 1)
        changed = [at for at in range(len(before)) if before[at] != after[at]] if len(before) < 4 * MIB else [
            at for at in range(item.at - 4096, item.at + 4096) if before[at] != after[at]]
        assert changed
        assert item.at <= min(changed)
        assert max(changed) < item.at + 32
        assert item.at % 32 == 0


@BITS
def test_switch_can_be_taken_back_until_the_sweep(bits: int) -> None:
    raw = VOLUMES[bits]
    swap = planned(raw)
    there = switched(with_writes(raw, swap.prepare), swap, 3)
    back = switched(there, FatSwap(prepare=(), switches=tuple(item.back for item in swap.switches)), 3)
    assert files_of(back) == OLD


@BITS
@pytest.mark.parametrize("count", [0, 2, 3], ids=["none switched", "some", "all"])
def test_sweep_frees_what_nothing_reaches_and_no_more(bits: int, count: int) -> None:
    raw = VOLUMES[bits]
    swap = planned(raw)
    there = switched(with_writes(raw, swap.prepare), swap, count)
    clean = there
    for write in (writes := plan_sweep(read_fat(io.BytesIO(there)))):
        clean = with_writes(clean, [write])
        assert files_of(clean) == files_of(there)
    assert writes
    assert plan_sweep(read_fat(io.BytesIO(clean))) == ()
    if not count:
        fat = read_fat(io.BytesIO(raw)).geometry
        assert clean[fat.reserved:fat.root_start] == raw[fat.reserved:fat.root_start]


@BITS
def test_what_an_earlier_cut_left_taken_is_used_again(bits: int) -> None:
    raw = VOLUMES[bits]
    cut = with_writes(raw, planned(raw).prepare)
    swap = planned(cut)
    assert files_of(switched(with_writes(cut, swap.prepare), swap, 3)) == {**OLD, **NEW}
    assert swap.switches == planned(raw).switches


def test_content_that_is_there_already_is_left_out() -> None:
    swap = planned(VOLUMES[16], {"startup.nsh": OLD["startup.nsh"], "empty": b""})
    assert swap == FatSwap(prepare=(), switches=())


def test_file_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match=r"cannot replace EFI/NEW\.EFI: there is no such file"):
        planned(VOLUMES[16], {"EFI/NEW.EFI": b"x"})


def test_volume_without_room_for_both_is_refused() -> None:
    with pytest.raises(PlanError, match=r"it needs .* beside the old one"):
        planned(VOLUMES[16], {"startup.nsh": bytes(3 * MIB)})


def test_broken_chain_of_another_file_does_not_stop_it_and_its_cluster_is_left_alone() -> None:
    raw = VOLUMES[16]
    found = read_fat(io.BytesIO(raw))
    entry = found.stat("startup.nsh")
    broken = with_writes(raw, [(found.geometry.reserved + 2 * entry.cluster, b"\0\0")])
    swap = planned(broken, {"empty": b"x" * 100})
    assert all(offset != found.geometry.position(entry.cluster) for offset, _ in swap.prepare)


def test_entry_points_to_clusters_above_65535() -> None:
    entry = pointed(b"BOOT    EFI".ljust(32, b"\x20"), 0x12345, 99)
    assert (entry[20:22], entry[26:28], entry[28:32]) == (b"\x01\x00", b"\x45\x23", (99).to_bytes(4, "little"))
