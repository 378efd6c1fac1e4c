"""Make a package from a recipe: `NAME_REVISION.snap` and, for the seed, `NAME_REVISION.snap.zst`.

Decides the order of the work and what "the same package" is. The content comes from the type's own module as a list of
entries, becomes one canonical tar, and that becomes EROFS by the locked `mkfs.erofs`: uncompressed, 4 KiB blocks, its
time the build time of its youngest part, its UUID derived from the tar. A finished package is kept in the cache by the
digest of everything that went in, and no package ever replaces another one of the same name and revision.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from importlib import metadata
from pathlib import Path
from typing import Any

import zstandard

import imagekit
from imagekit.build import pack_base
from imagekit.build.facts import remember_package
from imagekit.build.foreign import native_architecture
from imagekit.build.pack_gadget import gadget_tree
from imagekit.build.pack_kernel import kernel_tree
from imagekit.build.parts import Parts, make_root, unpack
from imagekit.build.recipes import RecipeFile, initrd_recipe, load_recipe
from imagekit.build.tree import Tree, file, write_tar
from imagekit.digests import chunks, derived_uuid
from imagekit.errors import PlanError
from imagekit.host.cache import Cache
from imagekit.host.files import FolderLock, atomic_file, require_space
from imagekit.host.ports import Progress, Tools
from imagekit.packages.lockfile import Part, Section, digest_of
from imagekit.packages.recipe import BASE, KERNEL, PARTS, Recipe
from imagekit.packages.snapyaml import SnapInfo, encode_snap_yaml, file_name
from imagekit.units import GIB

PACK_FORMAT = 1  # raise it when the same inputs shall give other bytes
FACTS = "facts.json"
SEED_LEVEL = 10  # zstd, one thread: more would give other bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A package that lies in the output folder."""

    name: str
    revision: int
    version: str
    type: str
    path: Path
    size: int
    sha256: str
    compressed: Path
    compressed_size: int
    parts: int
    cached: bool  # it was not made anew


def pack(source: RecipeFile, *, parts: Parts, cache: Cache, out: Path, progress: Progress) -> Packed:
    """Make the package of `source` and its compressed twin in the folder `out`.

    Raises:
        PlanError: other bytes lie in `out` under this name and revision; the parts cannot make the package.
        HostError: a part, a program or space is missing; another imagekit works in `out`.
        TrustError: a part is not what the lock says.
    """
    recipe = source.recipe
    if recipe.type == PARTS:
        raise PlanError(f"cannot pack {recipe.name}: it is a list of parts, not a package")
    section = parts.section(recipe)
    key, sections = _key(source, section, parts)
    kept = cache.entry("packages", key)
    with cache.lock(f"pack-{recipe.name}", told=progress):
        cached = kept.is_dir()
        if not cached:
            require_space(cache.root, 2 * GIB, what=f"pack {recipe.name}")
            with cache.scratch() as scratch:
                made = scratch / "made"
                made.mkdir()
                _make(source, section, sections, made, parts=parts, cache=cache, scratch=scratch, progress=progress)
                cache.adopt(made, "packages", key)
    facts = read_facts(kept, recipe)
    name = file_name(recipe.name, recipe.revision)
    with FolderLock(out):
        progress.step(f"put {name} into {out}")
        for item in (name, f"{name}.zst"):
            _deliver(kept / item, out / item, facts[item]["sha256"], recipe)
    return Packed(name=recipe.name, revision=recipe.revision, version=facts["version"], type=recipe.type,
                  path=out / name, size=facts[name]["size"], sha256=facts[name]["sha256"],
                  compressed=out / f"{name}.zst", compressed_size=facts[f"{name}.zst"]["size"],
                  parts=len(section.parts), cached=cached)


def read_facts(kept: Path, recipe: Recipe) -> dict[str, Any]:
    """What is known of a package in the cache, and of its twin.

    Raises:
        PlanError: it is not what was written, as after a power cut.
    """
    name = file_name(recipe.name, recipe.revision)
    try:
        facts: dict[str, Any] = json.loads((kept / FACTS).read_bytes())
        for item in (name, f"{name}.zst"):
            if not (isinstance(facts["version"], str) and isinstance(facts[item]["size"], int)
                    and isinstance(facts[item]["sha256"], str)):
                raise ValueError(item)
    except (FileNotFoundError, ValueError, TypeError, KeyError) as error:
        raise PlanError(f"cannot pack {recipe.name}: the cached package is damaged", hint=f"delete {kept}") from error
    return facts


