"""Publishing: what a device finds afterwards, and what is refused before anything changes."""

from __future__ import annotations

import contextlib
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import zstandard
from tuf.api.metadata import TargetFile

from imagekit.assertions import (
    Assertion,
    Chain,
    Header,
    decode_stream,
    encode_stream,
    parse_snap_revision,
    parse_validation_set,
)
from imagekit.build.pack import SEED_LEVEL
from imagekit.errors import PlanError, TrustError
from imagekit.host.storeclient import connected
from imagekit.packages.forward import PACKED_WINDOW, unpacked
from imagekit.plan.channelmap import ChannelMap, UpdateClass, parse_channel_map
from imagekit.plan.channels import parse_channel
from imagekit.plan.releases import Terms, changed, revoked
from imagekit.plan.storepaths import assertions_path, channels_path, model_path, set_path
from imagekit.store import prune
from imagekit.store.check import Level, audit
from imagekit.store.commit import Outcome
from imagekit.store.publishing import LEVEL, change, publish_model, publish_set
from imagekit.store.roles import remove_publisher, set_publisher
from imagekit.testing.documents import Brand
from imagekit.testing.images import Silent
from imagekit.testing.stores import CutDisk, PowerCut, StoreRig


def snapshot_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_device_finds_channel_map_package_and_proof(rig: StoreRig) -> None:
    offer = rig.package(1)
    assert rig.publish(offer, channel="stable", advisory="first").published
    with connected(rig.public, rig.first_root) as client:
        target = client.find(channels_path("small"))
        assert target is not None
        channels = parse_channel_map(client.fetch(target).read_bytes(), name="small")
        assert [item.revision for item in channels.revisions] == [1]
        assert channels.revisions[0].advisory == "first"
        packed = client.find("packages/small/small_1.snap.zst")
        assert packed is not None
        content = zstandard.ZstdDecompressor().decompress(client.fetch(packed).read_bytes())
        assert content == offer.path.read_bytes()
        proof = client.find(assertions_path("small", 1))
        assert proof is not None and b"type: snap-revision" in client.fetch(proof).read_bytes()
        accounts = client.find("accounts/acme.assert")
        assert accounts is not None and b"type: account-key" in client.fetch(accounts).read_bytes()


def test_the_same_revision_again_changes_nothing_but_the_versions(rig: StoreRig) -> None:
    offer = rig.package(1)
    rig.publish(offer)
    before = {name for name in snapshot_of(rig.public) if name.startswith("targets/")}
    rig.publish(offer)
    assert {name for name in snapshot_of(rig.public) if name.startswith("targets/")} == before


def test_the_same_revision_with_other_bytes_is_refused(rig: StoreRig) -> None:
    rig.publish(rig.package(1))
    before = snapshot_of(rig.public)
    with pytest.raises(PlanError, match="it was published with other bytes"):
        rig.publish(rig.package(1, content="something else", brand=Brand()))
    assert snapshot_of(rig.public) == before


def test_a_revision_that_goes_backwards_is_refused(rig: StoreRig) -> None:
    rig.publish(rig.package(5))
    with pytest.raises(PlanError, match="revision 5 is published, and revisions only go up"):
        rig.publish(rig.package(4))


def test_a_package_of_somebody_else_is_refused(rig: StoreRig) -> None:
    stranger = Brand("stranger")
    with pytest.raises(TrustError, match="'stranger', which is no publisher of this store"):
        rig.publish(rig.package(1, brand=stranger))


def test_a_publisher_may_not_publish_a_name_that_it_was_not_given(rig: StoreRig) -> None:
    with pytest.raises(TrustError, match="'acme', which may not publish it here"):
        rig.publish(rig.package(1, "third"))


def test_a_name_that_changed_hands_begins_anew(rig: StoreRig) -> None:
    rig.publish(rig.package(1))
    stranger = Brand("stranger")
    with rig.open() as store:
        draft = store.draft()
        remove_publisher(draft, "acme")
        set_publisher(store, draft, "stranger", rig.keys.role("beta"), patterns=("small",),
                      assertions=stranger.roots)
        store.commit(draft)
    assert rig.publish(rig.package(2, brand=stranger)).published
    with connected(rig.public, rig.first_root) as client:
        assert client.find("packages/small/small_1.snap.zst") is None


