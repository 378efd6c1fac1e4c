"""docs/fuzzing.md, made from docs/fuzzing.json: `python tests/fuzz/page.py > docs/fuzzing.md`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parent.parent.parent / "docs" / "fuzzing.json"
HEAD = """# Fuzzing

What others wrote is read by parsers that no input may crash, hold up or bloat: every exception but a refusal is a bug,
so is a second of processor time for one input, and so are 256 MiB of memory. `tests/fuzz` has a target for each parser,
seeds, and everything that once broke one.

| | |
|---|---|
| in CI | 10,000 executions of each target, every seed and regression: part of `./bootstrap test` |
| longer | `.venv/bin/invoke fuzz --runs 1000000`; one target with `--target snap-yaml`; `--record` for this page |
| found something | the input is in `build/fuzz/TARGET`; it goes into `tests/fuzz/regressions/TARGET`, and stays |

The engine is atheris (libFuzzer), which learns from the branches that an input takes. It is made for CPython on x86-64;
elsewhere the same targets, limits and seeds run under a plain engine that mutates blindly, the same on every run. In
CI on x86-64 a missing atheris is a failure. Memory is bounded by `RLIMIT_DATA`, time by a timer of processor time; it
ends in the target, in an exception that nobody catches; libFuzzer's own timer of 20 s stands behind it. Tests with
planted bugs prove that a crash, an endless loop, a regular expression that never ends and a large allocation are each
caught.

Formats with checksums would stop a fuzzer: where the last bit of an input is set, its checksums are made right first.

## The longest runs

"""
COLUMNS = ("target", "executions", "seconds", "peak memory", "coverage", "inputs kept", "found", "commit")


def page(record: dict[str, Any]) -> str:
    """The whole page."""
    lines = [f"| {' | '.join(COLUMNS)} |", "|---|" + "--:|" * 5 + "---|---|"]
    for name, item in sorted(record["targets"].items()):
        cells = (name, f"{item['executions']:,}", f"{item['seconds']:,.0f}", f"{item['peak_mib']} MiB",
                 "-" if item["coverage"] is None else str(item["coverage"]),
                 "-" if item["corpus"] is None else str(item["corpus"]), item["kind"] or "nothing",
                 item["commit"] or "-")
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + """

Seconds are of one process on a machine with other work. Peak memory is that of the whole
process; interpreter and fuzzer take about 45 MiB before the first input. Coverage is the number of branches
that were taken, as atheris counts them. Where no commit is named, the run was made on one that did not come into this
history: on much the same code, and nobody can look up which.
"""


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(RECORD.read_text())))
