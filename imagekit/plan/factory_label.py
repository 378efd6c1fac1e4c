"""The label of a unit: a few lines of text, and a QR code beside them, as SVG.

Decides the size (62 mm wide, as common label rolls are) and how the two are put beside each other. What stands in the
code is the job's; a text without places in braces is the same on every label. Pure text out of values.

Source: the QR code is segno's (ISO/IEC 18004), with the error correction M.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

WIDTH, MARGIN, LINE, CODE = 62.0, 3.0, 5.0, 22.0  # mm
QUIET = 4  # modules that are white around a code: ISO/IEC 18004
PLACES = frozenset({"serial", "number", "station", "date", "image", "model", "record"})
_PLACE = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What labels of a job look like, and the program that prints one; `{file}` in it is the label's file."""

    text: str
    code: str
    folder: str
    command: tuple[str, ...]


def wrong_places(text: str) -> Iterator[str]:
    """The places in braces that stand for nothing."""
    return (name for name in _PLACE.findall(text) if name not in PLACES)


def filled(text: str, values: Mapping[str, str]) -> str:
    """The text with its places filled in; a value may hold braces of its own."""
    return _PLACE.sub(lambda match: values.get(match[1], match[0]), text)


def encode_label(label: Label, values: Mapping[str, str]) -> str:
    """The label as SVG."""
    lines = filled(label.text, values).strip("\n").split("\n")
    code = filled(label.code, values)
    height = max(len(lines) * LINE, CODE if code else 0.0) + 2 * MARGIN
    left = MARGIN + (CODE + MARGIN if code else 0.0)
    room = WIDTH - left - MARGIN
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH:g}mm" height="{height:g}mm"'
             f' viewBox="0 0 {WIDTH:g} {height:g}">', f"<title>{escape(lines[0])}</title>",
             f'<rect width="{WIDTH:g}" height="{height:g}" fill="#fff"/>']
    if code:
        parts.append(_code(code))
    top = (height - len(lines) * LINE) / 2
    for index, line in enumerate(lines):
        size = min(LINE * 0.8, room / (0.6 * max(len(line), 1)))
        parts.append(f'<text x="{left:g}" y="{top + (index + 0.75) * LINE:.2f}" font-size="{size:.2f}"'
                     f' font-family="DejaVu Sans Mono, monospace"{WEIGHT if not index else ""}>{escape(line)}</text>')
    return "\n".join([*parts, "</svg>", ""])


WEIGHT = ' font-weight="bold"'


def _code(content: str) -> str:
    """The QR code and its quiet zone, margins included: a code of few modules has large ones, and is smaller."""
    import segno

    made = segno.make_qr(content, error="m", boost_error=False)
    modules = made.symbol_size(border=0)[0]
    path = "".join(f"M{x} {y}h1v1h-1z" for y, row in enumerate(made.matrix) for x, dark in enumerate(row) if dark)
    scale = min(CODE / modules, (CODE + 2 * MARGIN) / (modules + 2 * QUIET))
    corner = MARGIN + (CODE - scale * modules) / 2
    return (f'<g transform="translate({corner:.4f} {corner:.4f}) scale({scale:.5f})"><title>{escape(content)}'
            f'</title><path d="{path}" fill="#000"/></g>')
