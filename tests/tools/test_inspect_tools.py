"""`imagekit inspect` as a user meets it, on packages of both kinds and on an image."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imagekit.testing.images import Workshop
from imagekit.testing.squashfs import write_squashfs

pytestmark = pytest.mark.tools

PYTHON = Path(sys.executable).resolve().read_bytes()[:4096]
ARM = PYTHON[:18] + (183).to_bytes(2, "little") + PYTHON[20:]
AMD = PYTHON[:18] + (62).to_bytes(2, "little") + PYTHON[20:]
APP = (b"name: hello\nversion: 1.10\nbase: debian-13\ngrade: beta\narchitectures: [amd64]\n"
       b"plugs: {data: content}\napps: {hello: {command: bin/hello}, web: {command: bin/web, daemon: simple}}\n")


def inspect(*args: str | Path, code: int = 0, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEKIT")}
    done = subprocess.run([sys.executable, "-m", "imagekit.cli", "inspect", *map(str, args)], cwd=folder, text=True,
                          capture_output=True, check=False, timeout=120,
                          env=env | {"PYTHONPATH": str(Path(__file__).parents[2])})
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


def told(*args: str | Path, code: int = 0) -> list[dict[str, Any]]:
    files: list[dict[str, Any]] = json.loads(inspect(*args, "--json", code=code).stdout)["files"]
    return files


@pytest.fixture
def app(tmp_path: Path, program: Callable[[str], str]) -> Path:
    program("mksquashfs")
    return write_squashfs(tmp_path / "hello_1.snap", {"meta/snap.yaml": APP, "meta/hooks/configure": b"#!/bin/sh\n"})


def test_signed_kernel_is_told_with_its_root(workshop: Workshop) -> None:
    path = workshop.packages / "pc-kernel_1.snap"
    (found,) = told(path, "--trust", workshop.trust)
    assert {key: found[key] for key in ("kind", "format", "compression", "name", "revision", "version", "type")} == {
        "kind": "package", "format": "erofs", "compression": None, "name": "pc-kernel", "revision": 1,
        "version": "1.0", "type": "kernel"}
    assert found["signature"] == {"state": "verified", "cause": None}
    assert len(found["verity_root"]) == 64 and len(found["sha3_384"]) == 64
    assert found["size"] == found["filesystem_size"] == path.stat().st_size
    shown = inspect(path, "--trust", workshop.trust).stdout
    assert "signature:     verified\n" in shown and f"verity root:   {found['verity_root']}\n" in shown


def test_squashfs_app_is_told_in_short(app: Path) -> None:
    shown = inspect(app.name, "-o", "hello.json", folder=app.parent).stdout
    assert shown.startswith("package:       hello_1.snap: squashfs, xz\nname:          hello, revision 1\n")
    for line in ("version:       1.10", "base:          debian-13", "confinement:   strict",
                 "apps:          hello, web (simple)", "plugs:         data (content)",
                 "signature:     not looked for: no assertions beside it"):
        assert line + "\n" in shown
    assert "warning:       hello_1.snap meta/snap.yaml:4: grade: 'beta' is not a grade" in shown
    (found,) = told(app)
    assert json.loads((app.parent / "hello.json").read_text()) == {"files": [{**found, "file": app.name}]}
    assert found["apps"][1] == {"name": "web", "command": "bin/web", "daemon": "simple", "daemon_scope": "system",
                                "plugs": ["data"], "slots": []}
    assert found["signature"] is None and found["verity_root"] is None and found["binaries"] is None
    assert [item["rule"] for item in found["warnings"]] == ["snap-grade"]


def test_package_that_nobody_trusted_signed_ends_with_4(app: Path, workshop: Workshop) -> None:
    failed = inspect(app, "--trust", workshop.trust, code=4)
    assert "signature:     refused: " in failed.stdout and "no snap-revision at hand" in failed.stderr
    kernel = workshop.packages / "pc-kernel_1.snap"
    (found,) = told(kernel, code=4)  # its assertions lie beside it, its root is not trusted
    assert found["signature"]["state"] == "authority unproven" and found["verity_root"] is None
    assert inspect(app, kernel, code=4).stdout.count("package:") == 2


def test_several_packages_that_nobody_trusted_signed_end_with_4(workshop: Workshop) -> None:
    paths = [workshop.packages / "pc-kernel_1.snap", workshop.packages / "pc_1.snap"]
    done = inspect(*paths, code=4)
    assert "cannot use what was looked into: 2 problems" in done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("name:")] == [
        "name:          pc-kernel, revision 1", "name:          pc, revision 1"]


def test_several_wrong_documents_end_with_3_and_all_their_problems(tmp_path: Path,
                                                                   program: Callable[[str], str]) -> None:
    program("mksquashfs")
    paths = [write_squashfs(tmp_path / f"{name}_1.snap", {"meta/snap.yaml": b"name: hello\nversion: a b\ntype: x\n"})
             for name in ("hello", "world")]
    said = inspect(*paths, code=3).stderr
    assert all(f"{name}_1.snap meta/snap.yaml:2: version: 'a b' is no version" in said for name in ("hello", "world"))


def test_file_that_cannot_be_read_keeps_nobody_from_the_others(built: Any) -> None:
    done = inspect("/proc/self/mem", built.image, "--quick", "--trust", built.workshop.trust, code=6)
    assert "cannot read /proc/self/mem" in done.stderr
    assert done.stdout.startswith(f"image:         {built.image}")


def test_changed_package_ends_with_4(workshop: Workshop) -> None:
    path = workshop.packages / "debian-13_1.snap"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    assert "no snap-revision at hand has its digest" in inspect(path, "--trust", workshop.trust, code=4).stderr


def test_name_of_the_file_is_held_against_the_inside(app: Path) -> None:
    other = app.rename(app.with_name("other_1.snap"))
    assert "its file name says that it is 'other'" in inspect(other, code=3).stderr
    snapcrafts = other.rename(app.with_name("hello_1.10_amd64.snap"))
    (found,) = told(snapcrafts)
    assert found["revision"] is None


def test_wrong_document_ends_with_3_and_all_its_problems(tmp_path: Path, program: Callable[[str], str]) -> None:
    program("mksquashfs")
    path = write_squashfs(tmp_path / "hello_1.snap", {"meta/snap.yaml": b"name: hello\nversion: a b\ntype: x\n"})
    said = inspect(path, code=3).stderr
    assert "hello_1.snap meta/snap.yaml:2: version: 'a b' is no version" in said
    assert "hello_1.snap meta/snap.yaml:3: type: 'x' is no type" in said
    assert json.loads(inspect(path, "--json", code=3).stdout)["error"]["exit_code"] == 3


@pytest.mark.parametrize(("files", "native", "foreign", "code"), [
    ({"usr/bin/a": AMD, "usr/bin/b": AMD, "usr/bin/script": b"#!/bin/sh\n"}, 2, [], 0),
    ({"usr/bin/a": AMD, "usr/lib/b.so": ARM, "usr/lib/firmware/c": ARM}, 1, ["usr/lib/b.so"], 0),
    ({"usr/bin/a": ARM}, 0, ["usr/bin/a"], 3)])
def test_binaries_of_another_architecture_are_seen(workshop: Workshop, files: dict[str, bytes], native: int,
                                                   foreign: list[str], code: int) -> None:
    path = workshop.package("other", "base", files)
    (found,) = told(path, "--trust", workshop.trust, code=code)
    assert found["binaries"] == {"native": native, "foreign": [
        {"path": item, "architecture": "arm64"} for item in foreign]}
    assert bool(found["problems"]) == bool(code)
    assert f"binaries:      {native} for amd64" in inspect(path, "--trust", workshop.trust, code=code).stdout


def test_image_of_ours_shows_its_partitions(built: Any) -> None:
    trust = ("--trust", built.workshop.trust)
    (found,) = told(built.image, *trust)
    assert (found["kind"], found["size"]) == ("image", built.image.stat().st_size)
    contents = {item["name"]: item["content"] for item in found["partitions"]}
    assert (contents["esp"], contents["base-a"], contents["slot-state"]) == ("fat", "erofs", "slot-state")
    assert (found["worst"], found["next_boot"]["slot"], found["model"]["state"]) == ("good", "a", "verified")
    assert found["loaders"][0]["version"] == "257.1-test" and found["slots"]["a"]["image"]["version"] == "6.12.1-test"
    assert found["slots"]["a"]["base"]["tree"] == "whole" and found["slots"]["b"]["base"]["size"] is None
    assert {item["level"] for item in found["verdicts"]} == {"good"}
    shown = inspect(built.image, *trust).stdout
    assert shown.startswith("image:") and "slot-state" in shown and "boots next:    slot a\n" in shown
    assert "slot a:        debian-13 revision 1, pc-kernel revision 1, Linux 6.12.1-test, imagekit-a.conf\n" in shown
    quick = inspect(built.image, "--quick", *trust).stdout
    assert "note     base-a (slot a)" in quick and "its blocks were not read (--quick)" in quick


def test_image_that_nobody_trusted_signed_ends_with_4(built: Any) -> None:
    failed = inspect(built.image, code=4)
    assert "REFUSED  model" in failed.stdout and "authority unproven" in failed.stderr
    assert "hint: name the folder with the brand's root of trust" in failed.stderr
    (found,) = told(built.image, code=4)
    assert found["model"]["state"] == "authority unproven" and found["slots"]["a"]["base"]["believed"] is False


def test_damaged_image_ends_with_3_and_a_cut_one_says_so(built: Any, tmp_path: Path) -> None:
    image = tmp_path / "some.img"
    image.write_bytes(built.image.read_bytes()[:-512])
    assert "was cut short" in inspect(image, "--trust", built.workshop.trust, code=3).stderr
    raw = bytearray(built.image.read_bytes())
    raw[512 + 20] ^= 1
    image.write_bytes(raw)
    failed = inspect(image, "--trust", built.workshop.trust, code=3)
    assert "WRONG    primary GPT" in failed.stdout and "every block has the root" in failed.stdout
    raw[-512 + 20] ^= 1
    image.write_bytes(raw)
    assert "neither the primary nor the backup copy" in inspect(image, code=3).stderr


def test_other_file_ends_with_3(tmp_path: Path) -> None:
    path = tmp_path / "some.file"
    path.write_bytes(b"rubbish" * 1000)
    assert "it is no disk image" in inspect(path, code=3).stderr
    path.write_bytes(b"hsqs" + bytes(200))
    assert "version 0.0, allowed is 4.0" in inspect(path, code=3).stderr
