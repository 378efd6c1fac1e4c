"""Give the data partition the rest of the disk: the partition by systemd-repart, its file system by systemd-growfs.

Both are idempotent and both work on the mounted /var. libfdisk writes the backup table before the primary one, so a
power cut leaves a valid one, which boot loaders read, and Linux where `gpt` is on its command line. A file system
smaller than its partition is grown on the next boot: the initrd looks for room behind either.
"""

from __future__ import annotations

from collections.abc import Callable

from imagekit.device.machine import Machine
from imagekit.device.report import load_report
from imagekit.errors import TargetError

_GROWFS = "/usr/lib/systemd/systemd-growfs"


def grow(machine: Machine, say: Callable[[str], None]) -> None:
    """Grow partition and file system.

    Raises:
        TargetError: a step failed, or there is no data partition to grow.
    """
    report = load_report(machine.run)
    if report.degraded:
        raise TargetError("cannot grow the data partition: it is not in use", hint="see imagekit-device status")
    # It would discard what no partition takes between table and first partition, where boards have their boot loader.
    machine.programs.run("systemd-repart", "--dry-run=no", "--discard=no", "--no-pager", "--no-legend",
                         f"--definitions={machine.repart}", str(report.disk))
    machine.programs.run(_GROWFS, str(machine.var))
    (machine.run / "grow").unlink(missing_ok=True)
    say("the data partition reaches to the end of the disk")
