"""Makes the package beside this script: `python make.py [MKFS.EROFS...]`, with any version that knows `--tar=f`."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FILES = {"meta/snap.yaml": b"name: small\nversion: '1'\ntype: kernel\n", "kernel.efi": bytes(range(256)) * 20}


def main(command: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tree.tar")
        with tarfile.open(path, "w") as archive:
            for name in (".", "./meta"):
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                archive.addfile(info)
            for name, content in FILES.items():
                info = tarfile.TarInfo("./" + name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        subprocess.run([*command, "--quiet", "--tar=f", "-T0", "-Uc3b9c0de-0000-4000-8000-000000000002",
                        Path(__file__).with_name("small-kernel.erofs"), path], check=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mkfs.erofs"])
