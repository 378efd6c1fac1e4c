"""Read what U-Boot starts an image from: its script, and the files of each slot's boot partition.

The counterpart of `imagekit.build.inspect_boot` for boards without EFI, in the same values: `slot.env` takes the place
of the loader entry. Nothing is raised for what lies there.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import BinaryIO

from imagekit.boot.entries import LoaderEntry
from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import COMPRESSED, DEVICE_TREE, ENV_NAME, INITRD, KERNELS, SCRIPT_NAME, decode_env, is_sound
from imagekit.boot.uimage import decode_script
from imagekit.build.inspect_boot import boot_partition
from imagekit.digests import sha256
from imagekit.disk.fat_read import read_fat
from imagekit.disk.probe import DiskImage
from imagekit.errors import DocumentError
from imagekit.packages.bootcode import find_bootcode
from imagekit.packages.erofs import Erofs
from imagekit.packages.kernel_image import HEAD, kernel_architecture
from imagekit.packages.uki import Loader
from imagekit.plan.inspection import EfiProgram, EntryFound, EspFound, KernelFound, PartFound, Tree
from imagekit.units import MIB

MOST = 256 * MIB
RAW_MOST = 8 * MIB  # before the first partition
_VERSION = re.compile(rb"U-Boot (20\d\d\.\d\d[!-~]{0,60})")
_LINUX = re.compile(rb"Linux version ([!-~]{1,80})")
_WORDS = ("imagekit.slot", "imagekit.base", "imagekit.kernel", "imagekit.state")


def boots_by_uboot(image: DiskImage) -> bool:
    """Whether slots have boot partitions of their own, which only U-Boot's have."""
    return any(image.find(f"boot-{slot.value}") is not None for slot in Slot)


def look_at_uboot(stream: BinaryIO, image: DiskImage) -> EspFound:
    """The script, U-Boot where its bytes are on the image, and every slot's own description."""
    found = boot_partition(image) or image.find("boot")
    programs: list[EfiProgram] = []
    files: dict[str, bytes] = {}
    problem = "" if found is not None else "there is no partition with a boot script"
    if found is not None:
        try:
            files = fat_files(stream, found.partition.start, found.name)
        except DocumentError as error:
            problem = error.message
    if not problem:
        programs = [_script(files), *_uboots(stream, image, files)]
    architecture = programs[0].architecture if programs else None
    slots = {slot: slot_files(stream, image, slot) for slot in Slot}
    return EspFound(problem=problem, loaders=tuple(programs), raw_entries={}, programs=frozenset(files), offered=(),
                    settings={}, uboot=True,
                    entries=tuple(_entry(slot, held) for slot, held in slots.items() if ENV_NAME in held),
                    sound=frozenset(slot for slot, held in slots.items() if is_sound(
                        held, slot, _needed(held, architecture))))


def fat_files(stream: BinaryIO, start: int, name: str) -> dict[str, bytes]:
    """Every file of a FAT file system. Raises: DocumentError: it is none, or damaged."""
    volume = read_fat(stream, start, name=name)
    return {entry.path: volume.read(entry.path, limit=MOST) for entry in volume.walk() if not entry.is_dir}


def slot_files(stream: BinaryIO, image: DiskImage, slot: Slot) -> dict[str, bytes]:
    """The files of a slot's boot partition; none of one that is empty or damaged."""
    found = image.find(f"boot-{slot.value}")
    try:
        return {} if found is None else fat_files(stream, found.partition.start, found.name)
    except DocumentError:
        return {}


def _script(files: Mapping[str, bytes]) -> EfiProgram:
    if SCRIPT_NAME not in files:
        return EfiProgram(path=SCRIPT_NAME, architecture=None, loader=None, problem="there is no boot script")
    try:
        script = decode_script(files[SCRIPT_NAME], name=SCRIPT_NAME)
    except DocumentError as error:
        return EfiProgram(path=SCRIPT_NAME, architecture=None, loader=None, problem=error.message)
    return EfiProgram(path=SCRIPT_NAME, architecture=script.architecture, problem="",
                      loader=Loader(name="boot script", version=script.name))