def _key(source: RecipeFile, section: Section, parts: Parts) -> tuple[str, dict[str, Section]]:
    """The digest of everything that decides the package's bytes, and the other sections that it needs."""
    sections = {"tools": parts.section(load_recipe("tools").recipe)}
    if source.recipe.type == KERNEL:
        sections["initrd"] = parts.section(initrd_recipe(source.recipe.architecture).recipe)
    if source.recipe.type == BASE and source.recipe.architecture != native_architecture():
        sections["foreign"] = parts.section(load_recipe("foreign").recipe)
    code = Path(imagekit.__file__).parent
    inputs = {
        "format": PACK_FORMAT, "recipe": sha256(source.content).hexdigest(), "parts": digest_of(section),
        "sections": {name: digest_of(other) for name, other in sections.items()},
        "files": {item.source: _digest(source.folder / item.source)
                  for item in source.recipe.files if item.part is None},
        "code": {str(path.relative_to(code)): _digest(path) for path in sorted(own_files(code, source.recipe))},
        "pefile": metadata.version("pefile"),
        "zstandard": [zstandard.__version__, ".".join(str(number) for number in zstandard.ZSTD_VERSION)],
    }
    return sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:32], sections


def own_files(package: Path, recipe: Recipe) -> list[Path]:
    """Our own files that go into a package or decide its bytes."""
    found = [*(package / "build").glob("pack*.py"),
             *(package / "build" / name for name in ("tree.py", "initrd.py", "accounts.py", "parts.py")),
             *(package / "packages").glob("*.py")]
    if recipe.type == KERNEL:
        found += (package / "build/initrd").glob("*")
    if recipe.type == BASE:
        found += [package / "build/foreign.py", *(package / "build/foreign").glob("*")]
        found += (package / "build/base-overlay").rglob("*")
        found += [package.parent / module for module in pack_base.device_modules(pack_base.OVERLAY)]
    return [path for path in dict.fromkeys(found) if path.is_file() and "__pycache__" not in path.parts]


def _digest(path: Path) -> str | None:
    """SHA-256 of a file; None when there is none (its absence is reported where it is used)."""
    if not path.is_file():
        return None
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest()


def _make(source: RecipeFile, section: Section, sections: dict[str, Section], made: Path, *, parts: Parts,
          cache: Cache, scratch: Path, progress: Progress) -> None:
    """Write the package, its twin and `facts.json` into the folder `made`."""
    recipe = source.recipe
    tools = parts.tools(load_recipe("tools").recipe)
    version = recipe.version or section.part(str(recipe.version_of)).version.rpartition(":")[2]
    inside = tuple(section.parts) + (sections["initrd"].parts if recipe.type == KERNEL else ())
    tree = _tree(source, section, sections, version, parts=parts, cache=cache, scratch=scratch, tools=tools,
                 progress=progress)
    info = SnapInfo(name=recipe.name, version=version, type=recipe.type, architectures=(recipe.architecture,),
                    summary=recipe.summary, description=recipe.description)
    tree.add(file("meta/snap.yaml", encode_snap_yaml(info)))
    tree.add(file("meta/packages.json", encode_packages(inside)))
    name = file_name(recipe.name, recipe.revision)
    progress.step(f"write {name}")
    mtime = pack_base.newest(section.parts, parts)
    _erofs(tree, made / name, mtime=mtime, recipe=recipe, scratch=scratch, tools=tools)
    size = (made / name).stat().st_size
    progress.step(f"compress {name}", total=size)
    _compress(made / name, made / f"{name}.zst", size, progress)
    facts = {item: {"size": (made / item).stat().st_size, "sha256": _digest(made / item)}
             for item in (name, f"{name}.zst")}
    (made / FACTS).write_text(json.dumps({"version": version, **facts}, indent=1))
    remember_package(cache, made / name, compressed_sha256=str(facts[f"{name}.zst"]["sha256"]),
                     runs_from_slot=recipe.type in (KERNEL, BASE))


