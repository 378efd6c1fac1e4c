"""Packages for the oracle: snap.yaml and kernel.yaml, every document and mutants of those that stand."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from imagekit.packages.kernelyaml import parse_kernel_yaml
from imagekit.packages.snapyaml import read_snap_yaml
from imagekit.schema import load_yaml
from tests.oracle.ask import Answer
from tests.oracle.compare import Case, judged
from tests.oracle.edges import KERNELS, SNAPS, altered
from tests.oracle.mutate import draws, dump, load_values, mutate_lines, mutate_yaml

HERE = Path(__file__).parent
DOCUMENTS = HERE.parent / "documents"
VALUES = load_values("snap")


def documents(kind: str) -> dict[str, bytes]:
    """`snap` or `kernel` documents by name; those that are whole and sound are called `sound/`."""
    found = {f"{folder}/{path.parent.name}": path.read_bytes() for folder in ("valid", "invalid")
             for path in sorted((DOCUMENTS / folder).glob(f"*/{kind}.yaml"))}
    found |= {f"sound/{path.stem}": path.read_bytes() for path in sorted((HERE / "sound" / kind).glob("*.yaml"))}
    return found


def snap_understood(raw: bytes) -> dict[str, Any]:
    info = read_snap_yaml(raw, name="snap.yaml")
    return {"name": info.name, "version": info.version, "type": info.type, "architectures": list(info.architectures),
            "summary": info.summary, "description": info.description, "title": info.title,
            "base": info.base or "", "confinement": info.confinement.value, "license": info.license,
            "apps": sorted(item.name for item in info.apps), "hooks": sorted(item.name for item in info.hooks),
            "layout": sorted(item.path for item in info.layouts),
            "plugs": sorted(f"{item.name}={item.interface}" for item in info.plugs),
            "slots": sorted(f"{item.name}={item.interface}" for item in info.slots)}


def snap_there(answer: Answer) -> dict[str, Any]:
    return {name: answer[name] for name in (
        "name", "version", "type", "architectures", "summary", "description", "title", "base", "confinement", "license",
        "apps", "hooks", "layout", "plugs", "slots")}


def kernel_understood(raw: bytes) -> dict[str, Any]:
    info = parse_kernel_yaml(load_yaml(raw, name="kernel.yaml", repeated_keys=True))
    return {name: {"update": asset.update, "content": list(asset.content)} for name, asset in info.assets.items()}


def case(kind: str, name: str, raw: bytes) -> Case:
    act = snap_understood if kind == "snap" else kernel_understood
    return Case(kind=kind, name=name, document=raw, judge=partial(judged, partial(act, raw)),
                request={"op": kind, "yaml": raw},
                understand=snap_there if kind == "snap" else lambda answer: dict(answer["assets"]))


def cases(count: int, seed: int) -> Iterator[Case]:
    """All that is compared of packages; a sixth of the mutants are kernel.yaml."""
    for kind, edges in (("snap", SNAPS), ("kernel", KERNELS)):
        every = documents(kind)
        for name, raw in every.items():
            yield case(kind, name, raw)
        for name, (base, path, value) in edges.items():
            yield case(kind, name, dump(altered(yaml.safe_load(every[base]), path, value)))
        sources = [name for name in every if not name.startswith("invalid/")]
        for name, draw in draws(sources, count if kind == "snap" else count // 6, seed):
            raw = every[name]
            mutant = mutate_yaml(yaml.safe_load(raw), draw, VALUES) if draw.randrange(5) else mutate_lines(raw, draw)
            yield case(kind, f"{name}: {mutant.what}", mutant.text)
