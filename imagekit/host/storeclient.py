"""Read a store as a device does: python-tuf's client, over HTTP or straight from the folder.

Decides nothing: what the client refuses is told as it is. A store is trusted by a root that is handed in. Devices use
this, and whoever checks a store. What is found here is current and the publisher's; that it may be installed is for
assertions to say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlparse

from tuf.api.exceptions import (
    DownloadError,
    DownloadHTTPError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
)
from tuf.api.metadata import TargetFile
from tuf.ngclient import Updater, UpdaterConfig

from imagekit.digests import CHUNK, chunks
from imagekit.errors import HostError, TrustError
from imagekit.host.files import clear_place, no_space, reason, write_atomic
from imagekit.host.storerules import MetadataFetcher, check_keys
from imagekit.host.web import PATIENCE, Patience, Web
from imagekit.plan.storepaths import METADATA, TARGETS, stored_name

ROOT = "root.json"


class WebFetcher(MetadataFetcher):
    """Metadata from a web server."""

    def __init__(self, web: Web) -> None:
        self._web = web

    def _fetch(self, url: str) -> Iterator[bytes]:
        response = self._web.get(url)
        if response.status_code >= HTTPStatus.BAD_REQUEST:
            response.close()
            raise DownloadHTTPError(f"the server answered {response.status_code}", response.status_code)
        return self._web.pieces(response)


class FolderFetcher(MetadataFetcher):
    """Serves `store:///NAME` out of a folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._root / unquote(urlparse(url).path).lstrip("/")
        try:
            stream = path.open("rb")
        except FileNotFoundError as error:
            raise DownloadHTTPError(f"{path.name} is missing", 404) from error
        with stream:
            yield from chunks(stream, CHUNK)


