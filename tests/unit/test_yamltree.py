"""YAML to values: what plain words mean, merges and aliases, and bounds that hold whatever comes."""

from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.rules import YamlRules
from imagekit.schema import DocumentProblems, load_yaml
from imagekit.yamltree import read_tree, resolve
from tests.patience import patience

MIB = 1 << 20


def value(text: str | bytes) -> Any:
    return load_yaml(text, name="x.yaml").value


@pytest.mark.parametrize(("text", "meaning"), [
    ("83", 83), ("0x83", 0x83), ("010", 8), ("0o10", 8), ("-1", -1), ("+7", 7), ("1_000", 1000), ("0b101", 5),
    ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("yes", True), ("y", True), ("off", False), ("NO", False),
    ("null", None), ("~", None), ("", None), ("0C", "0C"), ("08", 8.0), ("12:30", "12:30"),
    ("2001-01-01", "2001-01-01"), ("0x", "0x"), ("1M", "1M"), ("nope", "nope"), ("-", "-"),
])
def test_plain_words_mean_what_the_fields_reader_makes_of_them(text: str, meaning: object) -> None:
    got = resolve(text)
    assert (got, type(got)) == (meaning, type(meaning))


def test_quoted_words_stay_text() -> None:
    assert value("a: '83'\nb: \"yes\"\nc: !!str 1.0\n") == {"a": "83", "b": "yes", "c": "1.0"}


def test_text_of_numbers_is_kept() -> None:
    source = load_yaml("version: 1.10\nkeys: [0x10, yes]\n", name="x.yaml")
    assert source.texts == {("version",): "1.10", ("keys", 0): "0x10", ("keys", 1): "yes"}


def test_alias_is_its_anchor_written_out_with_the_anchors_lines() -> None:
    source = load_yaml("a: &x\n  b: 1\nc: *x\n", name="x.yaml")
    assert source.value == {"a": {"b": 1}, "c": {"b": 1}}
    assert (source.line(("c",)), source.line(("c", "b"))) == (3, 2)


def test_merge_gives_way_to_the_keys_behind_it() -> None:
    source = load_yaml("base: &b {x: 1, y: 1}\nmore: &m {x: 3, z: 3}\nuse:\n  <<: [*b, *m]\n  y: 2\n", name="x.yaml")
    assert source.value["use"] == {"x": 1, "z": 3, "y": 2}
    assert source.notes == ()


def test_merge_changes_the_keys_before_it_and_that_is_noted() -> None:
    source = load_yaml("base: &b {x: 1, y: 1}\nuse:\n  y: 2\n  <<: *b\n", name="x.yaml")
    assert source.value["use"] == {"x": 1, "y": 1}
    assert [(note.path, note.line, note.rule) for note in source.notes] == [(("use", "y"), 4, YamlRules.MERGE_LATE)]


def test_last_of_repeated_keys_counts_where_the_field_takes_it() -> None:
    source = load_yaml("a: 1\na: x\n", name="x.yaml", repeated_keys=True)
    assert (source.value, source.texts, source.line(("a",))) == ({"a": "x"}, {}, 2)
    assert [note.rule for note in source.notes] == [YamlRules.REPEATED_LAST]


def test_byte_order_mark_and_carriage_returns_are_taken() -> None:
    assert value(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n") == {"a": 1, "b": "x\n"}


def test_every_repeated_key_is_told_at_once() -> None:
    with pytest.raises(DocumentProblems) as caught:
        value("a: 1\na: 2\nb: 1\nb: 2\n")
    assert [problem.line for problem in caught.value.problems] == [2, 4]


LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9))
MERGED_LAUGHS = "a: &a {k: 1}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join(['*' + chr(97 + i)] * 9)}]}}\n" for i in range(9))

HOSTILE = {
    "billion laughs": (LAUGHS, YamlRules.NODES),
    "billion merged laughs": (MERGED_LAUGHS, YamlRules.NODES),
    "one long text many times": ("a: &a " + "x" * 500_000 + "\nb: [" + "*a," * 90_000 + "]", YamlRules.NODES),
    "alias of what it is in": ("a: &x [*x]\n", YamlRules.ALIAS),
    "alias of nothing": ("a: *x\n", YamlRules.ALIAS),
    "deep lists": ("[" * 100_000 + "]" * 100_000, YamlRules.DEPTH),
    "deep block lists": ("- " * 100_000, YamlRules.DEPTH),
    "deep maps": ("".join(" " * depth + "a:\n" for depth in range(1400)), YamlRules.DEPTH),
    "deep by aliases": ("a: &a" + " [" * 40 + "]" * 40 + "\nb:" + " [" * 40 + "*a" + "]" * 40, YamlRules.DEPTH),
    "maps as keys": ("{" * 100_000, YamlRules.KEY),
    "half a million items": ("[" + "a," * 520_000 + "]", YamlRules.NODES),
    "too large": ("a: " + "x" * 1_100_000, YamlRules.SIZE),
    "zero byte far down": ("\n" * 1_000_000 + "\0", YamlRules.CHARACTER),
    "not UTF-8": (b"a: \xff\n", YamlRules.UTF8),
    "UTF-16": ("a: 1\n".encode("utf-16"), YamlRules.UTF8),
    "lone surrogate": ("a: \ud800", YamlRules.UTF8),
    "tab as indentation": ("a:\n\tb: 1\n", YamlRules.SYNTAX),
    "two documents": ("a: 1\n---\nb: 1\n", YamlRules.SYNTAX),
    "open quote": ('a: "x\nb: 1\n', YamlRules.SYNTAX),
    "object of Python's": ("a: !!python/object/apply:os.system ['true']\n", YamlRules.TAG),
    "tag that does not fit": ("a: !!int x\n", YamlRules.TAG),
    "merge of a word": ("a: {<<: x}\n", YamlRules.MERGE),
    "key repeated": ("a: 1\na: 2\n", YamlRules.REPEATED),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_document_is_refused_in_little_memory(name: str) -> None:
    text, rule = HOSTILE[name]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DocumentProblems) as caught, patience():
        value(text)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 * 1024  # KiB
    assert {problem.rule for problem in caught.value.problems} == {rule}
    assert max(len(problem.text) for problem in caught.value.problems) < 300


def test_largest_document_that_is_taken_is_read() -> None:
    with patience():
        assert len(value("- a\n" * 90_000)) == 90_000


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*<>!|#'\"\n\t ,?~01", max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused_but_never_crashes(text: str | bytes) -> None:
    try:
        load_yaml(text, name="x.yaml", repeated_keys=True)
    except DocumentProblems as error:
        assert all(problem.rule for problem in error.problems)


def test_keys_that_are_no_strings_are_told_apart() -> None:
    source = load_yaml("on: 1\n2: x\n'3': x\nplain: x\n", name="x.yaml")
    assert source.value == {"on": 1, "2": "x", "3": "x", "plain": "x"}
    assert source.other_keys == {("on",), ("2",)}


@pytest.mark.parametrize("path", sorted((Path(__file__).parent.parent / "data" / "gadgets").glob("*.yaml")),
                         ids=lambda path: path.name)
def test_the_parser_in_python_gives_the_same_as_the_one_in_c(path: Path) -> None:
    text = path.read_text()
    assert read_tree(text, loader=yaml.SafeLoader) == read_tree(text)
