"""Freeze what today's code writes: `python -m tests.frozen.make VERSION`, once for each version of the formats.

A version that a release has is never made again: devices with it are out there. Before the first release the newest
one may be, when a format changes; the folder is deleted first.
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
    (top / "formats").mkdir(parents=True)
    for name, found in FORMATS.items():
        (top / "formats" / name).write_bytes(found.encode())
    for loader in LOADERS:
        with tempfile.TemporaryDirectory(prefix="imagekit-frozen-") as folder:
            freeze(live(Path(folder), loader), top / loader)


if __name__ == "__main__":
    make(sys.argv[1])
