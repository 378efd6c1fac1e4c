"""Look into an image before it is written: what it is, who signed it, whether every block is what was signed.

Decides how much is read again. An image that was found good once, with its block map, is written only as those very
bytes: the writer holds each range to the digest that the map states. So the next time its signatures are judged anew,
and its blocks, programs and kernels, which are those very bytes, are not: a station reads each image once.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.cli.output import say
from imagekit.errors import DocumentError, UsageError
from imagekit.flash.look import block_map_of
from imagekit.flash.source import plain_name
from imagekit.host.cache import Cache
from imagekit.host.clock import SystemClock
from imagekit.host.files import write_atomic
from imagekit.host.folders import default_cache_folder

if TYPE_CHECKING:
    from imagekit.assertions import Assertion
    from imagekit.flash.source import Source
    from imagekit.host.ports import Progress
    from imagekit.plan.flash import ImageFacts

PROOFS = "proofs"
FOREIGN_HINT = "--foreign writes an image that is not of imagekit; nothing in it can then be checked but its block map"


def prove(path: Path, source: Source, image: ImageFacts, *, trust: tuple[Path, ...], foreign: bool,
          progress: Progress) -> tuple[str, str]:
    """Look into an image; who it is, in words, and the name of its model. With `foreign`, it must be none of ours.

    Raises:
        DocumentError: it is damaged, or none of ours.
        TrustError: it is not what somebody trusted signed.
        UsageError: `foreign`, and it is ours.
    """
    if foreign:
        if image.table is not None:
            _must_be_foreign(path, source)
        return "an image that is not of imagekit: nothing in it was checked", ""
    from imagekit.build.inspect_image import inspect_image
    from imagekit.cli.inspect_image import error_of
    from imagekit.cli.keyring import trusted

    roots = trusted(trust)
    proof = _proof(image, roots)
    known = proof is not None and proof.is_file()
    try:
        with source.stream() as stream:
            found = inspect_image(plain_name(path), stream, trusted=roots, now=SystemClock().now(), progress=progress,
                                  known=known, block_map=block_map_of(path))
    except DocumentError as error:
        ours = "no image of imagekit" in error.message or "no disk image" in error.message
        raise DocumentError(error.message, hint=FOREIGN_HINT if ours else error.hint, details=error.details) from error
    wrong = error_of(found)
    if wrong is not None:
        raise wrong
    if proof is not None and not known:
        _remember(proof, image)
    model = found.seed.model
    who = f"{model.brand_id}/{model.model} revision {model.revision}" if model else "an image without a model"
    how = "its blocks were checked before" if known else "every block checked"
    return f"{who}: {found.seed.model_state}, {how}", model.model if model else ""


def _must_be_foreign(path: Path, source: Source) -> None:
    from imagekit.disk.probe import probe

    try:
        with source.stream() as stream:
            probe(stream, name=str(path))
    except DocumentError:
        return
    raise UsageError(f"cannot take {path} as a foreign image: it is one of imagekit, and its signatures can be checked",
                     hint="leave out --foreign")


def _proof(image: ImageFacts, roots: tuple[Assertion, ...]) -> Path | None:
    """Where it is noted that an image was found good under these roots; None: its bytes have no digest."""
    if not image.mapped:
        return None
    key = hashlib.sha256(image.digest.encode())
    for root in sorted(root.encode() for root in roots):
        key.update(hashlib.sha256(root).digest())
    return Cache(default_cache_folder(os.environ)).entry(PROOFS, key.hexdigest())


def _remember(proof: Path, image: ImageFacts) -> None:
    try:
        write_atomic(proof, (json.dumps({"image": image.digest}) + "\n").encode())
    except Exception as error:  # a cache that cannot be written costs time, nothing else
        say(f"note: that the image is good could not be noted: {error}")
