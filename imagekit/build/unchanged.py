"""Whether an image is still what its inputs make: a note of what the last build saw, compared without opening anything.

The note lies beside the image as `.imagekit-build.json` and is no part of the result. It holds the identity (size,
inode, modification and change time) of every file that a build reads or might have read, and of every file it made:
like make, but a file put back with its old time is seen, too, since its change time cannot be set. A note is only kept
if nothing changed while the build ran, and if every input had rested a moment before, so that a later change cannot
look the same. The manifest is held by its content without `booted`, which is added after the build.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagekit import __version__
from imagekit.errors import DocumentError
from imagekit.plan.manifest import MANIFEST, Manifest, encode_manifest, parse_manifest

NOTE = ".imagekit-build.json"
MADE = (".img", ".bmap", ".json", ".svg")  # never inputs, and in a folder of packages perhaps the last result
RESTED_NS = 50_000_000  # above the granularity of file times

Identities = dict[str, list[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What a build depends on: `files` by themselves, `folders` with all the packages and assertions in them."""

    files: tuple[Path, ...]
    folders: tuple[Path, ...]
    settings: Mapping[str, str]


def identities(watched: Watched) -> Identities:
    """The identity of every input that exists."""
    paths = set(map(str, (*watched.files, *watched.folders)))
    for folder in watched.folders:
        try:
            paths.update(entry.path for entry in os.scandir(folder)
                         if entry.is_file() and not entry.name.startswith(".") and not entry.name.endswith(MADE))
        except OSError:
            continue
    for code, _, names in os.walk(Path(__file__).parent.parent):
        paths.update(f"{code}/{name}" for name in names if name.endswith(".py"))
    return {path: found for path in sorted(paths) if (found := identity(path)) is not None}


def identity(path: str | Path) -> list[int] | None:
    """Size, inode and times of a file; of a folder that it is there and its mode, since what counts in it is listed."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path for each of four hundred files would take 15 ms
    except OSError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return [status.st_dev, status.st_ino, status.st_mode]
    return [status.st_size, status.st_dev, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def rested(found: Identities, now_ns: int) -> bool:
    """Whether every input is old enough for a later change to show."""
    return all(len(item) < 5 or item[4] < now_ns - RESTED_NS for item in found.values())


def encode_note(before: Identities, watched: Watched, outputs: Sequence[Path], *, manifest: Manifest,
                valid_until: str | None) -> bytes:
    """The note's bytes; `outputs` without the manifest; `valid_until` is when the first key expires."""
    return json.dumps({
        "version": __version__, "settings": dict(watched.settings), "inputs": before,
        "outputs": {path.name: identity(path) for path in outputs}, "valid-until": valid_until,
        "manifest": content_digest(manifest),
    }).encode()


def content_digest(manifest: Manifest) -> str:
    """What a manifest says, but for the record of a boot."""
    return hashlib.sha256(encode_manifest(replace(manifest, booted=None))).hexdigest()


def is_unchanged(folder: Path, watched: Watched, *, now: str) -> Manifest | None:
    """The manifest in `folder`, if the note there says what is true now; `now` is an ISO time in UTC."""
    try:
        note = json.loads((folder / NOTE).read_bytes())
        made = note["outputs"]
        manifest = parse_manifest((folder / MANIFEST).read_bytes(), name=str(folder / MANIFEST))
        same = (
            note["version"] == __version__ and note["settings"] == dict(watched.settings)
            and (note["valid-until"] is None or now < note["valid-until"])
            and note["manifest"] == content_digest(manifest)
            and all(identity(folder / name) == made[name] for name in made) and note["inputs"] == identities(watched))
    except (OSError, ValueError, KeyError, TypeError, DocumentError):
        return None  # no note, or not one of ours: build
    return manifest if same else None
