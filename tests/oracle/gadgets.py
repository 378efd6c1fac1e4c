"""Gadgets for the oracle: every document there is and mutants of those that stand, under each set of rules."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from imagekit.gadget import Era, Gadget, parse_gadget
from imagekit.schema import load_yaml
from tests.oracle.ask import Answer
from tests.oracle.compare import Case, Judgement, judged
from tests.oracle.edges import GADGETS, altered
from tests.oracle.library import SUITES
from tests.oracle.mutate import draws, dump, load_values, mutate_lines, mutate_yaml

TESTS = Path(__file__).parent.parent
DATA = Path(os.environ.get("IMAGEKIT_TEST_DATA") or TESTS / "data")
VALUES = load_values("gadget")
SUITES_OF = {"classic-modes": ("trixie",)}  # rule sets that only some libraries know
RULES: Mapping[str, Era] = {"none": Era.NONE, "uc16": Era.UC16, "uc20": Era.UC20, "classic-modes": Era.CLASSIC}


def documents() -> dict[str, bytes]:
    """All gadgets at hand by name: the field's, those that stand and those that do not."""
    found = {path.name: path for path in sorted((DATA / "gadgets").glob("*.yaml"))}
    for folder in ("valid", "invalid"):
        for path in sorted((TESTS / "documents" / folder).glob("*/gadget.yaml")):
            found[f"{folder}/{path.parent.name}"] = path
    return {name: path.read_bytes() for name, path in found.items()}


def read(raw: bytes, rules: str) -> Gadget:
    return parse_gadget(load_yaml(raw, name="gadget.yaml", repeated_keys=True), era=RULES[rules])


def judge(raw: bytes, rules: str) -> Judgement:
    return judged(lambda: understood(read(raw, rules)))


def understood(gadget: Gadget) -> dict[str, Any]:
    """What a gadget means, flat: `pc[0].name` and so on, structures in the order of the disk."""
    flat: dict[str, Any] = {"connections": [[item.plug, item.slot] for item in gadget.connections],
                            "defaults": len(gadget.defaults), "volumes": sorted(item.name for item in gadget.volumes)}
    for volume in gadget.volumes:
        flat[f"{volume.name}.schema"] = volume.schema.value if volume.schema else ""
        flat[f"{volume.name}.bootloader"] = volume.bootloader.value if volume.bootloader else ""
        for order, item in enumerate(volume.structures):
            write = item.offset_write
            flat |= {f"{volume.name}[{order}].{key}": value for key, value in {
                "name": item.name, "index": item.index, "role": item.role.value if item.role else "",
                "label": item.label or "", "content": len(item.content), "edition": item.update.edition,
                "size": item.size or 0, "min-size": item.min_size or 0,
                "offset-write": -1 if write is None else write.offset,
                "offset-write-in": (write.relative_to or "") if write else "",
            }.items()}
    return flat


def understood_there(answer: Answer) -> dict[str, Any]:
    flat: dict[str, Any] = {"connections": answer["connections"], "defaults": answer["defaults"],
                            "volumes": sorted(answer["volumes"])}
    for name, volume in answer["volumes"].items():
        flat[f"{name}.schema"], flat[f"{name}.bootloader"] = volume["schema"], volume["bootloader"]
        for order, item in enumerate(volume["structures"]):
            flat |= {f"{name}[{order}].{key}": item[key] for key in (
                "name", "index", "role", "label", "content", "edition", "size", "min-size", "offset-write",
                "offset-write-in")}
    return flat


def case(name: str, raw: bytes, rules: str) -> Case:
    return Case(kind="gadget", name=f"{name} [{rules}]", document=raw, judge=lambda: judge(raw, rules),
                request={"op": "gadget", "yaml": raw, "rules": rules, "layout": True}, understand=understood_there,
                suites=SUITES_OF.get(rules, SUITES))


def given() -> Iterator[Case]:
    """Every document under every set of rules."""
    for name, raw in documents().items():
        for rules in RULES:
            yield case(name, raw, rules)
    for name, (base, path, value) in GADGETS.items():
        tree = altered(yaml.safe_load(documents()[base]), path, value)
        for rules in RULES:
            yield case(name, dump(tree), rules)


def standing() -> dict[str, bytes]:
    """The documents that are sound, with no model."""
    return {name: raw for name, raw in documents().items() if judge(raw, "none").accepted}


def mutants(count: int, seed: int) -> Iterator[Case]:
    """Mutants of sound gadgets, each under one set of rules."""
    sources = standing()
    for name, draw in draws(sources, count, seed):
        raw = sources[name]
        mutant = mutate_yaml(yaml.safe_load(raw), draw, VALUES) if draw.randrange(5) else mutate_lines(raw, draw)
        yield case(f"{name}: {mutant.what}", mutant.text, draw.choice(list(RULES)))


def cases(count: int, seed: int) -> Iterator[Case]:
    """All that is compared of gadgets."""
    yield from given()
    yield from mutants(count, seed)
