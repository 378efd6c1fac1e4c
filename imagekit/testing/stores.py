"""A store in a folder of the test, with keys of its own, a brand that publishes, and packages that are real EROFS.

Packages are a small one made beforehand, with its name changed in place and bytes added behind its file system, so that
each revision has bytes of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from securesystemslib.signer import CryptoSigner, Signer

from imagekit.assertions import Assertion, Chain
from imagekit.packages.package import ErofsPackage, read_info
from imagekit.plan.channelmap import UpdateClass
from imagekit.plan.channels import parse_channel
from imagekit.plan.releases import Terms
from imagekit.store.commit import Outcome
from imagekit.store.create import create
from imagekit.store.disk import Disk, FolderDisk
from imagekit.store.metadata import PUBLIC, Config, Periods
from imagekit.store.publishing import Offer, Wanted, publish
from imagekit.store.repository import Store, opened
from imagekit.store.roles import RoleKeys, set_publisher
from imagekit.testing.documents import TESTS, Brand
from imagekit.testing.images import noise

SMALL = TESTS / "unit" / "packages" / "erofs" / "flat.erofs"  # its snap.yaml: name small, an app
NAMES = ("small", "other", "third")  # of one length


class PowerCut(Exception):
    """The power is gone; what was written before is what there is."""


class CutDisk(FolderDisk):
    """A disk whose power goes after `left` steps, in the middle of writing a file beside its name."""

    def __init__(self, root: Path, left: int) -> None:
        super().__init__(root)
        self.left = left

    def put(self, name: str, content: bytes) -> None:
        self._step(name, content)
        super().put(name, content)

    def adopt(self, name: str, source: Path) -> None:
        self._step(name, source.read_bytes())
        super().adopt(name, source)

    def remove(self, name: str) -> None:
        self._step(name, b"")
        super().remove(name)

    def _step(self, name: str, content: bytes) -> None:
        if not self.left:
            half = self.root / name
            half.parent.mkdir(parents=True, exist_ok=True)
            half.with_name(f".{half.name}.half.new").write_bytes(content[:len(content) // 2])
            raise PowerCut
        self.left -= 1


class TestKeys:
    """Keys by their ids; `locked` are elsewhere."""

    __test__ = False

    def __init__(self, *names: str) -> None:
        self.by_name: dict[str, CryptoSigner] = {name: CryptoSigner.generate_ed25519() for name in names}
        self.locked: set[str] = set()

    def role(self, *names: str, threshold: int = 1) -> RoleKeys:
        return RoleKeys(keys=tuple(self.by_name[name].public_key for name in names), threshold=threshold)

    def signer(self, key_id: str) -> Signer | None:
        return next((signer for name, signer in self.by_name.items()
                     if signer.public_key.keyid == key_id and name not in self.locked), None)


@dataclass(slots=True, kw_only=True)
class StoreRig:
    """A store, who works on it, and what time it is."""

    folder: Path
    packages: Path
    brand: Brand = field(default_factory=Brand)
    keys: TestKeys = field(default_factory=lambda: TestKeys(
        "root-1", "root-2", "root-3", "targets-1", "targets-2", "online", "online-2", "acme", "acme-2", "beta"))
    now: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))  # the client asks the clock
    periods: Periods = field(default_factory=Periods)

    @property
    def public(self) -> Path:
        return self.folder / PUBLIC

    @property
    def first_root(self) -> bytes:
        return (self.public / "metadata" / "1.root.json").read_bytes()

    def create(self, **roles: RoleKeys) -> Outcome:
        """Make it: two root keys of which one signs, unless `roles` say otherwise."""
        given: Mapping[str, RoleKeys] = {
            "root": self.keys.role("root-1", "root-2"), "targets": self.keys.role("targets-1"),
            "snapshot": self.keys.role("online"), "timestamp": self.keys.role("online"), **roles}
        return create(self.folder, Config(name="test", periods=self.periods), given, self.keys, now=self.now)

    @contextmanager
    def open(self, disk: Disk | None = None) -> Iterator[Store]:
        with opened(self.folder, self.keys, now=self.now, disk=disk) as store:
            yield store

    def add_publisher(self, account: str = "acme", *keys: str, patterns: tuple[str, ...] = ("small", "other"),
                      threshold: int = 1, assertions: tuple[Assertion, ...] = ()) -> Outcome:
        with self.open() as store:
            draft = store.draft()
            set_publisher(store, draft, account, self.keys.role(*(keys or (account,)), threshold=threshold),
                          patterns=patterns, assertions=assertions or self.brand.roots)
            return store.commit(draft)

    def package(self, revision: int, name: str = "small", *, content: str | None = None, brand: Brand | None = None,
                ) -> Offer:
        """A package file, signed; `content` tells it from others."""
        assert name in NAMES
        signer = brand or self.brand
        raw = SMALL.read_bytes().replace(b"name: small", b"name: " + name.encode())
        path = self.packages / f"{name}_{revision}.snap"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw + noise(content or f"{name}-{revision}", 8192))
        return self.offer(path, signer.revision_for(path), brand=signer)

    def offer(self, path: Path, assertion: Assertion, *, brand: Brand | None = None) -> Offer:
        chain: Chain = (brand or self.brand).database().verify(assertion, now=self.now)
        with path.open("rb") as stream:
            return Offer(path=path, info=read_info(ErofsPackage(stream, name=path.name)), chain=chain)

    def publish(self, *offers: Offer, channel: str | None = "edge", terms: Terms | None = None,
                update_class: UpdateClass = UpdateClass.FEATURE, advisory: str = "",
                disk: Disk | None = None) -> Outcome:
        with self.open(disk) as store:
            return publish(store, offers, Wanted(
                channel=parse_channel(channel) if channel else None, terms=terms or Terms(),
                update_class=update_class, advisory=advisory))
