"""Measure one delta: python tests/bench/deltas.py OLD.snap NEW.snap

NEW.snap.zst beside the new package is the whole download that it is held against. CPU is of this process; the memory of
applying is that of a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from imagekit.packages.delta_make import make_delta

APPLY = """
import hashlib, re, sys
from imagekit.packages.delta import apply_delta
digest = hashlib.sha256()
with open(sys.argv[1], "rb") as delta, open(sys.argv[2], "rb") as old:
    apply_delta(delta, old, digest.update, name="delta")
print(digest.hexdigest(), int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


def main(old: Path, new: Path) -> None:
    began = time.process_time()
    with old.open("rb") as one, new.open("rb") as other:
        delta = make_delta(one, other)
    made_s = time.process_time() - began
    with tempfile.NamedTemporaryFile() as file:
        file.write(delta)
        file.flush()
        done = subprocess.run([sys.executable, "-c", APPLY, file.name, str(old)], check=True, capture_output=True,
                              text=True)
    _, memory = done.stdout.split()
    whole = new.with_name(new.name + ".zst").stat().st_size
    print(json.dumps({"old": old.stat().st_size, "new": new.stat().st_size, "whole": whole, "delta": len(delta),
                      "percent": round(100 * len(delta) / whole, 2), "make_cpu_s": round(made_s, 1),
                      "apply_bytes_of_memory": int(memory)}, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
