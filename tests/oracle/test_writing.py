"""Canonical writing: whatever tree of headers is signed, snapd writes the same bytes, and both read the same tree."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.assertions.headers import Header, prune
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.wire import armor, decode_one, encode_content
from imagekit.testing.documents import TESTS, signing_key
from tests.oracle.ask import Conversation, Oracle, plain
from tests.oracle.samples import all_samples

pytestmark = pytest.mark.tools

EXAMPLES = int(os.environ.get("IMAGEKIT_ORACLE_TREES") or 300)
KEY = (TESTS / "keys/TEST-ONLY-brand.pem").read_text()
PLACE = armor(b"\x01 stands where a signature would")
# Types whose other headers are free, so that any tree may stand in them.
HOSTS = ("snap-build", "device-session-request", "snap-revision-provenance", "store", "snap-revision")

NAMES = st.from_regex(r"\A[a-z](-?[a-z0-9]){0,6}\Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", " ", "\n", "\n\n", "a\n", "\na", " a", "a ", "a\n  b", "- a", "a: b", "\t", "\r", "\x00", "\u2028", "é"])
TREES: st.SearchStrategy[Header] = st.recursive(
    TEXTS, lambda inner: st.lists(inner, max_size=4).map(tuple) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12)
BODIES = st.just("") | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


def explicit(headers: Mapping[str, Header]) -> dict[str, Header]:
    """With the defaults of the primary key written out, which snapd's writer forgets the place of (listed)."""
    return {**KINDS[str(headers["type"])].defaults, **headers}


@pytest.fixture(scope="module")
def conversations(oracles: tuple[Oracle, ...]) -> Iterator[list[Conversation]]:
    with ExitStack() as stack:
        yield [stack.enter_context(oracle.converse()) for oracle in oracles]


@settings(max_examples=EXAMPLES, deadline=None, derandomize="IMAGEKIT_ORACLE_TREES" not in os.environ,
          suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(host=st.sampled_from(HOSTS), more=st.dictionaries(NAMES.map(lambda name: f"x-{name}"), TREES, max_size=6),
       body=BODIES, revision=st.sampled_from(["", "0", "1", "12"]))
def test_any_tree_of_headers_is_written_in_the_same_bytes_and_read_as_the_same_tree(
        conversations: list[Conversation], host: str, more: dict[str, Header], body: str, revision: str) -> None:
    sample, _ = all_samples()[host]
    headers = {**sample, **more, **({"revision": revision} if revision else {})}
    kept = {name: value for name, header in headers.items() if (value := prune(header)) is not None}
    content = encode_content({**headers, "sign-key-sha3-384": signing_key("brand").public.key_id}, body.encode())
    mine = decode_one(content + b"\n\n" + PLACE + b"\n", name="tree")
    for conversation in conversations:
        answer = conversation.ask({"op": "encode", "headers": explicit(kept), "body": body.encode(), "key": KEY})
        assert answer["verdict"] == "accepted", answer
        assert base64.b64decode(answer["assertion"]["content"]) == content
        theirs = conversation.ask({"op": "decode", "text": mine.encode()})["assertions"][0]
        assert theirs["headers"] == {**KINDS[mine.type].defaults, **plain(mine.headers)}
        assert base64.b64decode(theirs["body"] or "") == mine.body


NEWER = {"confdb-control"}  # samples of what changed after both libraries


@pytest.mark.parametrize("name", sorted(all_samples()))
def test_sample_is_written_in_the_same_bytes(conversations: list[Conversation], name: str) -> None:
    headers, body = all_samples()[name]
    content = encode_content({**headers, "sign-key-sha3-384": signing_key("brand").public.key_id}, body)
    for conversation in conversations:
        answer = conversation.ask({"op": "encode", "headers": explicit(headers), "body": body, "key": KEY})
        known = conversation.ask({"op": "about"})["types"]
        too_new = name in NEWER or int(str(headers.get("format", "0"))) > known.get(str(headers["type"]), -1)
        assert answer["verdict"] == ("refused" if too_new else "accepted"), answer
        if not too_new:
            assert base64.b64decode(answer["assertion"]["content"]) == content
