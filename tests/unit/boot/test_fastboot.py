"""fastboot's words: answers of boot loaders, and where one is."""

from __future__ import annotations

import pytest

from imagekit.boot.fastboot import (
    Reply,
    TcpAddress,
    UsbAddress,
    Word,
    check_partition,
    decode_length,
    decode_reply,
    encode_length,
    parse_address,
    parse_number,
    parse_size,
)
from imagekit.errors import UsageError


@pytest.mark.parametrize(("packet", "reply"), [
    (b"OKAY", Reply(word=Word.OKAY, text="")),
    (b"OKAY0.4", Reply(word=Word.OKAY, text="0.4")),
    (b"FAILUnknown variable\0", Reply(word=Word.FAIL, text="Unknown variable")),
    (b"DATA00001234", Reply(word=Word.DATA, text="00001234")),
    (b"INFO\x1b[31mred\xff", Reply(word=Word.INFO, text=" [31mred\ufffd")),
    (b"", None), (b"OKA", None), (b"okay", None), (b"HELO", None), (b"INFO" + b"x" * 5000, None),
])
def test_answer_is_taken_apart_or_is_none(packet: bytes, reply: Reply | None) -> None:
    assert decode_reply(packet) == reply


@pytest.mark.parametrize(("text", "address", "name"), [
    ("tcp:board", TcpAddress(host="board", port=5554), "tcp:board:5554"),
    ("tcp:192.168.1.20:7777", TcpAddress(host="192.168.1.20", port=7777), "tcp:192.168.1.20:7777"),
    ("tcp:[fe80::1%eth0]:5554", TcpAddress(host="fe80::1%eth0"), "tcp:[fe80::1%eth0]:5554"),
    ("usb", UsbAddress(), "usb"),
    ("usb:1-1.4", UsbAddress(port="1-1.4"), "usb:1-1.4"),
    ("usb:1206-A", UsbAddress(serial="1206-A"), "usb:1206-A"),
    ("usb:1-1.4:A:7", UsbAddress(port="1-1.4", serial="A:7"), "usb:1-1.4:A:7"),
    ("usb:A:7", UsbAddress(serial="A:7"), "usb:A:7"),
])
def test_place_of_a_device_is_read_and_told(text: str, address: TcpAddress | UsbAddress, name: str) -> None:
    assert (parse_address(text), str(address)) == (address, name)


@pytest.mark.parametrize("text", ["", "tcp", "tcp:", "tcp:a:b", "tcp:a:0", "tcp:a:65536", "tcp:a/b", "usb:", "udp:a",
                                  "usb:1-1.4:", "usb:\x07", "board", "USB"])
def test_place_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="it is no place of a fastboot device"):
        parse_address(text)


@pytest.mark.parametrize("name", ["", "a:b", "-x", "x" * 37, "a b", "ä"])
def test_name_that_no_partition_has_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot use partition"):
        check_partition(name)


def test_size_of_a_partition_is_hexadecimal_whether_it_says_so_or_not() -> None:
    told = ("0x0000000747000000", "747000000", " 0x1000", "0X10", "", "0x", "large", "-1", "0x1_0", "1" * 17)
    assert [parse_size(text) for text in told] == [0x747000000, 0x747000000, 4096, 16] + 6 * [None]


def test_numbers_are_read_as_boot_loaders_write_them() -> None:
    assert [parse_number(text) for text in ("0x10000000", "268435456", " 0xff ", "-1", "large", "")] == [
        1 << 28, 1 << 28, 255, None, None, None]
    assert decode_length(encode_length(0x0102030405)) == 0x0102030405
    assert encode_length(14) == b"\0\0\0\0\0\0\0\x0e"
