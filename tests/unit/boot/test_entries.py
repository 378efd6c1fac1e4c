"""Loader entries: 1024 bytes, and one sector of them that may change."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.entries import (
    ENTRY_SIZE,
    SECTOR,
    VERSION_MAX,
    LoaderEntry,
    encode_entry,
    entry_name,
    parse_entry,
    sector_with_version,
    with_version,
)
from imagekit.boot.slotstate import Slot
from imagekit.errors import DocumentError, PlanError

ENTRY = LoaderEntry(
    slot=Slot.A, version=1, base_root="a1" * 32, kernel_root="b2" * 32,
    state_partuuid="0a0b0c0d-1111-5222-8333-444455556666", cmdline="console=ttyS0,115200 panic=10 quiet",
)


def test_entry_fills_two_sectors_and_ranks_itself_in_the_first() -> None:
    raw = encode_entry(ENTRY)
    assert len(raw) == ENTRY_SIZE
    assert raw.endswith(b"\n")
    assert b"\nversion 0000000001\n" in raw[:SECTOR]
    assert all(line.startswith(b"#") for line in raw.splitlines()[5:])


def test_entry_reads_as_documented() -> None:
    lines = encode_entry(ENTRY).decode().splitlines()
    assert lines[:5] == [
        "title imagekit slot a", "version 0000000001", "sort-key imagekit", "efi /EFI/imagekit/a/kernel.efi",
        f"options imagekit.slot=a imagekit.base={'a1' * 32} imagekit.kernel={'b2' * 32} "
        "imagekit.state=0a0b0c0d-1111-5222-8333-444455556666 console=ttyS0,115200 panic=10 quiet",
    ]


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=400))
def test_entry_is_read_back_with_any_command_line_that_fits(cmdline: str) -> None:
    entry = LoaderEntry(
        slot=Slot.B, version=VERSION_MAX, base_root=ENTRY.base_root, kernel_root=ENTRY.kernel_root,
        state_partuuid=ENTRY.state_partuuid, cmdline=" ".join(cmdline.split()),
    )
    try:
        raw = encode_entry(entry)
    except DocumentError:
        assert "imagekit." in cmdline
        return
    assert len(raw) == ENTRY_SIZE
    assert parse_entry(raw, name="x.conf") == entry


def test_command_line_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(PlanError, match="at most 1024 fit") as caught:
        encode_entry(LoaderEntry(
            slot=Slot.A, version=1, base_root=ENTRY.base_root, kernel_root=ENTRY.kernel_root,
            state_partuuid=ENTRY.state_partuuid, cmdline="x" * 800,
        ))
    assert caught.value.hint


@pytest.mark.parametrize(("change", "message"), [
    ({"base_root": "A1" * 32}, "base root"),
    ({"kernel_root": "b2" * 31}, "kernel root"),
    ({"state_partuuid": "0A0B0C0D-1111-5222-8333-444455556666"}, "state partition"),
    ({"version": VERSION_MAX + 1}, "version"),
    ({"version": -1}, "version"),
    ({"cmdline": "quiet\noptions init=/bin/sh"}, "printable ASCII"),
    ({"cmdline": "köln"}, "printable ASCII"),
    ({"cmdline": "quiet imagekit.base=00"}, "may not set imagekit.base"),
])
def test_field_that_the_initrd_would_refuse_is_refused_here(change: dict[str, object], message: str) -> None:
    from dataclasses import replace

    with pytest.raises(DocumentError, match=message):
        encode_entry(replace(ENTRY, **change))  # type: ignore[arg-type]


def test_new_rank_changes_ten_bytes_of_the_first_sector_and_nothing_else() -> None:
    raw = encode_entry(ENTRY)
    sector = sector_with_version(raw[:SECTOR], 1_234_567_890)
    assert len(sector) == SECTOR
    changed = sector + raw[SECTOR:]
    assert parse_entry(changed, name="x") == with_version(ENTRY, 1_234_567_890)
    assert sum(one != two for one, two in zip(raw, changed, strict=True)) <= 10


@pytest.mark.parametrize("raw", [b"", b"#" * 512, b"version 1\n", b"title x\nversion 12345678901\n"])
def test_sector_without_a_rank_is_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError):
        sector_with_version(raw, 2)


@pytest.mark.parametrize("version", [-1, VERSION_MAX + 1])
def test_rank_out_of_range_is_refused(version: int) -> None:
    with pytest.raises(DocumentError):
        sector_with_version(encode_entry(ENTRY)[:SECTOR], version)


@pytest.mark.parametrize("damage", [
    b"", b"\0" * 1024, b"\xff" * 1024, encode_entry(ENTRY)[:100], encode_entry(ENTRY)[:200],
    encode_entry(ENTRY).replace(b"imagekit.slot=a", b"imagekit.slot=c"),
    encode_entry(ENTRY).replace(b"imagekit.slot=a", b"imagekit.slot=a imagekit.slot=b"),
    encode_entry(ENTRY).replace(b"imagekit.base=a1", b"imagekit.base=zz"),
    encode_entry(ENTRY).replace(b"version 0000000001", b"version 1"),
    b"options " + b"imagekit.slot=a " * 100_000,
])
def test_entry_that_is_not_ours_is_refused_with_its_name(damage: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_entry(damage, name="imagekit-a.conf")


def test_names_of_blessed_and_trial_entries() -> None:
    assert entry_name(Slot.A) == "imagekit-a.conf"
    assert entry_name(Slot.B, tries=3) == "imagekit-b+3.conf"
