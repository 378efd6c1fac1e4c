"""docs/benchmarks.md from the JSON records in docs/benchmarks/: `python tests/bench/table.py [--check [PAGE]]`.

A record is one run of `invoke bench`: commit, image digest, machine, commands, and every round as it was measured.
The page holds no figure that is not computed here.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
RECORDS = TOP / "docs" / "benchmarks"
PAGE = TOP / "docs" / "benchmarks.md"
MIB = 1 << 20
DELTA_LIMITS = {"base": 4.0}  # of a type of package, in per cent
PHASES = ("firmware", "loader", "kernel", "initrd", "systemd", "health")

HEAD = """# Benchmarks

This page is generated: `python tests/bench/table.py` writes it from the records in [benchmarks/](benchmarks/), and a
test runs that again. `invoke bench` makes a new record. All rows of a table come from one run, interleaved; read the
ratios, the seconds belong to one machine. The rows of a build make images of the same
content, with the same file systems and hash trees.
"""


def main() -> int:
    text = page([json.loads(path.read_text()) for path in sorted(RECORDS.glob("*.json"))])
    if sys.argv[1:2] == ["--check"]:
        page_path = Path(sys.argv[2]) if len(sys.argv) > 2 else PAGE
        return 0 if page_path.read_text() == text else 1
    PAGE.write_text(text)
    return 0


def page(records: list[dict[str, Any]]) -> str:
    return "\n".join([HEAD, *(section(record) for record in records)])


def section(record: dict[str, Any]) -> str:
    image = f" image `{record['image_sha256'][:16]}`," if "image_sha256" in record else ""
    lines = [f"## {record['title']}", "",
             f"{record['date']}, commit `{record['commit']}`,{image} {record['machine']}."
             f" Repeat: `{record['command']}`.", ""]
    return "\n".join([*lines, *TABLES[record["kind"]](record), ""])


def speed(record: dict[str, Any]) -> list[str]:
    floor = record["rows"]["floor"]["rounds"]
    lines = [f"{len(floor)} rounds, median (minimum); × is the ratio of medians to the floor.", "",
             "| way | wall s | CPU s | × | written MiB | × | peak memory MiB |", "|---|---|---|---|---|---|---|"]
    for row in sorted(record["rows"].values(), key=lambda row: str(row["label"])):
        rounds = row["rounds"]
        lines.append(f"| {row['label']} | {both(rounds, 'wall_s')} | {both(rounds, 'cpu_s')}"
                     f" | {median(rounds, 'cpu_s') / median(floor, 'cpu_s'):.2f}"
                     f" | {median(rounds, 'written') / MIB:.0f}"
                     f" | {median(rounds, 'written') / median(floor, 'written'):.2f}"
                     f" | {max(one['peak'] for one in rounds) / MIB:.0f} |")
    return lines


def boot(record: dict[str, Any]) -> list[str]:
    rounds = record["rounds"]
    names = [name for name in PHASES if name in rounds[0]]
    return [f"{len(rounds)} boots, median (minimum), seconds from the start of QEMU.", "",
            "| " + " | ".join(["verdict", *names]) + " |", "|" + "---|" * (len(names) + 1),
            "| " + " | ".join([both(rounds, "wall_s"), *(both(rounds, name) for name in names)]) + " |"]


def documents(record: dict[str, Any]) -> list[str]:
    rows = record["rows"].values()
    return [f"{len(next(iter(rows))['rounds'])} rounds, median (minimum), the start of the program included.", "",
            "| what | CPU s | budget | wall s | peak memory MiB |", "|---|---|---|---|---|",
            *(f"| {row['label']} | {both(row['rounds'], 'cpu_s')} | {row['budget_s']:.1f}"
              f" | {both(row['rounds'], 'wall_s')} | {max(one['peak'] for one in row['rounds']) / MIB:.0f} |"
              for row in rows)]


def flash(record: dict[str, Any]) -> list[str]:
    card, media, targets = record["card"], record["media"], record["targets"]
    lines = [f"{len(media['card']['floor']['rounds'])} rounds, median (minimum); × is the ratio of medians to the first"
             f" floor. {record['mapped'] / MIB:.0f} MiB of 2 GiB are mapped. The start of the program is included."]
    for medium, title in (("card", f"To a card: {card['write'] / 1e6:.0f} MB/s written, {card['read'] / 1e6:.0f} MB/s"
                                   " read, held to it by the kernel"),
                          ("disk", "As fast as the disk below takes it")):
        rows = media[medium]
        floor = median(rows["floor"]["rounds"], "wall_s")
        lines += ["", f"### {title}", "",
                  "| way | wall s | × | CPU s | written MiB | peak memory MiB |", "|---|---|---|---|---|---|"]
        lines += [f"| {row['label']} | {both(row['rounds'], 'wall_s')} | {median(row['rounds'], 'wall_s') / floor:.2f}"
                  f" | {both(row['rounds'], 'cpu_s')} | {median(row['rounds'], 'written') / MIB:.0f}"
                  f" | {max(one['peak'] for one in row['rounds']) / MIB:.0f} |"
                  for row in sorted(rows.values(), key=lambda row: str(row["label"]))]
    lines += ["", "### What is asked", "",
              "Where a flush costs hardly anything, the start of Python, reading and hashing are what there is to"
              " measure.", "Half of bmaptool's time cannot be met where that is less than the floor's, which writes the"
              " same bytes.", "", "| what is asked | at most | card | disk |", "|---|---|---|---|"]
    found = [flash_limits(media[medium], targets) for medium in ("card", "disk")]
    return [*lines, *(f"| {what} | {most} | {judged(most, card)} | {judged(most, disk)} |"
                      for (what, most, card), (_, _, disk) in zip(*found, strict=True))]


def judged(most: float, found: float) -> str:
    return f"{found:.2f}{' (missed)' if found > most else ''}"


def flash_limits(rows: dict[str, Any], targets: int) -> list[tuple[str, float, float]]:
    """What flashing may cost, as ratios of medians of one run: what, limit, found."""
    wall = {way: median(row["rounds"], "wall_s") for way, row in rows.items()}
    cpu = {way: median(row["rounds"], "cpu_s") for way, row in rows.items()}
    peak = max(one["peak"] for way in ("raw", "zst", "verified", "update", "eight") for one in rows[way]["rounds"])
    return [
        ("plain image against the floor", 2.0, wall["raw"] / wall["floor"]),
        ("plain image against bmaptool", 0.5, wall["raw"] / wall["bmaptool"]),
        (".zst against the floor", 3.0, wall["zst"] / wall["floor"]),
        ("read back, against writing and reading of the floor", 2.0,
         wall["verified"] / (wall["floor"] + wall["floor-read"])),
        (f"CPU for each of {targets} media against one alone", 1.3, cpu["eight"] / targets / cpu["raw"]),
        ("--update with 5 % changed against a whole write", 0.4, wall["update"] / wall["raw"]),
        ("peak memory, MiB", 128, peak / MIB),
    ]


def deltas(record: dict[str, Any]) -> list[str]:
    rows = record["rows"]
    count = len(rows[0]["rounds"])
    lines = [f"{count} {'round' if count == 1 else 'rounds'}, median (minimum). The whole download is the package as"
             " zstd; per cent are of it. Each result was",
             "held against the new package's SHA-256. CPU and memory are of the process that makes or applies, the"
             " start of Python included.", "",
             "| update | versions | Debian packages that differ | whole MB | delta MB | % | making, CPU s | making, MiB"
             " | applying, CPU s | applying, MiB |", "|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        sizes, made, applied = ([one[key] for one in row["rounds"]] for key in ("delta", "make", "apply"))
        lines.append(f"| {row['label']} | {row['old']['version']} to {row['new']['version']}"
                     f" | {len(row['changed']) or '?'} | {row['new']['whole'] / 1e6:.2f} | {max(sizes) / 1e6:.2f}"
                     f" | {per_cent(row):.2f} | {both(made, 'cpu_s')} | {max(one['peak'] for one in made) / MIB:.0f}"
                     f" | {both(applied, 'cpu_s')} | {max(one['peak'] for one in applied) / MIB:.0f} |")
    lines += ["", "Packages that differ:", ""]
    lines += [f"- {row['label']}: " + ", ".join(
        f"{one['package']} {one['old'] or '-'} to {one['new'] or '-'}" for one in row["changed"]) + "."
        for row in rows if row["changed"]]
    lines += ["", "### What is asked of deltas", "",
              "| update | what is asked | at most | found |", "|---|---|---|---|"]
    return lines + [f"| {row['label']} | {what} | {most} | {judged(most, found)} |"
                    for row in rows for what, most, found in delta_limits(row)]


def delta_limits(row: dict[str, Any]) -> list[tuple[str, float, float]]:
    """What a delta may cost: what, limit, found. Nothing is asked of a kernel's size but that it is below the whole."""
    made, applied = ([one[key] for one in row["rounds"]] for key in ("make", "apply"))
    return [
        ("delta, % of the whole download", DELTA_LIMITS.get(row["type"], 100.0), per_cent(row)),
        ("making it, CPU s", 90, median(made, "cpu_s")),
        ("peak memory of applying it, MiB", 96, max(one["peak"] for one in applied) / MIB),
    ]


def per_cent(row: dict[str, Any]) -> float:
    return 100 * max(float(one["delta"]) for one in row["rounds"]) / float(row["new"]["whole"])


def median(rounds: list[dict[str, float]], key: str) -> float:
    return statistics.median(one[key] for one in rounds)


def both(rounds: list[dict[str, float]], key: str) -> str:
    return f"{median(rounds, key):.2f} ({min(one[key] for one in rounds):.2f})"


TABLES = {"build": speed, "boot": boot, "deltas": deltas, "documents": documents, "flash": flash}


if __name__ == "__main__":
    sys.exit(main())
