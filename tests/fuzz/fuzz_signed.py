"""Assertions, keys, signatures, and what a device says of itself."""

from __future__ import annotations

import contextlib

from imagekit.assertions import PARSERS, decode_stream, encode_stream
from imagekit.boot.frames import TEXT_MAX, Joiner, decode_frame, encode_frames
from imagekit.boot.health import decode_message, encode_message
from imagekit.errors import ImagekitError
from imagekit.keys import decode_public_key, decode_signature
from imagekit.openpgp.secretkeys import decode_secret_keys


def assertions(raw: bytes) -> None:
    found = decode_stream(raw, name="fuzz")
    assert decode_stream(encode_stream(found), name="fuzz") == found
    for item in found:
        if item.type in PARSERS:
            with contextlib.suppress(ImagekitError):
                PARSERS[item.type](item)


def openpgp_key(raw: bytes) -> None:
    key = decode_public_key(raw)
    assert decode_public_key(key.encode()) == key


def openpgp_signature(raw: bytes) -> None:
    decode_signature(raw)


def openpgp_secret(raw: bytes) -> None:
    decode_secret_keys(raw)


def health(raw: bytes) -> None:
    """A message, or lines of a console that it may come over."""
    joiner = Joiner()
    for line in raw.split(b"\n"):
        frame = decode_frame(line)
        if frame is not None:
            joiner.add(frame)
        if line:
            again = [Joiner().add(frame) for each in encode_frames(line[:TEXT_MAX]).split(b"\n")
                     if (frame := decode_frame(each))]
            assert again == [line[:TEXT_MAX]]
    message = decode_message(raw)
    assert decode_message(encode_message(message)) == message
