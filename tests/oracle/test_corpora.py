"""The corpora are worth asking about: what they change is sound, for both sides, and what is drawn is drawn again."""

from __future__ import annotations

import pytest

from tests.oracle import assertions, gadgets, snaps
from tests.oracle.ask import Oracle


@pytest.mark.tools
@pytest.mark.parametrize("kind", ["snap", "kernel"])
def test_documents_called_sound_are_accepted_by_snapd(oracle: Oracle, kind: str) -> None:
    sound = {name: raw for name, raw in snaps.documents(kind).items() if name.startswith("sound/")}
    answers = oracle.ask_all([{"op": kind, "yaml": raw} for raw in sound.values()])
    assert sound and [answer.get("error") for answer in answers] == [None] * len(sound)


@pytest.mark.parametrize("corpus", [gadgets.mutants, assertions.mutants, snaps.cases], ids=lambda item: item.__module__)
def test_same_seed_gives_the_same_cases(corpus) -> None:  # type: ignore[no-untyped-def]
    one, two = ([(case.name, case.document) for case in corpus(60, 5)] for _ in range(2))
    assert one == two and len(one) > 50
    assert one != [(case.name, case.document) for case in corpus(60, 6)]
