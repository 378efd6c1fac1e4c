"""Who signs: keys that come and go, publishers, signatures made elsewhere; a device follows each step."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import DelegatedRole, Delegations, Metadata, SuccinctRoles
from tuf.ngclient import Updater

from imagekit.errors import DocumentError, HostError, PlanError, TrustError, UsageError
from imagekit.host.storeclient import FolderFetcher, connected
from imagekit.plan.storepaths import channels_path
from imagekit.store.check import audit
from imagekit.store.commit import Outcome
from imagekit.store.metadata import load, read_metadata
from imagekit.store.offline import apply, discard, read_statement, sign_statement
from imagekit.store.publishing import Offer
from imagekit.store.roles import RoleKeys, add_key, remove_key, remove_publisher, renew
from imagekit.store.status import role_statuses
from imagekit.testing.images import Silent
from imagekit.testing.stores import CutDisk, PowerCut, StoreRig


class Device:
    """A client that keeps what it has seen, as a device does."""

    def __init__(self, rig: StoreRig, folder: Path) -> None:
        self.folder, self.rig = folder, rig
        (folder / "targets").mkdir(parents=True)
        (folder / "root.json").write_bytes(rig.first_root)

    def refresh(self) -> Updater:
        updater = Updater(metadata_dir=str(self.folder), metadata_base_url="store:///metadata/",
                          target_dir=str(self.folder / "targets"), target_base_url="store:///targets/",
                          fetcher=FolderFetcher(self.rig.public))
        updater.refresh()
        return updater

    @property
    def root_version(self) -> int:
        return int(Metadata.from_file(str(self.folder / "root.json")).signed.version)


@pytest.fixture
def device(rig: StoreRig, tmp_path: Path) -> Device:
    device = Device(rig, tmp_path / "device")
    device.refresh()
    return device


def swap_online(rig: StoreRig, disk: CutDisk | None = None) -> Outcome:
    """Another online key in the place of the first."""
    with rig.open(disk) as store:
        draft = store.draft()
        for role in ("snapshot", "timestamp"):
            add_key(draft, role, rig.keys.by_name["online-2"].public_key, threshold=None)
            remove_key(draft, role, rig.keys.by_name["online"].public_key.keyid, threshold=None)
        return store.commit(draft)


def test_device_follows_a_new_root_key(rig: StoreRig, device: Device) -> None:
    with rig.open() as store:
        draft = store.draft()
        add_key(draft, "root", rig.keys.by_name["root-3"].public_key, threshold=2)
        assert store.commit(draft).versions["root"] == 2
    device.refresh()
    assert device.root_version == 2


def test_device_follows_twenty_roots_in_one_poll(rig: StoreRig, device: Device) -> None:
    for number in range(20):
        with rig.open() as store:
            draft = store.draft()
            add_key(draft, "root", rig.keys.by_name["root-1"].public_key, threshold=1 + number % 2)
            store.commit(draft)
    device.refresh()
    assert device.root_version == 21


def test_online_key_is_exchanged_without_a_moment_of_doubt(rig: StoreRig, tmp_path: Path) -> None:
    """Power is cut after each write; a device that knows the old state and a new one both believe the store."""
    before, cuts = tmp_path / "before", 0
    shutil.copytree(rig.folder, before)
    while True:
        old = Device(rig, tmp_path / f"device-{cuts}")
        old.refresh()
        try:
            assert not swap_online(rig, CutDisk(rig.public, cuts)).abrupt
        except PowerCut:
            cuts += 1
        else:
            break
        old.refresh()
        Device(rig, tmp_path / f"fresh-{cuts}").refresh()
        swap_online(rig)
        old.refresh()
        shutil.rmtree(rig.folder)
        shutil.copytree(before, rig.folder)
    assert cuts == 3  # snapshot, timestamp, root
    rig.keys.locked.add("online")
    rig.publish(rig.package(1))
    old.refresh()


def test_stolen_online_key_is_replaced_by_the_root_first(rig: StoreRig, device: Device) -> None:
    rig.keys.locked.add("online")
    assert swap_online(rig).abrupt
    device.refresh()
    assert device.root_version == 2


def test_power_cut_behind_an_abrupt_root_is_mended_by_the_next_change(rig: StoreRig, device: Device) -> None:
    rig.keys.locked.add("online")
    with pytest.raises(PowerCut):
        swap_online(rig, CutDisk(rig.public, 2))  # the snapshot and the root are there, the timestamp is not
    rig.publish(rig.package(1))
    assert device.refresh().get_targetinfo(channels_path("small")) is not None


def test_targets_key_is_exchanged(rig: StoreRig, device: Device) -> None:
    rig.publish(rig.package(1))
    with rig.open() as store:
        draft = store.draft()
        add_key(draft, "targets", rig.keys.by_name["targets-2"].public_key, threshold=None)
        remove_key(draft, "targets", rig.keys.by_name["targets-1"].public_key.keyid, threshold=None)
        assert {"root", "targets"} <= set(store.commit(draft).versions)
    assert device.refresh().get_targetinfo(channels_path("small")) is not None


def test_the_last_key_of_a_role_is_not_taken(rig: StoreRig) -> None:
    with rig.open() as store, pytest.raises(PlanError, match="it would have 0 keys"):
        remove_key(store.draft(), "targets", rig.keys.by_name["targets-1"].public_key.keyid, threshold=None)


def test_the_same_key_under_two_ids_is_refused(rig: StoreRig) -> None:
    key = rig.keys.by_name["root-1"].public_key
    twin = type(key)("ab" * 32, key.keytype, key.scheme, key.keyval)
    with rig.open() as store, pytest.raises(PlanError, match="would count twice"):
        add_key(store.draft(), "root", twin, threshold=2)


def test_more_signatures_than_keys_are_refused(rig: StoreRig) -> None:
    with pytest.raises(UsageError, match="3 signatures of 1 keys"):
        RoleKeys(keys=(rig.keys.by_name["root-1"].public_key,), threshold=3)


def test_one_key_is_not_given_to_a_role_twice(rig: StoreRig) -> None:
    key = rig.keys.by_name["acme"].public_key
    twin = type(key)("ab" * 32, key.keytype, key.scheme, {"public": key.keyval["public"].upper()})
    with pytest.raises(UsageError, match="one key twice"):
        RoleKeys(keys=(key, twin), threshold=2)


def test_store_without_its_root_keys_is_not_made(tmp_path: Path) -> None:
    rig = StoreRig(folder=tmp_path / "s", packages=tmp_path / "p")
    rig.keys.locked |= {"root-1", "root-2"}
    with pytest.raises(TrustError, match="not all of its keys are on this machine"):
        rig.create()


def test_signatures_made_elsewhere_are_brought_back(rig: StoreRig, device: Device, tmp_path: Path) -> None:
    rig.keys.locked |= {"targets-1"}
    outcome = rig.add_publisher("acme", "acme", patterns=("small", "other", "third"))
    assert not outcome.published and [lack.role for lack in outcome.lacks] == ["targets"]
    assert [path.name for path in outcome.pending] == ["targets.json"]
    device.refresh()

    carried = tmp_path / "carried.json"
    shutil.copy(outcome.pending[0], carried)
    statement = read_statement(carried)
    assert any("third" in line for line in statement.lines)
    assert sign_statement(statement, [rig.keys.by_name["targets-1"]], carried) == 1
    with rig.open() as store:
        assert apply(store, [carried]).published
        assert not store.pending
    rig.publish(rig.package(1, "third"))
    assert device.refresh().get_targetinfo(channels_path("third")) is not None


def test_a_change_that_waits_keeps_others_from_being_made_and_can_be_given_up(rig: StoreRig) -> None:
    rig.keys.locked |= {"targets-1"}
    rig.add_publisher("acme", "acme-2", patterns=("small",))
    with pytest.raises(PlanError, match="a change of publisher-acme, targets waits"):
        rig.publish(rig.package(1))
    with rig.open() as store:
        assert discard(store)
    assert rig.publish(rig.package(1)).published


def signed_elsewhere(rig: StoreRig, key: str, carried: Path) -> Path:
    """A change that waits for its key, and what this one signed of it elsewhere."""
    rig.keys.locked |= {"targets-1"}
    outcome = rig.add_publisher("acme", "acme", patterns=("third",))
    shutil.copy(outcome.pending[0], carried)
    sign_statement(read_statement(carried), [rig.keys.by_name[key]], carried)
    return carried


def test_a_change_that_waited_beyond_its_end_is_not_published(rig: StoreRig, tmp_path: Path) -> None:
    carried = signed_elsewhere(rig, "targets-1", tmp_path / "carried.json")
    rig.now = read_metadata(carried).signed.expires
    with rig.open() as store, pytest.raises(PlanError, match="it waited beyond its own end") as caught:
        apply(store, [carried])
    assert "--discard" in str(caught.value.hint)


def test_a_stranger_s_signature_is_not_enough(rig: StoreRig, tmp_path: Path) -> None:
    carried = signed_elsewhere(rig, "beta", tmp_path / "carried.json")
    with rig.open() as store:
        assert not apply(store, [carried]).published
        assert store.pending


def test_signatures_of_another_change_are_refused(rig: StoreRig, tmp_path: Path) -> None:
    rig.keys.locked |= {"targets-1"}
    first = rig.add_publisher("acme", "acme", patterns=("third",))
    carried = tmp_path / "carried.json"
    shutil.copy(first.pending[0], carried)
    with rig.open() as store:
        discard(store)
    rig.add_publisher("acme", "acme", patterns=("small", "third"))
    sign_statement(read_statement(carried), [rig.keys.by_name["targets-1"]], carried)
    with rig.open() as store, pytest.raises(PlanError, match="no change that waits says what was signed there"):
        apply(store, [carried])


def test_two_signatures_of_a_publisher_come_one_after_the_other(rig: StoreRig, tmp_path: Path) -> None:
    rig.add_publisher("acme", "acme", "acme-2", threshold=2)
    rig.keys.locked |= {"acme-2"}
    outcome = rig.publish(rig.package(1))
    assert [(lack.role, lack.missing) for lack in outcome.lacks] == [("publisher-acme", 1)]
    with connected(rig.public, rig.first_root) as client:
        assert client.find(channels_path("small")) is None
    rig.keys.locked.clear()
    with rig.open() as store:
        assert apply(store, []).published
    with connected(rig.public, rig.first_root) as client:
        assert client.find(channels_path("small")) is not None


def test_signatures_of_two_roles_come_one_after_the_other(rig: StoreRig, device: Device, tmp_path: Path) -> None:
    """What the second person has signed meanwhile is what waits still."""
    rig.keys.locked |= {"root-1", "root-2", "targets-1"}
    with rig.open() as store:
        draft = store.draft()
        renew(store, draft, has=lambda _: False, everything=True, offline=True)
        outcome = store.commit(draft)
    signed = []
    for path, name in zip(outcome.pending[1:], ("root-1", "targets-1"), strict=True):
        signed.append(tmp_path / path.name)
        sign_statement(read_statement(path), [rig.keys.by_name[name]], signed[-1])
    for number, path in enumerate(signed):
        rig.now += timedelta(days=1)
        with rig.open() as store:
            assert apply(store, [path]).published is bool(number)
    device.refresh()
    assert device.root_version == 2


def test_publisher_without_the_online_key_publishes_into_a_copy(rig: StoreRig, device: Device, tmp_path: Path) -> None:
    """What lies in the copy's `public/targets` and `pending` is laid into the store, and applied there."""
    shutil.copytree(rig.folder, tmp_path / "copy")
    copy = replace(rig, folder=tmp_path / "copy")
    rig.keys.locked |= {"online", "targets-1"}
    outcome = copy.publish(copy.package(1))
    assert [path.name for path in outcome.pending] == ["publisher-acme.json"]
    rig.keys.locked = {"acme", "targets-1"}
    shutil.copytree(copy.folder / "pending", rig.folder / "pending", dirs_exist_ok=True)
    with rig.open() as store, pytest.raises(PlanError, match=r"small_1.* is missing"):
        apply(store, [])
    shutil.copytree(copy.public / "targets", rig.public / "targets", dirs_exist_ok=True)
    packed = next((rig.public / "targets/packages/small").iterdir())
    whole = packed.read_bytes()
    packed.write_bytes(bytes(len(whole)))
    with rig.open() as store, pytest.raises(TrustError, match="is not what was signed"):
        apply(store, [])
    packed.write_bytes(whole)
    with rig.open() as store:
        assert apply(store, []).published
    assert device.refresh().get_targetinfo("packages/small/small_1.snap.zst") is not None


