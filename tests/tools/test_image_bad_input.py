"""What can be wrong with the inputs of an image, or go wrong while it is built: exit code, words, nothing left."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import zstandard

from imagekit.assertions import encode_stream
from imagekit.build.image import build_into
from imagekit.build.run import Request, plan
from imagekit.build.unchanged import NOTE
from imagekit.errors import ExitCode, HostError
from imagekit.host.cache import Cache
from imagekit.host.files import FolderLock
from imagekit.host.tools import LocalTools
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import BOOT_ASSETS, GADGET, Silent, Workshop, noise

pytestmark = pytest.mark.tools


def imagekit(*args: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "imagekit.cli", *map(str, args)], capture_output=True, text=True,
                          check=False, timeout=120, **more)


def arguments(workshop: Workshop, *more: str | Path) -> list[str]:
    return ["build", str(workshop.folder / "pc.model"), "--packages", str(workshop.packages), "--trust",
            str(workshop.trust), "-o", str(workshop.folder / "out"), *map(str, more)]


def refused(workshop: Workshop, code: ExitCode, *words: str) -> str:
    """Build, be refused with `code` and these words, and leave nothing; answers what was said."""
    result = imagekit(*arguments(workshop))
    assert result.returncode == code, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert not (workshop.folder / "out").exists()
    return result.stderr


def flip(path: Path, position: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[position] ^= 1
    path.write_bytes(raw)


def test_model_with_one_byte_changed_is_refused(workshop: Workshop) -> None:
    model = workshop.folder / "pc.model"
    model.write_bytes(model.read_bytes().replace(b"grade: signed", b"grade: secured", 1))
    refused(workshop, ExitCode.TRUST, "model 16/acme/pc")


def test_model_signed_by_a_strangers_key_is_refused(workshop: Workshop) -> None:
    stranger = Brand("stranger")
    model = stranger.model(brand_id="stranger", authority_id="stranger")
    (workshop.folder / "pc.model").write_bytes(encode_stream([model, stranger.account, stranger.account_key]))
    refused(workshop, ExitCode.TRUST, "model 16/stranger/pc")


@pytest.mark.parametrize(("since", "until"), [(-20, -10), (10, 20)], ids=["expired", "not yet valid"])
def test_key_outside_its_time_is_refused(workshop: Workshop, since: int, until: int) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    workshop.brand = Brand("acme", since=now + timedelta(days=since), until=now + timedelta(days=until))
    workshop.write_trust()
    workshop.model()
    refused(workshop, ExitCode.TRUST)


def test_unsigned_model_is_refused_with_the_command_that_signs_it(workshop: Workshop) -> None:
    source = workshop.folder / "pc.yaml"
    source.write_text("type: model\nseries: '16'\n")
    result = imagekit("build", source, "-o", workshop.folder / "out")
    assert result.returncode == ExitCode.TRUST
    assert f"hint: imagekit sign {source} -k" in result.stderr


def test_package_that_nobody_signed_is_refused(workshop: Workshop) -> None:
    (workshop.packages / "debian-13_1.assert").unlink()
    refused(workshop, ExitCode.TRUST, "debian-13: files of revision 1, none of them signed", "imagekit sign")


@pytest.mark.parametrize("name", ["pc_1", "pc-kernel_1", "debian-13_1"])
def test_package_with_one_byte_changed_is_refused(workshop: Workshop, name: str) -> None:
    path = workshop.packages / f"{name}.snap"
    flip(path, path.stat().st_size - 5000)
    refused(workshop, ExitCode.TRUST, f"{name}.snap", "SHA3-384")


def test_package_cut_short_is_refused_with_both_sizes(workshop: Workshop) -> None:
    path = workshop.packages / "debian-13_1.snap"
    size = path.stat().st_size
    os.truncate(path, size - 4096)
    refused(workshop, ExitCode.TRUST, f"it has {size - 4096} bytes, the signed revision 1 has {size}")


def test_package_that_vanishes_while_it_is_needed_is_named(workshop: Workshop) -> None:
    request = Request(model=workshop.folder / "pc.model", packages=(workshop.packages,), trust=(workshop.trust,),
                      epoch=None, now=NOW)
    planned = plan(request)
    (workshop.packages / "debian-13_1.snap").unlink()
    with pytest.raises(HostError, match=r"cannot use .*/debian-13_1\.snap: no such file or directory"):
        build_into(workshop.folder / "out", planned, tools=LocalTools, cache=Cache(workshop.folder / "cache"),
                   progress=Silent(), note=lambda _: None)
    assert not (workshop.folder / "out").exists()


@pytest.mark.parametrize("name", ["debian-13", "pc-kernel"])
def test_package_longer_than_its_file_system_is_refused(workshop: Workshop, name: str) -> None:
    """A device looks for the hash tree where the file system ends, and would not find it behind what was added."""
    path = workshop.packages / f"{name}_1.snap"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + bytes(4096))
    (workshop.packages / f"{name}_1.snap.zst").write_bytes(zstandard.compress(path.read_bytes()))
    (workshop.packages / f"{name}_1.assert").unlink()
    workshop.model(grade="dangerous")
    refused(workshop, ExitCode.PLAN, f"{name}_1.snap: it has {size + 4096} bytes, its file system {size}")


def test_root_hash_that_is_not_the_packages_is_refused(workshop: Workshop) -> None:
    path = workshop.packages / "debian-13_1.snap"
    revision = workshop.brand.revision_for(path, verity_root="0" * 64)
    workshop.write_assertions(path.with_suffix(".assert"), workshop.brand.declaration("debian-13"), revision)
    refused(workshop, ExitCode.TRUST, "its hash tree has the root", "signed is " + "0" * 12)


def test_compressed_package_of_something_else_is_refused(workshop: Workshop) -> None:
    one, two = (workshop.packages / f"{name}_1.snap.zst" for name in ("debian-13", "pc-kernel"))
    one.write_bytes(two.read_bytes())
    refused(workshop, ExitCode.TRUST, "debian-13_1.snap.zst", "it unpacks to")


def test_compressed_package_that_is_broken_is_refused(workshop: Workshop) -> None:
    flip(workshop.packages / "debian-13_1.snap.zst", 2)
    refused(workshop, ExitCode.DOCUMENT, "debian-13_1.snap.zst", "not valid zstd")


def test_compressed_package_that_no_device_has_the_memory_for_is_refused(workshop: Workshop) -> None:
    wide = zstandard.ZstdCompressionParameters.from_level(3, window_log=26)  # 64 MiB
    packer = zstandard.ZstdCompressor(compression_params=wide).compressobj()
    content = (workshop.packages / "debian-13_1.snap").read_bytes()
    (workshop.packages / "debian-13_1.snap.zst").write_bytes(packer.compress(content) + packer.flush())
    refused(workshop, ExitCode.DOCUMENT, "debian-13_1.snap.zst", "a window above the 32 MiB that a device has")


def test_compressed_package_that_unpacks_without_end_is_refused_at_once(workshop: Workshop) -> None:
    compressor = zstandard.ZstdCompressor(level=1)
    bomb = b"".join([compressor.compress(bytes(64 << 20))] * 2000)  # 125 GiB
    (workshop.packages / "debian-13_1.snap.zst").write_bytes(bomb)
    refused(workshop, ExitCode.TRUST, "debian-13_1.snap.zst", "it unpacks to")


def test_links_in_the_output_folder_are_replaced_and_never_written_through(workshop: Workshop) -> None:
    victim, out = workshop.folder / "victim", workshop.folder / "out"
    victim.write_text("mine")
    out.mkdir()
    for name in ("pc.img", "pc.img.bmap", "layout.svg", NOTE):
        (out / name).symlink_to(victim)
    result = imagekit(*arguments(workshop))
    assert result.returncode == 0, result.stderr
    assert victim.read_text() == "mine"
    assert not any(path.is_symlink() for path in out.iterdir())


def test_file_in_place_of_the_working_folder_is_told(workshop: Workshop) -> None:
    (workshop.folder / "out").mkdir()
    (workshop.folder / "out/.imagekit-work").symlink_to(workshop.packages)
    result = imagekit(*arguments(workshop))
    assert result.returncode == ExitCode.HOST
    assert "cannot write" in result.stderr
    assert ".imagekit-work" in result.stderr
    assert (workshop.packages / "pc_1.snap").is_file()


def with_gadget(workshop: Workshop, old: str, new: str) -> None:
    assert old in GADGET
    workshop.package("pc", "gadget", {"meta/gadget.yaml": GADGET.replace(old, new).encode(), **BOOT_ASSETS}, revision=2)


def test_two_structures_that_overlap_are_refused_with_their_line(workshop: Workshop) -> None:
    with_gadget(workshop, "{name: slot-state,", "{name: slot-state, offset: 20M,")
    refused(workshop, ExitCode.DOCUMENT, "pc_2.snap meta/gadget.yaml:14: volumes.pc.structure[1].offset: structure"
            " 'slot-state' starts at 20971520, inside structure 'esp' which ends at 42991616")


def test_unknown_role_is_refused_with_its_line(workshop: Workshop) -> None:
    with_gadget(workshop, "role: system-data", "role: system-date")
    refused(workshop, ExitCode.DOCUMENT, "structure[7].role: 'system-date' is not a role")


def test_content_larger_than_its_structure_is_refused(workshop: Workshop) -> None:
    with_gadget(workshop, "86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size: 8M", "86B3FADB-AE30-590F-BC3C-D69AB6A623A1,"
                " size: 2M")
    refused(workshop, ExitCode.PLAN, "cannot fill structure 'base-a'", "raise the size of the structure")


def test_kernel_package_without_a_kernel_is_refused(workshop: Workshop) -> None:
    workshop.package("pc-kernel", "kernel", {"modules/x.ko": noise("x", 5000)}, revision=2)
    refused(workshop, ExitCode.PLAN, "pc-kernel_2.snap: it has no kernel.efi, which the gadget's loader takes")


def test_package_of_the_wrong_type_is_refused(workshop: Workshop) -> None:
    workshop.package("pc-kernel", "base", {"kernel.efi": noise("x", 5000)}, revision=2)
    refused(workshop, ExitCode.PLAN, "its snap.yaml says type 'base', the model says 'kernel'")


def test_output_that_is_a_file_is_refused(workshop: Workshop) -> None:
    (workshop.folder / "out").write_text("precious")
    result = imagekit(*arguments(workshop))
    assert result.returncode == ExitCode.USAGE
    assert "it is a file" in result.stderr
    assert (workshop.folder / "out").read_text() == "precious"


def test_folder_of_another_models_image_is_refused(workshop: Workshop, built: Any) -> None:
    model = workshop.model("other")
    before = sorted(path.name for path in built.folder.iterdir())
    result = imagekit("build", model, "--packages", workshop.packages, "--trust", workshop.trust, "-o", built.folder)
    assert result.returncode == ExitCode.USAGE
    assert "it holds the image of acme/pc" in result.stderr
    assert sorted(path.name for path in built.folder.iterdir()) == before


def test_second_build_into_the_same_folder_at_once_is_refused(workshop: Workshop) -> None:
    out = workshop.folder / "out"
    with FolderLock(out):
        result = imagekit(*arguments(workshop))
    assert result.returncode == ExitCode.HOST
    assert "another imagekit works in it" in result.stderr
    assert [path.name for path in out.iterdir()] == [".imagekit.lock"]


def test_file_size_limit_is_told_and_nothing_is_left(workshop: Workshop) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100 << 20, 100 << 20))

    result = imagekit(*arguments(workshop), preexec_fn=limit)
    assert result.returncode == ExitCode.HOST, result.stderr
    assert "larger than allowed" in result.stderr
    assert not (workshop.folder / "out").exists()


FILLED = textwrap.dedent("""
    import pathlib, sys
    from imagekit.build.run import Request, build
    from imagekit.errors import HostError
    from imagekit.host.cache import Cache
    from imagekit.host.tools import LocalTools
    from imagekit.testing.documents import NOW
    from imagekit.testing.images import Silent

    folder = pathlib.Path(sys.argv[1])
    disk = folder / "disk"

    class Filling(Silent):
        def step(self, name, **more):
            if name.startswith("write debian-13"):  # somebody else fills the disk while we build
                with open(disk / "filler", "wb") as stream:
                    try:
                        while True:
                            stream.write(bytes(1 << 16))
                            stream.flush()
                    except OSError:
                        pass

    request = Request(model=folder / "pc.model", packages=(folder / "packages",), trust=(folder / "trust",), epoch=None,
                      now=NOW)
    try:
        build(request, disk / "out", tools=LocalTools, cache=Cache(folder / "cache"), progress=Filling())
    except HostError as error:
        print(error.message, "|", error.hint)
    print(sorted(path.name for path in disk.iterdir()))
