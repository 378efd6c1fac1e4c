"""What all writers of one run share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from imagekit.flash.buffers import Pool
from imagekit.flash.source import Source
from imagekit.host.ports import Clock
from imagekit.plan.flash import FlashPlan, Piece
from imagekit.plan.flash_events import Listener


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """What was asked for besides writing.

    `resume`: so many ranges of a target were flushed before, it is thought. They are read, and written where they
    differ: it may be another card in the same reader.
    """

    update: bool = False
    verify: bool = True
    only_verify: bool = False
    resume: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all writers of one run share. `digests` and `held` are the feed's, as it has read so far.

    `beside` has room for what a medium has, beside a piece that it is compared with: a pool of its own, since who
    waits for it holds a buffer of `pool`. `over` is set whenever one of them has ended.
    """

    plan: FlashPlan
    how: How
    pool: Pool
    beside: Pool
    clock: Clock
    listener: Listener
    digests: Mapping[int, str]
    held: Mapping[Piece, bytes]
    reopen: Callable[[], Source]
    reached: Callable[[str, int], None]  # so many ranges of a target are durable
    helpers: int = 0  # further threads for reading back
    over: threading.Event = field(default_factory=threading.Event)
