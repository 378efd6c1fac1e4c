"""Gather what an image is planned from: the model, the packages' assertions and files, and a look into the packages.

Decides where things are looked for (docs: `imagekit plan --help`): packages in the folders given, else beside the model
and in `packages` beside it. Whether any of it may be believed is for `imagekit.plan.resolve`. Only the gadget is read
whole here, and its digest proved, since its files steer the plan; the kernel and base are looked into, and proved when
they are written.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from imagekit.assertions import Assertion, Database, Model, ModelSnap, SnapType, decode_stream, parse_model
from imagekit.build.extras import Extra, parse_extras, type_of
from imagekit.build.package_tree import read_kernel
from imagekit.build.unsquash import open_package
from imagekit.digests import b64url, sha3_384, short
from imagekit.disk.verity import build_tree, salt_for, uuid_for
from imagekit.errors import DocumentError, HostError, PlanError, TrustError
from imagekit.gadget import GADGET_MOST, GADGET_YAML, FileContent, Gadget, parse_gadget_yaml
from imagekit.host.files import read_file, reason
from imagekit.host.tools import LocalTools
from imagekit.packages.erofs import Erofs
from imagekit.packages.kernel_image import HEAD, kernel_architecture
from imagekit.packages.kernelyaml import NOTHING_OFFERED, is_reference
from imagekit.packages.package import PackageFormat, format_of, read_info
from imagekit.packages.snapvalues import VERITY_TYPES, Confinement
from imagekit.packages.snapyaml import SnapInfo, parse_file_name
from imagekit.plan import piboot, uboot
from imagekit.plan.contents import KERNEL_IMAGE, SLOT_BACKENDS, Insides
from imagekit.plan.extras import extra_snap
from imagekit.plan.identity import check_identity
from imagekit.plan.image import ImagePlan, plan_image
from imagekit.plan.resolve import (
    SEED_SUFFIX,
    Measured,
    PackageFile,
    Resolution,
    ResolvedPackage,
    resolve,
    unsigned_files,
)
from imagekit.plan.uboot import SlotFile
from imagekit.units import MIB

KERNEL_LIMIT = 256 * MIB  # a kernel's file is measured in memory
MODEL_LIMIT = 1 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Where a build takes everything from; `extras` are the words of `--snap`."""

    model: Path
    packages: tuple[Path, ...]
    trusted: tuple[Assertion, ...]
    now: datetime
    epoch: int | None  # SOURCE_DATE_EPOCH
    extras: tuple[str, ...] = ()


def make_plan(inputs: Inputs) -> ImagePlan:
    """Read, resolve and plan.

    Raises:
        DocumentError, TrustError, PlanError: whatever is wrong with the model, a package or the gadget.
        HostError: a file cannot be read.
    """
    raw = read_file(inputs.model, limit=MODEL_LIMIT)
    refuse_unsigned(raw, inputs.model)
    stream = decode_stream(raw, name=str(inputs.model))
    model = parse_model(the_model(stream, inputs.model))
    database = Database(inputs.trusted)
    for assertion in stream:
        database.add(assertion)
    wanted = parse_extras(inputs.extras)
    names = {snap.name for snap in model.snaps} | {extra.name for extra in wanted}
    available = find_packages(inputs.packages, names, files=wanted)
    for path in assertion_files(inputs.packages, names, also=further_kinds(model), files=wanted):
        for assertion in decode_stream(read_file(path, limit=MODEL_LIMIT), name=str(path)):
            database.add(assertion)
    extras = tuple(extra_snap(item.name, type_of(item, available), model, database) for item in wanted)
    for key in unsigned_files(model, database, available, extras=extras):
        available[key] = measured(available[key], next(snap for snap in (*model.snaps, *extras) if snap.name == key[0]))
    resolution = resolve(model, database, available, now=inputs.now, extras=extras)
    insides = look_inside(resolution)
    timestamp = model.timestamp if inputs.epoch is None else datetime.fromtimestamp(inputs.epoch, tz=UTC)
    return plan_image(resolution, insides, timestamp=timestamp.astimezone(UTC))


def refuse_unsigned(raw: bytes, path: Path) -> None:
    """Raises: TrustError: a model in YAML or JSON, which nobody signed, with the command that signs it."""
    if raw.startswith(b"type: ") and b"\n\n" in raw.rstrip(b"\n"):
        return
    try:
        written = bool(raw.decode().strip())
    except UnicodeDecodeError:
        written = False
    if written:  # nothing at all, or noise: that it is no assertion is said when it is read
        raise TrustError(f"cannot use model {path}: it is not signed",
                         hint=f"imagekit sign {path} -k KEY, then use {path.with_suffix('.model')}")


