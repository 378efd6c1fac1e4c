"""Typed access to documents: what was written stays known, and one run tells every problem once."""

from __future__ import annotations

import pytest

from imagekit.errors import DocumentError
from imagekit.nodes import Node
from imagekit.rules import Rule
from imagekit.schema import Problems, load_yaml

RULE = Rule("test-word", "a word is one of two")


def top(text: str) -> Node:
    source = load_yaml(text, name="a.yaml")
    return Node(Problems(source), (), source.value)


@pytest.mark.parametrize(("written", "text"), [
    ("1.10", "1.10"), ("0755", "0755"), ("yes", "yes"), ("10:00", "10:00"), ("2026-01-01", "2026-01-01"),
    ("2026-02-30", "2026-02-30"), ("'1.10'", "1.10"), ("1_0", "1_0"), ("0x10", "0x10"), ("~", "")])
def test_scalar_is_given_as_it_was_written(written: str, text: str) -> None:
    assert top(f"version: {written}\n").text("version") == text
    assert top(f"versions: [{written}]\n").texts("versions") == (text,)


def test_list_or_map_is_no_text() -> None:
    node = top("version: [1]\nnames: [a, {b: c}]\n")
    assert (node.text("version"), node.texts("names")) == ("", ("a", ""))
    with pytest.raises(DocumentError) as caught:
        node.problems.raise_if_any()
    assert caught.value.details == ("a.yaml:1: version: a string is needed, not a list",
                                    "a.yaml:2: names[1]: a string is needed, not a map")


def test_of_what_is_no_map_nothing_more_is_told() -> None:
    node = top("a: [1]\n").map("a")
    node.problem("name", "a name is needed", RULE)
    assert [str(item) for item in node.problems.found] == ["a.yaml:1: a: a map is needed, not a list"]


def test_word_is_looked_up_as_it_was_written() -> None:
    node = top("a: no\nb: ''\nc: maybe\nd: [no]\n")
    allowed = {"no": 1, "yes": 2}
    assert [node.word(key, allowed, "answer", RULE, empty=True) for key in "abcde"] == [1, None, None, None, None]
    assert [str(item) for item in node.problems.found] == [
        "a.yaml:3: c: 'maybe' is no answer: allowed are no, yes", "a.yaml:4: d: a string is needed, not a list"]
    assert node.word("b", allowed, "answer", RULE) is None
    assert node.problems.found[-1].text == "'' is no answer: allowed are no, yes"


def test_problem_that_is_found_twice_is_told_once() -> None:
    node = top("a: [1]\n")
    node.map("a")
    node.map("a")
    assert len(node.problems.found) == 1
