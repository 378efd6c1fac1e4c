"""Layouts and updates for the oracle: where structures lie, and whether one gadget may follow another in place.

Only gadgets that both read are compared here: whether they may stand is `tests.oracle.gadgets`' question.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from imagekit.errors import DocumentError
from imagekit.gadget import Gadget
from imagekit.gadget.content_check import check_contents
from imagekit.packages.kernelyaml import KernelContents, parse_kernel_yaml
from imagekit.plan.gadget_update import Action, Side, plan_gadget_update
from imagekit.plan.layout import lay_out
from imagekit.schema import Problems, load_yaml
from tests.oracle.ask import Answer
from tests.oracle.compare import Case, Judgement, judged
from tests.oracle.edges import SUCCESSORS, altered
from tests.oracle.gadgets import RULES, SUITES_OF, TESTS, documents, mutants, read, standing
from tests.oracle.library import SUITES
from tests.oracle.mutate import draws, dump, get, load_values, mutate_yaml, paths

VALUES = load_values("gadget")


def readable(raw: bytes, rules: str) -> Gadget | None:
    try:
        return read(raw, rules)
    except DocumentError:
        return None


def placed(raw: bytes, rules: str) -> dict[str, Any]:
    """Start and size of every structure, by volume and index in the document."""
    return {f"{volume.name}[{item.structure.index}]": [item.start, item.size]
            for volume in read(raw, rules).volumes for item in lay_out(volume).placements}


def placed_there(answer: Answer) -> dict[str, Any]:
    return {f"{name}[{item['index']}]": [item["start"], item["size"]]
            for name, volume in answer["volumes"].items() for item in volume["structures"]}


def layouts(count: int, seed: int) -> Iterator[Case]:
    """Every document, and mutants of those that stand."""
    every = [(name, raw, rules) for name, raw in documents().items() for rules in RULES]
    every += [(case.name, case.document, str(case.request["rules"])) for case in mutants(count, seed)]
    for name, raw, rules in every:
        if readable(raw, rules) is not None:
            yield Case(kind="layout", name=f"{name} [{rules}]", document=raw, second=True, understand=placed_there,
                       judge=partial(judged, partial(placed, raw, rules)),
                       request={"op": "gadget", "yaml": raw, "rules": rules, "layout": True},
                       suites=SUITES_OF.get(rules, SUITES))


def kernel_for(*documents: bytes) -> bytes:
    """A kernel.yaml whose assets list whatever the gadgets refer to."""
    assets: dict[str, dict[str, list[str]]] = {}
    for raw in documents:
        for asset, path in re.findall(rb"\$kernel:([a-zA-Z0-9-]+)/([^\s'\"]+)", raw):
            assets.setdefault(asset.decode(), {"content": []})["content"].append(path.decode())
    return yaml.safe_dump({"assets": assets}).encode()


def judge_update(old: bytes, new: bytes, kernel: bytes, rules: str) -> Judgement:
    contents = KernelContents(info=parse_kernel_yaml(load_yaml(kernel, name="kernel.yaml")))
    plan = plan_gadget_update(Side(gadget=read(old, rules), kernel=contents),
                              Side(gadget=read(new, rules), kernel=contents))
    written = [f"{volume}/{item.title}" for volume, item in plan.writes if item.action is Action.REWRITE]
    return Judgement(accepted=plan.allowed, words=" | ".join(plan.refusals), understood={"rewritten": sorted(written)})


def without_images(tree: Any) -> bytes:
    """The gadget without raw content: whether that fits is another question, and needs the files."""
    for path in list(paths(tree)):
        if path and path[-1] == "content" and isinstance(items := get(tree, path), list):
            items[:] = [item for item in items if not (isinstance(item, dict) and "image" in item)]
    return dump(tree)


def successor(tree: Any, draw: random.Random) -> tuple[str, bytes]:
    """A changed gadget whose editions are higher, some of them."""
    mutant = mutate_yaml(tree, draw, VALUES)
    fresh = yaml.safe_load(mutant.text)
    raised = 0
    for path in [path for path in paths(fresh) if len(path) >= 2 and path[-2] == "structure" and path[0] == "volumes"]:
        structure = get(fresh, path)
        if isinstance(structure, dict) and draw.randrange(3):
            update = structure.setdefault("update", {})
            if isinstance(update, dict) and isinstance(update.get("edition", 0), int):
                update["edition"] = update.get("edition", 0) + 1
                raised += 1
    return f"{mutant.what}, {raised} editions raised", without_images(fresh)


def updates(count: int, seed: int) -> Iterator[Case]:
    """Every sound gadget to itself, and to changed ones; and between different ones."""
    sources = [(name, without_images(yaml.safe_load(raw))) for name, raw in standing().items()]
    pairs = [(f"{name} to itself", raw, raw) for name, raw in sources]
    pairs += [(f"{one[0]} to {two[0]}", one[1], two[1]) for one, two in pairwise(sources)]
    for what, (base, path, value) in SUCCESSORS.items():
        raw = documents()[base]
        pairs.append((what, raw, dump(altered(yaml.safe_load(raw), path, value))))
    for name, draw in draws([name for name, _ in sources], count, seed):
        what, fresh = successor(yaml.safe_load(dict(sources)[name]), draw)
        pairs.append((f"{name}: {what}", dict(sources)[name], fresh))
    for name, old, new in pairs:
        for rules in RULES:
            if readable(old, rules) is None or readable(new, rules) is None:
                continue
            kernel = kernel_for(old, new)
            yield Case(kind="update", name=f"{name} [{rules}]", document=old + b"\n--- becomes\n" + new, second=True,
                       judge=partial(judge_update, old, new, kernel, rules),
                       request={"op": "gadget-update", "old": old, "new": new, "rules": rules, "kernel": kernel},
                       understand=lambda answer: {"rewritten": answer["rewritten"]},
                       suites=SUITES_OF.get(rules, SUITES))


def listing(path: Path) -> dict[str, int] | None:
    """A file of lines `PATH SIZE`, if it is there."""
    if not path.exists():
        return None
    return {name: int(size) for name, size in (line.rsplit(" ", 1) for line in path.read_text().splitlines())}


def judge_content(raw: bytes, files: dict[str, int], kernel: bytes | None, kernel_files: dict[str, int] | None,
                  rules: str) -> Judgement:
    problems = Problems(load_yaml(raw, name="gadget.yaml", repeated_keys=True))
    info = parse_kernel_yaml(load_yaml(kernel, name="kernel.yaml", repeated_keys=True)) if kernel is not None else None
    contents = KernelContents(info=info, files=kernel_files) if info else None
    check_contents(problems, read(raw, rules), files, kernel=contents)

    def found() -> dict[str, Any]:
        problems.raise_if_any()
        return {}

    return judged(found)


def contents(count: int, seed: int) -> Iterator[Case]:
    """Every gadget that has a list of files beside it, and changed ones held to the same files."""
    folders = {path.parent.name: path.parent for path in sorted((TESTS / "documents").glob("*/*/files.txt"))}
    chosen = [(folder, "", (folder / "gadget.yaml").read_bytes()) for folder in folders.values()]
    for name, draw in draws(folders, count, seed):
        folder = folders[name]
        mutant = mutate_yaml(yaml.safe_load((folder / "gadget.yaml").read_bytes()), draw, VALUES)
        chosen.append((folder, f": {mutant.what}", mutant.text))
    for folder, what, raw in chosen:
        if readable(raw, "none") is None:
            continue
        kernel = (folder / "kernel.yaml").read_bytes() if (folder / "kernel.yaml").exists() else None
        files, kernel_files = listing(folder / "files.txt") or {}, listing(folder / "kernel-files.txt")
        yield Case(kind="content", name=f"{folder.parent.name}/{folder.name}{what}", document=raw, second=True,
                   judge=partial(judge_content, raw, files, kernel, kernel_files, "none"),
                   request={"op": "gadget-content", "yaml": raw, "rules": "none", "files": files,
                            **({"kernel": kernel} if kernel is not None else {}),
                            **({"kernel-files": kernel_files} if kernel_files is not None else {})})


def cases(count: int, seed: int) -> Iterator[Case]:
    """All that is compared of layouts, content and updates."""
    yield from layouts(count // 2, seed)
    yield from contents(count // 4, seed)
    yield from updates(count // 4, seed)
