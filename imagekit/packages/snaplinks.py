"""The `links` of a snap.yaml: where its makers are met.

Source: snapd `snap/validate.go` (`ValidateLinks`), and RFC 3986 for what an address is.
"""

from __future__ import annotations

import re

from imagekit.nodes import Node
from imagekit.packages.rulebook import SnapRules

Links = tuple[tuple[str, tuple[str, ...]], ...]

_NAME = re.compile(r"[a-zA-Z](?:-?[a-zA-Z0-9])*\Z")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_HOST = re.compile(r"(?:[^@/?#]*@)?(?:\[[0-9A-Fa-f:.%]*\]|[^\x00-\x20\x7f:/?#\\^`{|}%]*)(?::[0-9]*)?(?=[/?#]|\Z)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HALF_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def parse_links(top: Node) -> Links:
    """Kinds of links, each with at least one."""
    outer = top.map("links")
    result = []
    for name in outer.names():
        if not _NAME.match(name):
            outer.problem(name, f"{name!r} is not a kind of links: letters, digits and single inner hyphens are"
                          " allowed, a letter first", SnapRules.LINK_NAME)
        links = outer.texts(name)
        if not links and outer.raw(name) in (None, []):
            outer.problem(name, "at least one link is needed", SnapRules.LINK)
        for index, link in enumerate(links):
            wrong = link_problem(link)
            if wrong:
                outer.problems.add((*outer.path, name, index), f"{link!r} is not a link: {wrong}", SnapRules.LINK)
        result.append((name, links))
    return tuple(result)


def link_problem(link: str) -> str:
    """What is wrong with an address; nothing if it is right."""
    match = _SCHEME.match(link)
    scheme = match[1].lower() if match else ""
    if not link or _CONTROL.search(link):
        return "it is empty" if not link else "it has control characters"
    if scheme in ("", "mailto"):
        if "@" not in link or link.startswith(":"):
            return "an e-mail address has an @, any other begins with http:// or https://"
        return ""
    if scheme not in ("http", "https"):
        return f"allowed are http, https and mailto, not {scheme}"
    rest = link[len(scheme) + 1:]
    if rest.startswith("//") and not _HOST.match(rest, 2):
        return "its host or port is none"
    if _HALF_ESCAPE.search(rest.partition("?")[0]):
        return "a % is followed by two hexadecimal digits"
    return ""
