"""The table of attacks in docs/security.md: thirty rows, and every test that it names is there."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.attacks import test_install, test_store
from tests.attacks.table import INSTALL, PAGE, ROWS, STORE, TOP, with_table

CASES = {STORE: set(test_store.ATTACKS), INSTALL: set(test_install.ATTACKS)}
NAMED = sorted({test for row in ROWS for test in (*row.tests, *row.twins)})


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("test", NAMED)
def test_named_test_is_there(test: str) -> None:
    found = re.fullmatch(r"(?P<path>[^:]+)::(?P<name>\w+)(?:\[(?P<case>.+)\])?", test)
    assert found and found["name"] in functions(TOP / found["path"])
    assert found["case"] is None or found["case"] in CASES[found["path"]]


def test_there_are_thirty_rows_and_each_is_shown_or_says_what_is_not() -> None:
    assert len(ROWS) == 30
    assert all((row.tests and row.twins) or row.open for row in ROWS)


def test_every_attack_with_a_twin_is_in_the_table() -> None:
    cases = {(path, case) for path, names in CASES.items() for case in names}
    assert cases == {(path, case) for test in NAMED for path, case in [
        (test.partition("::")[0], test.partition("[")[2].rstrip("]"))] if case}


def test_page_has_the_table() -> None:
    assert with_table(PAGE.read_text()) == PAGE.read_text()
