"""Write one image to many media in a process of its own, and say how much memory that took at most.

`python -m tests.unit.flash.peak IMAGE PLAIN MEDIA write|update|verify` prints the peak in KiB; PLAIN is the image when
it is not compressed. A medium here is what the image makes of it: it reads as the image with its patches, and keeps
nothing, so that what is measured is the program's own.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import imagekit.cli.flash_run  # noqa: F401  what the program has loaded by then
from imagekit.disk.gpt_move import Pieces
from imagekit.flash.job import How
from imagekit.flash.look import look, make_plan
from imagekit.flash.run import flash
from imagekit.flash.source import Source, open_source
from imagekit.host.clock import SystemClock
from imagekit.plan.flash import PIECE, patched
from imagekit.plan.flash_device import Allowed, Identity
from imagekit.plan.flash_events import Event, Result
from imagekit.testing.blocks import card
from imagekit.units import MIB

LARGER = 5 * MIB  # than the image: its tables are others
ZEROS = memoryview(bytes(PIECE))


@dataclass(slots=True, kw_only=True)
class Mirror:
    """`BlockTarget` that has the image already, but for one byte at `differs` until that is written."""

    source: Source
    size: int
    differs: int
    patches: Pieces = ()
    sector: int = 512
    lock: threading.Lock = field(default_factory=threading.Lock)

    def identity(self) -> Identity:
        return card(size=self.size).identity

    def read_into(self, offset: int, buffer: memoryview) -> int:
        count = self.source.read_into(offset, buffer) if offset < self.source.size else 0
        buffer[count:] = ZEROS[:len(buffer) - count]
        patched(buffer, offset, self.patches)
        if offset <= self.differs < offset + len(buffer):
            buffer[self.differs - offset] ^= 1
        return len(buffer)

    def write(self, offset: int, content: memoryview) -> int:
        if offset <= self.differs < offset + len(content):
            self.differs = -1
        return len(content)

    def flush(self) -> None: ...

    def forget(self) -> None: ...

    def is_there(self) -> bool:
        return True

    def resize(self, size: int) -> None: ...

    def abandon(self) -> None: ...

    def close(self) -> None: ...


class Silent:
    """`Listener`."""

    def told(self, event: Event) -> None: ...


def opened(path: Path) -> Source:
    source = open_source(path)
    assert source is not None
    return source


def peak_kib() -> int:
    """Of this process alone: what `getrusage` tells began with the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1])


def main(path: Path, plain: Path, media: int, what: str) -> None:
    source, content = opened(path), opened(plain)
    facts = look(path, source)
    size = facts.size + LARGER
    plan = make_plan(facts, source, [card(f"/dev/sd{index}", size=size) for index in range(media)], Allowed())
    differs = -1 if what == "verify" else facts.ranges[-2].end - MIB
    targets = [Mirror(source=content, size=size, differs=differs, patches=item.patches) for item in plan.targets]
    outcome = flash(plan, source, targets, clock=SystemClock(), listener=Silent(), reopen=lambda: opened(path),
                    how=How(update=what == "update", only_verify=what == "verify"))
    assert [item.result for item in outcome.ended] == [Result.DONE] * media, outcome
    print(peak_kib())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
