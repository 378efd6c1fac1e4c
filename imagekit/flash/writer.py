"""One medium, from its first wiped block to its last verified one, on a thread of its own.

Carries out a `TargetPlan`: wipe, data, tail, head, read back. Whatever goes wrong here ends this medium alone. Pieces
come from a `Feed` that serves all media; those that belong to the head and the backup table are kept until the end.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Sequence

from imagekit.disk.bmap import MappedRange
from imagekit.errors import ImagekitError, TargetError
from imagekit.flash.buffers import Buffer, equal
from imagekit.flash.damage import find_damage, work
from imagekit.flash.job import Shared
from imagekit.flash.lanes import Item, Lanes
from imagekit.flash.medium import Medium
from imagekit.flash.together import each
from imagekit.host.ports import BlockTarget
from imagekit.plan.flash import HEAD, Extent, Piece, TargetPlan, cut, joined, patched, without
from imagekit.plan.flash_damage import Damage
from imagekit.plan.flash_device import Kind, RefusedError
from imagekit.plan.flash_events import Ended, Moved, Phase, Result, Started, State
from imagekit.units import BLOCK, MIB, align_up

FLUSH_S = 2.0  # how much of a power cut's loss is bearable, and how often progress is told
LANES = 2  # writes on their way at once
GRAIN = 64 * 1024  # what differs is written anew in runs of these


class Interrupted(Exception):
    """This medium was told to stop."""


class Writer(threading.Thread):
    """A medium's thread. `prepared` is set when it waits for pieces; `ended` holds how it went."""

    def __init__(self, plan: TargetPlan, target: BlockTarget, shared: Shared) -> None:
        super().__init__(name=f"write {plan.device.name}", daemon=True)
        self.plan, self.shared = plan, shared
        self.medium = Medium(plan.device, target)
        self.queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.prepared, self.stop = threading.Event(), threading.Event()
        self.ended: Ended | None = None
        self.error: ImagekitError | None = None
        self.bug: Exception | None = None
        self.moved_s = shared.clock.monotonic_s()
        self.phase = Phase.WIPE
        self._waiting, self._lanes = False, Lanes(self._next, self._take)
        self.state = State.UNTOUCHED
        self.unequal: set[int] | None = None  # ranges to write; None: all
        self._began_s = self.moved_s
        self._held: dict[Piece, bytes] = {}
        self._resumed = shared.how.resume.get(plan.device.path, 0)  # ranges that are there already, it is thought
        self._own = Buffer(MIB) if shared.how.update or self._resumed else None  # what is on the medium
        self._verified = 0
        self._total = self._done = 0
        self._counting, self._looking = threading.Lock(), threading.Lock()
        self._damage: Damage | None = None

    @property
    def path(self) -> str:
        return self.plan.device.path

    @property
    def ranges(self) -> Sequence[MappedRange]:
        return self.shared.plan.image.ranges

    @property
    def busy(self) -> bool:
        """Whether it waits for the medium: waiting for the image or for a buffer is no fault of it."""
        return not self._waiting or self._lanes.running

    def wants(self, piece: Piece) -> bool:
        """Whether this medium needs a piece."""
        return piece.held or (not self.shared.how.only_verify
                              and (self.unequal is None or piece.range in self.unequal))

    def run(self) -> None:
        result, problem = Result.FAILED, ""
        try:
            if not self.shared.how.only_verify:
                self._prepare()
            self.prepared.set()
            self._write()
            if not self.shared.how.only_verify:
                self._finish()
            if self.shared.how.verify:
                self._verify()
            result = Result.DONE
        except Interrupted:
            result, problem = Result.INTERRUPTED, "interrupted"
        except ImagekitError as error:
            self.error, problem = error, error.message
        except Exception as error:  # a bug of ours ends this medium, not the others; it is raised where all end
            self.bug, problem = error, f"cannot go on with {self.path}: a mistake in imagekit itself: {error!r}"
        finally:
            self.prepared.set()
            self._drain()
            self._end(result, problem)

    def _end(self, result: Result, problem: str) -> None:
        if self.ended is None:
            self.ended = Ended(target=self.path, result=result, state=self.state, written=self.medium.written,
                               verified=self._verified, problem=problem, damage=self._damage,
                               seconds=self.shared.clock.monotonic_s() - self._began_s,
                               refusals=self.error.refusals if isinstance(self.error, RefusedError) else ())
            self.shared.listener.told(self.ended)
            self.shared.over.set()

    def abandon(self, problem: str) -> None:
        """Give up on a medium that does not answer: its thread may never return."""
        self.stop.set()
        self.medium.target.abandon()
        self.error = TargetError(problem, hint="pull it out; try another reader, port or cable")
        self._end(Result.FAILED, problem)
        self._drain()

    def _drain(self) -> None:
        """Let go of the pieces that came for nothing."""
        while True:
            try:
                item = self.queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, tuple):
                self.shared.pool.let_go(item[1])

    def give(self, piece: Piece, buffer: Buffer) -> None:
        """Hand a piece over; what comes after the end is let go at once."""
        self.queue.put((piece, buffer))
        if self.ended is not None:
            self._drain()

    # ---- before the first piece

    def _prepare(self) -> None:
        update = self.shared.how.update
        if self.plan.device.kind is Kind.FILE:
            self._size_file(whole=self._own is None)
            if self._own is None:
                return
        wipes = self.plan.wipes if not update else without(self.plan.wipes, joined(self._last_extents()))
        self._phase(Phase.WIPE, sum(end - start for start, end in wipes))
        done = 0
        for start, end in wipes:
            for extent in cut(start, end, MIB):
                self._stopped()
                if not update or self._own is None or not self.medium.is_zero(extent, self._own):
                    self._make_unbootable()
                    self.medium.zero(extent)
                done += extent[1] - extent[0]
                self._moved(done)
        if self.state is State.NOT_BOOTABLE:
            self.medium.flush()
        if update:
            self._compare()

    def _size_file(self, *, whole: bool) -> None:
        """Give a file the image's size; with `whole`, nothing of what it held stays."""
        size = self.shared.plan.image.size
        try:
            if whole:
                self.state = State.NOT_BOOTABLE
                self.medium.target.resize(0)
            self.medium.target.resize(size)
        except OSError as error:
            raise TargetError(f"cannot write {self.path}: {error.strerror}") from error

    def _make_unbootable(self) -> None:
        """Before anything changes: no partition table at either end."""
        if self.state is not State.UNTOUCHED:
            return
        self.state = State.NOT_BOOTABLE
        for extent in self._last_extents():
            self.medium.zero(extent)
        self.medium.flush()

    def _last_extents(self) -> list[Extent]:
        """Where that lies which is written last."""
        image = self.shared.plan.image
        moved = [(offset, offset + len(content)) for offset, content in self.plan.patches if offset >= HEAD]
        return [(0, min(HEAD, image.size)), image.backup, *moved]

    def _compare(self) -> None:
        """Find the ranges that are not on the medium yet, by their digests."""
        self._phase(Phase.COMPARE, self.shared.plan.image.amount)
        unequal = {piece.range for piece in self.shared.plan.pieces if piece.held}

        def compare(index: int) -> None:
            self._stopped()
            item = self.ranges[index]
            if index not in unequal and (not item.sha256 or self._on_medium(item) != item.sha256):
                unequal.add(index)
            self._further(item.end - item.start)

        each(range(len(self.ranges)), compare, helpers=self.shared.helpers)
        self.unequal = unequal

    def _on_medium(self, item: MappedRange) -> str:
        buffer = self._buffer()
        try:
            return self.medium.sha256((item.start, item.end), buffer)
        except TargetError:
            return ""  # a file that was shorter, a block that cannot be read: it will be written
        finally:
            self.shared.pool.let_go(buffer)

    # ---- pieces

    def _write(self) -> None:
        total = sum(piece.end - piece.start for piece in self.shared.plan.pieces if self.wants(piece))
        if not self.shared.how.only_verify:
            self._phase(Phase.WRITE, total)
        lanes = self._lanes
        self._flushed_s, flushing = self.shared.clock.monotonic_s(), threading.Lock()

        def pulse() -> None:
            self.moved_s = self.shared.clock.monotonic_s()
            if self.moved_s - self._flushed_s >= FLUSH_S and flushing.acquire(blocking=False):
                try:
                    done, complete = lanes.snapshot()  # what is written while the medium flushes, may be lost
                    self.medium.flush()
                    self.shared.reached(self.path, complete)
                    self._moved(done)
                    self._flushed_s = self.shared.clock.monotonic_s()
                finally:
                    flushing.release()

        lanes.run(1 if self.shared.how.update else LANES, pulse)
        if lanes.done != total:  # the image's reader was told to stop
            raise Interrupted
        if self.shared.how.only_verify:
            self.state = State.COMPLETE
            return
        self.medium.flush()
        self._moved(lanes.done)

    def _buffer(self) -> Buffer:
        """One of the shared buffers."""
        self._waiting = True
        try:
            return self.shared.pool.get()
        finally:
            self.moved_s, self._waiting = self.shared.clock.monotonic_s(), False

    def _next(self) -> Item:
        """The next piece."""
        self._waiting = True
        try:
            return self.queue.get()
        finally:
            self.moved_s, self._waiting = self.shared.clock.monotonic_s(), False

    def _take(self, piece: Piece, buffer: Buffer) -> None:
        """Write a piece, or keep it, and let go of its buffer."""
        try:
            self._stopped()
            if piece.held:
                self._held[piece] = bytes(buffer.view)
            elif self._own is not None and (self.shared.how.update or piece.range < self._resumed):
                with self._looking:
                    self._write_differences(piece, buffer, self._own)
            else:
                self.medium.write(piece.start, buffer.view)
        finally:
            self.shared.pool.let_go(buffer)

    def _write_differences(self, piece: Piece, buffer: Buffer, own: Buffer) -> None:
        """Read what is there, and write only the runs that differ."""
        for start, end in cut(0, piece.end - piece.start, MIB):
            view = own.take(end - start)
            try:
                self.medium.read(piece.start + start, view)
                run = start
            except TargetError:  # a block that cannot be read may be written yet
                self._write_run(piece.start, buffer, start, end)
                continue
            for low, high in cut(start, end, GRAIN):
                same = equal(buffer, low, own, low - start, high - low)
                if same and run < low:
                    self._write_run(piece.start, buffer, run, low)
                run = high if same else run
            if run < end:
                self._write_run(piece.start, buffer, run, end)

    def _write_run(self, base: int, buffer: Buffer, start: int, end: int) -> None:
        self._make_unbootable()
        self.medium.write(base + start, buffer.view[start:end])

    # ---- tables, and reading back

    def _final(self, piece: Piece) -> bytes:
        """A held piece as it shall be on this medium."""
        content = bytearray(self._held[piece])
        patched(content, piece.start, self.plan.patches)
        return bytes(content)

    def _tables(self) -> list[tuple[int, bytes]]:
        """What is written last, in this order: the backup table, then the head, its first block at the very end."""
        held = [(piece.start, self._final(piece)) for piece in self._held]
        moved = [(offset, content) for offset, content in self.plan.patches if offset >= HEAD]  # behind the image
        head = sorted((item for item in held if item[0] < HEAD), reverse=True)
        return [*(item for item in held if item[0] >= HEAD), *moved, *head]

    def _finish(self) -> None:
        tables = self._tables()
        if self.state is State.UNTOUCHED and all(self._is_there(*item) for item in tables):
            self.state = State.COMPLETE  # an update that found nothing to do
            return
        self._phase(Phase.TABLES, sum(len(content) for _, content in tables))
        self._make_unbootable()
        self._stopped()
        done = 0
        for offset, content in tables:
            if not offset:
                self.medium.flush()
            view = _room_for(content)
            view[:] = content
            self.medium.write(offset, view)
            done += len(content)
        self.medium.flush()
        self.state = State.COMPLETE
        self._moved(done)

    def _is_there(self, offset: int, content: bytes) -> bool:
        view = _room_for(content)
        self.medium.read(offset, view)
        return bytes(view) == content

    def _verify(self) -> None:
        self._phase(Phase.VERIFY, self.shared.plan.image.amount)
        self.medium.target.forget()
        wrong = [(offset, offset + len(content)) for offset, content in self._tables()
                 if not self._is_there(offset, content)]
        by_range: dict[int, list[Piece]] = {}
        for piece in self._held:
            by_range.setdefault(piece.range, []).append(piece)

        def check(index: int) -> None:
            self._stopped()
            item = self.ranges[index]
            if self._digest_without_held(item, by_range.get(index, [])) != self.shared.digests.get(index, item.sha256):
                wrong.append((item.start, item.end))
            self._further(item.end - item.start)

        each(range(len(self.ranges)), check, helpers=self.shared.helpers)
        self._verified = self._done
        self.medium.check()
        if wrong:
            self.state = State.WRONG
            self._phase(Phase.DIAGNOSE, work(wrong, self.shared.plan))
            self._damage = find_damage(self.medium, wrong, self.shared.plan, self.plan.patches, self.shared.reopen,
                                       self._looked)
            raise TargetError(f"cannot verify {self.path}: {self._damage.text}",
                              hint="do not use this medium; try another one, or another reader")
        self.state = State.VERIFIED

    def _looked(self, amount: int) -> None:
        self._further(amount)
        self._stopped()

    def _digest_without_held(self, item: MappedRange, held: list[Piece]) -> str:
        """The digest of a range as read, with the held pieces as the image has them: those were compared before."""
        digest, at = hashlib.sha256(), item.start
        buffer = self._buffer()
        try:
            for piece in [*sorted(held, key=lambda piece: piece.start), None]:
                for start, end in cut(at, piece.start if piece else item.end, len(buffer.whole)):
                    view = buffer.take(end - start)
                    self.medium.read(start, view)
                    digest.update(view)
                    self.moved_s = self.shared.clock.monotonic_s()
                    self._stopped()
                if piece:
                    digest.update(self._held[piece])
                    at = piece.end
        finally:
            self.shared.pool.let_go(buffer)
        return digest.hexdigest()

    # ---- telling

    def _phase(self, phase: Phase, total: int) -> None:
        """A phase begins, of the medium that was confirmed and of no other."""
        self.medium.check()
        self.phase, self._total, self._done = phase, total, 0
        self.moved_s = self.shared.clock.monotonic_s()
        self.shared.listener.told(Started(target=self.path, phase=phase, total=total))

    def _further(self, amount: int) -> None:
        """So much more of the phase is done; from any thread."""
        with self._counting:
            self._done += amount
            self._moved(self._done)

    def _moved(self, durable: int) -> None:
        self.moved_s = self.shared.clock.monotonic_s()
        self.shared.listener.told(Moved(target=self.path, phase=self.phase, durable=durable, total=self._total))

    def _stopped(self) -> None:
        if self.stop.is_set():
            raise Interrupted


def _room_for(content: bytes) -> memoryview:
    """Aligned memory of the length of `content`, for the few pieces that no shared buffer holds."""
    return Buffer(align_up(max(len(content), 1), BLOCK)).take(len(content))
