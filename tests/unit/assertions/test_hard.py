"""Inputs that are hard on a reader: each is read or refused, in little memory, whatever it holds."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given, settings

from imagekit.assertions import PARSERS, decode_stream
from imagekit.schema import DocumentProblems
from tests.patience import patience
from tests.strategies.assertions import TYPED, hard, spoiled

MOST_MEMORY = 64 << 20
LONGEST_MESSAGE = 500


def read(raw: bytes) -> None:
    for assertion in decode_stream(raw, name="hard"):
        PARSERS.get(assertion.type, lambda known: known)(assertion)


@pytest.mark.parametrize("name", hard())
def test_hard_input_is_refused_in_little_memory(name: str) -> None:
    raw = hard()[name]
    tracemalloc.start()
    try:
        with pytest.raises(DocumentProblems) as caught, patience():
            read(raw)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < MOST_MEMORY
    assert all(problem.rule for problem in caught.value.problems)
    assert len(str(caught.value.problems[0])) < LONGEST_MESSAGE, "a message that nobody reads"


@settings(max_examples=300, deadline=None)
@given(spoiled())
def test_spoiled_stream_is_read_or_refused(raw: bytes) -> None:
    try:
        read(raw)
    except DocumentProblems as error:
        assert all(problem.rule and problem.line >= 1 for problem in error.problems)


@settings(max_examples=50, deadline=None)
@given(TYPED)
def test_sample_of_any_type_is_read(raw: bytes) -> None:
    read(raw)
