"""QEMU from the lock: taken where the host's has not the machine, and it has it."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.cli.emulators import tools_for
from imagekit.errors import HostError
from imagekit.host.tools import SYSTEM_PATH, LocalTools
from imagekit.qemu.machine import MACHINES, check_qemu, load_machine
from imagekit.testing.fakes import RecordedProgress
from tests.boot.stock import missing_tool

pytestmark = pytest.mark.tools

BOARD = load_machine("bpim2u", [MACHINES])


def without_emulators(folder: Path) -> Path:
    """A folder of all programs that the host has, but for its QEMU: apt may have to fetch the locked one."""
    folder.mkdir()
    for place in (*os.environ["PATH"].split(os.pathsep), *SYSTEM_PATH.split(os.pathsep)):
        for path in Path(place).glob("*"):
            if not path.name.startswith("qemu-") and not (folder / path.name).is_symlink():
                (folder / path.name).symlink_to(path)
    return folder


def test_machine_that_the_host_has_is_run_by_the_host() -> None:
    machine = replace(BOARD, least_qemu=(1, 0))
    try:
        own = LocalTools().find(machine.emulator)
    except HostError as error:
        missing_tool(error.message)
    assert tools_for(machine, told=RecordedProgress()).find(machine.emulator) == own


@pytest.mark.parametrize("board", ["cubieboard", "orangepi-pc", "bpim2u", "pi-4"])
def test_board_that_needs_a_newer_qemu_is_in_the_locked_one(board: str, monkeypatch: pytest.MonkeyPatch,
                                                            tmp_path: Path) -> None:
    machine = load_machine(board, [MACHINES])
    monkeypatch.setenv("PATH", str(without_emulators(tmp_path / "bin")))
    monkeypatch.setattr("imagekit.host.tools.SYSTEM_PATH", "/nonexistent")
    try:
        tools = tools_for(machine, told=RecordedProgress())
    except HostError as error:
        missing_tool(error.message)
    assert "--library-path" in tools.find(machine.emulator)
    check_qemu(tools, machine)
    known = tools.run(machine.emulator, "-machine", "help").stdout.decode()
    assert f"\n{machine.machine} " in known


def test_machine_that_no_qemu_has_yet_is_refused() -> None:
    with pytest.raises(HostError, match=r"it is in QEMU from version 999\.0 on"):
        tools_for(replace(BOARD, least_qemu=(999, 0)), told=RecordedProgress())
