"""imagekit snap check: documents by themselves, folders and packages; all problems at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import main
from imagekit.testing.squashfs import write_squashfs

DOCUMENTS = Path(__file__).parent.parent.parent / "documents/invalid"
GOOD = "name: hello\nversion: 1.10\nbase: core22\napps: {hello: {command: bin/hello}}\n"
BAD = "name: Hello\nversion: 1.10\ntype: apps\napps:\n  web:\n    command: bin/web\n    daemon: fork\n"
KERNEL = "assets:\n  dtbs: {update: true, content: [dtbs/]}\n"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["snap", "check", *map(str, args)])  # type: ignore[arg-type]


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_all_problems_of_a_lone_document_are_told_with_their_lines(tmp_path: Path) -> None:
    path = write(tmp_path / "snap.yaml", BAD)
    result = run(path)
    assert result.exit_code == 3
    where = [line.partition(": ")[0] for line in result.stdout.splitlines()]
    assert where == [f"{path}:1", f"{path}:3", f"{path}:7"]
    assert f"cannot use {path}: 3 problems" in result.stderr


def test_sound_document_is_told_so(tmp_path: Path) -> None:
    result = run(write(tmp_path / "any-name.yaml", GOOD))
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no problems, no warnings (as snap.yaml)" in result.stderr


@pytest.mark.parametrize(("name", "text"), [("kernel.yaml", KERNEL), ("kernel.yaml", ""), ("other.yaml", KERNEL),
                                            ("other.yaml", "dynamic-modules: $SNAP_DATA\n")])
def test_lone_kernel_yaml_is_known_by_its_name_or_its_keys(tmp_path: Path, name: str, text: str) -> None:
    answer = json.loads(run(write(tmp_path / name, text), "--json").stdout)["files"][0]
    assert (answer["format"], answer["ok"]) == ("kernel.yaml", True)


@pytest.mark.parametrize("case", ["kernel-many-problems", "snap-socket-path", "snap-epoch-list", "snap-layout-nested"])
def test_words_are_those_of_the_rules(case: str) -> None:
    path = next((DOCUMENTS / case).glob("*.yaml"))
    said = [line.removeprefix(f"{path}:") for line in run(path).stdout.splitlines() if "warning:" not in line]
    expected = [line.strip() for line in (path.parent / "error.txt").read_text().splitlines()]
    assert said == [line.removeprefix(f"{path.name}:") for line in expected if line.startswith(f"{path.name}:")] != []


def test_folder_of_a_kernel_has_both_documents_checked(tmp_path: Path) -> None:
    write(tmp_path / "meta/snap.yaml", "name: pi-kernel\nversion: '6'\ntype: kernel\n")
    write(tmp_path / "meta/kernel.yaml", "assets:\n  -x: {content: [a]}\n")
    answer = json.loads(run(tmp_path, "--json").stdout)["files"]
    assert [(item["file"], item["format"], item["ok"]) for item in answer] == [
        (f"{tmp_path}/meta/snap.yaml", "snap.yaml", True), (f"{tmp_path}/meta/kernel.yaml", "kernel.yaml", False)]
    assert answer[1]["problems"][0]["rule"] == "kernel-asset-name"


def test_hooks_in_a_folder_count_as_declared(tmp_path: Path) -> None:
    write(tmp_path / "meta/snap.yaml", "name: hello\nversion: '1'\nbase: none\n")
    assert run(tmp_path).exit_code == 0
    write(tmp_path / "meta/hooks/configure", "#!/bin/sh\n")
    assert "base" in run(tmp_path).stdout


def test_package_is_checked_without_being_unpacked(tmp_path: Path, program: Callable[[str], str]) -> None:
    program("mksquashfs")
    path = write_squashfs(tmp_path / "hello_1.0_amd64.snap", {"meta/snap.yaml": BAD.encode()})
    result = run(path)
    assert (result.exit_code, len(result.stdout.splitlines())) == (3, 3)
    assert result.stdout.startswith(f"{path}/meta/snap.yaml:1: name: ")


def test_what_is_no_package_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    good = write(tmp_path / "snap.yaml", GOOD)
    broken = write(tmp_path / "broken_1.snap", "no package at all")
    result = run(tmp_path / "empty", broken, good, "--json")
    answer = json.loads(result.stdout)["files"]
    assert [(item["format"], item["ok"]) for item in answer] == [(None, False), (None, False), ("snap.yaml", True)]
    assert "it has no meta/snap.yaml" in answer[0]["problems"][0]["text"]
    assert result.exit_code == 3
    assert "cannot use 2 documents: 2 problems" in result.stderr


def test_warnings_change_no_verdict_unless_strict_and_the_answer_goes_into_a_file_too(tmp_path: Path) -> None:
    path = write(tmp_path / "snap.yaml", GOOD + "confinment: strict\n")
    assert run(path).exit_code == 0
    result = run(path, "--strict", "-o", tmp_path / "findings.json")
    assert result.exit_code == 3
    assert "warning: nobody reads this key, did you mean 'confinement'?" in result.stdout
    answer = json.loads((tmp_path / "findings.json").read_text())["files"][0]
    assert (answer["ok"], answer["warnings"][0]["rule"]) == (False, "snap-key")


def test_text_that_is_no_yaml_is_an_answer_too(tmp_path: Path) -> None:
    answer = json.loads(run(write(tmp_path / "snap.yaml", "name: [\n"), "--json").stdout)["files"][0]
    assert (answer["format"], answer["problems"][0]["rule"]) == (None, "yaml-syntax")


@pytest.mark.parametrize(("text", "said"), [("volumes: {pc: {}}\n", "imagekit gadget check"),
                                            ("name: a\nparts: {a: {plugin: dump}}\n", "it is a snapcraft.yaml")])
def test_document_of_another_format_is_told_as_such(tmp_path: Path, text: str, said: str) -> None:
    result = run(write(tmp_path / "snap.yaml", text))
    assert (result.exit_code, len(result.stdout.splitlines())) == (3, 1)
    assert said in result.stdout
