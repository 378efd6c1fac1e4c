"""The channel map: a form that never changes, held against its JSON Schema, and read by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from imagekit.errors import DocumentError
from imagekit.plan.channelmap import (
    LIMIT,
    ChannelEntry,
    ChannelMap,
    Compression,
    Release,
    Revision,
    Revoked,
    UpdateClass,
    encode_channel_map,
    parse_channel_map,
)
from imagekit.plan.channels import parse_channel

TIME = datetime(2026, 11, 27, tzinfo=UTC)
REFERENCE = Path(__file__).parents[3] / "docs" / "reference"
SCHEMA = json.loads((REFERENCE / "channel-map.schema.json").read_text())
REVISION = Revision(revision=4, architectures=("amd64",), type="base", version="13.1", sha3_384="a" * 64, size=4096,
                    compression=Compression.ZSTD, update_class=UpdateClass.SECURITY, advisory="two\nlines: ü",
                    published=TIME)
MAP = ChannelMap(
    name="debian-13", snap_id="A" * 32, floors={"amd64": 3},
    revisions=(replace(REVISION, revision=3, revoked=Revoked(time=TIME, reason="eats data")), REVISION),
    channels=(ChannelEntry(channel=parse_channel("stable"), architecture="amd64", releases=(
        Release(revision=4, share=2500, held=True, least=3),)),))


def document() -> dict[str, Any]:
    return dict(json.loads(encode_channel_map(MAP)))


def test_map_comes_back_as_it_was() -> None:
    assert parse_channel_map(encode_channel_map(MAP), name="x") == MAP


def test_equal_maps_have_equal_bytes() -> None:
    turned = replace(MAP, revisions=MAP.revisions[::-1])
    assert encode_channel_map(turned) == encode_channel_map(MAP)


def test_the_example_of_the_documentation_is_read() -> None:
    text = (REFERENCE / "store.md").read_text()
    example = text.partition("```json\n")[2].partition("```")[0]
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(example))
    assert parse_channel_map(example.encode(), name="example").name == "debian-13"


def test_what_is_written_fits_the_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.Draft202012Validator(SCHEMA).validate(document())


def changed(where: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(top: dict[str, Any]) -> None:
        *path, last = where.split(".")
        at: Any = top
        for part in path:
            at = at[int(part) if part.isdecimal() else part]
        key = int(last) if last.isdecimal() else last
        if value is ...:
            del at[key]
        else:
            at[key] = value
    return change


BAD = [
    ("format", "other"), ("version", 2), ("version", True), ("name", "No"), ("name", ...), ("snap-id", "short"),
    ("floors", []), ("floors", {"amd64": 0}), ("floors", {"amd64": "3"}), ("revisions", {}), ("revisions.0", 1),
    ("revisions.0.revision", 0), ("revisions.0.revision", 1.5), ("revisions.0.revision", True),
    ("revisions.0.revision", 1 << 53), ("revisions.0.architectures", []), ("revisions.0.architectures", [1]),
    ("revisions.0.sha3-384", "a"), ("revisions.0.size", 0), ("revisions.0.size", "4096"),
    ("revisions.0.compression", "xz"), ("revisions.0.class", "bug"), ("revisions.0.advisory", None),
    ("revisions.0.advisory", "x" * 4001), ("revisions.0.published", "2026-11-27"),
    ("revisions.0.published", "2026-11-27T00:00:00+00:00"), ("revisions.0.revoked", "yes"),
    ("revisions.0.revoked.time", "now"), ("channels.0.channel", "daring"), ("channels.0.architecture", "AMD"),
    ("channels.0.releases", {}), ("channels.0.releases.0.share", 10001), ("channels.0.releases.0.share", 0.5),
    ("channels.0.releases.0.held", 0), ("channels.0.releases.0.least", -1), ("channels.0.releases.0.revision", ...),
]


@pytest.mark.parametrize(("where", "value"), BAD, ids=lambda value: str(value)[:30])
def test_what_breaks_the_form_is_refused_here_and_by_the_schema(where: str, value: object) -> None:
    broken = document()
    changed(where, value)(broken)
    with pytest.raises(DocumentError):
        parse_channel_map(json.dumps(broken).encode(), name="x")
    assert list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(broken))


@pytest.mark.parametrize(("where", "value"), [
    ("channels.0.releases.0.revision", 9), ("channels.0.architecture", "arm64"), ("revisions.0.revision", 4)])
def test_map_at_odds_with_itself_is_refused(where: str, value: object) -> None:
    broken = document()
    changed(where, value)(broken)
    with pytest.raises(DocumentError):
        parse_channel_map(json.dumps(broken).encode(), name="x")


def test_keys_of_a_later_time_are_left_alone() -> None:
    later = document()
    later["mood"] = later["revisions"][0]["mood"] = later["channels"][0]["releases"][0]["mood"] = {"a": [1]}
    assert parse_channel_map(json.dumps(later).encode(), name="x") == MAP


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"{", b"\xff", b"[" * 100_000, b'{"format": "imagekit-channels",'
                                 b' "format": "imagekit-channels"}', b'{"a": 1e999}', b" " * (LIMIT + 1),
                                 b'{"a": ' + b"9" * 5000 + b"}"], ids=lambda raw: str(raw[:12]))
def test_what_is_no_map_is_an_error_and_no_traceback(raw: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_channel_map(raw, name="x")
