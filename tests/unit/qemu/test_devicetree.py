"""What a machine changes in its copy of the card's device tree, and how fdtput is asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import DocumentError, HostError
from imagekit.qemu.devicetree import TreeEdit, edit_tree, parse_edits
from imagekit.qemu.machine import MACHINES, load_machine, parse_machine
from imagekit.schema import load_yaml
from imagekit.testing.fakes import FakeTools

TEXT = (MACHINES / "pi.yaml").read_text()
TREE = Path("/tmp/tree")


def test_every_edit_becomes_a_run_of_fdtput_in_order() -> None:
    tools = FakeTools(fdtput=b"")
    edit_tree(tools, TREE, parse_edits([
        {"node": "/soc/a@1", "delete": ["one", "two"], "set": {"status": ["disabled"], "reg": [16, 255]}},
        {"node": "/soc/b", "remove": True}]))
    assert [call.args for call in tools.calls] == [
        ("-d", "/tmp/tree", "/soc/a@1", "one"), ("-d", "/tmp/tree", "/soc/a@1", "two"),
        ("-p", "-t", "s", "/tmp/tree", "/soc/a@1", "status", "disabled"),
        ("-p", "-t", "x", "/tmp/tree", "/soc/a@1", "reg", "10", "ff"), ("-r", "/tmp/tree", "/soc/b")]


def test_edit_of_a_node_that_is_not_there_is_an_error() -> None:
    tools = FakeTools(fdtput=HostError("cannot run fdtput: it failed", details=("FDT_ERR_NOTFOUND",)))
    with pytest.raises(HostError, match="cannot run fdtput"):
        edit_tree(tools, TREE, (TreeEdit(node="/nothing", remove=True),))


@pytest.mark.parametrize("name", ["pi", "pi-4", "pi-tryboot"])
def test_what_would_bring_the_kernel_down_on_a_pi_in_qemu_is_taken_from_it(name: str) -> None:
    edits = load_machine(name, [MACHINES]).device_tree
    watchdog, reset, vchiq = edits[:3]
    assert watchdog == TreeEdit(node="/soc/watchdog@7e100000", set=(("compatible", ("syscon", "simple-mfd")),))
    assert reset.set == (("compatible", ("syscon-reboot",)), ("offset", (0x1C,)), ("value", (0x5A000020,)))
    assert vchiq == TreeEdit(node="/soc/mailbox@7e00b840", set=(("status", ("disabled",)),))


@pytest.mark.parametrize("edit", [
    "{node: soc, remove: true}", "{node: /soc}", "{node: /soc, remove: true, delete: [a], set: {a: [b]}}",
    "{node: /soc, set: {a: disabled}}", "{node: /soc, set: {a: [-1]}}", "{node: /soc, set: {a: [x, 1]}}",
    "{node: /soc, remove: false}", "{node: '/soc -t', remove: true}", "{node: /soc, delete: ['-r']}"])
def test_edit_of_another_shape_is_refused(edit: str) -> None:
    text = TEXT[:TEXT.index("device-tree:")] + f"device-tree:\n  - {edit}\n"
    with pytest.raises(DocumentError, match="device-tree"):
        parse_machine(load_yaml(text, name="m.yaml"))


def test_edits_without_a_tree_are_refused() -> None:
    text = TEXT.replace(", dtb: bcm2837-rpi-3-b.dtb", "")
    with pytest.raises(DocumentError, match="there is none to change"):
        parse_machine(load_yaml(text, name="m.yaml"))
