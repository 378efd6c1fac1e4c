"""An image of random runs with a partition table, and media in memory."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.disk import gpt
from imagekit.disk.bmap import block_ranges, digest_ranges, encode_bmap
from imagekit.flash.job import How
from imagekit.flash.look import look, make_plan
from imagekit.flash.run import Outcome, Patience, flash
from imagekit.flash.source import Source, open_source
from imagekit.host.clock import SystemClock
from imagekit.plan.flash import Extent, FlashPlan
from imagekit.plan.flash_device import Allowed, Device
from imagekit.testing.blocks import Heard, MemoryTarget, card
from imagekit.units import MIB

SIZE = 32 * MIB
PARTS = ((1 * MIB, 9 * MIB), (9 * MIB, 25 * MIB), (25 * MIB, 31 * MIB))
USED = ((1 * MIB, 3 * MIB), (9 * MIB, 9 * MIB + 4096), (12 * MIB, 15 * MIB + 512), (25 * MIB, 25 * MIB + 8192))


def write_image(path: Path, *, seed: int = 1, sector: int = 512, size: int = SIZE,
                parts: Sequence[Extent] = PARTS, used: Sequence[Extent] = USED) -> None:
    """A disk image with a block map, its contents random but equal on every run."""
    table = gpt.Table(disk_guid=uuid.UUID(int=7), disk_size=size, sector=sector, partitions=tuple(
        gpt.Partition(index=index, name=f"part-{index}", type_guid=gpt.LINUX_DATA, unique_guid=uuid.UUID(int=index),
                      start=start, end=end) for index, (start, end) in enumerate(parts, 1)))
    pieces = gpt.encode(table)
    generator = random.Random(seed)
    with path.open("wb") as out:
        out.truncate(size)
        for offset, content in pieces:
            out.seek(offset)
            out.write(content)
        for start, end in used:
            out.seek(start)
            out.write(generator.randbytes(end - start))
    extents = [*((offset, offset + len(content)) for offset, content in pieces), *used]
    with path.open("rb") as image:
        path.with_name(path.name + ".bmap").write_bytes(
            encode_bmap(size, digest_ranges(image, block_ranges(extents, size))))


@dataclass(slots=True, kw_only=True)
class Bench:
    """An image, and what writing it to media gives."""

    path: Path
    heard: Heard
    opened: Source | None = None  # instead of the file itself

    def plan(self, *devices: Device) -> FlashPlan:
        return make_plan(look(self.path, self.source()), self.source(), devices, Allowed())

    def source(self) -> Source:
        found = self.opened or open_source(self.path)
        assert found is not None
        return found

    def write(self, *targets: MemoryTarget, patience: Patience | None = None,
              reached: Callable[[str, int], None] = lambda *_: None, **how: object) -> Outcome:
        devices = [card(f"/dev/sd{'xyzabcdefghijkl'[index]}", size=target.size) for index, target in enumerate(targets)]
        return flash(self.plan(*devices), self.source(), targets, how=How(**how), clock=SystemClock(),  # type: ignore[arg-type]
                     listener=self.heard, reopen=self.source, reached=reached, patience=patience)

    def content(self) -> bytes:
        return self.path.read_bytes()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    path = tmp_path / "disk.img"
    write_image(path)
    return Bench(path=path, heard=Heard())