def test_change_that_was_made_on_an_older_version_is_told_and_kept(rig: StoreRig, device: Device, tmp_path: Path
                                                                   ) -> None:
    """Two of one account publish at once, each into a copy; the second makes it again."""
    rig.publish(rig.package(1))

    def publish_into_copy(name: str, offer: Offer) -> None:
        shutil.copytree(rig.folder, tmp_path / name)
        rig.keys.locked = {"online"}
        replace(rig, folder=tmp_path / name).publish(offer)
        rig.keys.locked = set()

    def bring(name: str) -> Outcome:
        for folder in ("public/targets", "pending"):
            shutil.copytree(tmp_path / name / folder, rig.folder / folder, dirs_exist_ok=True)
        with rig.open() as store:
            return apply(store, [])

    other = rig.package(5, "other")
    publish_into_copy("first", rig.package(2))
    publish_into_copy("second", other)
    assert bring("first").published
    before = load(rig.public).publishers["publisher-acme"].signed.version
    with pytest.raises(PlanError, match=f"of publisher-acme: it is version {before}, made on {before - 1}, and"
                                        f" {before} is published") as caught:
        bring("second")
    assert [line.split()[1] for line in caught.value.details] == [
        "assertions/other/other_5.assert:", "channels/other.json:", "channels/small.json:",
        "packages/other/other_5.snap.zst:"]
    with pytest.raises(PlanError, match="a change of publisher-acme waits"):
        rig.publish(rig.package(3))
    (rig.folder / "pending/publisher-acme.json").unlink()
    publish_into_copy("third", other)
    assert bring("third").published
    seen = device.refresh()
    assert all(seen.get_targetinfo(f"packages/{path}.snap.zst") for path in ("small/small_2", "other/other_5"))


