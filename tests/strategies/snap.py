"""Hypothesis strategies for snap.yaml: sound documents with the values that they stand for, and maps of anything.

`documents()` gives trees that every rule accepts; `trees()` maps with the format's keys over values of any kind.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

KEYS = ("name", "version", "type", "architectures", "assumes", "title", "summary", "description", "provenance",
        "license", "epoch", "base", "confinement", "grade", "environment", "plugs", "slots", "apps", "hooks", "layout",
        "layouts", "system-usernames", "links", "components", "command", "daemon", "daemon-scope", "after", "before",
        "timer", "sockets", "listen-stream", "socket-mode", "activates-on", "restart-delay", "stop-timeout",
        "interface", "label", "bind", "bind-file", "symlink", "mode", "read", "write", "configure", "install",
        "scope", "on", "1")
WORDS = ("hello", "core22", "none", "app", "kernel", "gadget", "os", "snapd", "simple", "dbus", "system", "user", "1*",
         "mon,10:00", "10:00-12:00/2", "1h30m", "5s", "-1s", "$SNAP/x", "$SNAP_DATA", "/etc/x", "/dev/x", "tmpfs",
         "0755", "MIT", "MIT OR (Zlib)", "a@b", "https://example.com", "network-bind", "8080", "[::1]:80", "never",
         "endure")

names = st.from_regex(r"[a-z][a-z0-9]{1,10}(-[a-z0-9]{1,8})?", fullmatch=True)
versions = st.from_regex(r"[a-zA-Z0-9][a-zA-Z0-9:.+~-]{0,20}[a-zA-Z0-9+~]", fullmatch=True)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=40)
commands = st.from_regex(r"[A-Za-z0-9/. _#:$-]{1,30}", fullmatch=True)
durations = st.builds("{}{}".format, st.integers(0, 10_000), st.sampled_from(("ms", "s", "m", "h")))
times = st.builds("{}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
days = st.builds("{}{}".format, st.sampled_from(("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
                 st.sampled_from(("", "1", "5")))
timers = st.builds(",".join, st.tuples(days, times))
attributes = st.recursive(st.booleans() | st.integers(-(1 << 62), 1 << 62) | texts, lambda inner: st.lists(
    inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=6)
leaves = (st.none() | st.booleans() | st.integers(-10, 1 << 65) | st.floats() | st.text(max_size=12)
          | st.sampled_from(WORDS))


def trees() -> st.SearchStrategy[Any]:
    """Maps and lists with the format's keys over anything."""
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=7), max_leaves=30)


@st.composite
def epochs(draw: st.DrawFn) -> Any:
    """An epoch in any of its three forms."""
    number = draw(st.integers(1, 1 << 31))
    shape = draw(st.integers(0, 2))
    if shape == 2:
        read = draw(st.lists(st.integers(0, 1 << 31), min_size=1, max_size=9, unique=True).map(sorted))
        return {"read": read, "write": [draw(st.sampled_from(read))]}
    return f"{number}*" if shape else number


@st.composite
def apps(draw: st.DrawFn) -> dict[str, Any]:
    """One app: a command or a service."""
    app: dict[str, Any] = {"command": draw(commands)}
    if draw(st.booleans()):
        app["daemon"] = draw(st.sampled_from(("simple", "forking", "oneshot", "dbus", "notify")))
        optional: dict[str, st.SearchStrategy[Any]] = {
            "daemon-scope": st.just("system"), "restart-condition": st.sampled_from(("never", "always", "on-failure")),
            "stop-timeout": durations, "restart-delay": durations, "timer": timers,
            "stop-mode": st.sampled_from(("sigterm", "sigint-all")), "install-mode": st.just("disable"),
            "refresh-mode": st.sampled_from(("endure", "restart")),
            "success-exit-status": st.lists(st.integers(1, 255), max_size=3)}
        for key in draw(st.lists(st.sampled_from(sorted(optional)), unique=True)):
            app[key] = draw(optional[key])
    app["environment"] = draw(st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), texts, max_size=3))
    return app


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document that every rule accepts."""
    own = draw(st.dictionaries(names, apps(), max_size=4))
    services = [name for name, app in own.items() if "daemon" in app]
    for place, name in enumerate(services):
        own[name]["after"] = draw(st.lists(st.sampled_from(services[:place]), unique=True)) if place else []
    plugs = draw(st.dictionaries(names.map(lambda name: f"p{name}"), st.none() | names | st.dictionaries(
        names, attributes, max_size=3).filter(lambda item: not {"interface", "label"} & set(item)), max_size=3))
    folders = draw(st.lists(names, max_size=3, unique=True))
    return {
        "name": draw(names.filter(lambda name: name != "snapd")), "version": draw(versions), "epoch": draw(epochs()),
        "type": draw(st.sampled_from(("app", "gadget", "kernel"))), "title": draw(texts), "summary": draw(texts),
        "description": draw(texts), "confinement": draw(st.sampled_from(("strict", "classic", "devmode"))),
        "license": draw(st.sampled_from(("MIT", "GPL-3.0-only AND (MIT OR Zlib)", "Proprietary"))),
        "architectures": draw(st.lists(st.sampled_from(("amd64", "arm64", "all")), unique=True)),
        "apps": own, "plugs": plugs, "layout": {f"/opt/{name}": {"bind": f"$SNAP_DATA/{name}"} for name in folders},
        "environment": draw(st.dictionaries(names, texts, max_size=3)),
    }
