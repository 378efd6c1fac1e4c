"""The rules of roles over all volumes: which there are, how often, where, and with which label.

Without a model a seed means the rules of UC20, a seed-null those of classic systems with modes. Source: snapd
gadget/validate.go (facts).
"""

from __future__ import annotations

from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.rulebook import GadgetWarnings as Warnings
from imagekit.gadget.rules import MODES_LABELS, UC16_LABELS, place
from imagekit.gadget.values import Era, Role, Structure, Volume
from imagekit.nodes import shown
from imagekit.rules import YamlRules
from imagekit.schema import Path, Problems, dotted

ONCE = (Role.SEED, Role.SEED_NULL, Role.BOOT, Role.DATA, Role.SAVE, Role.BOOT_STATE)
RESERVED_BEFORE = frozenset({"ubuntu-seed", "ubuntu-data"})  # on UC16/18: a seed there is taken for an ESP
UNREAD = (Rules.ROLE, YamlRules.MAP, YamlRules.LIST, YamlRules.STRING, Rules.VOLUME_EMPTY, Rules.SEEDS)

Holders = dict[Role, tuple[str, Path, Structure]]


def check_roles(problems: Problems, volumes: tuple[Volume, ...], era: Era) -> None:
    """Roles are there once, in the right volume, with their labels."""
    holders = check_once(problems, volumes)
    if Role.SEED in holders and Role.SEED_NULL in holders:
        problems.add(holders[Role.SEED_NULL][1], "system-seed and system-seed-null exclude each other: one is there"
                     " already", Rules.SEEDS)
    seeded = Role.SEED in holders or Role.SEED_NULL in holders
    modes = era in (Era.UC20, Era.CLASSIC) or (era is Era.NONE and seeded)
    needed: tuple[Role, ...]
    together: tuple[Role, ...]
    if era is Era.CLASSIC or (era is Era.NONE and Role.SEED_NULL in holders):
        needed, together, labelled = (Role.BOOT, Role.DATA), (Role.SEED, Role.SEED_NULL, Role.SAVE), tuple(MODES_LABELS)
        anchor, what = holders.get(Role.BOOT), "a classic system with modes"
    elif modes:
        needed, together = (Role.SEED, Role.DATA), (Role.BOOT, Role.DATA, Role.SAVE)
        labelled, anchor, what = (Role.SEED, Role.DATA, Role.SAVE), holders.get(Role.SEED), "UC20+"
    else:
        check_before(problems, holders, era)
        needed, together, labelled, anchor, what = (), (), (Role.DATA,), None, era.value
    check_needed(problems, holders, needed, what)
    for role in together:
        if anchor is not None and role in holders and holders[role][0] != anchor[0]:
            at = anchor[2].role
            problems.add(holders[role][1], f"{role.value} lies on volume {holders[role][0]!r}, it must lie on"
                         f" {anchor[0]!r} beside {at.value if at else ''}", Rules.ROLE_VOLUME)
    check_role_labels(problems, holders, labelled, MODES_LABELS if modes else UC16_LABELS)
    reserved = frozenset(MODES_LABELS.values()) if modes else RESERVED_BEFORE
    for volume in volumes:
        for structure in volume.structures:
            check_reserved(problems, volume, structure, reserved)


def check_once(problems: Problems, volumes: tuple[Volume, ...]) -> Holders:
    """The volume, place and structure of each role of which there is at most one."""
    holders: Holders = {}
    for volume in volumes:
        for structure in volume.structures:
            role = structure.role
            if role is None or role not in ONCE:
                continue
            where = place(("volumes", volume.name), structure, "role")
            if role in holders:
                name, _, first = holders[role]
                problems.add(where, f"{dotted(place(('volumes', name), first))} has the role {role.value} already",
                             Rules.ROLE_TWICE)
            else:
                holders[role] = (volume.name, where, structure)
    return holders


def check_needed(problems: Problems, holders: Holders, needed: tuple[Role, ...], what: str) -> None:
    """The roles without which the system does not come up."""
    if any(item.rule in UNREAD for item in problems.found):
        return  # what is missing may be what could not be read
    for role in needed:
        if role not in holders:
            problems.add(("volumes",), f"a gadget for {what} needs a structure with the role {role.value}",
                         Rules.NO_ROLE)


def check_before(problems: Problems, holders: Holders, era: Era) -> None:
    """Systems without modes have neither seed nor save."""
    for role in (Role.SEED, Role.SAVE):
        if role in holders:
            text = (f"{role.value} is not allowed in a gadget for UC16/18" if era is Era.UC16 else
                    f"{role.value} is not allowed without system-seed")
            problems.add(holders[role][1], text, Rules.ROLE_ERA)
    if Role.SEED_NULL in holders:
        problems.warn(holders[Role.SEED_NULL][1], "system-seed-null means nothing on UC16/18", Warnings.SEED_NULL)


def check_role_labels(problems: Problems, holders: Holders, roles: tuple[Role, ...], labels: dict[Role, str]) -> None:
    """An explicit label of a role is the one that the system looks for."""
    for role in roles:
        if role not in holders:
            continue
        name, _, structure = holders[role]
        if structure.label is not None and not has_label(structure, labels[role]):
            problems.add(place(("volumes", name), structure, "filesystem-label"),
                         f"the role {role.value} has the label {labels[role]!r}, not {shown(structure.label)}: leave it"
                         " out, or give that", Rules.ROLE_LABEL)


def check_reserved(problems: Problems, volume: Volume, structure: Structure, reserved: frozenset[str]) -> None:
    """Nobody without a role takes the label of one."""
    if structure.role is not None or structure.label is None:
        return
    for role, label in MODES_LABELS.items():
        if label in reserved and role is not Role.SEED_NULL and has_label(structure, label):
            problems.add(place(("volumes", volume.name), structure, "filesystem-label"),
                         f"the label {shown(structure.label)} is reserved for the role {role.value}: give the structure"
                         " that role, or another label", Rules.RESERVED)


def has_label(structure: Structure, label: str) -> bool:
    """Whether the structure has a label; a FAT keeps no case."""
    if structure.label is None:
        return False
    if structure.filesystem is not None and structure.filesystem.is_vfat:
        return structure.label.lower() == label.lower()
    return structure.label == label
