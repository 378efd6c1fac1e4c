"""What every record of the benchmarks says of where and on what it was made."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
RECORDS = TOP / "docs" / "benchmarks"


def save(name: str, record: dict[str, Any]) -> None:
    RECORDS.mkdir(exist_ok=True)
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")


def output(*argv: str) -> str:
    return subprocess.run(argv, cwd=TOP, check=True, capture_output=True, text=True).stdout.strip()


def machine() -> str:
    model = next((line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                  if line.startswith("model name")), "unknown processor")
    return f"{os.cpu_count()} cores, {model}"
