"""A million devices for a week: `python -m tests.scale.run [--devices N] [--seed N] [--record]`.

No network, no clock: the real schedule decides every moment, and what reaches the store is added up. Bytes are reckoned
with what docs/reliability/store.json measured of a check, and with the sizes of a point update of the base.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from array import array
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from itertools import accumulate
from typing import Any

from tests.bench.record import output
from tests.scale.fleet import PROMISE_S, RealSchedule, Sum, nothing, run
from tests.scale.page import RECORDS, load, save, scale, write_page
from tests.scale.world import WEEK_S, World, covered

DELTA, WHOLE = 1_071_891, 30_892_994  # bytes: the larger of the two that docs/benchmarks/deltas.json has
MOST_BEHIND = 3  # a store has deltas from so many revisions
MINUTE, PROMISED, MOST_PEAK = 60, 0.9999, 3.0
PIECE = 2000
FEW = 200_000


def _part(world: World, numbers: range) -> Sum:
    return run(world, numbers, RealSchedule())


def simulate(world: World, *, processes: int) -> Sum:
    """The whole fleet, in pieces."""
    total = nothing(world)
    pieces = [range(start, min(start + PIECE, world.devices)) for start in range(0, world.devices, PIECE)]
    with ProcessPoolExecutor(processes) as pool:
        for done, part in enumerate(pool.map(_part, [world] * len(pieces), pieces, chunksize=4), 1):
            total.add(part)
            if sys.stderr.isatty() or done % 50 == 0:
                print(f"{min(done * PIECE, world.devices):,} of {world.devices:,} devices",
                      end="\r" if sys.stderr.isatty() else "\n", file=sys.stderr)
    return total


def report(world: World, total: Sum, cost: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a run. A release is `in_time` on a device that ran it within 8 h in which it could be had."""
    releases = [{"published": published, "counted": sum(waits) + never, "in_time": sum(waits[:PROMISE_S // 1800]),
                 "never": never, "short": short, "plain": plain, "plain_in_time": in_time}
                for published, waits, never, short, plain, in_time in zip(
                    world.releases, total.waits, total.never, total.short, total.plain, total.plain_in_time,
                    strict=True)]
    checks, updates = by_minute(total.checks), by_minute(total.updates)
    idle, update = cost["idle"]["requests"], cost["update"]["requests"]
    requests = [seen * idle + more * (update - idle) for seen, more in zip(checks, updates, strict=True)]
    few = sum(total.behind[1:MOST_BEHIND + 1]) / max(1, sum(total.behind))
    beside = cost["update"]["bytes_without_package"]
    deltas, whole = ([seen * cost["idle"]["bytes"] + more * (beside + size) for seen, more in
                      zip(checks, updates, strict=True)] for size in (few * DELTA + (1 - few) * WHOLE, WHOLE))
    return {
        "world": asdict(world), "releases": releases, "counted": sum(item["counted"] for item in releases),
        "in_time": sum(item["in_time"] for item in releases), "longest_s": total.longest_s, "failed": total.failed,
        "checks": {"total": sum(checks), "mean": sum(checks) / WEEK_S, "peak_minute": max(checks) / MINUTE,
                   "peak_second": max(total.checks)},
        "store": {"requests_mean": sum(requests) / WEEK_S, "requests_peak": max(requests) / MINUTE,
                  "deltas": behind_a_release(world, deltas), "whole": behind_a_release(world, whole)},
        "delta_bytes": DELTA, "whole_bytes": WHOLE, "revisions_behind": list(total.behind)}


def by_minute(seconds: array[int]) -> list[int]:
    added = [0, *accumulate(seconds)]
    return [added[start + MINUTE] - added[start] for start in range(0, WEEK_S, MINUTE)]


def behind_a_release(world: World, by_minutes: list[float]) -> dict[str, float]:
    """Bytes a second in the 8 h behind a release, of that with the highest peak; the mean is over the hours in which
    the store was there."""
    found = []
    for published in world.releases:
        end = published + PROMISE_S
        window = by_minutes[published // MINUTE:end // MINUTE]
        found.append({"peak": max(window) / MINUTE, "bytes": sum(window),
                      "mean": sum(window) / (PROMISE_S - covered(world.outages, published, end))})
    return max(found, key=lambda item: item["peak"])


def kept(record: dict[str, Any]) -> bool:
    """Whether the promise was kept."""
    checks = record["checks"]
    return bool(record["in_time"] >= PROMISED * record["counted"]
                and checks["peak_minute"] <= MOST_PEAK * checks["mean"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", action="store_true", help=f"keep it in {RECORDS.name}/ and write the page anew")
    told = parser.parse_args()
    world = World(devices=told.devices, seed=told.seed)
    cost = load("store")["cost"]
    total = simulate(world, processes=os.cpu_count() or 1)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    record = report(world, total, cost) | {
        "cpu_s": sum(item.ru_utime + item.ru_stime for item in used), "commit": output("git", "rev-parse", "HEAD"),
        "command": f"./bootstrap simulate --devices={told.devices} --seed={told.seed}"}
    print(scale(record))
    if told.record:
        save("scale", record)
        write_page()
    print("kept" if kept(record) else "NOT KEPT")
    if told.devices < FEW:
        print(f"of fewer than {FEW:,} devices a minute has peaks by chance: read the share, not the peak")
    return 0 if kept(record) else 7


if __name__ == "__main__":
    sys.exit(main())
