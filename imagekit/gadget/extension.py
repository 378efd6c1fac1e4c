"""Our own key of gadget.yaml, `x-imagekit`: which bootloader backend, kernel arguments, and what a slot is made of.

    x-imagekit:
      bootloader: systemd-boot
      cmdline: "console=ttyS0,115200"
      gpt-entries: 56
      gpt-entries-at: 1032192
      device-tree: vendor/board.dtb
      slot-files: [config.txt]
      hybrid-mbr: [boot]
      addresses: {kernel: 0x200000, initrd: 0x6000000, scratch: 0x7000000}
      structures:
        slot-state: {part: state}
        base-a: {slot: a, part: base}

One top-level map, so that readers of the plain format see nothing unusual in the structures. Documented in
docs/reference/gadget-yaml.md.
"""

from __future__ import annotations

import re

from imagekit.disk.gpt import ENTRIES, HYBRID_MOST, LEAST_ENTRIES
from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.values import Extension, Part, Schema, SlotPart, Volume
from imagekit.nodes import Node, shown
from imagekit.units import MIB, SECTOR

BACKENDS = {name: name for name in ("systemd-boot", "u-boot", "piboot")}
SLOTS = {"a": "a", "b": "b"}
ADDRESSES = ("kernel", "initrd", "device-tree", "scratch", "unpack")  # of u-boot's boot script

_ADDRESS = re.compile(r"0x0*[0-9a-fA-F]{1,5}000\Z")


def parse_extension(top: Node, volumes: tuple[Volume, ...]) -> Extension:
    """Read `x-imagekit`; here unknown keys are a mistake, since only we read them."""
    node = top.map("x-imagekit")
    node.only("bootloader", "cmdline", "structures", "gpt-entries", "gpt-entries-at", "device-tree", "hybrid-mbr",
              "addresses", "slot-files", what="in x-imagekit", rule=Rules.OWN_KEY)
    bootloader: str | None = node.choice("bootloader", BACKENDS, "bootloader backend", Rules.OWN_BOOTLOADER)
    if node.raw("bootloader") in (None, ""):
        node.problem("bootloader", f"a bootloader is needed: {', '.join(BACKENDS)}", Rules.OWN_BOOTLOADER)
    cmdline = node.string("cmdline")
    for argument in cmdline.split():
        if argument.startswith("imagekit."):
            node.problem("cmdline", f"{shown(argument.partition('=')[0])} is set by imagekit for each slot",
                         Rules.OWN_CMDLINE)
    if not cmdline.isascii() or not cmdline.isprintable():
        node.problem("cmdline", "only printable ASCII is allowed", Rules.OWN_CMDLINE)
    structures = {name: parse_part(item) for name, item in node.maps("structures")}
    check_parts(node.map("structures"), structures, volumes)
    check_boot(node, bootloader, structures)
    return Extension(bootloader=bootloader or "", cmdline=cmdline, structures=structures,
                     gpt_entries=parse_entries(node, volumes),
                     gpt_entries_at=parse_entries_at(node, volumes), device_tree=parse_device_tree(node, bootloader),
                     hybrid_mbr=parse_hybrid(node, volumes), addresses=parse_addresses(node, bootloader),
                     slot_files=parse_slot_files(node, bootloader))


def check_boot(node: Node, bootloader: str | None, structures: dict[str, SlotPart]) -> None:
    """Slots of U-Boot and of the Pi's firmware have boot files of their own."""
    if node.problems:
        return
    if bootloader in ("u-boot", "piboot") and not any(part.part is Part.BOOT for part in structures.values()):
        node.problem("structures", f"{bootloader} needs structures with part boot of slot a and b", Rules.OWN_SLOTS)


def parse_slot_files(node: Node, bootloader: str | None) -> tuple[str, ...]:
    """`slot-files`: files of the gadget that lie beside the kernel in every slot."""
    names = node.strings("slot-files")
    if names and bootloader != "piboot":
        node.problem("slot-files", "only piboot takes files of the gadget from the slot", Rules.OWN_SLOT_FILES)
    for name in names:
        if name.startswith("/") or ".." in name.split("/") or name.endswith("/"):
            node.problem("slot-files", f"{shown(name)} is not a path of a file in the gadget", Rules.OWN_SLOT_FILES)
    if twice := [name for name in names if [item.rpartition("/")[2] for item in names].count(
            name.rpartition("/")[2]) > 1]:
        node.problem("slot-files", f"{shown(twice[0])} and another have one name", Rules.OWN_SLOT_FILES)
    return tuple(names)


def parse_device_tree(node: Node, bootloader: str | None) -> str | None:
    """`device-tree`: a path of the kernel package, below `dtbs/`."""
    text = node.string("device-tree")
    if not text:
        return None
    if bootloader != "u-boot":
        node.problem("device-tree", "only u-boot takes it from the slot", Rules.OWN_DEVICE_TREE)
    if not text.endswith(".dtb") or text.startswith("/") or ".." in text.split("/"):
        node.problem("device-tree", f"{shown(text)} is not a path below dtbs/ of the kernel, like vendor/board.dtb",
                     Rules.OWN_DEVICE_TREE)
    return text


def parse_entries(node: Node, volumes: tuple[Volume, ...]) -> int | None:
    """`gpt-entries`: room for how many partitions the table has, where boot code lies in the way of 128."""
    value = node.raw("gpt-entries")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not LEAST_ENTRIES <= value <= ENTRIES:
        node.problem("gpt-entries", f"{shown(str(value))} is not a number of entries: allowed are"
                     f" {LEAST_ENTRIES} to {ENTRIES}", Rules.OWN_ENTRIES)
        return None
    if not has_gpt(volumes):
        node.problem("gpt-entries", "the volume with the bootloader has no GPT", Rules.OWN_ENTRIES)
    return value


