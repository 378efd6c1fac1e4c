"""docs/reference/flash.md names every refusal and every fault, and for each a test that is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from imagekit.plan.flash_device import Code

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/reference/flash.md").read_text()
FAULTS = ("pulled out", "input/output error", "short write", "lies about its size", "something else is read back",
          "disk of records is full", "two stations", "became another disk")


def rows_of(title: str) -> list[tuple[str, ...]]:
    """The cells of a section's table."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | "))
            for line in section.splitlines() if line.startswith("| ")]
    return rows[1:]


def source_of(name: str) -> str:
    """The text of a test, `path::name`, with its decorators; empty where there is none."""
    path, _, function = name.partition("::")
    text = (ROOT / path).read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
            return "\n".join(text.splitlines()[first - 1:node.end_lineno])
    return ""


TESTS = {what: name.strip("`") for what, name in rows_of("Provoked by tests")}


def test_every_code_is_explained_and_has_a_test_that_looks_for_it() -> None:
    assert sorted(row[0].strip("`") for row in rows_of("Refusals")) == sorted(Code)
    of_code = {code: name for what, name in TESTS.items() for code in re.findall("`([a-z-]+)`", what)}
    assert sorted(of_code) == sorted(Code)
    for code, name in of_code.items():
        source = source_of(name)
        assert code in source or f"Code.{Code(code).name}" in source, f"{code} is not looked for by {name}"


def test_every_test_that_is_named_is_there() -> None:
    assert [name for name in TESTS.values() if not source_of(name)] == []


def test_every_fault_has_a_test() -> None:
    assert [fault for fault in FAULTS if not any(fault in what for what in TESTS)] == []
