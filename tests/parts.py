"""Generated parts of pages that are otherwise written by hand.

A part stands between a line `<!-- NAME: ... -->` and a line `<!-- end of NAME -->`.
"""

from __future__ import annotations

import re


def with_part(page: str, name: str, text: str) -> str:
    """The page with the text of a part made anew. Raises: ValueError: it does not have that part, once."""
    pattern = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    page, count = pattern.subn(lambda found: f"{found[1]}\n{text.strip()}\n\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"the page has {count} parts {name}")
    return page
