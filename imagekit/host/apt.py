"""Debian's package archive through apt, apart from the host's own packages.

Decides which mirror is asked (the host's own, for another suite), and turns package names into exact, signed versions
and those into files. apt gets a configuration, lists and a package database of its own in the cache folder; nothing of
the host's is changed or needed but its mirror, its proxy settings and Debian's keyring. What a digest must be is the
lock's business; that a file has it is the cache's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from hashlib import file_digest
from pathlib import Path
from urllib.parse import unquote

from imagekit.errors import HostError
from imagekit.host.cache import Cache
from imagekit.host.files import reason, write_atomic
from imagekit.host.ports import Finished, Progress, Tools
from imagekit.packages.debmeta import control_of, parse_stanzas
from imagekit.packages.lockfile import Part

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEBIAN = "debian"
SECURITY = "debian-security"
BATCH = 16  # files per run of apt-helper: enough to keep a connection busy, few enough to show progress

_RELEASE = re.compile(r"(?:buster|bullseye|bookworm|trixie|forky|duke|sid|(?:old)*stable|testing|unstable)"
                      r"(?P<security>-security)?(?:-updates|-backports|-proposed-updates)?\Z")
_PROXY = re.compile(r'Acquire::(?:https?|ftp|Retries|ForceIPv[46])(?:::[^ ]*)? "[^"\n]*";\Z')
_NO_NETWORK = re.compile(r"Could not (resolve|connect)|Temporary failure|[Uu]nreachable|timed out"
                         r"|Connection (failed|refused)")
_FOUND = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+)_(?P<version>[^_\s]+)_(?P<architecture>[^_\s]+)\.deb \d+ .*\Z")


class PartVanished(HostError):
    """The mirror no longer has a locked part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Package names: with their dependencies, without, and globs that choose among what was found (empty: all)."""

    parts: tuple[str, ...]
    alone: tuple[str, ...]
    keep: tuple[str, ...]


class Apt:
    """apt for one suite and architecture, with everything it keeps in `cache`; `components` are asked beside main."""

    def __init__(self, cache: Cache, tools: Tools, *, suite: str, architecture: str,
                 environment: Mapping[str, str], components: Sequence[str] = ()) -> None:
        self._cache = cache
        self._tools = tools
        self._suite = suite
        self._architecture = architecture
        self._environment = environment
        self._components = ("main", *components)
        self._folder = cache.root / "apt" / "-".join((suite, architecture, *components))
        self._mirrors: dict[str, str] = {}
        self._fresh = False

    def update(self) -> None:
        """Fetch the signed package lists, once in the life of this object.

        Raises:
            HostError: no apt, no mirror, no keyring, no network.
        """
        if self._fresh:
            return
        self._configure()
        try:
            self._apt("apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any")
        except HostError as error:
            raise _network("fetch Debian's package lists", error) from error
        self._fresh = True

    def resolve(self, wanted: Wanted) -> tuple[Part, ...]:
        """The exact packages that answer `wanted` today, without their SHA-512 (no list has it), sorted by name.

        Raises:
            HostError: as `update`; a name is unknown or its dependencies cannot be met.
        """
        self.update()
        found = self._print_uris(wanted.parts) if wanted.parts else {}
        if wanted.keep:
            found = {key: uri for key, uri in found.items() if any(fnmatchcase(key[0], glob) for glob in wanted.keep)}
        for name in wanted.alone:
            everything = self._print_uris((name,))
            found |= {key: uri for key, uri in everything.items() if key[0] == name}
        return self._describe(found)

    def _print_uris(self, names: Sequence[str]) -> dict[tuple[str, str], str]:
        """(name, version) -> URI of the packages and all that they need, in an empty system."""
        try:
            finished = self._apt("apt-get", "install", "--print-uris", "-y", "-qq", "--no-install-recommends", *names)
        except HostError as error:
            raise HostError(f"cannot resolve {', '.join(names)} in Debian {self._suite}: {_last(error)}",
                            hint="is each of these names a package of that suite?", details=error.details) from error
        found = {}
        for line in finished.stdout.decode().splitlines():
            if match := _FOUND.match(line):
                found[match["file"], match["version"].replace("%3a", ":")] = match["uri"]
        return found

    def _describe(self, found: Mapping[tuple[str, str], str]) -> tuple[Part, ...]:
        if not found:
            return ()
        shown = self._apt("apt-cache", "show", *(f"{name}={version}" for name, version in sorted(found)))
        parts: dict[tuple[str, str], Part] = {}
        for fields in parse_stanzas(shown.stdout.decode(), name="apt-cache show"):
            control = control_of(fields, name="apt-cache show")
            key = (control.package, control.version)
            archive = self._archive(found.get(key, ""), fields["Filename"])
            if archive is None:
                continue
            parts[key] = Part(name=control.package, version=control.version, architecture=control.architecture,
                              archive=archive, filename=fields["Filename"], size=int(fields["Size"]),
                              sha256=fields["SHA256"], sha512="", source=control.source,
                              source_version=control.source_version)
        if missing := sorted(set(found) - set(parts)):
            raise HostError(f"cannot resolve {missing[0][0]} {missing[0][1]}: apt found it but does not describe it")
        return tuple(parts[key] for key in sorted(parts))

    def _archive(self, uri: str, filename: str) -> str | None:
        for archive, mirror in self._mirrors.items():
            if unquote(uri) == f"{unquote(mirror)}/{filename}":
                return archive
        return None

    def fetch(self, parts: Sequence[Part], *, progress: Progress) -> tuple[Part, ...]:
        """Bring `parts` into the cache, each checked against its digests; returns them with their SHA-512.

        Raises:
            PartVanished: the mirror does not have one of them any more.
            TrustError: a file is not what its digest says.
            HostError: no apt, no mirror, no network.
        """
        self._configure()
        done: list[Part] = []
        with self._cache.scratch() as scratch:
            for start in range(0, len(parts), BATCH):
                batch = parts[start:start + BATCH]
                files = [scratch / str(start + number) for number in range(len(batch))]
                arguments = [text for part, file in zip(batch, files, strict=True)
                             for text in (self._uri(part), str(file), "")]
                try:
                    self._apt("apt-helper", "download-file", *arguments)
                except HostError as error:
                    raise _refused(batch, files, error) from error
                for part, file in zip(batch, files, strict=True):
                    done.append(self._take(part, file))
                    progress.advance(part.size)
        return tuple(done)

    def _take(self, part: Part, file: Path) -> Part:
        with file.open("rb") as stream:
            sha512 = file_digest(stream, "sha512").hexdigest()
        self._cache.put(file, sha256=part.sha256, sha512=part.sha512 or None, name=part.filename)
        file.unlink()
        return replace(part, sha512=sha512)

    def _uri(self, part: Part) -> str:
        mirror = self._mirrors.get(part.archive) or self._mirrors[DEBIAN]
        return f"{mirror}/{part.filename}"

    def _configure(self) -> None:
        """Write apt's private configuration, from what the host's apt says of itself."""
        if self._mirrors:
            return
        if not KEYRING.is_file():
            raise HostError("cannot verify Debian's package lists: Debian's keyring is not installed",
                            hint="as root: apt-get install debian-archive-keyring")
        targets = self._tools.run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)",
                                  "Created-By: Packages")
        self._mirrors = mirrors_of(targets.stdout.decode(), self._environment.get("IMAGEKIT_MIRROR"))
        suites = {DEBIAN: self._suite, SECURITY: f"{self._suite}-security"}
        lines = [f"deb [signed-by={KEYRING}] {uri} {suites[archive]} {' '.join(self._components)}"
                 for archive, uri in self._mirrors.items()]
        try:
            for name in ("lists/partial", "archives/partial"):
                (self._folder / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HostError(f"cannot use the cache: {self._folder}: {reason(error)}",
                            hint="name another folder for it: IMAGEKIT_CACHE=/some/folder imagekit ...") from error
        write_atomic(self._folder / "sources.list", ("\n".join(lines) + "\n").encode())
        write_atomic(self._folder / "status", b"")
        dump = self._tools.run("apt-config", "dump").stdout.decode().splitlines()
        inherited = "\n".join(line for line in dump if _PROXY.match(line))
        write_atomic(self._folder / "apt.conf", _configuration(self._folder, self._architecture, inherited).encode())

    def _apt(self, name: str, *args: str) -> Finished:
        names = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy")
        passed = {key: self._environment[key] for key in names if key in self._environment}
        return self._tools.run(name, *args, env={"APT_CONFIG": str(self._folder / "apt.conf"), **passed})


def mirrors_of(targets: str, named: str | None) -> dict[str, str]:
    """Archive -> mirror URI without a slash at its end, from lines `URI RELEASE COMPONENT` of the host's sources.

    `named` (IMAGEKIT_MIRROR) takes the place of the host's mirror.

    Raises:
        HostError: the host has no Debian source and none was named.
    """
    if named:
        return {DEBIAN: named.rstrip("/")}
    found: dict[str, str] = {}
    for line in targets.splitlines():
        uri, release, component = (*line.split(), "", "", "")[:3]
        match = _RELEASE.match(release)
        if match and component == "main":
            found.setdefault(SECURITY if match["security"] else DEBIAN, uri.rstrip("/"))
    if DEBIAN not in found:
        raise HostError("cannot find a Debian mirror: apt on this machine has no source of Debian's main archive",
                        hint="name one: IMAGEKIT_MIRROR=URI")
    return {archive: found[archive] for archive in sorted(found)}


def _configuration(folder: Path, architecture: str, inherited: str) -> str:
    """apt.conf(5): everything in `folder`, nothing of the host's but `inherited`."""
    settings = {
        "Dir::Etc::main": "/dev/null", "Dir::Etc::parts": "/dev/null", "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null", "Dir::Etc::preferences": "/dev/null",
        "Dir::Etc::preferencesparts": "/dev/null", "Dir::Etc::trusted": "/dev/null",
        "Dir::Etc::trustedparts": "/dev/null", "Dir::State": folder, "Dir::State::lists": folder / "lists",
        "Dir::State::status": folder / "status", "Dir::State::extended_states": folder / "extended_states",
        "Dir::Cache": folder, "Dir::Cache::archives": folder / "archives", "Dir::Log": folder,
        "APT::Architecture": architecture, "APT::Sandbox::User": "", "APT::Get::AllowUnauthenticated": "false",
        "pkgCacheGen::ForceEssential": ",", "Acquire::Languages": "none", "Acquire::Check-Valid-Until": "true",
        "APT::Install-Recommends": "false", "Debug::NoLocking": "false",
    }
    architectures = f'#clear APT::Architectures;\nAPT::Architectures {{ "{architecture}"; }};\n'
    return "".join(f'{key} "{value}";\n' for key, value in settings.items()) + architectures + inherited + "\n"


