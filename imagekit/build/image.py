"""Make an image and what lies beside it, in a folder where nothing half-made is ever seen.

Decides the order of things: one build at a time in a folder; all is written into a hidden folder inside it; the parts
are put in place together, the manifest last, so that a manifest means a complete image; whatever goes wrong, Ctrl-C
too, the hidden folder goes, and the folder itself if the build made it.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from imagekit.build.describe import ask_package, describe, picture, sbom_input
from imagekit.build.imagefile import ImageFile, full_disk
from imagekit.build.sbom import encode_sbom
from imagekit.build.write import write_image
from imagekit.disk.bmap import encode_bmap
from imagekit.errors import DocumentError, UsageError
from imagekit.host.cache import Cache
from imagekit.host.files import LOCK_NAME, FolderLock, no_space, require_space, uninterrupted
from imagekit.host.ports import Progress, Tools
from imagekit.plan.image import ImagePlan
from imagekit.plan.manifest import MANIFEST, Manifest, ManifestFile, encode_manifest, parse_manifest, ranges_digest
from imagekit.plan.writes import MakeExt4, Zeros
from imagekit.units import MIB

WORK = ".imagekit-work"
LAYOUT = "layout.svg"
SPARE = 32 * MIB  # what an empty ext4 takes, and everything small


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """The files of a build, by what they are."""

    image: str
    bmap: str
    sbom: str
    layout: str = LAYOUT
    manifest: str = MANIFEST

    @property
    def in_order(self) -> tuple[str, ...]:
        """As they are put in place."""
        return (self.image, self.bmap, self.sbom, self.layout, self.manifest)


def names_for(model: str) -> Names:
    """The file names for a model."""
    return Names(image=f"{model}.img", bmap=f"{model}.img.bmap", sbom=f"{model}.cdx.json")


def build_into(folder: Path, plan: ImagePlan, *, tools: Callable[[], Tools], cache: Cache, progress: Progress,
               note: Callable[[Manifest], tuple[str, bytes] | None]) -> Manifest:
    """Build the planned image into `folder`; `tools` is asked when it is needed.

    `note` names a further file that is put in place with the others.

    Raises:
        UsageError: the folder is a file, or holds another model's image.
        HostError: another build works there, the disk is full, a tool is missing.
        TrustError, DocumentError: a package is not what was signed.
    """
    with held(folder), working_folder(folder) as work:
        before = check_folder(folder, plan)
        needed = sum(write.length for write in plan.writes if not isinstance(write, Zeros | MakeExt4)) + SPARE
        require_space(folder, needed, what="build an image")
        try:
            manifest = make_all(work, plan, tools=tools, cache=cache, progress=progress)
            if before is not None and before.image.digest == manifest.image.digest:
                manifest = replace(manifest, booted=before.booted)  # the same bytes: that they booted stays true
            (work / MANIFEST).write_bytes(encode_manifest(manifest))
            put_in_place(work, folder, names_for(plan.model.model), note, manifest)
        except OSError as error:
            raise full_disk(error, folder, needed) from error
        return manifest


def check_folder(folder: Path, plan: ImagePlan) -> Manifest | None:
    """The manifest of the image that is in the folder now.

    Raises:
        UsageError: it is another model's, or no manifest of ours.
    """
    path = folder / MANIFEST
    if not path.exists():
        return None
    try:
        found = parse_manifest(path.read_bytes(), name=str(path))
    except DocumentError as error:
        raise UsageError(f"cannot build into {folder}: its {MANIFEST} is not one that this imagekit made",
                         hint="name another folder with -o", details=(error.message,)) from error
    if (found.model.brand, found.model.model) != (plan.model.brand_id, plan.model.model):
        raise UsageError(f"cannot build into {folder}: it holds the image of {found.model.brand}/{found.model.model}",
                         hint="name another folder with -o")
    return found


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for this build; one that the build made itself goes again if nothing came to be in it."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"cannot build into {folder}: it is a file", hint="name a folder with -o")
    ours = not folder.exists()
    with FolderLock(folder):
        try:
            yield
        except BaseException:
            if ours and not {path.name for path in folder.iterdir()} - {LOCK_NAME}:
                shutil.rmtree(folder, ignore_errors=True)
            raise


@contextlib.contextmanager
def working_folder(folder: Path) -> Iterator[Path]:
    """A hidden folder inside, empty at first and gone in the end; what a killed build left there goes, too."""
    work = folder / WORK
    shutil.rmtree(work, ignore_errors=True)
    try:
        work.mkdir(mode=0o700)
    except OSError as error:
        raise no_space(work, error) from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def make_all(work: Path, plan: ImagePlan, *, tools: Callable[[], Tools], cache: Cache, progress: Progress) -> Manifest:
    """Make the image and what goes with it in the empty folder `work`; the manifest is returned, not written."""
    names = names_for(plan.model.model)
    image = ImageFile(work / names.image, plan.disk_size)
    with contextlib.closing(image):
        ranges = write_image(plan, image, tools=tools, cache=cache, progress=progress)
        progress.step("describe the image")
        told = {item.name: ask_package(plan, item, image) for item in plan.resolution.packages}
        image.flush()
    contents = {
        "bmap": (names.bmap, encode_bmap(plan.disk_size, ranges)),
        "sbom": (names.sbom, encode_sbom(*sbom_input(plan, told, ranges_digest(ranges)))),
        "layout": (names.layout, picture(plan, ranges)),
    }
    files = {}
    for what, (name, raw) in contents.items():
        (work / name).write_bytes(raw)
        files[what] = ManifestFile(file=name, sha256=hashlib.sha256(raw).hexdigest())
    return describe(plan, ranges, told, files, file=names.image)


def put_in_place(work: Path, folder: Path, names: Names, note: Callable[[Manifest], tuple[str, bytes] | None],
                 manifest: Manifest) -> None:
    """Move everything into the folder, uninterrupted: the old manifest goes first, the new one comes last."""
    with uninterrupted():
        (folder / names.manifest).unlink(missing_ok=True)
        for name in names.in_order:
            (work / name).chmod(0o644)
            (work / name).replace(folder / name)
        extra = note(manifest)
        if extra is not None:
            (work / extra[0]).write_bytes(extra[1])
            (work / extra[0]).replace(folder / extra[0])
