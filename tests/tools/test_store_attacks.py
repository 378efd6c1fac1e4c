"""Attacks on the way between store and device: python-tuf's own client, over nginx, refuses each of them.

A device refreshed once and keeps what it saw. Then the served folder is replaced by an attacker's. Behind each attack
the honest store is served again, and the device updates as if nothing had been.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import (
    BadVersionNumberError,
    DownloadError,
    ExpiredMetadataError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.metadata import Metadata
from tuf.ngclient import Updater, UpdaterConfig

from imagekit.plan.storepaths import channels_path
from imagekit.store.metadata import load
from imagekit.testing.stores import StoreRig
from tests.tools.store_server import nginx

pytestmark = pytest.mark.tools
PACKAGE = "packages/small/small_2.snap.zst"


@dataclass
class Field:
    """A store with two states, what is served, and a device that has seen the second."""

    rig: StoreRig
    served: Path
    old: Path
    new: Path
    device: Path
    url: str

    def serve(self, source: Path) -> Path:
        shutil.rmtree(self.served)
        shutil.copytree(source, self.served)
        return self.served / "metadata"

    def updater(self) -> Updater:
        return Updater(metadata_dir=str(self.device), metadata_base_url=f"{self.url}/metadata/",
                       target_dir=str(self.device / "targets"), target_base_url=f"{self.url}/targets/",
                       config=UpdaterConfig(root_max_length=20_000, timestamp_max_length=4_000))

    def refresh(self) -> Updater:
        updater = self.updater()
        updater.refresh()
        return updater

    def seen(self) -> dict[str, int]:
        """The versions that the device keeps."""
        return {path.name: json.loads(path.read_bytes())["signed"]["version"] for path in self.device.glob("*.json")}

    def honest_again(self) -> None:
        self.serve(self.new)
        target = self.refresh().get_targetinfo(PACKAGE)
        assert target is not None


@pytest.fixture
def field(tmp_path: Path, program: Callable[[str], str]) -> Iterator[Field]:
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create()
    rig.add_publisher()
    rig.publish(rig.package(1), rig.package(1, "other"), channel="stable")
    old, new, served, device = (tmp_path / name for name in ("old", "new", "served", "device"))
    shutil.copytree(rig.public, old)
    rig.publish(rig.package(2), channel="stable")
    shutil.copytree(rig.public, new)
    shutil.copytree(new, served)
    (device / "targets").mkdir(parents=True)
    (device / "root.json").write_bytes(rig.first_root)
    with nginx(program("nginx"), served, tmp_path / "nginx") as url:
        field = Field(rig=rig, served=served, old=old, new=new, device=device, url=url)
        assert field.refresh().get_targetinfo(PACKAGE) is not None
        yield field


def resign(path: Path, change: Callable[[Any], None], *signers: CryptoSigner) -> None:
    """Change metadata and sign it anew, as somebody does who has these keys."""
    metadata = Metadata.from_file(str(path))
    change(metadata.signed)
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    path.write_bytes(metadata.to_bytes())


def nothing(_: Any) -> None:
    """Change nothing."""


def test_honest_store_is_followed_and_its_package_fetched(field: Field) -> None:
    updater = field.refresh()
    target = updater.get_targetinfo(PACKAGE)
    assert target is not None and Path(updater.download_target(target)).stat().st_size == target.length


def test_attack_rollback_to_an_older_timestamp_is_refused(field: Field) -> None:
    before = field.seen()
    field.serve(field.old)
    with pytest.raises(BadVersionNumberError):
        field.refresh()
    assert field.seen() == before
    field.honest_again()


def test_attack_rollback_of_the_snapshot_behind_a_new_timestamp_is_refused(field: Field) -> None:
    """The online timestamp key alone, with every old file at hand, gives nothing old back."""
    metadata = field.serve(field.new)
    old = Metadata.from_file(str(field.old / "metadata/timestamp.json")).signed.snapshot_meta.version

    def back(signed: Any) -> None:
        signed.version += 1
        signed.snapshot_meta.version = old

    resign(metadata / "timestamp.json", back, field.rig.keys.by_name["online"])
    with pytest.raises(BadVersionNumberError):
        field.refresh()
    field.honest_again()


def test_attack_freeze_is_noticed_when_the_timestamp_ends(field: Field) -> None:
    """The same valid files are served for ever: believed until the timestamp's end and no longer."""
    field.rig.now -= timedelta(days=8)
    with field.rig.open() as store:
        store.commit(store.draft_online(clock_is_right=True))
    field.serve(field.rig.public)
    with pytest.raises(ExpiredMetadataError):
        field.refresh()
    field.rig.now += timedelta(days=8)
    with field.rig.open() as store:
        store.commit(store.draft_online())
    field.serve(field.rig.public)
    field.refresh()


