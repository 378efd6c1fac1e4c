"""Durations as snap.yaml writes them: `1m30s`, `500ms`, `1.5h`.

Source: the grammar of Go's `time.ParseDuration`, which snapd uses; the sum must fit into 63 bits of nanoseconds.

    duration = ["+" | "-"] ("0" | (digits ["." digits] unit)+)        ; unit = h m s ms us µs ns
"""

from __future__ import annotations

import re

from imagekit.errors import DocumentError

_UNITS = {"ns": 1, "us": 1_000, "\u00b5s": 1_000, "\u03bcs": 1_000, "ms": 1_000_000, "s": 1_000_000_000,
          "m": 60_000_000_000, "h": 3_600_000_000_000}
_STEP = re.compile(r"([0-9]*)(?:\.([0-9]*))?([^0-9.]+)")
_MAX_NS = (1 << 63) - 1
_MAX_TEXT = 256


def parse_duration(text: str) -> int:
    """Nanoseconds, negative with a minus sign. Raises: DocumentError: not a duration, or too long a time."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    if digits == "0":
        return 0
    total, at = 0, 0
    while at < len(digits) or not digits:
        step = _STEP.match(digits, at) if len(digits) <= _MAX_TEXT else None
        if step is None or not (step[1] or step[2]) or step[3] not in _UNITS:
            raise DocumentError(f"{text[:_MAX_TEXT]!r} is not a time: numbers with units h, m, s, ms, us or ns are,"
                                " as in 1m30s")
        unit, fraction = _UNITS[step[3]], step[2] or ""
        total += int(step[1] or "0") * unit + (int(fraction) * unit // 10 ** len(fraction) if fraction else 0)
        at = step.end()
    if total > _MAX_NS:
        raise DocumentError(f"{text!r} is more than 292 years")
    return -total if text.startswith("-") else total


def encode_duration(nanoseconds: int) -> str:
    """The shortest text that `parse_duration` reads back."""
    sign, left = "-" if nanoseconds < 0 else "", abs(nanoseconds)
    parts = []
    for unit in ("h", "m", "s", "ms", "us", "ns"):
        count, left = divmod(left, _UNITS[unit])
        if count:
            parts.append(f"{count}{unit}")
    return sign + ("".join(parts) or "0s")
