"""Messages between the lines of a console: whole or not at all."""

from __future__ import annotations

import random

import pytest

from imagekit.boot.frames import COUNT_MAX, TEXT_MAX, Frame, Joiner, decode_frame, encode_frames
from imagekit.boot.health import LINE_MAX

MESSAGE = bytes(random.Random("a message").choices(b"abcdefghijklmnop ~imagekit:{}\"", k=3 * TEXT_MAX + 7))


def joined(lines: list[bytes], joiner: Joiner | None = None) -> list[bytes]:
    """The messages in these lines."""
    joiner = joiner or Joiner()
    wholes = [joiner.add(frame) for line in lines if (frame := decode_frame(line))]
    return [whole for whole in wholes if whole is not None]


@pytest.mark.parametrize("length", [1, TEXT_MAX - 1, TEXT_MAX, TEXT_MAX + 1, len(MESSAGE)])
def test_message_comes_back_from_its_lines(length: int) -> None:
    lines = encode_frames(MESSAGE[:length] + b"\n").splitlines()
    assert len(lines) == -(-length // TEXT_MAX)
    assert joined(lines) == [MESSAGE[:length]]


def test_longest_message_fits_the_count() -> None:
    assert joined(encode_frames(bytes(b"x" * LINE_MAX)).splitlines()) == [b"x" * LINE_MAX]
    assert len(encode_frames(b"x" * LINE_MAX).splitlines()) == COUNT_MAX


def test_lines_of_others_before_between_and_in_front_change_nothing() -> None:
    lines = encode_frames(MESSAGE).splitlines()
    noisy = [b"[  OK  ] Started", *(line for pair in ((b"Starting imagekit~" + each, b"noise") for each in lines)
                                   for line in pair)]
    assert joined(noisy) == [MESSAGE]


def test_kernel_line_inside_a_frame_is_noticed_and_the_repetition_fills_the_gap() -> None:
    lines = encode_frames(MESSAGE).splitlines()
    mangled = [*lines[:1], lines[1][:50] + b"[   12.3] usb 1-1: new device", lines[1][50:], *lines[2:]]
    joiner = Joiner()
    assert joined(mangled, joiner) == []
    assert joined(lines, joiner) == [MESSAGE]


@pytest.mark.parametrize("number", range(8))
def test_no_changed_byte_gives_another_message(number: int) -> None:
    line = encode_frames(MESSAGE[:TEXT_MAX]).rstrip(b"\n")
    draw = random.Random(number)
    for at in range(len(line)):
        changed = bytearray(line)
        changed[at] ^= draw.randrange(1, 256)
        assert joined([bytes(changed)]) == []


def test_pieces_of_two_messages_make_none() -> None:
    first, second = encode_frames(MESSAGE).splitlines(), encode_frames(MESSAGE[::-1]).splitlines()
    assert joined([*first[:2], *second[2:]]) == []


@pytest.mark.parametrize("where", ["2/1", "0/1", "1/999", "01/1"])
def test_frame_that_cannot_be_is_refused_though_its_checksum_is_right(where: str) -> None:
    import zlib

    body = b"00000000 " + where.encode() + b" x"
    assert decode_frame(b"imagekit~%08x %s~" % (zlib.crc32(body), body)) is None


def test_message_whose_own_checksum_is_wrong_is_dropped() -> None:
    assert Joiner().add(Frame(message=b"00000000", index=1, count=1, text=b"x")) is None