def _last(error: HostError) -> str:
    """The last thing that apt complained about."""
    lines = [line.removeprefix("E: ") for line in error.details if line.startswith("E: ")] or list(error.details)
    return lines[-1] if lines else error.message


def _network(doing: str, error: HostError) -> HostError:
    text = "\n".join(error.details)
    if "not installed" in error.message:
        return error
    if _NO_NETWORK.search(text):
        return HostError(f"cannot {doing}: no network, or the mirror does not answer", details=error.details,
                         hint="connect this machine, or set a proxy for apt; what is cached works with --offline")
    if "NO_PUBKEY" in text or "is not signed" in text or "EXPKEYSIG" in text:
        return HostError(f"cannot {doing}: the signature does not verify with this machine's Debian keyring",
                         details=error.details, hint="as root: apt-get install --only-upgrade debian-archive-keyring")
    return HostError(f"cannot {doing}: {_last(error)}", details=error.details)


def _refused(batch: Sequence[Part], files: Sequence[Path], error: HostError) -> HostError:
    """What a failed download means: a part that is gone, or a network that is."""
    text = "\n".join(error.details)
    if re.search(r"\b404\b|\b410\b|File not found", text):
        gone = next((part for part, file in zip(batch, files, strict=True)
                     if part.filename.rpartition("/")[2] in text or not file.exists()), batch[0])
        return PartVanished(f"cannot fetch {gone.name} {gone.version}: the mirror does not have it any more",
                            hint="to pin what the mirror has now: imagekit lock --update", details=error.details)
    return _network("fetch Debian packages", error)
