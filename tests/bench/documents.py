"""Measure reading and believing documents: `invoke bench --documents`.

Every row is one function of `ROWS`: it is given an empty folder, puts there what is measured, and returns the command
line. What it costs is the whole program, its start included, held against the row's budget of CPU seconds.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from measure import measure  # type: ignore[import-not-found]
from record import TOP, machine, output, save  # type: ignore[import-not-found]

from imagekit.assertions import Assertion, encode_stream
from imagekit.assertions.signing import sign_account, sign_account_key
from imagekit.testing.documents import SIGNED, SINCE, Brand

PROGRAM = (sys.executable, "-m", "imagekit.cli")
STREAMS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What is measured, what it may cost in seconds of CPU, and what prepares it."""

    label: str
    budget_s: float
    prepare: Callable[[Path], Sequence[str | Path]]


def thousand_assertions(folder: Path) -> Sequence[str | Path]:
    """1,000 distinct assertions, most of them by two brands under one store, verified against the store's root."""
    store, acme, other = Brand("store"), Brand("acme"), Brand("stranger")
    found: list[Assertion] = []
    for brand in (acme, other):
        found += [sign_account(brand.name, authority_id="store", key=store.key, timestamp=SINCE),
                  sign_account_key(brand.key.public, account_id=brand.name, authority_id="store", name="brand",
                                   since=SINCE, key=store.key)]
    for number in range(400):
        found += [acme.model(model=f"pc-{number}"), other.model(model=f"pc-{number}")]
    for number in range(98):
        digest = f"{number:04}".rjust(64, "A")
        found += [store.declaration(f"package-{number}"),
                  store.revision(f"package-{number}", 1, sha3=digest, size=4096, timestamp=SIGNED)]
    (folder / "roots").mkdir()
    (folder / "roots" / "store.assert").write_bytes(encode_stream(store.roots))
    assert len({item.content for item in found}) == 1000
    files = [folder / f"{number}.assert" for number in range(STREAMS)]
    for number, path in enumerate(files):
        path.write_bytes(encode_stream(found[number::STREAMS]))
    return [*PROGRAM, "verify", "--json", "--trust", folder / "roots", *files]


def two_hundred_gadgets(folder: Path) -> Sequence[str | Path]:
    """The gadgets of the field, again and again under other names, each held to all rules."""
    real = sorted((Path(__file__).parent.parent / "data" / "gadgets").glob("*.yaml"))
    paths = [folder / f"{number}.yaml" for number in range(200)]
    for number, path in enumerate(paths):
        path.write_bytes(real[number % len(real)].read_bytes())
    return [*PROGRAM, "gadget", "check", "--json", *paths]


ROWS: dict[str, Row] = {
    "assertions": Row(label="1,000 assertions verified", budget_s=1.5, prepare=thousand_assertions),
    "gadgets": Row(label="200 gadgets checked", budget_s=2.0, prepare=two_hundred_gadgets),
}


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=5)
    options = words.parse_args()
    stamp = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="imagekit-bench-") as name:
        rows = measured(Path(name), options.rounds)
    save("documents", {"date": f"{stamp:%Y-%m-%d}", "commit": output("git", "rev-parse", "--short=12", "HEAD"),
                       "machine": machine(), "kind": "documents", "title": "Reading documents",
                       "command": f"./bootstrap bench --documents --rounds={options.rounds}", "rows": rows})
    over = [name for name, row in rows.items() if min(one["cpu_s"] for one in row["rounds"]) > row["budget_s"]]
    if over:
        print(f"above the budget: {', '.join(over)}", file=sys.stderr)
    return subprocess.call([sys.executable, TOP / "tests" / "bench" / "table.py"]) or (1 if over else 0)


def measured(folder: Path, rounds: int) -> dict[str, Any]:
    """Every row, its rounds interleaved with the others'."""
    environ = {**os.environ, "PYTHONPATH": str(TOP), "XDG_DATA_HOME": str(folder / "data"),
               "XDG_STATE_HOME": str(folder / "state")}
    commands: dict[str, Sequence[str | Path]] = {}
    for name, row in ROWS.items():
        (folder / name).mkdir()
        commands[name] = row.prepare(folder / name)
    rows: dict[str, Any] = {name: {"label": row.label, "budget_s": row.budget_s, "rounds": []}
                            for name, row in ROWS.items()}
    for number in range(rounds):
        for name, argv in commands.items():
            cost = measure(argv, env=environ, log=folder / "log")
            rows[name]["rounds"].append(cost.as_json())
            print(f"round {number + 1}/{rounds} {name}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} s CPU", flush=True)
    return rows


if __name__ == "__main__":
    sys.exit(main())
