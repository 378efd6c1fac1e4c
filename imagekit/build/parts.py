"""Parts at hand: from the lock to verified Debian packages in the cache, and the tool parts ready to run.

Decides where a part comes from: the cache, else the mirror; and what happens when a locked part has vanished from the
mirror: the names are resolved anew into the cache folder, which is said aloud, or, with `locked`, it is refused. Once
everything is cached nothing here touches the network, not even to look for news.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from hashlib import file_digest
from pathlib import Path

from imagekit.errors import DocumentError, HostError, PlanError
from imagekit.host.apt import Apt, PartVanished, Wanted
from imagekit.host.cache import Cache
from imagekit.host.files import no_space, require_space, write_atomic
from imagekit.host.ports import Progress, Tools
from imagekit.host.tools import LocalTools
from imagekit.packages.debmeta import Deb
from imagekit.packages.lockfile import EMPTY, Lock, Part, Section, digest_of, encode_lock, parse_lock, part_changes
from imagekit.packages.recipe import Recipe

UPDATE_HINT = "imagekit lock --update"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What may be done to get a part. `locked`: nothing but the lock; `offline`: no network."""

    locked: bool = False
    offline: bool = False


class Parts:
    """The parts of recipes, by `lock`, in `cache`; `host` runs apt."""

    def __init__(self, cache: Cache, lock: Lock, *, policy: Policy, environment: Mapping[str, str],
                 progress: Progress, host: Tools | None = None) -> None:
        self._cache = cache
        self._lock = lock
        self._policy = policy
        self._environment = environment
        self._progress = progress
        self._host = host or LocalTools()
        self._apts: dict[tuple[str, str, tuple[str, ...]], Apt] = {}
        self._have: dict[str, Section] = {}

    def section(self, recipe: Recipe) -> Section:
        """The parts of `recipe`, all of them in the cache.

        Raises:
            PlanError: the lock does not answer what the recipe wants.
            HostError: no network, or a locked part has vanished and `locked` forbids another.
            TrustError: a fetched part is not the locked one.
        """
        if recipe.name not in self._have:
            self._have[recipe.name] = self._obtain(recipe, self._locked(recipe))
        return self._have[recipe.name]

    def _locked(self, recipe: Recipe) -> Section:
        section = self._lock.sections.get(recipe.name)
        if section is None:
            raise PlanError(f"cannot pack {recipe.name}: the lock has no section for it", hint=UPDATE_HINT)
        if section.suite != recipe.suite or tuple(sorted(section.wants)) != recipe.wants:
            raise PlanError(f"cannot pack {recipe.name}: the recipe asks for other parts than the lock answers",
                            hint=UPDATE_HINT)
        return section

    def _obtain(self, recipe: Recipe, section: Section) -> Section:
        missing = self._missing(section)
        if not missing:
            return section
        anew = self._cache.entry("locks", f"{recipe.name}-{digest_of(section)[:16]}.json")
        if anew.is_file() and not self._policy.locked:
            replaced = parse_lock(anew.read_bytes(), name=str(anew)).sections[recipe.name]
            self._say_anew(recipe, section, replaced)
            self._fetch(recipe, self._missing(replaced))
            return replaced
        try:
            self._fetch(recipe, missing)
        except PartVanished as error:
            if self._policy.locked:
                raise
            self._progress.note(f"{error.message.removeprefix('cannot fetch ')}: taking what Debian {recipe.suite} "
                                "has today")
            replaced = self.resolve(recipe)
            write_atomic(anew, encode_lock(EMPTY.with_section(recipe.name, replaced)))
            self._say_anew(recipe, section, replaced)
            return replaced
        return section

    def _missing(self, section: Section) -> tuple[Part, ...]:
        return tuple(part for part in section.parts if not self._cache.has(part.sha256))

    def _say_anew(self, recipe: Recipe, old: Section, new: Section) -> None:
        one, two = (EMPTY.with_section(recipe.name, section) for section in (old, new))
        changed = [f"{change.package} {change.offered}{' (older)' if change.older else ''}"
                   for change in part_changes(one, two, recipe.name) if change.offered]
        shown = ", ".join(changed[:4]) + (f" and {len(changed) - 4} more" if len(changed) > 4 else "")
        self._progress.note(f"{recipe.name}: parts of the lock have vanished from the mirror; resolved anew into the "
                            f"cache: {shown} (to pin them: {UPDATE_HINT})")

    def _fetch(self, recipe: Recipe, missing: tuple[Part, ...]) -> tuple[Part, ...]:
        if not missing:
            return ()
        needed = sum(part.size for part in missing)
        if self._policy.offline:
            raise HostError(f"cannot pack {recipe.name} offline: {len(missing)} of its parts are not in the cache",
                            hint="run it once without --offline",
                            details=tuple(f"{part.name} {part.version}" for part in missing[:20]))
        require_space(self._cache.root, 2 * needed, what="fetch Debian packages")
        packages = "package" if len(missing) == 1 else "packages"
        self._progress.step(f"fetch {len(missing)} Debian {packages} for {recipe.name}", total=needed)
        return self._apt(recipe).fetch(missing, progress=self._progress)

    def offered(self, recipe: Recipe) -> Section:
        """What the mirror would answer the recipe with today; nothing but package lists is fetched."""
        if self._policy.offline:
            raise HostError(f"cannot resolve {recipe.name} offline", hint="run it without --offline")
        self._progress.step(f"resolve {recipe.name} in Debian {recipe.suite}")
        wanted = Wanted(parts=recipe.parts, alone=recipe.alone, keep=recipe.keep)
        with self._cache.lock("apt", told=self._progress):  # apt itself would refuse the second of two
            return Section(suite=recipe.suite, wants=recipe.wants, parts=self._apt(recipe).resolve(wanted))

    def resolve(self, recipe: Recipe) -> Section:
        """Ask the mirror which packages answer the recipe today, and fetch those that are not cached."""
        section = self.offered(recipe)
        fetched = {part.sha256: part for part in self._fetch(recipe, self._missing(section))}
        return section.with_parts(fetched.get(part.sha256) or self._with_sha512(part) for part in section.parts)

    def _with_sha512(self, part: Part) -> Part:
        with self._cache.verified(part.sha256, name=part.filename).open("rb") as stream:
            return replace(part, sha512=file_digest(stream, "sha512").hexdigest())

    def _apt(self, recipe: Recipe) -> Apt:
        key = (recipe.suite, recipe.architecture, recipe.components)
        if key not in self._apts:
            self._apts[key] = Apt(self._cache, self._host, suite=recipe.suite, architecture=recipe.architecture,
                                  components=recipe.components, environment=self._environment)
        return self._apts[key]

    def path(self, part: Part) -> Path:
        """The verified file of a part of an obtained section. Raises: TrustError: the cached file was changed."""
        return self._cache.verified(part.sha256, name=part.filename)

    def unpacked(self, recipe: Recipe) -> Path:
        """The folder with the parts of `recipe`, unpacked once into the cache."""
        section = self.section(recipe)
        target = self._cache.entry("tools", digest_of(section)[:32])
        with self._cache.lock("tools", told=self._progress):
            if not target.is_dir():
                self._progress.step(f"unpack {recipe.name}", total=len(section.parts), unit="packages")
                with self._cache.scratch() as scratch:
                    root = scratch / "root"
                    make_root(root)
                    for part in section.parts:
                        unpack(self.path(part), root, name=part.filename)
                        self._progress.advance(1)
                    self._cache.adopt(root, "tools", target.name)
        return target

    def tools(self, recipe: Recipe) -> LocalTools:
        """The tool parts of `recipe`, ready to run."""
        return LocalTools(self.unpacked(recipe))


