"""The client workflow of the TUF specification, step by step, through the client that devices use.

Each case is named by the step that it breaks (sections 4 and 5 of version 1.0). The device has seen the second
state of the repository. A case changes what is served next; the step refuses it, what is believed afterwards is told
to the version, and then the honest repository goes on and is followed. What theupdateframework/tuf-conformance
asks, and what of it does not apply: docs/reference/store.md, "Held to the specification".
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, MetaFile

from imagekit.errors import HostError, ImagekitError, TrustError
from tests.attacks.repository import CONTENT, KNOWN, ONLINE, PUBLISHER, TARGET, World, tomorrow, world_of
from tests.attacks.store import send

PAST = timedelta(days=2)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with world_of(tmp_path) as found:
        yield found


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """`after` are the versions that are believed then, where they are not those of before."""

    do: Callable[[World], object]
    match: str
    error: type[ImagekitError] = TrustError
    after: Mapping[str, int] = field(default_factory=dict)
    hashed: bool = False


NEXT_TIMESTAMP = {"timestamp": 3}
NEXT_ONLINE = {"timestamp": 3, "snapshot": 3}
NEXT_TARGETS = {**NEXT_ONLINE, "targets": 3}
UNSIGNED = r"was signed by 0/1"


def stranger(world: World, role: str) -> None:
    world.repo.signers[role] = [CryptoSigner.generate_ed25519()]


def expire(world: World, role: str) -> None:
    world.repo.signed(role).expires -= PAST


def long_document(world: World, role: str, size: int) -> None:
    world.repo.signed(role).unrecognized_fields["filler"] = "x" * size


def gone(world: World, name: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"gone", status=404)

    world.server.answers[f"metadata/{name}.json"] = answer


def sorry(world: World, name: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"sorry", status=500)

    world.server.answers[f"metadata/{name}.json"] = answer


def root_by_strangers(world: World) -> None:
    """Its own keys are all strangers', and sign it; none of the root before does."""
    thief, root = CryptoSigner.generate_ed25519(), world.repo.signed("root")
    for key_id in list(root.roles["root"].keyids):
        root.revoke_key(key_id, "root")
    root.add_key(thief.public_key, "root")
    world.repo.signers["root"] = [thief]
    world.repo.new_root()


def root_without_its_own_keys(world: World) -> None:
    """The root before signs it; it does not sign itself."""
    world.repo.signed("root").roles["root"].threshold = 2
    world.repo.signed("root").add_key(CryptoSigner.generate_ed25519().public_key, "root")
    world.repo.new_root()


def root_at_the_wrong_place(version: int) -> Callable[[World], None]:
    def do(world: World) -> None:
        world.repo.signed("root").version = version
        world.repo.write("root", version=2)

    return do


def expired_root(world: World) -> None:
    expire(world, "root")
    world.repo.new_root()
    world.repo.release("targets")


def older_timestamp(world: World) -> None:
    world.repo.signed("timestamp").version = 1
    world.repo.write("timestamp")


def timestamp_of_an_older_snapshot(world: World) -> None:
    timestamp = world.repo.signed("timestamp")
    timestamp.version, timestamp.snapshot_meta = 3, MetaFile(1)
    world.repo.write("timestamp")


def signed_by(role: str, release: Callable[[World], object]) -> Callable[[World], None]:
    def do(world: World) -> None:
        stranger(world, role)
        release(world)

    return do


def expired(role: str, release: Callable[[World], object]) -> Callable[[World], None]:
    def do(world: World) -> None:
        expire(world, role)
        release(world)

    return do


def too_long(role: str, size: int, release: Callable[[World], object]) -> Callable[[World], None]:
    def do(world: World) -> None:
        long_document(world, role, size)
        release(world)

    return do


def timestamp_alone(world: World) -> None:
    world.repo.point()


def everything(world: World) -> None:
    world.repo.release("targets", PUBLISHER)


def other_than_named(role: str) -> Callable[[World], None]:
    """Another document of the right version, and signed: not the one whose digest is named."""
    def do(world: World) -> None:
        everything(world)
        expires = world.repo.signed(role).expires
        world.repo.signed(role).expires = expires + timedelta(days=9)
        world.repo.write(role)

    return do