def _tree(source: RecipeFile, section: Section, sections: dict[str, Section], version: str, *, parts: Parts,
          cache: Cache, scratch: Path, tools: Tools, progress: Progress) -> Tree:
    recipe = source.recipe
    if recipe.type == BASE:
        return pack_base.base_tree(recipe, section, native=sections.get("foreign"), parts=parts, cache=cache,
                                   scratch=scratch, tools=tools, progress=progress)
    progress.step(f"unpack the parts of {recipe.name}")
    if recipe.type == KERNEL:
        root = _unpacked(section.parts, scratch / "root", parts)
        boot_root = _unpacked(sections["initrd"].parts, scratch / "boot-root", parts)
        progress.step(f"assemble {recipe.name}")
        tree = kernel_tree(recipe, version=version, root=root, boot_root=boot_root, scratch=scratch, tools=tools)
        roots = [(root, section.parts), (boot_root, sections["initrd"].parts)]
    else:
        folders = {part.name: _unpacked([part], scratch / part.name, parts) for part in section.parts}
        tree = gadget_tree(recipe, folder=source.folder, roots=folders)
        roots = [(folders[part.name], (part,)) for part in section.parts]
    for root, inside in roots:
        _add_copyrights(tree, root, inside)
    return tree


def _unpacked(wanted: Sequence[Part], root: Path, parts: Parts) -> Path:
    make_root(root)
    for part in wanted:
        unpack(parts.path(part), root, name=part.filename)
    return root


def _add_copyrights(tree: Tree, root: Path, inside: Sequence[Part]) -> None:
    """What the licences of the parts ask to be passed on with them."""
    for part in inside:
        path = root / "usr/share/doc" / part.name / "copyright"
        if path.is_file():
            tree.add(file(f"meta/copyright/{part.name}", path.read_bytes()))


def encode_packages(inside: Sequence[Part]) -> bytes:
    """`meta/packages.json`: the Debian packages that are in the package, sorted by name."""
    unique = {(part.name, part.architecture): part for part in inside}
    rows = [{"name": part.name, "version": part.version, "architecture": part.architecture, "source": part.source,
             "source_version": part.source_version, "sha256": part.sha256, "sha512": part.sha512,
             "filename": part.filename} for _, part in sorted(unique.items())]
    return ("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n").encode()


def _erofs(tree: Tree, target: Path, *, mtime: int, recipe: Recipe, scratch: Path, tools: Tools) -> None:
    archive = scratch / "package.tar"
    with archive.open("wb") as out:
        write_tar(tree, out, mtime=mtime)
    identity = derived_uuid("package", file_name(recipe.name, recipe.revision), str(_digest(archive)))
    tools.run("mkfs.erofs", "--quiet", "-b", "4096", "-T", str(mtime), "-U", str(identity), "--tar=f", target, archive)
    archive.unlink()


def _compress(source: Path, target: Path, size: int, progress: Progress) -> None:
    compressor = zstandard.ZstdCompressor(level=SEED_LEVEL, write_content_size=True, write_checksum=True)
    with source.open("rb") as stream, target.open("wb") as out, compressor.stream_writer(out, size=size,
                                                                                        closefd=False) as writer:
        for chunk in chunks(stream):
            writer.write(chunk)
            progress.advance(len(chunk))


def _deliver(source: Path, target: Path, digest: str, recipe: Recipe) -> None:
    """Copy a kept file to its place, checking it on the way; the same bytes there already are left alone.

    Raises:
        PlanError: other bytes are there.
    """
    if target.exists():
        if _digest(target) == digest:
            return
        raise PlanError(f"cannot pack {recipe.name}: {target} exists and has other bytes, and a revision never changes",
                        hint=f"raise the recipe's revision above {recipe.revision}, or delete the file")
    if not source.is_file():
        raise _changed(source, recipe)
    found = sha256()
    with source.open("rb") as stream, atomic_file(target) as out:
        for chunk in chunks(stream):
            found.update(chunk)
            out.write(chunk)
        if found.hexdigest() != digest:
            raise _changed(source, recipe)


def _changed(source: Path, recipe: Recipe) -> PlanError:
    return PlanError(f"cannot pack {recipe.name}: the cached {source.name} was changed", hint=f"delete {source.parent}")
