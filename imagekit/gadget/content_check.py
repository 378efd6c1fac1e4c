"""Hold the content of a gadget to the files that are there: they exist, fit, do not overlap, and the kernel lists them.

A listing of regular files with their sizes stands for a package, so that a folder, an archive and a package on a disk
are judged alike; what a file holds does not matter here. All problems go to the `Problems` of the gadget.yaml, each at
the line of the content that it is about. Source: facts of snapd gadget/layout.go and gadget/validate.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from imagekit.disk.fat_boot import fat_type
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.errors import DocumentError, PlanError
from imagekit.gadget.content_files import LandingFile, inside, landing_files, overlaps, raw_images
from imagekit.gadget.values import FileContent, Filesystem, Gadget, RawContent, Structure, Volume
from imagekit.packages.kernelyaml import KernelContents, is_reference, parse_reference
from imagekit.rules import Rule
from imagekit.schema import Path, Problems
from imagekit.units import BLOCK, align_up, iec

_SOME_TIME = datetime(2000, 1, 1, tzinfo=UTC)  # the room that files take does not depend on it


class ContentRules:
    """What the content of a gadget is held to, once its files and its kernel are known."""

    MISSING = Rule("content-missing", "a source or image is a file or folder of the gadget")
    FOLDER = Rule("content-not-a-folder", "a source with a slash at its end is a folder")
    LARGER = Rule("content-larger-than-declared", "an image has at most its declared size")
    RAW_FIT = Rule("content-image-does-not-fit", "an image ends inside its structure")
    OVERLAP = Rule("content-images-overlap", "two images of a structure share no byte")
    MIN_SIZE = Rule("content-above-min-size", "content fits into the least size of its structure (warning)")
    TWICE = Rule("content-target-twice", "two contents do not become one file (warning: the later one wins)")
    FULL = Rule("content-filesystem-full", "the files of a structure fit into its file system")
    REFERENCE = Rule("content-kernel-reference", "a reference is $kernel:<asset>/<path>, without ..")
    ASSET = Rule("content-kernel-asset", "the asset of a reference stands in kernel.yaml")
    UNLISTED = Rule("content-kernel-unlisted", "the asset lists the path of a reference, or a folder above it")
    ABSENT = Rule("content-kernel-missing", "the path of a reference is a file or folder of the kernel")
    UNUSED = Rule("content-kernel-unused", "a kernel with assets to update has one that the gadget uses")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sized:
    """A file of some size, for planning a file system without it."""

    size: int


def check_contents(problems: Problems, gadget: Gadget, files: Mapping[str, int], *,
                   kernel: KernelContents | None = None) -> None:
    """Check every content of a gadget against the gadget's `files`, and references if a `kernel` is given.

    Without one, the form of a reference is all that is checked.
    """
    for volume in gadget.volumes:
        for structure in volume.structures:
            where = ("volumes", volume.name, "structure", structure.index)
            if any(isinstance(content, RawContent) for content in structure.content):
                _check_raw(problems, where, structure, files)
            elif structure.content:
                _check_files(problems, where, structure, files, kernel)
    if kernel is not None:
        _check_updates(problems, gadget.volumes, kernel)


def check_references(problems: Problems, gadget: Gadget, *, kernel: KernelContents | None = None) -> None:
    """Check each reference to the kernel where the gadget's files are not known: its form, and what a `kernel` says."""
    for volume in gadget.volumes:
        for structure in volume.structures:
            for index, content in enumerate(structure.content):
                if isinstance(content, FileContent) and is_reference(content.source):
                    place = ("volumes", volume.name, "structure", structure.index, "content", index, "source")
                    _kernel_files(problems, place, content, kernel)
    if kernel is not None:
        _check_updates(problems, gadget.volumes, kernel)


def _check_raw(problems: Problems, where: Path, structure: Structure, files: Mapping[str, int]) -> None:
    content = tuple(item for item in structure.content if isinstance(item, RawContent))
    for index, item in enumerate(content):
        place, size = (*where, "content", index), files.get(inside(item.image))
        if size is None:
            problems.add((*place, "image"), f"the gadget has no file {item.image!r}", ContentRules.MISSING)
        elif item.size is not None and size > item.size:
            problems.add((*place, "size"), f"{item.image!r} has {size} bytes, its declared size is {item.size}",
                         ContentRules.LARGER)
    images = raw_images(content, files)
    for image in images:
        place = (*where, "content", image.index)
        if structure.size is not None and image.end > structure.size:
            problems.add(place, f"{image.image!r} ends at {image.end} of the structure, which has {structure.size}"
                         " bytes", ContentRules.RAW_FIT)
        elif structure.min_size is not None and image.end > structure.min_size:
            problems.warn(place, f"{image.image!r} ends at {image.end} of the structure, which may have"
                          f" {structure.min_size} bytes", ContentRules.MIN_SIZE)
    for image, other in overlaps(images):
        problems.add((*where, "content", image.index),
                     f"{image.image!r} begins at {image.start}, before {other.image!r} ends at {other.end}",
                     ContentRules.OVERLAP)


