"""Recipes: what a package is made of, in YAML (docs/reference/recipes.md).

Decides what a recipe may say and turns it into a value. A recipe names Debian packages and a suite; which versions
those are is the lock's (`imagekit.packages.lockfile`), and making the package is `imagekit.build.pack`'s. A recipe may
be `like` another one beside it, for another architecture mostly: then it says only what differs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from imagekit.errors import DocumentError
from imagekit.packages.board import SCHEMA as BOARD_SCHEMA
from imagekit.packages.board import BoardInfo, board_info
from imagekit.packages.kernelyaml import ASSET_PATTERN, KernelAsset
from imagekit.packages.snapyaml import NAME_PATTERN, VERSION_PATTERN
from imagekit.schema import Problems, Source, check_shape

KERNEL, BASE, GADGET, PARTS = "kernel", "base", "gadget", "parts"
COMPONENTS = ("contrib", "non-free", "non-free-firmware")  # of Debian's archive, beside main
GZIP = "gzip"  # what every U-Boot of Debian's unpacks
UNIFIED, APART = "unified", "apart"  # the forms of a kernel: one file for UEFI, or several for another loader
MAX_REVISION = 1 << 31

_PATH = r"^(?!/)(?!.*(^|/)\.\.?(/|$))[^\x00-\x1f]+$"
_NAMES = {"type": "array", "items": {"type": "string", "pattern": r"^[a-z0-9?][a-z0-9+.-]+$"}, "uniqueItems": True}
_GLOBS = {"type": "array", "items": {"type": "string", "pattern": r"^[^/\x00-\x1f][^\x00-\x1f]*$"}, "uniqueItems": True}

_MODULES = {"type": "array", "uniqueItems": True,  # as a line of build/initrd/modules.txt
            "items": {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\??( [A-Za-z0-9_]+=[^\s\"'#]*)*$"}}

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "type", "suite", "architecture"],
    "properties": {
        "name": {"type": "string", "pattern": NAME_PATTERN},
        "type": {"enum": [KERNEL, BASE, GADGET, PARTS]},
        "summary": {"type": "string", "maxLength": 128},
        "description": {"type": "string"},
        "suite": {"type": "string", "pattern": r"^[a-z]+$"},
        "architecture": {"enum": ["amd64", "arm64", "armhf"]},
        "version": {"type": "string", "pattern": VERSION_PATTERN},
        "version-of": {"type": "string"},
        "revision": {"type": "integer", "minimum": 1, "exclusiveMaximum": MAX_REVISION},
        "parts": _NAMES,
        "alone": _NAMES,
        "keep": _GLOBS,
        "components": {"type": "array", "items": {"enum": list(COMPONENTS)}, "minItems": 1, "uniqueItems": True},
        "modules": {"oneOf": [{"const": "all"}, {**_GLOBS, "minItems": 1}]},
        "image": {"enum": [UNIFIED, APART]},
        "compress": {"const": GZIP},
        "device-trees": {**_GLOBS, "minItems": 1},
        "initrd": {"type": "object", "additionalProperties": False,
                   "properties": {"watchdog": _MODULES, "storage": {**_MODULES, "minItems": 1}}},
        "assets": {"type": "object", "minProperties": 1, "propertyNames": {"pattern": ASSET_PATTERN},
                   "additionalProperties": {
                       "type": "object", "additionalProperties": False, "required": ["content"],
                       "properties": {"update": {"type": "boolean"},
                                      "content": {"type": "array", "minItems": 1, "uniqueItems": True,
                                                  "items": {"type": "string", "pattern": _PATH}}}}},
        "drop": _GLOBS,
        "board": BOARD_SCHEMA,
        "files": {"type": "array", "items": {
            "type": "object", "additionalProperties": False, "required": ["from", "to"],
            "properties": {"from": {"type": "string", "pattern": _PATH}, "to": {"type": "string", "pattern": _PATH},
                           "part": {"type": "string"}}}},
    },
}

OWN = ("name", "architecture", "revision", "like")  # never taken over from another recipe
VERSIONS = ("version", "version-of")  # one of them takes the place of either

ONLY_IN = {"modules": KERNEL, "image": KERNEL, "compress": KERNEL, "device-trees": KERNEL, "initrd": KERNEL,
           "assets": KERNEL, "drop": BASE, "files": GADGET, "board": GADGET}


@dataclass(frozen=True, slots=True, kw_only=True)
class CopiedFile:
    """One file of a gadget: from beside the recipe, or out of a part."""

    source: str
    target: str
    part: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a package is made of. `modules` is None where all of them are carried.

    `initrd` replaces groups of the initrd's list of modules: name of the group, its lines.
    """

    name: str
    type: str
    summary: str
    description: str
    suite: str
    architecture: str
    version: str | None
    version_of: str | None
    revision: int
    parts: tuple[str, ...]  # with all that they depend on
    alone: tuple[str, ...]  # without
    keep: tuple[str, ...]  # which of the packages found are wanted; empty: all
    modules: tuple[str, ...] | None
    image: str
    device_trees: tuple[str, ...]
    initrd: tuple[tuple[str, tuple[str, ...]], ...]
    drop: tuple[str, ...]
    files: tuple[CopiedFile, ...]
    board: BoardInfo | None = None  # of a gadget
    assets: tuple[KernelAsset, ...] = ()  # of a kernel: what its kernel.yaml offers to gadgets
    compress: str | None = None  # a kernel that comes apart: how it is compressed beside the plain one
    components: tuple[str, ...] = ()  # of Debian's archive that are asked beside main, sorted

    @property
    def wants(self) -> tuple[str, ...]:
        """What the lock has to answer; a changed answer is needed when this changes."""
        return tuple(sorted([*self.parts, *(f"{name} alone" for name in self.alone),
                             *(f"keep {glob}" for glob in self.keep),
                             *(f"component {name}" for name in self.components)]))