def test_a_name_that_changed_hands_is_its_new_publishers_alone(rig: StoreRig) -> None:
    """The one before goes on publishing other names, and its map of this one lies in its metadata still."""
    rig.publish(rig.package(1), rig.package(1, "other"), channel="stable")
    stranger = Brand("stranger")
    rig.add_publisher("acme", patterns=("other",))
    rig.add_publisher("stranger", "beta", patterns=("small",), assertions=stranger.roots)
    for number in (2, 3):
        rig.publish(rig.package(number, brand=stranger), channel="stable")
    with rig.open() as store:
        change(store, "small", lambda found: revoked(found, 2, reason="bad", now=rig.now))
        assert [item.name for _, item in store.all_channels()] == ["other", "small"]
    assert revisions_for_a_device(rig) == [2, 3]
    found = audit(rig.folder, (*rig.brand.roots, *stranger.roots), now=rig.now, progress=Silent())
    assert [item for item in found.findings if item.level is Level.PROBLEM] == []


def test_a_file_that_changed_after_it_was_signed_is_refused(rig: StoreRig) -> None:
    offer = rig.package(1)
    raw = bytearray(offer.path.read_bytes())
    raw[-1] ^= 1
    offer.path.write_bytes(raw)
    before = snapshot_of(rig.public)
    with pytest.raises(TrustError, match="its SHA3-384 is"):
        rig.publish(offer)
    assert snapshot_of(rig.public) == before


def test_what_was_signed_in_the_future_is_not_published(rig: StoreRig) -> None:
    """A device takes the time of what it runs for past: after this one it would believe no store until then."""
    signed = rig.package(1)
    early = StoreRig(folder=rig.folder.with_name("early"), packages=rig.packages, brand=rig.brand,
                     now=parse_snap_revision(signed.chain.links[-1].assertion).timestamp - timedelta(hours=2))
    early.create()
    early.add_publisher()
    with pytest.raises(PlanError, match="which is still to come"):
        early.publish(signed)
    early.now += timedelta(hours=1)
    assert early.publish(signed).published


@pytest.mark.parametrize("twin", [b"", b"no zstd", "other", "cut", "more"])
def test_a_wrong_compressed_twin_is_not_used(rig: StoreRig, twin: bytes | str) -> None:
    offer = rig.package(1)
    good = zstandard.ZstdCompressor(level=3).compress(offer.path.read_bytes())
    if isinstance(twin, str):
        twin = {"other": zstandard.ZstdCompressor().compress(b"other"), "cut": good[:-9], "more": good + good}[twin]
    offer.path.with_name("small_1.snap.zst").write_bytes(twin)
    rig.publish(offer)
    stored = next(rig.public.glob("targets/packages/small/*.zst"))
    assert zstandard.ZstdDecompressor().decompress(stored.read_bytes()) == offer.path.read_bytes()


@pytest.mark.parametrize("level", [LEVEL, SEED_LEVEL], ids=["store", "pack"])
def test_what_we_compress_needs_no_more_memory_than_a_device_has(level: int) -> None:
    made = zstandard.ZstdCompressionParameters.from_level(level, source_size=1 << 40)
    assert 1 << made.window_log <= PACKED_WINDOW


def test_a_twin_that_no_device_has_the_memory_for_is_not_used(rig: StoreRig) -> None:
    offer = rig.package(1)
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=26)
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    offer.path.with_name("small_1.snap.zst").write_bytes(packer.compress(offer.path.read_bytes()) + packer.flush())
    rig.publish(offer, channel="stable")
    with next(rig.public.glob("targets/packages/small/*.zst")).open("rb") as stored:
        assert b"".join(unpacked(stored)) == offer.path.read_bytes()


def test_a_right_compressed_twin_is_taken_as_it_is(rig: StoreRig) -> None:
    offer = rig.package(1)
    twin = zstandard.ZstdCompressor(level=19).compress(offer.path.read_bytes())
    offer.path.with_name("small_1.snap.zst").write_bytes(twin)
    rig.publish(offer)
    assert next(rig.public.glob("targets/packages/small/*.zst")).read_bytes() == twin


def test_two_packages_become_visible_at_once(rig: StoreRig) -> None:
    before = json.loads((rig.public / "metadata/timestamp.json").read_bytes())["signed"]["version"]
    rig.publish(rig.package(1), rig.package(1, "other"))
    assert json.loads((rig.public / "metadata/timestamp.json").read_bytes())["signed"]["version"] == before + 1


def test_two_publishers_at_once_lose_nothing(rig: StoreRig) -> None:
    offers = [rig.package(number, name) for name in ("small", "other") for number in (1,)]
    problems: list[BaseException] = []

    def work(index: int) -> None:
        try:
            rig.publish(offers[index])
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    with connected(rig.public, rig.first_root) as client:
        assert client.find("packages/small/small_1.snap.zst") and client.find("packages/other/other_1.snap.zst")


