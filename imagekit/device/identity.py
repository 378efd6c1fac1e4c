"""Which device this is, to a store that gives a revision to some before others, and to its own schedule.

A device has no serial assertion yet. Until it has one, its serial is a digest of the machine-id that it made at its
first boot, so that the id itself is told to nobody (machine-id(5) asks for that). A device whose data is lost makes
another one, and counts as another device.
"""

from __future__ import annotations

import hashlib

from imagekit.assertions import Model
from imagekit.device.machine import Machine
from imagekit.errors import TargetError
from imagekit.plan.rollout import DeviceId

_LABEL = "imagekit-serial-1"


def identify(machine: Machine, model: Model) -> DeviceId:
    """Raises: TargetError: there is no machine-id."""
    try:
        own = machine.machine_id.read_text().strip()
    except OSError as error:
        raise TargetError(f"cannot read {machine.machine_id}: {error.strerror}") from error
    serial = hashlib.sha256(f"{_LABEL}\n{own}".encode()).hexdigest()[:32]
    return DeviceId(brand=model.brand_id, model=model.model, serial=serial)
