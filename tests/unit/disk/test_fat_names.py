from __future__ import annotations

import pytest

from imagekit.disk.fat_names import aliases, check_name, checksum, encode_long, needs_long
from imagekit.errors import PlanError


@pytest.mark.parametrize(("name", "alias"), [
    ("BOOTX64.EFI", b"BOOTX64 EFI"), ("A", b"A          "), ("MODEL-1", b"MODEL-1    "), ("{A}~B#.C_D", b"{A}~B#  C_D"),
])
def test_short_name_in_capitals_needs_no_long_one(name: str, alias: bytes) -> None:
    assert aliases([name]) == {name: alias}
    assert not needs_long(name)
    assert encode_long(name, alias) == b""


@pytest.mark.parametrize(("name", "alias"), [
    ("startup.nsh", b"STARTUP NSH"), ("Efi", b"EFI        "),
    ("imagekit-a.conf", b"IMAGEK~1CON"), ("a b", b"AB~1       "), (".hidden", b"HIDDEN~1   "),
    ("archive.tar.gz", b"ARCHIV~1GZ "), ("imagekit-b+3.conf", b"IMAGEK~1CON"), ("ünï", b"_N_~1      "),
    ("x.", None), ("...x", b"X~1        "), ("+", b"_~1        "), ("NAME.LONG", b"NAME~1  LON"),
])
def test_other_names_get_an_alias_and_a_long_name(name: str, alias: bytes | None) -> None:
    if alias is None:
        with pytest.raises(PlanError):
            aliases([name])
        return
    assert aliases([name]) == {name: alias}
    assert needs_long(name)


def test_tails_count_up_and_step_aside_for_true_short_names() -> None:
    names = [f"imagekit-{index}.conf" for index in range(12)] + ["IMAGEK~2.CON"]
    found = aliases(names)
    assert found["IMAGEK~2.CON"] == b"IMAGEK~2CON"
    assert found["imagekit-1.conf"] == b"IMAGEK~3CON"
    assert found["imagekit-11.conf"] == b"IMAGE~13CON"
    assert len(set(found.values())) == 13


@pytest.mark.parametrize("name", ["", ".", "..", "a:b", "a\\b", "a*", "a\0", "a\n", "end.", "end ", " start",
                                  "n" * 256, "caf\udce9"])
def test_name_that_fat_cannot_have_is_refused(name: str) -> None:
    with pytest.raises(PlanError, match="on FAT"):
        check_name(name)


def test_names_that_differ_in_case_only_are_refused() -> None:
    with pytest.raises(PlanError, match="does not tell case apart"):
        aliases(["boot.efi", "BOOT.EFI"])


def test_long_entries_come_last_part_first() -> None:
    name = "thirteen.unit" + "s"
    raw = encode_long(name, b"THIRTE~1UNI")
    assert len(raw) == 64
    assert (raw[0], raw[32]) == (0x42, 0x01)
    assert raw[1:5] == b"s\0\0\0"
    assert raw[5:11] == b"\xff" * 6
    assert {raw[13], raw[45]} == {checksum(b"THIRTE~1UNI")}


def test_name_that_fills_its_entries_has_no_terminator() -> None:
    raw = encode_long("thirteen.unit", b"THIRTE~1UNI")
    assert len(raw) == 32
    assert raw[28:32].decode("utf-16-le") == "it"


def test_checksum_rotates() -> None:
    assert checksum(b"THEQUI~1FOX") == 0x07
