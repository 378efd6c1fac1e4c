"""Look into a file: a package of either kind, or a disk image.

Decides what is worth telling of it and what is wrong with it. A package's signatures are judged by
`imagekit.build.verify` where assertions are at hand. Binaries are looked at by their first bytes, in EROFS packages,
where that costs no program.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagekit.assertions import Assertion, parse_snap_revision
from imagekit.build.inspect_boot import NOT_RUN
from imagekit.build.inspect_image import inspect_image
from imagekit.build.sign import PACKAGE_SUFFIX
from imagekit.build.unsquash import SquashfsPackage, open_package
from imagekit.build.verify import Finding, examine
from imagekit.digests import sha3_384
from imagekit.errors import DocumentError, HostError, ImagekitError
from imagekit.host.files import reason
from imagekit.host.ports import Progress, Tools
from imagekit.packages.elf import HEAD_SIZE, decode_architecture
from imagekit.packages.package import SNAP_YAML, ErofsPackage, Package, PackageFormat, format_of, hook_files
from imagekit.packages.snapvalues import SnapInfo
from imagekit.packages.snapyaml import check_snap_yaml, parse_file_name
from imagekit.plan.inspection import Inspection
from imagekit.schema import Problem, load_yaml
from imagekit.units import MIB

BOOTABLE = ("kernel", "base")  # whose binaries are looked at
ASSERTIONS = ".assert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binaries:
    """ELF files by architecture; `foreign` are the paths of those for another than the package names."""

    native: int
    foreign: tuple[tuple[str, str], ...]  # path, architecture


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageReport:
    """What there is to tell of a package. `size` is the file's, `inner_size` its file system's."""

    path: Path
    format: PackageFormat
    compression: str | None
    info: SnapInfo
    revision: int | None  # of the file's name
    size: int
    inner_size: int
    digest: str
    finding: Finding | None  # None: no assertions were at hand
    verity_root: str | None  # as signed
    binaries: Binaries | None
    warnings: tuple[Problem, ...]
    errors: tuple[ImagekitError, ...]


def inspect_file(path: Path, *, trusted: tuple[Assertion, ...], must_be_signed: bool, now: datetime,
                 tools: Tools, progress: Progress, quick: bool = False) -> PackageReport | Inspection:
    """Look into one file. `must_be_signed`: it is held against the roots, even with no assertions beside it.

    Raises:
        DocumentError: it is neither a package nor an image of ours, or is damaged.
        HostError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            if format_of(stream) is None:
                return inspect_image(path, stream, trusted=trusted, now=now, progress=progress, quick=quick)
            stream.seek(0)
            digest = sha3_384(stream)
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    with open_package(path, name=path.name, tools=tools) as package:
        info, warnings = _read_info(package)
        finding = _finding(path, trusted, must_be_signed=must_be_signed, now=now)
        binaries = look_at_binaries(package, info)
        revision, errors = _wrong(path, info, binaries)
        if finding is not None and finding.error is not None:
            errors.append(finding.error)
        return PackageReport(
            path=path, format=package.format, info=info, revision=revision, size=path.stat().st_size,
            compression=package.superblock.compression.name.lower() if isinstance(package, SquashfsPackage) else None,
            inner_size=package.size, digest=digest, finding=finding, verity_root=_root(finding), binaries=binaries,
            warnings=warnings, errors=tuple(errors))


def _read_info(package: Package) -> tuple[SnapInfo, tuple[Problem, ...]]:
    source = load_yaml(package.read(SNAP_YAML, limit=MIB), name=f"{package.name} {SNAP_YAML}", repeated_keys=True)
    return check_snap_yaml(source, hook_files=hook_files(package))


def _finding(path: Path, trusted: tuple[Assertion, ...], *, must_be_signed: bool, now: datetime) -> Finding | None:
    if path.suffix != PACKAGE_SUFFIX or not (must_be_signed or path.with_suffix(ASSERTIONS).is_file()):
        return None
    findings = examine([path], trusted, now=now).findings
    return next((item for item in findings if item.error is not None), findings[-1])


def _root(finding: Finding | None) -> str | None:
    """The root hash that a believed snap-revision states."""
    assertion = finding.assertion if finding is not None and finding.state.good else None
    return parse_snap_revision(assertion).verity_root if assertion is not None else None


def look_at_binaries(package: Package, info: SnapInfo) -> Binaries | None:
    """The programs and libraries of a kernel or base; None where they are not looked at."""
    wanted = set(info.architectures)
    if info.type not in BOOTABLE or "all" in wanted or not isinstance(package, ErofsPackage):
        return None
    native, foreign = 0, []
    for entry, head in package.heads(HEAD_SIZE):
        architecture = decode_architecture(head)
        if architecture in wanted:
            native += 1
        elif architecture is not None and not entry.path.startswith(NOT_RUN):
            foreign.append((entry.path, architecture))
    return Binaries(native=native, foreign=tuple(foreign))


def _wrong(path: Path, info: SnapInfo, binaries: Binaries | None) -> tuple[int | None, list[ImagekitError]]:
    """The revision in the file's name, and what does not go together."""
    errors: list[ImagekitError] = []
    revision = None
    try:
        name, revision = parse_file_name(path.name)
    except DocumentError:
        name = info.name  # snapcraft names files by version and architecture
    if name != info.name:
        errors.append(DocumentError(f"cannot use {path}: its file name says that it is {name!r}, its {SNAP_YAML} says"
                                    f" {info.name!r}", hint=f"name the file {info.name}_REVISION.snap"))
    if binaries is not None and binaries.foreign and not binaries.native:
        place, architecture = binaries.foreign[0]
        errors.append(DocumentError(f"cannot use {path}: it is for {', '.join(info.architectures)}, and every program"
                                    f" in it is for another architecture: {place} is for {architecture}"))
    return revision, errors
