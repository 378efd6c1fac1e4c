"""Whole reads and writes on one medium, and what a failed one means.

A short write goes on where it stopped; one of nothing, or an error, ends this medium and no other. If the card in the
reader was changed, that is what is said, whatever failed. Decides the words.
"""

from __future__ import annotations

import contextlib
import errno
import threading
from collections.abc import Callable, Iterator

from imagekit.errors import HostError, TargetError
from imagekit.flash.buffers import Buffer, equal
from imagekit.host.files import reason
from imagekit.host.ports import BlockTarget
from imagekit.plan.flash import Extent, cut
from imagekit.plan.flash_device import Device, Kind, RefusedError, bind
from imagekit.units import MIB, iec

_GONE = (errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESTALE)
_ZEROS = Buffer(MIB)


class Medium:
    """A `BlockTarget`, and the device that it was when it was confirmed; every failure is a TargetError of it."""

    def __init__(self, device: Device, target: BlockTarget, *, moved: Callable[[], None] = lambda: None) -> None:
        """`moved` is called whenever it has answered."""
        self.device, self.path, self.target, self._moved = device, device.path, target, moved
        self.written = 0  # bytes that were sent to it, by any thread
        self.pending = 0  # calls that it has not answered yet
        self._counting = threading.Lock()

    def check(self) -> None:
        """Hold what is behind the descriptor now to the device. Of a file nothing but its size can change.

        Raises:
            RefusedError: it is another medium.
            TargetError: there is none any more.
        """
        if self.device.kind is Kind.FILE:
            return
        try:
            found = self.target.identity()
        except (OSError, HostError) as error:
            raise self._pulled("use") from error
        if not self._there():
            raise self._pulled("use")
        bind(self.device, found)

    @contextlib.contextmanager
    def _call(self) -> Iterator[None]:
        with self._counting:
            self.pending += 1
        try:
            yield
        finally:
            with self._counting:
                self.pending -= 1
            self._moved()

    def write(self, offset: int, content: memoryview) -> None:
        """All of `content`. Raises: TargetError: it cannot be written."""
        while content:
            try:
                with self._call():
                    count = self.target.write(offset, content)
            except OSError as error:
                raise self._failed("write", offset, error) from error
            if count <= 0:
                raise TargetError(f"cannot write {self.path} at byte {offset} ({iec(offset)}): it takes nothing more")
            with self._counting:
                self.written += count
            content, offset = content[count:], offset + count

    def read(self, offset: int, view: memoryview) -> None:
        """Fill `view`. Raises: TargetError: it cannot be read."""
        while view:
            try:
                with self._call():
                    count = self.target.read_into(offset, view)
            except OSError as error:
                raise self._failed("read", offset, error) from error
            if count <= 0:
                raise TargetError(f"cannot read {self.path} at byte {offset} ({iec(offset)}): it ends there")
            view, offset = view[count:], offset + count

    def flush(self) -> None:
        """Raises: TargetError: something that was written did not arrive."""
        try:
            with self._call():
                self.target.flush()
        except OSError as error:
            raise self._failed("flush", None, error) from error

    def zero(self, extent: Extent) -> None:
        for start, end in cut(*extent, MIB):
            self.write(start, _ZEROS.whole[:end - start])

    def is_zero(self, extent: Extent, buffer: Buffer) -> bool:
        """Whether there is nothing; `buffer` has room for a MiB."""
        for start, end in cut(*extent, MIB):
            view = buffer.take(end - start)
            self.read(start, view)
            if not equal(buffer, 0, _ZEROS, 0, end - start):
                return False
        return True

    def _failed(self, verb: str, offset: int | None, error: OSError) -> TargetError:
        try:
            self.check()
        except RefusedError as changed:
            return changed
        except TargetError:
            return self._pulled(verb)
        if error.errno in _GONE or not self._there():
            return self._pulled(verb)
        at = f" at byte {offset} ({iec(offset)})" if offset is not None else ""
        why = "no space left on its disk" if error.errno == errno.ENOSPC else reason(error)
        return TargetError(f"cannot {verb} {self.path}{at}: {why}",
                           hint="try another reader, port or cable; if it stays so, the medium is broken")

    def _pulled(self, verb: str) -> TargetError:
        return TargetError(f"cannot {verb} {self.path}: it was pulled out", hint="put it in and begin again")

    def _there(self) -> bool:
        try:
            return self.target.is_there()
        except OSError:
            return False