def parse_entries_at(node: Node, volumes: tuple[Volume, ...]) -> int | None:
    """`gpt-entries-at`: where they begin, where boot code lies right behind the table's header."""
    value = node.raw("gpt-entries-at")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 2 * SECTOR <= value <= MIB or value % SECTOR:
        node.problem("gpt-entries-at", f"{shown(str(value))} is not where entries may begin: allowed are multiples of"
                     f" {SECTOR} from {2 * SECTOR} to {MIB}", Rules.OWN_ENTRIES_AT)
        return None
    if not has_gpt(volumes):
        node.problem("gpt-entries-at", "the volume with the bootloader has no GPT", Rules.OWN_ENTRIES_AT)
    return value


def has_gpt(volumes: tuple[Volume, ...]) -> bool:
    """Whether that is the table of the volume with the bootloader."""
    return all(volume.bootloader is None or volume.schema is Schema.GPT for volume in volumes)


def parse_addresses(node: Node, bootloader: str | None) -> dict[str, int]:
    """`addresses`: where the boot script loads to, where U-Boot's own variables say something unfit."""
    found: dict[str, int] = {}
    held = node.map("addresses")
    for name in held.names():
        text = held.string(name)
        if name not in ADDRESSES:
            held.problem(name, f"allowed are {', '.join(ADDRESSES)}", Rules.OWN_ADDRESSES)
        elif not _ADDRESS.match(text):
            held.problem(name, f"{shown(text)} is no address of 32 bits at a multiple of 4096, like 0x200000",
                         Rules.OWN_ADDRESSES)
        else:
            found[name] = int(text, 16)
    if found and bootloader != "u-boot":
        node.problem("addresses", "only u-boot's script loads to them", Rules.OWN_ADDRESSES)
    return found


def parse_hybrid(node: Node, volumes: tuple[Volume, ...]) -> tuple[str, ...]:
    """`hybrid-mbr`: structures that an MBR lists beside the GPT, for boot code that reads no GPT."""
    names = node.strings("hybrid-mbr")
    if len(names) > HYBRID_MOST or len(set(names)) < len(names):
        node.problem("hybrid-mbr", f"{len(names)} names: an MBR has room for {HYBRID_MOST} partitions beside the GPT's,"
                     " each once", Rules.OWN_HYBRID)
    booted = next((volume for volume in volumes if volume.bootloader is not None), None)
    for name in names:
        found = next((item for item in booted.structures if item.name == name), None) if booted else None
        if booted is None or booted.schema is not Schema.GPT or found is None or not found.is_partition:
            node.problem("hybrid-mbr", f"{shown(name)} is no partition of a volume with a bootloader and a GPT",
                         Rules.OWN_HYBRID)
        elif found.type.mbr is None or found.type.guid is None:
            node.problem("hybrid-mbr", f"{shown(name)} has the type {found.type}: both tables need one, as in"
                         " 0C,C12A7328-F81F-11D2-BA4B-00A0C93EC93B", Rules.OWN_HYBRID)
    return names


def parse_part(node: Node) -> SlotPart:
    """`{slot: a, part: base}`, or `{part: state}`."""
    node.only("slot", "part", what="here", rule=Rules.OWN_KEY)
    part: Part | None = node.choice("part", {item.value: item for item in Part}, "part", Rules.OWN_PART)
    if node.raw("part") in (None, ""):
        node.problem("part", f"a part is needed: {', '.join(item.value for item in Part)}", Rules.OWN_PART)
    slot: str | None = node.choice("slot", SLOTS, "slot", Rules.OWN_PART)
    if part is Part.STATE and "slot" in node:
        node.problem("slot", "the state belongs to no slot", Rules.OWN_PART)
    elif part not in (None, Part.STATE) and node.raw("slot") in (None, ""):
        node.problem("slot", "a slot is needed: a or b", Rules.OWN_PART)
    return SlotPart(part=part or Part.STATE, slot=slot)


def check_parts(node: Node, structures: dict[str, SlotPart], volumes: tuple[Volume, ...]) -> None:
    """Every structure exists, no part is given twice, and both slots are equally equipped."""
    if node.problems:
        return  # parts that could not be read would be reported again as missing
    known = {item.name: item for volume in volumes for item in volume.structures if item.name}
    seen: dict[SlotPart, str] = {}
    for name, part in structures.items():
        if name not in known:
            node.problem(name, f"no structure is called {shown(name)}", Rules.OWN_STRUCTURE)
        if part in seen:
            node.problem(name, f"structure {shown(seen[part])} already is that", Rules.OWN_STRUCTURE)
        seen.setdefault(part, name)
    if not any(part.part is Part.STATE for part in seen):
        node.problem(None, "a structure with part state is needed", Rules.OWN_SLOTS)
    for kind in (Part.BASE, Part.KERNEL, Part.BOOT):
        names = [seen.get(SlotPart(part=kind, slot=slot)) for slot in SLOTS]
        if kind is Part.BOOT and names == [None, None]:
            continue
        for slot, held in zip(SLOTS, names, strict=True):
            if held is None:
                node.problem(None, f"a structure with part {kind.value} of slot {slot} is needed",
                             Rules.OWN_SLOTS)
        one, two = (known.get(name or "") for name in names)
        if one and two and one.size != two.size:
            node.problem(two.name, f"{two.size} bytes, but {shown(one.name)} has {one.size}: slots are equal",
                         Rules.OWN_SIZE)
