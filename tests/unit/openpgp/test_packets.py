"""The framing of OpenPGP packets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.errors import DocumentError
from imagekit.openpgp.packets import Packet, Reader, encode_mpi, encode_packet


@pytest.mark.parametrize("size", [0, 1, 191, 192, 8383, 8384, 70000])
def test_packet_comes_back_whatever_its_length(size: int) -> None:
    raw = encode_packet(5, bytes(size))
    reader = Reader(raw + b"\xc6\x00", "it")
    assert [(packet.tag, len(packet.body)) for packet in reader.packets()] == [(5, size), (6, 0)]


@pytest.mark.parametrize(("raw", "tag"), [(b"\x94\x02ab", 5), (b"\x95\x00\x02ab", 5), (b"\xb6\0\0\0\x02ab", 13)])
def test_old_format_is_read(raw: bytes, tag: int) -> None:
    assert Reader(raw, "it").packet() == Packet(tag=tag, body=b"ab")


@pytest.mark.parametrize(("raw", "reason"), [
    (b"", "cut short"), (b"\xc5", "cut short"), (b"\xc5\x05abcd", "5 bytes expected, 4 left"),
    (b"\xc5\xff\xff\xff\xff\xff", "4294967295 bytes expected"), (b"\xc5\xe1ab", "partial lengths"),
    (b"\x97abc", "0x97 does not begin a packet"), (b"\x05ab", "0x05 does not begin a packet"),
])
def test_broken_framing_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        Reader(raw, "it").packet()


def test_number_with_a_wrong_bit_count_is_refused() -> None:
    assert Reader(b"\x00\x09\x01\x01", "it").mpi() == 257
    assert Reader(b"\x00\x10\x01\x01", "it").mpi() == 257  # counted in whole bytes
    with pytest.raises(DocumentError, match="a number of 9 bits that is said to have 10"):
        Reader(b"\x00\x0a\x01\x01", "it").mpi()


def test_packet_shows_nothing_of_its_body() -> None:
    assert repr(Packet(tag=5, body=b"secret")) == "Packet(tag=5, 6 bytes)"


@given(st.integers(min_value=0, max_value=(1 << 5000) - 1))
def test_numbers_come_back(number: int) -> None:
    assert Reader(encode_mpi(number), "it").mpi() == number


@given(st.binary(max_size=300))
def test_any_bytes_are_packets_or_refused(raw: bytes) -> None:
    reader = Reader(raw, "it")
    try:
        packets = list(reader.packets())
    except DocumentError:
        return
    assert sum(len(packet.body) for packet in packets) <= len(raw)