def another_version(role: str) -> Callable[[World], None]:
    """The second state under the name of the third."""
    def do(world: World) -> None:
        old = world.repo.path(role, 2).read_bytes()
        everything(world)
        world.repo.path(role, 3).write_bytes(old)

    return do


def longer_than_named(role: str) -> Callable[[World], None]:
    def do(world: World) -> None:
        everything(world)
        path = world.repo.path(role, 3)
        path.write_bytes(path.read_bytes() + b" " * 100)

    return do


def absent(role: str) -> Callable[[World], None]:
    def do(world: World) -> None:
        everything(world)
        world.repo.path(role, 3).unlink()

    return do


def older_in_the_snapshot(role: str) -> Callable[[World], None]:
    def do(world: World) -> None:
        snapshot = world.repo.signed("snapshot")
        snapshot.version, snapshot.meta[f"{role}.json"] = 3, MetaFile(1)
        world.repo.point()

    return do


def left_out_of_the_snapshot(role: str) -> Callable[[World], None]:
    def do(world: World) -> None:
        snapshot = world.repo.signed("snapshot")
        snapshot.version = 3
        del snapshot.meta[f"{role}.json"]
        world.repo.point()

    return do


def new_publisher_that_no_snapshot_names(world: World) -> None:
    world.repo.delegate("targets", "other", paths=["others/*"])
    world.repo.delegate("targets", PUBLISHER, paths=["others/*", "packages/*"], terminating=True)
    world.repo.signed("targets").delegations.roles[PUBLISHER].paths = ["others/*"]
    world.repo.signed("targets").delegations.roles["other"].paths = ["packages/*"]
    world.repo.release("targets")


def other_bytes(change: Callable[[bytes], bytes]) -> Callable[[World], None]:
    """What is served under the name of a target that the device has yet to fetch."""
    def do(world: World) -> None:
        file = world.repo.put(PUBLISHER, TARGET, b"the pump's next package")
        world.repo.release(PUBLISHER)
        file.write_bytes(change(file.read_bytes()))

    return do


def without_a_digest_that_is_known(world: World) -> None:
    world.repo.put(PUBLISHER, TARGET, b"the pump's next package", algorithms=["sha512"])
    world.repo.release(PUBLISHER)


def role_in_the_place_of(role: str, other: str) -> Callable[[World], None]:
    """A document that is signed, and of another kind than its name says."""
    def do(world: World) -> None:
        everything(world)
        world.repo.path(role, 3).write_bytes(world.repo.path(other, 3).read_bytes())

    return do


def another_specification(world: World) -> None:
    world.repo.signed("timestamp").spec_version = "2.0.0"
    timestamp_alone(world)


def signature_twice(world: World) -> None:
    world.repo.point()
    path = world.repo.path("timestamp", 3)
    document = Metadata.from_file(str(path)).to_dict()
    document["signatures"] *= 2
    path.write_text(json.dumps(document))


