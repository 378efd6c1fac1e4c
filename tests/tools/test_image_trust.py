"""What is believed when an image is built from files: sets and grades, whole, down to what a boot must show."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import encode_stream, snap_id
from imagekit.disk.fat_read import read_fat
from imagekit.disk.probe import probe
from imagekit.qemu.expectation import read_expectation
from imagekit.testing.documents import NOW, Brand, VouchedBrand
from imagekit.testing.images import Workshop, noise
from imagekit.testing.squashfs import write_squashfs
from tests.tools.conftest import kernel_set

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
    (workshop.packages / "tested.validation-set").write_bytes(kernel_set(workshop.brand, revision=revision).encode())


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


def write_app(path: Path, name: str, *, base: str = "debian-13", more: str = "") -> Path:
    text = f"name: {name}\nversion: '1'\nbase: {base}\narchitectures: [all]\napps: {{{name}: {{command: a}}}}\n{more}"
    return write_squashfs(path, {"meta/snap.yaml": text.encode(), "a": b"#!/bin/sh\n"})


def test_packages_beside_a_dangerous_model_are_in_everything_that_speaks_of_the_image(
        workshop: Workshop, tmp_path: Path, program: Callable[[str], str]) -> None:
    program("mksquashfs")
    workshop.model(grade="dangerous")
    signed = write_app(workshop.packages / "hello_3.snap", "hello")
    workshop.write_assertions(signed.with_suffix(".assert"), workshop.brand.revision_for(signed),
                              workshop.brand.declaration("hello"))
    loose = write_app(tmp_path / "world_7.snap", "world")
    words = ("--snap", "hello", "--snap", str(loose))
    assert "app, extra" in plan(workshop, *words).stdout
    made = imagekit("build", workshop.folder / "pc.model", "--packages", workshop.packages, "--trust", workshop.trust,
                    *words, "-o", workshop.folder / "out", "--twice", "--json")
    packages = {item["name"]: item for item in json.loads(made.stdout)["manifest"]["packages"] if item["extra"]}
    assert {name: (item["revision"], item["asserted"]) for name, item in packages.items()} == {
        "hello": (3, True), "world": (7, False)}
    out = workshop.folder / "out"
    parts = json.loads((out / "pc.cdx.json").read_bytes())["components"]
    assert {"snap:hello_3", "snap:world_7"} <= {item["bom-ref"] for item in parts}
    looked = json.loads(imagekit("inspect", out / "pc.img", "--trust", workshop.trust, "--json").stdout)
    told = [item["text"] for item in looked["files"][0]["verdicts"] if "hello" in item["about"]]
    assert "it has the digest that is signed" in told and any("does not name it" in text for text in told)
    with (out / "pc.img").open("rb") as stream:
        seed = probe(stream, name="pc.img").find("seed")
        assert seed is not None
        volume = read_fat(stream, seed.partition.start)
        assert volume.listdir("systems/20260101/snaps") == ("hello_3.snap", "world_7.snap")
        read_expectation(stream, name="pc.img", trusted=workshop.brand.roots, now=NOW)


def test_package_beside_a_signed_model_is_refused_before_anything_is_written(
        workshop: Workshop, tmp_path: Path, program: Callable[[str], str]) -> None:
    program("mksquashfs")
    loose = write_app(tmp_path / "world_7.snap", "world")
    done = imagekit("build", workshop.folder / "pc.model", "--packages", workshop.packages, "--trust", workshop.trust,
                    "--snap", str(loose), "-o", workshop.folder / "out", code=4)
    assert "its grade is signed, and only dangerous takes packages that the model does not name" in done.stderr
    assert not (workshop.folder / "out" / "pc.img").exists()


@pytest.mark.parametrize(("base", "more", "said"), [
    ("core22", "", "its base 'core22' is not in the image"),
    ("debian-13", "confinement: classic\n", "its confinement is classic, and images are core systems")])
def test_app_that_no_image_could_run_is_refused(workshop: Workshop, tmp_path: Path, program: Callable[[str], str],
                                                base: str, more: str, said: str) -> None:
    program("mksquashfs")
    workshop.model(grade="dangerous")
    loose = write_app(tmp_path / "world_7.snap", "world", base=base, more=more)
    assert said in plan(workshop, "--snap", str(loose), code=5).stderr
