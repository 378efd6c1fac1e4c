"""Parts of docs/reliability.md, from the records in docs/reliability/: `python -m tests.scale.page`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.parts import with_part

TOP = Path(__file__).parents[2]
PAGE, RECORDS = TOP / "docs" / "reliability.md", TOP / "docs" / "reliability"
MEGA = 1_000_000


def save(name: str, record: dict[str, Any]) -> None:
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def load(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RECORDS / f"{name}.json").read_text())
    return found


def write_page() -> None:
    PAGE.write_text(with_parts(PAGE.read_text()))


def with_parts(page: str) -> str:
    """The page with its parts written anew, those whose records are there."""
    for name, make in (("scale", scale), ("store", store)):
        if (RECORDS / f"{name}.json").exists():
            page = with_part(page, name, make(load(name)))
    return page


def table(head: tuple[str, ...], *rows: tuple[object, ...]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---" + "|--:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def percent(share: float) -> str:
    """Never rounded up to a whole that it is not."""
    return f"{int(share * MEGA) / (MEGA / 100):.4f} %"


def hours(seconds: int) -> str:
    return f"day {seconds // 86400 + 1}, {seconds % 86400 // 3600:02}:{seconds % 3600 // 60:02}"


def scale(record: dict[str, Any]) -> str:
    world, checks, store = record["world"], record["checks"], record["store"]
    outages = "; ".join(f"{hours(start)} for {(end - start) / 3600:g} h" for start, end in world["outages"])
    releases = table(
        ("release", "devices", "in time", "share", "of those that nothing but the store kept away, by the clock"),
        *((hours(item["published"]), f"{item['counted']:,}", f"{item['in_time']:,}",
           percent(item["in_time"] / item["counted"]), percent(item["plain_in_time"] / item["plain"]))
          for item in record["releases"]),
        ("all", f"{record['counted']:,}", f"{record['in_time']:,}", percent(record["in_time"] / record["counted"]), ""))
    rates = table(
        ("", "mean", "peak", "peak / mean"),
        ("checks a second, by the minute", f"{checks['mean']:.1f}", f"{checks['peak_minute']:.1f}",
         f"{checks['peak_minute'] / checks['mean']:.2f}"),
        ("checks a second, by the second", f"{checks['mean']:.1f}", f"{checks['peak_second']}",
         f"{checks['peak_second'] / checks['mean']:.2f}"),
        ("requests a second, by the minute", f"{store['requests_mean']:.1f}", f"{store['requests_peak']:.1f}",
         f"{store['requests_peak'] / store['requests_mean']:.2f}"),
        ("Mbit/s with deltas, in the 8 h behind a release", *_bits(store["deltas"])),
        ("Mbit/s with whole packages, in the 8 h behind a release", *_bits(store["whole"])))
    return f"""{world['devices']:,} devices, seed {world['seed']}, commit `{record['commit'][:12]}`. Repeat:
`{record['command']}`; it took {record['cpu_s']:.0f} s of CPU. The store was out: {outages}.

{releases}

The longest wait was {record['longest_s'] / 3600:.2f} h of time in which device and store could come together;
{record['failed']:,} checks came to no answer.

{rates}

Each release is taken to be as large as a point update of the base ([benchmarks](benchmarks.md#deltas)):
{record['delta_bytes'] / MEGA:.2f} MB as a delta, {record['whole_bytes'] / MEGA:.2f} MB whole.
"""


def _bits(found: dict[str, float]) -> tuple[str, str, str]:
    return (f"{found['mean'] * 8 / MEGA:,.0f}", f"{found['peak'] * 8 / MEGA:,.0f}",
            f"{found['peak'] / found['mean']:.2f}")


def store(record: dict[str, Any]) -> str:
    idle, update = record["cost"]["idle"], record["cost"]["update"]
    rates = table(("what is asked for", "bytes", "requests a second, median", "rounds"), *(
        (name, f"{size:,}", f"{record['rates'][name]['median']:,.0f}",
         ", ".join(f"{one:,.0f}" for one in record["rates"][name]["rounds"]))
        for name, size in (("timestamp", _bytes(idle["of"], "timestamp.json")), ("next root, not there",
                           _bytes(idle["of"], "root.json")), ("delta", record["delta_bytes"]))))
    return f"""{record['machine']}, commit `{record['commit'][:12]}`, a store of {record['targets']} targets,
{record['connections']} connections, rounds of {record['seconds']} s. Repeat: `{record['command']}`.

A check with nothing new is {idle['requests']} requests and {idle['bytes']:,} bytes of content; one that takes an update
of one package is {update['requests']} requests and {update['bytes_without_package']:,} bytes beside the package or its
delta.

{rates}
"""


def _bytes(requests: list[dict[str, Any]], end: str) -> int:
    return next(int(item["bytes"]) for item in requests if item["path"].endswith(end))


if __name__ == "__main__":
    write_page()
