"""ASCII armour, taken off."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from imagekit.errors import DocumentError
from imagekit.openpgp.armor import crc24, dearmor, is_armored

KIND = "PRIVATE KEY BLOCK"
CONTENT = bytes(range(256)) * 3


def armor(content: bytes, *, kind: str = KIND, headers: str = "Comment: a\n", crc: bytes | None = None) -> bytes:
    lines = base64.encodebytes(content).decode()
    checksum = base64.b64encode(crc24(content).to_bytes(3, "big") if crc is None else crc).decode()
    return f"-----BEGIN PGP {kind}-----\n{headers}\n{lines}={checksum}\n-----END PGP {kind}-----\n".encode()


def read(raw: bytes) -> bytes:
    return dearmor(raw, kinds=(KIND,), what="text")


def test_checksum_is_the_one_of_the_standard() -> None:
    assert crc24(b"") == 0xB704CE
    assert crc24(b"123456789") == 0x21CF02


@pytest.mark.parametrize("raw", [
    armor(CONTENT), armor(CONTENT, headers=""), armor(CONTENT).replace(b"\n", b"\r\n"),
    b"here it is:\n" + armor(CONTENT) + b"yours\n", armor(CONTENT).replace(b"\nComment: a\n\n", b"\n \t\n"),
    b"\n".join(line for line in armor(CONTENT).split(b"\n") if not line.startswith(b"=")),
], ids=["headers", "none", "carriage returns", "text around", "blank line of blanks", "no checksum"])
def test_armoured_data_comes_back(raw: bytes) -> None:
    assert is_armored(raw) and read(raw) == CONTENT


def test_blocks_follow_each_other() -> None:
    assert read(armor(b"one") + b"and\n" + armor(b"two")) == b"onetwo"


@pytest.mark.parametrize(("raw", "reason"), [
    (armor(CONTENT, crc=b"abc"), "checksum of its armour is wrong"),
    (armor(CONTENT)[:-10], "cut short"),
    (armor(CONTENT)[:200], "cut short"),
    (armor(CONTENT).replace(b"AAEC", b"A*EC", 1), "not base64"),
    (armor(CONTENT).replace(b"Comment: a\n\n", b"Comment\n"), "lacks the empty line"),
    (armor(CONTENT, kind="MESSAGE"), "holds a PGP MESSAGE, expected a PRIVATE KEY BLOCK"),
    (b"-----BEGIN PGP private-----\n", "no PGP PRIVATE KEY BLOCK"),
    (b"", "no PGP PRIVATE KEY BLOCK"),
])
def test_what_is_no_whole_block_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read(raw)


def test_every_truncation_of_a_real_export_is_refused_or_empty() -> None:
    raw = (Path(__file__).parents[2] / "keys" / "gnupg" / "TEST-ONLY-curve.asc").read_bytes()
    whole = read(raw)
    for size in range(len(raw) - 1):
        with pytest.raises(DocumentError):
            read(raw[:size])
    assert read(raw[:-1]) == whole
