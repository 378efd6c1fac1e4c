"""Attacks on the way between a store and a device, each with a twin: the same attack, its defence removed, succeeds.

A device knows revision 2. The attack is refused, and nothing that the device believes has changed; then the honest
store is back, and the device is offered what it has. What is removed for the twin is named in `removed`.
"""

from __future__ import annotations

import gzip
import json
import re
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from dataclasses import field as field_
from datetime import timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api._payload import BaseFile, Delegations, Signed, _DelegatorMixin
from tuf.api.metadata import Metadata
from tuf.ngclient import UpdaterConfig
from tuf.ngclient._internal.trusted_metadata_set import TrustedMetadataSet

from imagekit.errors import HostError, ImagekitError, TrustError
from imagekit.host.storeclient import Client, Local, open_client
from imagekit.host.web import Web
from imagekit.plan.storepaths import channels_path
from imagekit.store.roles import add_key, remove_key
from imagekit.testing.stores import StoreRig
from tests.attacks.store import EVIL, IMPATIENT, PACKAGE, Field, newest, send, serving

LARGE = 8 << 20


# ---- what is removed

def memory(field: Field, _: pytest.MonkeyPatch) -> None:
    """What the device remembers of earlier checks."""
    field.forget()


def signatures(_: Field, patch: pytest.MonkeyPatch) -> None:
    """The check that a role's threshold of keys has signed."""
    patch.setattr(_DelegatorMixin, "verify_delegate", lambda *args: None)


def expiry(_: Field, patch: pytest.MonkeyPatch) -> None:
    """The check that metadata has not expired."""
    patch.setattr(Signed, "is_expired", lambda self, now=None: False)


def digests(_: Field, patch: pytest.MonkeyPatch) -> None:
    """The check of length and digest of what was downloaded."""
    patch.setattr("tuf.api.metadata.TargetFile.verify_length_and_hashes", lambda self, data: None)
    patch.setattr(BaseFile, "_verify_length", staticmethod(lambda data, expected: None))
    patch.setattr(BaseFile, "_verify_hashes", staticmethod(lambda data, expected: None))


def limits(field: Field, _: pytest.MonkeyPatch) -> None:
    """The most bytes that metadata may have."""
    field.config = UpdaterConfig(root_max_length=2 * LARGE, timestamp_max_length=2 * LARGE)


def packing(field: Field, patch: pytest.MonkeyPatch) -> None:
    """The refusal of what was packed for the way, and the most bytes that metadata may have."""
    patch.setattr("imagekit.host.web.refuse_packed", lambda answer: None)
    patch.setattr(Web, "pieces", lambda self, response: response.iter_content(LARGE))
    limits(field, patch)


def order_of_roots(_: Field, patch: pytest.MonkeyPatch) -> None:
    """The check that the next root has the next number, and is signed by itself."""
    def update(self: TrustedMetadataSet, data: bytes) -> Any:
        found = Metadata.from_bytes(data).signed
        self._trusted_set["root"] = found
        return found

    patch.setattr(TrustedMetadataSet, "update_root", update)


def delegation(_: Field, patch: pytest.MonkeyPatch) -> None:
    """The check that a publisher was given the name that it signs for."""
    patch.setattr(Delegations, "get_roles_for_target", lambda self, path: ((name, False) for name in self.roles))


def versions(_: Field, patch: pytest.MonkeyPatch) -> None:
    """The check that a publisher's metadata has the version that the snapshot names."""
    def update(self: TrustedMetadataSet, data: bytes, role_name: str, delegator_name: str) -> Any:
        found = Metadata.from_bytes(data).signed
        self._trusted_set[role_name] = found
        return found

    patch.setattr(TrustedMetadataSet, "update_delegated_targets", update)


# ---- the attacks

