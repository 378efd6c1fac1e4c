"""What lies beside an image and tells about it: the manifest's values, the picture, and the bill of materials' input.

Everything is taken from the plan, from what was mapped, and from the packages themselves; nothing from the host.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagekit.build.imagefile import ImageFile
from imagekit.build.sbom import DebianPackage, SbomPackage, SbomSubject, parse_packages
from imagekit.build.unsquash import open_package
from imagekit.build.write import slot_of
from imagekit.disk.bmap import MappedRange
from imagekit.gadget import Role
from imagekit.host.tools import LocalTools
from imagekit.packages.package import ErofsPackage, Package, read_info
from imagekit.plan.image import ImagePlan, Planned
from imagekit.plan.manifest import (
    Manifest,
    ManifestFile,
    ManifestImage,
    ManifestModel,
    ManifestPackage,
    ManifestStructure,
    ranges_digest,
)
from imagekit.plan.resolve import ResolvedPackage
from imagekit.plan.svg import Drawn, draw_layout
from imagekit.plan.tables import disk_id
from imagekit.plan.writes import Copy, PackageWrite
from imagekit.units import MIB, iec

PACKAGE_LIST = "meta/packages.json"
OS_RELEASE = "usr/lib/os-release"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a package says of itself."""

    version: str
    contents: tuple[DebianPackage, ...] | None
    distro: str | None


def ask_package(plan: ImagePlan, package: ResolvedPackage, image: ImageFile) -> Told:
    """Read a package's own words: out of the image where it lies in a slot, else out of its file."""
    slot = slot_of(plan, package)
    if slot is None:
        with open_package(Path(package.file.path), name=package.file_name, tools=LocalTools()) as inside:
            return _ask(inside)
    with image.stream() as stream:
        return _ask(ErofsPackage(stream, name=package.file_name, offset=slot.offset))


def _ask(inside: Package) -> Told:
    contents = None
    if inside.find(PACKAGE_LIST) is not None:
        contents = parse_packages(inside.read(PACKAGE_LIST), where=f"{inside.name} {PACKAGE_LIST}")
    release = inside.find(OS_RELEASE)
    distro = read_distro(inside.read(OS_RELEASE, limit=MIB)) if release and release.is_file else None
    return Told(version=read_info(inside).version, contents=contents, distro=distro)


def read_distro(os_release: bytes) -> str | None:
    """`debian-13` out of an os-release file."""
    values: dict[str, str] = {}
    for line in os_release.decode("utf-8", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals:
            values[key.strip()] = value.strip().strip("\"'")
    return f"{values['ID']}-{values['VERSION_ID']}" if values.get("ID") and values.get("VERSION_ID") else None


def sbom_input(plan: ImagePlan, told: Mapping[str, Told], digest: str) -> tuple[SbomSubject, list[SbomPackage]]:
    """The image and its packages as the bill of materials wants them."""
    model = plan.model
    subject = SbomSubject(brand=model.brand_id, model=model.model, revision=model.revision, digest=digest,
                          timestamp=plan.timestamp,
                          distro=next((item.distro for item in told.values() if item.distro), None))
    return subject, [SbomPackage(
        name=item.name, version=told[item.name].version, revision=item.number, type=item.snap.type.value,
        sha3_384=base64.urlsafe_b64decode(item.sha3_384).hex(), contents=told[item.name].contents,
    ) for item in plan.resolution.packages]


def inside(ranges: Sequence[MappedRange], item: Planned) -> list[MappedRange]:
    """The ranges that begin in a structure."""
    return [found for found in ranges if item.placement.start <= found.start < item.placement.end]


def mapped_in(ranges: Sequence[MappedRange], item: Planned) -> int:
    """How many bytes of a structure are mapped."""
    return sum(found.end - found.start for found in inside(ranges, item))


def describe(plan: ImagePlan, ranges: Sequence[MappedRange], told: Mapping[str, Told],
             files: Mapping[str, ManifestFile], *, file: str) -> Manifest:
    """The manifest of a finished image called `file`."""
    model = plan.model
    mapped = sum(item.end - item.start for item in ranges)
    return Manifest(
        model=ManifestModel(brand=model.brand_id, model=model.model, revision=model.revision, grade=model.grade.value,
                            architecture=model.architecture, timestamp=model.timestamp.isoformat(),
                            digest=plan.model_digest),
        image=ManifestImage(file=file, size=plan.disk_size, mapped=mapped, digest=ranges_digest(ranges),
                            disk_guid=disk_id(plan.table)),
        packages=tuple(_package(plan, item, told[item.name], mapped) for item in plan.resolution.packages),
        structures=tuple(_structure(item, ranges, mapped) for item in plan.structures),
        files=dict(files), timestamp=plan.timestamp.isoformat(),
    )


def _package(plan: ImagePlan, item: ResolvedPackage, told: Told, total: int) -> ManifestPackage:
    own = [(planned.placement.structure.title, write) for planned in plan.structures for write in planned.writes
           if (isinstance(write, PackageWrite) and write.package == item.file_name)
           or (isinstance(write, Copy) and write.source.package == item.file_name)]
    mapped = sum(write.length for _, write in own)
    return ManifestPackage(
        name=item.name, revision=item.number, version=told.version, type=item.snap.type.value,
        asserted=item.asserted, extra=item.extra, snap_id=item.snap.snap_id or "", sha3_384=item.sha3_384,
        size=item.file.size, verity_root=item.verity_root, structures=tuple(dict.fromkeys(title for title, _ in own)),
        seed_size=item.file.seed_size or 0, mapped=mapped, share=round(mapped / total, 4))


def _structure(item: Planned, ranges: Sequence[MappedRange], total: int) -> ManifestStructure:
    structure, entry = item.placement.structure, item.entry
    mapped = mapped_in(ranges, item)
    return ManifestStructure(
        name=structure.title, partition=entry.index if entry else None,
        type=entry.type if entry else None, guid=entry.id if entry else None,
        start=item.placement.start, size=item.placement.size, role=structure.role.value if structure.role else None,
        filesystem=structure.filesystem.value if structure.filesystem else None, label=structure.label,
        slot=item.held.slot if item.held else None, part=item.held.part.value if item.held else None,
        content=item.content, mapped=mapped, share=round(mapped / total, 4),
        digest=ranges_digest(inside(ranges, item)) if mapped else None)


def picture(plan: ImagePlan, ranges: Sequence[MappedRange]) -> bytes:
    """layout.svg."""
    model = plan.model
    mapped = sum(item.end - item.start for item in ranges)
    subtitle = (f"disk of {iec(plan.disk_size)} · {iec(mapped)} mapped · image digest"
                f" {ranges_digest(ranges)[:16]}… · {plan.timestamp:%Y-%m-%d}")
    return draw_layout(f"{model.brand_id} / {model.model}", subtitle, plan.disk_size, [
        Drawn(name=item.placement.structure.title, start=item.placement.start, size=item.placement.size,
              used=min(mapped_in(ranges, item), item.placement.size),
              role=item.placement.structure.role.value if item.placement.structure.role else None,
              slot=item.held.slot if item.held else None, part=item.held.part.value if item.held else None,
              content=item.content)
        for item in plan.structures if item.placement.structure.role is not Role.MBR])
