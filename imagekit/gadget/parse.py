"""Parse gadget.yaml: the document and its volumes; the modules beside this one read and judge the rest.

    structure, content   one structure and what it holds
    rules, roles         what spans the structures of a volume, and the volumes
    settings, extension  what stands beside the volumes, and our own key
    regrets, typos       what is accepted and will hurt

Unknown keys are ignored, as snapd does (gadget/gadget.go); every rule of the format is checked and all problems are
told at once, each with file, line and path. The model decides the era of the rules; without one, the contents do.
Whether files exist and fit is for `content_check`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagekit.gadget.extension import parse_extension
from imagekit.gadget.regrets import note_regrets
from imagekit.gadget.roles import check_roles
from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.rulebook import GadgetWarnings as Warnings
from imagekit.gadget.rules import check_volume, disk_order, implied
from imagekit.gadget.settings import parse_assignments, parse_connections, parse_defaults, parse_kernel_cmdline
from imagekit.gadget.structure import GUID, parse_emmc_structure, parse_structure
from imagekit.gadget.typos import note_typos
from imagekit.gadget.values import Bootloader, Era, Extension, Gadget, Role, Schema, Structure, Volume
from imagekit.nodes import Node, shown
from imagekit.rules import YamlRules
from imagekit.schema import DocumentProblems, Problems, Source

PARTIAL = ("size", "filesystem", "schema", "structure")

UNREAD = (Rules.BOOTLOADER, Rules.VOLUME_EMPTY, YamlRules.MAP, YamlRules.STRING)  # what may hide a bootloader

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]+\Z")
_DISK_ID = re.compile(r"(0[xX])?[0-9A-Fa-f]{8}\Z")
_SCHEMAS = {item.value: item for item in Schema}
_BOOTLOADERS = {item.value: item for item in Bootloader}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """What reading a gadget.yaml found out; `understood` is as much of it as could be read."""

    understood: Gadget
    problems: Problems

    @property
    def gadget(self) -> Gadget | None:
        """The gadget; None if there are problems."""
        return None if self.problems else self.understood

    @property
    def era(self) -> Era:
        return self.understood.era


def parse_gadget(source: Source, *, era: Era | None = None) -> Gadget:
    """Read a gadget document.

    Raises:
        DocumentProblems: with every problem of the document, in its order.
    """
    examined = examine_gadget(source, era=era)
    if examined.gadget is None:
        raise DocumentProblems(source.name, tuple(sorted(examined.problems.found, key=lambda item: item.line)))
    return examined.gadget


def examine_gadget(source: Source, *, era: Era | None = None) -> Examined:
    """Read a gadget document and note what is wrong with it and what will hurt."""
    problems = Problems(source)
    top = Node(problems, (), source.value)
    parsed = tuple(parse_volume(name, node) for name, node in top.maps("volumes"))
    era = era or era_of(parsed)
    volumes = tuple(implied(volume, era) for volume in parsed)
    for volume in volumes:
        check_volume(problems, volume)
    if volumes:
        check_bootloaders(problems, volumes, era)
        check_roles(problems, volumes, era)
    elif era is not Era.NONE and not problems:
        top.problem("volumes", f"at least one volume is needed in a gadget for {era.value}", Rules.NO_VOLUMES)
    gadget = Gadget(
        era=era, volumes=tuple(disk_order(volume) for volume in volumes), defaults=parse_defaults(top),
        connections=parse_connections(top), kernel_cmdline=parse_kernel_cmdline(top),
        extension=_extension(top, volumes),
    )
    if volumes:
        parse_assignments(top, {volume.name for volume in volumes})
    note_typos(problems)
    note_regrets(problems, gadget)
    return Examined(understood=gadget, problems=problems)


def _extension(top: Node, volumes: tuple[Volume, ...]) -> Extension | None:
    return parse_extension(top, volumes) if "x-imagekit" in top else None


def era_of(volumes: tuple[Volume, ...]) -> Era:
    """The era a gadget is written for, when no model says it."""
    roles = {structure.role for volume in volumes for structure in volume.structures}
    if Role.SEED_NULL in roles:
        return Era.CLASSIC
    if roles & {Role.SEED, Role.SAVE}:
        return Era.UC20
    if not volumes or any(volume.bootloader is Bootloader.PIBOOT for volume in volumes):
        return Era.NONE
    return Era.UC16


def parse_volume(name: str, node: Node) -> Volume:
    """Read one volume; what spans its structures is checked later."""
    if not _VOLUME_NAME.match(name):
        node.problem(None, f"{shown(name)} is not a volume name: two or more letters, digits and hyphens, no leading"
                     " hyphen", Rules.VOLUME_NAME)
    if node.empty:
        node.problem(None, "nothing came, a volume is a map with a structure, and a bootloader for one of them",
                     Rules.VOLUME_EMPTY)
    node.text("name")  # means nothing, but snapd's reader wants a text there
    partial = parse_partial(node)
    schema: Schema | None = node.choice("schema", _SCHEMAS, "schema", Rules.SCHEMA)
    if "schema" in partial:
        if node.text("schema"):
            node.problem("schema", "partial schema leaves it to the device: it is not allowed beside that",
                         Rules.PARTIAL_SCHEMA)
        schema = None
    elif schema is None:
        schema = Schema.GPT
    bootloader: Bootloader | None = node.choice("bootloader", _BOOTLOADERS, "bootloader", Rules.BOOTLOADER)
    disk_id = node.text("id") or None
    structures: list[Structure]
    if schema is Schema.EMMC:
        for key in ("bootloader", "id", "partial"):
            if node.raw(key) not in (None, "", []):
                node.problem(key, "not allowed in a volume of schema emmc", Rules.EMMC_VOLUME)
        structures = [parse_emmc_structure(item, index) for index, item in enumerate(node.nodes("structure"))]
    else:
        if disk_id and not (GUID.match(disk_id) or _DISK_ID.match(disk_id)):
            node.problems.warn((*node.path, "id"), f"{shown(disk_id)} is neither a GUID nor an MBR disk id of eight"
                               " hexadecimal digits: no disk can have it", Warnings.DISK_ID)
        structures = [parse_structure(item, index, schema=schema, partial=partial)
                      for index, item in enumerate(node.nodes("structure"))]
    return Volume(name=name, schema=schema, bootloader=bootloader, id=disk_id, partial=partial,
                  structures=tuple(structures))


def parse_partial(node: Node) -> frozenset[str]:
    """The properties that the volume leaves to the device."""
    seen: set[str] = set()
    for index, text in enumerate(node.texts("partial")):
        path = (*node.path, "partial", index)
        if text not in PARTIAL:
            node.problems.add(path, f"{shown(text)} cannot be partial: allowed are {', '.join(PARTIAL)}", Rules.PARTIAL)
        elif text in seen:
            node.problems.add(path, f"{shown(text)} is given twice", Rules.PARTIAL)
        seen.add(text)
    return frozenset(seen & set(PARTIAL))


def check_bootloaders(problems: Problems, volumes: tuple[Volume, ...], era: Era) -> None:
    """Exactly one volume has a bootloader, and one of its time."""
    found = [volume for volume in volumes if volume.bootloader is not None]
    if not found and not any(item.rule in UNREAD for item in problems.found):
        problems.add(("volumes",), "one volume needs a bootloader, none has one", Rules.NO_BOOTLOADER)
    for volume in found[1:]:
        problems.add(("volumes", volume.name, "bootloader"), f"volume {found[0].name!r} has the bootloader already",
                     Rules.BOOTLOADERS)
    for volume in found:
        if volume.bootloader is Bootloader.PIBOOT and era is Era.UC16:
            problems.add(("volumes", volume.name, "bootloader"), "piboot is for UC20 and later: UC16/18 on a Pi has"
                         " u-boot", Rules.PIBOOT)
