"""MBR tables come back as they were, limits are refused, and no bytes of a disk confuse the reader."""

from __future__ import annotations

import io
import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.disk import mbr
from imagekit.errors import DocumentError, PlanError

MIB = 1 << 20


def partition(index: int, start: int, end: int, kind: int = 0x83, *, active: bool = False) -> mbr.Partition:
    return mbr.Partition(index=index, type=kind, start=start, end=end, active=active)


def table(*partitions: mbr.Partition, disk_size: int = 16 * MIB, sector: int = 512,
          signature: int = 0x12345678) -> mbr.Table:
    return mbr.Table(signature=signature, partitions=partitions, disk_size=disk_size, sector=sector)


USUAL = table(partition(1, MIB, 2 * MIB, 0x0C, active=True), partition(2, 2 * MIB, 7 * MIB),
              partition(4, 7 * MIB, 16 * MIB))


def disk(of: mbr.Table) -> bytearray:
    raw = bytearray(of.disk_size)
    for offset, piece in mbr.encode(of):
        raw[offset:offset + len(piece)] = piece
    return raw


@pytest.mark.parametrize("sector", [512, 4096])
def test_table_comes_back_as_it_was(sector: int) -> None:
    made = table(*USUAL.partitions, sector=sector)
    assert mbr.decode(io.BytesIO(disk(made)), sector=sector) == made


def test_boot_code_is_left_alone() -> None:
    ((offset, raw),) = mbr.encode(USUAL)
    assert (offset, len(raw)) == (440, 72)


def test_bytes_are_those_of_the_specification() -> None:
    raw = disk(USUAL)
    assert raw[440:446] == bytes.fromhex("785634120000")
    assert struct.unpack_from("<B3xB3xII", raw, 446) == (0x80, 0x0C, 2048, 2048)
    assert struct.unpack_from("<B3xB3xII", raw, 462) == (0, 0x83, 4096, 10240)
    assert raw[478:494] == bytes(16)
    assert raw[510:512] == b"\x55\xaa"


def test_linux_name_of_a_partition_has_signature_and_number() -> None:
    assert USUAL.partuuid(4) == "12345678-04"


def test_signature_derives_from_an_identifier_and_is_never_zero() -> None:
    assert mbr.signature_from(uuid.UUID("3dc9bd04-b55c-5e3c-b6c6-1f6c1be8cd2f")) == 0x3DC9BD04
    assert mbr.signature_from(uuid.UUID(int=5)) == 1


@pytest.mark.parametrize(("made", "reason"), [
    (table(*(partition(index, index * MIB, (index + 1) * MIB) for index in range(1, 6))), "5 partitions, it has room"),
    (table(partition(1, MIB, 3 * MIB), partition(2, 2 * MIB, 4 * MIB)), "before partition 1 ends"),
    (table(partition(1, MIB, 17 * MIB)), "usable is 512 to 16777216"),
    (table(partition(1, 0, MIB)), "usable is 512 to"),
    (table(partition(1, MIB + 1, 2 * MIB)), "multiples of 512"),
    (table(partition(1, MIB, 2 * MIB), partition(1, 2 * MIB, 3 * MIB)), "same number"),
    (table(partition(5, MIB, 2 * MIB)), "numbers 1 to 4"),
    (table(partition(1, MIB, 2 * MIB, 0)), "types 0x01 to 0xff"),
    (table(partition(1, 1 << 42, (1 << 42) + MIB), disk_size=1 << 43), "beyond what 32 bits count"),
    (table(signature=1 << 32), "cannot have one"),
    (table(sector=1024), "cannot have one"),
])
def test_table_that_cannot_be_is_refused(made: mbr.Table, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        mbr.encode(made)


def test_several_problems_are_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        mbr.encode(table(partition(1, MIB + 1, 2 * MIB), partition(2, 3 * MIB, 20 * MIB)))
    assert len(caught.value.details) == 1


def broken(offset: int, value: bytes) -> bytes:
    raw = disk(USUAL)
    raw[offset:offset + len(value)] = value
    return bytes(raw)


@pytest.mark.parametrize(("raw", "reason"), [
    (b"", "does not end with 55 aa"),
    (broken(510, b"\0\0"), "does not end with 55 aa"),
    (broken(450, b"\xee"), "only protects a GPT"),
    (broken(446, b"\x01"), "entry 1 makes no sense"),
    (broken(454, bytes(4)), "entry 1 makes no sense"),
    (broken(458, b"\xff\xff\xff\xff"), "partitions reach up to byte"),
    (broken(470, b"\0\x08\0\0"), "partitions 1 and 2 overlap"),
    (bytes(disk(USUAL))[:8 * MIB], "partitions reach up to byte 16777216, the disk has 8388608"),
])
def test_disk_that_makes_no_sense_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        mbr.decode(io.BytesIO(raw))


def test_extended_partition_is_told_and_not_followed() -> None:
    found = mbr.decode(io.BytesIO(broken(466, b"\x05")))
    assert found.problems == ("partition 2 is extended: what lies inside it is not read",)


@settings(max_examples=300, deadline=None)
@given(st.binary(min_size=510, max_size=510), st.integers(0, 1 << 20))
def test_any_first_sector_is_read_or_refused(head: bytes, more: int) -> None:
    stream = io.BytesIO(head + b"\x55\xaa" + bytes(more))
    try:
        found = mbr.decode(stream)
    except DocumentError as error:
        assert error.message.startswith("cannot read MBR partition table: ")
    else:
        assert len(found.partitions) <= 4
