"""Parse one structure of a volume, and hold it to the rules that need no other structure."""

from __future__ import annotations

import re
import uuid

from imagekit.gadget.values import (
    Content,
    FileContent,
    Filesystem,
    OffsetWrite,
    RawContent,
    Role,
    Schema,
    Structure,
    StructureType,
    Update,
)
from imagekit.nodes import Node
from imagekit.units import GIB, MIB

MBR_CODE_SIZE = 446  # bytes of the first sector before its partition table
BOOT_STATE_TYPE = uuid.UUID("3DE21764-95BD-54BD-A5C3-4ABE786F38A8")
EMMC_AREAS = ("boot0", "boot1")
OFFSET_WRITE_LIMIT = 4 * GIB

_MBR_TYPE = re.compile(r"[0-9A-F]{2}\Z")
_GUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_FILESYSTEMS = {"ext4": Filesystem.EXT4, "vfat": Filesystem.VFAT32, "vfat-16": Filesystem.VFAT16,
                "vfat-32": Filesystem.VFAT32, "none": Filesystem.NONE}
_ROLES = {role.value: role for role in Role}


def parse_structure(node: Node, index: int, *, schema: Schema | None, partial: frozenset[str]) -> Structure:
    """Read a structure of a gpt, mbr or schema-less volume."""
    kind, legacy_mbr, bare = parse_type(node, schema)
    role: Role | None = node.choice("role", _ROLES, "role")
    if legacy_mbr:
        if role not in (None, Role.MBR):
            node.problem("role", f"type mbr has the role mbr, not {role.value}" if role else "")
        role = Role.MBR
    if bare and role not in (None, Role.MBR):
        assert role is not None
        node.problem("role", f"a bare structure has no role or the role mbr, not {role.value}")
    size = node.size("size")
    if size is None and "size" not in partial and "size" not in node:
        node.problem(None, "a size is needed")
    if size == 0:
        node.problem("size", "must be above 0")
    min_size = node.size("min-size")
    if min_size is not None and size is not None and min_size > size:
        node.problem("min-size", f"{min_size} is above the size of {size} bytes")
    filesystem: Filesystem | None = node.choice("filesystem", _FILESYSTEMS, "filesystem")
    has_filesystem = filesystem not in (None, Filesystem.NONE)
    structure = Structure(
        name=node.string("name"), index=index, type=kind, role=role, size=size,
        min_size=size if min_size is None else min_size,
        offset=node.size("offset"), offset_write=parse_offset_write(node), filesystem=filesystem,
        label=node.string("filesystem-label") or None, id=parse_id(node, schema, in_table=kind.in_table),
        content=parse_contents(node, has_filesystem=has_filesystem or "filesystem" in partial),
        update=parse_update(node, has_filesystem=has_filesystem or "filesystem" in partial),
    )
    check_role(node, structure)
    return structure


def parse_emmc_structure(node: Node, index: int) -> Structure:
    """Read a boot area of an eMMC: a name, images and an edition."""
    node.only("name", "content", "update", what="in a structure of schema emmc")
    name = node.string("name")
    if name not in EMMC_AREAS:
        node.problem("name", f"{name!r} is not a boot area of an eMMC: allowed are {', '.join(EMMC_AREAS)}")
    return Structure(
        name=name, index=index, type=StructureType(), role=None, size=None, min_size=None, offset=None,
        offset_write=None, filesystem=None, label=None, id=None,
        content=parse_contents(node, has_filesystem=False), update=parse_update(node, has_filesystem=False),
    )


def parse_type(node: Node, schema: Schema | None) -> tuple[StructureType, bool, bool]:
    """The partition type, whether it is the legacy `mbr`, and whether it is `bare`."""
    text = node.string("type")
    raw = node.raw("type")
    if isinstance(raw, int) and not isinstance(raw, bool):
        text = f"{raw:02d}"  # YAML reads 83 and 06 as numbers, the format means the digits
    if not text:
        node.problem("type", "a type is needed: bare, two hexadecimal digits, a GUID, or both as XX,GUID")
        return StructureType(), False, True
    if text in ("bare", "mbr"):
        return StructureType(), text == "mbr", text == "bare"
    first, comma, second = text.partition(",")
    if comma and _MBR_TYPE.match(first) and _GUID.match(second):
        return StructureType(mbr=int(first, 16), guid=uuid.UUID(second)), False, False
    if _MBR_TYPE.match(text):
        if schema is Schema.GPT:
            node.problem("type", f"{text} alone needs schema mbr: give a GUID, or both as XX,GUID")
        return StructureType(mbr=int(text, 16)), False, False
    if _GUID.match(text):
        if schema is Schema.MBR:
            node.problem("type", "a GUID alone needs schema gpt: give two hexadecimal digits, or both as XX,GUID")
        return StructureType(guid=uuid.UUID(text)), False, False
    node.problem("type", f"{text!r} is not a type: bare, two upper-case hexadecimal digits, a GUID, or both as XX,GUID")
    return StructureType(), False, False


