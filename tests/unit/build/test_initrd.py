"""The initrd's modules: what is loaded, and in which order."""

from __future__ import annotations

import re

import pytest

from imagekit.build.initrd import (
    HERE,
    ListedModule,
    encode_load_list,
    module_name,
    parse_dependencies,
    parse_module_list,
    plan_loading,
    replace_groups,
)
from imagekit.errors import DocumentError, PlanError

DEPENDENCIES = parse_dependencies(
    "kernel/md/dm-verity.ko: kernel/md/dm-bufio.ko kernel/md/dm-mod.ko kernel/lib/reed_solomon.ko\n"
    "kernel/md/dm-bufio.ko: kernel/md/dm-mod.ko\nkernel/md/dm-mod.ko:\nkernel/lib/reed_solomon.ko:\n"
    "kernel/w/softdog.ko: kernel/w/watchdog.ko\nkernel/w/watchdog.ko:\n")


def plan(text: str, builtin: tuple[str, ...] = ()) -> str:
    return encode_load_list(plan_loading(parse_module_list(text, name="m"), DEPENDENCIES, builtin)).decode()


def test_each_module_comes_after_what_it_needs_and_once_in_a_group() -> None:
    assert plan("[core]\ndm-mod\ndm_verity\n[watchdog]\nsoftdog soft_margin=60  # seconds\ndm-mod\n") == (
        "[core]\n/modules/dm-mod.ko\n/modules/reed_solomon.ko\n/modules/dm-bufio.ko\n/modules/dm-verity.ko\n"
        "[watchdog]\n/modules/watchdog.ko\n/modules/softdog.ko soft_margin=60\n/modules/dm-mod.ko\n")


def test_module_that_the_kernel_may_lack_or_has_inside_is_left_out() -> None:
    assert plan("[core]\nnvme?\next4\n", builtin=("kernel/fs/ext4/ext4.ko",)) == "[core]\n"


def test_module_that_is_nowhere_is_refused() -> None:
    with pytest.raises(PlanError, match="the kernel has no module nvme"):
        plan("[core]\nnvme\n")


@pytest.mark.parametrize("text", ["dm-mod\n", "[core]\na b\n", "[core]\na; reboot\n", "[core] x\n",
                                  "[core]\na x='1'\n"])
def test_line_that_is_neither_group_nor_module_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="m:"):
        parse_module_list(text, name="m")


def test_list_of_the_project_has_the_groups_that_init_asks_for() -> None:
    groups = dict(parse_module_list((HERE / "modules.txt").read_text(), name="modules.txt"))
    assert set(groups) == {"core", "esp", "watchdog", "storage"}
    assert ListedModule(name="dm_verity", optional=False, parameters=()) in groups["core"]


def test_every_file_system_that_init_mounts_is_a_module_of_the_core_or_the_esp() -> None:
    groups = dict(parse_module_list((HERE / "modules.txt").read_text(), name="modules.txt"))
    core = {module.name for name in ("core", "esp") for module in groups[name]}
    mounted = set(re.findall(r"mount -t (\w+)", (HERE / "init").read_text()))
    assert mounted - {"proc", "sysfs", "devtmpfs", "tmpfs"} <= core


def test_names_are_spelled_as_the_kernel_does() -> None:
    assert module_name("kernel/arch/x86/crypto/sha256-ssse3.ko.xz") == "sha256_ssse3"


def test_recipe_replaces_whole_groups_and_leaves_the_others() -> None:
    groups = parse_module_list("[core]\nerofs\n[storage]\nnvme\nahci\n", name="m")
    replaced = replace_groups(groups, [("storage", ("sdhci-iproc?", "mmc use=1"))], name="pi-kernel")
    assert replaced[0] == groups[0]
    assert [(module.name, module.optional, module.parameters) for module in replaced[1][1]] == [
        ("sdhci_iproc", True, ()), ("mmc", False, ("use=1",))]


def test_recipe_that_replaces_a_group_that_is_not_there_is_refused() -> None:
    with pytest.raises(DocumentError, match="cannot make the initrd of pi-kernel: its list of modules has no group"):
        replace_groups(parse_module_list("[core]\nerofs\n", name="m"), [("storage", ("a",))], name="pi-kernel")
