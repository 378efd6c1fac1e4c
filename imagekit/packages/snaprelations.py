"""What ties the parts of a snap.yaml together: order of services, aliases, common ids, activation, sockets.

Each app was judged by itself before. Source: snapd `snap/validate.go` (`validateAppOrderNames`,
`validateAppActivatesOn`, `ValidateCommonIDs`), `snap/info.go` (`SortServices`).
"""

from __future__ import annotations

import re

from imagekit.nodes import Node
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.snapvalues import App, Interface, SnapInfo

_ALIAS = re.compile(r"[a-zA-Z0-9][-_.a-zA-Z0-9]*\Z")
_BUSES = {"system": "system", "user": "session"}  # of D-Bus, by the scope of the daemon


def check_relations(top: Node, info: SnapInfo) -> None:
    """Note everything that is wrong between the apps."""
    apps = top.map("apps")
    services = {app.name: app for app in info.apps}
    for app in info.apps:
        _check_order(apps.map(app.name), app, services)
    _check_cycle(apps, info.services)
    _check_aliases(apps, info.apps)
    _check_common_ids(apps, info.apps)
    _check_activation(apps, info)
    common = info.common_plugs
    for app in info.apps:
        if app.sockets and "network-bind" not in (*app.plugs, *common):
            apps.map(app.name).problem("sockets", "the plug network-bind is needed for sockets", SnapRules.SOCKET_PLUG)


def _check_order(node: Node, app: App, apps: dict[str, App]) -> None:
    for key, names in (("after", app.after), ("before", app.before)):
        for index, name in enumerate(names):
            other, path = apps.get(name), (*node.path, key, index)
            if other is None or not other.is_service:
                what = "no app of this package" if other is None else "no service"
                node.problems.add(path, f"{name!r} is {what}", SnapRules.ORDER_NAME)
            elif app.is_service and other.daemon_scope is not app.daemon_scope:
                node.problems.add(path, f"{name!r} is of daemon-scope {other.daemon_scope}, {app.name!r} of"
                                  f" {app.daemon_scope}", SnapRules.ORDER_SCOPE)


def _check_cycle(apps: Node, services: tuple[App, ...]) -> None:
    """Start whatever waits for nothing, until nothing is left or all that is left waits."""
    names = {app.name for app in services}
    waits: dict[str, set[str]] = {app.name: names & set(app.after) for app in services}
    for app in services:
        for name in names & set(app.before):
            waits[name].add(app.name)
    followers: dict[str, list[str]] = {name: [] for name in names}
    for name, others in waits.items():
        for other in others:
            followers[other].append(name)
    ready = [name for name, others in waits.items() if not others]
    while ready:
        done = ready.pop()
        del waits[done]
        for name in followers[done]:
            waits[name].discard(done)
            if not waits[name]:
                ready.append(name)
    if waits:
        apps.problem(None, "these wait for each other, by after and before, so that none can start:"
                     f" {', '.join(sorted(waits))}",
                     SnapRules.ORDER_CYCLE)


def _check_aliases(apps: Node, all_: tuple[App, ...]) -> None:
    owners: dict[str, str] = {}
    for app in all_:
        for index, alias in enumerate(app.aliases):
            path = (*apps.path, app.name, "aliases", index)
            if not _ALIAS.match(alias):
                apps.problems.add(path, f"{alias!r} is not an alias: letters, digits, - _ and . are allowed, a letter"
                                  " or digit first", SnapRules.ALIAS)
            elif alias in owners:
                apps.problems.add(path, f"{alias!r} is an alias of {owners[alias]!r} already", SnapRules.ALIAS_TWICE)
            owners.setdefault(alias, app.name)


def _check_common_ids(apps: Node, all_: tuple[App, ...]) -> None:
    owners: dict[str, str] = {}
    for app in all_:
        if app.common_id in owners:
            apps.map(app.name).problem("common-id", f"{app.common_id!r} is the common-id of"
                                       f" {owners[app.common_id]!r} already", SnapRules.COMMON_ID)
        elif app.common_id:
            owners[app.common_id] = app.name


def _check_activation(apps: Node, info: SnapInfo) -> None:
    slots = {slot.name: slot for slot in info.slots}
    owners: dict[str, str] = {}
    for app in info.apps:
        for index, name in enumerate(app.activates_on):
            path = (*apps.path, app.name, "activates-on", index)
            wrong = _activation_problem(app, name, slots.get(name))
            if wrong:
                apps.problems.add(path, wrong, SnapRules.ACTIVATES_ON)
            elif owners.setdefault(name, app.name) != app.name:
                apps.problems.add(path, f"{name!r} activates {owners[name]!r} already", SnapRules.ACTIVATES_TWICE)


def _activation_problem(app: App, name: str, slot: Interface | None) -> str:
    if slot is None:
        return f"{name!r} is no slot of this package"
    if slot.interface != "dbus":
        return f"{name!r} is a slot of interface {slot.interface}: dbus is needed"
    scope = app.daemon_scope
    if scope is not None and slot.attribute("bus") != _BUSES[scope]:
        return (f"{name!r} has the bus {slot.attribute('bus')!r}: a daemon of scope {scope} is activated on the"
                f" {_BUSES[scope]} bus")
    return ""
