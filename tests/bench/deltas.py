"""Measure deltas on Debian's point updates: `invoke bench --deltas`.

A point is a lock in `points/`: what the demo's base and kernel were made of when Debian was at that point. Packages are
made from both locks of a step by the project's own recipes, the delta between them is made and applied, each in a
process of its own that measures itself, and the SHA-256 of the result is held against that of the new package. Other
steps are measured by naming them: two locks (`OLD.lock NEW.lock`) or two packages, each with its `.zst` beside it: that
is the whole download that a delta is held against.

Debian's archive has no lists of old points. 13.6 and 13.7 were put together from 13.8 and the changelogs of its
packages: each version is the newest that had been uploaded before the installer's of that point. What no signed list
has any more has the digest that the mirror's file had. A package that the mirror has no longer ends the benchmark.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import file_digest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from record import TOP, machine, output, save  # type: ignore[import-not-found]

from imagekit.build.pack import pack
from imagekit.build.parts import Parts, Policy
from imagekit.build.project import load_lock
from imagekit.build.recipes import load_recipe
from imagekit.cli.progress import progress
from imagekit.errors import ImagekitError
from imagekit.host.cache import Cache
from imagekit.host.folders import default_cache_folder
from imagekit.packages.lockfile import PartChange, part_changes
from imagekit.packages.package import ErofsPackage, read_info

POINTS = Path(__file__).parent / "points"
STEPS = (("debian-13.6", "debian-13.7"), ("debian-13.7", "debian-13.8"), ("debian-13.8", "debian-13.8-security"))
MEASURED = """
import hashlib, json, re, sys, time
from pathlib import Path
began = time.monotonic()
{work}
peak = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps({{"cpu_s": time.process_time(), "wall_s": time.monotonic() - began, "peak": peak, "found": found}}))
"""
MAKE = MEASURED.format(work="""
from imagekit.packages.delta_make import make_delta
with open(sys.argv[1], "rb") as old, open(sys.argv[2], "rb") as new:
    found = Path(sys.argv[3]).write_bytes(make_delta(old, new))""")
APPLY = MEASURED.format(work="""
from imagekit.packages.delta import apply_delta
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as old, open(sys.argv[3], "rb") as delta:
    apply_delta(delta, old, digest.update, name="delta")
found = digest.hexdigest()""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Two packages that follow each other, and which Debian packages differ between them, where that is known."""

    label: str
    old: Path
    new: Path
    changes: tuple[PartChange, ...] = ()


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=3)
    words.add_argument("files", nargs="*", type=Path, metavar="OLD NEW", help="two locks or two packages")
    options = words.parse_args()
    if len(options.files) not in (0, 2):
        words.error("two locks or two packages")
    stamp = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="imagekit-bench-") as name:
        folder = Path(name)
        if options.files and options.files[0].suffix == ".snap":
            old, new = options.files
            steps = [Step(label=f"{old.stem} to {new.stem}", old=old, new=new)]
        else:
            pairs = [tuple(options.files)] if options.files else [
                (POINTS / f"{old}.lock", POINTS / f"{new}.lock") for old, new in STEPS]
            steps = [step for old, new in pairs for step in packed(old, new, folder)]
        rows = measured(steps, folder / "delta", options.rounds)
    given = "".join(f" {path}" for path in options.files)
    command = f"./bootstrap bench --deltas --rounds={options.rounds}" if not given else (
        f".venv/bin/python tests/bench/deltas.py --rounds={options.rounds}{given}")
    record = {"date": f"{stamp:%Y-%m-%d}", "commit": output("git", "rev-parse", "--short=12", "HEAD"),
              "machine": machine(), "kind": "deltas", "title": "Deltas", "command": command, "rows": rows}
    save("deltas", record)
    return subprocess.call([sys.executable, TOP / "tests" / "bench" / "table.py"])


def packed(old: Path, new: Path, folder: Path) -> Iterator[Step]:
    """A step for each recipe that both locks have and answer differently."""
    locks, cache = (load_lock(old), load_lock(new)), Cache(default_cache_folder(os.environ))
    for name in sorted(set(locks[0].sections) & set(locks[1].sections)):
        changes = part_changes(*locks, name)
        if not changes:
            continue
        made = []
        for path, lock in zip((old, new), locks, strict=True):
            whole = load_lock().with_section(name, lock.sections[name])
            with progress() as told:
                parts = Parts(cache, whole, policy=Policy(locked=True), environment=os.environ, progress=told)
                made.append(pack(load_recipe(name), parts=parts, cache=cache, out=folder / path.stem, progress=told))
        yield Step(label=f"{name}: {old.stem} to {new.stem}", old=made[0].path, new=made[1].path, changes=changes)


def measured(steps: list[Step], delta: Path, rounds: int, *, make: str = MAKE) -> list[dict[str, Any]]:
    """A row for each step, its rounds interleaved with the others'; `make` is the program that makes a delta.

    Raises:
        RuntimeError: what a delta makes is not the new package.
    """
    rows = [described(step) for step in steps]
    for number in range(rounds):
        for step, row in zip(steps, rows, strict=True):
            made = run(make, step.old, step.new, delta)
            applied = run(APPLY, step.old, step.new, delta)
            if applied["found"] != row["new"]["sha256"]:
                raise RuntimeError(f"{step.label}: the delta makes {applied['found']}, not the new package")
            row["rounds"].append({"delta": made.pop("found"), "result": applied.pop("found"), "make": made,
                                  "apply": applied})
            print(f"round {number + 1}/{rounds} {step.label}: {row['rounds'][-1]['delta']} bytes,"
                  f" {made['cpu_s']:.1f} s CPU", flush=True)
    return rows


def described(step: Step) -> dict[str, Any]:
    """What the record says of the two packages."""
    ends: dict[str, Any] = {}
    for end, path in (("old", step.old), ("new", step.new)):
        with path.open("rb") as stream:
            info = read_info(ErofsPackage(stream, name=str(path)))
            stream.seek(0)
            ends[end] = {"version": info.version, "size": path.stat().st_size,
                         "sha256": file_digest(stream, "sha256").hexdigest(),
                         "whole": path.with_name(path.name + ".zst").stat().st_size}
    return {"label": step.label, "type": info.type, **ends, "rounds": [],
            "changed": [{"package": one.package, "old": one.locked, "new": one.offered} for one in step.changes]}


def run(program: str, *words: Path) -> dict[str, Any]:
    """What a program that measures itself says. Its peak is of itself: nothing of this process' memory is in it."""
    done = subprocess.run([sys.executable, "-c", program, *map(str, words)], check=True, stdout=subprocess.PIPE,
                          env={**os.environ, "PYTHONPATH": str(TOP)})
    found: dict[str, Any] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except ImagekitError as problem:
        print(problem.message, *filter(None, (problem.hint,)), sep="\n", file=sys.stderr)
        sys.exit(problem.exit_code)