def test_attack_another_key_under_the_id_of_a_known_one_is_told_before_it_is_signed(rig: StoreRig, tmp_path: Path
                                                                                    ) -> None:
    """Who holds the machine that publishes writes what is carried to the offline keys."""
    root = Metadata.from_bytes(rig.first_root)
    known, stolen = (rig.keys.by_name[name].public_key for name in ("root-2", "beta"))
    (tmp_path / "true.json").write_bytes(root.to_bytes())
    root.signed.keys[known.keyid].keyval = stolen.keyval
    (tmp_path / "false.json").write_bytes(root.to_bytes())
    true, false = (read_statement(tmp_path / f"{name}.json").lines for name in ("true", "false"))
    assert set(false) - set(true) == {
        f"careful: the key that is called {known.keyid[:12]} here is {stolen.keyid[:12]}"}


def give_more(role: DelegatedRole) -> None:
    role.paths = [*(role.paths or []), "packages/other-brands/*"]


def give_all_by_hash(role: DelegatedRole) -> None:
    role.paths, role.path_hash_prefixes = None, ["0", "f"]


def go_on_searching(role: DelegatedRole) -> None:
    role.terminating = False


@pytest.mark.parametrize(("change", "line"), [
    (give_more, "careful: publisher-acme signs for packages/other-brands/* too"),
    (give_all_by_hash, "careful: publisher-acme signs for all whose hash begins with 0, f"),
    (go_on_searching, "careful: what publisher-acme does not have is looked for elsewhere")])
