"""One medium, from its first wiped block to its last verified one, on a thread of its own.

Carries out a `TargetPlan`: wipe, data, tail, head, read back. Whatever goes wrong here ends this medium alone. Pieces
come from a `Feed` that serves all media; it keeps those of the head and the backup table, which are written at the end.
"""

from __future__ import annotations

import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterator, Sequence

from imagekit.disk.bmap import MappedRange
from imagekit.errors import ImagekitError, TargetError
from imagekit.flash.buffers import Buffer, Pool, equal
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
from imagekit.units import MIB

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
        self.medium = Medium(plan.device, target, moved=self._answered)
        self.queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self.prepared, self.stop = threading.Event(), threading.Event()
        self.ended: Ended | None = None
        self.error: ImagekitError | None = None
        self.bug: Exception | None = None
        self.moved_s = shared.clock.monotonic_s()
        self.phase = Phase.WIPE
        self._waiting, self._lanes = 0, Lanes(self._next, self._take)
        self.state = State.UNTOUCHED
        self.unequal: set[int] | None = None  # ranges to write; None: all
        self._began_s = self.moved_s
        self._resumed = shared.how.resume.get(plan.device.path, 0)  # ranges that are there already, it is thought
        self._verified = 0
        self._total = self._done = 0
        self._counting, self._looking, self._ending = threading.Lock(), threading.Lock(), threading.Lock()
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
        return bool(self.medium.pending) or not self._waiting

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
            self._end(result, problem)
            self._drain()

    def _end(self, result: Result, problem: str) -> None:
        with self._ending:
            if self.ended is not None:
                return
            ended = Ended(target=self.path, result=result, state=self.state, written=self.medium.written,
                          verified=self._verified, problem=problem, damage=self._damage,
                          seconds=self.shared.clock.monotonic_s() - self._began_s,
                          refusals=self.error.refusals if isinstance(self.error, RefusedError) else ())
            self.shared.listener.told(ended)
            self.ended = ended
        self.prepared.set()
        self.shared.over.set()

    def interrupt(self) -> None:
        """End it between two pieces; what waits for a piece or a buffer waits no longer."""
        self.stop.set()
        for pool in (self.shared.pool, self.shared.beside):
            pool.end(self)
        self.queue.put(None)

    def abandon(self, problem: str) -> None:
        """Give up on a medium that does not answer: its threads may never return, nor what they hold."""
        self.medium.target.abandon()
        self.error = TargetError(problem, hint="pull it out; try another reader, port or cable")
        self._end(Result.FAILED, problem)
        self.interrupt()
        self._drain()
        for pool in (self.shared.pool, self.shared.beside):
            pool.abandon(self)

    def _drain(self) -> None:
        """Let go of the pieces that came for nothing, and leave word that no more come."""
        while True:
            try:
                item = self.queue.get_nowait()
            except queue.Empty:
                break
            if isinstance(item, tuple):
                self.shared.pool.let_go(item[1], self)
        self.queue.put(None)

    def give(self, piece: Piece, buffer: Buffer) -> None:
        """Hand a piece over; what comes after the end is let go at once."""
        self.queue.put((piece, buffer))
        if self.ended is not None:
            self._drain()

    # ---- before the first piece

    def _prepare(self) -> None:
        update = self.shared.how.update
        if self.plan.device.kind is Kind.FILE:
            self._size_file(whole=not (update or self._resumed))
            if not (update or self._resumed):
                return
        wipes = self.plan.wipes if not update else without(self.plan.wipes, joined(self._last_extents()))
        self._phase(Phase.WIPE, sum(end - start for start, end in wipes))
        done = 0
        for start, end in wipes:
            for extent in cut(start, end, MIB):
                self._stopped()
                if not update or not self._is_zero(extent):
                    self._make_unbootable()
                    self.medium.zero(extent)
                done += extent[1] - extent[0]
                self._moved(done)
        if self.state is State.NOT_BOOTABLE:
            self.medium.flush()
        if update:
            self._compare()

    def _is_zero(self, extent: Extent) -> bool:
        with self._lent(self.shared.beside) as buffer:
            return self.medium.is_zero(extent, buffer)

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
        try:
            return self._digest_without_held(item, [])
        except TargetError:
            return ""  # a file that was shorter, a block that cannot be read: it will be written

    # ---- pieces

    def _write(self) -> None:
        total = sum(piece.end - piece.start for piece in self.shared.plan.pieces if self.wants(piece))
        if not self.shared.how.only_verify:
            self._phase(Phase.WRITE, total)
        lanes = self._lanes
        self._flushed_s, flushing = self.shared.clock.monotonic_s(), threading.Lock()

        def pulse() -> None:
            self._answered()
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

    @contextlib.contextmanager
    def _lent(self, pool: Pool) -> Iterator[Buffer]:
        """A shared buffer, for as long as it is needed. Raises: Interrupted: it is waited for no longer."""
        with self._wait():
            buffer = pool.get(self)
        if buffer is None:
            raise Interrupted
        try:
            yield buffer
        finally:
            pool.let_go(buffer, self)

    def _next(self) -> Item:
        """The next piece."""
        with self._wait():
            return self.queue.get()

    @contextlib.contextmanager
    def _wait(self) -> Iterator[None]:
        """Wait for what is not the medium's; from any thread."""
        with self._counting:
            self._waiting += 1
        try:
            yield
        finally:
            with self._counting:
                self._answered()
                self._waiting -= 1

    def _take(self, piece: Piece, buffer: Buffer) -> None:
        """Write a piece, unless its turn is at the end, and let go of its buffer."""
        try:
            self._stopped()
            if piece.held:
                return  # the feed keeps it, for all media
            if self.shared.how.update or piece.range < self._resumed:
                with self._looking, self._lent(self.shared.beside) as beside:
                    self._write_differences(piece, buffer, beside)
            else:
                self.medium.write(piece.start, buffer.view)
        finally:
            self.shared.pool.let_go(buffer, self)

    def _write_differences(self, piece: Piece, buffer: Buffer, beside: Buffer) -> None:
        """Read what is there, and write only the runs that differ."""
        for start, end in cut(0, piece.end - piece.start, MIB):
            view = beside.take(end - start)
            try:
                self.medium.read(piece.start + start, view)
                run = start
            except TargetError:  # a block that cannot be read may be written yet
                self._write_run(piece.start, buffer, start, end)
                continue
            for low, high in cut(start, end, GRAIN):
                same = equal(buffer, low, beside, low - start, high - low)
                if same and run < low:
                    self._write_run(piece.start, buffer, run, low)
                run = high if same else run
            if run < end:
                self._write_run(piece.start, buffer, run, end)

    def _write_run(self, base: int, buffer: Buffer, start: int, end: int) -> None:
        self._make_unbootable()
        self.medium.write(base + start, buffer.view[start:end])

    # ---- tables, and reading back

    def _tables(self) -> list[tuple[int, bytes]]:
        """What is written last, in this order: the backup table, then the head, its first block at the very end.

        As the image has it: the patches of this medium come in where it is written.
        """
        held = [(piece.start, self.shared.held[piece]) for piece in self.shared.plan.pieces if piece.held]
        moved = [(offset, content) for offset, content in self.plan.patches if offset >= HEAD]  # behind the image
        head = sorted((item for item in held if item[0] < HEAD), reverse=True)
        return [*(item for item in held if item[0] >= HEAD), *moved, *head]

    def _fill(self, view: memoryview, offset: int, content: bytes | memoryview) -> None:
        """As it shall be on this medium."""
        view[:] = content
        patched(view, offset, self.plan.patches)

    def _finish(self) -> None:
        tables = self._tables()
        if self.state is State.UNTOUCHED and all(self._is_there(*item) for item in tables):
            self.state = State.COMPLETE  # an update that found nothing to do
            return
        self._phase(Phase.TABLES, sum(len(content) for _, content in tables))
        self._make_unbootable()
        done = 0
        for offset, content in tables:
            self._stopped()
            if not offset:
                self.medium.flush()
            with self._lent(self.shared.pool) as buffer:
                self._fill(view := buffer.take(len(content)), offset, content)
                self.medium.write(offset, view)
            done += len(content)
        self.medium.flush()
        self.state = State.COMPLETE
        self._moved(done)

    def _is_there(self, offset: int, content: bytes) -> bool:
        with self._lent(self.shared.pool) as buffer:
            for low, high in cut(0, len(content), MIB):
                self._fill(buffer.take(high - low), offset + low, memoryview(content)[low:high])
                self.medium.read(offset + low, buffer.whole[MIB:MIB + high - low])
                if not equal(buffer, 0, buffer, MIB, high - low):
                    return False
        return True

    def _verify(self) -> None:
        self._phase(Phase.VERIFY, self.shared.plan.image.amount)
        self.medium.target.forget()
        wrong = [(offset, offset + len(content)) for offset, content in self._tables()
                 if not self._is_there(offset, content)]
        by_range: dict[int, list[Piece]] = {}
        for piece in self.shared.held:
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
        with self._lent(self.shared.pool) as buffer:
            for piece in [*sorted(held, key=lambda piece: piece.start), None]:
                for start, end in cut(at, piece.start if piece else item.end, len(buffer.whole)):
                    self._stopped()
                    view = buffer.take(end - start)
                    self.medium.read(start, view)
                    digest.update(view)
                if piece:
                    digest.update(self.shared.held[piece])
                    at = piece.end
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

    def _answered(self) -> None:
        self.moved_s = self.shared.clock.monotonic_s()

    def _stopped(self) -> None:
        if self.stop.is_set():
            raise Interrupted