def revisions_for_a_device(rig: StoreRig) -> list[int]:
    """The revisions that a device finds; each of them can be fetched."""
    with connected(rig.public, rig.first_root) as client:
        target = client.find(channels_path("small"))
        assert target is not None
        channels = parse_channel_map(client.fetch(target).read_bytes(), name="small")
        for item in channels.revisions:
            packed = client.find(f"packages/small/small_{item.revision}.snap.zst")
            assert packed is not None and client.fetch(packed).exists()
        return [item.revision for item in channels.revisions]


def test_power_cut_after_every_write_leaves_a_store_that_devices_believe(rig: StoreRig, tmp_path: Path) -> None:
    """Cut, read as a device, publish again: the old state until the last write, then the new one."""
    rig.publish(rig.package(1), channel="stable")
    offer, before, cuts = rig.package(2), tmp_path / "before", 0
    shutil.copytree(rig.folder, before)
    while True:
        try:
            rig.publish(offer, channel="stable", disk=CutDisk(rig.public, cuts))
        except PowerCut:
            cuts += 1
        else:
            break
        assert revisions_for_a_device(rig) == [1]
        rig.publish(offer, channel="stable")
        assert revisions_for_a_device(rig) == [1, 2]
        shutil.rmtree(rig.folder)
        shutil.copytree(before, rig.folder)
    assert cuts == 6  # package, assertions, channel map, publisher, snapshot, timestamp
    assert revisions_for_a_device(rig) == [1, 2]


def test_what_a_power_cut_left_behind_never_gets_a_second_content(rig: StoreRig) -> None:
    rig.publish(rig.package(1))
    seen: dict[str, bytes] = {}
    for steps in range(8):
        with contextlib.suppress(PowerCut):
            rig.publish(rig.package(2), disk=CutDisk(rig.public, steps))
        rig.now += timedelta(seconds=1)
        for name, content in snapshot_of(rig.public).items():
            if name != "metadata/timestamp.json":
                assert seen.setdefault(name, content) == content


def test_a_feature_is_kept_out_of_a_security_channel(rig: StoreRig) -> None:
    with pytest.raises(PlanError, match="it brings features"):
        rig.publish(rig.package(1), channel="latest/stable/security")
    assert rig.publish(rig.package(1), channel="latest/stable/security", update_class=UpdateClass.SECURITY).published


def test_a_revoked_revision_cannot_be_published_again(rig: StoreRig) -> None:
    offer = rig.package(1)
    rig.publish(offer)
    with rig.open() as store:
        change(store, "small", lambda channels: revoked(channels, 1, reason="eats data", now=rig.now))
    with pytest.raises(PlanError, match="it was revoked: eats data"):
        rig.publish(offer)


def validation_set(rig: StoreRig, sequence: int, revision: str | None, presence: str = "required") -> object:
    snap: dict[str, Header] = {"name": "small", "id": rig.brand.snap("small", "app")["id"], "presence": presence}
    if revision:
        snap["revision"] = revision
    return rig.brand.sign({
        "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
        "sequence": str(sequence), "snaps": (snap,), "timestamp": "2026-01-01T00:00:00Z"})


def publish_the_set(rig: StoreRig, assertion: object) -> None:
    chain = rig.brand.database().verify(assertion, now=rig.now)  # type: ignore[arg-type]
    with rig.open() as store:
        publish_set(store, chain, Path("tested.validation-set"))


def test_a_validation_set_holds_stable_to_the_revision_that_was_tested(rig: StoreRig) -> None:
    rig.publish(rig.package(1), channel="stable")
    publish_the_set(rig, validation_set(rig, 1, "1"))
    with pytest.raises(PlanError, match="validation set acme/tested=1 pins revision 1"):
        rig.publish(rig.package(2), channel="stable")
    assert rig.publish(rig.package(2), channel="candidate").published
    publish_the_set(rig, validation_set(rig, 2, "2"))
    assert rig.publish(rig.package(2), channel="stable").published
    with connected(rig.public, rig.first_root) as client:
        newest, second = client.find(set_path("acme", "tested")), client.find(set_path("acme", "tested", 2))
        assert newest is not None and second is not None and newest.hashes == second.hashes


