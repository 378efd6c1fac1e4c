"""Measure an image for an `os_list.json`: the file as it is fetched, and what it unpacks to."""

from __future__ import annotations

from pathlib import Path

from imagekit.digests import sha256
from imagekit.errors import DocumentError
from imagekit.flash.look import BMAP_SUFFIX
from imagekit.flash.source import opened, plain_name
from imagekit.host.files import read_file
from imagekit.plan.manifest import MANIFEST, parse_manifest
from imagekit.plan.os_list import Offer
from imagekit.units import MIB


def offer_image(path: Path, scratch: Path) -> Offer:
    """What there is to say of an image with its manifest beside it.

    Raises:
        DocumentError: no manifest is beside it, or another image's; it is damaged.
        HostError: it cannot be read.
    """
    manifest_path, plain = path.with_name(MANIFEST), plain_name(path)
    if not manifest_path.is_file():
        raise DocumentError(f"cannot offer {path}: there is no {MANIFEST} beside it",
                            hint="keep what `imagekit build` wrote together")
    manifest = parse_manifest(read_file(manifest_path, limit=64 * MIB), name=str(manifest_path))
    if manifest.image.file != plain.name:
        raise DocumentError(f"cannot offer {path}: {manifest_path} is about {manifest.image.file}")
    with path.open("rb") as stream:
        digest = sha256(stream)
    with opened(path, scratch) as source, source.stream() as content:
        inner = sha256(content)
        size = source.size
    bmap = plain.with_name(plain.name + BMAP_SUFFIX)
    return Offer(manifest=manifest, file=path.name, size=path.stat().st_size, sha256=digest, extract_size=size,
                 extract_sha256=inner, bmap=bmap.name if bmap.is_file() else None)
