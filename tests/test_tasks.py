"""The demo around the program: what it announces, and that it never ends well without a verdict."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from invoke import Context, Exit

ROOT = Path(__file__).parent.parent
HEALTHY = {"healthy": True, "slot": "a", "phases": {"firmware": 3.5, "kernel": 2.0}}


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tasks.py with a demo folder of its own, and a program that notes its words and answers for `boot`."""
    spec = importlib.util.spec_from_file_location("imagekit_tasks", ROOT / "tasks.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "DEMO", tmp_path / "demo")
    monkeypatch.setattr(module, "BIN", tmp_path)
    monkeypatch.setattr(module, "missing_parts", lambda: (0, 0, True))
    return module


def program(tasks: ModuleType, *, boot: dict[str, object], code: int = 0, fails: str = "") -> Path:
    notes = tasks.BIN / "words"
    path = tasks.BIN / "imagekit"
    path.write_text(f"""#!{sys.executable}
import json, pathlib, sys
with open({str(notes)!r}, "a") as stream:
    stream.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[1] == {fails!r}:
    sys.exit(5)
if sys.argv[1] == "key":
    keys = pathlib.Path(__import__("os").environ["XDG_DATA_HOME"]) / "imagekit/keys"
    keys.mkdir(parents=True)
    (keys / "demo").touch()
if sys.argv[1] == "pack":
    pathlib.Path(sys.argv[-1]).mkdir(exist_ok=True)
if sys.argv[1] == "boot":
    print(json.dumps({boot!r}))
    sys.exit({code})
""")
    path.chmod(0o755)
    watch = tasks.BIN / "pytest"  # the device that updates itself
    watch.write_text(f"#!/bin/sh\necho pytest \"$@\" >> {notes}\n")
    watch.chmod(0o755)
    return notes


def test_demo_ends_with_verdict_slot_times_path_and_three_commands(tasks, capfd) -> None:
    notes = program(tasks, boot=HEALTHY)
    tasks.demo.body(Context())
    out = capfd.readouterr().out
    assert out.splitlines()[0].startswith("This takes about ")
    end = out[out.index("Verdict: healthy, slot a"):]
    assert "firmware 3.5 s, kernel 2.0 s" in end and "pc-demo.img" in end
    assert len(end[end.index("Try next:"):].strip().splitlines()) == 4
    assert "  ./bootstrap demo --update\n" in end
    assert [line.split()[0] for line in notes.read_text().splitlines()] == \
        ["key", "pack", "sign", "sign", "build", "boot"]


def test_update_comes_behind_the_verdict(tasks, capfd) -> None:
    notes = program(tasks, boot=HEALTHY)
    tasks.demo.body(Context(), update=True)
    out = capfd.readouterr().out
    assert ", update " in out[out.index("Verdict: healthy, slot a"):]
    said = [line for line in notes.read_text().splitlines() if " serve " not in line]  # that one is beside the others
    assert [line.split()[0] for line in said][6:] == \
        ["store", "store", "store", "store", "store", "sign", "sign", "build", "pack", "sign", "store", "store", "pack",
         "sign", "pytest"]
    assert "systemd-networkd" in (tasks.DEMO / "with-store/debian-13-3.yaml").read_text().partition("usr/share/doc")[0]


def test_second_demo_keeps_its_key_and_tells_the_time_of_the_first(tasks, capfd) -> None:
    notes = program(tasks, boot=HEALTHY)
    tasks.demo.body(Context())
    tasks.demo.body(Context())
    assert notes.read_text().count("key create") == 1
    assert "downloads nothing" in capfd.readouterr().out


@pytest.mark.parametrize("boot", [{"healthy": False}, {}, {"healthy": "true", "slot": "a"}, {"healthy": None}])
def test_boot_without_a_healthy_verdict_ends_with_7_and_no_success_line(tasks, capfd, boot) -> None:
    program(tasks, boot=boot)
    with pytest.raises(Exit) as raised:
        tasks.demo.body(Context())
    assert raised.value.code == 7
    assert "healthy, slot" not in capfd.readouterr().out


def test_boot_that_fails_ends_with_its_code_even_if_it_says_healthy(tasks, capfd) -> None:
    program(tasks, boot=HEALTHY, code=7)
    with pytest.raises(Exit) as raised:
        tasks.demo.body(Context())
    assert raised.value.code == 7
    assert "healthy, slot" not in capfd.readouterr().out


def test_device_that_takes_no_update_ends_with_7_and_no_success_line(tasks, capfd) -> None:
    program(tasks, boot=HEALTHY)
    (tasks.BIN / "pytest").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(Exit) as raised:
        tasks.demo.body(Context(), update=True)
    assert raised.value.code == 7
    assert "healthy, slot" not in capfd.readouterr().out


def test_step_that_fails_stops_the_demo_with_its_code(tasks) -> None:
    notes = program(tasks, boot=HEALTHY, fails="build")
    with pytest.raises(Exit) as raised:
        tasks.demo.body(Context())
    assert raised.value.code == 5
    assert "boot" not in notes.read_text()


def test_announcement_names_what_is_missing(tasks, capsys, monkeypatch) -> None:
    monkeypatch.setattr(tasks, "missing_parts", lambda: (120, 90 << 20, False))
    tasks.announce()
    assert "downloads 90 MiB (120 Debian packages)" in capsys.readouterr().out
    (tasks.DEMO).mkdir(parents=True)
    (tasks.DEMO / "times.json").write_text(json.dumps({"cached_s": 84.0}))
    monkeypatch.setattr(tasks, "missing_parts", lambda: (0, 0, True))
    tasks.announce()
    assert "about 84 seconds" in capsys.readouterr().out


def test_command_lines_are_shown_as_one_would_type_them(tasks, capsys) -> None:
    assert tasks.show(ROOT / ".ci/run", "a b") == [".ci/run", "a b"]
    assert capsys.readouterr().out == "\n$ .ci/run 'a b'\n"


def test_words_after_dashes_keep_their_quoting(tasks, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["invoke", "test", "--", "-k", "a or b"])
    assert tasks.words_after_dashes() == ["-k", "a or b"]
    monkeypatch.setattr(sys, "argv", ["invoke", "test"])
    assert tasks.words_after_dashes() == []
