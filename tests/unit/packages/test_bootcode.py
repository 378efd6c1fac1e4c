"""Boot code at fixed places: found, and told apart from damaged one. The real ones are in tests/tools."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.packages.bootcode import ALLWINNER_AT, IMX_AT, BootCode, find_bootcode

STAMP = 0x5F0A6C39


def spl(code: bytes = b"\x16\x00\x00\xea" * 100) -> bytes:
    head = struct.pack("<I8sII", 0xEA000016, b"eGON.BT0", STAMP, 20 + len(code))
    total = sum(word for (word,) in struct.iter_unpack("<I", head + code)) % (1 << 32)
    return struct.pack("<I8sII", 0xEA000016, b"eGON.BT0", total, 20 + len(code)) + code


def legacy(machine: int = 2, body: bytes = b"U-Boot" * 50) -> bytes:
    fields = (0, len(body), 0, 0, zlib.crc32(body), 17, machine, 5, 0, b"U-Boot 2025.01")
    head = struct.pack(">7I4B32s", 0x27051956, 0, *fields)
    return struct.pack(">7I4B32s", 0x27051956, zlib.crc32(head), *fields) + body


def card(first: bytes, second: bytes) -> bytearray:
    raw = bytearray(1 << 17)
    raw[ALLWINNER_AT:ALLWINNER_AT + len(first)] = first
    raw[ALLWINNER_AT + 32768:ALLWINNER_AT + 32768 + len(second)] = second
    return raw


def found(raw: bytes) -> list[tuple[str, int, str | None, str]]:
    return [(item.name, item.offset, item.architecture, item.problem) for item in find_bootcode(raw)]


def test_whole_boot_code_of_allwinner_says_what_it_is_for() -> None:
    assert found(card(spl(), legacy())) == [("SPL for Allwinner", 8192, None, ""),
                                            ("U-Boot behind SPL", 40960, "armhf", "")]
    assert found(card(spl(), legacy(machine=22)))[1][2] == "arm64"


def test_boot_code_for_another_processor_has_no_name_here() -> None:
    assert found(card(spl(), legacy(machine=3)))[1][2] is None


@pytest.mark.parametrize(("at", "index", "reason"), [
    (ALLWINNER_AT + 100, 0, "its checksum does not match: the boot ROM will not start it"),
    (ALLWINNER_AT + 16, 0, "its header says it has 417"),
    (ALLWINNER_AT + 32768 + 40, 1, "its checksum does not match: SPL will not start it"),
    (ALLWINNER_AT + 32768 + 100, 1, "its checksum does not match: SPL will not start it"),
    (ALLWINNER_AT + 32768, 1, "there is none where SPL looks for it")])
def test_one_wrong_byte_is_told(at: int, index: int, reason: str) -> None:
    raw = card(spl(), legacy())
    raw[at] ^= 5
    assert [item.problem.startswith(reason) for item in find_bootcode(raw)] == [index == 0, index == 1]


def test_cut_short_boot_code_is_told() -> None:
    assert found(bytes(card(spl(), legacy())[:ALLWINNER_AT + 200]))[0][3].startswith("its header says it has 420")


def test_boot_code_of_imx_is_found_at_1_kib() -> None:
    raw = bytearray(4096)
    raw[IMX_AT:IMX_AT + 4] = b"\xd1\x00\x20\x40"
    assert list(find_bootcode(raw)) == [BootCode(name="U-Boot for i.MX", offset=1024, architecture="armhf", problem="")]


def test_card_without_boot_code_has_none() -> None:
    assert found(bytes(1 << 16)) == []


@given(st.binary(max_size=200), st.integers(0, 60000))
def test_noise_is_never_an_error(noise: bytes, length: int) -> None:
    raw = card(spl(), legacy())
    raw[ALLWINNER_AT + 12:ALLWINNER_AT + 12 + len(noise)] = noise
    assert len(list(find_bootcode(bytes(raw[:length])))) in (0, 2)
