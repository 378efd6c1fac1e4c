"""The apps of a snap.yaml: commands and services.

Decides each app by itself; what ties apps together (order, aliases, activation) is in `snaprelations`, sockets are in
`snapsockets`. Source: snapd `snap/info_snap_yaml.go`, `snap/validate.go` (`ValidateApp`), `snap/restartcond.go`.
"""

from __future__ import annotations

import re

from imagekit.errors import DocumentError
from imagekit.nodes import Node, kind
from imagekit.packages.duration import parse_duration
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.schedule import Events, parse_timer
from imagekit.packages.snapsockets import parse_sockets
from imagekit.packages.snapvalues import App, Daemon, DaemonScope, Environment, InstallMode, RefreshMode, Restart

COMMANDS = ("command", "stop-command", "reload-command", "post-stop-command", "bus-name")
SERVICE_ONLY = ("restart-condition", "restart-delay", "start-timeout", "stop-timeout", "watchdog-timeout", "stop-mode",
                "install-mode", "success-exit-status", "timer", "after", "before", "activates-on")
STOP_MODES = tuple(name + suffix for name in ("sigterm", "sighup", "sigusr1", "sigusr2", "sigint")
                   for suffix in ("", "-all"))

_APP_NAME = re.compile(r"[a-zA-Z0-9](?:-?[a-zA-Z0-9])*\Z")
_COMMAND = re.compile(r"[A-Za-z0-9/. _#:$-]*\Z")
_CHAIN = re.compile(r"[A-Za-z0-9/._#:$-]*\Z")
_DAEMONS = {item.value: item for item in Daemon}
_SCOPES = {item.value: item for item in DaemonScope}
_RESTARTS = {"never": Restart.NEVER, **{item.value: item for item in Restart}}
_REFRESH_MODES = {item.value: item for item in RefreshMode}
_INSTALL_MODES = {item.value: item for item in InstallMode}
_EXIT_STATUS_LIMIT = 255


def parse_app(node: Node, name: str, package: str) -> App:
    """One app; `package` is the name of the package."""
    if not _APP_NAME.match(name):
        node.problem(None, f"{name!r} is not the name of an app: letters, digits and single inner hyphens are allowed",
                     SnapRules.APP_NAME)
    daemon: Daemon | None = node.word("daemon", _DAEMONS, "kind of daemon", SnapRules.DAEMON, empty=True)
    is_service = bool(node.text("daemon"))
    scope: DaemonScope | None = node.word("daemon-scope", _SCOPES, "scope of a daemon", SnapRules.DAEMON_SCOPE)
    _check_service(node, scope, is_service=is_service)
    if is_service and scope is None:
        scope = DaemonScope.SYSTEM
    commands = {key: _command(node, key) for key in COMMANDS}
    stop_mode = node.text("stop-mode")
    if stop_mode and stop_mode not in STOP_MODES:
        node.problem("stop-mode", f"{stop_mode!r} is not a stop-mode: allowed are {', '.join(STOP_MODES)}",
                     SnapRules.STOP_MODE)
    return App(
        name=name, command=commands["command"], command_chain=parse_chain(node), daemon=daemon, daemon_scope=scope,
        stop_command=commands["stop-command"], reload_command=commands["reload-command"],
        post_stop_command=commands["post-stop-command"], bus_name=commands["bus-name"],
        start_timeout=_duration(node, "start-timeout"), stop_timeout=_duration(node, "stop-timeout"),
        watchdog_timeout=_duration(node, "watchdog-timeout"), restart_delay=_duration(node, "restart-delay"),
        restart_condition=node.word("restart-condition", _RESTARTS, "restart-condition", SnapRules.RESTART),
        success_exit_status=_exit_status(node), stop_mode=stop_mode, refresh_mode=_refresh_mode(node, is_service),
        install_mode=node.word("install-mode", _INSTALL_MODES, "install-mode", SnapRules.INSTALL_MODE, empty=True),
        after=node.texts("after"), before=node.texts("before"), timer=_timer(node),
        sockets=parse_sockets(node, scope, package), activates_on=node.texts("activates-on"),
        plugs=node.texts("plugs"), slots=node.texts("slots"), environment=parse_environment(node),
        aliases=node.texts("aliases"), common_id=node.text("common-id"), completer=node.text("completer"),
        autostart=node.text("autostart"))


def _check_service(node: Node, scope: DaemonScope | None, *, is_service: bool) -> None:
    """What only a service may have."""
    if is_service:
        return
    for key in SERVICE_ONLY:
        if key in node and node.raw(key) not in ("", [], 0, "0", "0s"):
            node.problem(key, "only a service has it: set daemon, or leave it out", SnapRules.SERVICE_ONLY)
    if scope is not None:
        node.problem("daemon-scope", "only a service has it: set daemon, or leave it out", SnapRules.SERVICE_ONLY)


def _command(node: Node, key: str) -> str:
    text = node.text(key)
    if not _COMMAND.match(text):
        node.problem(key, f"{text!r} has characters that are not allowed: letters, digits, spaces and / . _ # : $ -"
                     " are", SnapRules.COMMAND)
    return text


def parse_chain(node: Node) -> tuple[str, ...]:
    """The programs that start the command."""
    chain = node.texts("command-chain")
    for index, text in enumerate(chain):
        if not _CHAIN.match(text):
            node.problems.add((*node.path, "command-chain", index), f"{text!r} has characters that are not allowed:"
                              " letters, digits and / . _ # : $ - are", SnapRules.COMMAND_CHAIN)
    return chain


def parse_environment(node: Node) -> Environment:
    """Variables in the order in which they are set, since later ones use earlier ones."""
    inner = node.map("environment")
    return tuple((name, inner.text(name)) for name in inner.names())


def _duration(node: Node, key: str) -> int | None:
    if key not in node:
        return None
    try:
        nanoseconds = parse_duration(node.text(key))
    except DocumentError as error:
        node.problem(key, error.message, SnapRules.DURATION)
        return None
    if nanoseconds < 0:
        node.problem(key, f"{node.text(key)!r} is below 0", SnapRules.DURATION)
    return nanoseconds


def _exit_status(node: Node) -> tuple[int, ...]:
    result = []
    for index, item in enumerate(node.items("success-exit-status")):
        if type(item) is int and 1 <= item <= _EXIT_STATUS_LIMIT:
            result.append(item)
        else:
            came = repr(item) if isinstance(item, int | str) else kind(item)
            node.problems.add((*node.path, "success-exit-status", index), f"{came} is not an exit status: integers from"
                              f" 1 to {_EXIT_STATUS_LIMIT} are", SnapRules.EXIT_STATUS)
    return tuple(result)


def _refresh_mode(node: Node, is_service: bool) -> RefreshMode | None:
    mode: RefreshMode | None = node.word("refresh-mode", _REFRESH_MODES, "refresh-mode", SnapRules.REFRESH_MODE,
                                         empty=True)
    if mode is not None and is_service == (mode is RefreshMode.IGNORE_RUNNING):
        allowed = "a service has endure or restart" if is_service else "an app without daemon has ignore-running"
        node.problem("refresh-mode", f"{mode} is not allowed: {allowed}", SnapRules.REFRESH_MODE)
    return mode


def _timer(node: Node) -> tuple[Events, ...]:
    text = node.text("timer")
    if not text:
        return ()
    try:
        return parse_timer(text)
    except DocumentError as error:
        node.problem("timer", error.message, SnapRules.TIMER)
        return ()
