"""Keys of a gadget.yaml that look mistyped.

snapd's reader passes over keys that it does not know (gadget/gadget.go), and so does ours: newer gadgets shall parse. A
key that is nearly a known one is another matter when a gadget is made; then it is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imagekit.schema import Path, Problems, Source, near

TOP = ("volumes", "defaults", "connections", "kernel-cmdline", "volume-assignments", "device-trees", "x-imagekit")
VOLUME = ("schema", "bootloader", "id", "partial", "structure")
STRUCTURE = ("name", "filesystem-label", "offset", "offset-write", "min-size", "size", "type", "role", "id",
             "filesystem", "content", "update")
CONTENT = ("source", "target", "image", "offset", "size", "unpack")
UPDATE = ("edition", "preserve")


def refuse_typos(source: Source) -> None:
    """Raises: DocumentError: with every key that is nearly a known one."""
    problems = Problems(source)
    for path, node, known in _nodes(source.value):
        for key in node if isinstance(node, dict) else ():
            if key not in known and (meant := near(key, known)):
                problems.add((*path, key), f"there is no such key{meant}")
    problems.raise_if_any()


def _nodes(top: Any) -> Iterator[tuple[Path, Any, tuple[str, ...]]]:
    """Every map whose keys the format fixes."""
    yield (), top, TOP
    for name, volume in _items(top, "volumes"):
        yield ("volumes", name), volume, VOLUME
        for index, structure in _items(volume, "structure"):
            path = ("volumes", name, "structure", index)
            yield path, structure, STRUCTURE
            for place, content in _items(structure, "content"):
                yield (*path, "content", place), content, CONTENT
            if isinstance(structure, dict):
                yield (*path, "update"), structure.get("update"), UPDATE


def _items(node: Any, key: str) -> list[tuple[Any, Any]]:
    found = node.get(key) if isinstance(node, dict) else None
    return list(found.items()) if isinstance(found, dict) else list(enumerate(found)) if isinstance(found, list) else []