def test_a_validation_set_that_forbids_a_package_keeps_it_out_of_stable(rig: StoreRig) -> None:
    publish_the_set(rig, validation_set(rig, 1, None, "invalid"))
    with pytest.raises(PlanError, match="forbids small"):
        rig.publish(rig.package(1), channel="stable")


def test_a_validation_set_that_no_device_could_follow_is_refused(rig: StoreRig) -> None:
    with pytest.raises(PlanError, match="revision 7 is not in this store"):
        publish_the_set(rig, validation_set(rig, 1, "7"))


def test_a_validation_set_does_not_go_backwards_or_change(rig: StoreRig) -> None:
    rig.publish(rig.package(1), rig.package(1, "other"))
    publish_the_set(rig, validation_set(rig, 2, "1"))
    with pytest.raises(PlanError, match="sequence 2 is published, and sequences only go up"):
        publish_the_set(rig, validation_set(rig, 1, "1"))
    with pytest.raises(PlanError, match="published with other content"):
        publish_the_set(rig, validation_set(rig, 2, None))
    with rig.open() as store:
        assert [parse_validation_set(item.assertion).sequence for item in store.sets()] == [2]


def test_progressive_release_is_kept_in_the_map(rig: StoreRig) -> None:
    rig.publish(rig.package(1), channel="stable")
    rig.publish(rig.package(2), channel="stable", terms=Terms(share=1000, least=1))
    with rig.open() as store:
        channels = store.channels("small")
    assert channels is not None
    entry = channels.entry(parse_channel("stable"), channels.revisions[0].architectures[0])
    assert entry is not None
    assert [(item.revision, item.share, item.least) for item in entry.releases] == [(2, 1000, 1), (1, 10000, 0)]


def test_offer_without_declaration_is_refused(rig: StoreRig) -> None:
    offer = rig.package(1)
    bare = replace(offer, chain=replace(offer.chain, evidence=()))
    with pytest.raises(TrustError, match="no snap-declaration says whose it is"):
        rig.publish(bare)


def model_chain(brand: Brand, now: datetime, **headers: Header) -> Chain:
    return brand.database().verify(brand.model(**headers), now=now)


def publish_the_model(rig: StoreRig, *, brand: Brand | None = None, **headers: Header) -> Outcome:
    """Signed by a brand that remembers no other."""
    chain = model_chain(brand or Brand("acme"), rig.now, **headers)
    with rig.open() as store:
        return publish_model(store, chain, Path("pc.model"))


def found_model(rig: StoreRig) -> Assertion:
    with connected(rig.public, rig.first_root) as client:
        target = client.find(model_path("acme", "pc"))
        assert target is not None
        return next(item for item in decode_stream(client.fetch(target).read_bytes(), name="m") if item.type == "model")


def test_a_device_finds_the_newest_revision_of_its_model(rig: StoreRig) -> None:
    publish_the_model(rig, revision="1")
    publish_the_model(rig, revision="3", **{"x-imagekit": {"updates": {"automatic": "false"}}})
    assert found_model(rig).revision == 3
    with rig.open() as store:
        assert [(item.model, item.revision) for item in store.models()] == [("pc", 3)]


@pytest.mark.parametrize("revision", ["2", "1"])
def test_a_model_that_is_not_newer_is_not_published(rig: StoreRig, revision: str) -> None:
    publish_the_model(rig, revision="2")
    with pytest.raises(PlanError, match=f"it is revision {revision}, and revision 2 is published"):
        publish_the_model(rig, revision=revision, grade="dangerous")
    assert found_model(rig).revision == 2


REFUSED_MODELS: dict[str, tuple[dict[str, Header], str]] = {
    "change": ({"architecture": "arm64"}, "architecture: it changes from amd64 to arm64"),
    "demand": ({"grade": "secured"}, "demands what images do not have"),
    "future": ({"timestamp": "2035-01-01T00:00:00Z"}, "which is still to come"),
}


@pytest.mark.parametrize(("headers", "match"), REFUSED_MODELS.values(), ids=REFUSED_MODELS)
def test_a_model_that_no_device_would_follow_is_not_published(rig: StoreRig, headers: dict[str, Header], match: str
                                                              ) -> None:
    publish_the_model(rig, revision="1")
    with pytest.raises(PlanError, match=match):
        publish_the_model(rig, revision="2", **headers)
    assert found_model(rig).revision == 1


