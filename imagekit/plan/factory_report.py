"""The report of a batch: one HTML document out of a log, to be kept, sent and printed.

Decides what a reader wants first: how many, which image, whether the log holds; then every unit. No script, nothing
from elsewhere; on paper black on white, the table's head on every page. Equal logs give equal reports, byte for byte.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import PurePath
from typing import Any

from imagekit.plan.factory_log import Kind, Log, Record, totals
from imagekit.plan.factory_tiles import clock_text
from imagekit.units import iec

STYLE = """
  body { font: 14px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1b1f24; background: #fff; max-width: 70rem;
         margin: 2rem auto; padding: 0 1.5rem }
  h1 { font-size: 1.7rem } h2 { font-size: 1.15rem; margin-top: 2rem }
  .counts { display: flex; flex-wrap: wrap; gap: 1rem }
  .counts div { border: 1px solid #d0d7de; border-radius: .5rem; padding: .6rem 1.1rem; min-width: 7rem }
  .counts b { display: block; font-size: 1.9rem; font-variant-numeric: tabular-nums }
  .good b, td.done { color: #00704f } .bad b, td.failed, td.interrupted { color: #a83c00 }
  table { border-collapse: collapse; width: 100% }
  th, td { text-align: left; vertical-align: top; padding: .3rem .7rem .3rem 0; border-bottom: 1px solid #d0d7de }
  .number { text-align: right; font-variant-numeric: tabular-nums }
  .facts th { white-space: nowrap; width: 1%; font-weight: 600 }
  code { font-family: "DejaVu Sans Mono", monospace; font-size: .85em; overflow-wrap: anywhere }
  @media print { body { margin: 0; max-width: none; font-size: 10px } thead { display: table-header-group }
                 tr { break-inside: avoid } @page { margin: 15mm } }
"""


def encode_report(log: Log, *, name: str, key: str) -> bytes:
    """The document. `name` is the log's file, `key` says in words whose key signed it."""
    units, counts = list(log.of(Kind.UNIT)), totals(log)
    seconds = sorted(record.said["seconds"] for record in units if record.said["result"] == "done")
    boxes = [("good", counts.done, "good"), ("bad", counts.failed, "failed")]
    boxes += [("bad", counts.interrupted, "interrupted")] if counts.interrupted else []
    station = str(log.records[0].said["station"]) if log.records else name
    body = [
        f"<h1>Station {escape(station)}</h1>", f"<p>{escape(_span(log))}</p>", '<div class="counts">',
        *(f'<div class="{kind}"><b>{count}</b>{word}</div>' for kind, count, word in boxes),
        *(f"<div><b>{clock_text(value)}</b>{word}</div>" for word, value in _durations(seconds)), "</div>",
        "<h2>What was written</h2>", _facts(_images(log)), "<h2>Units</h2>", _table(units),
        "<h2>The log</h2>", _facts(_chain(log, name, key)),
    ]
    return ('<!doctype html>\n<html lang="en"><meta charset="utf-8">'
            f"<title>Station {escape(station)}: {counts.done} good, {counts.failed} failed</title>"
            f"<style>{STYLE}</style>\n<body>" + "\n".join(body) + "\n</body></html>\n").encode()


def _span(log: Log) -> str:
    if not log.records:
        return "The log is empty."
    first, last = log.records[0].said["time"], log.records[-1].said["time"]
    return f"{_time(first)} to {_time(last)} UTC"


def _time(text: str) -> str:
    """A point in time of RFC 3339, for people: to the second, without its zone, which is UTC in a log."""
    return text[:19].replace("T", " ")


def _durations(seconds: Sequence[float]) -> Iterator[tuple[str, float]]:
    if seconds:
        yield "fastest", seconds[0]
        yield "median", statistics.median(seconds)
        yield "slowest", seconds[-1]


def _images(log: Log) -> Iterator[tuple[str, str]]:
    """Each image that was begun with, once."""
    seen = set()
    for record in log.of(Kind.START):
        image: Mapping[str, Any] = record.said["image"]
        if image["digest"] not in seen:
            seen.add(image["digest"])
            count = sum(unit.said["image"] == image["digest"] and unit.said["result"] == "done"
                        for unit in log.of(Kind.UNIT))
            yield str(image["file"]), f"{iec(image['size'])}; {image['about']}; {count} good units"
            yield "digest", str(image["digest"])


def _chain(log: Log, name: str, key: str) -> Iterator[tuple[str, str]]:
    yield "file", name
    yield "records", f"{len(log.records)}, each signed, each bound to the one before it"
    yield "key", key
    operators = dict.fromkeys(who for record in log.of(Kind.START) if (who := record.said.get("operator")))
    if operators:
        yield "operator", ", ".join(operators)
    yield "last digest", log.head
    if log.records:
        yield "its signature", log.records[-1].signature
    for record in log.of(Kind.RECOVERED):
        yield "set aside", f"{record.said['bytes']} bytes that a power cut tore, before record {record.number}"


def _facts(rows: Iterator[tuple[str, str]]) -> str:
    cells = "\n".join(f"<tr><th>{escape(name)}</th><td>{_value(text)}</td></tr>" for name, text in rows)
    return f'<table class="facts">\n{cells}\n</table>'


def _value(text: str) -> str:
    return f"<code>{escape(text)}</code>" if len(text) > 40 and " " not in text else escape(text)


COLUMNS = ("record", "serial", "result", "port", "medium", "began", "time", "problem")


def _table(units: Sequence[Record]) -> str:
    if not units:
        return "<p>None.</p>"
    head = "".join(f'<th class="number">{name}</th>' if name == "record" else f"<th>{name}</th>" for name in COLUMNS)
    return (f'<table class="units"><thead><tr>{head}</tr></thead>\n<tbody>\n'
            + "\n".join(_row(record) for record in units) + "\n</tbody></table>")


def _row(record: Record) -> str:
    said = record.said
    device = said["device"]
    size = iec(device["size"]) if device["size"] else ""
    name = " ".join(str(word) for word in (device["model"], device["serial"]) if word) or PurePath(device["path"]).name
    medium = f"{name} {size}".strip()
    serial = (said["identity"] or {}).get("serial", "")
    cells = (said["port"], medium, _time(said["began"]), clock_text(said["seconds"]), said["problem"] or "")
    rest = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    return (f'<tr><td class="number">{record.number}</td><td>{escape(serial)}</td>'
            f'<td class="{said["result"]}">{said["result"]}</td>{rest}</tr>')
