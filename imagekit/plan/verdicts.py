"""Judge what was found in an image: one verdict for each thing, good ones too.

Pure: values of `imagekit.plan.inspection` go in, `Verdict`s come out, in the order of a report. Levels: what stops an
image from doing what it should, or shows that bytes changed, is wrong; what is not proved by a signature or a digest
that a signature reaches is refused; what a device puts right by itself and no flasher minds is a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from imagekit.assertions import Model
from imagekit.assertions.model import Presence, allowed
from imagekit.boot.entries import LoaderEntry
from imagekit.boot.next_boot import NextBoot, RecordCopy
from imagekit.boot.slotstate import Slot, SlotState
from imagekit.boot.systemd_boot import candidates, slot_of
from imagekit.digests import short
from imagekit.disk import gpt
from imagekit.disk.probe import Content, DiskImage
from imagekit.plan.inspection import (
    BesideFound,
    DataFound,
    EspFound,
    KernelFound,
    Level,
    Named,
    PartFound,
    Programs,
    SeedFound,
    SetsFound,
    Tree,
    Verdict,
    meant_by,
    name_of,
)
from imagekit.units import iec

REMOVABLE = {"amd64": "EFI/BOOT/BOOTX64.EFI", "i386": "EFI/BOOT/BOOTIA32.EFI", "arm64": "EFI/BOOT/BOOTAA64.EFI",
             "armhf": "EFI/BOOT/BOOTARM.EFI", "riscv64": "EFI/BOOT/BOOTRISCV64.EFI"}  # UEFI 2.10, section 3.5.1.1

PI_PROGRAM = "bootcode.bin"
FAT_TYPES = (0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E)


def judge_table(image: DiskImage) -> Iterator[Verdict]:
    """Both copies of the partition table, and the size of the image against theirs."""
    told = []
    for copy in gpt.COPIES:
        problem = image.table.problem_of(copy)
        told.append(problem)
        yield _verdict("table", f"{copy} GPT", Level.WRONG if problem else Level.GOOD,
                       (problem or "").removeprefix(f"{copy} table: ") or
                       f"whole, {len(image.partitions)} partitions")
    if image.size > image.table.disk_size:
        yield _verdict("size", "image size", Level.NOTE, f"{iec(image.size)}, the table is for"
                       f" {iec(image.table.disk_size)}; what lies behind it is not used")
    else:
        yield _verdict("size", "image size", Level.GOOD, f"{iec(image.size)}, as the table says")
    for problem in image.problems:
        if problem not in told and not problem.startswith("the table is for"):
            yield _verdict("table", "partition table", Level.WRONG, problem)
    yield from _twins(image)
    for item in image.partitions:
        if item.problem and item.content is not Content.EROFS:
            yield _verdict("content", item.name, Level.WRONG, item.problem)


def _twins(image: DiskImage) -> Iterator[Verdict]:
    """Partitions that cannot be told apart: a device finds them by name, and takes another one than was looked at."""
    names: dict[str, list[str]] = {}
    guids: dict[UUID, list[str]] = {}
    for item in image.partitions:
        number = str(item.partition.index)
        guids.setdefault(item.partition.unique_guid, []).append(number)
        if item.name:
            names.setdefault(item.name, []).append(number)
    for name, numbers in names.items():
        if len(numbers) > 1:
            yield _verdict("table", name, Level.WRONG, f"partitions {_listed(numbers)} have this name, and a device"
                           " takes one of them")
    for guid, numbers in guids.items():
        if len(numbers) > 1:
            yield _verdict("table", "partition table", Level.WRONG, f"partitions {_listed(numbers)} have the GUID"
                           f" {guid}")


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}"


def judge_hybrid(image: DiskImage, esp: EspFound) -> Iterator[Verdict]:
    """What the MBR lists beside the GPT; a Raspberry Pi's boot ROM finds its program by the first entry only."""
    names = {(item.partition.start, item.partition.end): item.name for item in image.partitions}
    for item in image.table.hybrid:
        name = names.get((item.start, item.end))
        if name is not None:
            yield _verdict("table", "hybrid MBR", Level.GOOD, f"entry {item.index} is {name}, of type {item.type:02X}")
    first = image.table.hybrid[0] if image.table.hybrid else None
    if PI_PROGRAM in esp.programs and (first is None or first.type not in FAT_TYPES):
        yield _verdict("table", "hybrid MBR", Level.WRONG, "its first entry is no FAT: the boot ROM of a Raspberry Pi 3"
                       f" does not find {PI_PROGRAM}")


