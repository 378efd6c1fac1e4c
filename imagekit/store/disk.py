"""The public folder of a store, changed one durable step at a time.

Decides how a step is made to last: written beside its name, flushed, renamed, and the folder flushed after it. So
after a power cut each name holds what it held or what it was given, and an earlier step is never lost while a later one
stays. Which steps, and in which order, is for `imagekit.store.commit`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Protocol

from imagekit.host.files import flush_folder, no_space, write_atomic


class Disk(Protocol):
    """Where a store's public files lie. Names are relative and have no `..`."""

    def put(self, name: str, content: bytes) -> None:
        """Make the file `name` hold `content`."""

    def adopt(self, name: str, source: Path) -> None:
        """Make the file `name` out of a finished file on the same disk, which is gone afterwards."""

    def remove(self, name: str) -> None:
        """Take a file away; one that is not there is no problem."""


class FolderDisk:
    """`Disk` in a folder. Raises: HostError: no space, no right."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name: str, content: bytes) -> None:
        path = self._ready(name)
        write_atomic(path, content)
        flush_folder(path.parent)

    def adopt(self, name: str, source: Path) -> None:
        path = self._ready(name)
        try:
            with source.open("rb") as stream:
                os.fchmod(stream.fileno(), 0o644)
                os.fsync(stream.fileno())
            shutil.move(source, path)
        except OSError as error:
            raise no_space(path, error) from error
        flush_folder(path.parent)

    def remove(self, name: str) -> None:
        (self.root / name).unlink(missing_ok=True)

    def _ready(self, name: str) -> Path:
        """The path of a name, its folders there for good."""
        path = self.root / name
        missing = [folder for folder in path.parents if not folder.exists()]
        try:
            for folder in reversed(missing):
                folder.mkdir(exist_ok=True)
                flush_folder(folder.parent)
        except OSError as error:
            raise no_space(path, error) from error
        return path
