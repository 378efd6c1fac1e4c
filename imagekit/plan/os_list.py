"""An `os_list.json`: images in a form that Raspberry Pi Imager offers to people who already have it.

Decides what it says of an image: name and description from the manifest, digests of the file to fetch and of what it
unpacks to. Imager refuses what has another digest.

Source: raspberrypi/rpi-imager, doc/json-schema/os-list-schema.json; `bmap_url` and `image_download_sha256` are read by
newer versions and passed over by older ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from imagekit.plan.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One image. `file` is what is fetched; sizes are bytes, digests SHA-256 in hex."""

    manifest: Manifest
    file: str
    size: int
    sha256: str
    extract_size: int
    extract_sha256: str
    bmap: str | None


def encode_os_list(offers: Sequence[Offer], *, url: str, icon: str) -> bytes:
    """The document; files are fetched from below `url`."""
    base = url.rstrip("/")
    return (json.dumps({"os_list": [_entry(offer, base, icon) for offer in offers]}, indent=2, sort_keys=True,
                       ensure_ascii=False) + "\n").encode()


def _entry(offer: Offer, base: str, icon: str) -> dict[str, Any]:
    model = offer.manifest.model
    packages = ", ".join(f"{item.name} {item.version}" for item in offer.manifest.packages if item.type != "gadget")
    entry = {
        "name": f"{model.brand} {model.model}",
        "description": f"revision {model.revision} for {model.architecture}: {packages}",
        "icon": icon, "url": f"{base}/{offer.file}", "release_date": offer.manifest.timestamp[:10],
        "extract_size": offer.extract_size, "extract_sha256": offer.extract_sha256,
        "image_download_size": offer.size, "image_download_sha256": offer.sha256, "init_format": "none",
    }
    return entry | ({"bmap_url": f"{base}/{offer.bmap}"} if offer.bmap else {})
