"""Canonical writing, for the oracle: what our writer does on purpose otherwise. Random trees: `test_writing.py`."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from functools import partial

from imagekit.assertions.headers import Header
from imagekit.assertions.wire import encode_content
from imagekit.testing.documents import TESTS, signing_key
from tests.oracle.compare import Case, judged
from tests.oracle.samples import Tree, all_samples

KEY = (TESTS / "keys/TEST-ONLY-brand.pem").read_text()

EDGES: Mapping[str, Tree] = {
    "default of the primary key left out": all_samples()["snap-revision"][0],
    "default of the primary key written out": {**all_samples()["snap-revision"][0], "provenance": "global-upload"},
    "empty list in a map": {**all_samples()["snap-build"][0], "x-a": {"b": ()}},
    "empty maps in a list": {**all_samples()["snap-build"][0], "x-a": ({}, {})},
    "empty list": {**all_samples()["snap-build"][0], "x-a": ()},
    "empty among others": {**all_samples()["snap-build"][0], "x-a": ("b", (), {"c": {}})},
    "revision 0": {**all_samples()["snap-build"][0], "revision": "0"},
    "format 0": {**all_samples()["snap-build"][0], "format": "0"},
    "format below what is said": {**all_samples()["account-key-constraints"][0], "format": "0"},
    "name with a capital": {**all_samples()["snap-build"][0], "x-A": "b"},
    "name in a map that is none": {**all_samples()["snap-build"][0], "x-a": {"B": "c"}},
    "body": all_samples()["repair"][0],
}


def content(headers: Mapping[str, Header], body: bytes) -> dict[str, bytes]:
    return {"content": encode_content({**headers, "sign-key-sha3-384": signing_key("brand").public.key_id}, body)}


def cases(count: int = 0, seed: int = 0) -> Iterator[Case]:
    """The edges of writing, whatever the count."""
    for name, headers in EDGES.items():
        body = all_samples()["repair"][1] if name == "body" else b""
        if headers["type"] == "account-key":
            body = all_samples()["account-key-constraints"][1]
        yield Case(kind="writing", name=name, document=repr(headers).encode(),
                   judge=partial(judged, partial(content, headers, body)),
                   request={"op": "encode", "headers": headers, "body": body, "key": KEY},
                   understand=lambda answer: {"content": base64.b64decode(answer["assertion"]["content"])})
