"""Assertions and streams of them, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.assertions import wire
from imagekit.assertions.headers import Header
from imagekit.assertions.wire import (
    Assertion,
    armor,
    decode_one,
    decode_stream,
    encode_content,
    encode_stream,
    unarmor,
)
from imagekit.errors import DocumentError
from imagekit.testing.documents import REAL, real
from tests.strategies.assertions import blobs

KEY_ID = "A" * 64
SIGNATURE = armor(b"\x01 not a signature, only its place" * 9)
MODEL: dict[str, Header] = {"type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "pc",
                            "sign-key-sha3-384": KEY_ID}


def blob(headers: Mapping[str, Header] = MODEL, body: bytes = b"", signature: bytes = SIGNATURE) -> bytes:
    return encode_content(headers, body) + b"\n\n" + signature + b"\n"


def frozen(value: object) -> Header:
    if isinstance(value, dict):
        return {name: frozen(item) for name, item in value.items()}
    if isinstance(value, list):
        return tuple(frozen(item) for item in value)
    assert isinstance(value, str)
    return value


@pytest.mark.parametrize("path", sorted(path.name for path in REAL.iterdir() if path.suffix not in (".md", ".json")))
def test_real_files_are_read_and_written_back(path: str) -> None:
    raw = (REAL / path).read_bytes()
    assert encode_stream(decode_stream(raw, name=path)) == raw


@pytest.mark.parametrize("path", sorted(path.name for path in REAL.iterdir() if path.suffix not in (".md", ".json")))
def test_real_content_is_what_our_writer_makes_of_its_headers(path: str) -> None:
    for assertion in real(path):
        assert encode_content(assertion.headers, assertion.body) == assertion.content


def test_content_of_a_real_model_comes_out_of_its_json_byte_for_byte() -> None:
    model = real("valid-for-testing-pc-20.model")[0]
    headers = frozen(json.loads((REAL / "valid-for-testing-pc-20.json").read_text()))
    assert isinstance(headers, Mapping)
    assert encode_content({**headers, "sign-key-sha3-384": model.key_id}) == model.content


def test_header_order_of_the_writer() -> None:
    headers: dict[str, Header] = {
        "zeta": "1", "alpha": "2", "sign-key-sha3-384": KEY_ID, "snap-sha3-384": "x", "provenance": "mine",
        "revision": "3", "format": "1", "authority-id": "acme", "type": "snap-revision"}
    head = encode_content(headers, b"body").decode().partition("\n\n")[0]
    names = [line.partition(":")[0] for line in head.split("\n")]
    assert names == ["type", "format", "authority-id", "revision", "snap-sha3-384", "provenance", "alpha", "zeta",
                     "body-length", "sign-key-sha3-384"]


def test_defaults_and_zeros_are_left_out() -> None:
    headers: dict[str, Header] = {"type": "snap-revision", "revision": "0", "format": "0", "authority-id": "acme",
                                  "snap-sha3-384": "x", "provenance": "global-upload", "body-length": "7",
                                  "sign-key-sha3-384": KEY_ID}
    assert encode_content(headers) == (b"type: snap-revision\nauthority-id: acme\nsnap-sha3-384: x\n"
                                       b"sign-key-sha3-384: " + KEY_ID.encode())
    read = decode_one(blob(headers), name="x")
    assert read.primary_key == ("x", "global-upload") and read.revision == 0


def test_body_with_blank_lines_in_a_stream() -> None:
    key: dict[str, Header] = {"type": "account-key", "authority-id": "acme", "public-key-sha3-384": KEY_ID,
                              "sign-key-sha3-384": KEY_ID}
    stream = b"\n".join((blob(key, b"one\n\ntwo\n\n"), blob(), blob(key, "\u00fc\n".encode())))
    found = decode_stream(stream, name="x")
    assert [item.body for item in found] == [b"one\n\ntwo\n\n", b"", b"\xc3\xbc\n"]
    assert encode_stream(found) == stream
    assert decode_stream(stream + b"\n", name="x") == found
    assert decode_stream(stream.removesuffix(b"\n"), name="x") == found


def edited(old: str, new: str) -> bytes:
    raw = blob()
    assert old.encode() in raw
    return raw.replace(old.encode(), new.encode(), 1)


@pytest.mark.parametrize(("raw", "reason"), [
    (b"", "it is empty"),
    (b"\n", "the file ends before a blank line"),
    (b"\n\n", "no colon after a name"),
    (b"type: model", "the file ends before a blank line"),
    (b"type: model\n\n", "'series'|authority-id"),
    (edited("type: model", "type: modem"), "did you mean 'model'"),
    (edited("type: model\n", ""), "type: missing, expected a type of assertion: known are account,"),
    (edited("type: model\n", "type: model\nformat: 1\n"), "1 is not supported for model, at most 0 is"),
    (edited("type: model\n", "type: model\nrevision: -1\n"), "is not a number from 0 on"),
    (edited("type: model\n", "type: model\nrevision: 01\n"), "is not a number from 0 on"),
    (edited("type: model\n", "type: model\nrevision: \u0661\n"), "is not a number from 0 on"),
    (edited("authority-id: acme\n", ""), "missing, expected the account that speaks"),
    (edited("authority-id: acme", "authority-id: "), "empty, expected the account that speaks"),
    (edited("model: pc", "model: p/c"), "without slashes"),
    (edited("model: pc\n", ""), "x:1: model: missing, expected a text"),
    (edited("model: pc\n", "model:\n  - pc\n"), "x:5: model: a list is not a text"),
    (edited(KEY_ID, "A" * 63), "digest of 64 characters"),
    (edited(KEY_ID, "A" * 63 + "+"), "digest of 64 characters"),
    (edited("model: pc\n", "model: pc\nbody-length: 3\n"), "no blank line follows the 3 bytes"),
    (edited("model: pc\n", "model: pc\nbody-length: 3000000\n"), "at most 2097152 are allowed"),
    (edited("model: pc\n", f"model: pc\nbody-length: {'9' * 5000}\n"), "is not a number from 0 on"),
    (blob(signature=b"="), "not base64"),
    (blob(signature=b""), "0 bytes, allowed are 1 to"),
    (blob(signature=b"AAA\xff"), "not base64"),
    (blob(signature=b"AAAB AAAA"), "not base64"),
    (blob(signature=b"AB=="), "not canonical"),
    (blob(signature=b"A" * 4 * 40000), "160000 bytes, allowed"),
    (blob() + b"\n\n", "the file ends before a blank line"),
    (blob().replace(b"pc", b"\xff\xfe"), "not UTF-8"),
    (blob({**MODEL, "body": "x"}, b"\xff\xff"), "body: not UTF-8 at byte 0"),
])
def test_malformed_assertion_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        decode_stream(raw, name="x")


def test_problem_in_a_stream_is_reported_at_its_line() -> None:
    first = blob()
    line = first.count(b"\n") + 2
    with pytest.raises(DocumentError, match=rf"^file:{line + 1}: type: stands twice"):
        decode_stream(first + b"\n" + edited("type: model\n", "type: model\ntype: model\n"), name="file")


def test_headers_over_the_limit_are_refused_both_ways() -> None:
    with pytest.raises(DocumentError, match="at most 131072"):
        encode_content({**MODEL, "long": "x" * wire.MAX_HEADERS})
    with pytest.raises(DocumentError, match="no blank line ends them within 131072 bytes"):
        decode_stream(blob().replace(b"model: pc", b"model: pc\nlong: " + b"x" * wire.MAX_HEADERS), name="x")


def test_body_over_the_limit_is_not_written() -> None:
    with pytest.raises(DocumentError, match="at most"):
        encode_content(MODEL, b"x" * (wire.MAX_BODY + 1))


def test_largest_body_is_carried() -> None:
    assert len(decode_one(blob(body=b"x" * wire.MAX_BODY), name="x").body) == wire.MAX_BODY


def test_self_signed_kinds_carry_no_authority() -> None:
    headers: dict[str, Header] = {"type": "serial-request", "sign-key-sha3-384": KEY_ID}
    assert decode_one(blob(headers), name="x").primary_key == ()
    with pytest.raises(DocumentError, match="has none, its own key speaks"):
        decode_one(blob({**headers, "authority-id": "acme"}), name="x")


def test_lone_surrogate_is_not_written() -> None:
    with pytest.raises(DocumentError, match="is no text"):
        encode_content({**MODEL, "display-name": "\ud800"})


def test_two_assertions_are_not_one() -> None:
    with pytest.raises(DocumentError, match="holds 2 assertions, expected one"):
        decode_one(blob() + b"\n" + blob(), name="x")


def test_reading_a_list_header_as_text_is_refused() -> None:
    with pytest.raises(DocumentError, match="'snaps' must be a text"):
        decode_one(blob({**MODEL, "snaps": ("a",)}), name="x").text("snaps")


@pytest.mark.parametrize("size", [0, 1, 56, 57, 58, 114, 500])
def test_armor_survives(size: int) -> None:
    text = armor(bytes(range(256))[:1] * size)
    assert unarmor(text, what="x") == b"\x00" * size
    assert all(len(line) <= 76 for line in text.split(b"\n")) and not text.endswith(b"\n")


@given(st.lists(blobs(), min_size=1, max_size=4))
def test_any_stream_is_read_and_written_back(parts: list[bytes]) -> None:
    raw = b"\n".join(parts)
    found = decode_stream(raw, name="x")
    assert len(found) == len(parts)
    assert encode_stream(found) == raw
    assert all(encode_content(item.headers, item.body) == item.content for item in found)


@settings(max_examples=300)
@given(st.data())
def test_flipped_or_cut_stream_is_read_or_refused_never_crashes(data: st.DataObject) -> None:
    raw = bytearray(blob() + b"\n" + blob({**MODEL, "snaps": ({"name": "pc"}, "x\ny")}, b"body\n\nmore"))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(raw[:data.draw(st.integers(0, len(raw)))])
    try:
        found = decode_stream(cut, name="x")
    except DocumentError:
        return
    assert all(isinstance(item, Assertion) for item in found)
