"""Deltas in a store: made from what is published, found by a device, and only where they are worth it."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from imagekit.errors import PlanError
from imagekit.host.storeclient import connected
from imagekit.packages.delta import apply_delta
from imagekit.plan.releases import revoked
from imagekit.plan.storepaths import delta_path
from imagekit.store.deltas import publish_deltas
from imagekit.store.publishing import change
from imagekit.testing.documents import NOW
from imagekit.testing.fakes import RecordedProgress
from imagekit.testing.stores import StoreRig
from tests.tools.store_packages import write_package

pytestmark = pytest.mark.tools


@pytest.fixture
def rig(tmp_path: Path, program: Callable[[str], str]) -> StoreRig:
    """Three revisions: the second changes a little, the third everything."""
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create()
    rig.add_publisher()
    shared = random.Random(1).randbytes(300_000)
    for number, content in ((1, shared), (2, shared + b"more"), (3, random.Random(3).randbytes(300_000))):
        path = write_package(program("mkfs.erofs"), rig.packages, "small", number, content=content)
        rig.publish(rig.offer(path, rig.brand.revision_for(path)), channel="stable")
    return rig


def test_a_device_makes_the_next_revision_out_of_the_one_it_has(rig: StoreRig) -> None:
    with rig.open() as store:
        made, outcome = publish_deltas(store, "small", target=2, sources=(), progress=RecordedProgress())
    assert [(item.source, item.target, item.published) for item in made] == [(1, 2, True)]
    assert outcome is not None and outcome.published and made[0].size < 10_000
    with connected(rig.public, rig.first_root) as client:
        target = client.find(delta_path("small", 1, 2))
        assert target is not None
        delta, out = client.fetch(target).read_bytes(), bytearray()
    apply_delta(io.BytesIO(delta), io.BytesIO((rig.packages / "small_1.snap").read_bytes()), out.extend, name="d")
    assert out == (rig.packages / "small_2.snap").read_bytes()


def test_a_delta_that_saves_nothing_is_left_out(rig: StoreRig) -> None:
    with rig.open() as store:
        made, outcome = publish_deltas(store, "small", target=None, sources=(), progress=RecordedProgress())
    assert [(item.source, item.published) for item in made] == [(2, False), (1, False)] and outcome is None


def test_a_source_that_is_not_there_is_refused(rig: StoreRig) -> None:
    with rig.open() as store:
        with pytest.raises(PlanError, match="revision 9: it is not published"):
            publish_deltas(store, "small", target=2, sources=(9,), progress=RecordedProgress())
        with pytest.raises(PlanError, match="no device goes that way"):
            publish_deltas(store, "small", target=2, sources=(2,), progress=RecordedProgress())


def test_package_of_which_every_revision_was_revoked_is_refused(rig: StoreRig) -> None:
    with rig.open() as store:
        for number in (1, 2, 3):
            change(store, "small", lambda channels, number=number: revoked(channels, number, reason="bad", now=NOW))
        with pytest.raises(PlanError, match="all of its revisions were revoked"):
            publish_deltas(store, "small", target=None, sources=(), progress=RecordedProgress())


def test_deltas_of_a_gadget_which_no_device_could_use_are_refused(rig: StoreRig, program: Callable[[str], str]) -> None:
    for number in (1, 2):
        path = write_package(program("mkfs.erofs"), rig.packages, "other", number, content=bytes(9000), kind="gadget")
        rig.publish(rig.offer(path, rig.brand.revision_for(path)), channel="stable")
    with rig.open() as store, pytest.raises(PlanError, match="it is a gadget, of which a device keeps nothing"):
        publish_deltas(store, "other", target=None, sources=(), progress=RecordedProgress())


def test_packages_of_the_store_are_what_was_signed(rig: StoreRig) -> None:
    stored = next((rig.public / "targets/packages/small").glob("*.small_1.snap.zst"))
    assert zstandard.ZstdDecompressor().decompress(stored.read_bytes()) == (rig.packages / "small_1.snap").read_bytes()
