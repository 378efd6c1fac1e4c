"""Plan how a board in its boot ROM gets a boot loader: by which program, with which words.

Pure: what the board's recipe says, the device and a loader go in; a command comes out that leaves nothing to decide.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.errors import PlanError, UsageError
from imagekit.packages.board import Recovery, RecoveryTool

PLACES = ("{port}", "{uuu-port}", "{bus}")  # one of these in its words: the program can tell two boards apart
_WORD = re.compile(r"\{(port|uuu-port|bus|device|loader|quoted-loader)\}")

INSTALL = {
    "rpiboot": "build it: github.com/raspberrypi/usbboot (newer Debians: apt-get install rpiboot)",
    "uuu": "apt-get install uuu",
    "snagrecover": "pipx install snagboot",
    "sunxi-fel": "apt-get install sunxi-tools",
    "dfu-util": "apt-get install dfu-util",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RomPlace:
    """Where a board in its boot ROM is."""

    port: str  # as sysfs has it: 1-1.4
    bus: int
    device: int


def choose_tool(recovery: Recovery, installed: Mapping[str, bool], wanted: str | None) -> RecoveryTool | None:
    """The first program that is installed, or the one that is wanted; None: there is none.

    Raises:
        UsageError: the wanted one is none of the board's.
    """
    names = [item.tool for item in recovery.tools]
    if wanted is not None and wanted not in names:
        raise UsageError(f"cannot recover this board with {wanted}: its recipe has {', '.join(names)}")
    return next((item for item in recovery.tools if wanted in (None, item.tool) and installed.get(item.tool)), None)


def plan_command(recovery: Recovery, tool: RecoveryTool, place: RomPlace, *, loader: str | None,
                 others: int) -> tuple[str, ...]:
    """The command. `others` is how many further boards are in the same boot ROM.

    Raises:
        UsageError: a loader is missing, or not used.
        PlanError: the program cannot tell the boards apart.
    """
    words = (*tool.arguments, *(tool.with_loader if loader is not None else ()))
    uses = any("loader}" in word for word in words)
    if uses and loader is None:
        raise UsageError(f"cannot run {tool.tool}: it needs something to load",
                         hint=f"--loader FILE: {recovery.loader or 'a boot loader for this board'}")
    if loader is not None and not uses:
        raise UsageError(f"cannot load {loader}: {tool.tool} takes no loader for this board")
    if others and not any(mark in word for word in words for mark in PLACES):
        raise PlanError(f"cannot tell {tool.tool} which board is meant: {others + 1} are in their boot ROM",
                        hint="unplug the others, or use another program: --tool")
    bus, _, path = place.port.partition("-")
    values = {"port": place.port, "uuu-port": f"{bus}:{path.replace('.', '')}", "bus": str(place.bus),
              "device": str(place.device), "loader": loader or "", "quoted-loader": repr(loader or "")}
    return (tool.tool, *(_WORD.sub(lambda match: values[match[1]], word) for word in words))
