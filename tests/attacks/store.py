"""A store that says whatever a test wants, over HTTP, and a device's way of asking it.

The device is the client that devices use (`imagekit.host.storeclient`), with its memory, the channel map's own parser,
and the choice that devices make. What it would install next is told by `sees`: the newest revision that it is offered.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata
from tuf.ngclient import UpdaterConfig

from imagekit.host.storeclient import Client, Limits, Local, open_client
from imagekit.host.web import PATIENCE, Patience
from imagekit.plan.channelmap import ChannelMap, parse_channel_map
from imagekit.plan.channels import parse_channel
from imagekit.plan.rollout import Asking, DeviceId, choose
from imagekit.plan.storepaths import channels_path
from imagekit.testing.stores import StoreRig

PACKAGE = "packages/small/small_2.snap.zst"
EVIL = 66  # a revision that only attackers have
DEVICE = DeviceId(brand="acme", model="pc", serial="0001")
IMPATIENT = Patience(stall_s=30.0, window_s=0.2, least_rate=10_000)

Answer = Callable[[BaseHTTPRequestHandler], None]


class ScriptedServer(ThreadingHTTPServer):
    """Serves `root`; a path in `answers` is answered by its function instead. `asked` are the paths, as they came."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedServer

    def do_GET(self) -> None:
        self.server.asked.append(self.path.lstrip("/"))
        path = unquote(self.path).lstrip("/")
        if path in self.server.answers:
            self.server.answers[path](self)
            return
        file = self.server.root / path
        if not file.is_file():
            self.send_error(404)
            return
        send(self, file.read_bytes())

    def log_message(self, *args: Any) -> None:
        """Say nothing."""


def send(handler: BaseHTTPRequestHandler, content: bytes, *, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(content)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(content)


@contextmanager
def serving(root: Path) -> Iterator[ScriptedServer]:
    server = ScriptedServer(root)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(slots=True, kw_only=True)
class Field:
    """A store with an old state and a new one, what is served of it, and a device that runs revision 2 of `small`."""

    rig: StoreRig
    server: ScriptedServer
    old: Path
    new: Path
    folder: Path
    config: UpdaterConfig = field(default_factory=UpdaterConfig)

    @property
    def served(self) -> Path:
        return self.server.root

    @property
    def metadata(self) -> Path:
        return self.served / "metadata"

    def serve(self, source: Path) -> None:
        self.server.answers.clear()
        shutil.rmtree(self.served)
        shutil.copytree(source, self.served)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    @property
    def local(self) -> Local:
        return Local(state=self.folder / "state", downloads=self.folder / "downloads", root=self.rig.first_root)

    def client(self, *, patience: Patience = PATIENCE) -> Client:
        return open_client(self.url, self.local, limits=Limits(patience=patience, metadata=self.config))

    def takes_anew(self, patience: Patience) -> Path:
        """Revision 2 of the package, by a device that remembers no earlier check."""
        self.forget()
        client = self.client(patience=patience)
        target = client.find(PACKAGE)
        assert target is not None
        return client.fetch(target)

    def channels(self) -> ChannelMap:
        client = self.client()
        target = client.find(channels_path("small"))
        assert target is not None
        return parse_channel_map(client.fetch(target).read_bytes(), name="small")

    def sees(self) -> int:
        """The newest revision that the store offers to this device, by a device's own choice."""
        asking = Asking(device=DEVICE, architecture="amd64", channel=parse_channel("stable"), current=None)
        found = choose(self.channels(), asking).revision
        return found.revision if found is not None else 0

    def remembers(self) -> dict[str, int]:
        """The versions of all that the device believes."""
        return {path.name: json.loads(path.read_bytes())["signed"]["version"]
                for path in (self.folder / "state").glob("*.json")}

    def forget(self, *roles: str) -> None:
        for role in roles or ("timestamp", "snapshot", "targets", "publisher-acme"):
            (self.folder / "state" / f"{role}.json").unlink(missing_ok=True)

    def key(self, name: str) -> CryptoSigner:
        return self.rig.keys.by_name[name]

    # what attackers do

    def forge(self, role: str, signer: CryptoSigner, change: Callable[[Any], None] = lambda signed: None) -> int:
        """The next version of a role, changed, with the signature of `signer` alone; its number."""
        path = self.metadata / "timestamp.json" if role == "timestamp" else newest(self.metadata, role)
        document = Metadata.from_file(str(path))
        document.signed.version += 1
        change(document.signed)
        document.signatures.clear()
        document.sign(signer)
        version = int(document.signed.version)
        target = path if role == "timestamp" else path.with_name(f"{version}.{role}.json")
        target.write_bytes(document.to_bytes())
        return version

    def name(self, role: str, version: int, *, snapshot_by: CryptoSigner | None = None) -> None:
        """A snapshot and a timestamp that name a version of a role, signed with the online key."""
        online = self.key("online")

        def names(signed: Any) -> None:
            signed.meta[f"{role}.json"].version = version

        number = version if role == "snapshot" else self.forge("snapshot", snapshot_by or online, names)

        def points(signed: Any) -> None:
            signed.snapshot_meta.version = number

        self.forge("timestamp", online, points)

    def forge_evil(self, signer: CryptoSigner) -> None:
        """A publisher's metadata, signed by `signer`, that offers revision `EVIL`."""
        self.rig.publish(self.rig.package(EVIL), channel="stable")
        self.serve(self.rig.public)
        path = newest(self.metadata, "publisher-acme")
        document = Metadata.from_file(str(path))
        document.signatures.clear()
        document.sign(signer)
        path.write_bytes(document.to_bytes())


def newest(metadata: Path, role: str) -> Path:
    """The file of the highest version of a role."""
    return max(metadata.glob(f"*.{role}.json"), key=lambda path: int(path.name.partition(".")[0]))


def template(folder: Path) -> StoreRig:
    """A store with two states; the folder `old` beside it has the first of them."""
    rig = StoreRig(folder=folder / "store", packages=folder / "packages")
    rig.create()
    rig.add_publisher()
    rig.publish(rig.package(1), rig.package(1, "other"), channel="stable")
    shutil.copytree(rig.public, folder / "old")
    rig.publish(rig.package(2), channel="stable")
    return rig


@contextmanager
def field_of(made: StoreRig, folder: Path) -> Iterator[Field]:
    """A copy of a template, served to a device that has seen its second state."""
    shutil.copytree(made.folder.parent, folder / "made")
    rig = replace(made, folder=folder / "made/store", packages=folder / "made/packages")
    rig.keys.locked.clear()
    new, served = folder / "new", folder / "served"
    for target in (new, served):
        shutil.copytree(rig.public, target)
    with serving(served) as server:
        found = Field(rig=rig, server=server, old=folder / "made/old", new=new, folder=folder / "device")
        assert found.sees() == 2
        yield found