class Targets(Protocol):
    """Where a store's targets lie."""

    def read(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        """The bytes of a file from `start`, or from 0 where that is refused; first the one of both that it is.

        Raises: DownloadError: it cannot be had.
        """


class FolderTargets:
    """In a folder: a stick, a mounted store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        try:
            stream = (self._root / TARGETS / name).open("rb")
        except OSError as error:
            raise DownloadError(f"it cannot be read: {error.strerror}") from error

        def pieces() -> Iterator[bytes]:
            with stream:
                stream.seek(start)
                yield from chunks(stream)

        return start, pieces()


class WebTargets:
    """On a web server; one that knows no ranges (RFC 9110 section 14) sends a file from its beginning."""

    def __init__(self, url: str, web: Web) -> None:
        self._url = url
        self._web = web

    def read(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        headers = {"Range": f"bytes={start}-"} if start else None
        response = self._web.get(f"{self._url}{TARGETS}/{quote(name)}", headers)
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and start:
            response.close()
            return self.read(name, 0)
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            response.close()
            raise DownloadError(f"the server answered {response.status_code}")
        partial = response.status_code == HTTPStatus.PARTIAL_CONTENT
        if partial and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            response.close()
            raise DownloadError("the server sent another range than it was asked for")
        return (start if partial else 0), self._web.pieces(response)


class Ended(TrustError):
    """What a publisher signed has ended, and nobody signed it anew. The rest of the store is believed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """What a client has on its own side.

    `state` is a folder that keeps what was believed from one time to the next: versions never go back below it.
    python-tuf replaces files in it by rename. `downloads` is the folder that targets come into. `root` is the first
    root, needed where `state` has none yet, or a damaged one.
    """

    state: Path
    downloads: Path
    root: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirrors:
    """URLs that targets are fetched from where their source fails, and who hears that it did."""

    urls: tuple[str, ...] = ()
    say: Callable[[str], object] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is taken from a server: how slow it may be, and how much metadata it may send."""

    patience: Patience = PATIENCE
    metadata: UpdaterConfig = field(default_factory=UpdaterConfig)


class Client:
    """A device's view of a store, refreshed. `others` are where its targets lie as well; `say` hears why they count."""

    def __init__(self, updater: Updater, targets: Targets, downloads: Path, *, others: Sequence[Targets] = (),
                 say: Callable[[str], object] = lambda _: None) -> None:
        self._updater, self._targets, self._downloads = updater, targets, downloads
        self._others, self._say = others, say

    def find(self, path: str) -> TargetFile | None:
        """The signed facts of a target; None: nobody signs for it.

        Raises:
            Ended: of its publisher's part nothing is believed, as that has ended.
            TrustError: the store is not believed.
        """
        with _told("look up", path, expired=Ended):
            found = self._updater.get_targetinfo(path)
            if found is not None and "sha256" not in found.hashes:
                raise RepositoryError("no SHA-256 of it is signed, by which a store names its files")
            return found

    @property
    def ends(self) -> datetime:
        """Until when what the store says now is its word; so all that it leads to was signed before that."""
        return self._updater._trusted_set.timestamp.expires

    def fetch(self, target: TargetFile) -> Path:
        """A target, downloaded and verified, at its path below `downloads`.

        What a broken connection left behind is kept, and gone on with by the next call; nothing is called by a
        target's name before all of it was verified.

        Raises:
            HostError: it cannot be had, or there is no room for it.
            TrustError: it is not what was signed.
        """
        path, part = self._places(target)
        for place in (path, part):
            clear_place(place)
        if path.is_file() and _is_target(path, target):
            return path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_space(path, error) from error
        with _told("fetch", target.path):
            for source in self._others:
                try:
                    self._bring(target, part)
                    break
                except (DownloadError, RepositoryError) as error:
                    self._say(f"cannot fetch {target.path}: {error}: trying another address of the store")
                    self._targets, self._others = source, (*self._others[1:], self._targets)
            else:
                self._bring(target, part)
        part.rename(path)
        return path

    def _bring(self, target: TargetFile, part: Path) -> None:
        """Make `part` the whole target, out of what is there and what comes."""
        name = stored_name(target.path, target.hashes["sha256"])
        went_on = self._receive(name, target.length, part)
        sound = _is_target(part, target)
        if went_on and not sound:
            part.unlink()
            self._receive(name, target.length, part)
            sound = _is_target(part, target)
        if not sound:
            part.unlink()
            raise LengthOrHashMismatchError("what the server sent is not what was signed")

    def prune(self, folders: Iterable[str], *, but: Iterable[TargetFile] = ()) -> None:
        """Forget what was downloaded below these folders, parts too, but for these targets."""
        kept = {path for target in but for path in self._places(target)}
        for folder in folders:
            for path in sorted((self._downloads / folder).rglob("*")):
                if path.is_file() and path not in kept:
                    with suppress(OSError):  # it takes room, and is in nobody's way
                        path.unlink()

    def missing(self, target: TargetFile) -> int:
        """How many bytes of a target are not here yet."""
        return target.length - max((path.stat().st_size for path in self._places(target) if path.is_file()), default=0)

    def _places(self, target: TargetFile) -> tuple[Path, Path]:
        """Where it comes to lie, and until then a part of it: by its content, so that it is never a part of another."""
        path = self._downloads / target.path
        name = stored_name(target.path, target.hashes["sha256"]).rpartition("/")[2]
        return path, path.with_name(f"{name}.part")

    def _receive(self, name: str, length: int, part: Path) -> bool:
        """Bring `part` to `length` bytes, never beyond; whether some of it was there before."""
        try:
            part.touch()
        except OSError as error:
            raise no_space(part, error) from error
        have = part.stat().st_size
        if have >= length:
            return have > 0
        start, pieces = self._targets.read(name, have)
        try:
            with part.open("r+b" if start else "wb") as out:
                out.seek(start)
                for piece in pieces:
                    if out.tell() + len(piece) > length:
                        raise DownloadError(f"it goes on behind the {length} bytes that were signed")
                    out.write(piece)
                at = out.tell()
        except OSError as error:
            raise no_space(part, error) from error
        if at < length:
            raise DownloadError(f"it ended after {at} of {length} bytes")
        return start > 0


def _tidy(state: Path, limits: UpdaterConfig) -> None:
    """Metadata stays what it is; python-tuf leaves a temporary file where a power cut came before its own name."""
    most = max(limits.root_max_length, limits.timestamp_max_length, limits.snapshot_max_length,
               limits.targets_max_length)
    for path in state.iterdir():
        if path.suffix == ".json" or path.name.startswith(tempfile.gettempprefix()):
            clear_place(path, most=most if path.suffix == ".json" else -1)


def _is_target(path: Path, target: TargetFile) -> bool:
    """What the disk does not give back any more is none either: it is fetched anew."""
    with suppress(OSError, LengthOrHashMismatchError), path.open("rb") as stream:
        target.verify_length_and_hashes(stream)
        return True
    return False


@contextmanager
def _told(verb: str, what: str, *, expired: type[TrustError] = TrustError) -> Iterator[None]:
    try:
        yield
    except DownloadError as error:
        raise HostError(f"cannot {verb} {what} as a device: {error}",
                        hint="try again: what came is kept") from error
    except ExpiredMetadataError as error:
        raise expired(f"cannot {verb} {what} as a device: {error}",
                      hint="nobody renewed the store, an old state of it is served, or this clock is wrong") from error
    except RepositoryError as error:
        raise TrustError(f"cannot {verb} {what} as a device: {error}") from error
    except OSError as error:  # of our own disk, where python-tuf or we keep what came
        raise HostError(f"cannot {verb} {what} as a device: {reason(error)}") from error


def open_client(source: str | Path, local: Local, *, mirrors: Mirrors | None = None, limits: Limits | None = None,
                now: datetime | None = None) -> Client:
    """A client that has just refreshed.

    `source` is a folder (a stick, a mounted store) or the URL that the store's files are below. `now` is the time to
    hold expiry against, where the machine's clock is not to be relied on.

    Raises:
        HostError: the store cannot be reached. TrustError: it is not believed, or has expired.
    """
    mirrors, limits, state = mirrors or Mirrors(), limits or Limits(), local.state
    for folder in (state, local.downloads):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise no_space(folder, error) from error
    base = "store:///" if isinstance(source, Path) else source.rstrip("/") + "/"
    web = Web(limits.patience)
    fetcher = FolderFetcher(source) if isinstance(source, Path) else WebFetcher(web)

    def updater() -> Updater:
        return Updater(metadata_dir=str(state), metadata_base_url=f"{base}{METADATA}/", fetcher=fetcher,
                       config=limits.metadata)

    with _told("refresh", str(source)):
        _tidy(state, limits.metadata)
    if not (state / ROOT).exists():
        if local.root is None:
            raise TrustError(f"cannot use store {source}: there is no root to begin with in {state}")
        write_atomic(state / ROOT, local.root)
    with _told("refresh", str(source)):
        try:
            made = updater()
        except RepositoryError:  # python-tuf does not flush what it writes: a power cut may leave less than a root
            if local.root is None:
                raise
            write_atomic(state / ROOT, local.root)
            made = updater()
        if now is not None:
            # python-tuf asks the clock alone, and offers no other way to tell it the time.
            made._trusted_set.reference_time = now
        try:
            made.refresh()
        except OSError as error:
            raise no_space(state, error) from error
        check_keys(made._trusted_set.root)
        check_keys(made._trusted_set.targets)
    targets = FolderTargets(source) if isinstance(source, Path) else WebTargets(base, web)
    return Client(made, targets, local.downloads, say=mirrors.say,
                  others=tuple(WebTargets(url.rstrip("/") + "/", web) for url in mirrors.urls))


@contextmanager
def connected(source: str | Path, root: bytes) -> Iterator[Client]:
    """A client that remembers nothing and begins with `root`. Raises: as `open_client`."""
    with tempfile.TemporaryDirectory(prefix="imagekit-store-") as folder:
        yield open_client(source, Local(state=Path(folder, "metadata"), downloads=Path(folder, "targets"), root=root))
