"""Both judgements over the whole corpus: every disagreement is on the list, and nothing on the list has gone."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.oracle import disagreements, library
from tests.oracle.ask import Oracle
from tests.oracle.compare import Disagreement, compare
from tests.oracle.run import CORPORA

COUNT = int(os.environ.get("IMAGEKIT_ORACLE_CASES") or 1500)
SEED = 1
ENTRIES = disagreements.load_list()

COUNTS: Counter[tuple[str, str]] = Counter()


@pytest.mark.tools
@pytest.mark.parametrize("corpus", list(CORPORA))
def test_every_disagreement_is_on_the_list(oracle: Oracle, corpus: str) -> None:
    found: list[Disagreement] = compare(oracle, CORPORA[corpus](COUNT, SEED))
    result = disagreements.sort(found, ENTRIES)
    COUNTS.update(result.counts)
    COUNTS[corpus, oracle.version] += 1
    shown = "\n".join(map(str, result.unexplained[:10]))
    assert not result.unexplained, f"{len(result.unexplained)} are not on the list, among them:\n{shown}"


@pytest.mark.tools
def test_nothing_on_the_list_has_gone(oracle: Oracle) -> None:
    """Runs behind the comparisons; alone it makes them first."""
    for corpus in CORPORA:
        if not COUNTS[corpus, oracle.version]:
            COUNTS.update(disagreements.sort(compare(oracle, CORPORA[corpus](COUNT, SEED)), ENTRIES).counts)
            COUNTS[corpus, oracle.version] += 1
    gone = [entry.id for entry in ENTRIES if oracle.version in entry.versions and not COUNTS[entry.id, oracle.version]]
    assert gone == []


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
