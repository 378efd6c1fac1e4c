"""Parse one structure of a volume, and hold it to the rules that need no other structure."""

from __future__ import annotations

import re
import uuid

from imagekit.gadget.content import parse_contents, parse_emmc_contents, parse_update
from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.rulebook import GadgetWarnings as Warnings
from imagekit.gadget.values import Filesystem, OffsetWrite, Role, Schema, Structure, StructureType
from imagekit.nodes import Node, shown
from imagekit.units import GIB, MIB

MBR_CODE_SIZE = 446  # bytes of the first sector before its partition table
BOOT_STATE_TYPE = uuid.UUID("3DE21764-95BD-54BD-A5C3-4ABE786F38A8")
EMMC_AREAS = ("boot0", "boot1")
EMMC_IGNORED = ("size", "min-size")  # snapd 2.68 demands a size, newer ones have none
OFFSET_WRITE_LIMIT = 4 * GIB
GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")

_MBR_TYPE = re.compile(r"[0-9A-F]{2}\Z")
_OFFSET = re.compile(r"[0-9]{1,99}[MG]?\Z")
_FILESYSTEMS = {"ext4": Filesystem.EXT4, "vfat": Filesystem.VFAT32, "vfat-16": Filesystem.VFAT16,
                "vfat-32": Filesystem.VFAT32, "none": Filesystem.NONE}
_ROLES = {role.value: role for role in Role}
_TYPES = "bare, two upper-case hexadecimal digits, a GUID, or both as XX,GUID"


def parse_structure(node: Node, index: int, *, schema: Schema | None, partial: frozenset[str]) -> Structure:
    """Read a structure of a gpt, mbr or schema-less volume."""
    kind, legacy_mbr, bare = parse_type(node, schema)
    role = parse_role(node, legacy_mbr=legacy_mbr, bare=bare)
    declared = node.size("size")
    size = declared or None
    if size is None and "size" not in partial and (node.raw("size") is None or declared == 0):
        node.problem("size", "a size above 0 is needed, an integer of bytes, or one with M or G", Rules.NO_SIZE)
    min_size = node.size("min-size") or None
    if min_size is not None and size is not None and min_size > size:
        node.problem("min-size", f"{min_size} is above the size of {size} bytes", Rules.MIN_SIZE)
    filesystem: Filesystem | None = node.choice("filesystem", _FILESYSTEMS, "filesystem", Rules.FILESYSTEM)
    mistyped = filesystem is None and bool(node.raw("filesystem"))  # its content is still that of a filesystem
    has_filesystem = mistyped or filesystem not in (None, Filesystem.NONE) or (
        "filesystem" in partial and not bare and not legacy_mbr)
    structure = Structure(
        name=node.text("name"), index=index, type=kind, role=role, size=size,
        min_size=size if min_size is None else min_size,
        offset=node.size("offset"), offset_write=parse_offset_write(node), filesystem=filesystem,
        label=node.text("filesystem-label") or None, id=parse_id(node, schema, in_table=kind.in_table, role=role),
        content=parse_contents(node, has_filesystem=has_filesystem),
        update=parse_update(node, has_filesystem=has_filesystem), legacy_mbr=legacy_mbr,
    )
    check_role(node, structure)
    return structure


def parse_role(node: Node, *, legacy_mbr: bool, bare: bool) -> Role | None:
    """The role that is written down, or comes with the type mbr."""
    role: Role | None = node.choice("role", _ROLES, "role", Rules.ROLE)
    if legacy_mbr:
        if role not in (None, Role.MBR):
            node.problem("role", f"a structure of type mbr has the role mbr, not {role.value if role else ''}",
                         Rules.ROLE_TYPE_MBR)
        return Role.MBR
    if bare and role not in (None, Role.MBR):
        node.problem("role", f"a bare structure has no role or the role mbr, not {role.value if role else ''}",
                     Rules.ROLE_BARE)
    return role


def parse_emmc_structure(node: Node, index: int) -> Structure:
    """Read a boot area of an eMMC: a name, images and an edition."""
    node.only("name", "content", "update", *EMMC_IGNORED, what="in a structure of schema emmc, where the hardware"
              " decides everything but name, content and update", rule=Rules.EMMC_KEYS)
    for key in EMMC_IGNORED:
        if node.size(key) is not None:
            node.problems.warn((*node.path, key), "a boot area of an eMMC has the size that its hardware has: snapd"
                               " 2.68 demands a size here, newer ones refuse it", Warnings.EMMC_SIZE)
    name = node.text("name")
    if name not in EMMC_AREAS:
        node.problem("name", f"{shown(name)} is not a boot area of an eMMC: allowed are {', '.join(EMMC_AREAS)}",
                     Rules.EMMC_NAME)
    return Structure(
        name=name, index=index, type=StructureType(), role=None, size=None, min_size=None, offset=None,
        offset_write=None, filesystem=None, label=None, id=None, content=parse_emmc_contents(node),
        update=parse_update(node, has_filesystem=False),
    )


