"""Any gadget that is sound is accepted and means what it says; any text at all is judged, never a crash."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.build.gadget_check import check_gadget_tree
from imagekit.build.package_tree import FoundTree, Kind
from imagekit.gadget import parse_gadget
from imagekit.gadget.parse import examine_gadget
from imagekit.gadget.values import Era
from imagekit.schema import DocumentProblems, Source, load_yaml
from imagekit.units import parse_size
from tests.patience import patience

FILE = Path(__file__).parent.parent.parent / "strategies" / "gadget.py"


def loaded() -> ModuleType:
    spec = importlib.util.spec_from_file_location("strategies_gadget", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


strategies: Any = loaded()
QUICK = settings(max_examples=200, deadline=None)


@QUICK
@given(strategies.documents())
def test_sound_document_is_accepted_and_means_what_it_says(text: str) -> None:
    tree = yaml.safe_load(text)
    gadget = parse_gadget(load_yaml(text, name="any"))
    assert [volume.name for volume in gadget.volumes] == list(tree["volumes"])
    for volume in gadget.volumes:
        declared = tree["volumes"][volume.name]["structure"]
        assert sorted(item.index for item in volume.structures) == list(range(len(declared)))
        for item in volume.structures:
            assert item.name == declared[item.index]["name"]
            assert item.size == parse_size(declared[item.index]["size"], where="size")
            assert len(item.content) == len(declared[item.index].get("content", ()))


@QUICK
@given(strategies.gadgets())
def test_json_is_read_as_the_same_gadget(tree: dict[str, Any]) -> None:
    as_json, as_yaml = json.dumps(tree), yaml.safe_dump(tree, sort_keys=False)
    assert parse_gadget(load_yaml(as_json, name="any")) == parse_gadget(load_yaml(as_yaml, name="any"))


@QUICK
@given(strategies.trees())
def test_any_tree_is_judged_by_every_set_of_rules(tree: Any) -> None:
    for era in (None, *Era):
        examined = examine_gadget(Source(name="any", value=tree, lines={}), era=era)
        assert (examined.gadget is None) == bool(examined.problems.found)
        assert all(item.rule for item in (*examined.problems.found, *examined.problems.warnings))


@QUICK
@given(strategies.gadgets(), strategies.trees(), st.dictionaries(strategies.paths, st.integers(0, 1 << 40), max_size=4))
def test_spoilt_gadget_in_a_folder_is_judged(tree: dict[str, Any], anything: Any, files: dict[str, int]) -> None:
    volume = next(iter(tree["volumes"].values()))
    volume["structure"][0] = anything
    text = yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace")
    found = FoundTree(path=FILE, kind=Kind.FOLDER, name="any", text=text, files=files)
    checked = check_gadget_tree(found, era=None)
    assert all(item.rule for item in (*checked.problems, *checked.warnings))


@QUICK
@given(strategies.texts())
def test_any_text_is_judged(text: str) -> None:
    try:
        with patience():
            examine_gadget(load_yaml(text, name="any", repeated_keys=True))
    except DocumentProblems as error:
        assert all(problem.rule for problem in error.problems)


@QUICK
@given(strategies.gadgets(), strategies.trees())
def test_gadget_with_anything_beside_its_volumes_is_judged(tree: dict[str, Any], anything: Any) -> None:
    spoilt = {**tree, "connections": anything, "kernel-cmdline": anything, "defaults": anything,
              "volume-assignments": anything, "x-imagekit": anything}
    examined = examine_gadget(Source(name="any", value=spoilt, lines={}))
    assert all(item.rule for item in examined.problems.found)
