"""A device of which the power can be cut at any write: what the two ways of booting have in common.

A write is cut in each of the WAYS: not begun, torn in its middle, done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from imagekit.boot.slotstate import COPY_OFFSETS, FACTORY, Slot, SlotState, encode_partition, encode_record, newest
from imagekit.device.state import StatePartition

WAYS = ("before", "torn", "after")
BOOTS_TO_RECOVER = 12
BOTH, ONLY_A, ONLY_B = frozenset(Slot), frozenset({Slot.A}), frozenset({Slot.B})


class PowerCut(Exception):
    """The lights go out."""


class CutDevice(ABC):
    """Two slots, of which `good` work; the power fails at write number `cut`, in one of the WAYS."""

    def __init__(self, folder: Path, *, good: frozenset[Slot], state: SlotState = FACTORY) -> None:
        self.good = good
        self.partition = StatePartition(device=folder / "state")
        self.partition.device.write_bytes(encode_partition(state))
        self.cut: int | None = None
        self.way = "before"
        self.written = 0

    @property
    def state(self) -> SlotState:
        found = self.partition.load()
        assert found is not None
        return found

    @abstractmethod
    def update(self) -> None:
        """What an updater does around filling slot b."""

    @abstractmethod
    def boot(self) -> Slot | None:
        """One start, until a healthy verdict or the next reset. Returns the slot that got healthy."""

    @abstractmethod
    def check_settled(self, slot: Slot) -> None:
        """The loader's own state is that of a device whose slot is healthy."""

    def store(self, state: SlotState) -> None:
        """Write the record."""
        raw = self.partition.device.read_bytes()
        first, second = (raw[offset:offset + 512] for offset in COPY_OFFSETS)
        _, copy = newest((first, second))

        def torn() -> None:
            half = bytearray(raw)
            half[COPY_OFFSETS[copy]:COPY_OFFSETS[copy] + 100] = encode_record(state)[:100]
            self.partition.device.write_bytes(half)

        self.write(lambda: self.partition.store(state), torn=torn)

    def write(self, done: Callable[[], object], *, torn: Callable[[], object] | None = None) -> None:
        """One write that the power may be cut at."""
        self.written += 1
        if self.written != self.cut:
            done()
            return
        if self.way == "after":
            done()
        elif self.way == "torn" and torn:
            torn()
        raise PowerCut

    def until_healthy(self) -> Slot:
        """Start over and over, with the power on; the slot that came up."""
        self.cut = None
        for _ in range(BOOTS_TO_RECOVER):
            if (slot := self.boot()) is not None:
                assert self.boot() is slot, "a healthy slot boots again"
                assert (self.state.slot, self.state.confirmed, self.state.unhealthy) == (slot, True, 0)
                self.check_settled(slot)
                return slot
        raise AssertionError("no slot came up")


D = TypeVar("D", bound=CutDevice)


def confirm_both(device: D, good: frozenset[Slot]) -> D:
    """A device with two slots that have been healthy, b the one that runs; from now on only `good` ones work."""
    device.update()
    assert device.until_healthy() is Slot.B
    device.good = good
    device.written = 0
    return device


def cut_everywhere(make: Callable[[int], CutDevice], way: str, live: Callable[[CutDevice], None],
                   healthy: frozenset[Slot]) -> int:
    """Cut each write of what `live` does, on a device of its own; a `healthy` slot comes up. How many writes it has."""
    at = 0
    while True:
        at += 1
        device = make(at)
        device.cut, device.way = at, way
        try:
            live(device)
        except PowerCut:
            assert device.until_healthy() in healthy
        else:
            return at


def updated(device: CutDevice) -> None:
    """The update, and the boots that decide about it."""
    device.update()
    booted(device)


def booted(device: CutDevice) -> None:
    for _ in range(6):
        device.boot()


def cut_in_series(device: CutDevice, cuts: list[tuple[int, str]]) -> None:
    """An update and boots, cut again and again; a slot that works comes up at last."""
    for number, (cut, way) in enumerate(cuts):
        device.cut, device.way, device.written = cut, way, 0
        try:
            if number == 0:
                device.update()
            for _ in range(5):
                device.boot()
        except PowerCut:
            continue
    assert device.until_healthy() in device.good