@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`do` changes what is served, `won` says whether the attacker has what he wanted, `removed` takes the defence."""

    do: Callable[[Field], object]
    won: Callable[[Field], bool]
    removed: Callable[[Field, pytest.MonkeyPatch], None]
    match: str
    error: type[ImagekitError] = TrustError


def old_snapshot(field: Field) -> None:
    version = Metadata.from_file(str(field.old / "metadata/timestamp.json")).signed.snapshot_meta.version
    field.forge("timestamp", field.key("online"), lambda signed: setattr(signed.snapshot_meta, "version", version))


def old_publisher(field: Field) -> None:
    """Both online keys are the attacker's: a new snapshot names the publisher's old metadata."""
    field.name("publisher-acme", int(newest(field.old / "metadata", "publisher-acme").name.partition(".")[0]))


def old_root(field: Field) -> None:
    """A root that the device had left, under the next number."""
    with field.rig.open() as store:
        draft = store.draft()
        add_key(draft, "root", field.key("root-3").public_key, threshold=1)
        store.commit(draft)
    field.serve(field.rig.public)
    assert field.sees() == 2 and field.remembers()["root.json"] == 2
    shutil.copy(field.metadata / "1.root.json", field.metadata / "3.root.json")


def freeze(field: Field) -> None:
    """The same valid files for ever: what was signed eight days ago, with a timestamp for seven."""
    field.rig.now -= timedelta(days=8)
    with field.rig.open() as store:
        store.commit(store.draft_online(clock_is_right=True))
    field.serve(field.rig.public)
    field.rig.now += timedelta(days=8)


def mixed(field: Field) -> None:
    """An old publisher's metadata under the name of the new one that the snapshot names."""
    shutil.copy(newest(field.old / "metadata", "publisher-acme"), newest(field.metadata, "publisher-acme"))
    field.forget("publisher-acme")


def long_timestamp(field: Field) -> None:
    path = field.metadata / "timestamp.json"
    field.forge("timestamp", field.key("online"))
    path.write_bytes(path.read_bytes() + b" " * LARGE)


def packed_bomb(field: Field) -> None:
    """A few bytes on the line that a client may unpack to very many."""
    field.forge("timestamp", field.key("online"))
    raw = gzip.compress((field.metadata / "timestamp.json").read_bytes() + b" " * LARGE)
    field.server.answers["metadata/timestamp.json"] = lambda handler: send(handler, raw, Content_Encoding="gzip")


def stranger(role: str) -> Callable[[Field], None]:
    def sign(field: Field) -> None:
        version = field.forge(role, CryptoSigner.generate_ed25519())
        if role not in ("timestamp", "root"):
            field.name(role, version)

    return sign


def unsigned(field: Field) -> None:
    """A timestamp with an empty list of signatures."""
    path = field.metadata / "timestamp.json"
    field.forge("timestamp", field.key("online"))
    path.write_bytes(json.dumps(json.loads(path.read_bytes()) | {"signatures": []}).encode())


def newer(role: str) -> Callable[[Field], bool]:
    """The device believes the attacker's version of a role."""
    def believed(field: Field) -> bool:
        before = field.remembers()[f"{role}.json"]
        field.channels()
        return field.remembers()[f"{role}.json"] == before + 1

    return believed


def online_key_alone(field: Field) -> None:
    """Snapshot and timestamp are truly signed; the publisher's part is signed with the online key as well."""
    field.forge_evil(field.key("online"))


def stolen_publisher_key(field: Field) -> None:
    """The key was taken from the publisher; whoever has it, and the online key, signs a revision of his own."""
    field.rig.add_publisher("acme", "acme-2")
    field.forge_evil(field.key("acme"))


def offers_evil(field: Field) -> bool:
    return field.sees() == EVIL


