"""The `layout` of a snap.yaml: which paths the package's programs see elsewhere than they are.

Decides whether each entry is one of the four kinds and harms nobody. Paths are judged as the package's programs would
see them, with the variables written out. Source: snapd `snap/validate.go` (`ValidateLayout`, `ValidateLayoutAll`).
"""

from __future__ import annotations

import re

from imagekit.nodes import Node
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.snapvalues import Layout, LayoutKind

TOP_FOLDERS = ("bin", "etc", "lib", "lib64", "meta", "mnt", "opt", "root", "sbin", "snap", "srv", "usr", "var",
               "writable")
OFF_LIMITS = ("/boot", "/dev", "/home", "/lib/firmware", "/lib/modules", "/lost+found", "/media", "/proc", "/run",
              "/sys", "/tmp", "/usr/lib/firmware", "/usr/lib/modules", "/var/lib/snapd", "/var/run", "/var/snap")
VARIABLES = ("$SNAP", "$SNAP_DATA", "$SNAP_COMMON")

_VARIABLE = re.compile(r"\$[A-Za-z0-9_]*")
_SPECIAL = re.compile(r'[?*\[\]{}^"\0]')
_OCTAL = re.compile(r"[0-7]{1,8}\Z")
_REVISION = "x1"  # stands for the revision, which a snap.yaml does not know
_MAX_MODE = 0o1777


def parse_layouts(top: Node, name: str) -> tuple[Layout, ...]:
    """The entries, in the document's order; `name` is the package's."""
    if "layouts" in top:
        top.problem("layouts", "there is no such key, did you mean 'layout'?", SnapRules.LAYOUTS)
    outer = top.map("layout")
    entries = [(path, _parse(outer.map(path), path, name)) for path in outer.names()]
    layouts = tuple(layout for _, layout in entries if layout is not None)
    _check_nesting(outer, name)
    _check_kinds(outer, layouts, name)
    return layouts


def _parse(node: Node, path: str, name: str) -> Layout | None:
    if not node.readable:
        return None
    _check_path(node, path, name)
    given = {key: node.text(key) for key in ("bind", "bind-file", "symlink", "type") if node.text(key)}
    if len(given) != 1:
        came = " and ".join(given) or "none"
        node.problem(None, f"one of bind, bind-file, symlink and type is needed, not {came}", SnapRules.LAYOUT_ONE)
    for key, text in given.items():
        if key != "type":
            _check_source(node, key, text, name)
        elif text != "tmpfs":
            node.problem("type", f"{text!r} is not a type of a layout: allowed is tmpfs", SnapRules.LAYOUT_TYPE)
    for key in ("user", "group"):
        if node.text(key) not in ("", "root"):
            node.problem(key, f"{node.text(key)!r} is not allowed: only root is", SnapRules.LAYOUT_OWNER)
    mode = _mode(node)
    key, text = next(iter(given.items()), ("type", "tmpfs"))
    return Layout(path=path, kind=LayoutKind.TMPFS if key == "type" else LayoutKind(key),
                  source="" if key == "type" else text, mode=mode)


def _mode(node: Node) -> int:
    text = node.text("mode")
    if not text:
        return 0o755
    if not _OCTAL.match(text) or int(text, 8) & ~_MAX_MODE:
        node.problem("mode", f"{text!r} is not an octal number of at most 1777", SnapRules.LAYOUT_MODE)
        return 0o755
    return int(text, 8)


def _check_path(node: Node, path: str, name: str) -> None:
    """Where the layout lies."""
    if not _check_form(node, None, path, name):
        return
    seen = expand(path, name)
    top = seen.split("/")[1]
    own = f"/snap/{name}"
    reserved = next((folder for folder in OFF_LIMITS if _within(seen, folder)), None)
    if reserved is not None:
        node.problem(None, f"{path!r} is off limits: {reserved} belongs to the system", SnapRules.LAYOUT_OFF_LIMITS)
    elif top not in TOP_FOLDERS:
        node.problem(None, f"{path!r} makes {'/' + top!r} new: it may lie in {', '.join(TOP_FOLDERS)}",
                     SnapRules.LAYOUT_TOP)
    elif seen.startswith("/snap/") and not _within(seen, own):
        node.problem(None, f"{path!r} belongs to another package", SnapRules.LAYOUT_OTHER)


def _check_source(node: Node, key: str, text: str, name: str) -> None:
    """What is shown there."""
    if not _check_form(node, key, text, name):
        return
    seen = expand(text, name)
    if not any(_within(seen, expand(variable, name)) for variable in VARIABLES):
        node.problem(key, f"{text!r} does not lie in $SNAP, $SNAP_DATA or $SNAP_COMMON", SnapRules.LAYOUT_SOURCE)


def _check_form(node: Node, key: str | None, path: str, name: str) -> bool:
    """Variables, characters and shape of a path; whether they are right."""
    unknown = [found for found in _VARIABLE.findall(path) if found not in VARIABLES]
    if unknown:
        node.problem(key, f"{unknown[0]!r} is not a variable of a layout: allowed are {', '.join(VARIABLES)}",
                     SnapRules.LAYOUT_VARIABLE)
        return False
    special = _SPECIAL.search(path)
    if special:
        node.problem(key, f"{path!r} has the character {special[0]!r}, which is not allowed",
                     SnapRules.LAYOUT_CHARACTER)
        return False
    if not is_clean(expand(path, name)):
        node.problem(key, f"{path!r} is not absolute, or has an empty part, '.' or '..'", SnapRules.LAYOUT_PATH)
        return False
    return True


def _check_nesting(outer: Node, name: str) -> None:
    before: dict[str, str] = {}
    for path in sorted(outer.names()):
        seen = expand(path, name)
        parts = seen.split("/")
        above = next((before[place] for place in ("/".join(parts[:end]) for end in range(2, len(parts) + 1))
                      if place in before), None)
        if above is not None:
            outer.problem(path, f"{path!r} lies in the layout {above!r}", SnapRules.LAYOUT_NESTED)
        before.setdefault(seen, path)


def _check_kinds(outer: Node, layouts: tuple[Layout, ...], name: str) -> None:
    kinds: dict[str, Layout] = {}
    for layout in sorted(layouts, key=lambda item: item.path):
        if layout.kind not in (LayoutKind.BIND, LayoutKind.BIND_FILE):
            continue
        other = kinds.setdefault(expand(layout.source, name), layout)
        if other.kind is not layout.kind:
            outer.problem(layout.path, f"{layout.source!r} is shown by {layout.kind}, and by {other.kind} in the layout"
                          f" {other.path!r}", SnapRules.LAYOUT_KIND)


def expand(path: str, name: str) -> str:
    """The path as the package's programs see it, with some revision."""
    values = {"$SNAP": f"/snap/{name}/{_REVISION}", "$SNAP_DATA": f"/var/snap/{name}/{_REVISION}",
              "$SNAP_COMMON": f"/var/snap/{name}/common"}
    return _VARIABLE.sub(lambda match: values.get(match[0], match[0]), path)


def is_clean(path: str) -> bool:
    """Absolute, without an empty part, `.` or `..`, and not the top itself."""
    return path.startswith("/") and all(part not in ("", ".", "..") for part in path[1:].split("/"))


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