def _uboots(stream: BinaryIO, image: DiskImage, files: Mapping[str, bytes]) -> Iterable[EfiProgram]:
    """U-Boot by its own version string, in files of the boot partition and before the first partition; there also what
    a boot ROM checks."""
    first = min(item.partition.start for item in image.partitions)
    stream.seek(0)
    before = stream.read(min(first, RAW_MOST))
    for code in find_bootcode(before):
        yield EfiProgram(path=f"byte {code.offset}", architecture=code.architecture, problem=code.problem,
                         loader=Loader(name=code.name, version=""))
    places = [("before the first partition", before),
              *((path, raw) for path, raw in sorted(files.items()) if path != SCRIPT_NAME)]
    for path, raw in places:
        if (match := _VERSION.search(raw)) is not None:
            yield EfiProgram(path=path, architecture=None, problem="",
                             loader=Loader(name="U-Boot", version=match[1].decode()))


def _needed(files: Mapping[str, bytes], architecture: str | None) -> tuple[str, ...]:
    kernel = KERNELS[architecture][0] if architecture in KERNELS and COMPRESSED not in files else _kernel_name(files)
    return (kernel, INITRD, *([DEVICE_TREE] if b"\nik_dtb_size=" in files.get(ENV_NAME, b"") else []))


def _kernel_name(files: Mapping[str, bytes]) -> str:
    return next((name for name in (COMPRESSED, *(name for name, _ in KERNELS.values())) if name in files), "Image")


def _unpacked(name: str, raw: bytes) -> bytes:
    """The kernel as it runs; nothing where it cannot be unpacked, or to more than is right."""
    if name != COMPRESSED:
        return raw
    unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)  # gzip
    try:
        content = unpacker.decompress(raw, MOST)
    except zlib.error:
        return b""
    return content if unpacker.eof else b""


def _entry(slot: Slot, files: Mapping[str, bytes]) -> EntryFound:
    """What `slot.env` makes of the slot, as a loader entry would."""
    name = f"boot-{slot.value}/{ENV_NAME}"
    entry, problem = None, ""
    try:
        found = decode_env(files[ENV_NAME], name=name)
        words = dict(word.partition("=")[::2] for word in found.get("bootargs", "").split())
        if missing := [word for word in _WORDS if word not in words]:
            raise DocumentError(f"{name}: bootargs: {missing[0]} is missing")
        entry = LoaderEntry(slot=Slot(words["imagekit.slot"]) if words["imagekit.slot"] in ("a", "b") else slot.other,
                            version=0, base_root=words["imagekit.base"], kernel_root=words["imagekit.kernel"],
                            state_partuuid=words["imagekit.state"],
                            cmdline=" ".join(word for word in found["bootargs"].split()
                                             if word.partition("=")[0] not in _WORDS))
    except DocumentError as error:
        problem = error.message
    return EntryFound(file_name=name, slot=slot, tries=None, entry=entry, problem=problem)


def look_at_slot_kernels(stream: BinaryIO, image: DiskImage, esp: EspFound,
                         parts: Iterable[PartFound]) -> tuple[KernelFound, ...]:
    """The kernel's files in every slot that has a description."""
    wanted = {item.slot for item in esp.entries}
    return tuple(_kernel(stream, image, esp, item) for item in parts if item.part == "kernel" and item.slot in wanted)


def _kernel(stream: BinaryIO, image: DiskImage, esp: EspFound, part: PartFound) -> KernelFound:
    files = slot_files(stream, image, part.slot)
    name = _kernel_name(files)
    raw = _unpacked(name, files.get(name, b""))
    version = _LINUX.search(raw)
    problem = "" if part.slot in esp.sound else f"a file beside it is not as {ENV_NAME} measures it, or is missing"
    return KernelFound(slot=part.slot, path=f"boot-{part.slot.value}/{name}",
                       architecture=kernel_architecture(raw[:HEAD]),
                       version=version[1].decode() if version else None, problem=problem,
                       equal=same_as_package(stream, image, part,
                                             {key: files[key] for key in (name, INITRD) if key in files}))


def same_as_package(stream: BinaryIO, image: DiskImage, part: PartFound, files: Mapping[str, bytes], *,
                    places: Callable[[Erofs], Mapping[str, str]] | None = None) -> bool | None:
    """Whether the slot's kernel package has these very files, at its root unless `places` has another path for a name.

    None: it cannot be read.
    """
    found = image.find(part.partition)
    if found is None or not part.size or part.tree is Tree.BROKEN:
        return None
    try:
        package = Erofs(stream, name=found.name, offset=found.partition.start)
        paths = {**{name: name for name in files}, **(places(package) if places else {})}
        return all(package.find(paths[name]) is not None
                   and sha256(package.open(paths[name])) == hashlib.sha256(content).hexdigest()
                   for name, content in files.items())
    except DocumentError:
        return None
