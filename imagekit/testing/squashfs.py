"""Squashfs packages as snapcraft makes them: xz or lzo, no fragments, owned by root."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

OPTIONS = ("-noappend", "-no-fragments", "-no-progress", "-no-xattrs", "-all-root", "-all-time", "0", "-mkfs-time", "0",
           "-quiet")


def write_squashfs(path: Path, files: Mapping[str, bytes], *, links: Mapping[str, str] | None = None,
                   compression: str = "xz") -> Path:
    """Write a package with these files and symbolic links, by the host's mksquashfs; answers `path`."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name, content in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(content)
        for name, target in (links or {}).items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).symlink_to(target)
        subprocess.run(["mksquashfs", folder, str(path), "-comp", compression, *OPTIONS], check=True,
                       capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    return path
