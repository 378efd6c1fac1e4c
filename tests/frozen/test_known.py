"""Nobody decides a format that is kept without freezing it, and no change of one goes by unseen."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from imagekit.boot.numbers import Place
from imagekit.device import history
from imagekit.plan import factory_job
from imagekit.plan.factory_log import Kind, decode_log
from tests.frozen.device import FOLDER, VERSIONS
from tests.frozen.format import lost, shape
from tests.frozen.formats import FORMATS
from tests.frozen.known import FORMATS_OF, WRITERS
from tests.frozen.memory import HISTORY, MEMORY
from tests.unit.flash.factory_bench import Floor, write_identity

TOP = Path(__file__).parents[2] / "imagekit"
ENDINGS = ("MAGIC", "FORMAT", "VERSION", "PROTOCOL")
WRITE = {"write_atomic", "atomic_file", "create_private", "pwrite", "write_bytes", "write_text"}
ELSEWHERE = {"build", "qemu", "powercut", "testing"}  # what they write is an image, a cache or for one run


@cache
def modules() -> dict[str, ast.Module]:
    return {".".join(path.relative_to(TOP).with_suffix("").parts): ast.parse(path.read_text())
            for path in sorted(TOP.rglob("*.py"))}


def constants(tree: ast.Module) -> Iterator[str]:
    """Names at the top of a module that say which format something has, and places of numbers on a disk."""
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        target = node.targets[0]
        names = target.elts if isinstance(target, ast.Tuple) else [target]
        values = node.value.elts if isinstance(node.value, ast.Tuple) and len(names) > 1 else [node.value] * len(names)
        for name, value in zip(names, values, strict=True):
            place = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "Place"
            plain = isinstance(value, ast.Constant) and isinstance(name, ast.Name) and name.id.endswith(ENDINGS)
            if isinstance(name, ast.Name) and (place or plain):
                yield name.id


def called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def writes(tree: ast.Module) -> bool:
    return any(isinstance(node, ast.Call) and (called(node) in WRITE or (called(node) == "open" and any(
        isinstance(item, ast.Constant) and isinstance(item.value, str) and len(item.value) <= 3
        and set(item.value) & set("wa+") for item in [*node.args, *(key.value for key in node.keywords)])))
        for node in ast.walk(tree))


def test_every_format_is_frozen_or_somebody_elses() -> None:
    """A new one? Put a sample of it into tests/frozen, every key of it filled, and its name here."""
    found = {f"{module}.{name}" for module, tree in modules().items() for name in constants(tree)}
    assert found == set(FORMATS_OF)


def test_every_module_that_writes_is_known_with_what_it_writes() -> None:
    found = {module for module, tree in modules().items()
             if module.partition(".")[0] not in ELSEWHERE and writes(tree)}
    assert found == set(WRITERS)


def test_every_file_of_a_devices_memory_is_frozen() -> None:
    """What is handed to `history.save`, by name."""
    found = set()
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if module.startswith("device.") and isinstance(node, ast.Call) and called(node) == "save":
                name = node.args[1]
                holder = history if isinstance(name, ast.Attribute) else importlib.import_module(f"imagekit.{module}")
                assert isinstance(name, ast.Attribute | ast.Name), f"{module}: a name of a constant is expected"
                found.add(getattr(holder, name.attr if isinstance(name, ast.Attribute) else name.id))
    assert found == {name for name in MEMORY if name != "data-partition.json"}


def test_every_sample_that_is_named_is_there() -> None:
    named = {name for known in (FORMATS_OF, WRITERS) for samples in known.values() if not isinstance(samples, str)
             for name in samples}
    assert named <= set(FORMATS)


# ---- changes that would be seen

def other(value: Any) -> Any:
    """Another value of the kind."""
    if isinstance(value, Place):
        return replace(value, magic=b"XXXX")
    if isinstance(value, int):
        return value + 1
    return value[:-1] + (b"?" if isinstance(value, bytes) else "?")


def seen(name: str) -> bool:
    """Whether the newest frozen bytes of a sample are no longer written, or no longer read."""
    raw, found = (FOLDER / VERSIONS[-1] / "formats" / name).read_bytes(), FORMATS[name]
    try:
        return bool(found.changed(raw)) or found.decode(raw) != found.value
    except Exception:
        return True


@pytest.mark.parametrize("constant", [name for name, samples in FORMATS_OF.items() if not isinstance(samples, str)])
def test_other_format_is_noticed(constant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, _, name = constant.rpartition(".")
    samples = FORMATS_OF[constant]
    assert not any(map(seen, samples))
    holder = importlib.import_module(f"imagekit.{module}")
    monkeypatch.setattr(holder, name, other(getattr(holder, name)))
    if constant == "plan.factory_job.VERSION":
        monkeypatch.setitem(factory_job.SCHEMA["properties"], "factory-job", {"const": factory_job.VERSION})
    assert all(map(seen, samples))


NAMES = [("history", "STATE", "state.json"), ("history", "KEYS", "keys.assert"), ("history", "MODEL", "model.assert"),
         ("wishes", "WISHES", "wishes.json"), ("rhythm", "BEYOND", "rhythm.json"),
         ("addresses", "KEPT", "store.assert"),
         ("history", "FOLDER", "data-partition.json"), ("addresses", "METADATA", "data-partition.json"),
         ("addresses", "DOWNLOADS", "data-partition.json")]


@pytest.mark.parametrize(("module", "name", "sample"), NAMES)
def test_other_name_of_a_file_is_noticed(module: str, name: str, sample: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module(f"imagekit.device.{module}"), name, "another")
    assert seen(sample)


@pytest.mark.parametrize("key", list(history.as_json(HISTORY)))
def test_other_key_of_a_devices_memory_is_noticed(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written under another name, and not read any more."""
    as_json = history.as_json
    monkeypatch.setattr(history, "as_json", lambda memory: {
        f"{name}2" if name == key else name: value for name, value in as_json(memory).items()})
    assert seen("state.json")


@pytest.mark.parametrize(("sample", "module", "name"), [
    ("state-partition.json", "boot.gadgetrecord", "GADGET_OFFSETS"), ("state-partition.json", "boot.slotstate",
                                                                      "COPY_OFFSETS")])
def test_other_place_of_a_record_is_noticed(sample: str, module: str, name: str, monkeypatch: pytest.MonkeyPatch
                                            ) -> None:
    monkeypatch.setattr(importlib.import_module(f"imagekit.{module}"), name, (512, 1024))
    assert seen(sample)


# ---- what a station says

def test_station_still_says_all_that_is_frozen_of_it(tmp_path: Path) -> None:
    """A run of one, over a log whose end was torn."""
    floor = Floor(folder=tmp_path, ports=1)
    write_identity(floor.units, "A0001", brand=floor.brand)
    log = floor.open_log()
    log.append(Kind.STOP, {"why": "a test", "done": 0, "failed": 0})
    log.close()
    with floor.log.open("ab") as out:
        out.write(b'{"record')
    floor.medium(0).touch()
    floor.run()
    said = {record.kind: record.said for record in decode_log(floor.log.read_bytes(), name="log").records}
    frozen = decode_log((FOLDER / VERSIONS[-1] / "formats" / "factory.log").read_bytes(), name="frozen")
    told = {record.kind: record.said for record in reversed(frozen.records)}
    for kind in (Kind.UNIT, Kind.RECOVERED):
        assert lost(shape(dict(told[kind])), shape(dict(said[kind]))) == ""
