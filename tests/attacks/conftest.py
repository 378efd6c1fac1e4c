"""A store and a device of it, for the attacks on the way between them (tests/attacks/store.py)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imagekit.testing.stores import StoreRig
from tests.attacks.store import Field, field_of, template


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StoreRig:
    return template(tmp_path_factory.mktemp("made"))


@pytest.fixture
def field(made: StoreRig, tmp_path: Path) -> Iterator[Field]:
    with field_of(made, tmp_path) as found:
        yield found
