"""The oracles of all suites, compiled once; no compiler or no parts skips at home and fails in CI."""

from __future__ import annotations

import os

import pytest

from imagekit.errors import HostError
from imagekit.testing.images import Silent
from tests.oracle import library
from tests.oracle.ask import Oracle


def compiled(suite: str) -> Oracle:
    try:
        program = library.build(suite, progress=Silent())
    except HostError as error:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("\n".join((error.message, *error.details)))
    return Oracle(suite=suite, version=library.version(suite), program=program)


@pytest.fixture(scope="session", params=library.SUITES)
def oracle(request: pytest.FixtureRequest) -> Oracle:
    return compiled(request.param)


@pytest.fixture(scope="session")
def oracles() -> tuple[Oracle, ...]:
    """All of them, for what is costly to make and cheap to ask twice."""
    return tuple(compiled(suite) for suite in library.SUITES)
