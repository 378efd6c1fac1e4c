"""Files that appear whole or not at all, folders held by one process, and room asked for before it is used.

Decides how a file is put in place (written beside its name, flushed, renamed) and what is said when a folder is busy or
a disk full. What is written, and where, is the caller's. Interrupted at any point, by Ctrl-C too, these leave the old
file or the new one, never half of one, and no temporary file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import signal
import stat
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO

from imagekit.errors import DocumentError, HostError
from imagekit.units import iec

LOCK_NAME = ".imagekit.lock"
TEMPORARY = ".new"  # ends the name of a file that is being written, which begins with a dot


def reason(error: OSError) -> str:
    """The operating system's reason, in the lower case that our messages have."""
    return (error.strerror or str(error)).lower()


def clear_place(path: Path, *, most: int | None = None) -> None:
    """Take away what a damaged disk made of a file: a folder, a pipe, more than `most` bytes. It would never be left.

    What cannot be taken away is for the next step to tell.
    """
    with contextlib.suppress(OSError):
        found = path.lstat()
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(path)
        elif not (stat.S_ISREG(found.st_mode) or stat.S_ISLNK(found.st_mode)) or (most is not None
                                                                                 and found.st_size > most):
            path.unlink()


def no_space(path: Path, error: OSError) -> HostError:
    """The error of a write that failed: says that the disk is full where this is so."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostError(f"cannot write {path}: no space left on its disk", hint=f"make room: df -h {path.parent}")
    return HostError(f"cannot write {path}: {reason(error)}")


def read_file(path: Path, *, limit: int) -> bytes:
    """A file's bytes. Raises: HostError: it cannot be read. DocumentError: it is above `limit`."""
    try:
        with path.open("rb") as stream:
            raw = stream.read(limit + 1)
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    if len(raw) > limit:
        raise DocumentError(f"cannot read {path}: it is larger than {iec(limit)}")
    return raw


@contextlib.contextmanager
def atomic_file(path: Path, *, mode: int = 0o644) -> Iterator[IO[bytes]]:
    """A binary stream whose bytes become `path` when the block ends without an exception.

    Raises:
        HostError: no space, no right, no such folder; `path` is a device, a pipe or a socket, whose place a file would
            take.
    """
    try:
        if path.exists() and not path.is_file() and not path.is_dir():
            raise HostError(f"cannot write {path}: it is no file, and would be replaced by one")
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=TEMPORARY, dir=path.parent)
    except OSError as error:
        raise no_space(path, error) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w+b") as stream:
            yield stream
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        raise no_space(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    """Make `path` hold `content`. Raises: HostError: as `atomic_file`."""
    with atomic_file(path, mode=mode) as stream:
        stream.write(content)


def flush_folder(folder: Path) -> None:
    """fsync(2) of a folder: the names in it last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_space(folder: Path, needed: int, *, what: str) -> None:
    """Refuse early when the disk of `folder` has less than `needed` bytes free.

    Raises:
        HostError: with both numbers.
    """
    existing = folder
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise HostError(f"cannot {what} in {folder}: it needs {iec(needed)}, the disk has {iec(free)} free",
                        hint="make room, or name another folder")


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty folder in `parent` that is gone when the block ends, whatever happens in it."""
    try:
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="work-", dir=parent))
    except OSError as error:
        raise no_space(parent, error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C, SIGTERM and SIGHUP wait until the block has ended. They only ever reach the main thread.

    The handlers are exchanged; blocking the signals would leave them to other threads (a progress bar has one), and
    Python runs the handler in the main thread all the same.
    """
    came: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for missed in came[:1]:
            signal.raise_signal(missed)


class FolderLock:
    """One process at a time in a folder, held by flock(2) on a file in it; the kernel lets go when the process ends.

    Without `wait` a folder that is held is refused; with it the second process calls `told` and waits.
    """

    def __init__(self, folder: Path, *, wait: bool = False, told: Callable[[], None] | None = None) -> None:
        self._folder = folder
        self._wait = wait
        self._told = told
        self._descriptor: int | None = None

    def __enter__(self) -> FolderLock:
        path = self._folder / LOCK_NAME
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise no_space(path, error) from error
        try:
            self._take(descriptor)
        except BlockingIOError as error:
            os.close(descriptor)
            raise HostError(f"cannot use folder {self._folder}: another imagekit works in it",
                            hint="wait for it to end, or name another folder with -o") from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return self

    def _take(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not self._wait:
                raise
            if self._told is not None:
                self._told()
            fcntl.flock(descriptor, fcntl.LOCK_EX)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
