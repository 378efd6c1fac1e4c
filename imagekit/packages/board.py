"""What a gadget's recipe says of its board: for people who choose one (docs/reference/recipes.md, `board`).

Nothing is built from it; what the disk holds is gadget.yaml's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_TEXT = {"type": "string", "minLength": 1, "maxLength": 300}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 16, "uniqueItems": True}
_ADDRESS = {"type": "integer", "minimum": 0, "maximum": (1 << 48) - 1}
_BAUD = {"type": "integer", "minimum": 300, "maximum": 12_000_000}
_LINE = {"type": "string", "minLength": 1, "maxLength": 80, "pattern": "^[ -~]+$"}

DISK = "(mmc|virtio|nvme|usb|scsi) [0-9]"  # as U-Boot names it

_UBOOT = {
    "type": "object", "additionalProperties": False,
    "required": ["prompt", "interrupt", "memory", "disk"],
    "properties": {
        "prompt": _LINE, "interrupt": _LINE, "key": {**_LINE, "maxLength": 16}, "baud": _BAUD,
        "disk": {"type": "string", "pattern": f"^{DISK}$"},
        "memory": {"type": "object", "additionalProperties": False, "required": ["address", "size"],
                   "properties": {"address": _ADDRESS, "size": {"type": "integer", "minimum": 1 << 20,
                                                                 "maximum": 1 << 32}}},
    },
}

ROM_ID = "[0-9a-f]{4}:[0-9a-f]{4}"  # vendor and product, as lsusb has them
RECOVERY_TOOLS = ("rpiboot", "uuu", "snagrecover", "sunxi-fel", "dfu-util")
_ARGUMENTS = {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 200}, "maxItems": 24}

_RECOVER = {
    "type": "object", "additionalProperties": False, "required": ["rom", "enter", "then", "tools"],
    "properties": {
        "rom": {"type": "array", "minItems": 1, "maxItems": 8, "uniqueItems": True,
                "items": {"type": "string", "pattern": f"^{ROM_ID}$"}},
        "enter": _TEXT, "loader": _TEXT, "then": {"enum": ["fastboot", "ums"]},
        "tools": {"type": "array", "minItems": 1, "maxItems": 4, "items": {
            "type": "object", "additionalProperties": False, "required": ["tool", "arguments"],
            "properties": {"tool": {"enum": list(RECOVERY_TOOLS)}, "arguments": _ARGUMENTS,
                           "with-loader": _ARGUMENTS}}},
    },
}

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False,
    "required": ["title", "covers", "boot-path", "flash", "unverified"],
    "properties": {"title": {**_TEXT, "maxLength": 60}, "covers": _TEXTS, "boot-path": _TEXTS, "flash": _TEXTS,
                   "unverified": {**_TEXTS, "minItems": 0}, "updated": _TEXTS, "u-boot": _UBOOT,
                   "recover": _RECOVER},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class UBoot:
    """How its U-Boot is talked to over a serial line.

    `interrupt` is what it says while a key stops it, `key` is that key. Memory from `address` on, `room` bytes, is
    free: nothing of U-Boot lies there. `disk` is what it calls the disk that images are for: interface and number.
    """

    prompt: str
    interrupt: str
    key: str
    baud: int
    address: int
    room: int
    disk: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryTool:
    """A program that loads something into a board in its boot ROM. Words in braces are filled in by `plan.recover`;
    `with_loader` follows only where a loader is named."""

    tool: str
    arguments: tuple[str, ...]
    with_loader: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """How a board is brought back that starts nothing of its own.

    `rom` are the USB ids of its boot ROM, `enter` is how one gets there, `loader` what is loaded, `then` what comes up:
    fastboot, or a USB disk (ums).
    """

    rom: tuple[str, ...]
    enter: str
    loader: str
    then: str
    tools: tuple[RecoveryTool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardInfo:
    """`boot_path` are the stages, first to last; `flash` ways to put an image there; `unverified` what no signature
    reaches on this hardware; `updated` which boot files of the gadget a running device takes, and their way back."""

    title: str
    covers: tuple[str, ...]
    boot_path: tuple[str, ...]
    flash: tuple[str, ...]
    unverified: tuple[str, ...]
    updated: tuple[str, ...] = ()
    uboot: UBoot | None = None
    recovery: Recovery | None = None


def board_info(value: Mapping[str, Any]) -> BoardInfo:
    """A block whose shape was checked."""
    return BoardInfo(title=value["title"], covers=tuple(value["covers"]), boot_path=tuple(value["boot-path"]),
                     flash=tuple(value["flash"]), unverified=tuple(value["unverified"]),
                     updated=tuple(value.get("updated", ())),
                     uboot=_uboot(value["u-boot"]) if "u-boot" in value else None,
                     recovery=_recovery(value["recover"]) if "recover" in value else None)


def _recovery(value: Mapping[str, Any]) -> Recovery:
    tools = tuple(RecoveryTool(tool=item["tool"], arguments=tuple(item["arguments"]),
                               with_loader=tuple(item.get("with-loader", ()))) for item in value["tools"])
    return Recovery(rom=tuple(value["rom"]), enter=value["enter"], loader=value.get("loader", ""), then=value["then"],
                    tools=tools)


def _uboot(value: Mapping[str, Any]) -> UBoot:
    return UBoot(prompt=value["prompt"], interrupt=value["interrupt"], key=value.get("key", " "),
                 baud=value.get("baud", 115200), address=value["memory"]["address"], room=value["memory"]["size"],
                 disk=value["disk"])
