"""Prove that a build is reproducible: build again elsewhere, compare every file, explain the first difference.

The second build runs in a folder of its own, with another umask, time zone, language and hash seed, and with a cache
that holds the locked tools and nothing else. Compared are all five files; of the manifest not the record of a boot.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from imagekit.build.image import names_for
from imagekit.build.run import Request, placed
from imagekit.errors import TargetError
from imagekit.host.again import run_again
from imagekit.host.cache import Cache
from imagekit.host.files import scratch_folder
from imagekit.host.ports import Progress
from imagekit.plan.difference import explain, first_difference
from imagekit.plan.manifest import MANIFEST, Manifest, encode_manifest, parse_manifest

LOCKED = ("parts", "tools", "locks", "apt")  # what the second build shares: verified by digest, or made from such
HINT = "the same inputs must give the same bytes: look at what made that byte"


def prove(request: Request, output: Path, first: Manifest, *, cache: Cache, progress: Progress,
          again: Callable[[Request, Path, Path], None] | None = None) -> None:
    """Build a second time and compare with the image in `output`.

    Raises:
        TargetError: the bytes differ; the message names the first difference.
        HostError: the second build failed.
    """
    progress.step("build again elsewhere")
    with scratch_folder(output.absolute().parent) as scratch:
        fresh = scratch / "cache"
        fresh.mkdir()
        for name in LOCKED:
            if cache.entry(name, "").is_dir():
                (fresh / name).symlink_to(cache.entry(name, "").absolute())
        (again or build_elsewhere)(request, scratch / "out", fresh)
        progress.step("compare the two")
        compare(output, scratch / "out", first)


def build_elsewhere(request: Request, folder: Path, cache: Path) -> None:
    """The second build, as a process of its own."""
    arguments = ["build", str(request.model.absolute()), "-o", str(folder), "-q"]
    for option, folders in (("--packages", request.packages), ("--trust", request.trust)):
        for named in folders:
            if named.is_dir():
                arguments += [option, str(named.absolute())]
    arguments += [word for extra in request.extras for word in ("--snap", placed(extra))]
    run_again(arguments, env={"IMAGEKIT_CACHE": str(cache), "IMAGEKIT_PACKAGES": "", "IMAGEKIT_TRUST": ""})


def compare(one: Path, two: Path, first: Manifest) -> None:
    """Compare two builds. Raises: TargetError: with the first difference."""
    names = names_for(first.model.model)
    difference = compare_images(one / names.image, two / names.image)
    if difference is not None:
        raise TargetError(f"cannot reproduce {one / names.image}: {difference}", hint=HINT)
    for name in (names.bmap, names.sbom, names.layout):
        pair = [(folder / name).read_bytes() for folder in (one, two)]
        if pair[0] != pair[1]:
            at = next((index for index, (left, right) in enumerate(zip(*pair, strict=False)) if left != right),
                      min(map(len, pair)))
            line = pair[0].count(b"\n", 0, at) + 1
            raise TargetError(f"cannot reproduce {one / name}: byte {at}, in line {line}, differs", hint=HINT)
    second = parse_manifest((two / MANIFEST).read_bytes(), name=str(two / MANIFEST))
    if encode_manifest(replace(first, booted=None)) != encode_manifest(second):
        raise TargetError(f"cannot reproduce {one / MANIFEST}: it differs", hint=HINT)


def compare_images(one: Path, two: Path) -> str | None:
    """What the first difference of two sparse images is, in words."""
    with one.open("rb") as left, two.open("rb") as right:
        ranges = sorted({*data_ranges(left.fileno()), *data_ranges(right.fileno())})
        offset = first_difference(left, right, ranges)
        return None if offset is None else str(explain(left, right, offset))


def data_ranges(descriptor: int) -> Iterator[tuple[int, int]]:
    """The ranges of a file that are no holes; a hole reads as zeros in any case."""
    size = os.fstat(descriptor).st_size
    position = 0
    with contextlib.suppress(OSError):  # ENXIO: no data behind this position
        while position < size:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
            position = os.lseek(descriptor, start, os.SEEK_HOLE)
            yield start, position
