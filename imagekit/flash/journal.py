"""How far a medium was written, so that it can be gone on with; and a record of every medium that was begun.

A journal is bound to the image's digest and to what stays the same of a medium when it is plugged in again (size and
serial number, or the file): a medium that nothing tells from others has none. It is a note of convenience: that it
cannot be written is said once, and stops nothing. A record is not: where it cannot be begun, nothing is written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imagekit.errors import HostError
from imagekit.host.files import write_atomic
from imagekit.plan.flash import ImageFacts
from imagekit.plan.flash_device import Device

VERSION = 1


class Journals:
    """The journals in a folder, for one image."""

    def __init__(self, folder: Path, image: ImageFacts, *, warn: Callable[[str], None],
                 write: Callable[[Path, bytes], None] = write_atomic) -> None:
        self._folder, self._image, self._warn, self._write = folder, image, warn, write
        self._lock, self._warned = threading.Lock(), False

    def name(self, device: Device) -> Path | None:
        """The journal of a medium; None: nothing tells it from others."""
        if not device.lasting:
            return None
        key = hashlib.sha256(f"{self._image.digest}\n{device.lasting}".encode())
        return self._folder / f"{key.hexdigest()[:32]}.json"

    def ranges(self, device: Device) -> int:
        """How many ranges of the image are on the medium for good; 0 without a journal that fits."""
        path = self.name(device)
        try:
            found = json.loads(path.read_bytes()) if path else {}
        except (OSError, ValueError):
            return 0
        if not isinstance(found, dict):
            return 0
        fits = found.get("version") == VERSION and found.get("image") == self._image.digest
        count = found.get("ranges") if fits else 0
        return min(count, len(self._image.ranges)) if isinstance(count, int) and count > 0 else 0

    def reached(self, device: Device, count: int) -> None:
        """Note that so many ranges are durable."""
        path = self.name(device)
        if path is None:
            return
        document = {"version": VERSION, "image": self._image.digest, "device": device.lasting,
                    "ranges": count}
        try:
            self._write(path, (json.dumps(document, sort_keys=True) + "\n").encode())
        except HostError as error:
            with self._lock:
                told, self._warned = self._warned, True
            if not told:
                with contextlib.suppress(OSError):  # nor can that be said, where the same disk has what is said
                    self._warn(f"{error.message}: if this is interrupted, it must begin again from the start")

    def forget(self, device: Device) -> None:
        """The medium is complete. A journal that stays is no harm: what it names is looked at before it is believed."""
        path = self.name(device)
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def write_record(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole. Raises: HostError: it cannot be written."""
    text = json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    write_atomic(path, text.encode("utf-8", "backslashreplace"))