def changed_package(field: Field) -> None:
    path = next(field.served.glob("targets/packages/small/*.small_2.snap.zst"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def fetched(field: Field) -> bytes:
    client = field.client()
    target = client.find(PACKAGE)
    assert target is not None
    return client.fetch(target).read_bytes()


def takes_changed_package(field: Field) -> bool:
    return fetched(field) == next(field.served.glob("targets/packages/small/*.small_2.snap.zst")).read_bytes()


def endless_package(field: Field) -> None:
    path = next(field.served.glob("targets/packages/small/*.small_2.snap.zst"))
    path.write_bytes(bytes(2 * LARGE))


def length(field: Field, patch: pytest.MonkeyPatch) -> None:
    """The signed length, and the digest."""
    signed = Client.find

    def find(self: Client, path: str) -> Any:
        found = signed(self, path)
        if found is not None and path == PACKAGE:
            found.length = 2 * LARGE
        return found

    patch.setattr(Client, "find", find)
    digests(field, patch)


def other_name(field: Field) -> None:
    """A second publisher, truly signed for its own names, signs for one that nobody gave it."""
    field.rig.add_publisher("beta", "beta", patterns=("third",))
    with field.rig.open() as store:
        draft = store.draft()
        store.put(draft.publisher("publisher-beta"), channels_path("unowned"), b"{}")
        store.commit(draft)
    field.serve(field.rig.public)


def finds_unowned(field: Field) -> bool:
    if field.client().find(channels_path("unowned")) is None:
        raise TrustError("cannot believe channels/unowned.json: nobody was given that name")
    return True


ATTACKS = {
    "rollback-to-an-older-timestamp": Attack(
        do=lambda field: field.serve(field.old), won=lambda field: field.sees() == 1, removed=memory,
        match="timestamp version"),
    "rollback-of-the-snapshot-behind-a-new-timestamp": Attack(
        do=old_snapshot, won=lambda field: field.sees() == 1, removed=memory, match="snapshot version"),
    "rollback-of-a-publisher-behind-a-new-snapshot": Attack(
        do=old_publisher, won=lambda field: field.sees() == 1, removed=memory, match="publisher-acme"),
    "rollback-to-an-older-root": Attack(
        do=old_root, won=lambda field: (field.client(), field.remembers()["root.json"] == 1)[1],
        removed=order_of_roots, match="root version 3 instead got version 1"),
    "freeze": Attack(do=freeze, won=lambda field: field.sees() == 2, removed=expiry, match="expired"),
    "mix-and-match-of-metadata": Attack(
        do=mixed, won=lambda field: field.sees() == 1, removed=versions,
        match="publisher-acme"),
    "endless-metadata": Attack(
        do=long_timestamp, won=lambda field: (field.client(), _kept(field) > LARGE)[1], removed=limits,
        error=HostError, match="maximum allowed length"),
    "endless-metadata-that-was-packed": Attack(
        do=packed_bomb, won=lambda field: (field.client(), _kept(field) > LARGE)[1], removed=packing,
        error=HostError, match="the server packed it"),
    **{f"stranger-signs-{role}": Attack(do=stranger(role), won=newer(role), removed=signatures,
                                        match="was signed by 0/1")
       for role in ("root", "timestamp", "snapshot", "targets", "publisher-acme")},
    "empty-list-of-signatures": Attack(do=unsigned, won=newer("timestamp"), removed=signatures,
                                       match="was signed by 0/1"),
    "online-key-alone": Attack(do=online_key_alone, won=offers_evil, removed=signatures, match="was signed by 0/1"),
    "key-that-was-taken-from-a-publisher": Attack(do=stolen_publisher_key, won=offers_evil, removed=signatures,
                                                  match="was signed by 0/1"),
    "one-byte-of-a-package": Attack(do=changed_package, won=takes_changed_package, removed=digests, match="fetch"),
    "endless-package": Attack(do=endless_package, won=lambda field: len(fetched(field)) > LARGE, removed=length,
                              error=ImagekitError, match="fetch"),
    "publisher-signs-for-the-name-of-another": Attack(do=other_name, won=finds_unowned, removed=delegation,
                                                      match="nobody was given that name"),
}


def _kept(field: Field) -> int:
    return sum(path.stat().st_size for path in field.folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(field: Field, name: str) -> None:
    attack = ATTACKS[name]
    attack.do(field)
    before = {**field.remembers()}
    with pytest.raises(attack.error, match=attack.match):
        attack.won(field)
    after = field.remembers()
    assert all(after.get(role, 0) >= version for role, version in before.items() if role in after)
    assert _kept(field) < LARGE
    honest_again(field)


def honest_again(field: Field) -> None:
    """The publisher comes with revision 3, whatever an attacker made of the metadata that was served."""
    field.rig.add_publisher("acme", "acme-2")  # a new version of targets too
    field.rig.publish(field.rig.package(EVIL + 1), channel="stable")
    for _ in range(4):  # versions that were used up by the attacker's online key are passed
        with field.rig.open() as store:
            store.commit(store.draft_online())
    field.serve(field.rig.public)
    assert field.sees() == EVIL + 1


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_succeeds_without_its_defence(field: Field, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = ATTACKS[name]
    attack.do(field)
    attack.removed(field, monkeypatch)
    assert attack.won(field)


# ---- attacks that are more than one change of what is served

VERSIONS = (2 ** 31 - 1, 2 ** 63)


def fast_forward(field: Field, version: int) -> None:
    """Whoever has the online key gives a version to what it signs that no honest one will ever reach."""
    def last(signed: Any) -> None:
        signed.version = version

    field.forge("timestamp", field.key("online"), last)
    assert field.sees() == 2
    field.rig.publish(field.rig.package(3), channel="stable")
    field.serve(field.rig.public)


def exchange_online_key(field: Field) -> None:
    with field.rig.open() as store:
        draft = store.draft()
        for role in ("snapshot", "timestamp"):
            add_key(draft, role, field.key("online-2").public_key, threshold=None)
            remove_key(draft, role, field.key("online").public_key.keyid, threshold=None)
        field.rig.keys.locked.add("online")  # it is the attacker's now; nothing is signed with it any more
        store.commit(draft)
    field.serve(field.rig.public)


@pytest.mark.parametrize("version", VERSIONS)
def test_fast_forward_ends_with_the_key_that_made_it(field: Field, version: int) -> None:
    fast_forward(field, version)
    exchange_online_key(field)
    assert field.sees() == 3


@pytest.mark.parametrize("version", VERSIONS)
def test_fast_forward_lasts_where_the_key_is_not_exchanged(field: Field, version: int) -> None:
    fast_forward(field, version)
    with pytest.raises(TrustError, match="timestamp version"):
        field.sees()


@pytest.mark.parametrize(("threshold", "taken"), [(2, False), (1, True)])
@pytest.mark.parametrize("trick", ["alone", "under-a-second-id", "twice"])
def test_one_key_of_two_does_not_sign_for_both(tmp_path: Path, trick: str, threshold: int, taken: bool) -> None:
    """With a threshold of one, the twin, the same file is believed."""
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create(targets=rig.keys.role("targets-1", "targets-2", threshold=threshold))
    path = newest(rig.public / "metadata", "targets")
    document = json.loads(path.read_bytes())
    one = document["signatures"][0]
    more = {"alone": [], "under-a-second-id": [{**one, "keyid": "ab" * 32}], "twice": [one]}[trick]
    document["signatures"] = [one, *more]
    path.write_text(json.dumps(document))
    with serving(rig.public) as server:
        def believe() -> None:
            local = Local(state=tmp_path / "state", downloads=tmp_path / "downloads", root=rig.first_root)
            open_client(f"http://127.0.0.1:{server.server_port}", local).find(channels_path("small"))

        if taken and trick != "twice":  # a document with the same key twice is none, whatever the threshold
            believe()
        else:
            with pytest.raises(TrustError):
                believe()


ROOT_TRICKS = ("a-gap", "signed-by-the-old-keys-alone", "signed-by-the-new-keys-alone")


def next_root(field: Field, trick: str) -> None:
    """A root that exchanges all its keys for the attacker's, in a chain that does not hold."""
    thief = CryptoSigner.generate_ed25519()

    def exchange(signed: Any) -> None:
        for name in list(signed.roles["root"].keyids):
            signed.revoke_key(name, "root")
        signed.add_key(thief.public_key, "root")

    version = field.forge("root", thief if trick.startswith("signed-by-the-new") else field.key("root-1"), exchange)
    if trick == "a-gap":
        path = field.metadata / f"{version}.root.json"
        document = Metadata.from_file(str(path))
        document.signed.version = version + 1
        document.signatures.clear()
        for signer in (thief, field.key("root-1")):
            document.sign(signer, append=True)
        path.write_bytes(document.to_bytes())


@pytest.mark.parametrize("trick", ROOT_TRICKS)
def test_chain_of_roots_that_does_not_hold_is_refused(field: Field, trick: str) -> None:
    next_root(field, trick)
    with pytest.raises(TrustError, match=r"was signed by 0/1|Expected root version 2"):
        field.client()
    assert field.remembers()["root.json"] == 1
    field.serve(field.new)
    assert field.sees() == 2


@pytest.mark.parametrize("trick", ROOT_TRICKS)
def test_chain_of_roots_that_does_not_hold_is_taken_without_the_defence(field: Field, trick: str,
                                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    next_root(field, trick)
    (order_of_roots if trick == "a-gap" else signatures)(field, monkeypatch)
    field.client()
    assert field.remembers()["root.json"] > 1


LIES: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {
    "gone": lambda handler: send(handler, b"gone", status=404),
    "broken": lambda handler: send(handler, b"sorry", status=500),
    "a page of a hotel": lambda handler: send(handler, b"<html>please log in</html>"),
    "nothing": lambda handler: send(handler, b""),
    "sent in circles": lambda handler: send(handler, b"", status=302, Location="/metadata/timestamp.json"),
    "cut short": lambda handler: send(handler, b'{"signatures": [', Content_Length="4000"),
    "deep": lambda handler: send(handler, b"[" * 16_000),
    "deep and long": lambda handler: send(handler, b'{"a":' * 3_000),
    "a huge number": lambda handler: send(handler, b'{"signed":{"version":' + b"9" * 15_000 + b"}}"),
    "no words": lambda handler: send(handler, b"\xff\xfe" * 100),
    "silence": lambda handler: handler.connection.close(),
    **{f"sent to {url!r}": partial(send, content=b"", status=302, Location=url) for url in (
        "http://a..b/x", f"http://{'a' * 64}.example/x", "http://[::1/x",
        "http://\xff\xfe/x", "http://127.0.0.1:99999/x", "ftp://127.0.0.1/x")},
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("what", ["metadata/timestamp.json", "metadata/2.root.json", "map"])
def test_whatever_a_mirror_says_the_device_is_as_it_was_and_the_next_answer_counts(field: Field, lie: str, what: str
                                                                                   ) -> None:
    """An error of the host or of trust, never another; then the honest store is back."""
    before = field.remembers()
    shutil.rmtree(field.folder / "downloads")
    if what == "map":
        found = field.client().find(channels_path("small"))
        assert found is not None
        what = f"targets/channels/{found.hashes['sha256']}.small.json"
    field.server.answers[what] = LIES[lie]
    if (lie, what) != ("gone", "metadata/2.root.json"):  # which is what an honest store says
        with pytest.raises((HostError, TrustError)):
            field.channels()
    assert field.remembers() == before
    field.serve(field.new)
    assert field.sees() == 2


def test_store_that_is_not_there_is_told_and_changes_nothing(field: Field) -> None:
    before = field.remembers()
    with pytest.raises(HostError):
        open_client("http://127.0.0.1:9", field.local)
    assert field.remembers() == before and field.sees() == 2


# ---- a server that drips

DRIPS = 300  # of a byte each; then the server has enough


@dataclass(slots=True)
class Drip:
    """Sends a byte now and then, of whatever lies there, and says from where it was asked to go on."""

    content: bytes
    sent: int = 0
    asked: list[str] = field_(default_factory=list)

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.headers.get("Range", ""))
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self.content)))
        handler.end_headers()
        self.sent = 0
        with suppress(OSError):  # nobody listens any more
            for self.sent in range(1, DRIPS + 1):
                handler.wfile.write(self.content[self.sent - 1:self.sent])
                handler.wfile.flush()
                time.sleep(0.01)
        handler.close_connection = True


def dripped(field: Field, name: str) -> Drip:
    """Let the store drip a file."""
    path = next(field.served.glob(name))
    drip = Drip(path.read_bytes())
    field.server.answers[str(path.relative_to(field.served))] = drip
    return drip


def test_server_that_drips_is_left_and_gone_on_with_later(field: Field) -> None:
    drip = dripped(field, "targets/packages/small/*.small_2.snap.zst")
    for _ in range(2):
        with pytest.raises(HostError, match="it came too slowly"):
            field.takes_anew(IMPATIENT)
    assert drip.asked[0] == ""
    assert re.fullmatch(r"bytes=[1-9]\d*-", drip.asked[1])
    field.server.answers.clear()
    assert field.takes_anew(IMPATIENT).read_bytes() == drip.content


def test_server_that_drips_is_waited_for_without_a_least_rate(field: Field) -> None:
    """To its last drip, however many it has."""
    drip = dripped(field, "targets/packages/small/*.small_2.snap.zst")
    with pytest.raises(HostError, match=rf"{DRIPS} bytes|ended after {DRIPS} of"):
        field.takes_anew(replace(IMPATIENT, least_rate=0))
    assert drip.sent == DRIPS


def test_metadata_that_drips_is_left_too(field: Field) -> None:
    dripped(field, "metadata/timestamp.json")
    with pytest.raises(HostError, match="it came too slowly"):
        field.takes_anew(IMPATIENT)
    field.server.answers.clear()
    assert field.sees() == 2