@pytest.mark.parametrize("role", ["root", "snapshot", "targets", "publisher-acme"])
def test_expired_metadata_of_each_role_is_refused(field: Field, role: str) -> None:
    """Signed by the right keys, and over."""
    metadata = field.serve(field.new)
    keys = field.rig.keys.by_name
    signer = {"root": keys["root-1"], "snapshot": keys["online"], "targets": keys["targets-1"],
              "publisher-acme": keys["acme"]}[role]

    def ended(signed: Any) -> None:
        signed.version += 1
        signed.expires = field.rig.now - timedelta(days=1)

    path = max(metadata.glob(f"*.{role}.json"), key=lambda item: int(item.name.partition(".")[0]))
    version = int(path.name.partition(".")[0])
    newer = path.with_name(f"{version + 1}.{role}.json")
    shutil.copy(path, newer)
    resign(newer, ended, signer)
    follow(field, metadata, role, version + 1)
    with pytest.raises(ExpiredMetadataError):
        field.refresh().get_targetinfo(PACKAGE)
    if role != "root":  # a root that was taken stays, and only the next one helps
        shutil.rmtree(field.device)
        (field.device / "targets").mkdir(parents=True)
        (field.device / "root.json").write_bytes(field.rig.first_root)
        field.honest_again()


def follow(field: Field, metadata: Path, role: str, version: int) -> None:
    """Snapshot and timestamp that name a version of a role, signed with the online key."""
    online = field.rig.keys.by_name["online"]
    timestamp = Metadata.from_file(str(metadata / "timestamp.json"))
    current = timestamp.signed.snapshot_meta.version

    def name(signed: Any) -> None:
        signed.version = current + 1
        if role in ("targets", "publisher-acme"):
            signed.meta[f"{role}.json"].version = version

    if role != "snapshot":
        shutil.copy(metadata / f"{current}.snapshot.json", metadata / f"{current + 1}.snapshot.json")
        resign(metadata / f"{current + 1}.snapshot.json", name, online)

    def point(signed: Any) -> None:
        signed.version += 1
        signed.snapshot_meta.version = current + 1

    resign(metadata / "timestamp.json", point, online)


def test_attack_mix_and_match_of_an_old_publisher_with_a_new_snapshot_is_refused(field: Field) -> None:
    metadata = field.serve(field.new)
    old = load(field.old).publishers["publisher-acme"]
    new = load(field.new).publishers["publisher-acme"].signed.version
    (metadata / f"{new}.publisher-acme.json").write_bytes(old.to_bytes())
    (field.device / "publisher-acme.json").unlink()
    with pytest.raises(BadVersionNumberError):
        field.refresh().get_targetinfo(PACKAGE)
    field.honest_again()


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "publisher-acme", "root"])
def test_attack_a_stranger_signs_a_role_and_is_refused(field: Field, role: str) -> None:
    metadata, stranger = field.serve(field.new), CryptoSigner.generate_ed25519()
    if role == "timestamp":
        resign(metadata / "timestamp.json", lambda signed: setattr(signed, "version", signed.version + 1), stranger)
    else:
        path = max(metadata.glob(f"*.{role}.json"), key=lambda item: int(item.name.partition(".")[0]))
        version = int(path.name.partition(".")[0]) + 1
        newer = path.with_name(f"{version}.{role}.json")
        shutil.copy(path, newer)
        resign(newer, lambda signed: setattr(signed, "version", version), stranger)
        follow(field, metadata, role, version)
        if role == "snapshot":
            resign(metadata / "timestamp.json", nothing, field.rig.keys.by_name["online"])
    with pytest.raises(UnsignedMetadataError):
        field.refresh().get_targetinfo(PACKAGE)
    field.serve(field.new)


