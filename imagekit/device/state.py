"""The slot-state record on its partition: read the newest copy, write over the other one and wait for the disk.

The gadget's record lies there too, and is read here; `imagekit.device.gadget_steps` writes it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from imagekit.boot.gadgetrecord import GADGET_OFFSETS, GADGET_SIZE, GadgetRecord, newest_gadget
from imagekit.boot.ledger import leaves_data_out
from imagekit.boot.numbers import LEDGER, NUMBER_SIZE, RESET, Place
from imagekit.boot.slotstate import COPY_OFFSETS, RECORD_SIZE, Slot, SlotState, encode_record, newest
from imagekit.errors import TargetError


def load_gadget_record(device: Path) -> GadgetRecord:
    """The gadget's record on the same partition. Raises: TargetError: that cannot be read."""
    try:
        with device.open("rb", buffering=0) as stream:
            copies = [os.pread(stream.fileno(), GADGET_SIZE, offset) for offset in GADGET_OFFSETS]
    except OSError as error:
        raise TargetError(f"cannot read the gadget's record on {device}: {error.strerror}") from error
    return newest_gadget(copies)[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePartition:
    """The partition, or a file that stands for it."""

    device: Path

    def load(self) -> SlotState | None:
        """The record that counts, None when no copy is valid. Raises: TargetError: the device cannot be read."""
        return self._copies("read")[0]

    def store(self, state: SlotState) -> None:
        """Write `state` over the older copy; it is on the disk when this returns. Raises: TargetError."""
        _, copy = self._copies("write")
        try:
            handle = os.open(self.device, os.O_WRONLY)
            try:
                os.pwrite(handle, encode_record(state), COPY_OFFSETS[copy])
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._failure("write", error) from error

    def clear_ledger(self) -> None:
        """No boot has been in vain since now; nothing is written where that is so already. Raises: TargetError."""
        self._number(LEDGER, 0)

    def is_last_resort(self, booted: Slot) -> bool:
        """Whether this boot of a confirmed slot follows so many in vain that neither slot is better than the other.

        Raises: TargetError.
        """
        state = self.load()
        try:
            with self.device.open("rb", buffering=0) as stream:
                begun = LEDGER.decode(os.pread(stream.fileno(), NUMBER_SIZE, LEDGER.offset))
        except OSError as error:
            raise self._failure("read", error) from error
        return state is not None and state.slot is booted and state.confirmed and leaves_data_out(begun)

    def want_reset(self, wanted: bool) -> None:
        """Whether the next boot empties the data partition, on the disk when this returns. Raises: TargetError."""
        self._number(RESET, int(wanted))

    def wants_reset(self) -> bool:
        """Raises: TargetError."""
        try:
            with self.device.open("rb", buffering=0) as stream:
                return RESET.decode(os.pread(stream.fileno(), NUMBER_SIZE, RESET.offset)) == 1
        except OSError as error:
            raise self._failure("read", error) from error

    def _number(self, place: Place, number: int) -> None:
        try:
            handle = os.open(self.device, os.O_RDWR)
            try:
                if place.decode(os.pread(handle, NUMBER_SIZE, place.offset)) != number:
                    os.pwrite(handle, place.encode(number), place.offset)
                    os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise self._failure("write", error) from error

    def _copies(self, verb: str) -> tuple[SlotState | None, int]:
        try:
            with self.device.open("rb", buffering=0) as stream:
                first, second = (os.pread(stream.fileno(), RECORD_SIZE, offset) for offset in COPY_OFFSETS)
        except OSError as error:
            raise self._failure(verb, error) from error
        return newest((first, second))

    def _failure(self, verb: str, error: OSError) -> TargetError:
        return TargetError(f"cannot {verb} the slot-state record on {self.device}: {error.strerror}")
