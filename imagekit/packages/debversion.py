"""Which of two versions of a Debian package is the newer one.

Source: Debian Policy 5.6.12. `[epoch:]upstream[-revision]`; epochs by number, then upstream and revision each in turns
of what is no digit and what is digits: the first by letters before other signs and `~` before everything, even before
the end, the second by value.
"""

from __future__ import annotations

import re
from itertools import zip_longest

_PARTS = re.compile(r"(\D*)(\d*)")
_END = 0


def compare_debian_versions(one: str, two: str) -> int:
    """Negative when `one` is the older one, 0 when no order is between them."""
    mine, theirs = _key(one), _key(two)
    for left, right in zip(mine, theirs, strict=True):
        if order := _compare_part(left, right):
            return order
    return 0


def _key(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return (epoch, upstream, revision) if dash else (epoch, rest, "")


def _compare_part(one: str, two: str) -> int:
    for (signs, digits), (other_signs, other_digits) in zip_longest(_PARTS.findall(one), _PARTS.findall(two),
                                                                   fillvalue=("", "")):
        for sign, other in zip_longest(signs, other_signs):
            if order := _weight(sign) - _weight(other):
                return order
        if order := int(digits or "0") - int(other_digits or "0"):
            return order
    return 0


def _weight(sign: str | None) -> int:
    """`~` before the end, the end before letters, letters before all else."""
    if sign is None:
        return _END
    if sign == "~":
        return -1
    return ord(sign) if sign.isalpha() else 256 + ord(sign)
