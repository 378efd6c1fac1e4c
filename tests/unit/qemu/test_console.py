"""A guest's text is untrusted: no escape sequence, control or bidirectional character gets through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.qemu.console import LINE_LIMIT, LineSplitter, clean_line


@pytest.mark.parametrize(("raw", "lines"), [
    (b"plain", ("plain",)),
    (b"\x1b[1;31mred\x1b[0m", ("red",)),
    (b"\x1b]0;your title\x07after", ("after",)),
    (b"\x1b]52;c;Y3VybA==\x1b\\after", ("after",)),
    (b"\x1b]0;never ended", ()),
    (b"\x1bP+q544e\x1b\\x", ("x",)),
    (b"\x1bc\x1b(0reset", ("reset",)),
    (b"tab\there", ("tab here",)),
    (b"bell\x07 backspace\x08 nul\x00", ("bell backspace nul",)),
    (b"c1 \xc2\x9b31m csi", ("c1 31m csi",)),
    ("evil \u202e txt.exe".encode(), ("evil  txt.exe",)),
    (b"bad \xff byte", ("bad \\xff byte",)),
    (b"\x1b[2J\x1b[01;01HBdsDxe: one\x1b[05;01HPress any key", ("BdsDxe: one", "Press any key")),
    (b"\x1b[2J\x1b[01;01H\x1b[=3h", ()),
    ("größe ✓".encode(), ("größe ✓",)),
])
def test_line_is_cleaned(raw: bytes, lines: tuple[str, ...]) -> None:
    assert clean_line(raw) == lines


@given(st.binary(max_size=300))
def test_nothing_that_a_terminal_obeys_survives(raw: bytes) -> None:
    for line in clean_line(raw):
        assert line.isprintable()


@given(st.binary(max_size=300), st.integers(min_value=1, max_value=20))
def test_lines_do_not_depend_on_how_the_bytes_arrive(raw: bytes, step: int) -> None:
    whole = LineSplitter()
    pieces = LineSplitter()
    once = whole.feed(raw) + whole.flush()
    bit_by_bit = [line for start in range(0, len(raw), step) for line in pieces.feed(raw[start:start + step])]
    assert bit_by_bit + pieces.flush() == once


def test_line_without_end_takes_no_memory() -> None:
    splitter = LineSplitter()
    for _ in range(100):
        assert splitter.feed(b"x" * 65536) == []
    assert len(splitter.held) == LINE_LIMIT
    assert [len(line) for line in splitter.feed(b"\nnext\n")] == [LINE_LIMIT, 4]
