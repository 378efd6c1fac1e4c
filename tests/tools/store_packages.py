"""Small packages with any name, made by the host's mkfs.erofs."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

SNAP_YAML = "name: {name}\nversion: '{revision}'\ntype: {kind}\nsummary: small\ndescription: small\nbase: none\n"


def write_package(mkfs: str, folder: Path, name: str, revision: int, *, content: bytes = b"",
                  kind: str = "app") -> Path:
    """NAME_REVISION.snap in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}_{revision}.snap"
    with tempfile.TemporaryDirectory() as tree:
        meta = Path(tree, "meta")
        meta.mkdir()
        (meta / "snap.yaml").write_text(SNAP_YAML.format(name=name, revision=revision, kind=kind))
        Path(tree, "content").write_bytes(content)
        subprocess.run([mkfs, "-T0", "-U00000000-0000-0000-0000-000000000000", str(path), tree], check=True,
                       capture_output=True)
    return path
