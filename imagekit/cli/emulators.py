"""Which QEMU a machine is run by: the host's, or the locked one where the host's is too old for the machine.

Debian 12's QEMU knows fewer boards than Debian 13's. So that every board boots on both, QEMU's boards are locked parts
too (`packages/qemu.yaml`): fetched once, unpacked into the cache, run by their own loader.
"""

from __future__ import annotations

import os

from imagekit.build.parts import Parts, Policy
from imagekit.build.project import load_lock
from imagekit.build.recipes import load_recipe
from imagekit.errors import HostError
from imagekit.host.cache import Cache, default_cache_folder
from imagekit.host.ports import Progress
from imagekit.host.tools import LOCKED_EMULATORS, LocalTools
from imagekit.qemu.machine import Machine, check_qemu

RECIPE = "qemu"


def tools_for(machine: Machine, *, told: Progress) -> LocalTools:
    """The programs of this machine, with a QEMU that has `machine`.

    Raises:
        HostError: neither the host's QEMU nor the locked one has it, or the locked one cannot be fetched.
    """
    own = LocalTools()
    if machine.least_qemu is None or machine.emulator not in LOCKED_EMULATORS:
        return own  # whoever starts it finds out
    try:
        check_qemu(own, machine)
        return own
    except HostError as refused:
        parts = Parts(Cache(default_cache_folder(os.environ)), load_lock(), policy=Policy(), environment=os.environ,
                      progress=told)
        try:
            locked = LocalTools(emulators=parts.unpacked(load_recipe(RECIPE).recipe))
        except HostError as error:
            raise HostError(refused.message, hint=refused.hint,
                            details=(f"nor can the locked one be had: {error.message}", *error.details)) from error
        check_qemu(locked, machine)
        return locked
