"""What an image promises is read from its own seed, and believed as far as signatures reach."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from imagekit.errors import DocumentError, TrustError
from imagekit.qemu.expectation import read_expectation
from imagekit.testing.documents import NOW, Brand
from tests.unit.qemu.seeds import BASE_ROOT, KERNEL_ROOT, OTHER_ROOT, SNAPS, Seed, sha3


@pytest.fixture
def seed() -> Seed:
    return Seed(Brand("acme"))


def test_expectation_names_the_revisions_in_the_seed_and_their_signed_roots(seed: Seed) -> None:
    found = seed.read()
    assert (found.kernel.name, found.kernel.revision, found.kernel.root) == ("pc-kernel", 7, KERNEL_ROOT)
    assert (found.base.name, found.base.revision, found.base.root) == ("debian-13", 2, BASE_ROOT)
    assert found.slot == "a"
    assert found.model == "acme/pc"
    assert {package.root for package in found.known} == {KERNEL_ROOT, BASE_ROOT, OTHER_ROOT}


def test_other_revision_in_the_seed_is_another_expectation(seed: Seed) -> None:
    seed.snaps = ("pc_1.snap.zst", "pc-kernel_7.snap.zst", "debian-13_1.snap.zst")
    assert seed.read().base.root == OTHER_ROOT


def test_brand_that_nobody_trusts_is_refused_with_the_option_that_names_it(seed: Seed) -> None:
    with pytest.raises(TrustError) as caught:
        seed.read(trusted=Brand("stranger"))
    assert "pc.img" in caught.value.message


def test_stranger_who_puts_his_own_revision_beside_ours_is_refused(seed: Seed) -> None:
    stranger = Brand("stranger")
    seed.revisions.append(stranger.revision("pc-kernel", 7, sha3=sha3("evil"), size=4096, verity_root=OTHER_ROOT))
    with pytest.raises(TrustError):
        seed.read()


def test_model_with_one_byte_changed_is_refused(seed: Seed) -> None:
    stream = seed.image()
    raw = stream.getvalue()
    at = raw.index(b"grade: signed")
    broken = io.BytesIO(raw[:at] + b"grade: signee" + raw[at + 13:])
    with pytest.raises((TrustError, DocumentError)):
        read_expectation(broken, name="pc.img", trusted=seed.brand.roots, now=NOW)


def test_key_that_is_not_yet_valid_is_refused(seed: Seed) -> None:
    with pytest.raises(TrustError):
        read_expectation(seed.image(), name="pc.img", trusted=seed.brand.roots, now=NOW - timedelta(days=3650))


@pytest.mark.parametrize(("snaps", "complaint"), [
    (SNAPS[:2], "0 revisions of debian-13"),
    ((*SNAPS, "debian-13_1.snap.zst"), "2 revisions of debian-13"),
    (("debian-13_2.snap.zst",), "0 revisions of pc-kernel"),
])
def test_seed_without_exactly_one_package_of_each_is_refused(seed: Seed, snaps: tuple[str, ...],
                                                             complaint: str) -> None:
    seed.snaps = snaps
    with pytest.raises(DocumentError, match=complaint):
        seed.read()


def test_package_without_a_signed_root_is_refused(seed: Seed) -> None:
    seed.snaps = ("pc_1.snap.zst", "pc-kernel_7.snap.zst", "debian-13_3.snap.zst")
    with pytest.raises(TrustError, match="debian-13 revision 3"):
        seed.read()


@pytest.mark.parametrize("systems", [(), ("20260101", "20260201")])
def test_seed_without_exactly_one_system_is_refused(seed: Seed, systems: tuple[str, ...]) -> None:
    seed.systems = systems
    with pytest.raises(DocumentError):
        seed.read()


def test_two_models_in_one_file_are_refused(seed: Seed) -> None:
    seed.models.append(seed.brand.model(model="other"))
    with pytest.raises(DocumentError, match="2 models"):
        seed.read()


def test_disk_without_a_seed_is_refused(seed: Seed) -> None:
    seed.name = "other"
    with pytest.raises(DocumentError, match="no seed partition"):
        seed.read()
