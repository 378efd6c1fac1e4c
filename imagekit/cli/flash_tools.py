"""The small commands beside flashing: compress an image."""

from __future__ import annotations

from pathlib import Path

from imagekit.cli.output import emit_json, say, write
from imagekit.cli.progress import progress
from imagekit.digests import sha256
from imagekit.errors import UsageError
from imagekit.flash.compress import compress_image
from imagekit.units import iec


def compress(image: Path, output: Path, *, level: int, as_json: bool) -> None:
    """`imagekit flash compress`."""
    if output.exists() and output.samefile(image):
        raise UsageError(f"cannot write {output}: it is the image itself")
    with progress() as told:
        compress_image(image, output, level=level, progress=told)
    if as_json:
        with output.open("rb") as stream:
            digest = sha256(stream)
        emit_json({"file": str(output), "size": output.stat().st_size, "sha256": digest})
        return
    write(str(output))
    say(f"{iec(output.stat().st_size)}; its block map stays the image's: {image.name}.bmap")
