"""Programs: found, started in a fixed environment, and clearly told when missing or failing."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.tools import LOADERS, LocalTools


def test_output_and_input_pass_through() -> None:
    finished = LocalTools().run("cat", stdin=b"text")
    assert finished.stdout == b"text"


def test_environment_is_fixed_and_extended_only_by_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    monkeypatch.setenv("SECRET", "x")
    lines = LocalTools().run("env", env={"EXTRA": "1"}).stdout.decode().splitlines()
    assert {"LC_ALL=C.UTF-8", "TZ=UTC", "EXTRA=1"} <= set(lines)
    assert not [line for line in lines if line.startswith("SECRET")]


@pytest.mark.parametrize("path", ["", ":/nonexistent", ".", "/nonexistent::"])
def test_program_is_never_taken_from_the_current_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                        path: str) -> None:
    (tmp_path / "bmaptool-here").write_text("#!/bin/sh\n")
    (tmp_path / "bmaptool-here").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    with pytest.raises(HostError, match="it is not installed"):
        LocalTools().find("bmaptool-here")


def test_missing_program_names_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("imagekit.host.tools.SYSTEM_PATH", "/nonexistent")
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(HostError, match="cannot run bmaptool: it is not installed") as caught:
        LocalTools().run("bmaptool")
    assert caught.value.hint == "as root: apt-get install bmap-tools"


def test_failing_program_is_told_with_its_last_lines() -> None:
    with pytest.raises(HostError, match="cannot run sh: it failed with exit status 3") as caught:
        LocalTools().run("sh", "-c", "seq 100 >&2; exit 3")
    assert caught.value.details == tuple(str(number) for number in range(81, 101))


def test_program_ended_by_a_signal_is_told_so() -> None:
    with pytest.raises(HostError, match="signal 9"):
        LocalTools().run("sh", "-c", "kill -9 $$")


def test_program_that_does_not_end_is_stopped() -> None:
    with pytest.raises(HostError, match=r"did not end within 0\.1 s"):
        LocalTools().run("sleep", "60", timeout_s=0.1)


def test_interrupted_program_is_waited_for_until_it_has_cleaned_up(tmp_path: Path) -> None:
    script = (f"sleep 60 & trap 'kill $!; sleep 0.8; echo done > {tmp_path}/cleaned; exit 1' TERM;"
              f" echo > {tmp_path}/ready; wait")
    pressed = threading.Thread(target=press_ctrl_c_after, args=(tmp_path / "ready",))
    pressed.start()
    with pytest.raises(KeyboardInterrupt):
        LocalTools().run("sh", "-c", script)
    assert (tmp_path / "cleaned").exists()
    pressed.join()


def press_ctrl_c_after(sign: Path) -> None:
    while not sign.exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGINT)


def test_locked_program_runs_by_its_own_loader_and_libraries(tmp_path: Path) -> None:
    argv = LocalTools(tmp_path).find("mkfs.erofs")
    loader, triplet = LOADERS[os.uname().machine]
    assert argv[0] == str(tmp_path / loader)
    assert argv[2] == f"{tmp_path}/usr/lib/{triplet}:{tmp_path}/lib/{triplet}"
    assert argv[-1] == str(tmp_path / "usr/bin/mkfs.erofs")


def test_locked_tools_do_not_fall_back_on_the_host(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot run mkfs\.erofs"):
        LocalTools(tmp_path).run("mkfs.erofs", "--version")


def test_locked_emulator_is_started_by_its_own_loader_and_all_else_is_the_hosts(tmp_path: Path) -> None:
    tools = LocalTools(emulators=tmp_path)
    loader, triplet = LOADERS[os.uname().machine]
    found = tools.find("qemu-system-arm")
    assert (found[0], found[-1]) == (str(tmp_path / loader), str(tmp_path / "usr/bin/qemu-system-arm"))
    assert str(tmp_path / "usr/lib" / triplet) in found[2]
    assert tools.find("cat") == LocalTools().find("cat")