def the_model(stream: Iterable[Assertion], path: Path) -> Assertion:
    """The one model of a file. Raises: DocumentError: none, or several."""
    models = [assertion for assertion in stream if assertion.type == "model"]
    if len(models) != 1:
        raise DocumentError(f"cannot use {path}: it holds {len(models)} models, one is needed")
    return models[0]


def find_packages(folders: Sequence[Path], names: set[str], *,
                  files: Sequence[Extra] = ()) -> dict[tuple[str, int], PackageFile]:
    """The package files of these names, the first folder's where several have one; of `files` no other of the name."""
    given = {extra.name: extra.file for extra in files if extra.file is not None}
    found = {parse_file_name(path.name): package_file(path) for path in given.values()}
    for folder in folders:
        for path in listing(folder):
            if path.suffix != ".snap":
                continue
            try:
                name, revision = parse_file_name(path.name)
            except DocumentError:
                continue  # other people's files may lie there too
            if name in names and name not in given and (name, revision) not in found:
                found[name, revision] = package_file(path)
    return found


def package_file(path: Path) -> PackageFile:
    """What the plan must know of a file. Raises: HostError: it cannot be read."""
    try:
        with path.open("rb") as stream:
            squashfs = format_of(stream) is PackageFormat.SQUASHFS
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    size, seed = path.stat().st_size, path.with_name(path.name + SEED_SUFFIX)
    seed_size = size if squashfs else seed.stat().st_size if seed.is_file() else None
    return PackageFile(path=str(path), size=size, seed_size=seed_size, squashfs=squashfs)


def further_kinds(model: Model) -> frozenset[str]:
    """The types of assertions, beside the packages' own, that a build of the model looks for in files NAME.TYPE."""
    sets = {"validation-set", "account", "account-key"} if model.validation_sets else set()
    return frozenset(sets | ({"store"} if model.store else set()))


def assertion_files(folders: Sequence[Path], names: set[str], *, also: frozenset[str] = frozenset(),
                    files: Sequence[Extra] = ()) -> list[Path]:
    """The `NAME_REVISION.assert` files of these names, all of the types in `also`, and those beside `files`."""
    beside = [extra.file.with_suffix(".assert") for extra in files if extra.file is not None and extra.file.name]
    return [path for path in beside if path.is_file()] + [path for folder in folders for path in listing(folder)
            if path.suffix.removeprefix(".") in also
            or (path.suffix == ".assert" and path.name.rpartition("_")[0] in names)]


def measured(file: PackageFile, snap: ModelSnap) -> PackageFile:
    """A file that nobody signed, with what it holds. Raises: HostError: it cannot be read."""
    path = Path(file.path)
    try:
        with path.open("rb") as stream:
            digest = sha3_384(stream)
            root = None
            if snap.type.value in VERITY_TYPES:
                stream.seek(0)
                root = build_tree(stream, file.size, salt=salt_for(digest), uuid=uuid_for(digest)).root_hash
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    return replace(file, measured=Measured(sha3_384=digest, verity_root=root))


def listing(folder: Path) -> list[Path]:
    """The files of a folder, sorted. Raises: HostError: it cannot be read."""
    try:
        return sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_file())
    except OSError as error:
        raise HostError(f"cannot read folder {folder}: {reason(error)}", hint="name another with --packages") from error


def look_inside(resolution: Resolution) -> Insides:
    """What the plan must know of the packages' insides.

    Raises:
        DocumentError: a package is damaged, lacks a file, or says something wrong of itself.
        TrustError: the gadget is not the signed one.
        PlanError: a package is not what the model takes it for, or cannot run from a slot.
    """
    model = resolution.model
    names = {package.name for package in resolution.packages}
    for package in resolution.packages:
        refuse_squashfs(package)
        with open_package(Path(package.file.path), name=package.file_name, tools=LocalTools()) as inside:
            info = read_info(inside)
        check_identity(package, info, model)
        if package.name in (model.kernel.name, model.base_snap.name) and inside.size != package.file.size:
            raise PlanError(f"cannot use {package.file.path}: it has {package.file.size} bytes, its file system"
                            f" {inside.size}, behind which a device looks for its hash tree", hint="pack it again")
        check_company(package, info, names)
    gadget, files = read_gadget(resolution.of(model.gadget))
    kernel = resolution.of(model.kernel)
    size, slot_files = look_into_kernel(kernel, gadget, architecture=model.architecture or "")
    offered = read_kernel(Path(kernel.file.path)) if refers_to_kernel(gadget) else NOTHING_OFFERED
    return Insides(gadget=gadget, files=files, kernel_image_size=size, kernel=offered, slot_files=slot_files)


