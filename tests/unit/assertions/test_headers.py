"""The indented notation of headers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.assertions.headers import MAX_NESTING, Header, decode_headers, encode_entry, prune
from imagekit.errors import DocumentError
from tests.strategies.assertions import HEADERS

NESTED = """\
plain: value
empty:\x20
spaces:  two in front and one behind\x20
block:
    first

    third
list:
  - one
  -\x20
  -
      a
        b
  -
    - inner
  -
    key: value
    map:
      deep:
        - x
colon: a: b
"""
VALUES: dict[str, Header] = {
    "plain": "value", "empty": "", "spaces": " two in front and one behind ", "block": "first\n\nthird",
    "list": ("one", "", "a\n  b", ("inner",), {"key": "value", "map": {"deep": ("x",)}}), "colon": "a: b",
}


def plain(value: Header) -> Any:
    """Proxies as dicts, so that values compare."""
    if isinstance(value, Mapping):
        return {name: plain(item) for name, item in value.items()}
    return tuple(plain(item) for item in value) if isinstance(value, tuple) else value


def text_of(headers: Mapping[str, Header]) -> str:
    return "\n".join(line for name, value in headers.items() for line in encode_entry(name, value))


def test_every_form_is_read() -> None:
    text = NESTED.removesuffix("\n").replace("first\n\n", "first\n    \n")
    assert plain(decode_headers(text, name="x")) == VALUES


def test_every_form_is_written() -> None:
    assert text_of(VALUES) == NESTED.removesuffix("\n").replace("first\n\n", "first\n    \n")


def test_map_keys_are_sorted_and_empty_things_left_out() -> None:
    value: Header = {"b": "2", "a": "1", "gone": (), "also": {"gone": {}}, "list": ((), "kept", {})}
    assert list(encode_entry("map", value)) == ["map:", "  a: 1", "  b: 2", "  list:", "    - kept"]
    assert list(encode_entry("gone", ({}, ((),)))) == []


@pytest.mark.parametrize(("text", "line", "reason"), [
    ("type: a\nno colon here", 2, "no colon after a name"),
    ("Type: a", 1, "not a header name"),
    ("1a: a", 1, "not a header name"),
    ("a-: a", 1, "not a header name"),
    ("a--b: a", 1, "not a header name"),
    ("\u00e4: a", 1, "not a header name"),
    (": a", 1, "not a header name"),
    ("a: 1\nb: 2\na: 3", 3, "stands twice"),
    ("m:\n  k: 1\n  k: 2", 3, "stands twice"),
    ("a:1", 1, "a space or the end of the line"),
    ("a:\t1", 1, "a space or the end of the line"),
    ("a:", 1, "no value follows"),
    ("a:\nb: 1", 2, "no value follows"),
    ("a:\n - x", 2, "no value follows"),
    ("a:\n  -x", 2, "a space or the end of the line"),
    ("a:\n  -\n  - b", 3, "no value follows"),
    ("a:\n  k: 1\n    j: 2", 3, "not a header name"),
    ("a:\n  k: 1\n j: 2", 3, "not a header name"),
    ("a: 1\n  k: 1", 2, "not a header name"),
    ("a: 1\r\nb : 2", 2, "not a header name"),
    ("a: 1\n", 2, "no colon after a name"),
])
def test_malformed_header_is_refused_with_its_line(text: str, line: int, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason) as caught:
        decode_headers(text, name="file", first_line=1)
    assert caught.value.message.startswith(f"file:{line}: ")


def test_nesting_bomb_is_refused() -> None:
    text = "\n".join("  " * depth + "k:" for depth in range(2000)) + "\n" + "  " * 2000 + "k: v"
    with pytest.raises(DocumentError, match=f"deeper than {MAX_NESTING} levels"):
        decode_headers(text, name="file")
    lists = "k:\n" + "\n".join("  " * depth + "  -" for depth in range(2000))
    with pytest.raises(DocumentError, match=f"deeper than {MAX_NESTING} levels"):
        decode_headers(lists, name="file")


@pytest.mark.parametrize("name", ["", "A", "a:b", "a\nb", "-a", "a b", "a\n"])
def test_bad_name_is_not_written(name: str) -> None:
    with pytest.raises(DocumentError, match="not a header name"):
        list(encode_entry(name, "x"))
    with pytest.raises(DocumentError, match="not a header name"):
        list(encode_entry("map", {name: "x"}))


@given(HEADERS)
def test_whatever_is_written_is_read_back(headers: dict[str, Header]) -> None:
    kept = prune(headers)
    if kept is None:
        assert text_of(headers) == ""
    else:
        assert plain(decode_headers(text_of(headers), name="x")) == plain(kept)


@given(st.text(st.sampled_from("ab:- \n"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        headers = decode_headers(text, name="x")
    except DocumentError:
        return
    assert plain(decode_headers(text_of(headers), name="x")) == plain(headers)
