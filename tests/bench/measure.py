"""Run one command and tell what it cost: wall, CPU, bytes written, peak memory, with all that it waited for."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    wall_s: float
    cpu_s: float  # user + system, children included
    written: int  # bytes handed to write calls (wchar of /proc/PID/io), children included
    peak: int  # largest resident set of any one of the processes, bytes

    def as_json(self) -> dict[str, float | int]:
        return asdict(self)


def measure(argv: Sequence[str | Path], *, env: Mapping[str, str], log: Path) -> Cost:
    """Run `argv`, its output into `log`.

    Python programs may keep their bytecode, as installed ones do.
    The kernel adds a child's `io` to its parent's when the parent waits for it, so the counters are read from the
    process after it ended and before it is reaped.

    Raises:
        RuntimeError: the command failed.
    """
    kept = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    with log.open("wb") as sink:
        started = time.monotonic()
        pid = os.posix_spawnp(str(argv[0]), [str(word) for word in argv], kept, file_actions=[
            (os.POSIX_SPAWN_DUP2, sink.fileno(), 1), (os.POSIX_SPAWN_DUP2, sink.fileno(), 2)])
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        wall_s = time.monotonic() - started
        counters = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
        _, status, usage = os.wait4(pid, 0)
    if status != 0:
        tail = log.read_text(errors="replace")[-1000:]
        raise RuntimeError(f"{' '.join(map(str, argv))} ended with {os.waitstatus_to_exitcode(status)}:\n{tail}")
    return Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, written=int(counters["wchar"]),
                peak=usage.ru_maxrss * 1024)
