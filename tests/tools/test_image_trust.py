"""What is believed when an image is built from files: sets and grades, whole, down to what a boot must show."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from imagekit.assertions import encode_stream, snap_id
from imagekit.disk.fat_read import read_fat
from imagekit.disk.probe import probe
from imagekit.qemu.expectation import read_expectation
from imagekit.testing.documents import NOW, Brand, VouchedBrand
from imagekit.testing.images import Workshop, noise

pytestmark = pytest.mark.tools


def imagekit(*args: str | Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", "imagekit.cli", *map(str, args)], capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == code, done.stderr
    return done


def build(workshop: Workshop, code: int = 0) -> subprocess.CompletedProcess[str]:
    return imagekit("build", workshop.folder / "pc.model", "--packages", workshop.packages, "--trust", workshop.trust,
                    "-o", workshop.folder / "out", "--json", code=code)


def plan(workshop: Workshop, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return imagekit("plan", workshop.folder / "pc.model", "--packages", workshop.packages, "--trust", workshop.trust,
                    *more, code=code)


def newer_kernel(workshop: Workshop) -> None:
    workshop.package("pc-kernel", "kernel", {"kernel.efi": noise("newer", 1 << 20)}, revision=2, sign=False)


def test_dangerous_image_with_an_unsigned_kernel_is_marked_and_knows_what_it_must_boot(workshop: Workshop) -> None:
    newer_kernel(workshop)
    workshop.model(grade="dangerous")
    assert "2 unsigned" in plan(workshop).stdout
    made = build(workshop)
    packages = {item["name"]: item for item in json.loads(made.stdout)["manifest"]["packages"]}
    assert {name: item["asserted"] for name, item in packages.items()} == {
        "pc": True, "pc-kernel": False, "debian-13": True}
    with (workshop.folder / "out" / "pc.img").open("rb") as stream:
        expected = read_expectation(stream, name="pc.img", trusted=workshop.brand.roots, now=NOW)
        assert (expected.kernel.revision, expected.kernel.root) == (2, packages["pc-kernel"]["verity-root"])
        seed = probe(stream, name="pc.img").find("seed")
        assert seed is not None
        volume = read_fat(stream, seed.partition.start)
        assert volume.listdir("systems/20260101/snaps") == ("pc-kernel_2.snap.zst",)
        assert b"unasserted: pc-kernel_2.snap.zst" in volume.read("systems/20260101/options.yaml", limit=4096)


def test_signed_model_refuses_the_same_unsigned_kernel(workshop: Workshop) -> None:
    newer_kernel(workshop)
    assert "pc-kernel_2.snap is newer than revision 1" in build(workshop, code=4).stderr


def write_set(workshop: Workshop, *, revision: str) -> None:
    brand = workshop.brand
    made = brand.sign({"type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme",
                       "name": "tested", "sequence": "1", "timestamp": "2026-01-01T00:00:00Z",
                       "snaps": ({"name": "pc-kernel", "id": snap_id("acme", "pc-kernel"), "revision": revision},)})
    (workshop.packages / "tested.validation-set").write_bytes(made.encode())


def test_validation_set_beside_the_packages_pins_and_refuses(workshop: Workshop) -> None:
    workshop.model(validation_sets=({"name": "tested", "mode": "enforce", "sequence": "1"},))
    assert "acme/tested=1, which is not at hand" in plan(workshop, code=5).stderr
    workshop.package("pc-kernel", "kernel", {"kernel.efi": noise("newer", 1 << 20)}, revision=2)
    write_set(workshop, revision="1")
    shown = json.loads(plan(workshop, "--json").stdout)
    assert {item["name"]: item["revision"] for item in shown["packages"]}["pc-kernel"] == 1
    assert shown["validation-sets"] == [{"account-id": "acme", "name": "tested", "sequence": 1, "pinned": True}]
    assert "validation sets: acme/tested=1" in plan(workshop).stdout
    write_set(workshop, revision="7")
    assert "pins revision 7" in plan(workshop, code=5).stderr


def test_brand_that_is_no_root_builds_from_what_lies_beside_its_model(workshop: Workshop) -> None:
    store = Brand("store")
    brand = VouchedBrand("acme", store=store)
    (workshop.trust / "roots.assert").write_bytes(store.account_key.encode())
    (workshop.folder / "pc.model").write_bytes(encode_stream((brand.model(), *brand.vouched, store.account)))
    for path in workshop.packages.glob("*.snap"):
        name = path.name.partition("_")[0]
        own = next(item for item in workshop.brand.signed if item.type == "snap-revision"
                   and item.text("snap-id") == snap_id("acme", name))
        declared = next(item for item in workshop.brand.signed if item.type == "snap-declaration"
                        and item.text("snap-name") == name)
        again = [store.sign({**{key: value for key, value in item.headers.items() if key != "sign-key-sha3-384"},
                             "authority-id": "store"}) for item in (declared, own)]
        path.with_suffix(".assert").write_bytes(encode_stream(again))
    build(workshop)
    with (workshop.folder / "out" / "pc.img").open("rb") as stream:
        read_expectation(stream, name="pc.img", trusted=[store.account_key], now=NOW)
