"""What pruning takes away, and what stays because a device may still need it."""

from __future__ import annotations

import contextlib
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.storeclient import connected
from imagekit.plan.channelmap import UpdateClass
from imagekit.store import prune
from imagekit.store.disk import FolderDisk
from imagekit.testing.stores import CutDisk, PowerCut, StoreRig


def prune_now(rig: StoreRig) -> prune.Pruning:
    with rig.open() as store:
        planned = prune.plan(store)
        prune.carry_out(store, planned)
    return planned


def packages(rig: StoreRig) -> list[int]:
    return sorted(int(path.name.partition("small_")[2].partition(".")[0])
                  for path in (rig.public / "targets/packages/small").iterdir())


@pytest.fixture
def full(rig: StoreRig) -> StoreRig:
    """Eight revisions, the last released to stable; the second was a security fix."""
    for number in range(1, 9):
        rig.publish(rig.package(number), channel="stable",
                    update_class=UpdateClass.SECURITY if number == 2 else UpdateClass.FEATURE)
    return rig


def test_old_revisions_leave_the_map_at_once_and_their_files_later(full: StoreRig) -> None:
    assert prune_now(full).revisions == {"small": (1, 3)}
    assert packages(full) == list(range(1, 9))  # an unexpired snapshot still leads to them
    with full.open() as store:
        channels = store.channels("small")
        assert channels is not None and [item.revision for item in channels.revisions] == [2, 4, 5, 6, 7, 8]
    full.now += timedelta(days=31)
    with full.open() as store:
        store.commit(store.draft_online())
    prune_now(full)
    assert packages(full) == [2, 4, 5, 6, 7, 8]


def test_devices_read_the_store_as_before(full: StoreRig) -> None:
    prune_now(full)
    with connected(full.public, full.first_root) as client:
        for number in (2, 4, 8):
            assert client.find(f"packages/small/small_{number}.snap.zst") is not None
        assert client.find("packages/small/small_3.snap.zst") is None


def test_pruning_twice_takes_nothing_more(full: StoreRig) -> None:
    prune_now(full)
    again = prune_now(full)
    assert not again.revisions and not again.files


def test_every_root_stays(full: StoreRig) -> None:
    roots = sorted(path.name for path in (full.public / "metadata").glob("*.root.json"))
    full.now += timedelta(days=400)
    with full.open() as store:
        store.commit(store.draft_online())
    prune_now(full)
    assert sorted(path.name for path in (full.public / "metadata").glob("*.root.json")) == roots


def test_what_a_power_cut_left_behind_goes(rig: StoreRig) -> None:
    rig.publish(rig.package(1))
    with pytest.raises(PowerCut):
        rig.publish(rig.package(2), disk=CutDisk(rig.public, 5))
    orphans = prune_now(rig).files
    assert any("small_2.snap.zst" in name for name in orphans) and any("snapshot" in name for name in orphans)
    assert rig.publish(rig.package(2)).published


def test_what_waits_for_signatures_stays(rig: StoreRig) -> None:
    rig.keys.locked.add("acme")
    assert not rig.publish(rig.package(1)).published
    with rig.open() as store:
        assert not [name for name in prune.plan(store).files if "small_1" in name]


def test_power_cut_while_pruning_leaves_a_store_that_is_whole(full: StoreRig, tmp_path: Path) -> None:
    full.now += timedelta(days=31)
    with full.open() as store:
        store.commit(store.draft_online())
    with full.open() as store:
        planned = prune.plan(store)
    for steps in range(0, len(planned.files) + 4, 3):
        with contextlib.suppress(PowerCut), full.open(CutDisk(full.public, steps)) as store:
            prune.carry_out(store, prune.plan(store))
        with connected(full.public, full.first_root) as client:
            target = client.find("packages/small/small_8.snap.zst")
            assert target is not None and client.fetch(target).exists()


def test_pruning_again_after_a_power_cut_takes_away_nothing_that_it_has_just_named(full: StoreRig, tmp_path: Path
                                                                                   ) -> None:
    """The map that the cut left behind is the one that the next pruning publishes."""
    shutil.copytree(full.folder, tmp_path / "before")
    for steps in range(4):  # channel map, publisher, snapshot, timestamp
        with pytest.raises(PowerCut), full.open(CutDisk(full.public, steps)) as store:
            prune.carry_out(store, prune.plan(store))
        prune_now(full)
        with full.open() as store:
            channels = store.channels("small")
            assert channels is not None and [item.revision for item in channels.revisions] == [2, 4, 5, 6, 7, 8]
        shutil.rmtree(full.folder)
        shutil.copytree(tmp_path / "before", full.folder)


def test_disk_that_is_full_has_room_for_the_maps_once_the_files_are_gone(full: StoreRig) -> None:
    stray = full.public / "targets/stray"
    stray.touch()

    class FullDisk(FolderDisk):
        def put(self, name: str, content: bytes) -> None:
            if stray.exists():
                raise HostError(f"cannot write {name}: no space left on its disk")
            super().put(name, content)

    with full.open(FullDisk(full.public)) as store:
        planned = prune.plan(store)
        assert planned.revisions and "targets/stray" in planned.files
        outcome = prune.carry_out(store, planned)
        assert outcome is not None and outcome.published
        assert not prune.plan(store).revisions


def test_half_written_files_of_a_power_cut_go_too(rig: StoreRig) -> None:
    """They lie beside their names, and a package that was being compressed in a folder of its own."""
    rig.publish(rig.package(1))
    for steps in range(3):
        with pytest.raises(PowerCut):
            rig.publish(rig.package(2), disk=CutDisk(rig.public, steps))
    (rig.folder / "work/work-cut").mkdir(parents=True)
    (rig.folder / "work/work-cut/tmp").write_bytes(bytes(100))
    halves = {str(path.relative_to(rig.public)) for path in rig.public.rglob(".*.new")}
    assert len(halves) == 3
    assert halves <= set(prune_now(rig).files)
    assert not [*rig.public.rglob(".*.new"), *(rig.folder / "work").glob("*")]
    assert rig.publish(rig.package(2)).published