def test_attack_a_delegation_of_more_than_package_names_is_told_before_it_is_signed(
        rig: StoreRig, tmp_path: Path, change: Callable[[DelegatedRole], None], line: str) -> None:
    targets = load(rig.public).targets
    (tmp_path / "targets.json").write_bytes(targets.to_bytes())
    assert not [item for item in read_statement(tmp_path / "targets.json").lines if item.startswith("careful")]
    assert targets.signed.delegations is not None and targets.signed.delegations.roles is not None
    change(targets.signed.delegations.roles["publisher-acme"])
    (tmp_path / "targets.json").write_bytes(targets.to_bytes())
    assert line in read_statement(tmp_path / "targets.json").lines


def test_attack_delegation_to_bins_is_told_before_it_is_signed(rig: StoreRig, tmp_path: Path) -> None:
    targets, key = load(rig.public).targets, rig.keys.by_name["beta"].public_key
    targets.signed.delegations = Delegations(keys={key.keyid: key}, succinct_roles=SuccinctRoles(
        [key.keyid], 1, 1, "bin"))
    (tmp_path / "targets.json").write_bytes(targets.to_bytes())
    assert f"careful: 1 of {key.keyid[:12]} sign for everything, in 2 bins" in read_statement(
        tmp_path / "targets.json").lines


