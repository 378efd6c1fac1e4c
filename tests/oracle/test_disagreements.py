"""Both judgements over the whole corpus: every disagreement is on the list, and nothing on the list has gone."""

from __future__ import annotations

import os

import pytest

from tests.oracle import disagreements, library
from tests.oracle.ask import Oracle
from tests.oracle.compare import compare
from tests.oracle.run import CORPORA, all_cases

COUNT = int(os.environ.get("IMAGEKIT_ORACLE_CASES") or 1500)
SEED = 1
ENTRIES = disagreements.load_list()


@pytest.mark.tools
@pytest.mark.parametrize("corpus", list(CORPORA))
def test_every_disagreement_is_on_the_list(oracle: Oracle, corpus: str) -> None:
    result = disagreements.sort(compare(oracle, CORPORA[corpus](COUNT, SEED)), ENTRIES)
    shown = "\n".join(map(str, result.unexplained[:10]))
    assert not result.unexplained, f"{len(result.unexplained)} are not on the list, among them:\n{shown}"


@pytest.mark.tools
def test_every_entry_of_the_list_occurs_without_any_luck(oracle: Oracle) -> None:
    counts = disagreements.sort(compare(oracle, all_cases(0, SEED)), ENTRIES).counts
    gone = [entry.id for entry in ENTRIES if oracle.version in entry.versions and not counts[entry.id, oracle.version]]
    assert gone == [], "no document shows these any more: take them off the list, or make a case in edges.py"


def test_page_is_made_from_the_list() -> None:
    assert disagreements.PAGE.read_text() == disagreements.page(ENTRIES)


def test_entries_are_whole_and_their_ids_differ() -> None:
    versions = {library.version(suite) for suite in library.SUITES}
    assert len({entry.id for entry in ENTRIES}) == len(ENTRIES)
    for entry in ENTRIES:
        assert set(entry.kinds) <= set(disagreements.KINDS) and set(entry.versions) <= versions, entry.id
        assert entry.accepts in disagreements.ACCEPTS and entry.reason.endswith("."), entry.id
        wanted = {"imagekit": entry.theirs, "snapd": entry.rules or entry.ours, "both": entry.fields}[entry.accepts]
        assert wanted, f"{entry.id} would explain everything"
