"""Verdicts on values alone: what no image of a test shows."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest

from imagekit.assertions import parse_model, snap_id
from imagekit.boot.slotstate import Slot
from imagekit.disk import gpt, mbr
from imagekit.disk.probe import Content, DiskImage, DiskPartition
from imagekit.plan.inspection import DataFound, EspFound, Level, Named, PartFound, SeedFile, SeedFound, Tree, name_of
from imagekit.plan.verdicts import judge_data, judge_hybrid, judge_part, judge_record, judge_seed, judge_table
from imagekit.testing.documents import Brand
from imagekit.units import MIB

ROOT, OTHER = "ab" * 32, "cd" * 32
SIGNED = Named(root=ROOT, name="debian-13", revision=3, asserted=True, believed=True)


def part(*, content: Content | None = Content.EROFS, size: int = 8192, root: str | None = ROOT, tree: Tree = Tree.WHOLE,
         problem: str = "") -> PartFound:
    return PartFound(slot=Slot.B, part="base", partition="base-b", content=content, size=size, root=root, against=root,
                     tree=tree, broken="", programs=None, problem=problem)


def levels(item: PartFound, entry_root: str | None = None, known: tuple[Named, ...] = (SIGNED,)) -> list[Level]:
    return [verdict.level for verdict in judge_part(item, entry_root, known, None)]


@pytest.mark.parametrize(("item", "entry_root", "expected"), [
    (part(content=None, size=0, root=None), None, [Level.WRONG]),
    (part(content=Content.EMPTY, size=0, root=None), None, [Level.GOOD]),
    (part(content=Content.EMPTY, size=0, root=None), ROOT, [Level.WRONG]),
    (part(content=Content.UNKNOWN, size=0, root=None), None, [Level.NOTE]),
    (part(content=Content.UNKNOWN, size=0, root=None), ROOT, [Level.WRONG]),
    (part(size=0, root=None, problem="cut"), None, [Level.WRONG]),
    (part(), None, [Level.GOOD, Level.GOOD]),
    (part(tree=Tree.UNREAD), ROOT, [Level.NOTE, Level.GOOD]),
    (part(root=OTHER), ROOT, [Level.REFUSED, Level.GOOD]),
    (part(root=OTHER), None, [Level.GOOD, Level.REFUSED]),
])
def test_package_of_a_slot(item: PartFound, entry_root: str | None, expected: list[Level]) -> None:
    assert levels(item, entry_root) == expected


@pytest.mark.parametrize(("asserted", "believed", "level"), [
    (True, True, Level.GOOD), (True, False, Level.REFUSED), (False, False, Level.NOTE)])
def test_root_counts_as_far_as_it_is_believed(asserted: bool, believed: bool, level: Level) -> None:
    named = Named(root=ROOT, name="debian-13", revision=3, asserted=asserted, believed=believed)
    assert levels(part(), ROOT, (named,))[1] is level


def test_believed_revision_comes_before_one_that_is_not() -> None:
    forged = Named(root=ROOT, name="evil", revision=1, asserted=True, believed=False)
    assert name_of(ROOT, (forged, SIGNED)) == SIGNED
    assert name_of(ROOT, (forged,)) == forged
    assert name_of(OTHER, (forged, SIGNED)) is None


def test_package_of_that_name_by_another_trusted_root_is_refused() -> None:
    """Two roots are trusted, and each has a package of this name; the model means one of them by its id."""
    model = parse_model(Brand("acme").model())
    own, other = (replace(SIGNED, snap_id=snap_id(brand, "debian-13")) for brand in ("acme", "other"))

    def levels_of(*known: Named) -> list[Level]:
        return [verdict.level for verdict in judge_part(part(), ROOT, known, model) if verdict.check == "signature"]

    assert levels_of(own) == levels_of(other, own) == [Level.GOOD]
    assert levels_of(other) == [Level.REFUSED]


def test_kernel_of_a_model_that_names_none_is_refused() -> None:
    classic = parse_model(Brand("acme").sign({
        "type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "pc", "classic": "true",
        "timestamp": "2026-01-01T00:00:00Z"}))
    kernel = replace(part(), part="kernel", partition="kernel-b")
    assert [(verdict.level, verdict.text) for verdict in judge_part(kernel, ROOT, (SIGNED,), classic)
            if verdict.check == "signature"] == [(Level.REFUSED, "the model names no kernel")]


@pytest.mark.parametrize(("stated", "digest", "problem", "believed", "level"), [
    ("d", "d", "", True, Level.GOOD), ("d", "d", "", False, Level.NOTE), ("d", "e", "", True, Level.REFUSED),
    ("d", None, "", True, Level.NOTE), (None, None, "", False, Level.REFUSED), ("d", None, "torn", True, Level.WRONG)])
def test_package_of_the_seed(stated: str | None, digest: str | None, problem: str, believed: bool,
                             level: Level) -> None:
    file = SeedFile(name="pc", revision=1, path="snaps/pc_1.snap", stated=stated, believed=believed, digest=digest,
                    problem=problem)
    seed = SeedFound(problem="", model=None, model_state="malformed", model_cause=None, signatures=(), known=(),
                     files=(file,))
    assert [verdict.level for verdict in judge_seed(seed)] == [level]


def test_disk_without_record_or_data_is_wrong() -> None:
    assert [verdict.level for verdict in judge_record((), None)] == [Level.WRONG]
    nothing = DataFound(content=None, room=0, condition=None, problem="there is no data partition")
    assert [verdict.text for verdict in judge_data(nothing)] == [
        "there is no data partition: the device would run without, degraded"]


def card(*types: int) -> DiskImage:
    """A disk with a boot partition, which the MBR lists with each of these types."""
    boot = gpt.Partition(index=1, name="boot", type_guid=gpt.ESP, unique_guid=uuid.UUID(int=1), start=MIB, end=2 * MIB)
    listed = tuple(mbr.Partition(index=index, type=kind, start=boot.start, end=boot.end)
                   for index, kind in enumerate(types, 1))
    return DiskImage(size=4 * MIB, partitions=(DiskPartition(partition=boot, content=Content.FAT),),
                     table=gpt.Table(disk_guid=uuid.UUID(int=2), partitions=(boot,), disk_size=4 * MIB, hybrid=listed))


@pytest.mark.parametrize(("programs", "types", "expected"), [
    ((), (), []), ((), (0xDA,), [Level.GOOD]), (("bootcode.bin",), (0x0C,), [Level.GOOD]),
    (("bootcode.bin",), (), [Level.WRONG]), (("bootcode.bin",), (0xEF, 0x0C), [Level.GOOD, Level.GOOD, Level.WRONG])])
def test_card_of_a_pi_needs_its_boot_partition_first_in_the_mbr(programs: tuple[str, ...], types: tuple[int, ...],
                                                                expected: list[Level]) -> None:
    esp = EspFound(problem="", loaders=(), entries=(), raw_entries={}, programs=frozenset(programs), offered=(),
                   settings={}, uboot=True)
    assert [verdict.level for verdict in judge_hybrid(card(*types), esp)] == expected


def test_two_partitions_of_one_name_or_guid_are_wrong() -> None:
    whole = card()
    (boot,) = whole.table.partitions
    twin = replace(boot, index=10, start=2 * MIB, end=3 * MIB)
    other = replace(twin, index=11, unique_guid=uuid.UUID(int=3), start=3 * MIB, end=4 * MIB)
    table = replace(whole.table, partitions=(boot, twin, other))
    image = replace(whole, table=table, partitions=tuple(
        DiskPartition(partition=item, content=Content.FAT) for item in table.partitions))
    assert [(verdict.about, verdict.text) for verdict in judge_table(image) if verdict.level is Level.WRONG] == [
        ("boot", "partitions 1, 10 and 11 have this name, and a device takes one of them"),
        ("partition table", f"partitions 1 and 10 have the GUID {boot.unique_guid}")]
