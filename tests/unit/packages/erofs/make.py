"""Makes the images beside this script: `python make.py mkfs.erofs` (erofs-utils 1.7 or newer, for `--tar=f`).

Several words are one command, so that a program can be run through its own loader. Each image has the same tree:
inodes of both sizes, an inline tail, whole blocks, a link, a device, extended attributes, a directory of two blocks.
"""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CONTENT = {
    "meta/snap.yaml": b"name: small\nversion: '1'\n",
    "files/whole": random.Random(1).randbytes(4096),
    "files/tail": random.Random(2).randbytes(4196),
    "files/even": b"even " * 4000,
    "files/empty": b"",
}
MANY = tuple(f"many/a-name-that-takes-some-space-{index:03}" for index in range(110))


def member(name: str, kind: bytes, mode: int, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.mode, info.size, info.mtime = kind, mode, size, 1_000_000_000
    return info


def tree() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in (".", "./meta", "./files", "./many"):
            archive.addfile(member(name, tarfile.DIRTYPE, 0o755))
        for name, content in CONTENT.items():
            info = member("./" + name, tarfile.REGTYPE, 0o640, len(content))
            if name == "files/tail":
                info.uid = info.gid = 70_000
                info.pax_headers = {"SCHILY.xattr.user.note": "kept"}
            archive.addfile(info, io.BytesIO(content))
        for name in MANY:
            archive.addfile(member("./" + name, tarfile.REGTYPE, 0o600))
        link = member("./files/link", tarfile.SYMTYPE, 0o777)
        link.linkname = "../meta/snap.yaml"
        archive.addfile(link)
        device = member("./files/null", tarfile.CHRTYPE, 0o666)
        device.devmajor, device.devminor = 1, 3
        archive.addfile(device)
    return buffer.getvalue()


def main(command: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder, "tree.tar")
        archive.write_bytes(tree())
        for name, options in (("flat", []), ("chunked", ["--chunksize=4096"]), ("compressed", ["-zlz4"])):
            subprocess.run([*command, "--quiet", "--tar=f", "-T1000000000", *options, HERE / f"{name}.erofs",
                            "-Uc3b9c0de-0000-4000-8000-000000000001", archive], check=True)


if __name__ == "__main__":
    main(sys.argv[1:] or ["mkfs.erofs"])
