"""A TUF repository whose every word a test chooses, and a device that knows its second state.

No store of ours writes it: roles are documents in memory, signed with whatever keys a test wants, and written as the
specification's section 4 has them. `World` serves one over HTTP to the client that devices use.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.ngclient import UpdaterConfig

from imagekit.host.storeclient import Client, Limits, Local, open_client
from imagekit.plan.storepaths import stored_name
from tests.attacks.store import ScriptedServer, serving

TARGET, CONTENT = "packages/pump", b"the pump's package"
PUBLISHER = "publisher"
ONLINE = ("snapshot", "timestamp")
ROLES = ("root", "targets", *ONLINE)


def tomorrow() -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)


@dataclass(slots=True, kw_only=True)
class Repository:
    """`folder` is what is served. With `hashed`, snapshot and timestamp name digests and lengths beside versions."""

    folder: Path
    documents: dict[str, Metadata[Any]] = field(default_factory=dict)
    signers: dict[str, list[CryptoSigner]] = field(default_factory=dict)
    hashed: bool = False
    highest: dict[str, int] = field(default_factory=dict)

    @classmethod
    def create(cls, folder: Path) -> Repository:
        """The four roles, each with a key of its own, and nothing in them; every one is version 1."""
        made = cls(folder=folder)
        expires = tomorrow()
        root = Root(expires=expires)
        for role, signed in (("root", root), ("targets", Targets(expires=expires)),
                             ("snapshot", Snapshot(expires=expires)), ("timestamp", Timestamp(expires=expires))):
            signer = CryptoSigner.generate_ed25519()
            root.add_key(signer.public_key, role)
            made.documents[role], made.signers[role] = Metadata(signed), [signer]
        for role in ROLES:
            made.write(role)
        return made

    def signed(self, role: str) -> Any:
        return self.documents[role].signed

    def encode(self, role: str) -> bytes:
        document = self.documents[role]
        document.signatures.clear()
        for signer in self.signers[role]:
            document.sign(signer, append=True)
        return document.to_bytes()

    def path(self, role: str, version: int) -> Path:
        name = f"{role}.json" if role == "timestamp" else f"{version}.{role}.json"
        return self.folder / "metadata" / name

    def write(self, role: str, *, version: int | None = None) -> bytes:
        """Sign and serve it as it is, under its version or another one."""
        raw, number = self.encode(role), self.signed(role).version
        path = self.path(role, number if version is None else version)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)
        self.highest[role] = max(self.highest.get(role, 0), number)
        return raw

    def release(self, *roles: str) -> None:
        """The next version of these, of the snapshot and of the timestamp, each naming the one below it."""
        for role in roles:
            self.signed(role).version += 1
            self.name(role)
        self.signed("snapshot").version += 1
        self.point()

    def name(self, role: str) -> None:
        """Serve it, and have the snapshot in memory name it."""
        self.signed("snapshot").meta[f"{role}.json"] = self._meta(role)

    def point(self) -> None:
        """Serve the snapshot as it is, and the next timestamp, which names it."""
        timestamp = self.signed("timestamp")
        timestamp.version += 1
        timestamp.snapshot_meta = self._meta("snapshot")
        self.write("timestamp")

    def _meta(self, role: str) -> MetaFile:
        raw, version = self.write(role), self.signed(role).version
        return MetaFile.from_data(version, raw, ["sha256"]) if self.hashed else MetaFile(version)

    def new_root(self) -> None:
        self.signed("root").version += 1
        self.write("root")

    def delegate(self, delegator: str, role: str, *, paths: Iterable[str] = ("*",), terminating: bool = False) -> None:
        """A role that a role of targets delegates to, with a key of its own; neither is released."""
        if role not in self.documents:
            self.documents[role] = Metadata(Targets(expires=tomorrow()))
            self.signed(role).version = 0
            self.signers[role] = [CryptoSigner.generate_ed25519()]
        above = self.signed(delegator)
        if above.delegations is None:
            above.delegations = Delegations({}, {})
        above.delegations.roles[role] = DelegatedRole(role, [], 1, terminating, list(paths))
        above.add_key(self.signers[role][0].public_key, role)

    def put(self, role: str, path: str, content: bytes, *, algorithms: Iterable[str] = ("sha256",)) -> Path:
        """A target of a role, and its file; the role is not released."""
        target = TargetFile.from_data(path, content, list(algorithms))
        self.signed(role).targets[path] = target
        file = self.folder / "targets" / stored_name(path, target.hashes.get("sha256", "none"))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    # honest again

    def saved(self) -> tuple[dict[str, Metadata[Any]], dict[str, list[CryptoSigner]], bool]:
        return deepcopy(self.documents), {role: list(keys) for role, keys in self.signers.items()}, self.hashed

    def restore(self, saved: tuple[dict[str, Metadata[Any]], dict[str, list[CryptoSigner]], bool], *, root: int
                ) -> None:
        """What it was, with versions above all that were ever served; `root` is the one that devices have."""
        self.documents, self.signers, self.hashed = saved
        for role, document in self.documents.items():
            if role != "root":
                document.signed.version = self.highest[role]
        for path in (self.folder / "metadata").glob("*.root.json"):
            if int(path.name.partition(".")[0]) > root:
                path.unlink()
        if root > self.signed("root").version:
            self.signed("root").version = root
            self.new_root()
        self.release("targets", PUBLISHER)


@dataclass(slots=True, kw_only=True)
class World:
    repo: Repository
    server: ScriptedServer
    device: Path
    first_root: bytes
    config: UpdaterConfig = field(default_factory=UpdaterConfig)
    now: datetime | None = None

    def client(self) -> Client:
        return open_client(f"http://127.0.0.1:{self.server.server_port}",
                           Local(state=self.device / "state", downloads=self.device / "downloads",
                                 root=self.first_root), limits=Limits(metadata=self.config), now=self.now)

    def fetch(self, path: str = TARGET) -> bytes:
        client = self.client()
        target = client.find(path)
        assert target is not None
        return client.fetch(target).read_bytes()

    def remembers(self) -> dict[str, int]:
        return {path.name.removesuffix(".json"): json.loads(path.read_bytes())["signed"]["version"]
                for path in (self.device / "state").glob("*.json")}

    def asked(self) -> list[str]:
        """The metadata that was asked for since the last call, as it was named on the line."""
        found = [path.removeprefix("metadata/").removesuffix(".json") for path in self.server.asked
                 if path.startswith("metadata/")]
        self.server.asked.clear()
        return found


KNOWN: Mapping[str, int] = {"root": 1, "targets": 2, "snapshot": 2, "timestamp": 2, PUBLISHER: 2}


@contextmanager
def world_of(folder: Path, *, hashed: bool = False) -> Iterator[World]:
    """A repository in its second state, which a device has seen; its first is there for whoever replays it."""
    repo = Repository.create(folder / "served")
    repo.hashed = hashed
    repo.delegate("targets", PUBLISHER, paths=["packages/*"], terminating=True)
    repo.signed(PUBLISHER).version, repo.signed("timestamp").version = 1, 0
    repo.put(PUBLISHER, TARGET, CONTENT)
    repo.name("targets")
    repo.name(PUBLISHER)
    repo.point()
    first_root = repo.path("root", 1).read_bytes()
    repo.release("targets", PUBLISHER)
    with serving(repo.folder) as server:
        world = World(repo=repo, server=server, device=folder / "device", first_root=first_root)
        assert world.fetch() == CONTENT and world.remembers() == KNOWN
        world.asked()
        yield world
