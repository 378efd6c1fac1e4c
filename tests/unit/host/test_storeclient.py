"""A device's view of a store, kept from one time to the next."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imagekit.errors import HostError, TrustError
from imagekit.host.storeclient import open_client
from imagekit.plan.storepaths import channels_path
from imagekit.testing.stores import StoreRig


@pytest.fixture
def rig(tmp_path: Path) -> StoreRig:
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create()
    rig.add_publisher()
    rig.publish(rig.package(1), channel="stable")
    return rig


def test_what_was_believed_once_is_not_taken_back(rig: StoreRig, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(rig.public, old)
    rig.publish(rig.package(2), channel="stable")
    state, downloads = tmp_path / "state", tmp_path / "downloads"
    client = open_client(rig.public, state=state, downloads=downloads, root=rig.first_root)
    target = client.find(channels_path("small"))
    assert target is not None and client.fetch(target).parent == downloads
    with pytest.raises(TrustError, match="as a device"):
        open_client(old, state=state, downloads=downloads)
    assert open_client(rig.public, state=state, downloads=downloads).find(channels_path("small")) is not None


def test_a_state_without_a_root_needs_one(rig: StoreRig, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no root to begin with"):
        open_client(rig.public, state=tmp_path / "state", downloads=tmp_path / "downloads")


def test_a_store_that_is_not_there_is_no_matter_of_trust(rig: StoreRig, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot refresh"):
        open_client(tmp_path / "nowhere", state=tmp_path / "state", downloads=tmp_path / "downloads",
                    root=rig.first_root)
