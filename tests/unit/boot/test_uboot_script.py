"""The boot script's text. What it does is seen in U-Boot itself: tests/boot/test_uboot.py."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from imagekit.boot.uboot import COMPRESSED, KERNELS
from imagekit.boot.uboot_script import ScriptValues, needed_files, render_script

VALUES = [
    ScriptValues(state=2, boot_a=3, boot_b=10, kernel=kernel, boot=boot, device_tree=tree)
    for kernel, boot in KERNELS.values() for tree in (False, True)
]
# What Debian's builds for boards know; others are looked for in vain there (facts: their strings).
COMMANDS = {"echo", "setexpr", "setexpr.b", "setexpr.l", "setenv", "mw.b", "mw.l", "cp.b", "cmp.b", "crc32", "run",
            "test", "itest.b", "itest.l", "load", "env", "part", "${devtype}", "booti", "bootz", "sleep", "reset",
            "true", "if", "then", "else", "fi"}


@pytest.mark.parametrize("values", VALUES, ids=str)
def test_script_uses_known_commands_and_ends_in_a_reset(values: ScriptValues) -> None:
    text = render_script(values)
    assert text.isascii()
    assert text.endswith("\nreset\n")
    for line in text.splitlines():
        assert line.count("'") in (0, 2)
        if line.lstrip().startswith("#"):
            continue
        for statement in re.split(r";|'", line.replace("setenv ik_fix '", ";").replace("'", ";")):
            words = [word for word in statement.split() if word not in ("if", "then", "else")]
            if words and not re.match(r"setenv ik_\w+ *$", statement.strip()):
                assert words[0] in COMMANDS, statement


def test_compressed_kernel_tells_booti_how_long_it_is_before_it_boots() -> None:
    values = ScriptValues(state=2, boot_a=3, boot_b=4, kernel=COMPRESSED, boot="booti", device_tree=False,
                          addresses={"unpack": 0xA000000})
    text = render_script(values)
    assert "\nsetenv kernel_comp_addr_r a000000\n" in text
    assert text.index("setenv kernel_comp_size ${ik_kernel_size}") < text.index("  booti ")
    assert "setenv ik_f Image.gz;" in text
    assert "kernel_comp" not in render_script(replace(values, kernel="Image", addresses={}))


def test_partitions_are_decimal_to_part_and_hexadecimal_to_load() -> None:
    values = ScriptValues(state=11, boot_a=10, boot_b=12, kernel="Image", boot="booti", device_tree=False)
    text = render_script(values)
    assert "part start ${devtype} ${devnum} 11 ik_s0" in text
    assert "setenv ik_part a; else setenv ik_part c; fi" in text


def test_device_tree_of_the_slot_is_loaded_and_handed_over_only_where_the_board_has_one() -> None:
    without, with_tree = (
        ScriptValues(state=1, boot_a=2, boot_b=3, kernel="Image", boot="booti", device_tree=tree)
        for tree in (False, True))
    assert needed_files(without) == ("Image", "initrd")
    assert needed_files(with_tree) == ("Image", "initrd", "board.dtb")
    assert "board.dtb" not in render_script(without)
    assert "setenv ik_fdt ${ik_dtb}" in render_script(with_tree)
