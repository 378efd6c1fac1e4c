"""How long a test waits for what must come to an end: far longer than it takes, however slow the machine.

It tells work that ends from work that never does. How fast something is, `invoke bench` measures.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

CPU_S = 60
WALL_S = 300


@contextmanager
def patience(*, waits: bool = False) -> Iterator[None]:
    """Fail what runs inside after CPU_S seconds of this process's CPU, or, if it waits, after WALL_S seconds."""
    clock, sent, patient_s = ((signal.ITIMER_REAL, signal.SIGALRM, WALL_S) if waits
                              else (signal.ITIMER_VIRTUAL, signal.SIGVTALRM, CPU_S))

    def end(number: int, frame: object) -> None:
        raise AssertionError(f"no end after {patient_s} s")

    before = signal.signal(sent, end)
    signal.setitimer(clock, patient_s)
    try:
        yield
    finally:
        signal.setitimer(clock, 0)
        signal.signal(sent, before)
