"""Real documents of the field, whichever lie in the folder that IMAGEKIT_TEST_DATA names (`.ci/run` sets it).

The folder has `assertions` and `gadgets`, as tests/data has: every file of it is read, so that a folder with more files
asks more. Expected of all of them is what is true of any sound document.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.assertions import PARSERS, Assertion, Database
from imagekit.assertions.drafts import parse_draft
from imagekit.assertions.wire import decode_stream, encode_content, encode_stream
from imagekit.errors import DocumentError
from imagekit.gadget import Era, parse_gadget
from imagekit.schema import load_yaml

NAMED = os.environ.get("IMAGEKIT_TEST_DATA", "")
FOLDER = Path(NAMED)
NO_DOCUMENTS = (".md", ".json")
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def files(kind: str, *endings: str) -> list[Path]:
    if not NAMED:
        return []
    return [path for path in sorted((FOLDER / kind).iterdir())
            if (path.suffix in endings if endings else path.suffix not in NO_DOCUMENTS)]


def read(path: Path) -> tuple[Assertion, ...]:
    return decode_stream(path.read_bytes(), name=path.name)


def named(path: Path) -> str:
    return path.name


ASSERTIONS, GADGETS, INPUTS = files("assertions"), files("gadgets", ".yaml"), files("assertions", ".json")

pytestmark = pytest.mark.skipif(not NAMED, reason="IMAGEKIT_TEST_DATA names no folder with documents of the field")


def test_folder_has_documents_of_every_kind() -> None:
    assert ASSERTIONS and GADGETS and INPUTS, f"{FOLDER} lacks some"


@pytest.mark.parametrize("path", ASSERTIONS, ids=named)
def test_assertions_come_out_byte_for_byte_and_keep_the_rules_of_their_types(path: Path) -> None:
    found = read(path)
    assert encode_stream(found) == path.read_bytes()
    for assertion in found:
        PARSERS[assertion.type](assertion)
        assert encode_content(assertion.headers, assertion.body) == assertion.content, assertion.label


@pytest.mark.parametrize("path", ASSERTIONS, ids=named)
def test_assertions_are_believed_by_who_trusts_the_root_of_the_field(path: Path) -> None:
    everything = [(file, assertion) for file in ASSERTIONS for assertion in read(file)]
    database = Database([assertion for file, assertion in everything if file.name.startswith("canonical-root.")])
    for file, assertion in everything:
        if not file.name.startswith("canonical-root."):
            database.add(assertion)
    for assertion in read(path):
        assert database.verify(assertion, now=NOW).links, assertion.label


@pytest.mark.parametrize("path", INPUTS, ids=named)
def test_input_gives_exactly_the_signed_text_of_the_file_beside_it(path: Path) -> None:
    beside = [file for file in ASSERTIONS if file.stem == path.stem]
    assert beside, f"no signed file lies beside {path.name}"
    drafted = parse_draft(path.read_bytes(), name=path.name)
    for signed in beside:
        (assertion,) = read(signed)
        assert encode_content({**drafted.headers, "sign-key-sha3-384": assertion.key_id},
                              drafted.body) == assertion.content


@pytest.mark.parametrize("path", GADGETS, ids=named)
def test_gadget_stands_by_itself_and_under_the_rules_of_one_generation(path: Path) -> None:
    source = load_yaml(path.read_bytes(), name=path.name, repeated_keys=True)
    assert parse_gadget(source, era=Era.NONE).volumes
    refusals = []
    for era in (Era.UC16, Era.UC20):
        try:
            parse_gadget(source, era=era)
        except DocumentError as error:
            refusals.append(error)
    assert len(refusals) == 1, "each of these is a gadget of one generation"
