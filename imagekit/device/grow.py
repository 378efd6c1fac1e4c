"""Give the data partition the rest of the disk: the partition by systemd-repart, its file system by systemd-growfs.

Both are idempotent and both work on the mounted /var. libfdisk writes the backup table before the primary one, so a
power cut leaves a valid table; a file system smaller than its partition is grown on the next boot, because the unit
runs again as long as the initrd sees room behind the partition, and growing is the first thing it does.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

from imagekit.device.report import RUN, load_report
from imagekit.errors import TargetError

DEFINITIONS = Path("/usr/lib/imagekit/repart.d")
_GROWFS = "/usr/lib/systemd/systemd-growfs"


def grow(say: Callable[[str], None]) -> None:
    """Grow partition and file system.

    Raises:
        TargetError: a step failed, or there is no data partition to grow.
    """
    report = load_report()
    if report.degraded:
        raise TargetError("cannot grow the data partition: it is not in use", hint="see imagekit-device status")
    _run("systemd-repart", "--dry-run=no", "--no-pager", "--no-legend", f"--definitions={DEFINITIONS}",
         str(report.disk))
    _run(_GROWFS, "/var")
    (RUN / "grow").unlink(missing_ok=True)
    say("the data partition reaches to the end of the disk")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise TargetError(f"cannot grow the data partition: {command[0]}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise TargetError(f"cannot grow the data partition: {command[0]} ended with status {done.returncode}",
                          details=tuple(said[-20:]))
