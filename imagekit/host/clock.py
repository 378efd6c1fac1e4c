"""The machine's clock behind the `Clock` port: executors get it handed in, nothing below this floor asks."""

from __future__ import annotations

import time
from datetime import UTC, datetime


class SystemClock:
    """`Clock` by the operating system."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic_s(self) -> float:
        return time.monotonic()
