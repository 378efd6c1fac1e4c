"""Recipes: what they may say, and what is said of those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.build.recipes import load_recipe
from imagekit.errors import DocumentError
from imagekit.packages.kernelyaml import KernelAsset
from imagekit.packages.recipe import APART, UNIFIED, CopiedFile, Recipe, liked, parse_recipe, take_over
from imagekit.schema import load_yaml

HEAD = "suite: trixie\narchitecture: amd64\n"
KERNEL = f"name: my-kernel\ntype: kernel\n{HEAD}revision: 3\nversion-of: linux\nparts: [linux]\n"
GADGET = f"name: board\ntype: gadget\n{HEAD}revision: 1\nversion: '1'\n"


def parse(text: str) -> Recipe:
    return parse_recipe(load_yaml(text, name="r.yaml"))


def test_kernel_carries_all_modules_unless_it_lists_some() -> None:
    assert parse(KERNEL).modules is None
    assert parse(KERNEL + "modules: all\n").modules is None
    assert parse(KERNEL + "modules: [ext4, fs/nls/]\n").modules == ("ext4", "fs/nls/")


def test_kernel_for_another_loader_than_uefi_comes_apart_with_its_device_trees() -> None:
    assert (parse(KERNEL).image, parse(KERNEL).initrd) == (UNIFIED, ())
    recipe = parse(KERNEL.replace("amd64", "arm64") + "image: apart\ndevice-trees: [a/*.dtb]\n"
                   "initrd: {storage: [mmc, 'softdog soft_margin=60']}\n")
    assert (recipe.image, recipe.device_trees) == (APART, ("a/*.dtb",))
    assert recipe.initrd == (("storage", ("mmc", "softdog soft_margin=60")),)


def test_gadget_names_its_files() -> None:
    recipe = parse(GADGET + "files:\n- {from: a, to: meta/gadget.yaml}\n- {from: usr/b, to: b, part: boot}\n")
    assert recipe.files == (CopiedFile(source="a", target="meta/gadget.yaml", part=None),
                            CopiedFile(source="usr/b", target="b", part="boot"))


def test_components_are_one_set_in_any_order() -> None:
    one, other = (parse(KERNEL + f"components: [{text}]\n") for text in ("non-free, contrib", "contrib, non-free"))
    assert one == other
    assert one.components == ("contrib", "non-free")


def test_wants_change_with_everything_that_the_lock_answers() -> None:
    answers = {parse(KERNEL + extra).wants for extra in ("", "alone: [dmsetup]\n", "keep: [linux-*]\n",
                                                    "components: [contrib]\n")}
    assert len(answers) == 4
    assert parse(KERNEL).wants == parse(KERNEL + "modules: [ext4]\n").wants


@pytest.mark.parametrize(("text", "reason"), [
    (KERNEL + "colour: red\n", r"r\.yaml:\d+: colour: there is no such key"),
    (KERNEL.replace("kernel\n", "engine\n"), r"r\.yaml:2: type: 'engine' is not one of"),
    (KERNEL.replace("my-kernel", "My_Kernel"), r"r\.yaml:1: name"),
    (KERNEL.replace("revision: 3", "revision: 0"), r"r\.yaml:5: revision"),
    (KERNEL.replace("revision: 3\n", ""), "revision: missing"),
    (KERNEL + "version: '1'\n", "exactly one of version and version-of"),
    (KERNEL.replace("version-of: linux\n", ""), "exactly one of version and version-of"),
    (KERNEL.replace("amd64", "z80"), "architecture: 'z80' is not one of"),
    (KERNEL + "compress: gzip\n", "compress: only for image: apart on arm64"),
    (KERNEL + "components: [main]\n", r"r\.yaml:8: components\[0\]: 'main' is not one of"),
    (KERNEL + "components: []\n", r"r\.yaml:8: components"),
    (KERNEL + "drop: [usr]\n", r"r\.yaml:8: drop: only a base has this"),
    (GADGET + "modules: [ext4]\n", "modules: only a kernel has this"),
    (GADGET + "assets: {dtbs: {content: [dtbs/]}}\n", "assets: only a kernel has this"),
    (KERNEL + "assets: {d_t: {content: [dtbs/]}}\n", r"assets.*d_t"),
    (KERNEL + "assets: {dtbs: {content: [../x]}}\n", r"r\.yaml:8: assets\.dtbs\.content\[0\]"),
    (KERNEL + "assets: {dtbs: {update: true}}\n", "'content' is a required property"),
    (GADGET + "image: apart\n", "image: only a kernel has this"),
    (KERNEL + "image: apart\n", "image: amd64 has no loader that takes a kernel apart"),
    (KERNEL.replace("amd64", "armhf"), "image: armhf kernels are packed apart"),
    (KERNEL + "device-trees: [a.dtb]\n", "device-trees: a unified image has none"),
    (KERNEL + "initrd: {core: [ext4]}\n", r"r\.yaml:8: initrd\.core: there is no such key"),
    (KERNEL + "initrd: {storage: []}\n", r"initrd\.storage: "),
    (KERNEL + "initrd: {storage: ['nvme; reboot']}\n", r"initrd\.storage\[0\]: "),
    (GADGET + "files: [{from: ../a, to: b}]\n", r"files\[0\]\.from"),
    (GADGET + "files: [{from: a, to: /b}]\n", r"files\[0\]\.to"),
    (GADGET + "files: [{from: a, to: b}, {from: c, to: b}]\n", r"files\[1\]\.to: b is filled twice"),
    (GADGET + "files: [{from: a, to: meta/snap.yaml}]\n", "is made by pack"),
    (f"name: tools\ntype: parts\n{HEAD}revision: 1\n", "a list of parts is not a package"),
    (f"name: b1\ntype: base\n{HEAD}revision: 1\nversion: '1'\ndrop: [usr/../..]\n", "leaves the tree"),
    ("", "document"), ("[]", "document")])
def test_wrong_recipe_is_refused_with_line_and_reason(text: str, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse(text)
    import re

    assert re.search(reason, "\n".join((caught.value.message, *caught.value.details)))


def test_kernel_says_what_it_offers_to_gadgets() -> None:
    assert parse(KERNEL).assets == ()
    assert parse(KERNEL + "assets: {dtbs: {update: true, content: [dtbs/]}, fw: {content: [firmware/a]}}\n").assets == (
        KernelAsset(name="dtbs", update=True, content=("dtbs/",)),
        KernelAsset(name="fw", update=False, content=("firmware/a",)))


def test_all_problems_are_told_at_once() -> None:
    with pytest.raises(DocumentError, match="2 problems"):
        parse(GADGET.replace("revision: 1\n", "").replace("version: '1'\n", ""))


def test_recipes_of_the_project_are_right(repository: Path) -> None:
    paths = [*(repository / "packages").glob("*.yaml"), *(repository / "gadgets").glob("*/recipe.yaml")]
    assert len(paths) >= 6
    for path in paths:
        recipe = load_recipe(str(path)).recipe
        assert recipe.name == (path.parent.name if path.name == "recipe.yaml" else path.stem)


def test_mistyped_key_is_refused_with_the_right_one() -> None:
    text = (Path(__file__).parents[3] / "packages/pc-kernel.yaml").read_text().replace("parts:", "part:")
    with pytest.raises(DocumentError, match=r"r.yaml:\d+: part: there is no such key, did you mean 'parts'\?"):
        parse_recipe(load_yaml(text, name="r.yaml"))


OTHER = "name: other\nlike: my-kernel\narchitecture: arm64\nrevision: 1\n"


def like(text: str, known: str = KERNEL) -> Recipe:
    return parse_recipe(take_over(load_yaml(text, name="o.yaml"), load_yaml(known, name="r.yaml")))


def test_recipe_that_is_like_another_says_only_what_differs() -> None:
    recipe = like(OTHER)
    assert (recipe.name, recipe.architecture, recipe.revision) == ("other", "arm64", 1)
    assert (recipe.type, recipe.suite, recipe.version_of, recipe.parts) == ("kernel", "trixie", "linux", ("linux",))


def test_version_of_its_own_takes_the_place_of_either() -> None:
    recipe = like(OTHER + "version: '7'\n")
    assert (recipe.version, recipe.version_of) == ("7", None)


@pytest.mark.parametrize("missing", ["architecture: arm64\n", "revision: 1\n", "name: other\n"])
def test_what_is_a_recipes_own_is_never_taken_over(missing: str) -> None:
    with pytest.raises(DocumentError, match=missing.partition(":")[0]):
        like(OTHER.replace(missing, ""))


@pytest.mark.parametrize(("known", "reason"), [
    (OTHER, "r.yaml is like another recipe itself"), (GADGET, "r.yaml is a gadget"), ("[]", "required property")])
def test_recipe_is_not_like_a_gadget_or_like_one_that_is_like_another(known: str, reason: str) -> None:
    with pytest.raises(DocumentError) as caught:
        like(OTHER, known)
    assert reason in "\n".join((caught.value.message, *caught.value.details))


def test_like_is_the_name_of_a_recipe_and_no_path() -> None:
    assert liked(load_yaml(KERNEL, name="r.yaml")) is None
    with pytest.raises(DocumentError, match=r"r\.yaml:1: like: '\.\./x' is not the name"):
        liked(load_yaml("like: ../x\n", name="r.yaml"))


def test_recipe_like_one_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(OTHER)
    with pytest.raises(DocumentError, match=r"other\.yaml:2: like: there is no recipe .*my-kernel\.yaml"):
        load_recipe(str(tmp_path / "other.yaml"))


def test_recipe_like_another_changes_when_that_one_changes(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text(OTHER)
    (tmp_path / "my-kernel.yaml").write_text(KERNEL)
    before = load_recipe(str(tmp_path / "other.yaml"))
    (tmp_path / "my-kernel.yaml").write_text(KERNEL + "modules: [ext4]\n")
    after = load_recipe(str(tmp_path / "other.yaml"))
    assert before.content != after.content
    assert after.recipe.modules == ("ext4",)


BOARD = "board:\n  title: A board\n  covers: [one]\n  boot-path: [rom, loader]\n  flash: [a card]\n  unverified: []\n"


def test_board_of_a_gadget_is_read() -> None:
    board = parse(GADGET + BOARD).board
    assert board is not None and (board.title, board.boot_path, board.unverified) == ("A board", ("rom", "loader"), ())
    told = parse(GADGET + BOARD + "  updated: [the script]\n").board
    assert told is not None and told.updated == ("the script",)
    with pytest.raises(DocumentError, match="only a gadget has this"):
        parse(KERNEL + BOARD)
    with pytest.raises(DocumentError, match="boot-path"):
        parse(GADGET + BOARD.replace("[rom, loader]", "[]"))