NEXT_PUBLISHER = {**NEXT_ONLINE, PUBLISHER: 3}
CASES: dict[str, Broken] = {
    "4-timestamp-that-is-a-snapshot": Broken(
        do=role_in_the_place_of("timestamp", "snapshot"), match="timestamp"),
    "4-targets-that-are-a-snapshot": Broken(
        do=role_in_the_place_of("targets", "snapshot"), match="targets", after=NEXT_ONLINE),
    "4-another-major-version-of-the-specification": Broken(do=another_specification, match="refresh"),
    "4-one-signature-twice": Broken(do=signature_twice, match="refresh"),
    "5.3.3-root-of-too-many-bytes": Broken(
        do=too_long("root", 600_000, lambda world: world.repo.new_root()), match="maximum allowed length",
        error=HostError),
    "5.3.3-server-that-fails-at-the-next-root": Broken(
        do=lambda world: sorry(world, "2.root"), match="500", error=HostError),
    "5.3.4-root-that-the-one-before-did-not-sign": Broken(do=root_by_strangers, match=UNSIGNED),
    "5.3.4-root-that-did-not-sign-itself": Broken(do=root_without_its_own_keys, match="was signed by 1/2"),
    "5.3.5-root-of-the-same-version": Broken(
        do=root_at_the_wrong_place(1), match="root version 2 instead got version 1"),
    "5.3.5-root-that-leaves-one-out": Broken(
        do=root_at_the_wrong_place(3), match="root version 2 instead got version 3"),
    "5.3.10-last-root-has-expired": Broken(do=expired_root, match=r"root\.json is expired", after={"root": 2}),
    "5.4.1-timestamp-of-too-many-bytes": Broken(
        do=too_long("timestamp", 20_000, timestamp_alone), match="maximum allowed length", error=HostError),
    "5.4.1-no-timestamp": Broken(do=lambda world: gone(world, "timestamp"), match="404", error=HostError),
    "5.4.2-timestamp-of-a-stranger": Broken(do=signed_by("timestamp", timestamp_alone), match=UNSIGNED),
    "5.4.3.1-older-timestamp": Broken(do=older_timestamp, match="timestamp version 1 must"),
    "5.4.3.2-timestamp-that-names-an-older-snapshot": Broken(
        do=timestamp_of_an_older_snapshot, match="snapshot version must"),
    "5.4.4-expired-timestamp": Broken(do=expired("timestamp", timestamp_alone), match=r"timestamp\.json is expired"),
    "5.5.1-no-snapshot": Broken(do=absent("snapshot"), match="404", error=HostError, after=NEXT_TIMESTAMP),
    "5.5.1-snapshot-of-more-bytes-than-named": Broken(
        do=longer_than_named("snapshot"), match="maximum allowed length", error=HostError, after=NEXT_TIMESTAMP,
        hashed=True),
    "5.5.2-snapshot-of-another-digest": Broken(
        do=other_than_named("snapshot"), match="does not match expected hash", after=NEXT_TIMESTAMP, hashed=True),
    "5.5.3-snapshot-of-a-stranger": Broken(
        do=signed_by("snapshot", everything), match=UNSIGNED, after=NEXT_TIMESTAMP),
    "5.5.4-snapshot-of-another-version": Broken(
        do=another_version("snapshot"), match="Expected snapshot version 3", after=NEXT_TIMESTAMP),
    "5.5.5-snapshot-that-names-older-targets": Broken(
        do=older_in_the_snapshot("targets"), match=r"targets\.json version", after=NEXT_TIMESTAMP),
    "5.5.5-snapshot-that-names-an-older-publisher": Broken(
        do=older_in_the_snapshot(PUBLISHER), match=r"publisher\.json version", after=NEXT_TIMESTAMP),
    "5.5.5-snapshot-without-the-targets": Broken(
        do=left_out_of_the_snapshot("targets"), match=r"missing info for 'targets", after=NEXT_TIMESTAMP),
    "5.5.5-snapshot-without-a-publisher": Broken(
        do=left_out_of_the_snapshot(PUBLISHER), match=r"missing info for 'publisher", after=NEXT_TIMESTAMP),
    "5.5.6-expired-snapshot": Broken(
        do=expired("snapshot", everything), match=r"snapshot\.json is expired", after=NEXT_TIMESTAMP),
    "5.6.1-no-targets": Broken(do=absent("targets"), match="404", error=HostError, after=NEXT_ONLINE),
    "5.6.2-targets-of-another-digest": Broken(
        do=other_than_named("targets"), match="does not match expected hash", after=NEXT_ONLINE, hashed=True),
    "5.6.3-targets-of-a-stranger": Broken(do=signed_by("targets", everything), match=UNSIGNED, after=NEXT_ONLINE),
    "5.6.4-targets-of-another-version": Broken(
        do=another_version("targets"), match="Expected targets v3", after=NEXT_ONLINE),
    "5.6.5-expired-targets": Broken(
        do=expired("targets", everything), match="targets is expired", after=NEXT_ONLINE),
    "5.6.7-no-publisher": Broken(do=absent(PUBLISHER), match="404", error=HostError, after=NEXT_TARGETS),
    "5.6.7-publisher-of-another-digest": Broken(
        do=other_than_named(PUBLISHER), match="does not match expected hash", after=NEXT_TARGETS, hashed=True),
    "5.6.7-publisher-signed-by-a-stranger": Broken(
        do=signed_by(PUBLISHER, everything), match=UNSIGNED, after=NEXT_TARGETS),
    "5.6.7-publisher-of-another-version": Broken(
        do=another_version(PUBLISHER), match="Expected publisher v3", after=NEXT_TARGETS),
    "5.6.7-expired-publisher": Broken(
        do=expired(PUBLISHER, everything), match="publisher is expired", after=NEXT_TARGETS),
    "5.6.7-publisher-that-no-snapshot-names": Broken(
        do=new_publisher_that_no_snapshot_names, match="not part of snapshot", after=NEXT_TARGETS),
    "5.7.3-target-of-more-bytes-than-signed": Broken(
        do=other_bytes(lambda raw: raw + b"!"), match=r"goes on behind the \d+ bytes", error=HostError,
        after=NEXT_PUBLISHER),
    "5.7.3-target-of-fewer-bytes-than-signed": Broken(
        do=other_bytes(lambda raw: raw[:-1]), match=r"it ended after \d+ of \d+ bytes", error=HostError,
        after=NEXT_PUBLISHER),
    "5.7.3-target-of-other-bytes": Broken(
        do=other_bytes(lambda raw: raw.swapcase()), match="is not what was signed", after=NEXT_PUBLISHER),
    "5.7.3-target-without-a-digest-that-names-its-file": Broken(
        do=without_a_digest_that_is_known, match="no SHA-256", after=NEXT_PUBLISHER),
}