def _check_files(problems: Problems, where: Path, structure: Structure, files: Mapping[str, int],
                 kernel: KernelContents | None) -> None:
    landed: dict[str, tuple[str, int]] = {}
    for index, content in enumerate(structure.content):
        assert isinstance(content, FileContent)
        place = (*where, "content", index, "source")
        if is_reference(content.source):
            found = _kernel_files(problems, place, content, kernel)
        else:
            found = _gadget_files(problems, place, content, files)
        for item in found:
            if item.target in landed:
                problems.warn(place, f"{item.source!r} replaces {landed[item.target][0]!r}, which would become"
                              f" {item.target!r} too", ContentRules.TWICE)
            landed[item.target] = (item.source, item.size)
    _check_room(problems, where, structure, {path: size for path, (_, size) in landed.items()})


def _gadget_files(problems: Problems, place: Path, content: FileContent,
                  files: Mapping[str, int]) -> tuple[LandingFile, ...]:
    if content.is_directory and inside(content.source) in files:
        problems.add(place, f"{content.source!r} is a file: a slash at the end means a folder", ContentRules.FOLDER)
        return ()
    found = landing_files(content.source, content.target, files)
    if not found:
        what = "files in" if content.is_directory else "file"
        problems.add(place, f"the gadget has no {what} {content.source!r}", ContentRules.MISSING)
    return found


def _kernel_files(problems: Problems, place: Path, content: FileContent,
                  kernel: KernelContents | None) -> tuple[LandingFile, ...]:
    try:
        return resolve_reference(content, kernel)
    except KernelMismatch as error:
        problems.add(place, error.message, error.rule)
    return ()


class KernelMismatch(DocumentError):
    """A reference that the kernel does not answer, or that is none; `rule` says which rule it breaks."""

    def __init__(self, message: str, rule: Rule) -> None:
        super().__init__(message)
        self.rule = rule


def resolve_reference(content: FileContent, kernel: KernelContents | None) -> tuple[LandingFile, ...]:
    """The kernel's files that a content brings; none if no kernel or not its files are known.

    Raises:
        KernelMismatch: the reference is malformed, or names what the kernel does not offer.
    """
    try:
        reference = parse_reference(content.source)
    except DocumentError as error:
        raise KernelMismatch(error.message, ContentRules.REFERENCE) from error
    if kernel is None:
        return ()
    asset = kernel.info.assets.get(reference.asset)
    if asset is None:
        known = ", ".join(sorted(kernel.info.assets)) or "none"
        raise KernelMismatch(f"the kernel has no asset {reference.asset!r}: its kernel.yaml has {known}",
                             ContentRules.ASSET)
    if not asset.lists(reference.path):
        raise KernelMismatch(f"the kernel's asset {asset.name!r} does not list {reference.path!r}: it has"
                             f" {', '.join(asset.content) or 'nothing'}", ContentRules.UNLISTED)
    if kernel.files is None:
        return ()
    found = landing_files(reference.path, content.target, kernel.files)
    if not found:
        raise KernelMismatch(f"the kernel has no {reference.path!r}, though its kernel.yaml lists it",
                             ContentRules.ABSENT)
    return found


def _check_room(problems: Problems, where: Path, structure: Structure, landed: Mapping[str, int]) -> None:
    if structure.size is None or not landed:
        return
    reason = _too_full(structure, structure.size, landed)
    if reason:
        problems.add((*where, "size"), reason, ContentRules.FULL)
    elif structure.min_size is not None and structure.min_size < structure.size:
        reason = _too_full(structure, structure.min_size, landed)
        if reason:
            problems.warn((*where, "min-size"), reason, ContentRules.MIN_SIZE)


def _too_full(structure: Structure, size: int, landed: Mapping[str, int]) -> str | None:
    """Why the files do not fit into so many bytes; FAT is planned, of ext4 only the files' own blocks are counted."""
    needed = sum(align_up(length, BLOCK) for length in landed.values())
    if structure.filesystem is not None and structure.filesystem.is_vfat:
        try:
            plan_fat(size, "", 0, [FatFile(path=path, source=Sized(size=length)) for path, length in landed.items()],
                     time=_SOME_TIME, bits=fat_type(size, wide=structure.filesystem is Filesystem.VFAT32))
        except PlanError as error:
            return f"its files need {iec(needed)}, the structure has {iec(size)}: {error.message}"
        return None
    return f"its files need {needed} bytes, the structure has {size}" if needed > size else None


def _check_updates(problems: Problems, volumes: tuple[Volume, ...], kernel: KernelContents) -> None:
    """A kernel that says it must refresh something needs a gadget that puts something of that on the disk."""
    used = {reference_asset(content) for volume in volumes for structure in volume.structures
            for content in structure.content}
    wanted = kernel.info.updated
    if wanted and not used & set(wanted):
        problems.add(("volumes",), f"the kernel refreshes {', '.join(wanted)}, but no content of the gadget refers to"
                     " any of that", ContentRules.UNUSED)


def reference_asset(content: FileContent | RawContent) -> str | None:
    """The kernel's asset that a content refers to; None for the gadget's own files and for a malformed reference."""
    if not isinstance(content, FileContent) or not is_reference(content.source):
        return None
    try:
        return parse_reference(content.source).asset
    except DocumentError:
        return None
