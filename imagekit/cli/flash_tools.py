"""The small commands beside flashing: compress an image, offer images to Raspberry Pi Imager."""

from __future__ import annotations

import os
from pathlib import Path

from imagekit.cli.output import emit_json, say, write
from imagekit.cli.progress import progress
from imagekit.digests import sha256
from imagekit.errors import UsageError
from imagekit.flash.compress import compress_image
from imagekit.flash.look import BMAP_SUFFIX
from imagekit.flash.offer import offer_image
from imagekit.host.addresses import refuse_unaskable
from imagekit.host.files import write_atomic
from imagekit.host.folders import default_cache_folder
from imagekit.plan.os_list import encode_os_list
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
    block_map = image.with_name(image.name + BMAP_SUFFIX)
    say(f"{iec(output.stat().st_size)}; " + (f"its block map stays the image's: {block_map.name}"
        if block_map.is_file() else f"all of it is written: the image has no block map {block_map.name} beside it"))


def offer(images: tuple[Path, ...], output: Path, *, url: str, icon: str, as_json: bool) -> None:
    """`imagekit flash os-list`."""
    if not url.startswith("file:///"):
        refuse_unaskable(url, what="images")
    offers = []
    with progress() as told:
        for image in images:
            told.step(f"read {image.name}")
            offers.append(offer_image(image, default_cache_folder(os.environ) / "work"))
    write_atomic(output, encode_os_list(offers, url=url, icon=icon))
    if as_json:
        emit_json({"file": str(output), "images": [item.file for item in offers]})
    else:
        write(str(output))