def test_pruning_keeps_the_newest_model_and_takes_the_older_ones(rig: StoreRig) -> None:
    publish_the_model(rig, revision="1")
    publish_the_model(rig, revision="2")
    rig.now += timedelta(days=31)
    with rig.open() as store:
        store.commit(store.draft_online())
    folder = rig.public / "targets/models/acme"
    assert len(list(folder.iterdir())) == 2
    with rig.open() as store:
        prune.carry_out(store, prune.plan(store))
    assert len(list(folder.iterdir())) == 1
    assert found_model(rig).revision == 2


def test_pruning_keeps_what_the_set_of_a_published_model_pins_though_there_is_a_newer_set(rig: StoreRig) -> None:
    for number in (1, 2):
        rig.publish(rig.package(number))
    publish_the_set(rig, validation_set(rig, 1, "2"))
    named: dict[str, Header] = {"validation-sets": (
        {"account-id": "acme", "name": "tested", "sequence": "1", "mode": "enforce"},)}
    publish_the_model(rig, revision="1", **named)
    for number in range(3, 10):
        rig.publish(rig.package(number))
    publish_the_set(rig, validation_set(rig, 2, "9"))
    with rig.open() as store:
        assert prune.plan(store).revisions == {"small": (1, 3, 4)}


def audited(rig: StoreRig) -> list[str]:
    found = audit(rig.folder, rig.brand.roots, now=rig.now, progress=Silent())
    return [f"{item.subject}: {item.text}" for item in found.findings if item.level is Level.PROBLEM]


def test_check_looks_at_models_as_their_devices_do(rig: StoreRig) -> None:
    publish_the_model(rig, revision="1")
    assert audited(rig) == []

    def put(path: str, *assertions: Assertion) -> None:
        with rig.open() as store:
            draft = store.draft()
            store.put(draft.targets(), path, encode_stream(assertions))
            store.commit(draft)

    put(model_path("acme", "pi"), Brand("acme").model())
    assert audited(rig) == ["models/acme/pi.assert: it does not hold that one model"]
    stranger = Brand("acme", key="stranger")
    put(model_path("acme", "pi"), stranger.model(model="pi"))
    assert len(found := audited(rig)) == 1
    assert found[0].startswith("models/acme/pi.assert: cannot verify model")
    put(model_path("acme", "pi"), Brand("acme").model(model="pi", grade="secured"))
    assert "it demands what images do not have" in audited(rig)[0]


NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
UNREADABLE: dict[str, Callable[[ChannelMap], ChannelMap]] = {
    "a reason without end": lambda found: revoked(found, 1, reason="x" * 4001, now=NOON),
    "a step beyond all numbers": lambda found: changed(found, 1, parse_channel("stable"),
                                                       lambda item: replace(item, least=1 << 60)),
    "text that is none": lambda found: revoked(found, 1, reason="\udcff", now=NOON),
    "more than devices take": lambda found: replace(found, revisions=tuple(
        replace(found.revisions[0], revision=number, advisory="x" * 4000) for number in range(1, 300))),
}


@pytest.mark.parametrize("what", UNREADABLE)
def test_a_channel_map_that_no_device_could_read_is_not_published(rig: StoreRig, what: str) -> None:
    rig.publish(rig.package(1), channel="stable")
    before = snapshot_of(rig.public)
    with rig.open() as store, pytest.raises(PlanError, match="no device could read"):
        change(store, "small", UNREADABLE[what])
    assert snapshot_of(rig.public) == before
    assert rig.publish(rig.package(2), channel="stable").published


def test_a_role_that_is_larger_than_devices_take_is_not_published(rig: StoreRig) -> None:
    """They would refuse all of it, from that change on, and those who publish would hear of it from them."""
    rig.publish(rig.package(1), channel="stable")
    before = snapshot_of(rig.public / "metadata")
    with rig.open() as store, pytest.raises(PlanError, match=r"it would have \d+ bytes, devices take"):
        draft = store.draft()
        role = draft.publisher("publisher-acme")
        for number in range(40_000):
            path = f"sets/acme/much_{number}.assert"
            role.targets[path] = TargetFile(length=1, hashes={"sha256": f"{number:064x}"}, path=path)
        store.commit(draft)
    assert snapshot_of(rig.public / "metadata") == before
    assert rig.publish(rig.package(2), channel="stable").published


def test_a_package_with_terms_that_no_device_could_read_leaves_nothing_behind(rig: StoreRig) -> None:
    before = snapshot_of(rig.public)
    with pytest.raises(PlanError, match="no device could read"):
        rig.publish(rig.package(1), channel="stable", terms=Terms(least=1 << 60))
    assert snapshot_of(rig.public) == before
