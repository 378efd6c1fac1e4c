"""`imagekit plan` and `imagekit build`: a signed model becomes a plan, and the plan an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from imagekit.build.run import Request, up_to_date
from imagekit.build.run import build as make_image
from imagekit.build.run import plan as make_plan
from imagekit.cli.options import folder_option, json_option, trust_option
from imagekit.cli.output import emit_json, say, table, write
from imagekit.cli.progress import progress
from imagekit.digests import short
from imagekit.errors import UsageError
from imagekit.host.cache import Cache
from imagekit.host.clock import SystemClock
from imagekit.host.folders import default_cache_folder, default_trust_dir, source_date_epoch
from imagekit.units import iec

if TYPE_CHECKING:
    from imagekit.host.ports import Progress, Tools
    from imagekit.plan.image import ImagePlan
    from imagekit.plan.manifest import Manifest

PACKAGES = click.option(
    "--packages", metavar="DIR", multiple=True, envvar="IMAGEKIT_PACKAGES", show_envvar=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with packages and their assertions; without it the model's folder, and 'packages' in that.")
SNAPS = click.option(
    "--snap", "snaps", metavar="NAME|FILE", multiple=True,
    help="Add a package that the model does not name: the newest of that name, or this file. Grade dangerous only.")
MODEL = click.argument("model", metavar="MODEL", type=click.Path(path_type=Path, exists=True, dir_okay=False))


def request_for(model: Path, packages: tuple[Path, ...], trust: tuple[Path, ...],
                snaps: tuple[str, ...] = ()) -> Request:
    """The command line and the environment as a request."""
    from imagekit.build.project import LOCK, RECIPES

    return Request(model=model, packages=package_folders(model, packages), trust=(default_trust_dir(), *trust),
                   epoch=source_date_epoch(), now=SystemClock().now(),
                   files=(LOCK, RECIPES / "tools.yaml"), extras=snaps)


def package_folders(model: Path, given: tuple[Path, ...]) -> tuple[Path, ...]:
    """The folders where packages are looked for, first come first served."""
    return given or tuple(folder for folder in (model.parent, model.parent / "packages") if folder.is_dir())


def locked_tools(told: Progress, cache: Cache) -> Tools:
    """The locked tool parts: as they lie unpacked in the cache, else fetched and unpacked."""
    from imagekit.build.project import load_lock
    from imagekit.host.tools import LocalTools
    from imagekit.packages.lockfile import digest_of

    lock = load_lock()
    ready = cache.entry("tools", digest_of(lock.sections["tools"])[:32]) if "tools" in lock.sections else None
    if ready is not None and ready.is_dir():
        return LocalTools(ready)
    from imagekit.build.parts import Parts, Policy
    from imagekit.build.recipes import load_recipe

    parts = Parts(cache, lock, policy=Policy(), environment=os.environ, progress=told)
    return parts.tools(load_recipe("tools").recipe)


@click.command()
@MODEL
@PACKAGES
@SNAPS
@trust_option
@json_option
def plan(model: Path, packages: tuple[Path, ...], snaps: tuple[str, ...], trust: tuple[Path, ...],
         as_json: bool) -> None:
    """Show what a signed MODEL becomes: exact packages, and where everything lies on the disk.

    Writes nothing. Package digests are checked when the image is built; here sizes and signatures are.
    """
    show_plan(make_plan(request_for(model, packages, trust, snaps)), as_json=as_json)


@click.command()
@MODEL
@folder_option
@PACKAGES
@SNAPS
@trust_option
@click.option("--twice", is_flag=True, help="Build again elsewhere, compare, and explain the first difference.")
@click.option("--dry-run", is_flag=True, help="Show the plan, write nothing.")
@json_option
def build(model: Path, output: Path | None, packages: tuple[Path, ...], snaps: tuple[str, ...],
          trust: tuple[Path, ...], twice: bool, dry_run: bool, as_json: bool) -> None:
    """Make a flashable disk image from a signed MODEL.

    Into the folder of -o come MODEL.img, its block map MODEL.img.bmap, the bill of materials MODEL.cdx.json,
    manifest.json and layout.svg. A build with nothing changed since the last one is over at once.
    """
    request = request_for(model, packages, trust, snaps)
    if dry_run:
        show_plan(make_plan(request), as_json=as_json)
        return
    if output is None:
        raise UsageError("cannot build: no folder for the image is named", hint=f"imagekit build {model} -o out")
    cache = Cache(default_cache_folder(os.environ))
    done = up_to_date(request, output)
    if done is None:
        with progress() as told:
            done = make_image(request, output, tools=lambda: locked_tools(told, cache), cache=cache, progress=told)
    else:
        say(f"{output / done.image.file} is up to date")
    if twice:
        build_again(request, output, done, cache=cache)
    show_image(output, done, as_json=as_json, proved=twice)


def build_again(request: Request, output: Path, first: Manifest, *, cache: Cache) -> None:
    """Prove that the same bytes come out elsewhere. Raises: TargetError: they do not, with the first difference."""
    from imagekit.build.twice import prove

    with progress() as told:
        prove(request, output, first, cache=cache, progress=told)


def show_plan(made: ImagePlan, *, as_json: bool) -> None:
    """Tables of packages and structures and a bar of the disk, or JSON."""
    if as_json:
        from imagekit.plan.image import as_json as plain

        emit_json(plain(made))
        return
    from imagekit.cli.disk_bar import draw_bar

    model = made.model
    revision = f", revision {model.revision}," if model.revision else ""
    write(f"{model.brand_id}/{model.model}{revision} for {model.architecture}: a disk of {iec(made.disk_size)}\n")
    table(("package", "revision", "type", "size", "compressed", "in"), [
        (item.name, item.number if item.asserted else f"{item.number} unsigned",
         item.snap.type.value + (", extra" if item.extra else ""),
         iec(item.file.size), iec(item.file.seed_size or 0), ", ".join(held_in(made, item.file_name)))
        for item in made.resolution.packages], right=("revision", "size", "compressed"))
    if made.resolution.sets:
        write(f"\nvalidation sets: {', '.join(item.name for item in made.resolution.sets)}")
    write("")
    table(("#", "structure", "offset", "size", "role", "used", "content"), [
        (item.entry.index if item.entry else "-", item.placement.structure.title, iec(item.placement.start),
         iec(item.placement.size), item.placement.structure.role.value if item.placement.structure.role else "-",
         "?" if item.used is None else iec(item.used) if item.used else "-", item.content)
        for item in made.structures], right=("#", "offset", "size", "used"))
    write("")
    draw_bar(made)


def held_in(made: ImagePlan, file_name: str) -> list[str]:
    """The structures that hold bytes of a package."""
    from imagekit.plan.writes import Copy, PackageWrite

    return [item.placement.structure.title for item in made.structures if any(
        (isinstance(found, PackageWrite) and found.package == file_name)
        or (isinstance(found, Copy) and found.source.package == file_name) for found in item.writes)]


def show_image(output: Path, done: Manifest, *, as_json: bool, proved: bool) -> None:
    """Where the image is and what it is, or the manifest."""
    image = output / done.image.file
    if as_json:
        import json

        from imagekit.plan.manifest import encode_manifest

        emit_json({"image": str(image), "manifest": json.loads(encode_manifest(done)),
                   "twice": True if proved else None})
        return
    packages = ", ".join(f"{item.name} {item.revision}{'' if item.asserted else ' (unsigned)'}"
                         for item in done.packages)
    write(str(image))
    say(f"{iec(done.image.size)}, of which {iec(done.image.mapped)} are to be written; {packages}")
    again = "; a second build elsewhere gave the same bytes" if proved else ""
    say(f"image digest {short(done.image.digest)}{again}")
