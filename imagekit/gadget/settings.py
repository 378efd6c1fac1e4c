"""Parse what stands beside the volumes: defaults, connections, the kernel's command line, assignments of disks."""

from __future__ import annotations

import re
from typing import Any

from imagekit.gadget.rulebook import GadgetRules as Rules
from imagekit.gadget.values import Connection, KernelCmdline
from imagekit.nodes import Node, kind, shown
from imagekit.schema import Path, Problems

Argument = tuple[str, str, bool]  # name, value, whether it is quoted

DISKS = ("/dev/disk/by-path", "/dev/disk/by-id")

_SNAP_ID = re.compile(r"[a-zA-Z0-9]{32}\Z")
_GLOBS = frozenset("*?[]\\{}")
_SPACES = " \t\n\v\f\r"
_NEVER_APPENDED = {"root", "nfsroot", "init"}
_SNAPD_APPENDED = {"snapd_system_disk", "snapd.debug"}


def parse_defaults(top: Node) -> dict[str, dict[str, object]]:
    """Configuration defaults by `system` or snap id; what their values mean is not ours to judge."""
    result = {}
    for key, node in top.maps("defaults"):
        if key != "system" and not _SNAP_ID.match(key):
            node.problem(None, f"{shown(key)} is neither system nor a snap id of 32 letters and digits",
                         Rules.DEFAULTS_KEY)
        for name in node.names():
            check_default(top.problems, (*node.path, name), node.raw(name))
        result[key] = {name: node.raw(name) for name in node.names()}
    return result


