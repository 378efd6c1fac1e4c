"""Every parser of what others wrote, under fire: no input crashes it, takes a second, or 256 MiB.

In CI each target is run 10,000 times, at home fewer; `invoke fuzz` runs as long as one likes (docs/fuzzing.md).
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
RUNS = int(os.environ.get("IMAGEKIT_FUZZ_RUNS", 10_000 if os.environ.get("CI") else 1_000))


def beside(name: str) -> ModuleType:
    """A module of this folder, which is no package."""
    sys.path.insert(0, str(HERE))
    try:
        spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
        return module
    finally:
        sys.path.remove(str(HERE))


run = beside("run")
targets = sys.modules["targets"]
ENGINE = run.engine()


def test_engine_is_the_one_that_learns() -> None:
    """Only on a machine that atheris is not made for are inputs mutated blindly."""
    if os.environ.get("CI") and run.must_be_atheris():
        assert ENGINE == "atheris", "atheris is not installed: ./bootstrap"


def test_every_target_has_seeds() -> None:
    assert [name for name in targets.TARGETS if not run.inputs(name)] == []
    assert sorted(path.name for path in run.SEEDS.iterdir()) == sorted(targets.TARGETS)


@pytest.mark.parametrize("target", targets.TARGETS)
def test_nothing_is_found(target: str) -> None:
    outcome = run.fuzz(target, runs=RUNS, engine=ENGINE)
    assert outcome.kind is None, f"{outcome.kind} by {outcome.input!r}\n{outcome.said}"
    assert outcome.executions >= RUNS
    assert ENGINE == "plain" or (outcome.coverage or 0) > 5


@pytest.mark.parametrize("engine", sorted({ENGINE, "plain"}))
@pytest.mark.parametrize(("seed", "kind", "first"), [
    (b"C", "crash", b"C"), (b"H", "hang", b"H"), (b"R", "hang", b"R"), (b"M", "memory", b"M")])
def test_planted_bug_is_caught(tmp_path: Path, engine: str, seed: bytes, kind: str, first: bytes) -> None:
    (tmp_path / "seed").write_bytes(b"x")
    (tmp_path / "zz").write_bytes(seed)
    outcome = run.fuzz("planted", runs=50, engine=engine, planted=True, seeds=tmp_path)
    assert outcome.kind == kind, outcome.said
    assert outcome.input.startswith(first)


@pytest.mark.parametrize("engine", sorted({ENGINE, "plain"}))
def test_target_without_a_bug_is_passed(tmp_path: Path, engine: str) -> None:
    (tmp_path / "seed").write_bytes(b"xxxx")
    outcome = run.fuzz("verity", runs=300, engine=engine, seeds=tmp_path)
    assert (outcome.kind, outcome.executions >= 300) == (None, True), outcome.said


def test_page_is_made_from_the_record() -> None:
    page = beside("page")
    record = json.loads(page.RECORD.read_text())
    assert (page.RECORD.parent / "fuzzing.md").read_text() == page.page(record), "run tests/fuzz/page.py again"
    assert set(record["targets"]) == set(targets.TARGETS)
    assert [name for name, item in record["targets"].items() if item["kind"]] == []


def test_recorded_runs_name_commits_of_this_history() -> None:
    record = json.loads(beside("page").RECORD.read_text())["targets"]
    named = sorted({item["commit"] for item in record.values() if item["commit"] is not None})
    shallow = subprocess.run(["git", "rev-parse", "--is-shallow-repository"], cwd=ROOT, capture_output=True, text=True,
                             check=False)
    if shallow.stdout.strip() != "false":
        pytest.skip("no whole history here: a shallow clone, or no git")
    lost = [commit for commit in named if subprocess.run(
        ["git", "merge-base", "--is-ancestor", commit, "HEAD"], cwd=ROOT, capture_output=True, check=False).returncode]
    assert lost == [], "run these targets again, or take the commit out of docs/fuzzing.json"