""")


def test_disk_that_fills_while_building_is_told_and_nothing_is_left(workshop: Workshop) -> None:
    disk = workshop.folder / "disk"
    disk.mkdir()
    script = workshop.folder / "filled.py"
    script.write_text(FILLED)
    rights = [] if os.geteuid() == 0 else ["-r"]
    mount = f"mount -t tmpfs -o size=60m none {disk} && exec {sys.executable} {script} {workshop.folder}"
    result = subprocess.run(["unshare", *rights, "-m", "sh", "-c", mount], capture_output=True, text=True, check=False,
                            env={**os.environ, "PYTHONPATH": str(Path.cwd())})
    if result.returncode and ("unshare" in result.stderr or "mount" in result.stderr):
        why = f"this machine lets nobody mount a small disk: {result.stderr.strip()}"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    assert "no space left on the disk | the image needs" in result.stdout, result.stderr
    assert result.stdout.endswith("['filler']\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_build_leaves_nothing(workshop: Workshop, number: signal.Signals, code: int) -> None:
    workshop.gadget = GADGET.replace("A623A1, size: 8M", "A623A1, size: 120M").replace("size: 64M", "size: 200M")
    workshop.usual(base=96 << 20)
    out = workshop.folder / "out"
    with subprocess.Popen([sys.executable, "-m", "imagekit.cli", *arguments(workshop)], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not (out / ".imagekit-work" / "pc.img").exists():
            time.sleep(0.002)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == code, said
    assert "Traceback" not in said
    assert not out.exists()


def test_interrupted_build_leaves_the_image_before_it_alone(workshop: Workshop, tmp_path: Path) -> None:
    out = workshop.folder / "out"
    out.mkdir()
    (out / "pc.img").write_text("the image before")
    flip(workshop.packages / "debian-13_1.snap", 4096 * 20)
    assert imagekit(*arguments(workshop)).returncode == ExitCode.TRUST
    assert {path.name for path in out.iterdir()} == {"pc.img", ".imagekit.lock"}
    assert (out / "pc.img").read_text() == "the image before"


def test_rest_of_a_killed_build_is_cleared_away(workshop: Workshop) -> None:
    work = workshop.folder / "out" / ".imagekit-work"
    work.mkdir(parents=True)
    (work / "pc.img").write_text("half")
    flip(workshop.packages / "pc-kernel_1.snap", 4096 * 20)
    assert imagekit(*arguments(workshop)).returncode == ExitCode.TRUST
    assert not work.exists()


def test_dry_run_prints_the_plan_and_writes_nothing(workshop: Workshop) -> None:
    before = {path: path.stat().st_mtime_ns for path in workshop.folder.rglob("*")}
    result = imagekit(*arguments(workshop, "--dry-run", "--json"))
    assert result.returncode == 0, result.stderr
    assert [item["name"] for item in json.loads(result.stdout)["structures"]][:2] == ["esp", "slot-state"]
    assert {path: path.stat().st_mtime_ns for path in workshop.folder.rglob("*")} == before


def test_package_of_another_architecture_is_refused(workshop: Workshop) -> None:
    other = b'name: pc-kernel\nversion: "1.0"\ntype: kernel\narchitectures: [arm64]\n'
    workshop.package("pc-kernel", "kernel", {"kernel.efi": noise("kernel", 1 << 20), "meta/snap.yaml": other},
                     revision=2)
    refused(workshop, ExitCode.PLAN, "pc-kernel_2.snap: it is for arm64, model 'pc' is for amd64", "hint: ")
