"""Write down that an image was seen healthy: `booted` in the manifest beside it.

The record names the image digest, so it is made only when the file still holds the bytes that its manifest describes:
every mapped range of its block map is hashed again.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from imagekit.disk.bmap import decode_ranges, digest_ranges
from imagekit.errors import DocumentError
from imagekit.host.files import write_atomic
from imagekit.plan.manifest import MANIFEST, Manifest, encode_manifest, parse_manifest, ranges_digest, with_boot


def manifest_of(image: Path) -> Manifest | None:
    """The manifest beside an image, if it is this image's."""
    path = image.parent / MANIFEST
    if not path.is_file():
        return None
    manifest = parse_manifest(path.read_bytes(), name=str(path))
    return manifest if manifest.image.file == image.name else None


def image_digest(image: Path, manifest: Manifest) -> str:
    """The digest of the image's mapped ranges as they are now.

    Raises:
        DocumentError: the block map is missing or not the manifest's, or the image is shorter.
    """
    bmap = image.parent / manifest.files["bmap"].file if "bmap" in manifest.files else None
    if bmap is None or not bmap.is_file():
        raise DocumentError(f"cannot read the block map of {image}: there is none")
    ranges = decode_ranges(bmap.read_bytes(), name=str(bmap), size=manifest.image.size)
    with image.open("rb") as stream:
        return ranges_digest(digest_ranges(stream, ranges))


def record_boot(image: Path, *, machine: str, time: datetime) -> bool:
    """Note a healthy boot. False: the image has no manifest of its own.

    Raises:
        DocumentError: the image is not what its manifest says any more.
    """
    manifest = manifest_of(image)
    if manifest is None:
        return False
    done = with_boot(manifest, machine=machine, digest=image_digest(image, manifest), time=time)
    write_atomic(image.parent / MANIFEST, encode_manifest(done))
    return True
