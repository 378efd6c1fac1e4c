"""Which files of a package a content means, where they land, and how raw images lie in their structure.

Decides nothing about what exists: listings of regular files with their sizes go in (`path -> size`, no leading slash),
and what was not found is told by its reason. A source that ends with a slash means what is in the folder; a folder
named without one lands as a folder of its own name; a target that ends with a slash is a folder. Source: snapd
gadget/mountedfilesystem.go and gadget/layout.go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagekit.gadget.values import RawContent


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingFile:
    """A file of a package, and the path that it gets in the file system."""

    source: str
    target: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RawImage:
    """An image in its structure; `end` is behind its declared size where it has one."""

    index: int  # of the content in its structure
    image: str
    start: int
    end: int


def landing_files(source: str, target: str, files: Mapping[str, int]) -> tuple[LandingFile, ...]:
    """The files that a content brings, sorted; none at all if nothing of that name is there."""
    plain, into = inside(source), inside(target)
    if not source.endswith("/") and plain in files:
        name = plain.rpartition("/")[2]
        path = joined(into, name) if not into or target.endswith("/") else into
        return (LandingFile(source=plain, target=path, size=files[plain]),)
    folder = f"{plain}/" if plain else ""
    into = into if source.endswith("/") else joined(into, plain.rpartition("/")[2])
    return tuple(LandingFile(source=path, target=joined(into, path.removeprefix(folder)), size=size)
                 for path, size in sorted(files.items()) if path.startswith(folder))


def inside(path: str) -> str:
    """A path as listings have it: in its shortest spelling, no slash at either end; empty for the root."""
    plain = posixpath.normpath(path).strip("/")
    return "" if plain == "." else plain


def joined(folder: str, name: str) -> str:
    """A path below a folder; the folder may be the root."""
    return f"{folder.rstrip('/')}/{name}".lstrip("/")


def raw_images(content: Sequence[RawContent], sizes: Mapping[str, int]) -> tuple[RawImage, ...]:
    """Where the images lie that are there, in the order of the gadget: each at its offset, or behind the one before."""
    images: list[RawImage] = []
    taken = 0
    for index, item in enumerate(content):
        size = sizes.get(inside(item.image))
        if size is None:
            continue
        start = taken if item.offset is None else item.offset
        taken = start + (item.size or size)
        images.append(RawImage(index=index, image=item.image, start=start, end=taken))
    return tuple(images)


def overlaps(images: Sequence[RawImage]) -> Iterator[tuple[RawImage, RawImage]]:
    """Each image that begins before another one has ended, with that other one."""
    before: RawImage | None = None
    for image in sorted(images, key=lambda item: (item.start, item.index)):
        if before is not None and image.start < before.end:
            yield image, before
        if before is None or image.end > before.end:
            before = image
