"""Buffers that all stages share: who waits gets one in turn, and what hangs with a medium is used by nobody else."""

from __future__ import annotations

import threading

import pytest

from imagekit.flash.buffers import Buffer, Pool


def small(count: int) -> Pool:
    return Pool(count, 4096)


def taken(pool: Pool, holder: object, count: int) -> list[Buffer]:
    found = [pool.get(holder) for _ in range(count)]
    return [item for item in found if item is not None]


class Waiting(threading.Thread):
    """Asks for a buffer; `has` is what it got."""

    def __init__(self, pool: Pool, holder: object) -> None:
        super().__init__(daemon=True)
        self.pool, self.holder = pool, holder
        self.has: Buffer | None = None

    def run(self) -> None:
        self.has = self.pool.get(self.holder)

    def ended(self) -> bool:
        self.join(10)
        return not self.is_alive()


def waiting(pool: Pool, holder: object) -> Waiting:
    """One that waits already."""
    thread = Waiting(pool, holder)
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    return thread


def test_buffer_comes_back_when_its_last_holder_has_let_go() -> None:
    pool = small(1)
    buffer, = taken(pool, "reader", 1)
    pool.share(buffer, ["one", "two"])
    waits = waiting(pool, "other")
    for holder in ("reader", "two", "one"):
        assert waits.has is None
        pool.let_go(buffer, holder)
    assert waits.ended()
    assert waits.has is buffer


def test_who_has_waited_longest_gets_the_next_one() -> None:
    pool = small(1)
    buffer, = taken(pool, "one", 1)
    first, second = waiting(pool, "first"), waiting(pool, "second")
    pool.let_go(buffer, "one")
    assert first.ended()
    assert second.is_alive()
    pool.let_go(buffer, "first")
    assert second.ended()


def test_what_an_abandoned_medium_holds_is_replaced_and_never_handed_out_again() -> None:
    pool = small(3)
    stuck = taken(pool, "hung", 2)
    shared, = taken(pool, "well", 1)
    pool.share(shared, ["hung"])
    pool.abandon("hung")
    fresh = taken(pool, "well", 3)
    assert len(fresh) == 3
    waits = waiting(pool, "well")  # there are no more than three, besides what is stuck
    for buffer in (*stuck, shared):
        pool.let_go(buffer, "hung")  # its call came back, late
    pool.let_go(shared, "well")
    assert waits.is_alive()
    assert not {*stuck, shared} & {*fresh}
    pool.let_go(fresh[0], "well")
    assert waits.ended()
    assert waits.has is fresh[0]


def test_buffer_that_several_hung_media_share_is_replaced_once() -> None:
    pool = small(1)
    buffer, = taken(pool, "reader", 1)
    pool.share(buffer, ["one", "two"])
    pool.let_go(buffer, "reader")
    pool.abandon("one")
    pool.abandon("two")
    assert len(taken(pool, "well", 1)) == 1
    pool.end(waits := waiting(pool, "well").holder)
    assert pool.get(waits) is None


@pytest.mark.parametrize("end", [Pool.end, Pool.abandon])
def test_who_was_ended_waits_no_longer_and_gets_no_more(end: object) -> None:
    pool = small(1)
    buffer, = taken(pool, "well", 1)
    ended, other = waiting(pool, "ended"), waiting(pool, "other")
    end(pool, "ended")  # type: ignore[operator]
    assert ended.ended()
    assert ended.has is None
    pool.let_go(buffer, "well")
    assert other.ended()
    assert other.has is buffer
    pool.let_go(buffer, "other")
    assert pool.get("ended") is None
