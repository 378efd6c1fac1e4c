"""RE2's patterns, matched in bounded time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.assertions.regexps import MAX_PATTERN, MAX_STATES, PatternError, compile_pattern, literal
from tests.patience import patience


@pytest.mark.parametrize(("pattern", "yes", "no"), [
    ("", [""], ["a"]), ("acme", ["acme"], ["acm", "acmee", "xacme", "acme\n"]),
    ("a|bc|", ["a", "bc", ""], ["b", "abc"]), ("(a|b)c", ["ac", "bc"], ["a", "bcc"]),
    ("a*b+c?", ["b", "aabb", "abc"], ["a", "ac"]), ("a{2}", ["aa"], ["a", "aaa"]),
    ("a{1,3}?", ["a", "aaa"], ["", "aaaa"]),
    ("a{2,}", ["aa", "aaaaa"], ["a"]), ("a{,2}", ["a{,2}"], ["a"]), ("a{x}", ["a{x}"], ["a"]), ("{", ["{"], [""]),
    (".", ["x", "ä"], ["", "\n", "xy"]), ("[a-c]", ["a", "c"], ["d", "-"]), ("[^a-c]", ["d", "\n"], ["a"]),
    ("[a-]", ["a", "-"], ["b"]), ("[]a]", ["]", "a"], ["b"]), ("[^]a]", ["b"], ["]"]), (r"[\d_]+", ["1_2"], ["a"]),
    (r"\d\D\w\W\s\S", ["1a_- x"], ["aa_- x"]), ("[[:alpha:][:digit:]]+", ["aZ9"], ["-"]),
    ("[[:^alpha:]]", ["9"], ["a"]),
    (r"\x41\x{1F600}\t\.", ["A\U0001f600\t."], ["A"]), (r"[\x41-\x43]", ["B"], ["D"]),
    ("^a$", ["a"], ["aa"]), ("a^b", [], ["ab"]), ("(?:a)(?P<name>b)", ["ab"], ["a"]), ("(a*)*", ["", "aaa"], ["b"]),
    ("pc-[0-9]+(-pro)?", ["pc-1", "pc-22-pro"], ["pc-", "pc-1-"]),
])
def test_pattern_matches_the_whole_text_or_nothing(pattern: str, yes: list[str], no: list[str]) -> None:
    compiled = compile_pattern(pattern)
    assert [text for text in yes if not compiled.matches(text)] == []
    assert [text for text in no if compiled.matches(text)] == []


@pytest.mark.parametrize(("pattern", "reason"), [
    ("(", "nothing closes"), (")", "nothing opens"), ("[", "ends too early"), ("[a", "ends too early"),
    ("*", "nothing to repeat"), ("a**", "repetition of a repetition"), ("a{2}{3}", "repetition of a repetition"),
    ("a{1001}", "more than 1000"), ("a{3,2}", "ends before it begins"), ("[z-a]", "ends before it begins"),
    (r"[\d-a]", None), ("(?i)a", "not supported"), ("(?=a)", "not supported"), (r"\pL", "not supported"),
    (r"\b", "not supported"), (r"\1", "not supported"), ("[[:no:]]", "unknown class"), (r"\xZZ", "hexadecimal"),
    (r"\x{110000}", "last character"), ("\\", "ends too early"), ("((a{1000}){1000})", f"larger than {MAX_STATES}"),
    ("(" * 200 + ")" * 200, "nested deeper"), ("a" * (MAX_PATTERN + 1), f"longer than {MAX_PATTERN}"),
])
def test_other_patterns_are_refused_with_the_reason(pattern: str, reason: str | None) -> None:
    if reason is None:
        assert compile_pattern(pattern).matches("-")
        return
    with pytest.raises(PatternError, match=re.escape(reason)):
        compile_pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a|aa)+b", "(.*)*" * 50 + "b", "(a?){600}a{600}"])
def test_pattern_that_stops_a_backtracking_matcher_is_answered(pattern: str) -> None:
    with patience():
        assert not compile_pattern(pattern).matches("a" * 2000 + "c")


def test_match_that_takes_too_long_is_none() -> None:
    assert not compile_pattern("(a*)" * 600).matches("a" * 100_000)


def test_what_describes_only_itself_is_literal() -> None:
    assert literal("snap-build") and literal("") and not literal("snap.build") and not literal("a|b")


PIECES = st.sampled_from(["a", "b", "ab", ".", "[ab]", "[^a]", "(a|b)", "(ab)", "(?:a)", r"\w", r"\.", "c"])
PATTERNS = st.lists(st.tuples(PIECES, st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "*?"])), max_size=5).map(
    lambda parts: "".join(piece + times for piece, times in parts))


@settings(deadline=None)
@given(st.lists(PATTERNS, min_size=1, max_size=3).map("|".join), st.text("abc.", max_size=8))
def test_answers_are_those_of_a_backtracking_matcher(pattern: str, text: str) -> None:
    assert compile_pattern(pattern).matches(text) == bool(re.fullmatch(pattern, text))


@given(st.text("ab()[]{}*+?|.^$\\-:,12xdP<>", max_size=20))
def test_any_text_is_a_pattern_or_refused(pattern: str) -> None:
    try:
        compile_pattern(pattern).matches("ab12")
    except PatternError:
        return
