"""Facts about packages that cost as much to find as a build: found once, kept in the cache.

Each is a pure function of bytes that a build has hashed by the time it asks, so the fact is about what was written:

    seeds-<MiB>/<sha256 of a compressed package>    the SHA3-384 of what it unpacks to, with no larger window than that
    slots/<SHA3-384 of a package>                   the SHA-256 of the package with its hash tree behind it

Who makes a package knows both at once; a build that misses one finds it. `imagekit build --twice` builds without them.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from imagekit.digests import chunks, sha3_384
from imagekit.disk.verity import TreeBuilder, salt_for, uuid_for
from imagekit.host.cache import Cache
from imagekit.host.files import write_atomic
from imagekit.packages.forward import PACKED_WINDOW
from imagekit.units import MIB

SEEDS, SLOTS = f"seeds-{PACKED_WINDOW // MIB}", "slots"

_WORD = re.compile(r"[A-Za-z0-9_-]{64}\Z")


def recall(cache: Cache, kind: str, key: str) -> str | None:
    """What is known, if anything is."""
    try:
        text = cache.entry(kind, key).read_text("ascii")
    except (OSError, ValueError):
        return None
    return text if _WORD.match(text) else None


def remember(cache: Cache, kind: str, key: str, fact: str) -> None:
    """Keep a fact."""
    write_atomic(cache.entry(kind, key), fact.encode("ascii"))


def remember_package(cache: Cache, package: Path, *, compressed_sha256: str, runs_from_slot: bool) -> None:
    """Keep what the maker of a package and its compressed twin knows."""
    with package.open("rb") as stream:
        signed = sha3_384(stream)
    remember(cache, SEEDS, compressed_sha256, signed)
    if runs_from_slot:
        digest, tree = hashlib.sha256(), TreeBuilder(salt=salt_for(signed), uuid=uuid_for(signed))
        with package.open("rb") as stream:
            for chunk in chunks(stream):
                digest.update(chunk)
                tree.update(chunk)
        digest.update(tree.finish().tree)
        remember(cache, SLOTS, signed, digest.hexdigest())
