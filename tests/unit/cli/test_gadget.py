"""imagekit gadget check: what it prints, what it answers, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.findings import mark
from imagekit.cli.main import main
from imagekit.schema import Problem

TESTS = Path(__file__).parent.parent.parent
DOCUMENTS = TESTS / "documents"
REAL = TESTS / "data/gadgets"
BAD = DOCUMENTS / "invalid/gadget-type--many-problems/gadget.yaml"
WARNED = DOCUMENTS / "invalid/gadget-legacy-mbr/gadget.yaml"
GOOD = DOCUMENTS / "valid/gadget-minimal-uc20/gadget.yaml"


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["gadget", "check", *map(str, args)])  # type: ignore[arg-type]


def test_all_problems_are_told_with_their_lines() -> None:
    result = run(BAD)
    assert result.exit_code == 3
    lines = [line for line in result.stdout.splitlines() if "warning:" not in line]
    assert lines == (BAD.parent / "error.txt").read_text().replace("gadget.yaml:", f"{BAD}:").splitlines()
    assert f"imagekit: cannot use {BAD}: 8 problems" in result.stderr


def test_sound_gadget_is_told_so() -> None:
    result = run(REAL / "pi-gadget_22-arm64_gadget.yaml")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no problems, no warnings (rules uc20)" in result.stderr


def test_warnings_change_no_verdict_unless_strict() -> None:
    assert run(WARNED).exit_code == 0
    strict = run(WARNED, "--strict")
    assert strict.exit_code == 3
    assert "warning: type mbr is the old spelling" in strict.stdout


def test_rules_are_chosen_by_contents_or_by_option() -> None:
    path = REAL / "pc-gadget_16_gadget.yaml"
    assert json.loads(run(path, "--json").stdout)["files"][0]["rules"] == "uc16"
    result = run(path, "--rules", "uc20")
    assert result.exit_code == 3
    assert "volumes: a gadget for UC20+ needs a structure with the role system-seed" in result.stdout


def test_several_gadgets_have_one_answer() -> None:
    result = run(GOOD, BAD, WARNED, "--json")
    answer = json.loads(result.stdout)
    assert [item["ok"] for item in answer["files"]] == [True, False, True]
    first = answer["files"][1]["problems"][0]
    assert first.pop("text").startswith("'zz' is not a type: allowed are bare, ")
    assert first == {"file": str(BAD), "line": 16, "path": "volumes.pc.structure[2].type", "rule": "gadget-type"}
    assert [item["rule"] for item in answer["files"][2]["warnings"]] == ["gadget-legacy-mbr"]
    assert result.exit_code == 3


def test_package_that_is_none_keeps_nobody_from_the_others(tmp_path: Path) -> None:
    path = tmp_path / "broken_1.snap"
    path.write_bytes(b"x" * 5000)
    answer = json.loads(run(path, GOOD, "--json").stdout)
    assert [(item["file"], item["ok"], item["rules"]) for item in answer["files"]] == [
        (str(path), False, None), (str(GOOD), True, "uc20")]
    (problem,) = answer["files"][0]["problems"]
    assert problem["rule"] is None
    assert problem["text"].startswith(f"cannot read {path}: it is neither EROFS nor squashfs")


def test_text_that_is_no_yaml_is_an_answer_too(tmp_path: Path) -> None:
    path = tmp_path / "gadget.yaml"
    path.write_text("volumes: {pc: [}\n")
    result = run(path, "--json")
    found = json.loads(result.stdout)["files"][0]
    assert (found["rules"], found["ok"], found["problems"][0]["rule"]) == (None, False, "yaml-syntax")


def test_folder_is_held_to_its_files(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    text = GOOD.read_text() + ("      - name: spl\n        type: 21686148-6449-6E6F-744E-656564454649\n"
                               "        size: 1M\n        content: [{image: spl.bin}, {image: gone.bin}]\n")
    (tmp_path / "meta/gadget.yaml").write_text(text)
    (tmp_path / "spl.bin").write_bytes(bytes(1 << 21))
    answer = json.loads(run(tmp_path, "--json").stdout)["files"][0]
    assert {item["rule"] for item in answer["problems"]} == {"content-image-does-not-fit", "content-missing"}


def test_files_are_checked_beside_other_problems(tmp_path: Path) -> None:
    text = GOOD.read_text().replace("bootloader: grub", "bootloader: lilo") + (
        "      - name: spl\n        type: bare\n        size: 1M\n        content: [{image: gone.bin}]\n")
    (tmp_path / "gadget.yaml").write_text(text)
    answer = json.loads(run(tmp_path, "--json").stdout)["files"][0]
    assert [item["rule"] for item in answer["problems"]] == ["gadget-bootloader", "content-missing"]


def test_our_own_gadget_is_sound_before_it_is_packed() -> None:
    assert run(TESTS.parent / "gadgets/pc").exit_code == 0


def test_terminal_gets_the_line_and_a_mark_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.cli.findings.drawn", lambda stream: True)  # a terminal that the runner cannot be
    result = CliRunner(env={"NO_COLOR": "1"}).invoke(main, ["gadget", "check", str(BAD)])  # type: ignore[arg-type]
    assert "error: 'zz' is not a type" in result.stdout
    where = f"  --> {BAD}:16: volumes.pc.structure[2].type\n"
    assert f"{where}  16 |         type: zz\n     |         ^^^^\n" in result.stdout


def test_document_cannot_speak_to_the_terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "gadget.yaml"
    path.write_text('volumes:\n  "\\e[31mred": {structure: 1}\n# \x1b[2J\n')
    for terminal in (True, False):
        monkeypatch.setattr("imagekit.cli.findings.drawn", lambda stream, answer=terminal: answer)
        result = CliRunner(env={"NO_COLOR": "1"}).invoke(main, ["gadget", "check", str(path)])  # type: ignore[arg-type]
        assert result.exit_code == 3
        assert "\x1b" not in result.output
        path.write_text(path.read_text().replace("# \x1b[2J\n", ""))


@pytest.mark.parametrize(("row", "path", "where"), [
    ("        type: zz", ("a", "type"), (8, 4)),
    ("      - name: x", ("a", 2), (6, 9)),
    ("update: {edition: x}", ("update", "edition"), (9, 7)),
    ("", (), (0, 1)),
])
def test_mark_stands_below_the_key(row: str, path: tuple[str | int, ...], where: tuple[int, int]) -> None:
    assert mark(row, Problem(name="x", line=1, path=path, text="")) == where


def test_answer_goes_into_a_file_beside_what_is_told(tmp_path: Path) -> None:
    result = run(BAD, "-o", tmp_path / "findings.json")
    assert result.exit_code == 3 and str(BAD) in result.stdout
    assert (tmp_path / "findings.json").read_text() == run(BAD, "--json").stdout
