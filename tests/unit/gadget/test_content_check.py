"""Content against files: each rule has a gadget that breaks it, with the files it was held to and the exact words."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.gadget import parse_gadget
from imagekit.gadget.content_check import ContentRules, check_contents
from imagekit.gadget.content_files import LandingFile, RawImage, landing_files, overlaps, raw_images
from imagekit.gadget.values import RawContent
from imagekit.packages.kernelyaml import KernelContents, parse_kernel_yaml
from imagekit.rules import rules_of
from imagekit.schema import Problem, Problems, load_yaml

TESTS = Path(__file__).parent.parent.parent
INVALID = sorted((TESTS / "documents" / "invalid").glob("content-*"))
FILES = {"boot.scr": 5, "assets/a": 1, "assets/deep/b": 2, "assets2": 3}


def listing(path: Path) -> dict[str, int]:
    """A file of lines `PATH SIZE`."""
    pairs = (line.rsplit(" ", 1) for line in path.read_text().splitlines())
    return {name: int(size) for name, size in pairs}


def found(case: Path) -> tuple[tuple[Problem, ...], tuple[Problem, ...]]:
    """Problems and warnings of the gadget with its files, and its kernel where there is one."""
    source = load_yaml((case / "gadget.yaml").read_bytes(), name="gadget.yaml")
    kernel = None
    if (case / "kernel.yaml").exists():
        info = parse_kernel_yaml(load_yaml((case / "kernel.yaml").read_bytes(), name="kernel.yaml"))
        files = case / "kernel-files.txt"
        kernel = KernelContents(info=info, files=listing(files) if files.exists() else None)
    problems = Problems(source)
    check_contents(problems, parse_gadget(source), listing(case / "files.txt"), kernel=kernel)
    return problems.found, problems.warnings


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_content_that_breaks_rules_gets_the_reviewed_words(case: Path) -> None:
    problems, warnings = found(case)
    text = "".join(f"{problem}\n" for problem in problems) + "".join(f"warning: {item}\n" for item in warnings)
    assert text == (case / "error.txt").read_text()


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.name)
def test_folder_begins_with_the_rule_that_is_broken(case: Path) -> None:
    wanted = case.name.partition("--")[0]
    assert wanted in {problem.rule.id for group in found(case) for problem in group if problem.rule}


@pytest.mark.parametrize("rule", rules_of(ContentRules), ids=lambda rule: rule.id)
def test_rule_has_a_gadget_that_breaks_it(rule: object) -> None:
    assert any(problem.rule is rule for case in INVALID for group in found(case) for problem in group)


@pytest.mark.parametrize(("source", "target", "landed"), [
    ("boot.scr", "/", {"boot.scr"}),
    ("boot.scr", "uboot/", {"uboot/boot.scr"}),
    ("boot.scr", "uboot/other.scr", {"uboot/other.scr"}),
    ("assets/", "/", {"a", "deep/b"}),
    ("assets/", "into", {"into/a", "into/deep/b"}),
    ("assets", "into", {"into/assets/a", "into/assets/deep/b"}),
    ("assets/deep/", "/", {"b"}),
    ("/assets/deep", "/", {"deep/b"}),
    ("//assets//deep", "//x//", {"x/deep/b"}),
    ("./", "/", {"boot.scr", "assets/a", "assets/deep/b", "assets2"}),
    ("asset", "/", set()),
    ("boot.scr/", "/", set()),
])
def test_sources_land_as_snapd_lands_them(source: str, target: str, landed: set[str]) -> None:
    assert {item.target for item in landing_files(source, target, FILES)} == landed


def test_landing_file_tells_where_it_comes_from() -> None:
    assert landing_files("assets/", "x/", FILES)[1] == LandingFile(source="assets/deep/b", target="x/deep/b", size=2)


def test_image_without_an_offset_lies_behind_the_one_before_it_in_the_document() -> None:
    content = (RawContent(image="one", offset=100, size=50), RawContent(image="two"), RawContent(image="gone"),
               RawContent(image="three", offset=0))
    images = raw_images(content, {"one": 10, "two": 5, "three": 7})
    assert images == (RawImage(index=0, image="one", start=100, end=150),
                      RawImage(index=1, image="two", start=150, end=155),
                      RawImage(index=3, image="three", start=0, end=7))
    assert list(overlaps(images)) == []