def check_default(problems: Problems, path: Path, value: Any) -> None:
    """A default is something that configuration can hold."""
    if value is None:
        problems.add(path, "nothing came, a default has a value: leave the key out, or give one",
                     Rules.DEFAULTS_VALUE)
    elif isinstance(value, int) and value >= 1 << 63:
        problems.add(path, f"{value} is too large: below 2^63 is allowed, or a string in quotes", Rules.DEFAULTS_VALUE)
    elif isinstance(value, dict):
        for key, item in value.items():
            if (*path, key) in problems.source.other_keys:
                problems.add((*path, key), f"{shown(key)} is not a string to YAML: put the key in quotes",
                             Rules.DEFAULTS_VALUE)
            check_default(problems, (*path, key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            check_default(problems, (*path, index), item)


def parse_connections(top: Node) -> tuple[Connection, ...]:
    """The interface connections; `<snap-id or system>:<name>` on both sides."""
    result = []
    for node in top.nodes("connections"):
        if "plug" not in node:
            if node.readable:
                node.problem(None, "a plug is needed, as <snap-id or system>:<name>", Rules.NO_PLUG)
            continue
        plug, slot = parse_end(node, "plug"), parse_end(node, "slot")
        result.append(Connection(plug=plug, slot=slot or f"system:{plug.partition(':')[2]}"))
    return tuple(result)


def parse_end(node: Node, key: str) -> str:
    """One end of a connection."""
    if key not in node:
        return ""
    text = node.text(key)
    owner, colon, name = text.partition(":")
    if not (owner and colon and name) or ":" in name:
        node.problem(key, f"{shown(text)} is not <snap-id or system>:<name>", Rules.CONNECTION)
    return text


def parse_kernel_cmdline(top: Node) -> KernelCmdline:
    """Allowed, appended and removed kernel arguments; items that are nothing are passed over."""
    node = top.map("kernel-cmdline")
    lists: dict[str, tuple[str, ...]] = {}
    for key in ("allow", "append", "remove"):
        raw = node.raw(key)
        texts = {index: text for index, text in enumerate(node.texts(key)) if raw[index] is not None}
        for index, text in texts.items():
            path = (*node.path, key, index)
            argument = parse_argument(node.problems, path, text)
            if argument is not None:
                (check_appended if key == "append" else check_pattern)(node.problems, path, argument)
        lists[key] = tuple(texts.values())
    return KernelCmdline(allow=lists["allow"], append=lists["append"], remove=lists["remove"])


def check_appended(problems: Problems, path: Path, argument: Argument) -> None:
    """A gadget sets nothing that decides what is booted."""
    name = argument[0].partition("=")[0]
    if name in _NEVER_APPENDED or (name.startswith("snapd") and name not in _SNAPD_APPENDED):
        problems.add(path, f"a gadget may not set {shown(name)}: the system does", Rules.FORBIDDEN)


def check_pattern(problems: Problems, path: Path, argument: Argument) -> None:
    """The value of a pattern is `*` for any, or plain."""
    _, value, quoted = argument
    if not quoted and value != "*" and _GLOBS & set(value):
        problems.add(path, f"the value {shown(value)} has one of *?[]\\{{}}: put it in double quotes, or give * alone"
                     " for any value", Rules.PATTERN)


def parse_argument(problems: Problems, path: Path, text: str) -> Argument | None:
    """Name, value and whether the value is quoted, of what must be one argument."""
    arguments = split_arguments(text)
    if len(arguments) == 1:
        return arguments[0]
    count = f"{len(arguments)} kernel arguments" if arguments else "no kernel argument"
    problems.add(path, f"{shown(text)} is {count}, an item of the list is one", Rules.ARGUMENT)
    return None


def split_arguments(line: str) -> list[Argument]:
    """The arguments of a command line: (name, value, quoted), cut at spaces outside of double quotes.

    A quote may stand around the whole argument or around its value; the first `=` ends the name.
    """
    words: list[str] = []
    word, inside = "", False
    for character in line:
        if character in _SPACES and not inside:
            if word:
                words.append(word)
            word = ""
        else:
            word += character
            inside ^= character == '"'
    return [_argument(item) for item in [*words, *([word] if word else [])]]


def _argument(word: str) -> Argument:
    whole = word.startswith('"')
    body = word.removeprefix('"')
    equals = body.find("=", 0 if whole else 1)
    if equals < 0:
        return (body.removesuffix('"') if whole else body), "", whole and word.endswith('"') and len(word) > 1
    name, value = body[:equals], body[equals + 1:]
    quoted = (whole and value.endswith('"')) or value.startswith('"')
    return name, (value.removeprefix('"').removesuffix('"') if quoted else value), quoted


def parse_assignments(top: Node, volumes: set[str]) -> None:
    """Check the assignments of volumes to disks; assigning them is for the installer."""
    seen: dict[tuple[tuple[str, str], ...], str] = {}
    for index, node in enumerate(top.nodes("volume-assignments")):
        if not node.readable:
            continue
        name = node.text("assignment-name") or f"#{index}"
        assignment = node.map("assignment")
        if not assignment.names() and assignment.readable:
            node.problem("assignment", "at least one volume is needed, with the device it is assigned to",
                         Rules.NO_ASSIGNMENT)
        pairs = tuple(sorted((volume, parse_device(assignment, volume, volumes)) for volume in assignment.names()))
        if pairs and pairs in seen:
            node.problem("assignment", f"the volume-assignment {shown(seen[pairs])} assigns the same",
                         Rules.ASSIGNED_TWICE)
        seen.setdefault(pairs, name)


def parse_device(assignment: Node, volume: str, volumes: set[str]) -> str:
    """The device that a volume is assigned to."""
    if volume not in volumes:
        assignment.problem(volume, f"no volume is called {shown(volume)}", Rules.ASSIGNED)
    value = assignment.raw(volume)
    if value is not None and not isinstance(value, dict):
        assignment.problem(volume, f"a map with the key device is needed, not {kind(value)}", Rules.DEVICE)
        return ""
    device = assignment.map(volume).text("device")
    if not device.startswith(DISKS):
        assignment.map(volume).problem("device", f"{shown(device)} does not lie below {' or '.join(DISKS)}",
                                       Rules.DEVICE)
    return device
