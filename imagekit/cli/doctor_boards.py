"""What `imagekit doctor` looks at for boards: programs that load them, groups, and udev's rules. None of it is fatal.

Told apart: a group that you are not in, one that this machine does not have, and one that you are in only after the
next login.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator

from imagekit.boot.fastboot import USB_CLASS
from imagekit.build.boards import board_names, load_board
from imagekit.cli.doctor_check import Check, Machine
from imagekit.host.usbdevices import RULES
from imagekit.packages.board import RECOVERY_TOOLS
from imagekit.plan.recover import INSTALL

GROUPS = {"dialout": "serial adapters", "plugdev": "USB devices", "kvm": "QEMU's speed", "disk": "cards and disks"}
INTERFACES = "".join(f"{part:02x}" for part in USB_CLASS)  # as udev's usb_id writes it


def board_checks(machine: Machine) -> list[Check]:
    """All of them."""
    return [*_groups(machine), _rules(machine), *_programs(machine), _pyusb()]


def rom_ids() -> tuple[str, ...]:
    """The USB ids of the boot ROMs of all boards."""
    infos = (load_board(name).recipe.board for name in board_names())
    return tuple(sorted({word for info in infos if info and info.recovery for word in info.recovery.rom}))


def udev_rules(ids: Iterable[str]) -> str:
    """Rules that give boards in their boot ROM or in fastboot to whoever is logged in, and to the group plugdev."""
    gives = 'MODE="0660", GROUP="plugdev", TAG+="uaccess"'
    lines = [f"# {RULES}: made by imagekit doctor --udev-rules; then: udevadm control --reload",
             'SUBSYSTEM!="usb", GOTO="imagekit_end"', 'ENV{DEVTYPE}!="usb_device", GOTO="imagekit_end"']
    for word in ids:
        vendor, _, product = word.partition(":")
        lines.append(f'ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}", {gives}')
    lines += [f'ENV{{ID_USB_INTERFACES}}=="*:{INTERFACES}:*", {gives}', 'LABEL="imagekit_end"']
    return "\n".join(lines) + "\n"


def _groups(machine: Machine) -> Iterator[Check]:
    known = {words[0]: words for line in _lines(machine, "etc/group") if len(words := line.split(":")) == 4}
    for name, what in GROUPS.items():
        label = f"group {name}"
        if machine.uid == 0:
            yield Check(name=label, state="ok", found="not needed: you are root", needed=False)
        elif name not in known:
            yield Check(name=label, state="none", found="this machine has no such group", needed=False)
        elif int(known[name][2]) in machine.groups:
            yield Check(name=label, state="ok", found=what, needed=False)
        elif machine.user and machine.user in known[name][3].split(","):
            yield Check(name=label, state="denied", found="you are in it only after the next login", needed=False,
                        remedy=f"log in again: you are in the group {name}, and this session does not know it")
        else:
            yield Check(name=label, state="denied", found=f"you are not in it: {what}", needed=False,
                        remedy=f"for {what}: sudo adduser $USER {name}, then log in again")


def _rules(machine: Machine) -> Check:
    wanted = udev_rules(rom_ids()).splitlines()
    found = _lines(machine, RULES.removeprefix("/"))
    state = "ok" if found == wanted else "low" if found else "missing"
    why = "is not as this imagekit has it" if found else "lets you reach boards over USB without root"
    remedy = None if state == "ok" else f"{RULES} {why}: imagekit doctor --udev-rules | sudo tee {RULES}"
    return Check(name="udev rules", state=state, found=RULES if found else "", needed=False, remedy=remedy)


def _programs(machine: Machine) -> Iterator[Check]:
    for name in RECOVERY_TOOLS:
        found = machine.find(name)
        yield Check(name=name, state="ok" if found else "missing", found=found or "", needed=False,
                    remedy=None if found else f"for boards that are loaded by it: {INSTALL[name]}")


def _pyusb() -> Check:
    there = importlib.util.find_spec("usb") is not None
    return Check(name="pyusb", state="ok" if there else "missing", found="for fastboot over USB" if there else "",
                 needed=False, remedy=None if there else "for fastboot over USB: pip install 'imagekit[usb]'")


def _lines(machine: Machine, path: str) -> list[str]:
    try:
        return machine.at(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
