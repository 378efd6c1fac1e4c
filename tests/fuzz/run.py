"""Fuzz targets, each in a process of its own: `python tests/fuzz/run.py [--runs N] [TARGET...]`.

The tests call it for a fixed number of executions; `invoke fuzz` for as many as one likes, and writes the record that
docs/fuzzing.md is made from.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from targets import TARGETS, dictionary

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SEEDS = HERE / "seeds"
REGRESSIONS = HERE / "regressions"
DOCUMENTS = {
    "assertions": ("data/assertions/*.[am]*", "documents/*/*/*.assert"),
    "gadget-yaml": ("documents/*/*/gadget.yaml", "data/gadgets/*.yaml"),
    "kernel-yaml": ("documents/*/*/kernel.yaml",),
    "snap-yaml": ("documents/*/*/snap.yaml",),
}
KINDS = (("Hang", "hang"), ("MemoryError", "memory"), ("timeout after", "hang"), ("", "crash"))

_STAT = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_DONE = re.compile(r"DONE\s+cov: (\d+) ft: (\d+) corp: (\d+)/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one target. `kind` is `crash`, `hang` or `memory` where something broke."""

    target: str
    engine: str
    executions: int
    seconds: float
    peak_mib: int
    coverage: int | None  # edges of the program that were passed, as libFuzzer counts
    features: int | None
    corpus: int | None  # inputs that it thought worth keeping
    kind: str | None = None
    said: str = ""
    input: bytes = b""


def inputs(target: str, seeds: Path | None = None) -> list[Path]:
    """The files that fuzzing a target begins with: its seeds, what once broke it, and the tests' own documents."""
    folders = (seeds or SEEDS / target, REGRESSIONS / target)
    found = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return found + [path for pattern in DOCUMENTS.get(target, ()) for path in sorted((HERE.parent).glob(pattern))]


def engine() -> str:
    """`atheris` where it is installed. It is made for CPython on x86-64; elsewhere inputs are mutated blindly."""
    return "atheris" if importlib.util.find_spec("atheris") else "plain"


def must_be_atheris() -> bool:
    """Whether this machine is one that atheris is made for (pyproject.toml): being blind here would hide something."""
    return (platform.machine() == "x86_64" and sys.implementation.name == "cpython"
            and (3, 11) <= sys.version_info[:2] < (3, 14))


def fuzz(target: str, *, runs: int, engine: str, seed: int = 1, planted: bool = False, seeds: Path | None = None,
         limit_s: float | None = None) -> Outcome:
    """Fuzz one target with its seeds and regressions; nothing is left behind."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        out, corpus = Path(folder, "out"), Path(folder, "corpus")
        out.mkdir()
        corpus.mkdir()
        for number, path in enumerate(inputs(target, seeds)):
            shutil.copy(path, corpus / f"{number:04}-{path.name}")
        words = Path(folder, "words")
        command = [sys.executable, str(HERE / "child.py"), target, engine, str(out), f"--runs={runs}", f"--seed={seed}"]
        command += ["--planted"] if planted else []
        if engine == "atheris":
            words.write_text(dictionary(target))
            command += [f"-dict={words}"] if words.stat().st_size else []
        began = time.monotonic()
        ended = subprocess.run([*command, str(corpus)], cwd=ROOT, capture_output=True, check=False, timeout=limit_s,
                               env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0"})
        said = "\n".join(line for line in (ended.stderr + ended.stdout).decode("utf-8", "replace").splitlines()
                         if "Instrumenting" not in line)
        broken = next(iter(sorted(out.iterdir())), None)
        return _outcome(target, engine, said, status=ended.returncode, seconds=time.monotonic() - began,
                        broken=broken.read_bytes() if broken else None)


def _outcome(target: str, engine: str, said: str, *, status: int, seconds: float, broken: bytes | None) -> Outcome:
    stats = {name: int(value) for name, value in _STAT.findall(said)}
    done = _DONE.search(said)
    if engine != "atheris" and status == 0:
        stats = json.loads(said.strip().splitlines()[-1])
    kind = None
    if status or broken is not None:
        kind = next(kind for words, kind in KINDS if words in said)
    return Outcome(
        target=target, engine=engine, seconds=round(seconds, 1), peak_mib=int(stats.get("peak_rss_mb", 0)),
        executions=int(stats.get("number_of_executed_units", stats.get("executions", 0))),
        coverage=int(done[1]) if done else None, features=int(done[2]) if done else None,
        corpus=int(done[3]) if done else None, kind=kind, said=said[-4000:] if kind else "", input=broken or b"")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--runs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="add what came of each target to this JSON file")
    parser.add_argument("--engine", default=engine(), choices=("atheris", "plain"))
    asked = parser.parse_args()
    status = 0
    for target in asked.targets or TARGETS:
        outcome = fuzz(target, runs=asked.runs, engine=asked.engine, seed=asked.seed)
        print(f"{target}: {outcome.executions} executions in {outcome.seconds:g} s, {outcome.peak_mib} MiB, coverage"
              f" {outcome.coverage}: {outcome.kind or 'nothing found'}", flush=True)
        if outcome.kind is not None:
            status = 1
            place = ROOT / "build" / "fuzz" / target
            place.mkdir(parents=True, exist_ok=True)
            (place / outcome.kind).write_bytes(outcome.input)
            print(f"{outcome.said}\nthe input is {place / outcome.kind}", flush=True)
        if asked.record:
            keep(asked.record, outcome)
    return status


def keep(record: Path, outcome: Outcome) -> None:
    """Add an outcome to the record, in the place of an older one of the target."""
    known = json.loads(record.read_text()) if record.exists() else {"targets": {}}
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True,
                            check=True)
    plain = {key: value for key, value in asdict(outcome).items() if key not in ("target", "said", "input")}
    known["targets"][outcome.target] = {**plain, "commit": commit.stdout.strip(), "python": platform.python_version()}
    record.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(main())
