"""Packing: what is dropped, what is laid over, which modules are meant, and that a revision never changes."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
import zstandard
from click.testing import CliRunner

from imagekit.build.pack import _deliver, encode_packages, own_files, read_facts
from imagekit.build.pack_base import OVERLAY, PACKAGE, add_overlay, drop, keep_root, settle, take_root
from imagekit.build.pack_gadget import gadget_tree
from imagekit.build.pack_kernel import add_apart, kernel_yaml, names_module
from imagekit.build.project import GADGETS, LOCK, load_lock
from imagekit.build.recipes import load_recipe, project_recipes
from imagekit.build.tree import Tree, content_of, file, folder, symlink
from imagekit.cli.main import main
from imagekit.errors import DocumentError, PlanError
from imagekit.gadget import parse_gadget
from imagekit.packages.kernelyaml import KernelAsset, parse_kernel_yaml
from imagekit.packages.lockfile import Part
from imagekit.packages.recipe import parse_recipe
from imagekit.schema import load_yaml

GADGET = "name: board\ntype: gadget\nsuite: trixie\narchitecture: amd64\nrevision: 1\nversion: '1'\n"


def text(tree: Tree, path: str) -> str:
    entry = tree.get(path)
    assert entry is not None, path
    return content_of(entry).decode()


def test_dropped_folder_goes_but_for_what_is_spared() -> None:
    tree = Tree([file("usr/share/doc/a/copyright", b""), file("usr/share/doc/a/NEWS.gz", b""),
                 file("usr/share/doc/b/README", b""), file("usr/share/documents/x", b""), file("var/cache/x/y", b"")])
    drop(tree, ["usr/share/doc", "!usr/share/doc/*/copyright", "var/*"])
    assert tree.paths() == ["usr", "usr/share", "usr/share/doc", "usr/share/doc/a", "usr/share/doc/a/copyright",
                            "usr/share/documents", "usr/share/documents/x", "var"]


@pytest.mark.parametrize("harm", ["nothing", "cut", "flip", "other", "no digest", "gone"])
def test_kept_root_is_taken_only_as_it_was_kept(tmp_path: Path, harm: str) -> None:
    tar, kept, out = tmp_path / "tar", tmp_path / "roots/key.tar.zst", tmp_path / "out"
    tar.write_bytes(bytes(range(256)) * 20000)
    keep_root(kept, tar)
    raw = kept.read_bytes()
    if harm == "cut":
        kept.write_bytes(raw[:-40])
    elif harm == "flip":
        kept.write_bytes(raw[:30] + bytes([raw[30] ^ 1]) + raw[31:])
    elif harm == "other":
        kept.write_bytes(zstandard.compress(b"another"))
    elif harm == "no digest":
        (tmp_path / "roots/key.tar.sha256").unlink()
    elif harm == "gone":
        kept.unlink()
    assert take_root(kept, out) == (harm == "nothing")
    assert harm != "nothing" or out.read_bytes() == tar.read_bytes()


def settled() -> Tree:
    tree = Tree([file("etc/passwd", b"root:*:0:0:root:/root:/bin/bash\nme:x:1:1::/home:/bin/sh\n"),
                 file("etc/group", b"root:*:0:\nme:x:1:\n"), file("etc/shadow", b"me:$6$secret:19999::::::\n"),
                 file("usr/bin/su", b"", mode=0o4755),
                 file("usr/bin/wall", b"", mode=0o2755)])
    settle(tree)
    return tree


def test_no_program_runs_as_somebody_else() -> None:
    assert not [entry.path for entry in settled().entries() if entry.kind == "file" and entry.mode & 0o6000]


def test_mount_points_exist_with_their_modes() -> None:
    tree = settled()
    modes = {path: entry.mode for path in ("proc", "tmp", "efi", "var", "usr/lib/modules") if (entry := tree.get(path))}
    assert modes == {"proc": 0o555, "tmp": 0o1777, "efi": 0o755, "var": 0o755, "usr/lib/modules": 0o755}


MANIFEST = """format: 1
modes: {usr/bin/tool: "0755"}
directories: {etc/extra.d: "0700"}
links: {etc/default: /usr/lib/default}
masked: {etc/systemd/system: [getty.target]}
removed: [etc/fstab, "etc/wants/*"]
python: {target: usr/lib/code, modules: [imagekit/__init__.py]}
"""


def overlay(tmp_path: Path, manifest: str = MANIFEST) -> Path:
    (tmp_path / "root/usr/bin").mkdir(parents=True)
    (tmp_path / "root/usr/bin/tool").write_text("new")
    (tmp_path / "manifest.yaml").write_text(manifest)
    return tmp_path


def test_overlay_is_laid_over_as_its_manifest_says(tmp_path: Path) -> None:
    tree = Tree([file("usr/bin/tool", b"old"), file("etc/fstab", b""), symlink("etc/wants/a", "b"),
                 folder("etc/default")])
    add_overlay(tree, overlay(tmp_path), package=PACKAGE)
    tool, masked, link, extra = (tree.get(path) for path in ("usr/bin/tool", "etc/systemd/system/getty.target",
                                                             "etc/default", "etc/extra.d"))
    assert tool is not None and (content_of(tool), tool.mode) == (b"new", 0o755)
    assert masked is not None and masked.target == "/dev/null"
    assert link is not None and link.target == "/usr/lib/default"
    assert extra is not None and extra.mode == 0o700
    assert tree.get("etc/fstab") is None and tree.get("etc/wants/a") is None
    assert "Signed A/B disk images" in text(tree, "usr/lib/code/imagekit/__init__.py")


@pytest.mark.parametrize(("old", "new", "reason"), [
    ("usr/bin/tool", "usr/bin/other", "manifest.yaml:2: modes.usr/bin/other: no such file"),
    ("imagekit/__init__.py", "imagekit/missing.py", "there is no imagekit/missing.py")])
def test_manifest_that_names_what_is_not_there_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        add_overlay(Tree(), overlay(tmp_path, MANIFEST.replace(old, new)), package=PACKAGE)


def test_manifest_of_another_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match="format"):
        add_overlay(Tree(), overlay(tmp_path, MANIFEST.replace("format: 1", "format: 2")), package=PACKAGE)


def test_overlay_of_the_project_fits_its_own_manifest() -> None:
    tree = Tree()
    add_overlay(tree, OVERLAY, package=PACKAGE)
    assert tree.get("usr/bin/imagekit-device") is not None


@pytest.mark.parametrize(("pattern", "path", "meant"), [
    ("ext4", "kernel/fs/ext4/ext4.ko", True), ("ext4", "kernel/fs/ext4/other.ko", False),
    ("sha256_ssse3", "kernel/x86/sha256-ssse3.ko", True), ("virtio_*", "kernel/drivers/block/virtio_blk.ko", True),
    ("fs/ext4/", "kernel/fs/ext4/ext4.ko", True), ("fs/ext4/", "kernel/fs/ext42/x.ko", False),
    ("drivers/net/", "kernel/drivers/net/phy/x.ko", True), ("drivers/net/*.ko", "kernel/drivers/net/tun.ko", True),
    ("drivers/net/*.ko", "kernel/drivers/net/phy/x.ko", False)])
def test_module_patterns(pattern: str, path: str, meant: bool) -> None:
    assert names_module(pattern, path) is meant


def apart(tmp_path: Path, *, image: bytes = bytes(0x38) + b"ARM\x64", pattern: str = "broadcom/*.dtb",
          compress: str | None = "gzip") -> Tree:
    trees = tmp_path / "trees"
    (trees / "broadcom").mkdir(parents=True)
    (trees / "broadcom/pi.dtb").write_bytes(b"\xd0\x0d\xfe\xed tree")
    (trees / "broken.dtb").write_bytes(b"no tree")
    (tmp_path / "vmlinuz").write_bytes(image)
    recipe = replace(load_recipe("pi-kernel").recipe, device_trees=(pattern,), compress=compress)
    tree = Tree()
    add_apart(tree, recipe, tmp_path / "vmlinuz", b"ramdisk", trees)
    return tree


def test_kernel_apart_is_image_initrd_and_the_named_device_trees(tmp_path: Path) -> None:
    tree = apart(tmp_path, compress=None)
    assert tree.paths() == ["Image", "dtbs", "dtbs/broadcom", "dtbs/broadcom/pi.dtb", "initrd"]


def test_kernel_apart_may_be_there_compressed_too_and_unpacks_to_the_same(tmp_path: Path) -> None:
    tree = apart(tmp_path)
    assert tree.paths() == ["Image", "Image.gz", "dtbs", "dtbs/broadcom", "dtbs/broadcom/pi.dtb", "initrd"]
    plain, packed = tree.get("Image"), tree.get("Image.gz")
    assert plain is not None and packed is not None
    assert isinstance(plain.content, bytes) and isinstance(packed.content, bytes)
    assert gzip.decompress(packed.content) == plain.content


@pytest.mark.parametrize(("image", "pattern", "reason"), [
    (b"\x1f\x8b compressed" + bytes(64), "broadcom/*.dtb", "its kernel is no Image of arm64"),
    (bytes(0x38) + b"ARM\x64", "*.dtb", "broken.dtb is no device tree"),
    (bytes(0x38) + b"ARM\x64", "broadcom/toaster.dtb", "the kernel has no device tree broadcom/toaster.dtb")])
def test_kernel_apart_that_its_loader_could_not_use_is_refused(tmp_path: Path, image: bytes, pattern: str,
                                                              reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        apart(tmp_path, image=image, pattern=pattern)


def test_kernel_offers_what_its_recipe_says_and_the_package_has(tmp_path: Path) -> None:
    tree = apart(tmp_path)
    recipe = replace(load_recipe("pi-kernel").recipe, assets=(
        KernelAsset(name="dtbs", update=True, content=("dtbs/", "Image")),))
    made = parse_kernel_yaml(load_yaml(kernel_yaml(recipe, tree), name="kernel.yaml"))
    assert tuple(made.assets.values()) == recipe.assets
    wrong = replace(recipe, assets=(KernelAsset(name="fw", update=False, content=("firmware/",)),))
    with pytest.raises(PlanError, match="its asset fw has firmware/, the package has not"):
        kernel_yaml(wrong, tree)


def test_gadget_takes_its_files_from_beside_the_recipe_and_from_parts(tmp_path: Path) -> None:
    shutil.copyfile(GADGETS / "pc/gadget.yaml", tmp_path / "gadget.yaml")
    (tmp_path / "boot/usr").mkdir(parents=True)
    (tmp_path / "boot/usr/loader.efi").write_bytes(b"MZ")
    recipe = parse_recipe(load_yaml(GADGET + "files: [{from: gadget.yaml, to: meta/gadget.yaml},"
                                    " {part: boot, from: usr/loader.efi, to: loader.efi}]\n", name="r"))
    tree = gadget_tree(recipe, folder=tmp_path, roots={"boot": tmp_path / "boot"})
    assert text(tree, "meta/gadget.yaml") == (GADGETS / "pc/gadget.yaml").read_text()
    assert text(tree, "loader.efi") == "MZ"


@pytest.mark.parametrize(("right", "wrong"), [
    ("filesystem-label", "filesystem-lable"), ("role: system-", "role: sistem-"), ("part: base", "part: bass")])
def test_gadget_that_no_image_can_be_built_from_is_refused(tmp_path: Path, right: str, wrong: str) -> None:
    (tmp_path / "gadget.yaml").write_text((GADGETS / "pc/gadget.yaml").read_text().replace(right, wrong))
    recipe = parse_recipe(load_yaml(GADGET + "files: [{from: gadget.yaml, to: meta/gadget.yaml}]\n", name="r"))
    with pytest.raises(DocumentError, match=re.escape(f"{tmp_path}/gadget.yaml")):
        gadget_tree(recipe, folder=tmp_path, roots={})


@pytest.mark.parametrize(("files", "reason"), [
    ("[]", "a gadget needs meta/gadget.yaml"),
    ("[{from: nowhere, to: meta/gadget.yaml}]", "has no file nowhere"),
    ("[{part: other, from: x, to: meta/gadget.yaml}]", "comes from other, which is none of its parts")])
def test_gadget_that_cannot_be_filled_is_refused(tmp_path: Path, files: str, reason: str) -> None:
    recipe = parse_recipe(load_yaml(GADGET + f"files: {files}\n", name="r"))
    with pytest.raises(PlanError, match=reason):
        gadget_tree(recipe, folder=tmp_path, roots={})


def test_revision_never_changes(tmp_path: Path) -> None:
    import hashlib

    source = tmp_path / "kept.snap"
    source.write_bytes(b"new")
    digest = hashlib.sha256(b"new").hexdigest()
    recipe = load_recipe("pc").recipe
    _deliver(source, tmp_path / "pc_1.snap", digest, recipe)
    _deliver(source, tmp_path / "pc_1.snap", digest, recipe)
    (tmp_path / "pc_1.snap").write_bytes(b"old")
    with pytest.raises(PlanError, match="a revision never changes") as caught:
        _deliver(source, tmp_path / "pc_1.snap", digest, recipe)
    assert "raise the recipe's revision above 1" in (caught.value.hint or "")
    assert (tmp_path / "pc_1.snap").read_bytes() == b"old"


def test_package_changed_in_the_cache_is_not_delivered(tmp_path: Path) -> None:
    (tmp_path / "kept.snap").write_bytes(b"evil")
    with pytest.raises(PlanError, match=r"the cached kept\.snap was changed"):
        _deliver(tmp_path / "kept.snap", tmp_path / "out/pc_1.snap", "0" * 64, load_recipe("pc").recipe)
    assert not (tmp_path / "out/pc_1.snap").exists()


@pytest.mark.parametrize("facts", [None, b"", b"[]", b'{"version": "1"}', b'{"version": "1", "pc_1.snap": {}}'])
def test_cached_package_that_a_power_cut_left_half_is_told_with_the_remedy(tmp_path: Path, facts: bytes | None) -> None:
    if facts is not None:
        (tmp_path / "facts.json").write_bytes(facts)
    with pytest.raises(PlanError, match="cached package is damaged") as caught:
        read_facts(tmp_path, load_recipe("pc").recipe)
    assert caught.value.hint == f"delete {tmp_path}"


def test_cached_package_without_its_file_is_told_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"the cached kept\.snap was changed") as caught:
        _deliver(tmp_path / "kept.snap", tmp_path / "out/pc_1.snap", "0" * 64, load_recipe("pc").recipe)
    assert caught.value.hint == f"delete {tmp_path}"
    assert not (tmp_path / "out").exists()


def test_every_module_that_goes_into_a_base_decides_whether_it_is_made_anew(repository: Path) -> None:
    modules = yaml.safe_load((OVERLAY / "manifest.yaml").read_text())["python"]["modules"]
    found = {str(path.relative_to(repository)) for path in own_files(PACKAGE, load_recipe("debian-13").recipe)}
    assert set(modules) - found == set()


def test_list_of_packages_is_sorted_and_without_doubles() -> None:
    part = Part(name="b", version="1", architecture="amd64", archive="debian", filename="pool/b.deb", size=1,
                sha256="a" * 64, sha512="b" * 128, source="src", source_version="1")
    rows = json.loads(encode_packages([part, replace(part, name="a"), part]))
    assert [row["name"] for row in rows] == ["a", "b"]
    assert set(rows[0]) == {"name", "version", "architecture", "source", "source_version", "sha256", "sha512",
                            "filename"}


def test_lock_of_the_project_answers_all_of_its_recipes() -> None:
    lock = load_lock(LOCK)
    for source in project_recipes():
        section = lock.sections[source.recipe.name]
        assert (section.suite, section.wants) == (source.recipe.suite, source.recipe.wants)
        assert section.parts
    assert set(lock.sections) == {source.recipe.name for source in project_recipes()}


def test_recipe_is_found_by_name_file_and_folder(repository: Path) -> None:
    for word in ("pc", str(repository / "gadgets/pc"), str(repository / "gadgets/pc/recipe.yaml")):
        assert load_recipe(word).recipe.name == "pc"
    assert load_recipe("debian-13").recipe.type == "base"


def test_gadget_and_models_of_the_project_fit_its_recipes(repository: Path) -> None:
    for name in ("pc", "arm64-uefi"):
        source = load_yaml((repository / f"gadgets/{name}/gadget.yaml").read_bytes(), name="gadget.yaml")
        gadget = parse_gadget(source)
        assert gadget.extension is not None and gadget.extension.bootloader == "systemd-boot"
    for path in (repository / "models").glob("*.yaml"):
        model = load_yaml(path.read_bytes(), name=path.name).value
        for snap in model["snaps"]:
            recipe = load_recipe(snap["name"]).recipe
            assert (recipe.type, recipe.architecture) == (snap["type"], model["architecture"])
        assert model["base"] in [snap["name"] for snap in model["snaps"]]


def test_command_without_an_output_folder_is_told_how_to_name_one() -> None:
    result = CliRunner().invoke(main, ["pack", "pc"])
    assert result.exit_code == 2
    assert "imagekit pack pc -o packages-out" in result.stderr


def test_unknown_recipe_is_told_with_the_known_ones(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["pack", "pc-kernle", "-o", str(tmp_path)])
    assert result.exit_code == 3
    assert "cannot find recipe pc-kernle" in result.stderr and "pc-kernel" in result.stderr
    assert not list(tmp_path.iterdir())
