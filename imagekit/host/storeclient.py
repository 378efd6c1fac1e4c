"""Read a store as a device does: python-tuf's client, over HTTP or straight from the folder.

Decides nothing: what the client refuses is told as it is. A store is trusted by a root that is handed in. Devices use
this, and whoever checks a store. What is found here is current and the publisher's; that it may be installed is for
assertions to say.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater, UpdaterConfig

from imagekit.digests import CHUNK, chunks
from imagekit.errors import HostError, TrustError
from imagekit.host.files import write_atomic
from imagekit.plan.storepaths import METADATA, TARGETS


class FolderFetcher(FetcherInterface):
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


class Client:
    """A device's view of a store, refreshed."""

    def __init__(self, updater: Updater) -> None:
        self._updater = updater

    def find(self, path: str) -> TargetFile | None:
        """The signed facts of a target; None: nobody signs for it. Raises: TrustError: the store is not believed."""
        with _told("look up", path):
            return self._updater.get_targetinfo(path)

    def fetch(self, target: TargetFile) -> Path:
        """A target, downloaded and verified. Raises: TrustError: it is not what was signed."""
        with _told("fetch", target.path):
            return Path(self._updater.download_target(target))


@contextmanager
def _told(verb: str, what: str) -> Iterator[None]:
    try:
        yield
    except DownloadError as error:
        raise HostError(f"cannot {verb} {what} as a device: {error}") from error
    except RepositoryError as error:
        raise TrustError(f"cannot {verb} {what} as a device: {error}") from error


def open_client(source: str | Path, *, state: Path, downloads: Path, root: bytes | None = None,
                config: UpdaterConfig | None = None) -> Client:
    """A client that has just refreshed.

    `source` is a folder (a stick, a mounted store) or the URL that the store's files are below. `state` is a folder
    that keeps what was believed from one time to the next: versions never go back below it. `root` is the first root,
    needed where `state` has none yet. python-tuf replaces files in `state` by rename.

    Raises:
        HostError: the store cannot be reached. TrustError: it is not believed, or has expired.
    """
    for folder in (state, downloads):
        folder.mkdir(parents=True, exist_ok=True)
    if not (state / "root.json").exists():
        if root is None:
            raise TrustError(f"cannot use store {source}: there is no root to begin with in {state}")
        write_atomic(state / "root.json", root)
    base = "store:///" if isinstance(source, Path) else source.rstrip("/") + "/"
    with _told("refresh", str(source)):
        updater = Updater(
            metadata_dir=str(state), metadata_base_url=f"{base}{METADATA}/", target_dir=str(downloads),
            target_base_url=f"{base}{TARGETS}/", config=config or UpdaterConfig(app_user_agent="imagekit"),
            fetcher=FolderFetcher(source) if isinstance(source, Path) else None)
        updater.refresh()
    return Client(updater)


@contextmanager
def connected(source: str | Path, root: bytes) -> Iterator[Client]:
    """A client that remembers nothing and begins with `root`. Raises: as `open_client`."""
    with tempfile.TemporaryDirectory(prefix="imagekit-store-") as folder:
        yield open_client(source, state=Path(folder, "metadata"), downloads=Path(folder, "targets"), root=root)