def liked(source: Source) -> str | None:
    """The name of the recipe that this one is like, if it says so.

    Raises:
        DocumentError: it says something that is no name.
    """
    if not isinstance(source.value, dict) or "like" not in source.value:
        return None
    name = source.value["like"]
    if not isinstance(name, str) or not re.match(NAME_PATTERN, name):
        raise DocumentError(f"{source.where(('like',))}: {name!r} is not the name of a recipe")
    return name


def take_over(source: Source, other: Source) -> Source:
    """`source` with all that it does not say itself taken from the recipe `other`.

    Raises:
        DocumentError: `other` is like a third one, or a gadget, whose files lie beside it.
    """
    where = source.where(("like",))
    if liked(other) is not None:
        raise DocumentError(f"{where}: {other.name} is like another recipe itself, name that one")
    known = other.value if isinstance(other.value, dict) else {}
    if known.get("type") == GADGET:
        raise DocumentError(f"{where}: {other.name} is a gadget, whose files are its own")
    own = {key: value for key, value in source.value.items() if key != "like"}
    unsaid = [*OWN, *(VERSIONS if set(VERSIONS) & set(own) else ())]
    merged = {**{key: value for key, value in known.items() if key not in unsaid}, **own}
    return Source(name=source.name, value=merged, lines=source.lines)


def parse_recipe(source: Source) -> Recipe:
    """Turn a recipe document into a value.

    Raises:
        DocumentError: with every problem, each at its line.
    """
    check_shape(source, SCHEMA)
    value = source.value
    problems = Problems(source)
    _check_meaning(value, problems)
    problems.raise_if_any()
    modules = value.get("modules", "all")
    return Recipe(
        name=value["name"], type=value["type"], summary=value.get("summary", ""),
        description=value.get("description", ""), suite=value["suite"], architecture=value["architecture"],
        version=value.get("version"), version_of=value.get("version-of"), revision=value.get("revision", 0),
        parts=tuple(value.get("parts", ())), alone=tuple(value.get("alone", ())), keep=tuple(value.get("keep", ())),
        modules=None if modules == "all" else tuple(modules),
        image=value.get("image", UNIFIED), device_trees=tuple(value.get("device-trees", ())),
        initrd=tuple((group, tuple(lines)) for group, lines in value.get("initrd", {}).items()),
        drop=tuple(value.get("drop", ())),
        files=tuple(CopiedFile(source=item["from"], target=item["to"], part=item.get("part"))
                    for item in value.get("files", ())),
        board=board_info(value["board"]) if "board" in value else None,
        assets=tuple(KernelAsset(name=name, update=item.get("update", False), content=tuple(item["content"]))
                     for name, item in value.get("assets", {}).items()),
        compress=value.get("compress"), components=tuple(sorted(value.get("components", ()))))


def _check_meaning(value: dict[str, Any], problems: Problems) -> None:
    for key, kind in ONLY_IN.items():
        if key in value and value["type"] != kind:
            problems.add((key,), f"only a {kind} has this, the type here is {value['type']}")
    if value["type"] == KERNEL:
        apart, architecture = value.get("image", UNIFIED) == APART, value["architecture"]
        if apart and architecture == "amd64":
            problems.add(("image",), "amd64 has no loader that takes a kernel apart; leave it out")
        if not apart and architecture == "armhf":
            problems.add(("image",), "armhf kernels are packed apart: image: apart")
        if "compress" in value and not (apart and architecture == "arm64"):
            problems.add(("compress",), "only for image: apart on arm64, whose booti unpacks a kernel")
        if not apart and "device-trees" in value:
            problems.add(("device-trees",), "a unified image has none: its firmware brings one, or image: apart")
    if value["type"] == PARTS:
        for key in ("version", "version-of", "revision"):
            if key in value:
                problems.add((key,), "a list of parts is not a package and has none")
    else:
        if "revision" not in value:
            problems.add(("revision",), "missing: state the package's revision, an integer from 1")
        if ("version" in value) == ("version-of" in value):
            problems.add(("version",), "exactly one of version and version-of is needed")
    for glob in (*value.get("drop", ()), *value.get("keep", ())):
        if re.search(r"(^!?|/)\.\.(/|$)", glob):
            problems.add(("drop",), f"{glob!r} leaves the tree")
    targets = [item["to"] for item in value.get("files", ())]
    for number, target in enumerate(targets):
        if target in targets[:number]:
            problems.add(("files", number, "to"), f"{target} is filled twice")
        if target in ("meta/snap.yaml", "meta/packages.json"):
            problems.add(("files", number, "to"), f"{target} is made by pack")
