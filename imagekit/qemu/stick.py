"""A stick for a device in QEMU: one FAT volume over the whole disk, with packages and their assertions."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.units import MIB, align_up

LABEL = "IMAGEKIT"


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A file of the host on its way onto the stick."""

    path: Path
    size: int


def make_stick(target: Path, files: Iterable[Path], *, label: str = LABEL) -> Path:
    """Write the files into a fresh FAT volume at `target`."""
    found = [Copied(path=path, size=path.stat().st_size) for path in files]
    size = align_up(sum(item.size for item in found) + 16 * MIB, MIB)
    plan = plan_fat(size, label, 0x1234, [FatFile(path=item.path.name, source=item) for item in found],
                    time=datetime(2026, 1, 1, tzinfo=UTC))
    with target.open("wb") as out:
        out.truncate(size)
        for offset, source in plan.extents:
            out.seek(offset)
            if isinstance(source, bytes):
                out.write(source)
            else:
                with cast(Copied, source).path.open("rb") as stream:
                    shutil.copyfileobj(stream, out, MIB)
    return target
