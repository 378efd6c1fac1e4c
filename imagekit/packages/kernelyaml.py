"""`meta/kernel.yaml`: what of a kernel package a gadget may put on the disk, and the references that name it.

Decides what the document may say and whether a reference is well formed and listed. Whether the file is really in the
package is for who has the package at hand (`imagekit.gadget.content_check`). The document is optional: a kernel
without one has no assets. Source: snapd `kernel/kernel.go`; references: `gadget/validate.go` and `gadget/layout.go`.

    $kernel:<asset>/<path>    a slash at the end means the folder's content
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from imagekit.errors import DocumentError
from imagekit.nodes import Node
from imagekit.packages.rulebook import KernelRules
from imagekit.schema import Problem, Problems, Source

KERNEL_YAML = "meta/kernel.yaml"
PREFIX = "$kernel:"
DYNAMIC_MODULES = ("", "$SNAP_DATA", "${SNAP_DATA}")

ASSET_PATTERN = "^[a-zA-Z0-9][a-zA-Z0-9-]*$"

_ASSET = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9-]*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelAsset:
    """Files and folders of the kernel package; with `update` they are refreshed along with the kernel."""

    name: str
    update: bool
    content: tuple[str, ...]

    def lists(self, path: str) -> bool:
        """Whether `path` is listed, or a folder above it."""
        return any(path == item or path.startswith(item.rstrip("/") + "/") for item in self.content if item.strip("/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelInfo:
    """A parsed `meta/kernel.yaml`; the empty value for a kernel that has none."""

    assets: Mapping[str, KernelAsset] = field(default_factory=dict)
    dynamic_modules: bool = False  # modules and firmware may come from the package's data folder
    warnings: tuple[Problem, ...] = field(default=(), compare=False)

    @property
    def updated(self) -> tuple[str, ...]:
        """The assets that are refreshed along with the kernel, sorted."""
        return tuple(sorted(name for name, asset in self.assets.items() if asset.update))


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelContents:
    """A kernel package to resolve references against; `files` are its regular files and their sizes, if known."""

    info: KernelInfo
    files: Mapping[str, int] | None = None


NOTHING_OFFERED = KernelContents(info=KernelInfo(), files={})


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelReference:
    """`$kernel:dtbs/broadcom/`: asset `dtbs`, path `broadcom/`."""

    asset: str
    path: str


def parse_kernel_yaml(source: Source) -> KernelInfo:
    """Read `meta/kernel.yaml`; unknown keys are left alone, as snapd leaves them.

    Raises:
        DocumentProblems: with every problem, each at its line.
    """
    info, problems = examine_kernel_yaml(source)
    problems.raise_if_any()
    return info


def examine_kernel_yaml(source: Source) -> tuple[KernelInfo, Problems]:
    """What is understood, with everything that is wrong; the value counts only if nothing is."""
    problems = Problems(source)
    top = Node(problems, (), source.value)
    modules = top.string("dynamic-modules")
    if modules not in DYNAMIC_MODULES:
        top.problem("dynamic-modules", f"{modules!r} is not a place for modules: allowed is $SNAP_DATA",
                    KernelRules.MODULES)
    assets = {}
    listed = top.map("assets")
    for name in listed.names():
        assets[name] = _asset(listed, name)
    return KernelInfo(assets=assets, dynamic_modules=bool(modules), warnings=problems.warnings), problems


def _asset(listed: Node, name: str) -> KernelAsset:
    node = listed.map(name)
    if not _ASSET.match(name):
        listed.problem(name, f"{name!r} is not the name of an asset: letters, digits and hyphens, no leading hyphen",
                       KernelRules.ASSET_NAME)
    if name not in listed:
        listed.problem(name, "it is empty: an asset has update or content", KernelRules.ASSET_EMPTY)
    content = node.strings("content")
    for index, path in enumerate(content):
        if not usable(path.removesuffix("/")):
            node.problems.warn((*node.path, "content", index),
                               f"no gadget can refer to {path!r}: a path inside the package, without .., is needed",
                               KernelRules.CONTENT_PATH)
    return KernelAsset(name=name, update=node.boolean("update"), content=content)


def encode_kernel_yaml(assets: Iterable[KernelAsset]) -> bytes:
    """The file's bytes; strings are quoted as JSON, which YAML reads alike."""
    lines = ["assets:"]
    for asset in assets:
        lines += [f"  {asset.name}:", *(["    update: true"] if asset.update else []), "    content:",
                  *(f"      - {json.dumps(path)}" for path in asset.content)]
    return ("\n".join(lines) + "\n").encode()


def usable(path: str) -> bool:
    """Whether a reference may name this path: inside the package, in its shortest spelling; a slash may lead."""
    return (bool(path) and path == posixpath.normpath(path) and ".." not in path and not path.startswith("//")
            and path != "/" and "\0" not in path)


def is_reference(source: str) -> bool:
    """Whether the source of a content means a file of the kernel."""
    return source.startswith(PREFIX)


def parse_reference(text: str) -> KernelReference:
    """Read `$kernel:<asset>/<path>`. Raises: DocumentError: it is none, with the reason."""
    asset, slash, path = text.removeprefix(PREFIX).partition("/")
    if not is_reference(text) or not slash or not asset or not path:
        raise DocumentError(f"{text!r} is not $kernel:<asset>/<path>")
    if not _ASSET.match(asset):
        raise DocumentError(f"{text!r}: {asset!r} is not the name of an asset: letters, digits and hyphens")
    if not usable(path.removesuffix("/")):
        raise DocumentError(f"{text!r}: {path!r} is not a path inside the kernel in its shortest spelling, without ..")
    return KernelReference(asset=asset, path=path)
