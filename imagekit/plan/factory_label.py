"""The label of a unit: a few lines of text, and a QR code beside them, as SVG.

Decides the size (62 mm wide, as common label rolls are) and how the two are put beside each other, what of a log is
shown, and which units may lack their label: a power cut comes between a record and its label too. What stands in the
code is the job's; a text without places in braces is the same on every label. Pure text out of values.

Source: the QR code is segno's (ISO/IEC 18004), with the error correction M.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any

from imagekit.plan.factory_log import Kind, Log

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A good unit, as its label shows it: `number` and `record` are of its record, the digest being `record`."""

    number: int
    record: str
    serial: str  # empty without an identity
    model: str
    station: str
    image: str
    date: str

    @property
    def name(self) -> str:
        """What its label's file is called; of two logs with one folder for labels it is not the same."""
        return f"{self.number:06}-{self.record[:8]}"

    @property
    def values(self) -> Mapping[str, str]:
        """What is filled in for the places in braces."""
        return {name: str(getattr(self, name)) for name in PLACES}


def unit_of(said: Mapping[str, Any], run: Mapping[str, Any], *, number: int, record: str, station: str) -> Unit:
    """The unit of which a record says `said`, made in the run of which the record `start` says `run`."""
    identity, image = said["identity"] or {}, run["image"]
    return Unit(number=number, record=record, serial=identity.get("serial", ""), station=station, image=image["file"],
                model=image.get("model") or identity.get("model", ""), date=said["began"][:10])


def good_units(log: Log) -> Iterator[Unit]:
    """The good units of a log, in its order."""
    run: Mapping[str, Any] = {}
    for item in log.records:
        if item.kind is Kind.START:
            run = item.said
        elif item.kind is Kind.UNIT and item.said["result"] == "done":
            yield unit_of(item.said, run, number=item.number, record=item.digest, station=item.said["station"])


def may_lack_label(log: Log) -> Iterator[Unit]:
    """The good units of runs that were cut off, and those that the last run which ended says it left."""
    stop = next((item for item in reversed(log.records) if item.kind is Kind.STOP), None)
    left = stop.said.get("unlabelled", ()) if stop else ()
    return (unit for unit in good_units(log) if stop is None or unit.number > stop.number or unit.number in left)


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
