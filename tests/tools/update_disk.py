"""The power-cut disk of an update: everything that is written, in order, and every state a cut may leave behind.

A partition keeps what was flushed; of what was written since, any part may be there, in any order, a write torn in its
middle too. A file on the ESP (vfat) has a name in its folder and a content with its inode, and each is on the medium
only after its own flush: a fresh name may be empty, a removed one may be back, a renamed one may be old, new, or new
and empty (measured: docs/reference/updates.md). The record is one sector, written and flushed at once: old, new, torn.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from imagekit.boot.slotstate import COPY_OFFSETS, SlotState, encode_record, newest
from tests.tools.update_oracle import DiskState

PIECE = 256 << 10  # of a write that may be on the medium without the others


@dataclass(frozen=True, kw_only=True)
class Op:
    """One thing that reached for the medium.

    `kind`: write, flush, record, create, overwrite, rename, remove, file, folder, umount, mount.
    """

    kind: str
    where: str
    offset: int = 0
    data: bytes = b""
    to: str = ""


class CutDisk:
    """A `Medium` in memory that remembers every operation; `now` is what a reader sees, as from the page cache."""

    def __init__(self, state: DiskState) -> None:
        self.now = state.copy()
        self.ops: list[Op] = []

    def write(self, partition: str, offset: int, data: bytes) -> None:
        for at in range(0, len(data), PIECE):
            piece = bytes(data[at:at + PIECE])
            self.ops.append(Op(kind="write", where=partition, offset=offset + at, data=piece))
        self.now.partitions[partition] = patched(self.now.partitions[partition], offset, data)

    def flush(self, partition: str) -> None:
        self.ops.append(Op(kind="flush", where=partition))

    @contextmanager
    def read_back(self, partition: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.now.partitions[partition])

    def store(self, state: SlotState) -> None:
        at = COPY_OFFSETS[newest(self.now.copies)[1]]
        self.ops.append(Op(kind="record", where="slot-state", offset=at, data=encode_record(state)))
        self.now.put_record(state)

    @contextmanager
    def writable_esp(self) -> Iterator[None]:
        yield

    @contextmanager
    def unmounted(self, partition: str) -> Iterator[None]:
        if partition != "esp":
            yield
            return
        self.ops.append(Op(kind="umount", where=partition))
        self.now.unmount()
        yield
        self.ops.append(Op(kind="mount", where=partition))
        self.now.mount()

    def names(self, folder: str) -> tuple[str, ...]:
        above = f"{folder}/" if folder else ""
        return tuple(sorted({path.removeprefix(above).partition("/")[0] for path in self.now.esp
                             if path.startswith(above)}))

    def create(self, path: str, content: Iterable[bytes]) -> None:
        data = b"".join(content)
        self.ops.append(Op(kind="create", where=path, data=data))
        self.now.esp[path] = data

    def overwrite(self, path: str, content: bytes) -> None:
        assert len(content) <= 512, "no sector is written in two parts"
        self.ops.append(Op(kind="overwrite", where=path, data=content))
        self.now.esp[path] = content

    def rename(self, old: str, new: str) -> None:
        self.ops.append(Op(kind="rename", where=old, to=new))
        self.now.esp[new] = self.now.esp.pop(old)

    def remove(self, path: str) -> None:
        self.ops.append(Op(kind="remove", where=path))
        del self.now.esp[path]

    def sync_file(self, path: str) -> None:
        self.ops.append(Op(kind="file", where=path))

    def sync_folder(self, path: str) -> None:
        self.ops.append(Op(kind="folder", where=path))

    @contextmanager
    def open_file(self, path: str) -> Iterator[BinaryIO]:
        yield io.BytesIO(self.now.esp[path])


def patched(raw: bytes, offset: int, data: bytes) -> bytes:
    assert offset + len(data) <= len(raw), "a write beyond the partition"
    return raw[:offset] + data + raw[offset + len(data):]


@dataclass(kw_only=True)
class Pending:
    """An operation on the ESP whose flushes are not complete."""

    op: Op
    content: bool = False  # the file's own flush came
    name: bool = False  # its folder's came


Draw = Callable[[int], int]  # of so many outcomes, the one that happens


def none_of_it(outcomes: int) -> int:
    """Nothing that was not flushed is there."""
    return 0


def all_of_it(outcomes: int) -> int:
    """Everything is there, flushed or not."""
    return outcomes - 1


def drawn(seed: str) -> Draw:
    """Any of the outcomes."""
    return random.Random(seed).randrange


def after_cut(before: DiskState, ops: list[Op], draw: Draw) -> DiskState:
    """The disk when the power fails right after the last of `ops` was asked for."""
    state = before.copy()
    writes: dict[str, list[Op]] = {}
    files: list[Pending] = []
    raw_esp = False
    for op in ops:
        if op.kind == "write":
            writes.setdefault(op.where, []).append(op)
        elif op.kind == "flush":
            for item in writes.pop(op.where, []):
                state.partitions[op.where] = patched(state.partitions[op.where], item.offset, item.data)
        elif op.kind == "record":
            raw = state.partitions["slot-state"]
            last = op is ops[-1]
            took = (0, 256, 512)[draw(3)] if last else 512
            state.partitions["slot-state"] = patched(raw, op.offset, op.data[:took])
        elif op.kind == "overwrite":
            if op is not ops[-1] or draw(2):
                state.esp[op.where] = op.data
        elif op.kind == "umount":  # whatever waits is written first
            for pending in files:
                _apply(state, pending.op)
            state.unmount()
            files, raw_esp = [], True
        elif op.kind == "mount":
            _left(state, writes.pop("esp", []), draw)
            state.mount()
            raw_esp = False
        elif op.kind in ("file", "folder"):
            files = _flushed(state, files, op)
        else:
            files.append(Pending(op=op))
    for items in writes.values():
        _left(state, items, draw)
    if raw_esp:
        state.mount()
    for pending in files:
        _partly(state, pending, draw)
    return state


def _left(state: DiskState, items: list[Op], draw: Draw) -> None:
    """What is left of writes to a partition that nobody flushed."""
    for item in _subset(items, draw):
        state.partitions[item.where] = patched(state.partitions[item.where], item.offset, item.data)


def _flushed(state: DiskState, files: list[Pending], op: Op) -> list[Pending]:
    """Note a flush; what is complete is on the medium from then on."""
    left = []
    for item in files:
        target = item.op.to or item.op.where
        if op.kind == "file" and target == op.where and item.op.kind != "remove":
            item.content = True
        if op.kind == "folder" and target.rpartition("/")[0] == op.where:
            item.name = True
        if item.name and (item.content or item.op.kind == "remove"):
            _apply(state, item.op)
        else:
            left.append(item)
    return left


def _apply(state: DiskState, op: Op) -> None:
    if op.kind == "create":
        state.esp[op.where] = op.data
    elif op.kind == "rename":
        state.esp[op.to] = state.esp.pop(op.where, b"")
    else:
        state.esp.pop(op.where, None)


def _partly(state: DiskState, item: Pending, draw: Draw) -> None:
    """One of the states that an operation without its flushes may leave, from nothing to all."""
    op = item.op
    if op.kind == "remove":
        outcomes: list[Callable[[], object]] = [lambda: None, lambda: _apply(state, op)]
    elif op.kind == "create":
        contents = [op.data] if item.content else [b"", op.data[:len(op.data) // 2], op.data]
        outcomes = [*([] if item.name else [lambda: None]),
                    *((lambda content=content: state.esp.update({op.where: content})) for content in contents)]
    else:
        def empty() -> None:
            state.esp.pop(op.where, None)
            state.esp[op.to] = b""

        outcomes = [*([] if item.name else [lambda: None]), *([] if item.content else [empty]),
                    lambda: _apply(state, op)]
    outcomes[draw(len(outcomes))]()


def _subset(items: list[Op], draw: Draw) -> Iterator[Op]:
    """Of the unflushed writes each is there, torn, or not."""
    for item in items:
        took = draw(3)
        if took:
            yield item if took == 2 else Op(kind="write", where=item.where, offset=item.offset,
                                            data=item.data[:len(item.data) // 2])
