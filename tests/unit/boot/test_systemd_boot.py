"""The model of systemd-boot: names, order, counting."""

from __future__ import annotations

import pytest

from imagekit.boot.entries import LoaderEntry, encode_entry, entry_name, kernel_path
from imagekit.boot.slotstate import Slot
from imagekit.boot.systemd_boot import EntryName, candidates, choose, compare_versions, parse_name, slot_of

PROGRAMS = frozenset(kernel_path(slot) for slot in Slot)


def entry(slot: Slot, version: int) -> bytes:
    return encode_entry(LoaderEntry(
        slot=slot, version=version, base_root="0" * 64, kernel_root="1" * 64,
        state_partuuid="00000000-0000-4000-8000-000000000000", cmdline="quiet",
    ))


@pytest.mark.parametrize(("text", "stem", "left", "done"), [
    ("imagekit-a.conf", "imagekit-a", None, 0),
    ("imagekit-b+3.conf", "imagekit-b", 3, 0),
    ("imagekit-b+2-1.conf", "imagekit-b", 2, 1),
    ("imagekit-b+0-3.conf", "imagekit-b", 0, 3),
    ("imagekit-b+03-00.conf", "imagekit-b", 3, 0),
    ("a+1+2.conf", "a+1", 2, 0),
    ("a+x.conf", "a+x", None, 0),
    ("a+.conf", "a+", None, 0),
    ("a+1-.conf", "a+1-", None, 0),
    ("+1.conf", "+1", None, 0),
    ("a+99999999999.conf", "a+99999999999", None, 0),
    ("a+٣.conf", "a+٣", None, 0),
])
def test_counter_in_a_name(text: str, stem: str, left: int | None, done: int) -> None:
    assert parse_name(text) == EntryName(stem=stem, left=left, done=done)


def test_boot_counts_down_and_stops_at_zero() -> None:
    names = ["imagekit-b+3.conf"]
    for _ in range(4):
        names.append(parse_name(names[-1]).tried.text)
    assert names[1:] == ["imagekit-b+2-1.conf", "imagekit-b+1-2.conf", "imagekit-b+0-3.conf", "imagekit-b+0-4.conf"]
    assert parse_name(names[1]).blessed.text == "imagekit-b.conf"


def test_slot_is_read_from_names_of_ours_only() -> None:
    assert slot_of("imagekit-a.conf") is Slot.A
    assert slot_of("imagekit-b+0-3.conf") is Slot.B
    assert slot_of("imagekit-c.conf") is None
    assert slot_of("imagekit-a.efi") is None


def test_higher_version_boots() -> None:
    entries = {"imagekit-a.conf": entry(Slot.A, 9), "imagekit-b.conf": entry(Slot.B, 10)}
    choice = choose(entries, PROGRAMS)
    assert choice
    assert (choice.entry.file_name, choice.renamed_to) == ("imagekit-b.conf", "imagekit-b.conf")


def test_trial_of_a_higher_version_boots_and_is_counted() -> None:
    entries = {"imagekit-a.conf": entry(Slot.A, 1), entry_name(Slot.B, tries=3): entry(Slot.B, 2)}
    choice = choose(entries, PROGRAMS)
    assert choice
    assert choice.renamed_to == "imagekit-b+2-1.conf"


def test_entry_without_tries_left_comes_last_but_still_boots_alone() -> None:
    spent = {"imagekit-b+0-3.conf": entry(Slot.B, 2)}
    both = spent | {"imagekit-a.conf": entry(Slot.A, 1)}
    assert [item.file_name for item in candidates(both, PROGRAMS)] == ["imagekit-a.conf", "imagekit-b+0-3.conf"]
    alone = choose(spent, PROGRAMS)
    assert alone
    assert alone.renamed_to == "imagekit-b+0-4.conf"


def test_entry_whose_kernel_is_missing_is_not_in_the_menu() -> None:
    entries = {"imagekit-a.conf": entry(Slot.A, 1), "imagekit-b+3.conf": entry(Slot.B, 2)}
    choice = choose(entries, frozenset({kernel_path(Slot.A)}))
    assert choice
    assert choice.entry.file_name == "imagekit-a.conf"


def test_program_is_found_whatever_its_case_and_slashes() -> None:
    entries = {"x.conf": b"efi \\EFI\\Imagekit\\A\\KERNEL.EFI\n"}
    assert choose(entries, PROGRAMS)


@pytest.mark.parametrize("raw", [b"", b"#only\n", b"title no program\n", b"\xff\xfe\x00", b"efi\n"])
def test_empty_or_foreign_file_is_not_in_the_menu(raw: bytes) -> None:
    assert choose({"imagekit-b+3.conf": raw}, PROGRAMS) is None


def test_hidden_generated_and_other_files_are_not_in_the_menu() -> None:
    raw = entry(Slot.A, 1)
    assert choose({".a.conf": raw, "auto-x.conf": raw, "imagekit-a.new": raw}, PROGRAMS) is None


def test_entry_with_a_sort_key_precedes_one_without() -> None:
    program = b"efi /EFI/imagekit/a/kernel.efi\n"
    entries = {"z.conf": program + b"version 99\n", "a.conf": program + b"sort-key z\nversion 1\n"}
    assert [item.file_name for item in candidates(entries, PROGRAMS)] == ["a.conf", "z.conf"]


def test_equal_entries_put_more_tries_left_first() -> None:
    program = b"sort-key k\nversion 1\nefi /EFI/imagekit/a/kernel.efi\n"
    entries = {"x+1-2.conf": program, "x+2-1.conf": program, "x+2-0.conf": program}
    assert [item.file_name for item in candidates(entries, PROGRAMS)] == ["x+2-0.conf", "x+2-1.conf", "x+1-2.conf"]


@pytest.mark.parametrize(("older", "newer"), [
    ("0000000001", "0000000002"), ("9", "10"), ("1~rc1", "1"), ("1", "1.1"), ("1-1", "1.1"), ("1-1", "1^1"),
    ("", "1"), ("~", ""), ("1.a", "1.1"), ("1.A", "1.a"), ("122", "123"), ("123~rc1-1", "123"), ("123", "123-a"),
    ("123-a.1", "123^post1"), ("123-3", "123-3.1"), ("abc", "abd"),
])
def test_versions_are_ordered(older: str, newer: str) -> None:
    assert compare_versions(older, newer) < 0
    assert compare_versions(newer, older) > 0


@pytest.mark.parametrize(("one", "two"), [("1", "1"), ("01", "1"), ("0000000007", "7"), ("", "")])
def test_versions_that_are_equal(one: str, two: str) -> None:
    assert compare_versions(one, two) == 0