def parse_type(node: Node, schema: Schema | None) -> tuple[StructureType, bool, bool]:
    """The type; whether it is the old word `mbr`; whether it is `bare` (or could not be read)."""
    text = node.text("type")
    if not text:
        if node.raw("type") in (None, ""):
            node.problem("type", f"a type is needed: {_TYPES}", Rules.NO_TYPE)
        return StructureType(), False, False
    if text in ("bare", "mbr"):
        return StructureType(), text == "mbr", text == "bare"
    first, comma, second = text.partition(",")
    hybrid = bool(comma and _MBR_TYPE.match(first) and GUID.match(second))
    found = StructureType(
        mbr=int(first, 16) if _MBR_TYPE.match(first) and (hybrid or not comma) else None,
        guid=uuid.UUID(second if hybrid else text) if hybrid or GUID.match(text) else None)
    if not found.in_table:
        node.problem("type", f"{shown(text)} is not a type: allowed are {_TYPES}{_type_hint(text)}", Rules.TYPE)
    elif schema is None and not hybrid:
        node.problem("type", f"{text} alone does not do with partial schema: give both as XX,GUID", Rules.TYPE_SCHEMA)
    elif schema is Schema.GPT and found.guid is None:
        node.problem("type", f"{text} alone needs schema mbr: give a GUID, or both as XX,GUID", Rules.TYPE_SCHEMA)
    elif schema is Schema.MBR and found.mbr is None:
        node.problem("type", "a GUID alone needs schema gpt: give two hexadecimal digits, or both as XX,GUID",
                     Rules.TYPE_SCHEMA)
    return found, False, False


def _type_hint(text: str) -> str:
    """What was probably meant."""
    first, comma, second = text.replace(" ", "").partition(",")
    meant = f"{first.upper().removeprefix('0X')}{comma}{second}"
    fits = _MBR_TYPE.match(meant.partition(",")[0]) and (not comma or GUID.match(second))
    return f"; did you mean {meant}?" if fits else ""


def parse_id(node: Node, schema: Schema | None, *, in_table: bool, role: Role | None) -> str | None:
    """The partition's own GUID."""
    text = node.text("id")
    if not text or role is Role.MBR:
        return text or None  # that of a master boot record is the role's business
    if schema is Schema.MBR or not in_table:
        node.problems.warn((*node.path, "id"), "only a partition in a GPT has an id: it is written nowhere",
                           Warnings.ID_UNUSED)
    elif not GUID.match(text):
        node.problem("id", f"{shown(text)} is not a GUID, as in 6e2c1a5b-31f0-4f0c-9d0a-2f1d6a0c7b11", Rules.ID)
    return text


def parse_offset_write(node: Node) -> OffsetWrite | None:
    """`[name+]offset`."""
    if "offset-write" not in node:
        return None
    text = node.text("offset-write")
    if isinstance(node.raw("offset-write"), dict | list):
        return None
    name, plus, number = text.partition("+") if "+" in text else ("", "", text)
    if not _OFFSET.match(number) or (plus and not name):
        node.problem("offset-write", f"{shown(text)} is not [name+]offset, as in mbr+92", Rules.WRITE_FORM)
        return None
    offset = int(number.rstrip("MG")) * (GIB if number.endswith("G") else MIB if number.endswith("M") else 1)
    if offset > OFFSET_WRITE_LIMIT:
        node.problem("offset-write", f"{number} is above the limit of 4 GiB", Rules.WRITE_FORM)
        return None
    return OffsetWrite(relative_to=name or None, offset=offset)


def check_role(node: Node, structure: Structure) -> None:
    """What the role alone demands of the structure."""
    filesystem = structure.filesystem not in (None, Filesystem.NONE)
    if structure.role is Role.MBR:
        if structure.size is not None and structure.size > MBR_CODE_SIZE:
            node.problem("size", f"{structure.size} is above the {MBR_CODE_SIZE} bytes of boot code in a first sector",
                         Rules.MBR_SIZE)
        if structure.id is not None:
            node.problem("id", "the role mbr has no id: it is no partition", Rules.MBR_ID)
        if filesystem:
            node.problem("filesystem", "the role mbr has no filesystem", Rules.MBR_FILESYSTEM)
    if structure.role is Role.BOOT_STATE:
        if structure.offset is None or structure.offset < MIB:
            node.problem("offset", "the role system-boot-state needs an offset of its own, of at least 1M",
                         Rules.BOOT_STATE)
        if structure.min_size != structure.size:
            node.problem("min-size", "the role system-boot-state has a fixed size: leave min-size out",
                         Rules.BOOT_STATE)
        if filesystem:
            node.problem("filesystem", "the role system-boot-state has no filesystem", Rules.BOOT_STATE)
        if structure.type.guid != BOOT_STATE_TYPE:
            node.problem("type", f"the role system-boot-state has the type {str(BOOT_STATE_TYPE).upper()}",
                         Rules.BOOT_STATE)


__all__ = ["BOOT_STATE_TYPE", "GUID", "MBR_CODE_SIZE", "parse_emmc_structure", "parse_structure"]
