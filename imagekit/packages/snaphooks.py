"""The hooks and components of a snap.yaml.

Decides which names are called and what they may have. Hooks of other names are left out, as snapd leaves them out.
Source: snapd `snap/hooktypes.go`, `snap/info_snap_yaml.go` (`setComponentsFromSnapYaml`), `snap/validate.go`.
"""

from __future__ import annotations

import re

from imagekit.nodes import Node
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.snapapps import parse_chain, parse_environment
from imagekit.packages.snapvalues import Component, ComponentType, Hook

COMPONENT_HOOKS = ("install", "pre-refresh", "post-refresh", "remove")
DESCRIPTION_LIMIT = 4096
SUMMARY_LIMIT = 128

SNAP_NAME = re.compile(r"(?=.{2,40}\Z)(?=.*[a-z])[a-z0-9]+(?:-[a-z0-9]+)*\Z")

_HOOK_NAME = re.compile(r"[a-z](?:-?[a-z0-9])*\Z")
_CALLED = re.compile(
    r"(?:prepare-device|install-device|default-configure|configure|install|pre-refresh|post-refresh|remove"
    r"|check-health|fde-setup|gate-auto-refresh|(?:un)?prepare-(?:plug|slot)-[-a-z0-9]+"
    r"|(?:dis)?connect-(?:plug|slot)-[-a-z0-9]+|(?:change|save)-view-.+|.+-view-changed)\Z")
_TYPES = {item.value: item for item in ComponentType}


def is_called(name: str) -> bool:
    """Whether a hook of this name is ever run."""
    return bool(_CALLED.match(name))


def parse_hooks(top: Node, files: tuple[str, ...]) -> tuple[Hook, ...]:
    """The hooks that are declared; `files` are those in the package's `meta/hooks`, which need no declaration."""
    hooks = []
    for name, node in top.maps("hooks"):
        hook = _hook(node, name)
        if is_called(name):
            _check_name(node, name)
            hooks.append(hook)
        else:
            node.problems.warn(node.path, f"no hook is called {name!r}: it is never run", SnapRules.HOOK_UNKNOWN)
    known = {hook.name for hook in hooks} | set(files)
    if "default-configure" in known and "configure" not in known:
        top.map("hooks").problem("default-configure", "the hook default-configure needs the hook configure",
                                 SnapRules.HOOK_CONFIGURE)
    return tuple(hooks)


def _check_name(node: Node, name: str) -> None:
    if not _HOOK_NAME.match(name):
        node.problem(None, f"{name!r} is not the name of a hook: a-z, 0-9 and single inner hyphens are allowed, a"
                     " letter first", SnapRules.HOOK_NAME)


def _hook(node: Node, name: str) -> Hook:
    return Hook(name=name, plugs=node.texts("plugs"), slots=node.texts("slots"), environment=parse_environment(node),
                command_chain=parse_chain(node))


def parse_components(top: Node, package_type: str) -> tuple[Component, ...]:
    """The components that belong to a package of this type."""
    return tuple(_component(node, name, package_type) for name, node in top.maps("components"))


def _component(node: Node, name: str, package_type: str) -> Component:
    if not SNAP_NAME.match(name):
        node.problem(None, f"{name!r} is not the name of a component: 2 to 40 of a-z, 0-9 and single inner hyphens are"
                     " allowed, with a letter", SnapRules.COMPONENT_NAME)
    kind: ComponentType | None = node.word("type", _TYPES, "type of a component", SnapRules.COMPONENT_TYPE)
    if kind is ComponentType.KERNEL_MODULES and package_type != "kernel":
        node.problem("type", f"only a package of type kernel has {kind}, this one is of type {package_type}",
                     SnapRules.COMPONENT_KERNEL)
    summary, description = node.text("summary"), node.text("description")
    if len(summary) > SUMMARY_LIMIT:
        node.problem("summary", f"{len(summary)} characters, at most {SUMMARY_LIMIT} are allowed",
                     SnapRules.COMPONENT_SUMMARY)
    check_description(node, description)
    hooks = []
    for hook_name, hook in node.maps("hooks"):
        if hook_name not in COMPONENT_HOOKS:
            hook.problem(None, f"{hook_name!r} is not a hook of a component: allowed are {', '.join(COMPONENT_HOOKS)}",
                         SnapRules.COMPONENT_HOOK)
        elif hook.items("slots"):
            hook.problem("slots", "a hook of a component has no slots", SnapRules.COMPONENT_HOOK)
        hooks.append(_hook(hook, hook_name))
    return Component(name=name, type=kind, summary=summary, description=description, hooks=tuple(hooks))


def check_description(node: Node, text: str) -> None:
    """Of a package or a component."""
    if len(text) > DESCRIPTION_LIMIT:
        node.problem("description", f"{len(text)} characters, at most {DESCRIPTION_LIMIT} are allowed",
                     SnapRules.DESCRIPTION)