def test_attack_one_of_two_keys_signs_twice_and_is_refused(tmp_path: Path, program: Callable[[str], str]) -> None:
    """A threshold of two: one key, its signature repeated, and the same key under a second id do not reach it."""
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create(targets=rig.keys.role("targets-1", "targets-2", threshold=2))
    device = tmp_path / "device"
    (device / "targets").mkdir(parents=True)
    (device / "root.json").write_bytes(rig.first_root)
    path = rig.public / "metadata/1.targets.json"
    document = json.loads(path.read_bytes())
    one = document["signatures"][0]
    document["signatures"] = [one, {**one, "keyid": "ab" * 32}]
    path.write_text(json.dumps(document))
    with nginx(program("nginx"), rig.public, tmp_path / "nginx") as url:
        updater = Updater(metadata_dir=str(device), metadata_base_url=f"{url}/metadata/")
        with pytest.raises(UnsignedMetadataError, match="1/2"):
            updater.refresh()
        document["signatures"] = [one, one]
        path.write_text(json.dumps(document))
        updater = Updater(metadata_dir=str(device), metadata_base_url=f"{url}/metadata/")
        with pytest.raises(RepositoryError):
            updater.refresh()


@pytest.mark.parametrize("name", ["timestamp.json", "2.root.json"])
def test_attack_endless_metadata_is_cut_off(field: Field, name: str) -> None:
    metadata = field.serve(field.new)
    with (metadata / name).open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises((DownloadError, RepositoryError)):
        field.refresh()
    assert sum(path.stat().st_size for path in field.device.rglob("*") if path.is_file()) < 1 << 20
    field.honest_again()


def test_attack_endless_package_is_cut_off(field: Field) -> None:
    updater = field.refresh()
    target = updater.get_targetinfo(PACKAGE)
    assert target is not None
    path = next((field.served / "targets/packages/small").glob("*.small_2.snap.zst"))
    with path.open("r+b") as stream:
        stream.truncate(1 << 30)
    with pytest.raises((DownloadError, LengthOrHashMismatchError)):
        updater.download_target(target)
    assert sum(item.stat().st_size for item in field.device.rglob("*") if item.is_file()) < 1 << 20


def test_attack_one_byte_of_a_package_is_refused(field: Field) -> None:
    updater = field.refresh()
    target = updater.get_targetinfo(PACKAGE)
    assert target is not None
    path = next((field.served / "targets/packages/small").glob("*.small_2.snap.zst"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(LengthOrHashMismatchError):
        updater.download_target(target)
    assert not list((field.device / "targets").iterdir())


def test_attack_a_publisher_signs_for_the_name_of_another(field: Field) -> None:
    """Its key is good, its metadata is valid, and the delegation does not cover the name."""
    field.rig.add_publisher("beta", "beta", patterns=("third",))
    with field.rig.open() as store:
        draft = store.draft()
        store.put(draft.publisher("publisher-beta"), channels_path("unowned"), b"{}")
        store.put(draft.publisher("publisher-beta"), channels_path("small"), b"{}")
        store.commit(draft)
    field.serve(field.rig.public)
    updater = field.refresh()
    assert updater.get_targetinfo(channels_path("unowned")) is None
    found = updater.get_targetinfo(channels_path("small"))
    assert found is not None and found.length > 2


def test_attack_a_withheld_file_is_an_error_and_changes_nothing(field: Field) -> None:
    before = field.seen()
    metadata = field.serve(field.new)
    (metadata / "timestamp.json").unlink()
    with pytest.raises(DownloadError):
        field.refresh()
    assert field.seen() == before
    field.honest_again()
