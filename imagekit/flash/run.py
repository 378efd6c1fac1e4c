"""Carry out a flash plan: read the image once, write it to all media, watch over them.

Each medium fails alone. One that does not move is named after `STALL_S` seconds and given up after `GIVE_UP_S`: what
waits for it is let go, so that the others go on. Ctrl-C ends them all between two pieces.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from imagekit.errors import ImagekitError
from imagekit.flash.buffers import BESIDE, Pool
from imagekit.flash.feed import Feed
from imagekit.flash.job import How, Shared
from imagekit.flash.source import Source
from imagekit.flash.writer import Writer
from imagekit.host.ports import BlockTarget, Clock
from imagekit.plan.flash import FlashPlan, Piece
from imagekit.plan.flash_events import Ended, Listener, Result, Stalled
from imagekit.units import MIB

STALL_S = 10.0
GIVE_UP_S = 120.0
POLL_S = 0.05
STOPPING_S = 30.0  # for the piece that is on its way when Ctrl-C comes


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a medium that does not move is named, and when it is given up; `stop` ends it all, as Ctrl-C does."""

    stall_s: float = STALL_S
    give_up_s: float = GIVE_UP_S
    stop: threading.Event | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went for each medium, in the plan's order; `digests` of the ranges as they were read."""

    ended: tuple[Ended, ...]
    digests: Mapping[int, str]
    source_error: ImagekitError | None
    interrupt: BaseException | None


def flash(plan: FlashPlan, source: Source, targets: Sequence[BlockTarget], *, how: How, clock: Clock,
          listener: Listener, reopen: Callable[[], Source], reached: Callable[[str, int], None] = lambda *_: None,
          patience: Patience | None = None) -> Outcome:
    """Write the plan's image to its targets, which are held open in the plan's order and stay so."""
    pool = Pool()
    feed = Feed(source, plan.image.ranges, plan.pieces, pool=pool, name=plan.image.path)
    shared = Shared(plan=plan, how=how, pool=pool, beside=Pool(BESIDE, MIB), clock=clock, listener=listener,
                    digests=feed.digests, held=feed.held, reopen=reopen, reached=reached,
                    helpers=1 if len(targets) < (os.cpu_count() or 1) else 0)
    writers = [Writer(item, target, shared) for item, target in zip(plan.targets, targets, strict=True)]
    feeder = Feeder(feed, writers, plan)
    interrupt: BaseException | None = None
    try:
        for thread in (*writers, feeder):
            thread.start()
        watch(writers, shared.over, clock=clock, listener=listener, patience=patience or Patience())
    except KeyboardInterrupt as asked:
        interrupt = asked
        _stop(writers, feed, clock)
    finally:
        for writer in writers:
            if writer.ended is None:  # it may write yet: the number of its descriptor must not become another file's
                writer.medium.target.abandon()
    feeder.join(STOPPING_S)
    for writer in writers:
        if writer.bug is not None:
            raise writer.bug
    if feeder.bug is not None:
        raise feeder.bug
    return Outcome(ended=tuple(writer.ended for writer in writers if writer.ended), digests=dict(feed.digests),
                   source_error=feeder.error, interrupt=interrupt)


def _stop(writers: Sequence[Writer], feed: Feed, clock: Clock) -> None:
    """End all between two pieces, and wait for that; asked once more, no longer."""
    with contextlib.suppress(KeyboardInterrupt):
        feed.end()
        for writer in writers:
            writer.interrupt()
        until_s = clock.monotonic_s() + STOPPING_S
        for writer in writers:
            writer.join(max(until_s - clock.monotonic_s(), 0))
    for writer in writers:
        if writer.ended is None:
            writer.abandon(f"cannot stop writing {writer.path}: it does not answer")


def watch(writers: Sequence[Writer], over: threading.Event, *, clock: Clock, listener: Listener,
          patience: Patience) -> None:
    """Wait until every medium has ended, as `over` is told, and say which one does not move."""
    named: dict[str, float] = {}  # `over`, not join: Python 3.11 takes a thread for ended whose join Ctrl-C broke off
    while alive := [writer for writer in writers if writer.is_alive() and writer.ended is None]:
        if over.wait(POLL_S):
            over.clear()  # the next look sees who has ended
        if patience.stop is not None and patience.stop.is_set():
            raise KeyboardInterrupt
        now_s = clock.monotonic_s()
        for writer in alive:
            still_s = now_s - writer.moved_s
            if still_s < patience.stall_s or not writer.busy:
                continue
            if still_s >= patience.give_up_s:
                writer.abandon(f"cannot {writer.phase.value} {writer.path}: it has not moved for {still_s:.0f} s")
            elif now_s - named.get(writer.path, -patience.stall_s) >= patience.stall_s:
                named[writer.path] = now_s
                listener.told(Stalled(target=writer.path, phase=writer.phase, seconds=round(still_s, 1)))


class Feeder(threading.Thread):
    """Hands the pieces that anybody wants to those who want them."""

    def __init__(self, feed: Feed, writers: Sequence[Writer], plan: FlashPlan) -> None:
        super().__init__(name="feed", daemon=True)
        self._feed, self._writers, self._plan = feed, writers, plan
        self.error: ImagekitError | None = None
        self.bug: Exception | None = None

    def run(self) -> None:
        for writer in self._writers:
            writer.prepared.wait()
        try:
            self._feed.pieces = tuple(self._wanted())
            for piece, buffer in self._feed:
                takers = [writer for writer in self._writers if writer.ended is None and writer.wants(piece)]
                self._feed.pool.share(buffer, takers)
                for writer in takers:
                    writer.give(piece, buffer)
                self._feed.pool.let_go(buffer, self._feed)
                if all(writer.ended for writer in self._writers):
                    break
        except ImagekitError as error:
            self.error = error
        except Exception as error:
            self.bug, self.error = error, ImagekitError("cannot go on: a mistake in imagekit itself")
        for writer in self._writers:
            writer.queue.put(self.error)

    def _wanted(self) -> list[Piece]:
        """The pieces of every range of which somebody wants one, or whose digest nobody has stated."""
        ranges = {piece.range for piece in self._plan.pieces
                  if not self._plan.image.ranges[piece.range].sha256
                  or any(writer.wants(piece) for writer in self._writers if writer.ended is None)}
        return [piece for piece in self._plan.pieces if piece.range in ranges]


def all_done(outcome: Outcome) -> bool:
    """Whether every medium is what it should be."""
    return not outcome.source_error and all(item.result is Result.DONE for item in outcome.ended)
