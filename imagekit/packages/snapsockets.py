"""The sockets of a service in a snap.yaml: where it is listened for.

Source: snapd `snap/validate.go` (`validateAppSocket` and below). A socket's plug `network-bind` is looked for where all
plugs are known, in `snaprelations`.
"""

from __future__ import annotations

import re

from imagekit.nodes import Node, kind
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.snapvalues import DaemonScope, Socket
from imagekit.rules import Rule

HOSTS = ("127.0.0.1", "[::1]", "[::]")
FOLDERS = {DaemonScope.SYSTEM: ("$SNAP_DATA", "$SNAP_COMMON", "$XDG_RUNTIME_DIR"),
           DaemonScope.USER: ("$SNAP_USER_DATA", "$SNAP_USER_COMMON", "$XDG_RUNTIME_DIR")}

_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z")
_PORT = re.compile(r"[0-9]{1,20}\Z")
_MAX_PORT = 65535
_MAX_MODE = 0o777


def parse_sockets(app: Node, scope: DaemonScope | None, package: str) -> tuple[Socket, ...]:
    """The sockets of one app."""
    return tuple(_socket(node, name, scope, package) for name, node in app.maps("sockets"))


def _socket(node: Node, name: str, scope: DaemonScope | None, package: str) -> Socket:
    if not _NAME.match(name):
        node.problem(None, f"{name!r} is not the name of a socket: a-z, 0-9 and single inner hyphens are allowed, with"
                     " a letter", SnapRules.SOCKET_NAME)
    address = node.text("listen-stream")
    found = check_address(address, scope, package)
    if found is not None:
        node.problem("listen-stream", found[1], found[0])
    return Socket(name=name, listen_stream=address, mode=_mode(node))


def _mode(node: Node) -> int | None:
    """The mode; YAML reads an octal number only with a leading 0, and so does snapd."""
    if "socket-mode" not in node:
        return None
    value, text = node.raw("socket-mode"), node.text("socket-mode")
    if isinstance(value, str) and re.fullmatch(r"0o[0-7]{1,8}", value):
        value = int(value, 8)
    if type(value) is not int or not 0 <= value <= _MAX_MODE:
        came = kind(value) if type(value) is not int else text
        node.problem("socket-mode", f"{came} is not an octal number of at most 0777", SnapRules.SOCKET_MODE)
        return None
    return value


def check_address(address: str, scope: DaemonScope | None, package: str) -> tuple[Rule, str] | None:
    """The rule that an address breaks, and how."""
    if not address:
        return SnapRules.SOCKET_ADDRESS, "an address to listen on is needed"
    if address[0] in "/$":
        return _check_path(address, scope)
    if address[0] == "@":
        prefix = f"@snap.{package}."
        return None if address.startswith(prefix) else (
            SnapRules.SOCKET_ABSTRACT, f"{address!r} does not begin with {prefix!r}")
    host, colon, port = address.rpartition(":")
    if colon and host not in HOSTS:
        return SnapRules.SOCKET_ADDRESS, f"{address!r} has the host {host!r}: allowed are {', '.join(HOSTS)}"
    if not _PORT.match(port) or not 0 < int(port) <= _MAX_PORT:
        return SnapRules.SOCKET_ADDRESS, f"{address!r} has the port {port!r}: allowed is 1 to {_MAX_PORT}"
    return None


def _check_path(address: str, scope: DaemonScope | None) -> tuple[Rule, str] | None:
    if any(part in ("", ".", "..") for part in address.removeprefix("/").split("/")):
        return SnapRules.SOCKET_PATH, f"{address!r} has an empty part, '.' or '..'"
    folders = FOLDERS[scope or DaemonScope.SYSTEM]
    if not address.startswith(tuple(folder + "/" for folder in folders)):
        return SnapRules.SOCKET_PATH, (f"{address!r} lies elsewhere: for a daemon of scope {scope or 'system'} allowed"
                                       f" are {', '.join(folders)}")
    return None
