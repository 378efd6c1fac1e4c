"""Squashfs packages as snapcraft makes them, read by unsquashfs, and in an image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.build.run import Request, build, plan
from imagekit.build.unsquash import open_package
from imagekit.build.verify import examine
from imagekit.errors import DocumentError, HostError, PlanError, TrustError
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.packages.package import PackageFormat, read_info
from imagekit.testing.documents import NOW
from imagekit.testing.fakes import FakeTools
from imagekit.testing.images import BOOT_ASSETS, Silent, Workshop, noise
from imagekit.testing.squashfs import write_squashfs

pytestmark = pytest.mark.tools

RunTool = Callable[..., str]
SNAP_YAML = b"name: hello\nversion: 1.10\nbase: debian-13\narchitectures: [amd64]\n" \
            b"apps: {hello: {command: bin/hello}}\n"
FILES = {"meta/snap.yaml": SNAP_YAML, "bin/hello": b"#!/bin/sh\n", "share/noise": noise("squashfs", 300_000),
         "share/with space [x]*": b"y", "meta/hooks/configure": b"#!/bin/sh\n"}
LINKS = {"bin/hi": "hello", "meta/link.yaml": "/etc/hostname", "out": "../../etc"}


@pytest.fixture(params=["xz", "lzo"])
def package(request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], str]) -> Path:
    program("mksquashfs")
    return write_squashfs(tmp_path / "hello_1.snap", FILES, links=LINKS, compression=request.param)


def test_files_and_what_they_hold_come_out(package: Path) -> None:
    with open_package(package, name="hello_1.snap", tools=LocalTools()) as inside:
        assert inside.format is PackageFormat.SQUASHFS
        assert package.stat().st_size - 4096 < inside.size <= package.stat().st_size
        entries = {entry.path: entry for entry in inside.entries()}
        assert {path for path, entry in entries.items() if entry.is_file} == set(FILES)
        assert set(entries) == {*FILES, *LINKS, "bin", "meta", "meta/hooks", "share"}
        assert all((entry.uid, entry.gid) == (0, 0) for entry in entries.values())
        for path, content in FILES.items():
            assert inside.read(path) == content
        assert (inside.files_in("meta/hooks/"), inside.files_in("share/none/")) == (("configure",), ())
        assert set(inside.files_in("meta/")) == {"snap.yaml"}
        info = read_info(inside)
    assert (info.name, info.version, info.apps[0].command) == ("hello", "1.10", "bin/hello")


@pytest.mark.parametrize(("path", "words"), [
    ("nothing", "no such file"), ("meta", "no regular file"), ("meta/link.yaml", "no regular file"),
    ("../meta/snap.yaml", "no such file"), ("share/noise", "at most 100 KiB")])
def test_what_is_no_file_to_read_is_refused(package: Path, path: str, words: str) -> None:
    with (open_package(package, name="hello_1.snap", tools=LocalTools()) as inside,
          pytest.raises(DocumentError, match=words)):
        inside.read(path, limit=100 << 10)


def test_damaged_package_is_the_packages_fault(package: Path) -> None:
    raw = bytearray(package.read_bytes())
    size = int.from_bytes(raw[40:48], "little")
    raw[96:size] = bytes(size - 96)
    package.write_bytes(raw)
    with (open_package(package, name="hello_1.snap", tools=LocalTools()) as inside,
          pytest.raises(DocumentError, match="unsquashfs finds it damaged")):
        inside.read("meta/snap.yaml")


def test_missing_program_is_the_hosts_fault(package: Path) -> None:
    with (open_package(package, name="hello_1.snap", tools=FakeTools()) as inside,
          pytest.raises(HostError, match="unsquashfs")):
        inside.read("meta/snap.yaml")


def test_other_file_is_no_package(tmp_path: Path) -> None:
    path = tmp_path / "hello_1.snap"
    for raw in (b"", b"\x28\xb5\x2f\xfd" + bytes(3000)):
        path.write_bytes(raw)
        with pytest.raises(DocumentError, match="neither EROFS nor squashfs"), open_package(
                path, name="hello_1.snap", tools=LocalTools()):
            pass
    with pytest.raises(HostError, match="no such file"), open_package(
            tmp_path / "no", name="no", tools=LocalTools()):
        pass


def request_for(workshop: Workshop, *more: tuple[str, str]) -> Request:
    snaps = [workshop.brand.snap(name, kind) for name, kind in (
        ("pc", "gadget"), ("pc-kernel", "kernel"), ("debian-13", "base"), *more)]
    model = workshop.model(snaps=tuple(snaps))
    return Request(model=model, packages=(workshop.packages,), trust=(workshop.trust,), epoch=None, now=NOW)


def replaced(workshop: Workshop, name: str, files: dict[str, bytes]) -> Path:
    """Put a squashfs of these files in the place of a package, and sign it."""
    path = workshop.packages / f"{name}_1.snap"
    workshop.packages.mkdir(exist_ok=True)
    path.with_name(path.name + ".zst").unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    write_squashfs(path, files)
    workshop.brand.signed.clear()
    workshop.write_assertions(path.with_suffix(".assert"), *workshop.brand.roots, workshop.brand.revision_for(path),
                              workshop.brand.declaration(name))
    return path


def test_app_goes_into_the_seed_as_it_is(workshop: Workshop, run_tool: RunTool, tmp_path: Path) -> None:
    app = replaced(workshop, "hello", FILES)
    request = request_for(workshop, ("hello", "app"))
    made = plan(request)
    manifest = build(request, tmp_path / "out", tools=LocalTools, cache=Cache(tmp_path / "cache"), progress=Silent())
    drive = f"{tmp_path / 'out' / manifest.image.file}@@{made.layout.named('seed').start}"
    run_tool("mcopy", "-n", "-i", drive, "::/snaps/hello_1.snap", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == app.read_bytes()
    told = next(item for item in manifest.packages if item.name == "hello")
    assert (told.version, told.seed_size, told.verity_root, told.structures) == (
        "1.10", app.stat().st_size, None, ("seed",))


def test_app_that_changed_after_it_was_signed_is_refused(workshop: Workshop, tmp_path: Path) -> None:
    app = replaced(workshop, "hello", FILES)
    raw = bytearray(app.read_bytes())
    raw[100_000] ^= 1
    app.write_bytes(raw)
    with pytest.raises(TrustError, match="SHA3-384"):
        build(request_for(workshop, ("hello", "app")), tmp_path / "out", tools=LocalTools,
              cache=Cache(tmp_path / "cache"), progress=Silent())


def test_gadget_is_read_from_squashfs(workshop: Workshop) -> None:
    before = plan(request_for(workshop)).layout
    replaced(workshop, "pc", {"meta/snap.yaml": b"name: pc\nversion: 1\ntype: gadget\narchitectures: [amd64]\n",
                              "meta/gadget.yaml": workshop.gadget.encode(), **BOOT_ASSETS})
    assert plan(request_for(workshop)).layout == before


@pytest.mark.parametrize(("name", "kind"), [("pc-kernel", "kernel"), ("debian-13", "base")])
def test_what_runs_from_a_slot_must_not_be_squashfs(workshop: Workshop, name: str, kind: str) -> None:
    replaced(workshop, name, {"meta/snap.yaml": f"name: {name}\nversion: 1\ntype: {kind}\n".encode()})
    with pytest.raises(PlanError, match=f"it is a squashfs, and a {kind} runs from a slot") as caught:
        plan(request_for(workshop))
    assert "imagekit pack" in (caught.value.hint or "")


def test_digest_and_revision_are_held_against_the_signed_ones(workshop: Workshop) -> None:
    app = replaced(workshop, "hello", FILES)
    assert examine([app], workshop.brand.roots, now=NOW).verified
    other = app.with_name("hello_2.snap")
    other.write_bytes(app.read_bytes())
    other.with_suffix(".assert").write_bytes(app.with_suffix(".assert").read_bytes())
    with pytest.raises(TrustError, match="revision 1"):
        examine([other], workshop.brand.roots, now=NOW).raise_if_any()
    app.write_bytes(app.read_bytes() + b"\0")
    with pytest.raises(TrustError, match="no snap-revision"):
        examine([app], workshop.brand.roots, now=NOW).raise_if_any()
