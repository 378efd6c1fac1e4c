"""Judging a boot of U-Boot's: the record is all that is confirmed, the slot's FAT image is what is compared."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from imagekit.boot.slotstate import FACTORY, Slot, begin_trial, encode_record, newest
from imagekit.boot.uboot import decide
from imagekit.device.cli import main
from imagekit.device.health import judge
from imagekit.device.state import StatePartition
from tests.unit.device.conftest import Device

REBOOT = ("systemctl", "--no-block", "reboot")
GOOD_B = replace(FACTORY, other_good=True)


@pytest.fixture
def trial(device: Device) -> Device:
    """U-Boot took slot b for the first time."""
    device.for_uboot(Slot.B)
    decision = decide((encode_record(begin_trial(FACTORY)), bytes(512)), set(Slot))
    assert decision.record is not None
    device.record(decision.record)
    return device


def test_healthy_trial_is_confirmed_in_the_record_alone(trial: Device) -> None:
    verdict = judge(trial.machine, lambda line: None, wait_s=1)
    assert (verdict.healthy, verdict.confirmed, verdict.reasons) == (True, True, ())
    state = StatePartition(device=trial.state_path).load()
    assert state is not None
    assert (state.slot, state.tries, state.confirmed, state.unhealthy, state.other_good) == (Slot.B, 0, True, 0, True)
    assert not [command for command in trial.programs.ran if command[0] == "mount"]
    held = trial.state_path.read_bytes()
    copies = held[:512], held[4096:4608]
    assert newest(copies)[0] == state
    assert decide(copies, set(Slot)).slot is Slot.B


def test_unhealthy_trial_reboots_and_leaves_the_record_to_the_loader(trial: Device) -> None:
    trial.hook("50-no", "exit 1")
    before = trial.state_path.read_bytes()
    verdict = judge(trial.machine, lambda line: None, wait_s=1)
    assert not verdict.healthy
    assert trial.state_path.read_bytes() == before
    assert REBOOT in trial.programs.ran


@pytest.mark.parametrize("other_good", [True, False])
def test_unhealthy_confirmed_slot_reboots_where_the_other_may_help(device: Device, other_good: bool) -> None:
    device.for_uboot()
    device.record(replace(FACTORY, unhealthy=1, other_good=other_good))
    device.hook("50-no", "exit 1")
    assert not judge(device.machine, lambda line: None, wait_s=1).healthy
    assert (REBOOT in device.programs.ran) is other_good


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("Image", b"kernel" * 4999, "Image of boot-a is not the package's"),
    ("initrd", b"", "initrd of boot-a is not the package's"),
    ("board_dtb", b"tree" * 99, "board.dtb of boot-a is not the package's"),
    ("slot_env", b"#" * 4096, "slot.env of boot-a does not describe its files"),
    ("other", b"x", "other of boot-a is not the package's"),
])
def test_file_of_the_slot_that_is_not_the_verified_one_is_unhealthy(device: Device, name: str, content: bytes,
                                                                    reason: str) -> None:
    device.for_uboot(**{name: content})
    verdict = judge(device.machine, lambda line: None, wait_s=1)
    assert verdict.reasons == (f"image: {reason}",)


@pytest.mark.parametrize("how", ["noise", "no partition", "no device"])
def test_slot_volume_that_cannot_be_read_is_unhealthy(device: Device, how: str) -> None:
    device.for_uboot()
    path = device.folder / "dev/boot"
    if how == "noise":
        path.write_bytes(b"noise" * 1000)
    elif how == "no device":
        path.unlink()
    else:
        device.report(loader="u-boot", boot_device="")
    verdict = judge(device.machine, lambda line: None, wait_s=1)
    assert [reason.partition(":")[0] for reason in verdict.reasons] == ["image"]


def test_status_counts_the_tries_of_the_record(trial: Device, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"], machine=trial.machine) == 0
    assert json.loads(capsys.readouterr().out)["tries_left"] == 2
    judge(trial.machine, lambda line: None, wait_s=1)
    capsys.readouterr()
    main(["status", "--json"], machine=trial.machine)
    assert json.loads(capsys.readouterr().out)["tries_left"] is None
