"""A block device that is as fast as a card and no faster: the kernel's own throttle of bytes per second.

It takes version 1 of the control groups (`systemd.unified_cgroup_hierarchy=0` on Debian 12's command line). Version 2
holds back direct writes only: tried in Debian 13's kernel, 24 MB that the kernel wrote back by itself passed `io.max`
unhindered, and bmaptool writes that way.

Source: Linux Documentation/admin-guide/cgroup-v1/blkio-controller.rst, "Throttling/Upper limit policy".
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

GROUPS = Path("/sys/fs/cgroup/blkio")


def can_pace() -> bool:
    """Whether this kernel has the throttle, and this user may set it."""
    return os.access(GROUPS / "blkio.throttle.write_bps_device", os.W_OK)


@contextmanager
def paced(devices: Sequence[Path], *, write: int, read: int) -> Iterator[None]:
    """Hold each device to so many bytes a second, and let go afterwards.

    What this process and its children write themselves counts in their group, what the kernel writes back in its root.
    """
    numbers = [device.stat().st_rdev for device in devices]
    limits = [(group / f"blkio.throttle.{way}_bps_device", f"{os.major(number)}:{os.minor(number)}", rate)
              for group in {GROUPS, GROUPS / _own_group()} for number in numbers
              for way, rate in (("write", write), ("read", read))]
    with ExitStack() as stack:
        for limit, device, rate in limits:
            stack.callback(limit.write_text, f"{device} 0")
            limit.write_text(f"{device} {rate}")
        yield


def _own_group() -> str:
    """The path of this process's group below the root (cgroups(7), /proc/PID/cgroup)."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if "blkio" in controllers.split(","):
            return path.lstrip("/")
    return ""
