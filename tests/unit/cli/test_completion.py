"""Completion: the scripts load in their shells, and the answers come from the table."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from imagekit.cli.completion import SHELLS, script
from imagekit.testing.documents import Brand


def answer(*words: str) -> list[str]:
    env = {**os.environ, "_IMAGEKIT_COMPLETE": "bash_complete", "COMP_WORDS": " ".join(("imagekit", *words)),
           "COMP_CWORD": str(len(words))}
    result = subprocess.run([sys.executable, "-c", "from imagekit.cli.main import main; main()"], env=env,
                            capture_output=True, text=True, check=True)
    assert result.stderr == ""
    return [line.partition(",")[2] for line in result.stdout.splitlines()]


def test_commands_complete_from_their_first_letters() -> None:
    assert answer("boo") == ["boot"]
    assert "doctor" in answer("")


def test_help_of_a_command_and_what_is_mistyped_print_nothing_into_the_line() -> None:
    assert answer("help", "pl") == ["plan"]
    answer("biuld", "")


def test_options_of_a_command_complete() -> None:
    assert "--install-line" in answer("doctor", "--in")


def test_arguments_with_choices_complete() -> None:
    assert answer("completion", "f") == ["fish"]


def test_recipes_and_keys_complete_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer("pack", "pc-k") == ["pc-kernel", "pc-kernel-generic"]
    folder = tmp_path / "imagekit/keys"
    folder.mkdir(parents=True, mode=0o700)
    for name in ("acme", "other"):
        (folder / f"{name}.pem").touch(mode=0o600)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert answer("sign", "-k", "a") == ["acme"]
    assert answer("key", "show", "") == ["acme", "other"]
    folder.chmod(0o777)
    assert answer("key", "show", "") == [""]


def test_roots_complete_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert answer("trust", "") == ["add", "list", "remove"]
    assert answer("trust", "add", "cano") == ["canonical", "cano"]  # or a file of that name
    assert answer("trust", "remove", "") == [""]
    folder = tmp_path / "imagekit/trust"
    folder.mkdir(parents=True)
    (folder / "x.account-key").write_bytes(Brand("acme").account_key.encode())
    assert answer("trust", "remove", "a") == ["acme"]


def test_completion_of_command_names_imports_no_command() -> None:
    env = {**os.environ, "_IMAGEKIT_COMPLETE": "bash_complete", "COMP_WORDS": "imagekit ", "COMP_CWORD": "1"}
    result = subprocess.run([sys.executable, "-X", "importtime", "-c",
                             "from imagekit.cli.main import main; main.main([])"],
                            env=env, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    assert "imagekit.cli.group" in imported
    assert not imported & {"imagekit.cli.doctor", "imagekit.cli.completion", "rich", "yaml"}


@pytest.mark.parametrize("shell", SHELLS)
def test_script_names_the_program_and_its_variable(shell: str) -> None:
    text = script(shell)
    assert "imagekit" in text and f"_IMAGEKIT_COMPLETE={shell}_complete" in text


def test_bash_accepts_the_script_and_offers_commands(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash, "bash is part of Debian"
    program = tmp_path / "imagekit"
    program.write_text(f"#!{sys.executable}\nfrom imagekit.cli.main import main\nmain()\n")
    program.chmod(0o755)
    (tmp_path / "script").write_text(script("bash"))
    ask = (f". {tmp_path / 'script'}; COMP_WORDS=(imagekit boo); COMP_CWORD=1; "
           "_imagekit_completion imagekit; echo ${COMPREPLY[@]}")
    repository = str(Path(__file__).parents[3])
    result = subprocess.run([bash, "--norc", "-c", ask], capture_output=True, text=True, check=True,
                            env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": repository})
    assert result.stdout.split() == ["boot"]


def test_boards_complete() -> None:
    assert "arm64-uboot" in answer("board", "show", "arm")
