"""A seed made in memory, looked into: which of its signatures count for its model."""

from __future__ import annotations

import io
import uuid
from collections.abc import Mapping

import pytest

from imagekit.assertions import Assertion, Header, encode_stream, snap_id
from imagekit.build.inspect_seed import look_at_seed
from imagekit.build.verify import State
from imagekit.digests import sha3_384
from imagekit.disk import gpt
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.disk.probe import Content, DiskImage, DiskPartition
from imagekit.plan.inspection import SeedFound
from imagekit.testing.documents import NOW, SIGNED, Brand, VouchedBrand
from imagekit.testing.plans import ROOTS, SIZES, digest
from imagekit.units import MIB

KERNEL = snap_id("acme", "pc-kernel")
TIME = "2026-01-01T00:00:00Z"


def look(model: Assertion, others: tuple[Assertion, ...], trusted: tuple[Assertion, ...],
         **packages: bytes) -> SeedFound:
    files = {"systems/20260101/model": model.encode(), "systems/20260101/assertions/model-etc": encode_stream(others),
             **{f"snaps/{name.replace('_', '-')}_1.snap": content for name, content in packages.items()}}
    plan = plan_fat(4 * MIB, "seed", 1, [FatFile(path=path, source=raw) for path, raw in files.items()], time=SIGNED)
    stream = io.BytesIO(bytes(4 * MIB))
    for offset, content in plan.extents:
        assert isinstance(content, bytes)
        stream.seek(offset)
        stream.write(content)
    seed = gpt.Partition(index=1, name="seed", type_guid=gpt.LINUX_DATA, unique_guid=uuid.UUID(int=1), start=0,
                         end=4 * MIB)
    image = DiskImage(size=4 * MIB, partitions=(DiskPartition(partition=seed, content=Content.FAT),),
                      table=gpt.Table(disk_guid=uuid.UUID(int=2), partitions=(seed,), disk_size=4 * MIB))
    return look_at_seed(stream, image, trusted=trusted, now=NOW, progress=None)


@pytest.mark.parametrize(("scope", "meant"), [
    ({}, True), ({"on-model": ("acme/pc",)}, True), ({"on-model": ("acme/other",)}, False),
    ({"on-brand": ("other",)}, False), ({"on-store": ("x",)}, False)])
def test_delegated_revision_counts_for_the_models_that_it_is_meant_for(scope: Mapping[str, Header],
                                                                       meant: bool) -> None:
    store = Brand("store")
    brand = VouchedBrand("acme", store=store)
    authority: dict[str, Header] = {"account-id": "acme", "provenance": ("built-here",), **scope}
    declared = store.sign({
        "type": "snap-declaration", "authority-id": "store", "format": "3", "series": "16", "snap-id": KERNEL,
        "snap-name": "pc-kernel", "publisher-id": "acme", "timestamp": TIME, "revision-authority": (authority,)})
    revision = brand.sign({
        "type": "snap-revision", "authority-id": "acme", "provenance": "built-here", "snap-id": KERNEL,
        "snap-sha3-384": digest("pc-kernel", 1), "snap-revision": "1", "snap-size": str(SIZES["pc-kernel"]),
        "developer-id": "acme", "timestamp": TIME, "verity-root": ROOTS["pc-kernel"]})
    found = look(brand.model(), (*brand.vouched, store.account, declared, revision), store.roots)
    assert found.model_cause is None
    assert [item.believed for item in found.known] == [meant]
    refused = [item for item in found.signatures if item.state != State.VERIFIED]
    assert [item.subjects for item in refused] == ([] if meant else [(revision.label,)])
    assert meant or "of provenance 'built-here', but not for model acme/pc" in str(refused[0].cause)


def test_request_that_has_no_place_in_a_seed_is_refused_and_the_rest_told() -> None:
    brand = Brand()
    request = brand.sign({"type": "account-key-request", "account-id": "acme", "name": "k", "since": TIME,
                          "public-key-sha3-384": brand.key.public.key_id}, body=brand.account_key.body)
    found = look(brand.model(), (*brand.roots, request), brand.roots)
    assert found.model is not None and found.model_cause is None
    assert [item.subjects for item in found.signatures if item.state != State.VERIFIED] == [(request.label,)]


def test_package_in_the_seed_is_held_to_the_revision_of_the_id_that_the_model_names() -> None:
    acme, other = Brand("acme"), Brand("other", key="stranger")
    for brand, content in ((acme, b"ours"), (other, b"theirs")):
        brand.revision("pc-kernel", 1, sha3=sha3_384(io.BytesIO(content)), size=len(content))
    signed = (*acme.signed, *other.signed)
    for stream in (signed, signed[::-1]):
        found = look(acme.model(), stream, (*acme.roots, *other.roots), pc_kernel=b"theirs")
        assert [(item.stated, item.believed) for item in found.files] == [(sha3_384(io.BytesIO(b"ours")), True)]
