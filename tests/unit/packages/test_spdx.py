"""Licence expressions."""

from __future__ import annotations

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.spdx import EXCEPTIONS, check_expression, licenses


@pytest.mark.parametrize("text", [
    "MIT", "Proprietary", "GPL-2.0+", "GPL-2.0-or-later", "MIT AND Zlib OR 0BSD", "(MIT)", "((MIT)AND(Zlib))",
    "GPL-2.0 WITH GCC-exception-3.1 AND MIT", "\n MIT  OR\nZlib "])
def test_expression_is_accepted(text: str) -> None:
    check_expression(text)


@pytest.mark.parametrize(("text", "words"), [
    ("", "an id is needed"), (" \n", "an id is needed"), ("mit", "did you mean 'MIT'"), ("Other", "no id of the list"),
    ("Apache-2.0+", "no id of the list"), ("LGPL-2.2", "no id"), ("MIT Zlib", "where AND or OR is needed"),
    ("MIT (Zlib)", "where AND or OR"), ("AND MIT", "needed before 'AND'"), ("MIT AND", "at the end"),
    ("()", "before '\\)'"),
    ("(MIT", "not closed"), ("MIT)", "where AND or OR"), ("MIT WITH", "an exception of the list"),
    ("MIT WITH MIT", "an exception of the list"), ("(MIT) WITH GCC-exception-3.1", "where AND or OR"),
    ("MIT\tOR Zlib", "no id of the list"), ("(" * 1000 + "MIT", "deeper than 32")])
def test_anything_else_is_refused(text: str, words: str) -> None:
    with pytest.raises(DocumentError, match=words):
        check_expression(text)


def test_list_is_that_of_spdx_3_11() -> None:
    assert len(licenses()) == 449 and len(EXCEPTIONS) == 9
    assert {"MIT", "GPL-3.0-only", "CC0-1.0", "0BSD", "eCos-2.0"} <= licenses()
