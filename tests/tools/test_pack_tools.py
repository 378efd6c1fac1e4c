"""Real packages from Debian's real parts, made twice and read by somebody else's programs.

The parts come from the cache, or else from the mirror: with neither there is nothing to pack, which skips at home.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.build.pack import Packed, pack
from imagekit.build.parts import Parts, Policy
from imagekit.build.project import load_lock
from imagekit.build.recipes import RecipeFile, load_recipe
from imagekit.errors import HostError, PlanError
from imagekit.host.cache import Cache
from imagekit.host.folders import default_cache_folder
from imagekit.host.tools import LocalTools
from imagekit.packages.cpio import CHARACTER, LINK, CpioEntry, encode_cpio
from imagekit.packages.erofs import Erofs
from imagekit.packages.uki import decode_uki
from imagekit.testing.fakes import RecordedProgress

pytestmark = pytest.mark.tools

Pack = Callable[..., Packed]


def parts_in(cache: Cache) -> Parts:
    return Parts(cache, load_lock(), policy=Policy(), environment=os.environ, progress=RecordedProgress())


def obtain(cache: Cache, *names: str) -> Parts:
    """Parts with these recipes at hand; no network skips at home and fails in CI."""
    parts = parts_in(cache)
    try:
        for name in ("tools", "initrd", *names):
            parts.section(load_recipe(name).recipe)
    except HostError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"{error.message}")
    return parts


@pytest.fixture(scope="module")
def shared() -> Cache:
    return Cache(default_cache_folder(os.environ))


@pytest.fixture
def empty(shared: Cache, tmp_path: Path) -> Cache:
    """A cache with the parts of the shared one and nothing made from them."""
    cache = Cache(tmp_path / "other-cache")
    cache.blob("x").parent.mkdir(parents=True)
    lock = load_lock()
    for part in {part.sha256 for section in lock.sections.values() for part in section.parts}:
        if shared.has(part):
            shutil.copyfile(shared.blob(part), cache.blob(part))
    return cache


def make(cache: Cache, source: RecipeFile, out: Path) -> Packed:
    return pack(source, parts=parts_in(cache), cache=cache, out=out, progress=RecordedProgress())


@pytest.mark.parametrize("name", ["pc", "pc-kernel"])
def test_package_has_the_same_bytes_elsewhere_under_another_umask(name: str, shared: Cache, empty: Cache,
                                                                  tmp_path: Path) -> None:
    obtain(shared, name)
    first = make(shared, load_recipe(name), tmp_path / "first")
    obtain(empty, name)
    before = os.umask(0o077)
    try:
        second = make(empty, load_recipe(name), tmp_path / "second")
    finally:
        os.umask(before)
    assert not second.cached
    assert first.path.read_bytes() == second.path.read_bytes()
    assert first.compressed.read_bytes() == second.compressed.read_bytes()


def test_gadget_is_a_sound_file_system_with_a_root_of_mode_0755(shared: Cache, tmp_path: Path) -> None:
    tools = obtain(shared, "pc").tools(load_recipe("tools").recipe)
    made = make(shared, load_recipe("pc"), tmp_path)
    tools.run("fsck.erofs", made.path)
    shown = tools.run("dump.erofs", "--path=/", made.path).stdout.decode()
    assert "Access: 0755" in shown and "Uid: 0   Gid: 0" in shown
    with made.path.open("rb") as stream:
        package = Erofs(stream)
        assert package.read("systemd-bootx64.efi")[:2] == b"MZ"
        assert b"type: gadget" in package.read("meta/snap.yaml")
        rows = json.loads(package.read("meta/packages.json"))
    assert [row["name"] for row in rows] == ["systemd-boot-efi"]
    assert len(rows[0]["sha512"]) == 128


def test_compressed_twin_holds_the_package(shared: Cache, tmp_path: Path,
                                           run_tool: Callable[..., str]) -> None:
    obtain(shared, "pc")
    made = make(shared, load_recipe("pc"), tmp_path)
    run_tool("zstd", "-d", "-q", made.compressed, "-o", tmp_path / "unpacked")
    assert (tmp_path / "unpacked").read_bytes() == made.path.read_bytes()


def test_kernel_has_its_image_and_decompressed_modules(shared: Cache, tmp_path: Path) -> None:
    tools = obtain(shared, "pc-kernel").tools(load_recipe("tools").recipe)
    made = make(shared, load_recipe("pc-kernel"), tmp_path)
    tools.run("fsck.erofs", made.path)
    with made.path.open("rb") as stream:
        package = Erofs(stream)
        image = decode_uki(package.read("kernel.efi"), name="kernel.efi")
        release = image.section(".uname").decode().rstrip("\0")
        paths = {entry.path for entry in package.walk()}
        erofs = package.read(f"modules/{release}/kernel/fs/erofs/erofs.ko")
    assert ".cmdline" not in image.names
    assert erofs[:4] == b"\x7fELF"
    assert f"modules/{release}/modules.dep.bin" in paths
    assert not [path for path in paths if path.endswith((".ko.xz", ".ko.zst"))]


def test_initrd_is_read_by_busybox_and_its_dmsetup_starts(shared: Cache, tmp_path: Path,
                                                          run_tool: Callable[..., str]) -> None:
    import zstandard

    obtain(shared, "pc-kernel")
    made = make(shared, load_recipe("pc-kernel"), tmp_path)
    with made.path.open("rb") as stream:
        image = decode_uki(Erofs(stream).read("kernel.efi"), name="kernel.efi")
    archive = zstandard.ZstdDecompressor().decompress(image.section(".initrd"))
    (tmp_path / "initrd").write_bytes(archive)
    root = tmp_path / "root"
    root.mkdir()
    names = subprocess.run(["busybox", "cpio", "-t"], input=archive, capture_output=True, check=True).stdout.decode()
    assert {"init", "bin/busybox", "usr/sbin/dmsetup", "modules.load", "dev/console"} <= set(names.split())
    subprocess.run(["busybox", "cpio", "-id", "usr/sbin/dmsetup", "lib64/*", "lib/*"], input=archive, cwd=root,
                   capture_output=True, check=True)
    said = run_tool(str(root / "lib64/ld-linux-x86-64.so.2"), "--library-path", root / "lib", "--list",
                    root / "usr/sbin/dmsetup")
    assert "not found" not in said and "/usr/lib" not in said


def test_archive_of_every_kind_is_read_by_busybox(tmp_path: Path) -> None:
    if shutil.which("busybox") is None and not os.environ.get("CI"):
        pytest.skip("busybox is not installed")
    archive = encode_cpio([CpioEntry(path="a/b", content=b"12345"), CpioEntry(path="sh", kind=LINK, mode=0o777,
                                                                             content=b"a/b"),
                           CpioEntry(path="dev/console", kind=CHARACTER, mode=0o600, device=(5, 1))])
    listed = subprocess.run(["busybox", "cpio", "-tv"], input=archive, capture_output=True, check=True).stdout.decode()
    assert [line.split()[-1] for line in listed.splitlines()] == ["a", "a/b", "sh", "dev", "dev/console"] or \
        "sh -> a/b" in listed
    assert "crw-------" in listed


def test_finished_package_is_taken_from_the_cache_without_any_program(shared: Cache, tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    obtain(shared, "pc")
    make(shared, load_recipe("pc"), tmp_path / "first")

    def never(self: LocalTools, name: str, *args: object, **options: object) -> None:
        raise AssertionError(f"{name} was run")

    monkeypatch.setattr(LocalTools, "run", never)
    assert make(shared, load_recipe("pc"), tmp_path / "second").cached


def test_same_revision_with_other_content_is_refused(shared: Cache, tmp_path: Path) -> None:
    obtain(shared, "pc")
    folder = tmp_path / "gadget"
    shutil.copytree(load_recipe("pc").folder, folder)
    make(shared, load_recipe(str(folder)), tmp_path / "out")
    with (folder / "loader.conf").open("a") as stream:
        stream.write("beep yes\n")
    with pytest.raises(PlanError, match="a revision never changes"):
        make(shared, load_recipe(str(folder)), tmp_path / "out")
    recipe = folder / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("revision: 1", "revision: 2"))
    assert make(shared, load_recipe(str(folder)), tmp_path / "out").path.name == "pc_2.snap"


def test_program_packs_offline_what_is_cached(shared: Cache, tmp_path: Path, repository: Path) -> None:
    obtain(shared, "pc")
    ended = subprocess.run([sys.executable, "-m", "imagekit.cli", "pack", "pc", "-o", str(tmp_path), "--locked",
                            "--offline", "--json"], capture_output=True, text=True, check=False, cwd=repository)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["packages"][0]["path"] == str(tmp_path / "pc_1.snap")
