"""Imports go down only: the floors of docs/architecture.md, held."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "imagekit"

FLOOR = {
    "errors": 0, "units": 0, "digests": 0, "keys": 0, "openpgp": 0, "nodes": 0, "rules": 0, "schema": 0,
    "yamltree": 0, "rulebooks": 1,
    "assertions": 1, "packages": 1, "gadget": 1, "disk": 1, "boot": 1,
    "plan": 2,
    "host": 3,
    "build": 4, "store": 4, "device": 4, "flash": 4, "qemu": 4, "powercut": 4,
    "cli": 5,
    "testing": 5,
}
APART = {"build", "store", "device", "flash", "qemu", "powercut"}  # executors do not import each other
NEVER_ON_DEVICE = {"pyudev", "serial", "invoke", "click", "rich"}
PURE = {0, 1, 2}
IMPURE_MODULES = {"subprocess", "socket", "random", "secrets", "time", "tempfile", "shutil", "urllib", "http"}


def unit_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


MODULES = sorted(path for path in ROOT.rglob("*.py") if unit_of(path) != "__init__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    here = unit_of(path)
    assert here in FLOOR, f"{here} has no floor: give it one here and in docs/architecture.md"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "imagekit":
            assert not (here == "device" and parts[0] in NEVER_ON_DEVICE), f"{name} does not exist on a device"
            assert not (FLOOR[here] in PURE and parts[0] in IMPURE_MODULES), f"{here} is pure, {name} is not"
            continue
        if len(parts) == 1 or parts[1] not in FLOOR:
            continue
        there = parts[1]
        if here == "testing" or here == there:
            continue
        assert FLOOR[there] <= FLOOR[here], f"{here} (floor {FLOOR[here]}) imports {there} (floor {FLOOR[there]})"
        assert not (here in APART and there in APART), f"executor {here} imports executor {there}"
        assert there != "testing", f"{here} imports the test doubles"
