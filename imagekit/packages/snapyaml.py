"""`meta/snap.yaml`: what a package says of itself, and how packages are named as files.

Decides the few fields that every kind of package has; apps and their services are a later reader's. Source: snapd
`snap/info_snap_yaml.go` and `snap/validate.go`. Unknown keys are left alone, as snapd leaves them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from imagekit.errors import DocumentError
from imagekit.nodes import Node
from imagekit.schema import Problems, Source

TYPES = ("app", "base", "gadget", "kernel", "snapd")
NAME_PATTERN = r"^(?=.{2,40}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$"
VERSION_PATTERN = r"^[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?$"

SUMMARY_LIMIT = 128

_FILE = re.compile(r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)_(?P<revision>[1-9][0-9]{0,9})\.snap\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapInfo:
    """The identity of a package, as its own `meta/snap.yaml` states it."""

    name: str
    version: str
    type: str
    architectures: tuple[str, ...]
    base: str | None = None
    summary: str = ""
    description: str = ""


def parse_snap_yaml(source: Source) -> SnapInfo:
    """Read `meta/snap.yaml`.

    Raises:
        DocumentError: with every problem, each at its line.
    """
    problems = Problems(source)
    top = Node(problems, (), source.value)
    name, version = top.string("name"), top.string("version")
    if not re.match(NAME_PATTERN, name):
        top.problem("name", f"{name!r} is not a name: 2 to 40 of a-z, 0-9 and single inner hyphens, with a letter")
    if not re.match(VERSION_PATTERN, version):
        top.problem("version", f"{version!r} is not a version: "
                    "at most 32 letters, digits and . : + ~ - are allowed")
    kind: str | None = top.choice("type", {item: item for item in TYPES}, "type")
    summary = top.string("summary")
    if len(summary) > SUMMARY_LIMIT:
        top.problem("summary", f"{len(summary)} characters, at most {SUMMARY_LIMIT} are allowed")
    architectures = top.strings("architectures")
    if "architectures" in top and not architectures:
        top.problem("architectures", "at least one is needed, or leave it out")
    info = SnapInfo(name=name, version=version, type=kind or "app",
                    architectures=architectures or ("all",), base=top.string("base") or None,
                    summary=summary, description=top.string("description"))
    problems.raise_if_any()
    return info


def encode_snap_yaml(info: SnapInfo) -> bytes:
    """The file's bytes; strings are quoted as JSON, which YAML reads alike."""
    lines = [f"name: {info.name}", f"version: {json.dumps(info.version)}"]
    if info.summary:
        lines.append(f"summary: {json.dumps(info.summary)}")
    if info.description:
        lines.append(f"description: {json.dumps(info.description)}")
    lines += [f"type: {info.type}", f"architectures: {json.dumps(list(info.architectures))}"]
    if info.base is not None:
        lines.append(f"base: {info.base}")
    if info.type not in ("kernel", "base", "gadget"):
        lines.append("confinement: strict")
    return ("\n".join(lines) + "\n").encode()


def file_name(name: str, revision: int) -> str:
    """`NAME_REVISION.snap`."""
    return f"{name}_{revision}.snap"


def parse_file_name(text: str) -> tuple[str, int]:
    """Name and revision of `NAME_REVISION.snap`. Raises: DocumentError: not such a name."""
    match = _FILE.match(text)
    if match is None:
        raise DocumentError(f"cannot use {text}: not a package name: NAME_REVISION.snap is, as in pc-kernel_12.snap")
    return match["name"], int(match["revision"])