def test_attack_words_that_hide_others_on_a_terminal_are_told_as_they_are(rig: StoreRig, tmp_path: Path) -> None:
    rig.publish(rig.package(1))
    role = load(rig.public).publishers["publisher-acme"]
    target = role.signed.targets["channels/small.json"]
    role.signed.targets["channels/evil.json\x1b[2K\r\nchannels/small.json"] = target
    (tmp_path / "role.json").write_bytes(role.to_bytes())
    lines = read_statement(tmp_path / "role.json").lines
    assert any("evil.json\\x1b[2K\\r\\nchannels" in line for line in lines)
    assert all(line.isprintable() for line in lines)


def test_power_cut_while_a_change_is_laid_to_wait_leaves_one_that_can_be_given_up(rig: StoreRig) -> None:
    rig.keys.locked |= {"targets-1"}
    outcome = rig.add_publisher("beta", patterns=("third",))
    assert [path.name for path in outcome.pending] == ["publisher-beta.json", "targets.json"]
    outcome.pending[1].unlink()
    with rig.open() as store, pytest.raises(PlanError, match="delegates nothing to publisher-beta"):
        apply(store, [])
    with rig.open() as store:
        assert discard(store) == ("publisher-beta",)
    assert rig.publish(rig.package(1)).published


def test_power_cut_between_publishing_and_forgetting_what_waited(rig: StoreRig) -> None:
    rig.keys.locked |= {"acme"}
    outcome = rig.publish(rig.package(1))
    kept = outcome.pending[0].read_bytes()
    rig.keys.locked.clear()
    with rig.open() as store:
        apply(store, [])
    outcome.pending[0].write_bytes(kept)
    with rig.open() as store:
        assert not store.pending
    assert rig.publish(rig.package(2)).published


def test_devices_stop_believing_a_publisher_that_was_removed(rig: StoreRig, device: Device) -> None:
    rig.publish(rig.package(1))
    assert device.refresh().get_targetinfo(channels_path("small")) is not None
    with rig.open() as store:
        draft = store.draft()
        remove_publisher(draft, "acme")
        store.commit(draft)
    assert device.refresh().get_targetinfo(channels_path("small")) is None


def test_a_publisher_that_comes_back_goes_on_counting(rig: StoreRig, device: Device) -> None:
    rig.publish(rig.package(1))
    device.refresh().get_targetinfo(channels_path("small"))
    with rig.open() as store:
        draft = store.draft()
        remove_publisher(draft, "acme")
        store.commit(draft)
    rig.add_publisher("acme", "acme-2")
    rig.publish(rig.package(2))
    assert device.refresh().get_targetinfo(channels_path("small")) is not None


def test_a_publisher_s_stolen_key_signs_nothing_any_more(rig: StoreRig, device: Device) -> None:
    rig.publish(rig.package(1))
    rig.add_publisher("acme", "acme-2")
    role = load(rig.public).publishers["publisher-acme"]
    assert rig.keys.by_name["acme"].public_key.keyid not in role.signatures
    rig.keys.locked.add("acme-2")
    assert not rig.publish(rig.package(2)).published
    assert device.refresh().get_targetinfo("packages/small/small_2.snap.zst") is None


def test_two_publishers_never_get_the_same_name(rig: StoreRig) -> None:
    with pytest.raises(PlanError, match="publisher-acme has small"):
        rig.add_publisher("beta", "beta", patterns=("sm*",))


def test_renewal_signs_what_it_can_and_names_the_rest(rig: StoreRig) -> None:
    rig.publish(rig.package(1))
    rig.now += timedelta(days=300)
    offline = {rig.keys.by_name[name].public_key.keyid for name in ("root-1", "root-2", "targets-1")}
    with rig.open() as store:
        draft = store.draft()
        done = renew(store, draft, has=lambda key_id: key_id not in offline)
        assert (done.roles, done.left) == (("publisher-acme",), ("root", "targets"))
        assert store.commit(draft).published
    published = load(rig.public)
    assert published.publishers["publisher-acme"].signed.expires == rig.now + timedelta(days=365)
    assert published.timestamp.signed.expires == rig.now + timedelta(days=7)


