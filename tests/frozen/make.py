"""Freeze what today's code writes: `python -m tests.frozen.make VERSION`, once for each version of the formats.

A version that a release has is never made again: devices with it are out there. Before the first release the newest
one may be, when a format changes; its folder is deleted first, or what of it is to be made anew: the rest stays.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.frozen.device import FOLDER, freeze, live
from tests.frozen.formats import FORMATS
from tests.tools.update_rig import LOADERS


def make(version: str) -> None:
    top = FOLDER / str(int(version))
    (top / "formats").mkdir(parents=True, exist_ok=True)
    for name, found in FORMATS.items():
        if not (top / "formats" / name).exists():
            (top / "formats" / name).write_bytes(found.encode())
    for loader in LOADERS:
        if not (top / loader).exists():
            with tempfile.TemporaryDirectory(prefix="imagekit-frozen-") as folder:
                freeze(live(Path(folder), loader), top / loader)


if __name__ == "__main__":
    make(sys.argv[1])
