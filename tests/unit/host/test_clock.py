"""The machine's clock."""

from __future__ import annotations

from datetime import UTC

from imagekit.host.clock import SystemClock


def test_time_has_a_zone_and_durations_grow() -> None:
    clock = SystemClock()
    assert clock.now().tzinfo is UTC
    first = clock.monotonic_s()
    assert clock.monotonic_s() >= first