def look_into_kernel(kernel: ResolvedPackage, gadget: Gadget, *, architecture: str) -> tuple[int, dict[str, SlotFile]]:
    """The size of the kernel's unified image; or its files, measured, where the loader takes them apart.

    Raises:
        PlanError: the package is in the form that another loader takes, or the kernel is for another architecture.
    """
    extension = gadget.extension
    apart = extension is not None and extension.bootloader in SLOT_BACKENDS
    with Path(kernel.file.path).open("rb") as stream:
        tree = Erofs(stream, name=kernel.file_name)
        wanted = {KERNEL_IMAGE: KERNEL_IMAGE}
        if extension is not None and extension.bootloader == uboot.BACKEND:
            wanted = uboot.wanted_files(extension, architecture)
        elif apart:
            wanted = piboot.wanted_files((entry.path for entry in tree.walk()), architecture)
        if missing := [path for path in wanted.values() if tree.find(path) is None]:
            form = "apart" if apart else "unified"
            raise PlanError(f"cannot use {kernel.file.path}: it has no {missing[0]}, which the gadget's loader takes",
                            hint=f"pack the kernel by a recipe that says image: {form}"
                                 + (", and names the device tree" if missing[0].endswith(".dtb") else ""))
        image = next(iter(wanted.values()))
        found = kernel_architecture(tree.head(tree.stat(image), HEAD))
        if found is not None and architecture and found != architecture:
            raise PlanError(f"cannot use {kernel.file.path}: its {image} is for {found}, the model is for"
                            f" {architecture}", hint="pack the kernel again, by a recipe of the right architecture")
        if not apart:
            return tree.stat(KERNEL_IMAGE).size, {}
        files = {}
        for name, path in wanted.items():
            content = tree.read(path, limit=KERNEL_LIMIT)
            files[name] = SlotFile(path=path, size=len(content), crc32=zlib.crc32(content))
        return 0, files


def refers_to_kernel(gadget: Gadget) -> bool:
    """Whether a content of the gadget comes out of the kernel."""
    return any(isinstance(content, FileContent) and is_reference(content.source) for volume in gadget.volumes
               for structure in volume.structures for content in structure.content)


def refuse_squashfs(package: ResolvedPackage) -> None:
    """Raises: PlanError: a kernel or base that is a squashfs."""
    if package.file.squashfs and package.snap.type in (SnapType.KERNEL, SnapType.BASE, SnapType.CORE):
        raise PlanError(
            f"cannot use {package.file.path}: it is a squashfs, and a {package.snap.type.value} runs from a slot, where"
            " EROFS lies with its hash tree", hint="make an EROFS package of its files: `imagekit pack RECIPE`")


def check_company(package: ResolvedPackage, info: SnapInfo, names: set[str]) -> None:
    """Raises: PlanError: an app that no image could run, since its base is missing, or it wants a classic system."""
    if info.model_type != SnapType.APP:
        return
    if info.confinement is Confinement.CLASSIC:
        raise PlanError(f"cannot use {package.file.path}: its confinement is classic, and images are core systems",
                        hint="take a package of it with confinement strict")
    base = info.base or "core"
    if base not in {*names, "none"} and not (base == "core16" and "core" in names):
        raise PlanError(f"cannot use {package.file.path}: its base {base!r} is not in the image",
                        hint=f"name {base} in the model" + (f", or add it: --snap {base}" if package.extra else ""))


def read_gadget(package: ResolvedPackage) -> tuple[Gadget, dict[str, bytes]]:
    """The gadget and its files, out of bytes whose digest is the signed one."""
    path = Path(package.file.path)
    raw = read_file(path, limit=GADGET_MOST)
    found = b64url(hashlib.sha3_384(raw).digest())
    if found != package.sha3_384:
        raise TrustError(f"cannot use {path}: its SHA3-384 is {short(found)}, signed as revision"
                         f" {package.number} is {short(package.sha3_384)}",
                         hint="it changed after it was signed: pack it again")
    with tempfile.TemporaryDirectory(prefix="imagekit-") as folder:
        proved = Path(folder, package.file_name)  # what is read is what was hashed, by a program too
        proved.write_bytes(raw)
        with open_package(proved, name=package.file_name, tools=LocalTools()) as inside:
            gadget = parse_gadget_yaml(inside.read(GADGET_YAML, limit=MIB),
                                       name=f"{package.file_name} {GADGET_YAML}")
            files = {entry.path: inside.read(entry.path, limit=GADGET_MOST)
                     for entry in inside.entries() if entry.is_file}
    return gadget, files
