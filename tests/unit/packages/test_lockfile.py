"""The lock file: round trip, and every problem told at once."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.lockfile import EMPTY, Part, PartChange, Section, encode_lock, parse_lock, part_changes

PART = Part(name="hello", version="1:2.0-1+b2", architecture="amd64", archive="debian",
            filename="pool/main/h/hello/hello_2.0-1+b2_amd64.deb", size=7, sha256="a" * 64, sha512="b" * 128,
            source="hello", source_version="2.0-1")
OTHER = replace(PART, name="apple", sha256="c" * 64)
LOCK = EMPTY.with_section("base", Section(suite="trixie", wants=("hello", "apple"), parts=(PART, OTHER)))


def changed(**fields: object) -> bytes:
    document = json.loads(encode_lock(LOCK))
    document["sections"]["base"]["parts"][0].update(fields)
    return json.dumps(document).encode()


def test_written_lock_is_read_back_sorted() -> None:
    section = parse_lock(encode_lock(LOCK), name="parts.lock").sections["base"]
    assert section.parts == (OTHER, PART)
    assert section.wants == ("apple", "hello")


def test_writing_is_stable_and_has_one_line_for_each_part() -> None:
    content = encode_lock(LOCK)
    assert content == encode_lock(parse_lock(content, name="parts.lock"))
    assert sum(b'"sha256"' in line for line in content.splitlines()) == 2


def test_part_is_found_by_name() -> None:
    assert LOCK.sections["base"].part("hello") is PART
    with pytest.raises(DocumentError, match="cannot find part pear"):
        LOCK.sections["base"].part("pear")


@pytest.mark.parametrize(("field", "value"), [
    ("name", "../evil"), ("version", "1 2"), ("filename", "/etc/passwd"), ("filename", "pool/../../x.deb"),
    ("filename", "pool/a b.deb"), ("size", 0), ("size", True), ("size", "7"), ("sha256", "A" * 64),
    ("sha256", "a" * 63), ("sha512", ""), ("archive", "http://x"), ("source", None)])
def test_part_with_a_wrong_field_is_refused_by_its_place(field: str, value: object) -> None:
    with pytest.raises(DocumentError, match=rf"sections\.base\.parts\[0\]\.{field}"):
        parse_lock(changed(**{field: value}), name="parts.lock")


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(DocumentError, match="3 problems") as caught:
        parse_lock(changed(size=-1, sha256="x", name=""), name="parts.lock")
    assert len(caught.value.details) == 3


def test_unknown_and_missing_fields_are_refused() -> None:
    with pytest.raises(DocumentError, match="needs exactly"):
        parse_lock(changed(colour="red"), name="parts.lock")


def test_part_that_is_there_twice_is_refused() -> None:
    document = json.loads(encode_lock(LOCK))
    document["sections"]["base"]["parts"].append(asdict(PART))
    with pytest.raises(DocumentError, match="part hello:amd64 is there twice"):
        parse_lock(json.dumps(document).encode(), name="parts.lock")


def test_changes_of_a_section_tell_what_came_what_went_and_what_is_older() -> None:
    new = EMPTY.with_section("base", Section(suite="trixie", wants=("hello", "pear"), parts=(
        replace(PART, version="1:2.0-1+b1"), replace(PART, name="pear", version="3"))))
    changes = part_changes(LOCK, new, "base")
    assert changes == (
        PartChange(recipe="base", package="apple", locked="1:2.0-1+b2", offered=None),
        PartChange(recipe="base", package="hello", locked="1:2.0-1+b2", offered="1:2.0-1+b1"),
        PartChange(recipe="base", package="pear", locked=None, offered="3"))
    assert [change.older for change in changes] == [False, True, False]
    assert not any(change.older for change in part_changes(new, LOCK, "base"))
    assert part_changes(LOCK, LOCK, "base") == part_changes(LOCK, new, "unknown") == ()


@pytest.mark.parametrize(("content", "reason"), [
    (b"{", "parts.lock:1: not valid JSON"), (b"\xff", "not UTF-8"), (b"[]", "format 'list'"),
    (b'{"format": 2}', "format 2"),
    (b'{"format": 1}', "sections"), (b'{"format": 1, "sections": {"a": 1}}', "sections.a: needs suite"),
    (b"[" * 100_000, "nested too deeply|format")])
def test_what_is_no_lock_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_lock(content, name="parts.lock")


def test_every_truncation_is_refused() -> None:
    content = encode_lock(LOCK).rstrip()
    for length in range(0, len(content), 5):
        with pytest.raises(DocumentError):
            parse_lock(content[:length], name="parts.lock")
