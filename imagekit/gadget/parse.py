"""Parse gadget.yaml: the top level and the volumes; `structure` reads a structure, `rules` holds what spans several.

Unknown keys are ignored, as snapd does (gadget/gadget.go); every rule of the format is checked and all problems are
told at once, each with file, line and path. The model decides the era of the rules; without one, a gadget with a seed
is UC20+. Whether files exist and fit is for `imagekit.plan`.
"""

from __future__ import annotations

import re

from imagekit.gadget.extension import parse_extension
from imagekit.gadget.rules import check_gadget, check_volume, disk_order, implied
from imagekit.gadget.structure import parse_emmc_structure, parse_structure
from imagekit.gadget.values import Bootloader, Connection, Era, Gadget, KernelCmdline, Role, Schema, Structure, Volume
from imagekit.nodes import Node
from imagekit.schema import Problems, Source

PARTIAL = ("size", "filesystem", "schema", "structure")

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]+\Z")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_DISK_ID = re.compile(r"[0-9A-Fa-f]{8}\Z")
_NEVER_APPENDED = {"root", "nfsroot", "init"}
_SNAPD_APPENDED = {"snapd_system_disk", "snapd.debug"}


def parse_gadget(source: Source, *, era: Era | None = None) -> Gadget:
    """Read a gadget document.

    Raises:
        DocumentError: with every problem of the document.
    """
    problems = Problems(source)
    top = Node(problems, (), source.value)
    parsed = [(path, parse_volume(name, node)) for name, node in top.maps("volumes") for path in [node.path]]
    if not parsed and not problems:
        top.problem("volumes", "at least one volume is needed")
    era = era or era_of(tuple(volume for _, volume in parsed))
    volumes = tuple(implied(volume, era) for _, volume in parsed)
    for (path, _), volume in zip(parsed, volumes, strict=True):
        check_volume(problems, path, volume)
    check_gadget(problems, volumes, era)
    extension = parse_extension(top, volumes) if "x-imagekit" in top else None
    gadget = Gadget(
        era=era,
        volumes=tuple(disk_order(volume) for volume in volumes),
        defaults=parse_defaults(top),
        connections=parse_connections(top),
        kernel_cmdline=parse_kernel_cmdline(top),
        extension=extension,
    )
    parse_assignments(top, {volume.name for volume in volumes})
    problems.raise_if_any()
    return gadget


def era_of(volumes: tuple[Volume, ...]) -> Era:
    """The era a gadget is written for, when no model says it."""
    roles = {structure.role for volume in volumes for structure in volume.structures}
    return Era.UC20 if roles & {Role.SEED, Role.SEED_NULL} else Era.UC16


def parse_volume(name: str, node: Node) -> Volume:
    """Read one volume; what spans its structures is checked later."""
    if not _VOLUME_NAME.match(name):
        node.problem(None, f"{name!r} is not a volume name: two or more letters, digits and hyphens, no leading hyphen")
    partial = parse_partial(node)
    schema: Schema | None = node.choice("schema", {item.value: item for item in Schema}, "schema")
    if "schema" in partial:
        if "schema" in node:
            node.problem("schema", "not allowed beside partial schema")
        schema = None
    elif schema is None:
        schema = Schema.GPT
    bootloader = node.choice("bootloader", {item.value: item for item in Bootloader}, "bootloader")
    disk_id = node.string("id") or None
    if disk_id and not (_GUID.match(disk_id) or _DISK_ID.match(disk_id)):
        node.problem("id", f"{disk_id!r} is neither a GUID nor an MBR disk id of eight hexadecimal digits")
    structures: list[Structure] = []
    if schema is Schema.EMMC:
        for key in ("bootloader", "id", "partial"):
            if key in node:
                node.problem(key, "not allowed in a volume of schema emmc")
        structures = [parse_emmc_structure(item, index) for index, item in enumerate(node.nodes("structure"))]
    else:
        structures = [parse_structure(item, index, schema=schema, partial=partial)
                      for index, item in enumerate(node.nodes("structure"))]
    if not structures and "structure" not in partial and node.raw("structure") in (None, []):
        node.problem("structure", "at least one structure is needed")
    return Volume(name=name, schema=schema, bootloader=bootloader, id=disk_id, partial=partial,
                  structures=tuple(structures))


def parse_partial(node: Node) -> frozenset[str]:
    """The properties that the volume leaves to the device."""
    seen: set[str] = set()
    for index, text in enumerate(node.strings("partial")):
        path = (*node.path, "partial", index)
        if text not in PARTIAL:
            node.problems.add(path, f"{text!r} cannot be partial: allowed are {', '.join(PARTIAL)}")
        elif text in seen:
            node.problems.add(path, f"{text!r} is given twice")
        seen.add(text)
    return frozenset(seen & set(PARTIAL))


def parse_defaults(top: Node) -> dict[str, dict[str, object]]:
    """Configuration defaults by `system` or snap id; their values are not ours to judge."""
    return {key: {name: node.raw(name) for name in node.names()} for key, node in top.maps("defaults")}


def parse_connections(top: Node) -> tuple[Connection, ...]:
    """The interface connections; `<snap-id or system>:<name>` on both sides."""
    result = []
    for node in top.nodes("connections"):
        plug, slot = node.string("plug"), node.string("slot")
        for key, text in (("plug", plug), ("slot", slot)):
            owner, colon, name = text.partition(":")
            if not text and key == "plug":
                node.problem(None, "a plug is needed")
            elif text and not (owner and colon and name):
                node.problem(key, f"{text!r} is not <snap-id or system>:<name>")
        result.append(Connection(plug=plug, slot=slot or f"system:{plug.partition(':')[2]}"))
    return tuple(result)


def parse_kernel_cmdline(top: Node) -> KernelCmdline:
    """Allowed, appended and removed kernel arguments."""
    node = top.map("kernel-cmdline")
    append = node.strings("append")
    for index, argument in enumerate(append):
        key = argument.partition("=")[0]
        if key in _NEVER_APPENDED or (key.startswith("snapd") and key not in _SNAPD_APPENDED):
            node.problems.add((*node.path, "append", index), f"a gadget may not set {key!r}")
    return KernelCmdline(allow=node.strings("allow"), append=append, remove=node.strings("remove"))


def parse_assignments(top: Node, volumes: set[str]) -> None:
    """Check that each volume assignment names volumes that exist; assigning disks is for the installer."""
    for node in top.nodes("volume-assignments"):
        assignments = node.map("assignments")
        for name in assignments.names():
            if name not in volumes:
                assignments.problem(name, f"no volume is called {name!r}")