def parse_id(node: Node, schema: Schema | None, *, in_table: bool) -> str | None:
    """The partition's own GUID."""
    text = node.string("id")
    if not text:
        return None
    if not _GUID.match(text):
        node.problem("id", f"{text!r} is not a GUID")
    elif schema is Schema.MBR:
        node.problem("id", "a partition of an mbr volume has no id")
    elif not in_table:
        node.problem("id", "a structure outside the partition table has no id")
    return text


def parse_offset_write(node: Node) -> OffsetWrite | None:
    """`[name+]offset`."""
    text = node.string("offset-write")
    if not text:
        return None
    name, plus, number = text.rpartition("+")
    if not re.fullmatch(r"\d+[MG]?", number) or (plus and not name):
        node.problem("offset-write", f"{text!r} is not [name+]offset")
        return None
    offset = int(number.rstrip("MG")) * (GIB if number.endswith("G") else MIB if number.endswith("M") else 1)
    if offset > OFFSET_WRITE_LIMIT:
        node.problem("offset-write", f"{offset} is above the limit of 4 GiB")
    return OffsetWrite(relative_to=name or None, offset=offset)


def parse_contents(node: Node, *, has_filesystem: bool) -> tuple[Content, ...]:
    """Files for a file system, or images for a raw structure; never both."""
    result: list[Content] = []
    for item in node.nodes("content"):
        if not item.readable:
            continue
        as_file = "source" in item or "target" in item
        if as_file and "image" in item:
            item.problem(None, "source and target belong to file systems, image to raw structures: not both")
        elif has_filesystem and not as_file:
            item.problem("image", "a structure with a filesystem takes source and target")
        elif not has_filesystem and as_file:
            item.problem(None, "a structure without a filesystem takes images, not source and target")
        elif as_file:
            result.append(parse_file(item))
        else:
            if "image" not in item:
                item.problem(None, "an image is needed")
            result.append(RawContent(image=item.string("image"), offset=item.size("offset"), size=item.size("size"),
                                     unpack=item.boolean("unpack")))
    return tuple(result)


def parse_file(node: Node) -> FileContent:
    """`source` and `target`; both stay inside what they belong to."""
    source, target = node.string("source"), node.string("target")
    for key, text in (("source", source), ("target", target)):
        if not text:
            node.problem(key, f"a {key} is needed")
        elif ".." in text.split("/"):
            node.problem(key, f"{text!r} leaves its folder")
        elif "\0" in text:
            node.problem(key, "a path has no zero byte")
    if source.startswith("$") and not re.match(r"\$kernel:[a-z0-9][a-z0-9-]*/.", source):
        node.problem("source", f"{source!r} is not $kernel:<asset>/<path>")
    return FileContent(source=source, target=target, unpack=node.boolean("unpack"))


def parse_update(node: Node, *, has_filesystem: bool) -> Update:
    """The edition and the files that a refresh leaves alone."""
    inner = node.map("update")
    edition = inner.raw("edition")
    if edition is not None and (isinstance(edition, bool) or not isinstance(edition, int)
                                or not 0 <= edition < 1 << 32):
        inner.problem("edition", f"{edition!r} is not an unsigned 32-bit integer")
        edition = 0
    preserve = inner.strings("preserve")
    if preserve and not has_filesystem:
        inner.problem("preserve", "only a structure with a filesystem preserves files")
    for index, path in enumerate(preserve):
        if path in preserve[:index]:
            inner.problems.add((*inner.path, "preserve", index), f"{path!r} is given twice")
    return Update(edition=edition or 0, preserve=preserve)


def check_role(node: Node, structure: Structure) -> None:
    """What the role alone demands of the structure."""
    filesystem = structure.filesystem not in (None, Filesystem.NONE)
    if structure.role is Role.MBR:
        if structure.size is not None and structure.size > MBR_CODE_SIZE:
            node.problem("size", f"{structure.size} is above the {MBR_CODE_SIZE} bytes of boot code in a first sector")
        for key, wrong, text in (("offset", structure.offset not in (None, 0), "the role mbr lies at offset 0"),
                                 ("id", structure.id is not None and structure.type.in_table, "the role mbr has no id"),
                                 ("filesystem", filesystem, "the role mbr has no filesystem")):
            if wrong:
                node.problem(key, text)
    if structure.role is Role.BOOT_STATE:
        if structure.offset is None or structure.offset < MIB:
            node.problem("offset", "the role system-boot-state needs an offset of at least 1M")
        if structure.min_size != structure.size:
            node.problem("min-size", "the role system-boot-state has a fixed size")
        if filesystem:
            node.problem("filesystem", "the role system-boot-state has no filesystem")
        if structure.type.guid != BOOT_STATE_TYPE:
            node.problem("type", f"the role system-boot-state has the type {str(BOOT_STATE_TYPE).upper()}")


__all__ = ["BOOT_STATE_TYPE", "MBR_CODE_SIZE", "parse_emmc_structure", "parse_structure"]
