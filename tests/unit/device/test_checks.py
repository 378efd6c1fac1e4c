"""Single checks, where the judge's tests do not reach."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.device.checks import Scrub, check_boot_complete, check_hooks, check_units, check_var
from imagekit.errors import TargetError
from tests.unit.device.conftest import Device, FakePrograms


def test_hooks_run_in_the_order_of_their_names_across_folders(tmp_path: Path) -> None:
    order = tmp_path / "order"
    folders = (tmp_path / "one", tmp_path / "two")
    for folder, name in ((folders[0], "20-b"), (folders[1], "10-a"), (folders[1], "30-c")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\necho {name} >> {order}\n")
        (folder / name).chmod(0o755)
    check = check_hooks(folders)
    assert (check.ok, check.detail) == (True, "3 passed")
    assert order.read_text().split() == ["10-a", "20-b", "30-c"]


def test_hook_that_hangs_is_ended(device: Device) -> None:
    device.hook("10-slow", "exec sleep 60")
    check = check_hooks(device.machine.hook_folders, timeout_s=0.2)
    assert not check.ok
    assert "took longer than 0.2 s" in check.detail


def test_hook_that_is_no_program_is_named(device: Device) -> None:
    path = device.folder / "hooks/10-empty"
    path.write_bytes(b"\x7fELF nonsense")
    path.chmod(0o755)
    check = check_hooks(device.machine.hook_folders)
    assert not check.ok
    assert "10-empty cannot be run" in check.detail


def test_folder_among_the_hooks_is_no_hook(device: Device) -> None:
    (device.folder / "hooks/lost+found").mkdir()
    check = check_hooks(device.machine.hook_folders)
    assert (check.ok, check.detail) == (True, "0 passed")


def test_every_failing_hook_is_named(device: Device) -> None:
    device.hook("10-a", "exit 1")
    device.hook("20-b", "kill -9 $$")
    detail = check_hooks(device.machine.hook_folders).detail
    assert "10-a ended with status 1" in detail
    assert "20-b ended with status -9" in detail


class Systemd:
    """A systemctl that knows these units: what `show` says of each."""

    def __init__(self, **units: str) -> None:
        self._units = {name.replace("_", "."): said for name, said in units.items()}

    def run(self, *command: str) -> str:
        if command[-1] == "boot-complete.target":
            return f"Requires={' '.join(self._units)}\nActiveState=inactive\n"
        return self._units[command[-1]]


@pytest.mark.parametrize(("said", "detail"), [
    ("ActiveState=failed\nInactiveExitTimestampMonotonic=7\n", "acme.service has failed"),
    ("ActiveState=activating\nInactiveExitTimestampMonotonic=7\n", "acme.service has not come to an end"),
    ("ActiveState=inactive\nInactiveExitTimestampMonotonic=0\n", "acme.service was not started"),
    ("ActiveState=inactive\nInactiveExitTimestampMonotonic=7\n", "boot-complete.target is inactive")])
def test_unit_that_keeps_the_boot_from_being_complete_is_named(said: str, detail: str) -> None:
    check = check_boot_complete(Systemd(sysinit_target="ActiveState=active\n", acme_service=said))
    assert (check.name, check.ok, check.detail) == ("boot-complete", False, detail)


@pytest.mark.parametrize("answer", ["", TargetError("cannot run systemctl: no answer")])
def test_systemd_that_does_not_say_whether_the_boot_is_complete_is_unhealthy(answer: str | TargetError) -> None:
    programs = FakePrograms()
    programs.answers["systemctl show"] = answer
    assert not check_boot_complete(programs).ok


def test_missing_list_of_optional_units_is_unhealthy(tmp_path: Path) -> None:
    check = check_units(FakePrograms(), optional=tmp_path / "absent")
    assert not check.ok
    assert "cannot read" in check.detail


def test_probe_of_var_follows_no_link(tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("keep")
    (tmp_path / "lib/imagekit").mkdir(parents=True)
    (tmp_path / "lib/imagekit/probe").symlink_to(target)
    check, degraded = check_var(var=tmp_path, degraded=tmp_path / "degraded")
    assert check.ok
    assert degraded
    assert target.read_text() == "keep"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_scrub_that_dies_is_not_a_scrub() -> None:
    check = Scrub([(Path("dev\0ice"), 1)]).check()  # a ValueError, which nobody expects
    assert not check.ok
    assert "was not read to its end" in check.detail


def test_scrub_of_nothing_is_not_a_scrub() -> None:
    assert not Scrub([]).check().ok
