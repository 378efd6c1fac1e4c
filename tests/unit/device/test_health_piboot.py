"""Judging a boot of the Pi's firmware: autoboot.txt first, the record second, the slot's FAT image compared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imagekit.boot.autoboot import AUTOBOOT_SIZE
from imagekit.boot.slotstate import FACTORY, Slot, begin_boot, begin_trial
from imagekit.device.autoboot import prefer
from imagekit.device.cli import main
from imagekit.device.health import judge
from imagekit.device.report import load_report
from imagekit.device.revert import revert
from imagekit.device.state import StatePartition
from imagekit.device.survey import survey
from imagekit.errors import TargetError
from tests.unit.device.conftest import Device

REBOOT = ("systemctl", "--no-block", "reboot")
GOOD_B = replace(FACTORY, other_good=True)


def remounts(device: Device) -> list[str]:
    return [command[2] for command in device.programs.ran if command[0] == "mount"]


@pytest.fixture
def trial(device: Device) -> Device:
    """The firmware took slot b for the first time, because autoboot.txt names it."""
    device.for_piboot(Slot.B, named=Slot.B)
    device.record(begin_boot(begin_trial(FACTORY), Slot.B).record)
    return device


def test_healthy_trial_is_confirmed_in_the_record_and_autoboot_needs_no_write(trial: Device) -> None:
    before = trial.autoboot.read_bytes()
    verdict = judge(trial.machine, lambda line: None, wait_s=1)
    assert (verdict.healthy, verdict.confirmed, verdict.reasons) == (True, True, ())
    state = StatePartition(device=trial.state_path).load()
    assert state is not None
    assert (state.slot, state.tries, state.confirmed, state.unhealthy, state.other_good) == (Slot.B, 0, True, 0, True)
    assert trial.autoboot.read_bytes() == before
    assert remounts(trial) == []


def test_slot_that_came_up_by_the_walk_is_named_by_autoboot_once_it_is_healthy(device: Device) -> None:
    device.for_piboot(Slot.A, named=Slot.B)
    device.record(begin_boot(begin_trial(FACTORY), Slot.A).record)
    assert judge(device.machine, lambda line: None, wait_s=1).confirmed
    assert device.autoboot.read_bytes() == device.name(Slot.A)
    assert remounts(device) == ["remount,rw", "remount,ro"]


@pytest.mark.parametrize("damage", [None, b"", b"#" * 511, b"[all]\n" * 200])
def test_lost_or_damaged_autoboot_is_made_anew(device: Device, damage: bytes | None) -> None:
    device.for_piboot()
    device.autoboot.unlink()
    if damage is not None:
        device.autoboot.write_bytes(damage)
    assert judge(device.machine, lambda line: None, wait_s=1).confirmed
    found = device.autoboot.read_bytes()
    assert len(found) == AUTOBOOT_SIZE
    assert found == device.name(Slot.A)


def test_unhealthy_trial_reboots_and_writes_nothing(trial: Device) -> None:
    trial.hook("50-no", "exit 1")
    before = trial.state_path.read_bytes(), trial.autoboot.read_bytes()
    assert not judge(trial.machine, lambda line: None, wait_s=1).healthy
    assert (trial.state_path.read_bytes(), trial.autoboot.read_bytes()) == before
    assert REBOOT in trial.programs.ran


@pytest.mark.parametrize(("other_good", "lost"), [(True, False), (False, False), (True, True)])
def test_unhealthy_slot_reboots_only_where_its_initrd_can_lead_away(device: Device, other_good: bool,
                                                                    lost: bool) -> None:
    device.for_piboot()
    device.record(replace(FACTORY, unhealthy=1, other_good=other_good))
    device.hook("50-no", "exit 1")
    if lost:
        device.autoboot.unlink()
    assert not judge(device.machine, lambda line: None, wait_s=1).healthy
    assert (REBOOT in device.programs.ran) is (other_good and not lost)


def test_boot_partition_that_cannot_be_written_is_unhealthy_and_leaves_the_record(device: Device) -> None:
    device.for_piboot(Slot.A, named=Slot.B)
    device.programs.answers["mount"] = TargetError("cannot run mount: read-only")
    before = device.state_path.read_bytes()
    verdict = judge(device.machine, lambda line: None, wait_s=1)
    assert verdict.reasons == ("confirm: cannot run mount: read-only",)
    assert device.state_path.read_bytes() == before


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("Image", b"kernel" * 4999, "Image of boot-a is not the package's"),
    ("initrd", b"", "initrd of boot-a is not the package's"),
    ("other_dtb", b"tree", "other.dtb of boot-a is not the package's"),
    ("config_txt", b"kernel=Imagf\n", "slot.sum of boot-a does not describe its files"),
    ("cmdline_txt", b"init=/bin/sh\n", "slot.sum of boot-a does not describe its files"),
    ("start4_elf", b"", "slot.sum of boot-a does not describe its files"),
    ("slot_sum", b"", "slot.sum of boot-a does not describe its files"),
    ("added", b"x", "slot.sum of boot-a does not describe its files"),
])
def test_file_of_the_slot_that_is_not_as_it_was_written_is_unhealthy(device: Device, name: str, content: bytes,
                                                                     reason: str) -> None:
    device.for_piboot(**{name: content})
    assert judge(device.machine, lambda line: None, wait_s=1).reasons == (f"image: {reason}",)


def test_disk_without_the_other_boot_partition_is_not_blessed(device: Device) -> None:
    device.for_piboot(Slot.A, named=Slot.B)
    (device.folder / "sys/block/mmcblk0/mmcblk0p3/uevent").unlink()
    with pytest.raises(TargetError, match="no partition boot-b"):
        prefer(Slot.A, boot=device.machine.esp, disk=device.folder / "dev/mmcblk0", sys=device.machine.sys,
               programs=None)


def test_status_tells_the_tries_of_the_record(trial: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"], machine=trial.machine) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["slot"], found["tries_left"], found["record"]["confirmed"]) == ("b", 2, False)


def test_revert_names_the_other_slot_first_and_the_record_after(device: Device) -> None:
    device.for_piboot()
    device.record(GOOD_B)
    assert revert(device.machine, (("debian-13", 1),), lambda line: None, now="2026-01-01T00:00:00Z") is Slot.B
    assert device.autoboot.read_bytes() == device.name(Slot.B)
    state = StatePartition(device=device.state_path).load()
    assert state is not None
    assert (state.slot, state.confirmed, state.other_good) == (Slot.B, True, True)
    assert REBOOT in device.programs.ran


@pytest.mark.parametrize("changes", [{"slot_sum": b"imagekit slot a\n00000000\n"}, {"cmdline_txt": b"quiet\n"}])
def test_update_is_refused_where_the_running_slot_does_not_say_how_it_was_booted(
    device: Device, changes: dict[str, bytes]
) -> None:
    device.for_piboot(**changes)
    with pytest.raises(TargetError, match="boot-a does not say how it was booted: "):
        survey(device.machine, load_report(device.machine.run), {}, {}, named_tree=lambda: None)