def judge_boot(esp: EspFound, model: Model | None, state_partuuid: str | None) -> Iterator[Verdict]:
    """The loader and its entries."""
    if esp.problem:
        yield _verdict("loader", "boot partition", Level.WRONG, esp.problem)
        return
    wanted = REMOVABLE.get(model.architecture) if model and not esp.uboot and not esp.piboot else None
    if wanted is not None and not any(item.path.lower() == wanted.lower() for item in esp.loaders):
        yield _verdict("loader", "boot loader", Level.WRONG, f"the firmware looks for {wanted}, which is not there")
    for item in esp.loaders:
        if item.problem or item.loader is None:
            yield _verdict("loader", item.path, Level.WRONG, item.problem or "it is no boot loader that is known here")
            continue
        yield _verdict("loader", item.path, Level.GOOD, f"{item.loader.name} {item.loader.version}".rstrip())
        if item.architecture is not None or not (esp.uboot or esp.piboot):  # what those two have does not say it
            yield from _architecture(item.path, item.architecture, model)
    if esp.uboot and not any(item.loader is not None and item.loader.name == "U-Boot" for item in esp.loaders):
        yield _verdict("loader", "U-Boot", Level.NOTE, "it is not on this image, or does not say its version")
    if "default" in esp.settings:
        yield _verdict("loader", "loader.conf", Level.WRONG, f"default {esp.settings['default']}: it comes before every"
                       " decision about slots")
    for path in esp.offered:
        yield _verdict("entry", path, Level.WRONG, "the loader would offer it beside the slots")
    first: dict[Slot, str] = {}
    for found in esp.entries:
        yield _entry(found.file_name, found.problem or _misfit(found.slot, found.entry, state_partuuid),
                     cmdline=found.entry.cmdline if found.entry is not None else "")
        if found.slot is not None and found.entry is not None and found.slot in first:
            yield _entry(found.file_name, f"slot {found.slot.value} has another entry, {first[found.slot]}, and its"
                         " packages are held to that one alone")
        elif found.slot is not None and found.entry is not None:
            first[found.slot] = found.file_name


def _misfit(slot: Slot | None, entry: LoaderEntry | None, state_partuuid: str | None) -> str:
    if slot is None or entry is None:
        return "it is the entry of no slot, and the loader may start it"
    if entry.slot is not slot:
        return f"it says that it boots slot {entry.slot.value}"
    if entry.state_partuuid != state_partuuid:
        return f"it names the slot-state partition {entry.state_partuuid}, this disk's is {state_partuuid}"
    return ""


def _entry(name: str, problem: str, *, cmdline: str = "") -> Verdict:
    words = f"; Linux starts with {cmdline}, which nothing signs" if cmdline else ""
    return _verdict("entry", name, Level.WRONG if problem else Level.GOOD,
                    problem or f"in imagekit's form, for this disk{words}")


def _architecture(about: str, found: str | None, model: Model | None) -> Iterator[Verdict]:
    if model is not None and found != model.architecture:
        yield _verdict("architecture", about, Level.WRONG,
                       f"it is for {found or 'an unknown machine'}, the model for {model.architecture}")


def judge_record(copies: tuple[RecordCopy, ...], record: SlotState | None) -> Iterator[Verdict]:
    """The slot-state record: its two copies, and the one that counts."""
    if not copies:
        yield _verdict("record", "slot-state", Level.WRONG, "there is no slot-state partition that can be read")
        return
    for copy in copies:
        if copy.record is None and not copy.empty:
            yield _verdict("record", f"slot-state copy at {copy.offset}", Level.WRONG, copy.problem)
    if record is None:
        empty = all(copy.empty for copy in copies)
        yield _verdict("record", "slot-state", Level.WRONG,
                       "both copies are empty: it was never written" if empty else "no copy is valid")
        return
    yield _verdict("record", "slot-state", Level.GOOD, record_text(record))


def record_text(record: SlotState) -> str:
    """A record in words."""
    good = "healthy once" if record.confirmed else "never healthy yet"
    other = "healthy once" if record.other_good else "never healthy"
    return (f"slot {record.slot.value} {good}, begun {record.unhealthy} times since; slot {record.slot.other.value}"
            f" {other} (write {record.generation})")


def judge_next(boot: NextBoot, parts: tuple[PartFound, ...], record: SlotState | None,
               esp: EspFound) -> Iterator[Verdict]:
    """Whether the next boot leads anywhere, and the way back that the record promises."""
    reasons = "; ".join(boot.reasons)
    if boot.slot is None:
        yield _verdict("next", "next boot", Level.WRONG, f"no slot boots: {reasons}")
    else:
        missing = [item.partition for item in parts if item.slot is boot.slot and not item.size]
        yield _verdict("next", "next boot", Level.WRONG if missing else Level.GOOD, f"slot {boot.slot.value}"
                       + (f", but {' and '.join(missing)} hold no package" if missing else "") + f": {reasons}")
    if record is not None and record.other_good:
        lost = [item.partition for item in parts if item.slot is record.slot.other and not item.size]
        if lost:
            yield _verdict("record", "slot-state", Level.WRONG, f"it says that slot {record.slot.other.value} has been"
                           f" healthy, but {' and '.join(lost)} hold no package")
        elif not esp.problem and not _starts(esp, record.slot.other):
            yield _verdict("record", "slot-state", Level.WRONG, f"it says that slot {record.slot.other.value} has been"
                           " healthy, but the loader cannot start it")


