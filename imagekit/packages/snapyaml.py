"""`meta/snap.yaml`: what a package says of itself, and how packages are named as files.

Decides the few fields that every kind of package has; apps and their services are a later reader's. Source: snapd
`snap/info_snap_yaml.go` and `snap/validate.go`. Unknown keys are left alone, as snapd leaves them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from imagekit.errors import DocumentError
from imagekit.schema import Source, check_shape

TYPES = ("app", "base", "gadget", "kernel", "snapd")
NAME_PATTERN = r"^(?=.{2,40}$)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*$"
VERSION_PATTERN = r"^[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?$"

SCHEMA = {
    "type": "object",
    "required": ["name", "version"],
    "properties": {
        "name": {"type": "string", "pattern": NAME_PATTERN},
        "version": {"type": ["string", "number"]},
        "type": {"enum": list(TYPES)},
        "architectures": {"type": "array", "items": {"type": "string"}, "minItems": 1},
        "base": {"type": "string"},
        "summary": {"type": "string", "maxLength": 128},
        "description": {"type": "string"},
    },
}

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
    check_shape(source, SCHEMA)
    value = source.value
    version = str(value["version"])
    if not re.match(VERSION_PATTERN, version):
        raise DocumentError(f"{source.where(('version',))}: {version!r} is not a version: "
                            "at most 32 letters, digits and . : + ~ - are allowed")
    return SnapInfo(name=value["name"], version=version, type=value.get("type", "app"),
                    architectures=tuple(value.get("architectures", ("all",))), base=value.get("base"),
                    summary=value.get("summary", ""), description=value.get("description", ""))


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
