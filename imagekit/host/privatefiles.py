"""Files with private keys: nobody else can read them from their first moment on, or they are not used.

Decides how such a file comes into being and when it is refused; what is in it is for the keyrings. Nothing here puts
the content of one into a message.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.files import no_space, reason

MAX_KEY_FILE = 64 * 1024


def create_private(path: Path, content: bytes) -> None:
    """A file that nobody else could ever read, complete as soon as it has its name, never over an existing one."""
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=path.parent)  # mode 0600, whatever the umask
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.link(temporary, path)
        finally:
            Path(temporary).unlink()
        with _opened(path.parent, os.O_RDONLY | os.O_DIRECTORY) as folder:
            os.fsync(folder)
    except FileExistsError as error:
        raise UsageError(f"cannot write {path}: there is such a key already") from error
    except OSError as error:
        raise no_space(path, error) from error


def read_private(path: Path) -> bytes:
    """The content of a key file, after a look at the file that was really opened."""
    try:
        with _opened(path, os.O_RDONLY | os.O_NOFOLLOW) as descriptor:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_KEY_FILE:
                raise DocumentError(f"cannot read {path}: it is not a key file")
            refuse_readable(path, status, what="key file", mode=0o600)
            return os.read(descriptor, MAX_KEY_FILE)
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def refuse_readable(path: Path, status: os.stat_result, *, what: str, mode: int) -> None:
    """Raises: TrustError: others may get at it, or it is somebody else's."""
    if status.st_mode & 0o077:
        raise TrustError(f"cannot use {what} {path}: others may get at it (mode {stat.S_IMODE(status.st_mode):04o})",
                         hint=f"chmod {mode:o} {path}, and think about who may have read it")
    if status.st_uid != os.geteuid():
        raise TrustError(f"cannot use {what} {path}: it belongs to another user (uid {status.st_uid})")
