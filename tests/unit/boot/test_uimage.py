"""Boot scripts: read back, and refused wherever a bit is wrong."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.uimage import ARCHITECTURES, BootScript, decode_script, encode_script
from imagekit.errors import DocumentError

SCRIPT = BootScript(text="echo hello\nreset\n", name="imagekit", architecture="arm64", time=1700000000)


@given(st.text(st.characters(max_codepoint=126)), st.sampled_from(sorted(ARCHITECTURES)),
       st.integers(min_value=0, max_value=2**32 - 1))
def test_every_script_is_read_back(text: str, architecture: str, time: int) -> None:
    script = BootScript(text=text, name="any", architecture=architecture, time=time)
    assert decode_script(encode_script(script), name="boot.scr") == script


def test_any_flipped_bit_is_refused() -> None:
    raw = encode_script(SCRIPT)
    for bit in range(len(raw) * 8):
        damaged = bytearray(raw)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(DocumentError, match="cannot read boot script"):
            decode_script(bytes(damaged), name="boot.scr")


def test_script_cut_short_is_refused() -> None:
    raw = encode_script(SCRIPT)
    for size in range(len(raw)):
        with pytest.raises(DocumentError, match="cannot read boot script"):
            decode_script(raw[:size], name="boot.scr")


@pytest.mark.parametrize(("at", "value"), [(28, 17), (29, 5), (30, 2), (31, 1)])
def test_other_kind_of_image_is_refused(at: int, value: int) -> None:
    raw = bytearray(encode_script(SCRIPT))
    raw[at] = value
    raw[4:8] = zlib.crc32(bytes(raw[:4]) + bytes(4) + bytes(raw[8:64])).to_bytes(4, "big")
    with pytest.raises(DocumentError, match=r"not a script|architecture"):
        decode_script(bytes(raw), name="boot.scr")


@pytest.mark.parametrize("other", [
    BootScript(text="", name="n" * 33, architecture="arm64", time=0),
    BootScript(text="", name="n", architecture="amd64", time=0),
    BootScript(text="", name="n", architecture="arm64", time=2**32),
])
def test_what_the_header_cannot_hold_is_refused(other: BootScript) -> None:
    with pytest.raises(DocumentError, match="cannot encode boot script"):
        encode_script(other)
