"""Keys of a gadget.yaml that look mistyped, and keys that are documented and never read.

snapd's reader passes over keys that it does not know (gadget/gadget.go), and so does ours: newer gadgets shall parse. A
key that is nearly a known one is another matter when a gadget is made; then it is refused here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from imagekit.gadget.rulebook import GadgetWarnings as Warnings
from imagekit.schema import Path, Problems, Source, near

TOP = ("volumes", "defaults", "connections", "kernel-cmdline", "volume-assignments", "device-tree",
       "device-tree-origin", "x-imagekit")
VOLUME = ("schema", "bootloader", "id", "partial", "structure")
STRUCTURE = ("name", "filesystem-label", "offset", "offset-write", "min-size", "size", "type", "role", "id",
             "filesystem", "content", "update")
CONTENT = ("source", "target", "image", "offset", "size", "unpack")
UPDATE = ("edition", "preserve")
CONNECTION = ("plug", "slot")
CMDLINE = ("allow", "append", "remove")
ASSIGNMENT = ("assignment-name", "assignment")
DEVICE = ("device",)
NEVER_READ = {  # keys of somebody's documentation or old code, by the map they stand in
    TOP: {"format": "no snapd ever read it", "device-tree": "nothing reads it",
          "device-tree-origin": "nothing reads it"},
    CONTENT: {"offset-write": "snapd reads it up to 2.57 only", "unpack": "no snapd unpacks anything"},
}


def refuse_typos(source: Source) -> None:
    """Raises: DocumentProblems: with every key that is nearly a known one, or stands twice."""
    problems = Problems(source)
    for path, text in _typos(source.value):
        problems.add(path, text, Warnings.TYPO)
    for note in source.notes:
        problems.add(note.path, note.text, note.rule)
    problems.raise_if_any()


def note_typos(problems: Problems) -> None:
    """Warn of every key that is nearly a known one, or never read."""
    for path, text in _typos(problems.source.value):
        problems.warn(path, f"{text} it is passed over", Warnings.TYPO)
    for path, node, known in _nodes(problems.source.value):
        for key, why in NEVER_READ.get(known, {}).items():
            if isinstance(node, dict) and node.get(key):
                problems.warn((*path, key), f"{key} has no effect: {why}", Warnings.UNREAD)


def _typos(value: Any) -> Iterator[tuple[Path, str]]:
    for path, node, known in _nodes(value):
        for key in node if isinstance(node, dict) else ():
            if key not in known and key not in NEVER_READ.get(known, {}) and (meant := near(key[:80], known)):
                yield (*path, key), f"there is no such key{meant}"


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
    for index, connection in _items(top, "connections"):
        yield ("connections", index), connection, CONNECTION
    if isinstance(top, dict):
        yield ("kernel-cmdline",), top.get("kernel-cmdline"), CMDLINE
    for index, assignment in _items(top, "volume-assignments"):
        yield ("volume-assignments", index), assignment, ASSIGNMENT
        for name, device in _items(assignment, "assignment"):
            yield ("volume-assignments", index, "assignment", name), device, DEVICE


def _items(node: Any, key: str) -> list[tuple[Any, Any]]:
    found = node.get(key) if isinstance(node, dict) else None
    return list(found.items()) if isinstance(found, dict) else list(enumerate(found)) if isinstance(found, list) else []
