"""kernel.yaml: every rule has a document that breaks it, and the exact words beside it; references find their files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagekit.errors import DocumentError, ExitCode
from imagekit.packages.kernelyaml import (
    KernelAsset,
    KernelInfo,
    KernelReference,
    encode_kernel_yaml,
    parse_kernel_yaml,
    parse_reference,
)
from imagekit.packages.rulebook import KernelRules
from imagekit.rules import rules_of
from imagekit.schema import DocumentProblems, Problem, Source, load_yaml

TESTS = Path(__file__).parent.parent.parent
INVALID = sorted((TESTS / "documents" / "invalid").glob("kernel-*"))

PI = """\
dynamic-modules: $SNAP_DATA
unknown: left alone
assets:
  dtbs:
    update: true
    content:
      - dtbs/broadcom/
      - dtbs/overlays
  image:
    content: [Image]
"""


def parse(text: str | bytes) -> KernelInfo:
    return parse_kernel_yaml(load_yaml(text, name="kernel.yaml"))


def found(case: Path) -> tuple[Problem, ...]:
    """The problems of a document, and its warnings where it has none."""
    try:
        return parse((case / "kernel.yaml").read_bytes()).warnings
    except DocumentProblems as error:
        return error.problems


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_document_that_breaks_rules_gets_the_reviewed_words(case: Path) -> None:
    assert "\n".join(map(str, found(case))) + "\n" == (case / "error.txt").read_text()


@pytest.mark.parametrize("rule", rules_of(KernelRules), ids=lambda rule: rule.id)
def test_rule_has_a_document_that_breaks_it(rule: object) -> None:
    assert any(problem.rule is rule for case in INVALID for problem in found(case))


def test_problem_of_a_document_is_no_bug() -> None:
    with pytest.raises(DocumentError) as caught:
        parse("assets: []")
    assert caught.value.exit_code is ExitCode.DOCUMENT


def test_document_becomes_its_values() -> None:
    info = parse(PI)
    assert info.dynamic_modules
    assert info.updated == ("dtbs",)
    assert info.assets["image"] == KernelAsset(name="image", update=False, content=("Image",))


@pytest.mark.parametrize("text", ["", "assets:\n", "dynamic-modules: ''\nassets: {}\n"])
def test_kernel_without_assets_is_fine(text: str) -> None:
    assert parse(text) == KernelInfo()


@pytest.mark.parametrize(("path", "listed"), [
    ("dtbs/broadcom/", True), ("dtbs/broadcom/a.dtb", True), ("dtbs/broadcom", False), ("Image", False),
    ("dtbs/overlays", True), ("dtbs/overlays/", True), ("dtbs/overlays/x/y", True), ("dtbs/overlays2", False),
    ("dtbs/", False),
])
def test_asset_lists_its_paths_and_what_lies_below(path: str, listed: bool) -> None:
    assert parse(PI).assets["dtbs"].lists(path) is listed


@pytest.mark.parametrize(("text", "reference"), [
    ("$kernel:dtbs/dtbs/broadcom/", KernelReference(asset="dtbs", path="dtbs/broadcom/")),
    ("$kernel:D-7/a", KernelReference(asset="D-7", path="a")),
    ("$kernel:d//a", KernelReference(asset="d", path="/a")),
    ("$kernel:d/.", KernelReference(asset="d", path=".")),
])
def test_reference_names_asset_and_path(text: str, reference: KernelReference) -> None:
    assert parse_reference(text) == reference


@pytest.mark.parametrize("text", [
    "$kernel:", "$kernel:a", "$kernel:a/", "$kernel:/b", "kernel:a/b", "$kernel:a_b/c", "$kernel:-a/b",
    "$kernel:a/../b", "$kernel:a/b//", "$kernel:a/./b", "$kernel:a///b", "$kernel:a//",
    "$kernel:a/b..c", "$kernel:a/\0",
])
def test_reference_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_reference(text)


@settings(max_examples=200, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(["assets", "update", "content", "dynamic-modules", "x"]), inner, max_size=3)))
def test_any_tree_is_parsed_or_refused_but_never_crashes(value: object) -> None:
    try:
        parse_kernel_yaml(Source(name="any", value=value, lines={}))
    except DocumentProblems as error:
        assert all(problem.rule for problem in error.problems)


def test_assets_that_are_written_are_read_as_they_were() -> None:
    assets = (KernelAsset(name="dtbs", update=True, content=("dtbs/", 'odd "name": #1')),
              KernelAsset(name="fw", update=False, content=("firmware/brcm",)))
    assert tuple(parse(encode_kernel_yaml(assets)).assets.values()) == assets