def make_root(root: Path) -> None:
    """An empty tree with Debian's merged /usr: `bin`, `lib` and so on are links into it."""
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")


def unpack(package: Path, root: Path, *, name: str, only: Callable[[str], bool] | None = None) -> None:
    """Put the files of a Debian package under `root`: contents, links and the executable bit, nothing else.

    Every path is checked to stay in the tree, also through links that earlier entries made. `only` says of a path
    whether it is wanted; folders always are.

    Raises:
        DocumentError: the package is broken or one of its paths leaves the tree.
        HostError: no space.
    """
    inside = root.resolve()
    try:
        with package.open("rb") as stream:
            for entry, content in Deb(stream, name=name).files():
                target = _within(inside, entry.name, name)
                if entry.isdir():
                    if not target.is_dir():
                        target.mkdir(parents=True)
                    continue
                if only is not None and not only(entry.name):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                if content is not None:
                    with target.open("wb") as out:
                        shutil.copyfileobj(content, out)
                    target.chmod(0o755 if entry.mode & 0o111 else 0o644)
                elif entry.issym():
                    target.symlink_to(entry.linkname)
                elif entry.islnk():
                    shutil.copy(_within(inside, entry.linkname, name), target, follow_symlinks=False)
    except OSError as error:
        raise no_space(root, error) from error


def _within(root: Path, path: str, name: str) -> Path:
    """`root/path` with the links of its folder resolved. Raises: DocumentError: that lies outside of `root`."""
    target = root / path
    folder = target.parent.resolve() if path else root
    if folder != root and root not in folder.parents:
        raise DocumentError(f"cannot unpack {name}: its path {path!r} leaves the tree through a link")
    return folder / target.name if path else root


