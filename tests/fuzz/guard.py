"""The limits that every input is held to: a second of processor time, and 256 MiB of memory.

Time is the processor's, so that a busy machine is not taken for a slow parser; memory is what is taken above what the
process had before. What breaks a limit raises something that no parser catches or refuses with.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from imagekit.errors import ImagekitError

SECONDS = 1.0
MEMORY = 256 << 20


class Hang(BaseException):
    """An input took longer than it may."""


class Guard:
    """Calls a target with one input after another."""

    def __init__(self, run: Callable[[bytes], None]) -> None:
        self._run = run
        signal.signal(signal.SIGPROF, _hang)
        # Writable memory of the process (getrlimit(2)): above it the allocation fails, which is a MemoryError here.
        resource.setrlimit(resource.RLIMIT_DATA, (_data_size() + MEMORY, resource.RLIM_INFINITY))

    def __call__(self, raw: bytes) -> None:
        """Raises: whatever is a bug: every exception but a refusal, `Hang`, `MemoryError`."""
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            self._run(raw)
        except ImagekitError:
            pass
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)


def _hang(_: int, __: FrameType | None) -> None:
    raise Hang(f"an input took {SECONDS:g} s of processor time")


def _data_size() -> int:
    """Bytes of writable memory that the process has (VmData in proc(5))."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) << 10
