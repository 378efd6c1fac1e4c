"""Plugs, slots and system users of a snap.yaml, and the attributes that they have.

Decides their form and names; what an interface demands of its attributes is the interface's. Source: snapd
`snap/info_snap_yaml.go` (`convertToSlotOrPlugData`), `metautil/normalize.go`, `snap/naming/validate.go`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from imagekit.nodes import Node, kind
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.snapvalues import App, Attributes, Hook, Interface, SystemUsername, Value
from imagekit.rules import Rule, YamlRules
from imagekit.schema import Path

INTERFACE_NAME = re.compile(r"[a-z](?:-?[a-z0-9])*\Z")

_USERNAME = re.compile(r"(?:_[-a-z0-9._]+_|[a-z0-9][-a-z0-9._]*)\Z")
_RENAMED_IN_CORE = ("network-bind", "core-support")  # plugs of old core packages that have the names of its slots


def parse_interfaces(top: Node, key: str) -> tuple[Interface, ...]:
    """The top-level `plugs` or `slots`."""
    what = key.removesuffix("s")
    outer = top.map(key)
    return tuple(_interface(outer, name, what) for name in outer.names())


def _interface(outer: Node, name: str, what: str) -> Interface:
    value = outer.raw(name)
    interface, label = name, ""
    attributes: Attributes = ()
    if isinstance(value, dict):
        node = outer.map(name)
        interface = _label(node, "interface", what, default=name)
        label = _label(node, "label", what)
        attributes = parse_attributes(node, known=("interface", "label"))
    elif isinstance(value, str):
        interface = outer.text(name)
    elif value is not None:
        outer.problem(name, f"a {what} is nothing, the name of its interface or a map of attributes, not"
                      f" {kind(value)}", SnapRules.PLUG_FORM)
    if not INTERFACE_NAME.match(name):
        outer.problem(name, f"{name!r} is not the name of a {what}: {NAME_HELP}", SnapRules.INTERFACE_NAME)
    elif not INTERFACE_NAME.match(interface):
        outer.problem(name, f"{interface!r} is not the name of an interface: {NAME_HELP}", SnapRules.INTERFACE_NAME)
    return Interface(name=name, interface=interface, label=label, attributes=attributes)


NAME_HELP = "a-z, 0-9 and single inner hyphens are allowed, a letter first"


def _label(node: Node, key: str, what: str, default: str = "") -> str:
    if key not in node.names():
        return default
    value = node.raw(key)
    if isinstance(value, str):
        return node.text(key)
    node.problem(key, f"the {key} of a {what} is a string, not {kind(value)}", SnapRules.PLUG_TEXT)
    return default


def parse_attributes(node: Node, *, known: tuple[str, ...]) -> Attributes:
    """All fields of a map that are not `known`, with their values."""
    result = []
    for name in node.names():
        path = (*node.path, name)
        if path in node.problems.source.other_keys:
            node.problem(name, f"an attribute is named by a string, not by {name}: put it into quotation marks",
                         SnapRules.ATTRIBUTE_NAME)
        elif not name or name.startswith("$"):
            node.problem(name, f"{name!r} is not the name of an attribute: a name is not empty and does not begin"
                         " with $", SnapRules.ATTRIBUTE_NAME)
        elif name not in known:
            result.append((name, _attribute(node, path, node.raw(name))))
    return tuple(result)


def _attribute(node: Node, path: Path, value: Any) -> Value:
    if isinstance(value, list):
        return tuple(_attribute(node, (*path, index), item) for index, item in enumerate(value))
    if isinstance(value, dict):
        for key in value:
            if (*path, key) in node.problems.source.other_keys:
                node.problems.add((*path, key), f"a name in an attribute is a string, not {key}: put it into quotation"
                                  " marks", SnapRules.ATTRIBUTE_NAME)
        return tuple((key, _attribute(node, (*path, key), item)) for key, item in value.items())
    if isinstance(value, str | bool | int | float) and not (
            type(value) is int and not -(1 << 63) <= value < 1 << 63):
        return value
    node.problems.add(path, f"an attribute is a string, a number of 64 bits, a boolean, a list or a map, not"
                      f" {kind(value)}", SnapRules.ATTRIBUTE_VALUE)
    return ""


def add_named(interfaces: tuple[Interface, ...], users: Iterable[App | Hook], key: str, node: Node,
              ) -> tuple[Interface, ...]:
    """The interfaces together with those that apps and hooks name without declaring them, whose names are checked."""
    known = {item.name: item for item in interfaces}
    for user in users:
        for name in user.plugs if key == "plugs" else user.slots:
            if name in known:
                continue
            known[name] = Interface(name=name, interface=name, declared=False)
            if not INTERFACE_NAME.match(name):
                word = "apps" if isinstance(user, App) else "hooks"
                node.problems.add((word, user.name, key), f"{name!r} is not the name of a {key.removesuffix('s')}:"
                                  f" {NAME_HELP}", SnapRules.INTERFACE_NAME)
    return tuple(known.values())


def check_distinct(top: Node, plugs: tuple[Interface, ...], slots: tuple[Interface, ...], *, is_core: bool) -> None:
    """A plug and a slot have different names, but for two of the core package, which snapd renames."""
    taken = {slot.name for slot in slots}
    for plug in plugs:
        if plug.name in taken and not (is_core and plug.name in _RENAMED_IN_CORE):
            path: Path = ("plugs", plug.name) if plug.declared else ("slots", plug.name)
            top.problems.add(path, f"{plug.name!r} is a plug and a slot: they need different names",
                             SnapRules.PLUG_AND_SLOT)


def parse_usernames(top: Node) -> tuple[SystemUsername, ...]:
    """`system-usernames`: a scope, or a map with it."""
    outer = top.map("system-usernames")
    return tuple(_username(outer, name) for name in outer.names())


def _username(outer: Node, name: str) -> SystemUsername:
    value = outer.raw(name)
    scope = ""
    attributes: Attributes = ()
    rule: Rule = SnapRules.USERNAME_SCOPE
    if isinstance(value, dict):
        node = outer.map(name)
        scope = _scope(node)
        attributes = parse_attributes(node, known=("scope",))
    elif isinstance(value, str):
        scope = outer.text(name)
    elif value is not None:
        outer.problem(name, f"a scope or a map with one is needed, not {kind(value)}", rule)
        scope = "?"
    if not scope:
        outer.problem(name, f"the user {name!r} needs a scope, such as shared", rule)
    if not _USERNAME.match(name):
        outer.problem(name, f"{name!r} is not the name of a user: a-z, 0-9, - _ and . are allowed, a letter or digit"
                      " first, or all of it between two _", SnapRules.USERNAME)
    return SystemUsername(name=name, scope=scope, attributes=attributes)


def _scope(node: Node) -> str:
    value = node.raw("scope")
    if value is None or isinstance(value, str):
        return value or ""
    node.problem("scope", f"a string is needed, not {kind(value)}", YamlRules.STRING)
    return "?"
