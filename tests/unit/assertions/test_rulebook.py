"""The rules of assertions: each is broken by a document, whose words are worth reading, and no problem goes without."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from imagekit.assertions import PARSERS, decode_one, encode_content
from imagekit.assertions.rulebook import AssertionRules
from imagekit.rules import rules_of
from tests.documents.assertion_cases import CASES
from tests.documents.assertions import FOLDER, RULES, SAMPLES, VALID, document, problems, wire

BROKEN = sorted(path for path in FOLDER.iterdir() if path.name.partition("--")[0] in RULES)
SOUND = sorted(VALID.glob("*/document.assert"))
MODULES = sorted((Path(__file__).parents[3] / "imagekit/assertions").glob("*.py"))


def test_every_rule_has_a_document_that_breaks_it() -> None:
    shown = {case.name.partition("--")[0] for case in BROKEN}
    assert [rule.id for rule in rules_of(AssertionRules) if rule.id not in shown] == []


def test_folders_are_those_that_the_script_writes() -> None:
    assert {case.name for case in BROKEN} == set(CASES)
    for name, files in CASES.items():
        for file, text in files.items():
            assert (FOLDER / name / file).read_bytes() == text.encode("utf-8", "surrogateescape"), name


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: case.name)
def test_broken_document_gets_the_words_beside_it(case: Path) -> None:
    said, rules = problems(case)
    assert said == (case / "error.txt").read_text()
    assert RULES[case.name.partition("--")[0]] in rules
    assert None not in rules


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.parent.name)
def test_sound_document_is_read_and_written_back(path: Path) -> None:
    assertion = decode_one(path.read_bytes(), name="document.assert")
    value = PARSERS.get(assertion.type, lambda known: None)(assertion)
    assert value is None or value.assertion is assertion
    assert assertion.encode() == path.read_bytes()
    assert encode_content(assertion.headers, assertion.body) == assertion.content


def test_every_type_that_has_rules_has_a_sound_document() -> None:
    assert {decode_one(document(path.parent), name="x").type for path in SOUND} >= set(PARSERS)
    assert [name for name in SAMPLES if wire(name) not in {path.read_text() for path in SOUND}] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_no_problem_is_noted_without_its_rule(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            given = {keyword.arg for keyword in node.keywords}
            if node.func.attr in ("problem", "choice"):
                assert "rule" in given, f"{path.name}:{node.lineno}"
            elif node.func.attr == "add" and "problems" in ast.unparse(node.func.value):
                assert len(node.args) == 3, f"{path.name}:{node.lineno}"
