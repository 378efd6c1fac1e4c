"""Every rule has a document that breaks it, with the exact words beside it; and every call names its rule."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from imagekit.gadget.rulebook import GadgetRules, GadgetWarnings
from imagekit.rulebooks import RULEBOOKS, page
from imagekit.rules import Rule, rules_of

HERE = Path(__file__).parent
ROOT = HERE.parent.parent


def beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    spec = importlib.util.spec_from_file_location(f"documents_{name}", HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


gadgets = beside("gadgets")
ALL = [rule for _, book in RULEBOOKS for rule in rules_of(book)]
FOLDERS = sorted(path.name for path in (HERE / "invalid").iterdir())
PARSERS = sorted([*(ROOT / "imagekit/gadget").glob("*.py"), *(ROOT / "imagekit/packages").glob("snap*.py"),
                  ROOT / "imagekit/packages/epoch.py"])
CALLS = {"problem": 3, "add": 3, "warn": 3, "choice": 4, "word": 4}  # method -> arguments, the rule among them


def test_every_rule_has_a_document_that_breaks_it() -> None:
    shown = {name.partition("--")[0] for name in FOLDERS}
    assert [rule.id for rule in ALL if rule.id not in shown] == []


def test_ids_are_unique_and_begin_with_their_format() -> None:
    assert len({rule.id for rule in ALL}) == len(ALL)
    assert [rule.id for rule in ALL if rule.id.lower() != rule.id or "-" not in rule.id] == []


def test_every_document_of_a_gadget_is_called_after_a_rule() -> None:
    assert [case.name for case in gadgets.CASES if gadgets.rule_id(case) not in gadgets.RULES] == []


@pytest.mark.parametrize("case", gadgets.CASES, ids=lambda case: case.name)
def test_document_gets_the_words_beside_it(case: Path) -> None:
    assert gadgets.words(case) == (case / "error.txt").read_text()


@pytest.mark.parametrize("case", [case for case in gadgets.CASES if gadgets.rule_id(case) != "yaml-repeated-key"],
                         ids=lambda case: case.name)
def test_document_breaks_the_rule_it_is_called_after(case: Path) -> None:
    rule, found = gadgets.RULES[gadgets.rule_id(case)], gadgets.checked(case)
    assert rule in {problem.rule for problem in (found.warnings if rule.warning else found.problems)}
    assert bool(found.problems) is not rule.warning  # a warning alone refuses nothing


def test_every_warning_carries_a_rule_that_is_one() -> None:
    wrong: list[Rule | None] = []
    for case in gadgets.CASES:
        found = gadgets.checked(case)
        wrong += [problem.rule for problem in found.problems if problem.rule is None or problem.rule.warning]
        wrong += [problem.rule for problem in found.warnings if problem.rule is None or not problem.rule.warning]
    assert wrong == []


@pytest.mark.parametrize("path", PARSERS, ids=lambda path: path.name)
def test_every_problem_is_noted_with_its_rule(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        name, keywords = node.func.attr, {item.arg for item in node.keywords}
        if name == "only":
            assert "rule" in keywords, f"{path.name}:{node.lineno}: without a rule"
        elif name in CALLS and (name != "add" or "problems" in ast.unparse(node.func.value)):
            assert len(node.args) == CALLS[name], f"{path.name}:{node.lineno}: without a rule"


def test_page_of_rules_is_what_the_rulebooks_say() -> None:
    assert (ROOT / "docs/reference/rules.md").read_text() == page()


def test_page_of_the_format_explains_every_rule_of_gadgets() -> None:
    text = (ROOT / "docs/reference/gadget-yaml.md").read_text()
    named = set(re.findall(r"\b(?:gadget|yaml)-[a-z0-9-]+", text))
    wanted = {rule.id for book in (GadgetRules, GadgetWarnings) for rule in rules_of(book)}
    assert wanted - named == set()