@pytest.mark.parametrize("name", CASES)
def test_step_refuses(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    with world_of(tmp_path, hashed=case.hashed) as world:
        saved = world.repo.saved()
        case.do(world)
        with pytest.raises(case.error, match=case.match):
            world.fetch()
        assert world.remembers() == {**KNOWN, **case.after}
        assert (world.device / "downloads" / TARGET).read_bytes() == CONTENT
        world.server.answers.clear()
        world.repo.restore(saved, root=world.remembers()["root"])
        assert world.fetch() == CONTENT
        assert world.remembers()["timestamp"] == world.repo.signed("timestamp").version


# ---- the steps as they should go

def test_5_1_time_stands_still_while_a_client_is_open(world: World) -> None:
    """A publisher's part that ends before the clock says, and after the time at which the device began."""
    world.repo.signed(PUBLISHER).expires = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    everything(world)
    world.now = datetime.now(UTC) - timedelta(hours=2)
    assert world.fetch() == CONTENT
    world.now = None
    with pytest.raises(TrustError, match="publisher is expired"):
        world.fetch()


@pytest.mark.parametrize("spoil", [
    lambda raw: raw.replace(b'"version":1}', b'"versoin":1}'), lambda raw: raw.replace(b'"sig":"', b'"sig":"00'),
    lambda raw: b""], ids=["no version", "signature", "nothing"])
def test_5_2_first_root_that_is_none_asks_the_server_nothing(world: World, spoil: Callable[[bytes], bytes]) -> None:
    shutil.rmtree(world.device)
    world.first_root, good = spoil(world.first_root), world.first_root
    assert world.first_root != good
    with pytest.raises(TrustError):
        world.client()
    assert world.asked() == []
    world.first_root = good
    assert world.fetch() == CONTENT


def test_5_2_first_root_may_have_expired_and_so_may_those_between(world: World) -> None:
    shutil.rmtree(world.device)
    expires = world.repo.signed("root").expires
    world.repo.signed("root").expires -= PAST
    first = world.repo.write("root")
    world.repo.new_root()
    world.repo.signed("root").expires = expires
    world.repo.new_root()
    world.first_root = first
    world.client()
    assert world.remembers()["root"] == 3
    assert world.asked()[:3] == ["2.root", "3.root", "4.root"]


def test_5_3_3_roots_are_followed_some_at_a_time(world: World) -> None:
    world.config.max_root_rotations = 3
    for _ in range(5):
        world.repo.new_root()
    world.client()
    assert world.remembers()["root"] == 4
    world.client()
    assert world.remembers()["root"] == 6


def test_5_3_8_root_is_kept_though_what_follows_fails(world: World) -> None:
    world.repo.new_root()
    gone(world, "timestamp")
    with pytest.raises(HostError):
        world.client()
    assert world.remembers() == {**KNOWN, "root": 2}


def rotate(world: World, *roles: str) -> None:
    root = world.repo.signed("root")
    for role in roles:
        for key_id in list(root.roles[role].keyids):
            root.revoke_key(key_id, role)
        world.repo.signers[role] = [CryptoSigner.generate_ed25519()]
        root.add_key(world.repo.signers[role][0].public_key, role)


@pytest.mark.parametrize("roles", [("timestamp",), ONLINE], ids=" and ".join)
def test_5_3_11_new_online_keys_begin_with_low_versions_again(world: World, roles: tuple[str, ...]) -> None:
    """Each role was brought to a version that no honest one reaches; its key is exchanged for that."""
    for role in roles:
        world.repo.signed(role).version = 2 ** 31
    world.repo.point()
    world.client()
    assert all(world.remembers()[role] >= 2 ** 31 for role in roles)
    rotate(world, *roles)
    world.repo.new_root()
    for role in roles:
        world.repo.signed(role).version = 2
    world.repo.point()
    world.client()
    assert all(world.remembers()[role] <= 3 for role in roles)


@pytest.mark.parametrize("role", ["targets", PUBLISHER])
def test_5_3_11_new_snapshot_key_lets_versions_of_targets_begin_again(world: World, role: str) -> None:
    good = world.repo.signed(role).version
    world.repo.signed(role).version = 99
    world.repo.release(role)
    world.fetch()
    assert world.remembers()[role] == 100
    rotate(world, *ONLINE)
    world.repo.new_root()
    world.repo.signed(role).version = good
    world.repo.release(role)
    assert world.fetch() == CONTENT
    assert world.remembers()[role] == good + 1


def test_5_4_3_1_timestamp_of_the_same_version_changes_nothing_and_is_no_error(world: World) -> None:
    """Whatever else it says: the one that is known is kept."""
    kept = (world.device / "state/timestamp.json").read_bytes()
    world.repo.signed("timestamp").snapshot_meta = MetaFile(100)
    world.repo.write("timestamp")
    world.client()
    assert (world.device / "state/timestamp.json").read_bytes() == kept


def test_5_4_4_expired_timestamp_that_is_known_is_a_floor_all_the_same(world: World) -> None:
    world.repo.signed("timestamp").expires = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    world.repo.point()
    world.client()
    world.now = datetime.now(UTC) + timedelta(hours=2)
    older_timestamp(world)
    with pytest.raises(TrustError, match="timestamp version 1 must"):
        world.client()
    world.repo.signed("timestamp").version, world.repo.signed("timestamp").expires = 3, tomorrow()
    world.repo.point()
    world.client()
    assert world.remembers()["timestamp"] == 4


@pytest.mark.parametrize("hashed", [False, True])
def test_5_5_1_what_is_known_is_not_asked_for_again(tmp_path: Path, hashed: bool) -> None:
    with world_of(tmp_path, hashed=hashed) as world:
        assert world.fetch() == CONTENT
        assert world.asked() == ["2.root", "timestamp"]
        world.repo.release(PUBLISHER)
        assert world.fetch() == CONTENT
        assert world.asked() == ["2.root", "timestamp", "3.snapshot", "3.publisher"]


def test_5_5_5_older_targets_are_refused_though_the_known_snapshot_has_another_digest(tmp_path: Path) -> None:
    with world_of(tmp_path, hashed=True) as world:
        older_in_the_snapshot("targets")(world)
        with pytest.raises(TrustError, match=r"targets\.json version"):
            world.client()


def test_5_7_2_target_that_nobody_signs_for_is_not_there(world: World) -> None:
    client = world.client()
    assert client.find("packages/nothing") is None and client.find("elsewhere") is None


def test_5_7_3_known_target_is_not_fetched_again_and_a_changed_one_takes_its_place(world: World) -> None:
    def fetched() -> list[str]:
        found = [path for path in world.server.asked if path.startswith("targets/")]
        world.server.asked.clear()
        return found

    fetched()
    assert world.fetch() == CONTENT and fetched() == []
    for round_ in range(3):
        content = b"package %d" % round_
        world.repo.put(PUBLISHER, TARGET, content)
        world.repo.release(PUBLISHER)
        assert world.fetch() == content and len(fetched()) == 1
    assert [path.name for path in (world.device / "downloads").rglob("*") if path.is_file()] == ["pump"]


def test_4_words_that_are_not_known_are_part_of_what_is_signed(world: World) -> None:
    root = world.repo.signed("root")
    root.unrecognized_fields["later"] = {"a": [1, "b"]}
    key = root.keys[root.roles["root"].keyids[0]]
    key.unrecognized_fields["keyid_hash_algorithms"] = ["md5"]
    root.roles["root"].unrecognized_fields["later"] = "too"
    world.repo.new_root()
    world.client()
    assert world.remembers()["root"] == 2