def _starts(esp: EspFound, slot: Slot) -> bool:
    """Whether the loader would have a slot's boot files to start."""
    if esp.uboot or esp.piboot:
        return slot in esp.sound
    return any(slot_of(item.file_name) is slot for item in candidates(esp.raw_entries, esp.programs))


def judge_part(item: PartFound, entry_root: str | None, known: tuple[Named, ...],
               model: Model | None) -> Iterator[Verdict]:
    """One package of one slot. `entry_root` is what the slot's entry makes the kernel hold it to; None: no entry."""
    about = f"{item.partition} (slot {item.slot.value})"
    if item.content is None:
        yield _verdict("slot", about, Level.WRONG, "there is no such partition")
        return
    if not item.size or item.root is None:
        yield _nothing(item, about, wanted=entry_root is not None)
        return
    root = entry_root or item.root
    named = name_of(root, known, meant_by(model, item.part))
    title = f"{named.name} revision {named.revision}" if named else "an unknown package"
    if root != item.root:
        yield _verdict("verity", about, Level.REFUSED, f"the loader entry has the root {short(root)}, the hash tree"
                       f" {short(item.root)}: it would not start")
    elif item.tree is Tree.BROKEN:
        yield _verdict("verity", about, Level.REFUSED, f"{title}: {item.broken}")
    elif item.tree is Tree.WHOLE:
        yield _verdict("verity", about, Level.GOOD, f"{title}: every block has the root {short(root)}")
    else:
        yield _verdict("verity", about, Level.NOTE, f"{title}: its blocks were not read (--quick)")
    yield from _signed(about, root, named, model, item.part)
    if item.programs is not None and model is not None:
        yield from _programs(about, item.programs, model.architecture)


def _nothing(item: PartFound, about: str, *, wanted: bool) -> Verdict:
    """A partition without a package that can be read."""
    if item.content is Content.EMPTY:
        return _verdict("slot", about, Level.WRONG if wanted else Level.GOOD,
                        "empty, though the loader has an entry for it" if wanted else "empty")
    text = item.problem or "it holds no package"
    return _verdict("slot", about, Level.WRONG if wanted or item.problem else Level.NOTE, text)


def _signed(about: str, root: str, named: Named | None, model: Model | None, part: str) -> Iterator[Verdict]:
    if named is None:
        yield _verdict("signature", about, Level.REFUSED, f"nothing signed in the seed states the root {short(root)}")
        return
    snap = meant_by(model, part)
    if snap is None and model is not None:
        yield _verdict("signature", about, Level.REFUSED, f"the model names no {part}")
        return
    if snap is not None and snap.name != named.name:
        yield _verdict("signature", about, Level.REFUSED, f"{named.name} is not the {part} of the model, which is"
                       f" {snap.name}")
    elif snap is not None and None not in (snap.snap_id, named.snap_id) and snap.snap_id != named.snap_id:
        yield _verdict("signature", about, Level.REFUSED, f"it is {named.name} with the id {named.snap_id}, the model"
                       f" means {snap.snap_id}")
        return
    if not named.asserted:
        yield _verdict("signature", about, Level.NOTE, f"nobody signed {named.name}; the grade dangerous allows it")
    elif not named.believed:
        yield _verdict("signature", about, Level.REFUSED, f"the revision that states the root {short(root)} is not"
                       " believed")
    else:
        yield _verdict("signature", about, Level.GOOD, f"the root is that of the signed revision {named.revision}")


def _programs(about: str, programs: Programs, architecture: str) -> Iterator[Verdict]:
    native = programs.counts.get(architecture, 0)
    if native:
        yield _verdict("architecture", about, Level.GOOD, f"{native} programs for {architecture}")
    elif programs.foreign is not None:
        path, other = programs.foreign
        yield _verdict("architecture", about, Level.WRONG, f"no program in it is for {architecture}: {path} is for"
                       f" {other}")


def judge_kernel(item: KernelFound, model: Model | None) -> Iterator[Verdict]:
    """The kernel image of a slot, on the ESP or on a partition of its own."""
    about = f"/{item.path}"
    if item.problem:
        yield _verdict("kernel", about, Level.WRONG, item.problem)
    yield from _architecture(about, item.architecture, model) if not item.problem else ()
    if item.equal is False:
        yield _verdict("kernel", about, Level.REFUSED, "it is not the one in the slot's kernel package")
    elif not item.problem:
        same = "as in the slot's kernel package" if item.equal else "no kernel package to compare it with"
        yield _verdict("kernel", about, Level.GOOD if item.equal else Level.NOTE,
                       f"Linux {item.version or 'of no stated version'}, {same}")


