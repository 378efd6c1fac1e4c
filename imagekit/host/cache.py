"""The cache folder: everything fetched or made once, by digest, safe to delete at any time.

Decides where things lie and that nothing enters under a digest it does not have:

    parts/sha256/<hex>       Debian packages as fetched
    apt/<suite>/             the private package lists
    locks/<section>.json     parts resolved anew because locked ones had vanished
    tools/<key>/             the unpacked tool parts
    roots/<key>.tar.zst      root file systems as mmdebstrap made them, the tar's digest beside it (.sha256)
    packages/<key>/          finished packages
    seeds-MiB/ slots/        facts about packages that are costly to find (`imagekit.build.facts`)
    proofs/<key>             images that were found good, block by block
    held/                    locks of running processes
    work/                    scratch folders

Blobs appear by rename, so that a reader never sees half of one. What a key is made of is its owner's decision.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from imagekit.digests import chunks, short
from imagekit.errors import TrustError
from imagekit.host.files import FolderLock, atomic_file, scratch_folder
from imagekit.host.folders import default_cache_folder
from imagekit.host.ports import Progress

__all__ = ["Cache", "default_cache_folder"]


class Cache:
    """A cache folder at `root`; made when it is first written to."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def blob(self, sha256: str) -> Path:
        """Where the blob with this digest lies, or would lie."""
        return self.root / "parts" / "sha256" / sha256

    def has(self, sha256: str) -> bool:
        return self.blob(sha256).is_file()

    def put(self, source: Path, *, sha256: str, sha512: str | None, name: str) -> Path:
        """Take the file `source` in as the blob `sha256`, checking both digests while it is copied.

        Raises:
            TrustError: the file is something else; it does not enter the cache.
        """
        target = self.blob(sha256)
        with source.open("rb") as stream, atomic_file(target) as out:
            found256, found512 = hashlib.sha256(), hashlib.sha512()
            for chunk in chunks(stream):
                found256.update(chunk)
                found512.update(chunk)
                out.write(chunk)
            _demand(name, "sha256", sha256, found256.hexdigest())
            if sha512 is not None:
                _demand(name, "sha512", sha512, found512.hexdigest())
        return target

    def verified(self, sha256: str, *, name: str) -> Path:
        """The blob, read through and found to be what its name says.

        Raises:
            TrustError: the cached file was changed; it is removed, so that the next run fetches it again.
        """
        path = self.blob(sha256)
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            for chunk in chunks(stream):
                digest.update(chunk)
        if digest.hexdigest() != sha256:
            path.unlink(missing_ok=True)
            _demand(name, "sha256", sha256, digest.hexdigest(), hint="it was removed from the cache: run it again")
        return path

    def entry(self, kind: str, name: str) -> Path:
        """The path of a made thing: `kind` is one of the folders above."""
        return self.root / kind / name

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """An empty folder on the cache's disk, gone afterwards."""
        with scratch_folder(self.root / "work") as folder:
            yield folder

    def lock(self, name: str, *, told: Progress) -> FolderLock:
        """Held while `name` (an area of the cache) is being changed; a second process says so and waits."""
        return FolderLock(self.root / "held" / name, wait=True,
                          told=lambda: told.note(f"waiting for another imagekit that works on {name}"))

    def adopt(self, folder: Path, kind: str, name: str) -> Path:
        """Move a finished folder to its place; when somebody was quicker, theirs stays and this one goes."""
        target = self.entry(kind, name)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():
                raise
            shutil.rmtree(folder, ignore_errors=True)
        return target


def _demand(name: str, kind: str, wanted: str, found: str, *, hint: str | None = None) -> None:
    if wanted != found:
        raise TrustError(f"cannot use {name}: its {kind} is {short(found)}, locked is {short(wanted)}",
                         hint=hint or "the mirror or a proxy on the way sent something else: try another mirror")