def test_what_ended_and_was_not_renewed_is_told_with_every_change(rig: StoreRig) -> None:
    rig.now += timedelta(days=366)
    rig.keys.locked |= {"root-1", "root-2", "targets-1"}
    assert rig.publish(rig.package(1)).ended == ("root", "targets")
    with rig.open() as store:
        assert [item.role for item in role_statuses(store) if item.ended] == ["root", "targets"]
        rig.keys.locked.clear()
        draft = store.draft()
        renew(store, draft, has=lambda _: True)
        assert store.commit(draft).ended == ()
        assert not [item for item in role_statuses(store) if item.ended or item.soon]


def test_clock_in_the_past_signs_nothing_that_has_ended_by_now(rig: StoreRig, device: Device) -> None:
    before, true = rig.public.joinpath("metadata/timestamp.json").read_bytes(), rig.now
    for behind in (timedelta(days=400), timedelta(hours=2)):
        rig.now = true - behind
        with rig.open() as store, pytest.raises(HostError, match=r"clock says .* was signed last at"):
            store.commit(store.draft_online())
    assert rig.public.joinpath("metadata/timestamp.json").read_bytes() == before
    rig.now = true - timedelta(minutes=50)  # machines that are kept may lie apart so far
    with rig.open() as store:
        store.commit(store.draft_online())
    device.refresh()


def test_another_period_of_the_timestamp_is_no_clock_in_the_past(rig: StoreRig) -> None:
    config = rig.folder / "store.json"
    config.write_text(config.read_text().replace('"timestamp": 7', '"timestamp": 1'))
    with rig.open() as store:
        assert store.commit(store.draft_online()).published


@pytest.mark.parametrize("days", [0, -5, 36501, 99999999999])
def test_periods_that_no_date_has_are_told_and_no_traceback(rig: StoreRig, days: int) -> None:
    config = rig.folder / "store.json"
    config.write_text(config.read_text().replace('"root": 365', f'"root": {days}'))
    with pytest.raises(DocumentError, match="valid-days of root are not 1 to 36500"), rig.open():
        pass


def test_store_that_a_clock_far_ahead_signed_is_signed_anew_on_demand(rig: StoreRig, device: Device) -> None:
    true, rig.now = rig.now, rig.now + timedelta(days=4000)
    with rig.open() as store:
        draft = store.draft()
        renew(store, draft, has=lambda _: True, everything=True)
        store.commit(draft)
    rig.now = true
    found = audit(rig.folder, (), now=true, progress=Silent())
    assert {item.subject for item in found.findings if "ran ahead" in item.text} == {
        "root", "targets", "snapshot", "timestamp", "publisher-acme"}
    with rig.open() as store:
        with pytest.raises(HostError) as caught:
            store.commit(store.draft_online())
        assert "--clock-is-right" in (caught.value.hint or "")
        draft = store.draft_online(clock_is_right=True)
        renew(store, draft, has=lambda _: True, everything=True)
        store.commit(draft)
    rig.publish(rig.package(1))
    found = audit(rig.folder, (), now=true, progress=Silent())
    assert found.sound and not [item for item in found.findings if "ran ahead" in item.text]
    device.refresh()


def test_changed_metadata_is_refused_by_the_store_itself(rig: StoreRig) -> None:
    path = rig.public / "metadata/1.targets.json"
    path = next(item for item in (rig.public / "metadata").glob("*.targets.json") if item.name != path.name)
    path.write_bytes(path.read_bytes().replace(b'"small"', b'"smell"').replace(b"channels/small", b"channels/smell"))
    with pytest.raises(TrustError, match="too few of the keys"), rig.open():
        pass


@pytest.mark.parametrize("content", [b"", b"{}", b"{", b"\xff", b'{"signed": {"_type": "targets"}}'])
def test_a_damaged_change_that_waits_is_told_and_no_traceback(rig: StoreRig, content: bytes) -> None:
    (rig.folder / "pending").mkdir()
    (rig.folder / "pending/targets.json").write_bytes(content)
    with pytest.raises(DocumentError, match="no TUF metadata"), rig.open():
        pass


@pytest.mark.parametrize("name", ["timestamp.json", "1.root.json", "2.snapshot.json", "2.targets.json",
                                  "1.publisher-acme.json"])
@pytest.mark.parametrize("content", [None, b"", b"{}", b"[" * 9999])
def test_damaged_metadata_is_told_and_no_traceback(rig: StoreRig, name: str, content: bytes | None) -> None:
    path = rig.public / "metadata" / name
    assert path.exists()
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises((DocumentError, HostError, TrustError)), rig.open():
        pass
