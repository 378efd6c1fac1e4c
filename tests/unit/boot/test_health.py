"""The health protocol: messages on one line, and nothing else taken for one."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.boot.health import LINE_MAX, Challenge, Check, Hello, Message, Verdict, decode_message, encode_message
from imagekit.errors import DocumentError

VERDICT = Verdict(
    nonce="0f" * 32, healthy=True, slot="a", base_root="1" * 64, kernel_root="2" * 64, confirmed=True, reasons=(),
    checks=(Check(name="scrub", ok=True, detail="1 byte"),), phases={"kernel": 2.5, "health": 3.0}, degraded=False,
)


@pytest.mark.parametrize("message", [
    Hello(boot_id="b0"), Challenge(nonce="ab" * 32), Challenge(nonce=""), VERDICT,
    replace(VERDICT, healthy=False, reasons=("units: ä\n\"",), slot="b", base_root="", nonce=""),
])
def test_message_is_one_line_and_reads_back(message: Message) -> None:
    line = encode_message(message)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_message(line) == message


def test_verdict_has_the_documented_fields() -> None:
    assert json.loads(encode_message(VERDICT)) == {
        "imagekit": 1, "type": "verdict", "nonce": "0f" * 32, "healthy": True, "slot": "a", "base_root": "1" * 64,
        "kernel_root": "2" * 64, "confirmed": True, "reasons": [],
        "checks": [{"name": "scrub", "ok": True, "detail": "1 byte"}], "phases": {"kernel": 2.5, "health": 3.0},
        "degraded": False,
    }


def test_unknown_keys_are_ignored() -> None:
    assert decode_message(b'{"imagekit":1,"type":"hello","boot_id":"x","later":[1]}') == Hello(boot_id="x")


@pytest.mark.parametrize("line", [
    b"", b"{", b"[]", b"null", b"1", b"\xff\xfe", b'{"imagekit":1}', b'{"imagekit":2,"type":"hello","boot_id":"x"}',
    b'{"imagekit":true,"type":"hello","boot_id":"x"}', b'{"imagekit":"1","type":"hello","boot_id":"x"}',
    b'{"imagekit":1,"type":"hello"}', b'{"imagekit":1,"type":"hello","boot_id":7}', b'{"imagekit":1,"type":["hello"]}',
    b'{"imagekit":1,"type":"goodbye"}', b'{"imagekit":1,"type":"challenge","nonce":"AB"}',
    b'{"imagekit":1,"type":"challenge","nonce":"' + b"a" * 63 + b'"}',
    b"[" * 60_000, b'{"imagekit":1,"type":"hello","boot_id":"' + b"x" * LINE_MAX + b'"}', b"9" * 60_000,
])
def test_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(DocumentError, match="cannot read a health message"):
        decode_message(line)


@pytest.mark.parametrize(("field", "value"), [
    ("nonce", "x"), ("nonce", None), ("healthy", 1), ("healthy", "true"), ("slot", "c"), ("slot", 1),
    ("base_root", "0" * 63), ("kernel_root", "G" * 64), ("confirmed", None), ("reasons", "x"), ("reasons", [1]),
    ("checks", {}), ("checks", ["x"]), ("checks", [{"name": "x", "ok": True}]), ("phases", []),
    ("phases", {"kernel": "2"}), ("phases", {"kernel": -1}), ("phases", {"kernel": 10**400}), ("degraded", 0),
    ("phases", {"kernel": float("nan")}), ("phases", {"kernel": float("inf")}),
])
def test_verdict_with_a_wrong_field_is_refused(field: str, value: object) -> None:
    fields = json.loads(encode_message(VERDICT)) | {field: value}
    with pytest.raises(DocumentError):
        decode_message(json.dumps(fields).encode())


@pytest.mark.parametrize("field", ["nonce", "healthy", "slot", "base_root", "reasons", "checks", "phases"])
def test_verdict_without_a_field_is_refused(field: str) -> None:
    fields = json.loads(encode_message(VERDICT))
    del fields[field]
    with pytest.raises(DocumentError):
        decode_message(json.dumps(fields).encode())


@given(st.binary(max_size=300))
def test_noise_on_the_port_is_a_refusal_and_never_a_crash(line: bytes) -> None:
    with pytest.raises(DocumentError):
        decode_message(line)


@given(st.integers(min_value=0, max_value=len(encode_message(VERDICT)) - 2))
def test_verdict_cut_short_is_refused(size: int) -> None:
    with pytest.raises(DocumentError):
        decode_message(encode_message(VERDICT)[:size])
