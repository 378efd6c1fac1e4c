"""What the initrd left behind about this boot (`/run/imagekit/boot.json`), parsed once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from imagekit.boot.slotstate import Slot
from imagekit.errors import TargetError

SYSTEMD_BOOT, U_BOOT, PIBOOT = "systemd-boot", "u-boot", "piboot"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootReport:
    """One boot as the initrd saw it. Roots are those it was told to use.

    `fallback`: a reboot may lead to the other slot, which was once healthy. `initrd_s`, `verity_s` and `switch_s` are
    seconds since the kernel started.
    """

    slot: Slot
    base_root: str
    kernel_root: str
    state_device: Path
    disk: Path
    loader: str  # `systemd-boot`; `u-boot`, which keeps all it knows in the record; `piboot`, by autoboot.txt
    boot_device: Path | None  # with u-boot and piboot: the partition of the slot's boot files
    fallback: bool
    degraded: bool
    resets: bool  # this initrd empties the data partition when it is asked to
    initrd_s: float
    verity_s: float
    switch_s: float


def load_report(run: Path) -> BootReport:
    """Read the report.

    Raises:
        TargetError: there is none, or it is not one: this system was not started by our initrd.
    """
    path = run / "boot.json"
    try:
        return _report(json.loads(path.read_text()))
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}", hint="this works on a booted device only") from error
    except (ValueError, KeyError, TypeError) as error:
        raise TargetError(f"cannot read {path}: not a boot report: {error}") from error


def _report(fields: dict[str, Any]) -> BootReport:
    if fields["imagekit"] != 1:
        raise ValueError(f"version {fields['imagekit']!r}")
    uptime = fields["uptime"]
    return BootReport(
        slot=Slot(fields["slot"]), base_root=str(fields["base_root"]), kernel_root=str(fields["kernel_root"]),
        state_device=Path(fields["state_device"]), disk=Path(fields["disk"]),
        loader=str(fields.get("loader", SYSTEMD_BOOT)),  # an older initrd knew no other
        boot_device=Path(fields["boot_device"]) if fields.get("boot_device") else None,
        fallback=bool(fields["fallback"]), degraded=bool(fields["degraded"]), resets=bool(fields.get("resets", False)),
        initrd_s=float(uptime["initrd"]), verity_s=float(uptime["verity"]),
        switch_s=float(uptime["switch"]),
    )
