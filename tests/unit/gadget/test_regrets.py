"""Warnings that depend on more than one place of a document."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.gadget.parse import examine_gadget
from imagekit.gadget.rulebook import GadgetWarnings
from imagekit.rules import Rule
from imagekit.schema import load_yaml

SLOTS = (Path(__file__).parent.parent.parent / "documents/valid/gadget-slots/gadget.yaml").read_text()
WITH_SPL = SLOTS.replace("    structure:\n",
                         "    structure:\n      - {name: spl, type: bare, offset: 8192, size: 32768}\n", 1)


def warned(entries: int | None) -> set[str]:
    own = "" if entries is None else f"  gpt-entries: {entries}\n"
    text = WITH_SPL.replace("x-imagekit:\n", f"x-imagekit:\n{own}")
    examined = examine_gadget(load_yaml(text, name="gadget.yaml"))
    assert not examined.problems.found
    tables = {GadgetWarnings.TABLE, GadgetWarnings.TABLE_MAYBE}
    return {problem.rule.id for problem in examined.problems.warnings if problem.rule in tables and problem.rule}


@pytest.mark.parametrize(("entries", "rule"), [
    (None, GadgetWarnings.TABLE), (57, GadgetWarnings.TABLE), (56, GadgetWarnings.TABLE_MAYBE)])
def test_boot_code_lies_over_a_table_of_that_many_entries(entries: int | None, rule: Rule) -> None:
    assert warned(entries) == {rule.id}
