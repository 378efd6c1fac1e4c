"""A whole device as one release left it, small enough to be kept: its disk, its ESP and its data, of little packages.

tests/frozen/VERSION/LOADER holds `disk.zst`, the partitions that an update has to do with at their places on the disk,
and as plain files `efi`, where there is an ESP, and `var`. The device was switched off in the middle of a trial: an
update was written by the old updater, and the first boot of it is the new one's to judge. Before that another one had
failed, so that everything which is remembered is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import zstandard

from imagekit.device.rhythm import load_rhythm
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.testing.documents import NOW
from tests.tools.update_rig import PARTITIONS, SYSTEMD_BOOT, Maker, Rig, make, root_of

FOLDER = Path(__file__).parent
VERSIONS = tuple(sorted((path.name for path in FOLDER.iterdir() if path.name.isdecimal()), key=int))
CHUNK = 1 << 20
EDGE = 1 << 20  # of the disk at either end, where its tables lie
FAILED, TRIED, NEWEST = 2, 3, 4  # revisions of base and kernel; the factory's is 1


class SmallMaker(Maker):
    """Packages that compress to almost nothing."""

    def base(self, revision: int, *, size: int = 4096, architecture: str | None = None) -> Path:
        return self.package("debian-13", "base", {"usr/bin/init": b"base %d\n" % revision * (size // 8),
                                                  "usr/lib/os-release": b"ID=debian\n"}, revision=revision)

    def kernel(self, revision: int, *, size: int = 4096, initrd: int = 500, tree: int = 200) -> Path:
        return super().kernel(revision, size=size, initrd=initrd, tree=tree)


def maker_of(folder: Path, loader: str) -> Maker:
    return SmallMaker(workshop=make(folder, loader).workshop, loader=loader)


def take(rig: Rig, maker: Maker, folder: Path, revision: int) -> None:
    """Install a base and a kernel of this revision from a stick."""
    rig.install(maker.stick(folder / f"stick-{revision}", maker.base(revision), maker.kernel(revision)))
    rig.revisions = {**rig.revisions, **{
        (name, revision): root_of(maker, maker.workshop.packages / f"{name}_{revision}.snap")
        for name in ("debian-13", "pc-kernel")}}


def live(folder: Path, loader: str) -> Rig:
    """Build a device and let it live, up to the moment at which it is frozen."""
    maker = maker_of(folder / "maker", loader)
    rig = Rig(folder / "device", maker.build(), loader)
    load_rhythm(rig.machine)
    take(rig, maker, folder, FAILED)
    rig.up(sick=frozenset({("debian-13", FAILED)}))
    take(rig, maker, folder, TRIED)
    return rig


def freeze(rig: Rig, folder: Path) -> None:
    """Write it down."""
    folder.mkdir(parents=True)
    size = max(item.start + item.size for item in rig.table.partitions) + EDGE
    with (rig.folder.parent / "disk").open("w+b") as disk:
        disk.truncate(size)
        image = next((rig.folder.parent / "maker/out").glob("*.img"))
        with image.open("rb") as source:
            for offset in (0, image.stat().st_size - EDGE):
                disk.seek(offset)
                disk.write(os.pread(source.fileno(), EDGE, offset))
        for item in rig.table.partitions:
            if item.name in PARTITIONS:
                disk.seek(item.start)
                disk.write(rig.device(item.name).read_bytes())
        disk.seek(0)
        packer = zstandard.ZstdCompressor(compression_params=zstandard.ZstdCompressionParameters.from_level(
            19, window_log=27, enable_ldm=True))
        with (folder / "disk.zst").open("wb") as out:
            packer.copy_stream(disk, out, size=size)
    for name in ("efi", "var"):
        for path in sorted((rig.folder / name).rglob("*")):
            if path.is_file() and path.suffix != ".lock":
                target = folder / name / path.relative_to(rig.folder / name)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())


def thaw(kept: Path, folder: Path) -> Rig:
    """The frozen device, switched on by today's code: it boots until a slot is healthy."""
    folder.mkdir(parents=True)
    disk = folder / "disk"
    with disk.open("wb") as out, (kept / "disk.zst").open("rb") as packed:
        _sparse(zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(packed).read, out.seek, out.write)
        out.truncate(out.tell())
    rig = Rig(folder / "device", disk, kept.name, kept=kept)
    if rig.loader == SYSTEMD_BOOT:
        _make_esp(rig)
    return rig


def _make_esp(rig: Rig) -> None:
    """The partition of the ESP, of which version 1 kept the files alone."""
    with rig.device("esp").open("r+b") as out:
        size = out.seek(0, os.SEEK_END)
        files = [FatFile(path=path, source=raw) for path, raw in sorted(rig.disk_state().esp.items())]
        for offset, content in plan_fat(size, "esp", 1, files, time=NOW).extents:
            assert isinstance(content, bytes)
            out.seek(offset)
            out.write(content)


def _sparse(read: Callable[[int], bytes], seek: Callable[[int, int], int], write: Callable[[bytes], int]) -> None:
    """Copy, with holes for zeros."""
    while chunk := read(CHUNK):
        if any(chunk):
            write(chunk)
        else:
            seek(len(chunk), os.SEEK_CUR)