def judge_seed(seed: SeedFound) -> Iterator[Verdict]:
    """The model, the signatures and the packages of the seed."""
    if seed.problem:
        yield _verdict("seed", "seed", Level.WRONG, seed.problem)
    model = seed.model
    if model is not None:
        title = (f"{model.brand_id}/{model.model} revision {model.revision}, {model.architecture}, grade"
                 f" {model.grade.value}")
        yield _verdict("model", "model", Level.REFUSED if seed.model_cause else Level.GOOD,
                       f"{title}: {seed.model_state}" + (f": {seed.model_cause}" if seed.model_cause else ""))
    for found in seed.signatures:
        first = found.subjects[0] + (f" and {len(found.subjects) - 1} more" if len(found.subjects) > 1 else "")
        if found.cause is None:
            yield _verdict("signature", "assertions", Level.GOOD, f"{len(found.subjects)} {found.state}")
        else:
            yield _verdict("signature", first, Level.REFUSED, f"{found.state}: {found.cause}")
    yield from _packages(seed)
    yield from _sets(seed.sets)


def _sets(sets: SetsFound) -> Iterator[Verdict]:
    if sets.problem:
        yield _verdict("set", "validation sets", Level.REFUSED, sets.problem)
    for package, why in sets.broken:
        yield _verdict("set", f"seed: {package}", Level.REFUSED, why)
    if sets.names and not sets.broken:
        yield _verdict("set", "validation sets", Level.GOOD, f"the packages are as {', '.join(sets.names)} demands")


def _packages(seed: SeedFound) -> Iterator[Verdict]:
    model = seed.model
    listed = {snap.name for snap in model.snaps} if model else set()
    for item in seed.files:
        about = f"seed: {item.name} revision {item.revision}"
        if item.problem:
            yield _verdict("package", about, Level.WRONG, item.problem)
        elif item.stated is None:
            yield _verdict("package", about, Level.REFUSED, "nothing in the seed states its digest")
        elif item.digest is None:
            yield _verdict("package", about, Level.NOTE, "its digest was not made (--quick)")
        elif item.digest != item.stated:
            yield _verdict("package", about, Level.REFUSED, f"its SHA3-384 is {short(item.digest)}, stated is"
                           f" {short(item.stated)}")
        else:
            yield _verdict("package", about, Level.GOOD if item.believed else Level.NOTE, "it has the digest that is "
                           + ("signed" if item.believed else "stated, which is not believed"))
        if model is not None and item.name not in listed:
            extra = allowed(model.grade).extra_snaps
            yield _verdict("package", about, Level.NOTE if extra else Level.WRONG, "the model does not name it, and its"
                           f" grade allows {'such packages' if extra else 'no others'}")
    there = {item.name for item in seed.files}
    for snap in model.snaps if model else ():
        if snap.presence is Presence.REQUIRED and snap.name not in there:
            yield _verdict("package", f"seed: {snap.name}", Level.WRONG, "the model requires it, and it is not there")


def judge_data(data: DataFound) -> Iterator[Verdict]:
    """The data partition: a fresh one, a used one, or none that a device can mount."""
    about = "data partition"
    condition = data.condition
    if condition is None:
        text = data.problem or ("it is empty" if data.content is Content.EMPTY else "it holds no ext4")
        yield _verdict("data", about, Level.WRONG, f"{text}: the device would run without, degraded")
        return
    if condition.size > data.room:
        yield _verdict("data", about, Level.WRONG, f"its file system has {condition.size} bytes, the partition"
                       f" {data.room}")
    elif condition.errors:
        yield _verdict("data", about, Level.WRONG, "its file system has noted errors: check it with e2fsck")
    elif condition.replay or not condition.clean:
        yield _verdict("data", about, Level.NOTE, "it was not unmounted; its journal is replayed when it is next")
    else:
        used = f"mounted {condition.mounts} times" if condition.mounts else "never mounted"
        yield _verdict("data", about, Level.GOOD, f"ext4 {condition.label!r}, clean, {used}")


def judge_beside(item: BesideFound) -> Iterator[Verdict]:
    """A file beside the image that speaks of it."""
    for difference in item.differences:
        yield _verdict("beside", item.file, Level.WRONG, difference)
    if not item.differences:
        yield _verdict("beside", item.file, Level.GOOD if item.checked else Level.NOTE, f"{item.what} of this image"
                       + ("" if item.checked else "; the image's bytes were not held against it"))


def _verdict(check: str, about: str, level: Level, text: str) -> Verdict:
    return Verdict(check=check, about=about, level=level, text=text)
