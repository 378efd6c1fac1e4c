"""Base packages: a root file system from Debian packages, made once by mmdebstrap, then put in order here.

Decides how mmdebstrap is run (on exactly the locked packages, offered to it as a local repository, so neither the
network nor the mirror's mood has a say) and what becomes of its tar: what the recipe drops is dropped, what is made
anew on a device or differs from one run to the next goes, the base overlay with the device side is laid over it. The
result is a list of entries that no longer depends on the host. mmdebstrap's tar is kept in the cache with its digest,
so that a changed overlay costs seconds, and a rotten tar a bootstrap but never a wrong base.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase, translate
from hashlib import sha256
from pathlib import Path

import zstandard

import imagekit
from imagekit.build.accounts import settle_accounts
from imagekit.build.foreign import Foreign, prepare
from imagekit.build.parts import Parts, make_root, unpack
from imagekit.build.tree import FILE, Tree, content_of, file, folder, read_tar, symlink
from imagekit.digests import chunks
from imagekit.errors import HostError, PlanError
from imagekit.host.cache import Cache
from imagekit.host.files import atomic_file, scratch_folder, write_atomic
from imagekit.host.ports import Progress, Tools
from imagekit.host.tools import LOADERS
from imagekit.packages.debmeta import Deb
from imagekit.packages.lockfile import Part, Section, digest_of
from imagekit.packages.recipe import Recipe
from imagekit.schema import Source, check_shape, load_yaml

ROOT_FORMAT = 1  # raise it when the way mmdebstrap is run changes
PYTHON, PYTHON_PART = "usr/bin/python3.13", "python3.13-minimal"
PACKAGE = Path(imagekit.__file__).parent
UNSHARE_HINT = ("this user needs newuidmap and ranges in /etc/subuid and /etc/subgid (as root: apt-get install uidmap; "
                "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER), or run it as root")
OVERLAY = PACKAGE / "build/base-overlay"

# Never part of a base: made anew on the device, or different from one run of mmdebstrap to the next.
VOLATILE = (
    "dev/*", "proc/*", "sys/*", "run/*", "tmp/*", "boot/*", "var/*", "etc/machine-id", "etc/hostname",
    "etc/resolv.conf", "etc/apt", "etc/.pwd.lock", "etc/passwd-", "etc/group-", "etc/shadow-", "etc/gshadow-",
    "etc/subuid-", "etc/subgid-", "*.pyc", "*/__pycache__", "*.dpkg-new", "*.dpkg-old",
)
FOLDERS = {"proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "tmp": 0o1777, "var": 0o755, "boot": 0o755,
           "efi": 0o755, "usr/lib/modules": 0o755, "usr/lib/firmware": 0o755}

_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_MODES = {"type": "object", "additionalProperties": {"type": "string", "pattern": "^[0-7]{4}$"}}
_LIST = {"type": "array", "items": {"type": "string"}}
OVERLAY_SCHEMA = {
    "type": "object", "additionalProperties": False,
    "required": ["format", "modes", "directories", "links", "masked", "removed", "python"],
    "properties": {
        "format": {"const": 1}, "modes": _MODES, "directories": _MODES, "links": _TEXTS, "removed": _LIST,
        "masked": {"type": "object", "additionalProperties": _LIST},
        "python": {"type": "object", "additionalProperties": False, "required": ["target", "modules"],
                   "properties": {"target": {"type": "string"}, "modules": _LIST}},
    },
}


def base_tree(recipe: Recipe, section: Section, *, native: Section | None, parts: Parts, cache: Cache, scratch: Path,
              tools: Tools, progress: Progress) -> Tree:
    """The content of the package. `scratch` keeps files that the tree refers to.

    `native`: the parts of `packages/foreign.yaml`, for a base of another architecture than this machine's.
    """
    archive = scratch / "root.tar"
    _root(recipe, section, archive, native=native, parts=parts, cache=cache, tools=tools, progress=progress)
    progress.step(f"put {recipe.name} in order")
    with archive.open("rb") as stream:
        tree = read_tar(stream, path=archive)
    drop(tree, (*VOLATILE, *recipe.drop))
    settle(tree)
    add_overlay(tree, OVERLAY, package=PACKAGE)
    _compile(tree, section if native is None else python_of(native, section, recipe), parts=parts, scratch=scratch,
             tools=tools)
    return tree


def python_of(native: Section, section: Section, recipe: Recipe) -> Section:
    """`native`, if its Python is the one of `section`: byte code is the same for all architectures, not versions.

    Raises:
        PlanError: it is another version.
    """
    ours, theirs = (here.part(PYTHON_PART).source_version for here in (native, section))
    if ours != theirs:
        raise PlanError(f"cannot pack {recipe.name}: it has Python {theirs}, and {ours} would compile its modules",
                        hint=f"imagekit lock --update {recipe.name} foreign")
    return native


def _root(recipe: Recipe, section: Section, out: Path, *, native: Section | None, parts: Parts, cache: Cache,
          tools: Tools, progress: Progress) -> None:
    """Write the tar of the bootstrapped system to `out`, from the cache or by mmdebstrap."""
    key = sha256(f"{ROOT_FORMAT} {recipe.architecture} {digest_of(section)}".encode()).hexdigest()
    kept = cache.entry("roots", f"{key}.tar.zst")
    with cache.lock(f"root-{key[:16]}", told=progress):
        if take_root(kept, out):
            return
        progress.step(f"bootstrap {recipe.name} from {len(section.parts)} Debian packages")
        bootstrap(recipe, section, out, native=native, parts=parts, tools=tools)
        keep_root(kept, out)


def keep_root(kept: Path, tar: Path) -> None:
    """Compress `tar` into `kept`, with its SHA-256 in a file beside it."""
    digest = sha256()
    with tar.open("rb") as source, atomic_file(kept) as target, \
            zstandard.ZstdCompressor(level=3).stream_writer(target, closefd=False) as writer:
        for chunk in chunks(source):
            digest.update(chunk)
            writer.write(chunk)
    write_atomic(kept.with_suffix(".sha256"), digest.hexdigest().encode())


def take_root(kept: Path, tar: Path) -> bool:
    """Write what is kept to `tar`; whether there is something, and it is what was kept."""
    known, digest = kept.with_suffix(".sha256"), sha256()
    if not (kept.is_file() and known.is_file()):
        return False
    try:
        with kept.open("rb") as source, tar.open("wb") as target, \
                zstandard.ZstdDecompressor().stream_reader(source, closefd=False) as reader:
            for chunk in chunks(reader):
                digest.update(chunk)
                target.write(chunk)
    except zstandard.ZstdError:
        return False
    return known.read_bytes() == digest.hexdigest().encode()


def bootstrap(recipe: Recipe, section: Section, out: Path, *, native: Section | None, parts: Parts, tools: Tools,
              emulate: bool = False) -> None:
    """Write the tar that mmdebstrap makes of the parts to `out`. `emulate`: for another architecture by QEMU alone."""
    # In a user namespace mmdebstrap is another user, to whom $HOME is closed: the packages have to lie in the open.
    with scratch_folder(Path("/var/tmp")) as folder:
        folder.chmod(0o755)
        repository = folder / "repository"
        _offer(section.parts, repository, parts, suite=recipe.suite)
        mode, way = "root" if os.geteuid() == 0 else "unshare", Foreign(prefix=(), arguments=())
        if native is not None:
            way = prepare(recipe.architecture, section, native, parts=parts, scratch=folder, tools=tools,
                          emulate=emulate)
        program, *words = (*way.prefix, *tools.find("mmdebstrap"))
        names = ",".join(part.name for part in section.parts)
        try:
            tools.run(program, *words, f"--mode={'root' if way.prefix else mode}", "--variant=essential",
                      f"--include={names}", f"--architectures={recipe.architecture}", "--format=tar",
                      "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
                      "--dpkgopt=path-exclude=/usr/share/locale/*", *way.arguments,
                      recipe.suite, out, f"deb [trusted=yes] copy:{repository} ./",
                      env={"TMPDIR": str(folder), "SOURCE_DATE_EPOCH": str(newest(section.parts, parts))})
        except HostError as error:
            hint = UNSHARE_HINT if re.search(r"subuid|newuidmap|unshare", "\n".join(error.details)) else error.hint
            reason = error.message.removeprefix("cannot ").replace(f"run {program}:", "run mmdebstrap:")
            raise HostError(f"cannot bootstrap {recipe.name}: {reason}", hint=hint, details=error.details) from error


def _offer(wanted: Iterable[Part], repository: Path, parts: Parts, *, suite: str) -> None:
    """A flat repository of the parts: links or copies, and their index."""
    repository.mkdir()
    stanzas = []
    for part in wanted:
        source, name = parts.path(part), part.filename.rpartition("/")[2]
        shutil.copyfile(source, repository / name)
        with source.open("rb") as stream:
            fields = dict(Deb(stream, name=part.filename).control().fields)
        fields |= {"Filename": f"./{name}", "Size": str(part.size), "SHA256": part.sha256}
        stanzas.append("".join(f"{key}: {_folded(value)}\n" for key, value in fields.items()))
    index = "\n".join(stanzas).encode()
    (repository / "Packages").write_bytes(index)
    (repository / "Release").write_text(f"Suite: {suite}\nCodename: {suite}\nSHA256:\n"
                                        f" {sha256(index).hexdigest()} {len(index)} Packages\n")
    for path in (repository, *repository.iterdir()):  # readable for mmdebstrap's other user, whatever our umask
        path.chmod(0o755 if path == repository else 0o644)


def _folded(value: str) -> str:
    return value.replace("\n", "\n ")


def newest(wanted: Sequence[Part], parts: Parts) -> int:
    """The build time of the youngest part: the time of everything made from them, seconds since 1970."""
    times = []
    for part in wanted:
        with parts.path(part).open("rb") as stream:
            times.append(Deb(stream, name=part.filename).mtime)
    return max(times)


def drop(tree: Tree, globs: Sequence[str]) -> None:
    """Remove what a glob matches, with all that is below it; `!GLOB` spares what another one would remove.

    `*` crosses slashes. A folder goes when nothing in it is spared.
    """
    plain = re.compile("|".join(translate(glob) for glob in globs if not glob.startswith("!")) or r"(?!)")
    spared = re.compile("|".join(translate(glob[1:]) for glob in globs if glob.startswith("!")) or r"(?!)")
    going: set[str] = set()
    kept_folders: set[str] = set()
    for path in tree.paths():
        parts = path.split("/")
        above = ["/".join(parts[:depth]) for depth in range(1, len(parts))]
        if (plain.match(path) or any(folder in going for folder in above)) and not spared.match(path):
            going.add(path)
        else:
            kept_folders.update(above)
    for path in going - kept_folders:
        tree.discard(path)


def settle(tree: Tree) -> None:
    """The folders that a device mounts on, nobody who can log in or become root, no trace of the day of building."""
    for path, mode in FOLDERS.items():
        tree.add(folder(path, mode=mode))
    tree.add(symlink("boot/efi", "/efi"))
    for path in tree.paths():
        entry = tree.get(path)
        if entry is not None and entry.kind == FILE and entry.mode & 0o6000:
            tree.add(replace(entry, mode=entry.mode & ~0o6000))
    settle_accounts(tree)


def _manifest(overlay: Path) -> Source:
    manifest = overlay / "manifest.yaml"
    source = load_yaml(manifest.read_bytes(), name=str(manifest))
    check_shape(source, OVERLAY_SCHEMA)
    return source


def device_modules(overlay: Path) -> tuple[str, ...]:
    """The modules of imagekit that go into every base, by their paths in the source tree.

    Raises:
        DocumentError: the manifest is wrong.
    """
    return tuple(_manifest(overlay).value["python"]["modules"])


def add_overlay(tree: Tree, overlay: Path, *, package: Path) -> None:
    """Lay what imagekit adds to every base over the tree; `manifest.yaml` of the overlay explains itself.

    `package` is the folder of the `imagekit` Python package.

    Raises:
        DocumentError: the manifest is wrong.
        PlanError: it names a file that is not there.
    """
    source = _manifest(overlay)
    rules = source.value
    for path in tree.paths():
        if any(fnmatchcase(path, pattern) for pattern in rules["removed"]):
            tree.remove(path)
    for path, mode in rules["directories"].items():
        tree.add(folder(path, mode=int(mode, 8)))
    modes = {path: int(mode, 8) for path, mode in rules["modes"].items()}
    for item in sorted((overlay / "root").rglob("*")):
        if item.is_file() and "__pycache__" not in item.parts:
            path = str(item.relative_to(overlay / "root"))
            tree.add(file(path, item.read_bytes(), mode=modes.pop(path, 0o644)))
    for path in modes:
        raise PlanError(f"cannot lay the overlay over the base: {source.where(('modes', path))}: no such file")
    links = dict(rules["links"])
    links |= {f"{place}/{name}": "/dev/null" for place, names in rules["masked"].items() for name in names}
    for path, target in links.items():
        tree.remove(path)
        tree.add(symlink(path, target))
    for module in rules["python"]["modules"]:
        if not (package.parent / module).is_file():
            raise PlanError(f"cannot lay the overlay over the base: {source.where(('python', 'modules'))}: "
                            f"there is no {module}")
        tree.add(file(f"{rules['python']['target']}/{module}", (package.parent / module).read_bytes()))


def _compile(tree: Tree, section: Section, *, parts: Parts, scratch: Path, tools: Tools) -> None:
    """Byte code for every Python module of the base, made by the base's own Python.

    It is bound to no time and no digest (PEP 552, unchecked): the base is read-only and verified.
    """
    root, work = scratch / "python", scratch / "bytecode"
    make_root(root)
    for part in section.parts:
        unpack_python = part.name.startswith(("python3", "libpython3")) or part.name in ("libc6", "zlib1g", "libexpat1")
        if unpack_python:
            unpack(parts.path(part), root, name=part.filename)
    entries = [entry for path in tree.paths() if path.endswith(".py") and path.startswith("usr/lib/")
               and (entry := tree.get(path)) is not None and entry.kind == FILE]
    for entry in entries:
        out = work / entry.path
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(content_of(entry))
    loader, triplet = LOADERS[os.uname().machine]
    tools.run(str(root / loader), "--library-path", root / "usr/lib" / triplet, root / PYTHON, "-s", "-S", "-m",
              "compileall", "-q", "-f", "-j", "1", "--invalidation-mode", "unchecked-hash", "-s", work, "-p", "/",
              work, env={"PYTHONHOME": str(root / "usr"), "PYTHONHASHSEED": "0"})
    for path in sorted(work.rglob("*.pyc")):
        tree.add(file(str(path.relative_to(work)), path))


