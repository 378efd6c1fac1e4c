"""A station's log on this machine's disk: held by one process, appended to, never rewritten.

Decides how a record becomes durable (written, fsync; only then it counts), what happens to a line that a power cut tore
(its bytes are kept in a file beside the log, and the log says so), and what a full disk does: room for the records of
units in work is kept in `LOG.reserve`, so that these are still written; no further unit is begun.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagekit.errors import HostError, TrustError
from imagekit.host.files import flush_folder, no_space, write_atomic
from imagekit.host.ports import Clock
from imagekit.keys import Signer
from imagekit.plan.factory_log import Kind, Log, decode_log, encode_record, key_said

RESERVE = 256 << 10  # the records of more units than a station has ports
FULL = (errno.ENOSPC, errno.EDQUOT)


class FactoryLog:
    """A log that is held open. `found` is what stood in it; `head` and `count` grow with it; `full`: its disk is."""

    full: HostError | None = None

    def __init__(self, path: Path, *, station: str, key: Signer, clock: Clock) -> None:
        """Take the log, made if there is none, and put its end in order.

        Raises:
            HostError: another station has it; it cannot be written.
            TrustError, DocumentError: what stands in it was changed, or is another station's.
        """
        self.path, self._station, self._key, self._clock = path, station, key, clock
        self._lock = threading.Lock()
        self._reserve = path.with_name(path.name + ".reserve")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise no_space(path, error) from error
        try:
            self._hold()
            self.found = self._read()
            self.head, self.count = self.found.head, len(self.found.records)
            self._end_whole_line()
            self._set_aside()
            self.make_room()
        except BaseException:
            os.close(self._descriptor)
            raise

    def _hold(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise HostError(f"cannot use log {self.path}: another station writes it",
                            hint="one log for each station: name another one in the job") from error

    def _read(self) -> Log:
        raw = self.path.read_bytes()
        log = decode_log(raw, name=str(self.path))
        self._end = len(raw) - len(log.torn)  # of the last whole line; what may lie behind it is written over
        if log.key is not None and log.key != self._key.public:
            raise TrustError(f"cannot go on with log {self.path}: it was begun with another key",
                             hint="a station with a new key begins a new log")
        if log.records and log.records[0].said["station"] != self._station:
            raise TrustError(f"cannot go on with log {self.path}: it is of station"
                             f" {log.records[0].said['station']!r}, the job of {self._station!r}")
        return log

    def _end_whole_line(self) -> None:
        if self.found.unended:
            self._write(b"\n")

    def _set_aside(self) -> None:
        """Keep what was torn beside the log, then cut it off, then say so in the log."""
        torn = self.found.torn
        if not torn:
            return
        digest = hashlib.sha256(torn).hexdigest()
        kept = self.path.with_name(f"{self.path.name}.torn-{self.count}-{digest[:8]}")
        write_atomic(kept, torn)
        flush_folder(kept.parent)
        try:
            os.ftruncate(self._descriptor, self._end)
            os.fsync(self._descriptor)
        except OSError as error:
            raise no_space(self.path, error) from error
        self.append(Kind.RECOVERED, {"file": kept.name, "bytes": len(torn), "sha256": digest})

    def make_room(self) -> None:
        """Before a unit is taken: there is room for its record. Raises: HostError: there is none any more."""
        with self._lock:  # what a record that is written now has given up is that record's
            try:
                if self.full is None and self._reserve.exists() and self._reserve.stat().st_size == RESERVE:
                    return
                with self._reserve.open("wb") as stream:
                    os.posix_fallocate(stream.fileno(), 0, RESERVE)
            except OSError as error:
                with contextlib.suppress(OSError):
                    self._reserve.unlink()
                self.full = no_space(self.path, error)
                raise self.full from error
            self.full = None

    def append(self, kind: Kind, said: Mapping[str, Any]) -> tuple[int, str]:
        """Add a record, durable when this returns; its number and its digest.

        Raises:
            HostError: it cannot be written, not even with the room that was kept.
            TrustError: the key does not sign.
        """
        with self._lock:
            said = said if self.count else {**said, "key": key_said(self._key.public)}
            line = encode_record(kind, said, number=self.count, previous=self.head, station=self._station,
                                 key=self._key, now=self._clock.now().replace(microsecond=0))
            self._write(line)
            self.head, self.count = hashlib.sha256(line).hexdigest(), self.count + 1
            return self.count - 1, self.head

    def _write(self, line: bytes) -> None:
        end = self._end
        for last in (False, True):
            try:
                at = end
                while at < end + len(line):
                    at += os.pwrite(self._descriptor, line[at - end:], at)
                os.fsync(self._descriptor)
                if not end:
                    flush_folder(self.path.parent)  # its name
                self._end = at
                return
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, end)
                if last or error.errno not in FULL:
                    raise no_space(self.path, error) from error
                self.full = no_space(self.path, error)
                self._reserve.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of it."""
        with contextlib.suppress(OSError):
            self._reserve.unlink()
        os.close(self._descriptor)
