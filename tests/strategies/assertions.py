"""Random headers, assertions and streams, and inputs that are hard on a reader.

What is drawn here is always sound; `spoiled` cuts and flips it. The fuzzers and the round-trip tests draw from here.
"""

from __future__ import annotations

from collections.abc import Mapping

from hypothesis import strategies as st

from imagekit.assertions.headers import Header
from imagekit.assertions.wire import armor, encode_content
from tests.documents.assertions import DIGEST, SAMPLES, wire

NAMES = st.from_regex(r"[a-z](-?[a-z0-9]){0,6}", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30) | st.text(" -:\n\rab", max_size=12)
VALUES: st.SearchStrategy[Header] = st.recursive(
    TEXTS, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12)
HEADERS: st.SearchStrategy[dict[str, Header]] = st.dictionaries(NAMES, VALUES, min_size=1, max_size=6)
BODIES = (st.text(max_size=40) | st.text("\n a", max_size=10)).map(lambda text: text.encode("utf-8", "replace"))
PLAIN: Mapping[str, Header] = {"type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme",
                               "model": "pc", "sign-key-sha3-384": DIGEST}


@st.composite
def blobs(draw: st.DrawFn) -> bytes:
    """One assertion with unknown headers of any depth, perhaps a body, and a signature of nobody."""
    extra = draw(st.dictionaries(NAMES.map(lambda name: f"x-{name}"), VALUES, max_size=4))
    body, revision = draw(BODIES), str(draw(st.integers(0, 10**9)))
    signature = armor(draw(st.binary(min_size=1, max_size=200)))
    return encode_content({**PLAIN, "revision": revision, **extra}, body) + b"\n\n" + signature + b"\n"


STREAMS = st.lists(blobs(), min_size=1, max_size=4).map(b"\n".join)
TYPED = st.sampled_from(sorted(SAMPLES)).map(lambda name: wire(name).encode())  # each is sound in all its rules


@st.composite
def spoiled(draw: st.DrawFn, streams: st.SearchStrategy[bytes] = STREAMS | TYPED) -> bytes:
    """A stream with a few bytes changed, and its end cut off."""
    raw = bytearray(draw(streams))
    for _ in range(draw(st.integers(1, 3))):
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    return bytes(raw[:draw(st.integers(0, len(raw)))])


def hard() -> Mapping[str, bytes]:
    """Inputs that take a careless reader's time, memory or stack."""
    model = wire("model").encode()
    deep = b"".join(b" " * (2 * depth) + b"-\n" for depth in range(1, 360))
    key = b"type: account-key\nauthority-id: acme\npublic-key-sha3-384: x\n"
    user = wire("system-user")
    return {
        "nothing": b"", "newline": b"\n", "only newlines": b"\n" * 1_000_000, "only zeros": bytes(1_000_000),
        "body of 4 GiB": key + b"body-length: 4294967296\n\nx\n\nAXN0\n",
        "body of a number too long": key + b"body-length: " + b"9" * 100_000 + b"\n\nx\n\nAXN0\n",
        "lists as deep as headers go": b"type: model\nx:\n" + deep + b"\n\nAXN0\n",
        "lists deeper than a stack": b"type: model\nx:\n" + b" -\n" * 100_000 + b"\n",
        "maps on one line": b"type: model\n" + b"a:" * 60_000 + b"\n\nAXN0\n",
        "as many headers as fit": b"".join(b"a%d: x\n" % number for number in range(14_000)) + b"\nAXN0\n",
        "one header as long as fits": b"type: model\nx: " + b"y" * 131_000 + b"\n\nAXN0\n",
        "one header that is longer": b"type: model\nx: " + b"y" * 2_000_000 + b"\n\nAXN0\n",
        "repeated headers": b"type: model\n" * 10_000 + b"\nAXN0\n",
        "byte order mark": b"\xef\xbb\xbf" + model, "carriage returns": model.replace(b"\n", b"\r\n"),
        "NUL": model.replace(b"model: pc", b"model: p\x00c"), "not UTF-8": model.replace(b"amd64", b"amd\xff64"),
        "half a surrogate": model.replace(b"amd64", b"\xed\xa0\x80"), "UTF-16": model.decode().encode("utf-16"),
        "signature without an end": model + b"A" * 1_000_000, "many signatures": model + b"\n\nAXN0" * 100_000,
        "pattern of patterns": wire("account-key", constraints=(
            {"headers": {"type": "model", "model": "(" * 2000 + "a*" * 100 + ")*" * 2000}},)).encode(),
        "pattern that multiplies": wire("account-key", constraints=(
            {"headers": {"type": "model", "model": "((((a{1000}){1000}){1000}){1000}){1000}"}},)).encode(),
        "email without an end": user.replace("jo@example.com", '"a b"' * 20_000).encode(),
        "name without an end": wire("validation-set", name="a-" * 50_000).encode(),
        "JSON deeper than a stack": wire("confdb-schema", body=b"[" * 100_000).encode(),
        "JSON with a long number": wire("confdb-schema", body=b"1" * 100_000).encode(),
    }
