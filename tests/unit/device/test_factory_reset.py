"""When a factory reset may begin, and what is told of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imagekit.boot.slotstate import encode_partition
from imagekit.device.cli import main
from imagekit.device.factory_reset import factory_reset
from imagekit.device.history import History, Pending, load_history, save_history
from imagekit.device.state import StatePartition
from imagekit.errors import TargetError
from tests.unit.device.conftest import Device

Captured = pytest.CaptureFixture[str]
NOW = "2026-06-01T00:00:00Z"


@pytest.fixture
def healthy(device: Device) -> Device:
    """It has room for the mark, as the partition of a device has, and was judged."""
    state = StatePartition(device=device.state_path).load()
    assert state is not None
    device.state_path.write_bytes(encode_partition(replace(state, confirmed=True)).ljust(1 << 16, b"\0"))
    return device


def wanted(device: Device) -> bool:
    return StatePartition(device=device.state_path).wants_reset()


def test_nobody_said_yes(healthy: Device, capsys: Captured) -> None:
    assert main(["factory-reset"], machine=healthy.machine) == 2
    assert "hint: imagekit-device factory-reset --yes\n" in capsys.readouterr().err
    assert not wanted(healthy)


def test_mark_is_left_and_the_device_reboots(healthy: Device, capsys: Captured) -> None:
    save_history(healthy.machine, History(floors={"debian-13": 7}, hold_until="2026-07-01T00:00:00Z"))
    assert main(["factory-reset", "--yes", "--json"], machine=healthy.machine) == 0
    assert json.loads(capsys.readouterr().out) == {"imagekit": 1, "rebooting": True}
    assert wanted(healthy)
    assert ("systemctl", "--no-block", "reboot") in healthy.programs.ran
    memory = load_history(healthy.machine)
    assert (memory.floors, memory.hold_until, memory.changes[-1].outcome) == ({"debian-13": 7}, "", "begun")
    main(["changes"], machine=healthy.machine)
    assert capsys.readouterr().out.endswith("  factory-reset: begun\n")


def test_reboot_may_be_left_to_others(healthy: Device) -> None:
    assert main(["factory-reset", "--yes", "--no-reboot"], machine=healthy.machine) == 0
    assert wanted(healthy)
    assert not healthy.programs.ran


def test_data_that_cannot_be_written_stops_no_reset(healthy: Device) -> None:
    """It is what a reset is for."""
    (healthy.folder / "var/lib/imagekit/updates").write_text("in the way")
    factory_reset(healthy.machine, lambda line: None, now=NOW)
    assert wanted(healthy)


def refused(device: Device, match: str) -> None:
    with pytest.raises(TargetError, match=match):
        factory_reset(device.machine, lambda line: None, now=NOW)
    assert not wanted(device)
    assert not device.programs.ran


def test_slot_on_trial_is_not_reset(healthy: Device) -> None:
    raw = healthy.state_path.read_bytes()
    healthy.on_trial()
    healthy.state_path.write_bytes(healthy.state_path.read_bytes().ljust(len(raw), b"\0"))
    refused(healthy, "slot b is on trial")


def test_update_that_waits_for_its_reboot_comes_first(healthy: Device) -> None:
    save_history(healthy.machine, History(pending=Pending(
        slot="b", packages=(("debian-13", 2),), base_root="", kernel_root="", trial=True, time=NOW)))
    refused(healthy, "an update waits for its reboot")


def test_initrd_that_knows_of_no_reset_is_asked_for_none(healthy: Device) -> None:
    healthy.report(resets=False)
    refused(healthy, "the kernel that runs cannot do it yet")


# ---- what the boot after it tells

@pytest.mark.parametrize(("how", "reason"), [("emptied", ""), ("anew", "could not be emptied and was made anew")])
def test_reset_that_was_done_is_told(healthy: Device, how: str, reason: str) -> None:
    (healthy.folder / "run/reset").write_text(how + "\n")
    assert main(["health"], machine=healthy.machine) == 0
    assert main(["health"], machine=healthy.machine) == 0  # once
    (change,) = load_history(healthy.machine).changes
    assert (change.what, change.outcome) == ("factory-reset", "done")
    assert reason in change.reason


def test_mark_that_no_initrd_took_away_ends_with_the_healthy_boot(healthy: Device) -> None:
    StatePartition(device=healthy.state_path).want_reset(True)
    assert main(["health"], machine=healthy.machine) == 0
    assert not wanted(healthy)
    assert load_history(healthy.machine).changes[-1].outcome == "failed"


def test_mark_stays_where_the_boot_was_not_healthy(healthy: Device) -> None:
    StatePartition(device=healthy.state_path).want_reset(True)
    healthy.hook("10-pump", "exit 4")
    assert main(["health"], machine=healthy.machine) == 7
    assert wanted(healthy)


def test_boot_without_a_reset_tells_nothing(healthy: Device) -> None:
    assert main(["health"], machine=healthy.machine) == 0
    assert load_history(healthy.machine).changes == ()
