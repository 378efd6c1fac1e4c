"""Judging a boot: what makes it unhealthy, what a verdict changes, and what the host hears."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
import tty
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.entries import VERSION_MAX
from imagekit.boot.gadgetrecord import (
    GADGET_END,
    GADGET_OFFSETS,
    NO_RECORD,
    GadgetTrial,
    KnownGadget,
    encode_gadget_record,
)
from imagekit.boot.health import Challenge, Hello, Message, Verdict, decode_message, encode_message
from imagekit.boot.ledger import LEDGER_OFFSET, decode_ledger, encode_ledger
from imagekit.boot.slotstate import FACTORY, Slot, SlotState, begin_boot
from imagekit.device.esp import rank, read_entries
from imagekit.device.health import STAY_S, judge
from imagekit.device.state import StatePartition
from imagekit.errors import TargetError
from tests.unit.device.conftest import Device

REBOOT = ("systemctl", "--no-block", "reboot")


def run(device: Device) -> tuple[Verdict, list[str]]:
    said: list[str] = []
    return judge(device.machine, said.append, wait_s=2), said


def test_healthy_boot_of_the_confirmed_slot_clears_the_count(device: Device) -> None:
    verdict, said = run(device)
    assert verdict.healthy
    assert verdict.confirmed
    assert (verdict.slot, verdict.base_root, verdict.kernel_root) == ("a", "b" * 64, "c" * 64)
    assert StatePartition(device=device.state_path).load() == replace(FACTORY, generation=3)
    assert said == ["phase health", "slot a is healthy"]
    assert REBOOT not in device.programs.ran
    assert not [command for command in device.programs.ran if command[0] == "mount"], "a blessed entry is left alone"


@pytest.mark.parametrize(("own", "other"), [(VERSION_MAX, 7), (VERSION_MAX, VERSION_MAX), (7, VERSION_MAX)])
def test_healthy_boot_ranks_entries_anew_above_which_none_could_come(device: Device, own: int, other: int) -> None:
    """Versions that only somebody who wrote to the disk can have set: no update and no hand-over could follow."""
    paths = {slot: device.entry(slot) for slot in Slot}
    for slot, version in ((Slot.A, own), (Slot.B, other)):
        rank(paths[slot], version)
    others_bytes = {slot: path.read_bytes().replace(f"version {version:010d}".encode(), b"") for (slot, path), version
                    in zip(paths.items(), (own, other), strict=True)}
    assert run(device)[0].confirmed
    found = read_entries(device.folder / "efi")
    assert [found[paths[slot]].version for slot in Slot] == [2, 1]
    for slot, version in ((Slot.A, 2), (Slot.B, 1)):
        assert paths[slot].read_bytes().replace(f"version {version:010d}".encode(), b"") == others_bytes[slot]
    mounts = [command[2] for command in device.programs.ran if command[0] == "mount"]
    assert mounts == ["remount,rw", "remount,ro"]


def test_unhealthy_boot_leaves_the_ranks_alone(device: Device) -> None:
    rank(path := device.entry(Slot.A), VERSION_MAX)
    device.hook("10-pump", "exit 1")
    assert not run(device)[0].healthy
    assert read_entries(device.folder / "efi")[path].version == VERSION_MAX


@pytest.mark.parametrize("healthy", [True, False])
def test_only_a_healthy_boot_ends_the_count_of_boots_in_vain(device: Device, healthy: bool) -> None:
    with device.state_path.open("r+b") as stream:
        stream.seek(LEDGER_OFFSET)
        stream.write(encode_ledger(4))
    if not healthy:
        device.hook("10-pump", "exit 1")
    assert run(device)[0].healthy is healthy
    assert decode_ledger(device.state_path.read_bytes()[LEDGER_OFFSET:]) == (0 if healthy else 4)


@pytest.mark.parametrize(("begun", "stays"), [(6, False), (7, True), (8, False), (14, True)])
def test_device_with_two_slots_in_vain_stays_up_for_an_update(device: Device, begun: int, stays: bool) -> None:
    """Else a hook that fails in both, as of a broken pump, would have it reboot for ever, before it asks a store."""
    device.record(SlotState(generation=9, slot=Slot.A, tries=0, confirmed=True, unhealthy=1, other_good=True))
    device.report(fallback=True)
    with device.state_path.open("r+b") as stream:
        stream.seek(LEDGER_OFFSET)
        stream.write(encode_ledger(begun))
    device.hook("10-pump", "exit 1")
    assert not run(device)[0].healthy
    assert (REBOOT in device.programs.ran) is not stays
    assert (("systemd-run", f"--on-active={STAY_S}", *REBOOT) in device.programs.ran) is stays


def test_trial_is_left_at_once_however_many_boots_were_in_vain(device: Device) -> None:
    device.on_trial()
    with device.state_path.open("r+b") as stream:
        stream.seek(LEDGER_OFFSET)
        stream.write(encode_ledger(7))
    device.hook("10-pump", "exit 1")
    assert not run(device)[0].healthy
    assert REBOOT in device.programs.ran


def test_healthy_trial_is_blessed_and_confirmed(device: Device) -> None:
    device.on_trial()
    verdict, _ = run(device)
    assert verdict.confirmed
    names = sorted(path.name for path in (device.folder / "efi/loader/entries").iterdir())
    assert names == ["imagekit-a.conf", "imagekit-b.conf"]
    state = StatePartition(device=device.state_path).load()
    assert state
    assert (state.slot, state.confirmed, state.unhealthy, state.other_good) == (Slot.B, True, 0, True)
    mounts = [command for command in device.programs.ran if command[0] == "mount"]
    assert [command[2] for command in mounts] == ["remount,rw", "remount,ro"]


@pytest.mark.parametrize("problem", ["boot-complete", "unit", "systemctl", "hook", "root", "plain", "option",
                                     "short", "image", "cut image", "no image", "esp"])
def test_each_problem_alone_makes_the_boot_unhealthy_and_leads_back(device: Device, problem: str) -> None:
    device.on_trial()
    before = device.state_path.read_bytes()
    base = device.mounted["base"]
    assert not isinstance(base, TargetError)
    if problem == "boot-complete":
        device.programs.answers["systemctl show"] = "ActiveState=inactive\nRequires=\n"
    elif problem == "unit":
        device.programs.answers["systemctl"] = "broken.service loaded failed failed Broken\n"
    elif problem == "systemctl":
        device.programs.answers["systemctl"] = TargetError("cannot run systemctl: no answer")
    elif problem == "hook":
        device.hook("10-pump", "echo the pump does not answer >&2; exit 3")
    elif problem == "root":
        device.mounted["base"] = replace(base, root="d" * 64)
    elif problem == "plain":
        device.mounted["kernel"] = TargetError("cannot trust /usr/lib/modules: a linear target lies below, not verity")
    elif problem == "option":
        device.mounted["base"] = replace(base, restarts=False)
    elif problem == "short":
        device.mounted["base"] = replace(base, size=base.size + 4096)
    elif problem == "image":
        with (device.folder / "efi/EFI/imagekit/b/kernel.efi").open("r+b") as stream:
            stream.seek(1_300_000)
            stream.write(b"!")
    elif problem == "cut image":
        os.truncate(device.folder / "efi/EFI/imagekit/b/kernel.efi", 1 << 20)
    elif problem == "no image":
        (device.folder / "efi/EFI/imagekit/b/kernel.efi").unlink()
    else:
        device.programs.answers["mount"] = TargetError("cannot run mount: read-only")
    verdict, said = run(device)
    assert not verdict.healthy
    assert not verdict.confirmed
    assert len(verdict.reasons) == 1
    assert device.state_path.read_bytes() == before, "the record stays as the initrd left it"
    assert (device.folder / "efi/loader/entries/imagekit-b+2-1.conf").is_file()
    assert any("NOT healthy" in line for line in said)
    assert problem == "systemctl" or REBOOT in device.programs.ran


def test_unhealthy_boot_without_a_way_back_stays_up(device: Device) -> None:
    device.hook("10-pump", "exit 1")
    verdict, _ = run(device)
    assert not verdict.healthy
    assert REBOOT not in device.programs.ran


def test_failed_unit_that_may_fail_does_not_count(device: Device) -> None:
    device.programs.answers["systemctl"] = "imagekit-grow.service loaded failed failed x\nnice-one.service x\n"
    assert run(device)[0].healthy


@pytest.mark.parametrize("how", ["flag", "full"])
def test_lost_data_partition_is_degraded_and_still_healthy(device: Device, how: str) -> None:
    if how == "flag":
        (device.folder / "run/degraded").write_text("the data partition cannot be mounted\n")
    else:
        (device.folder / "var/lib/imagekit").rmdir()
    verdict, _ = run(device)
    assert verdict.healthy
    assert verdict.degraded


def test_hook_that_is_not_executable_is_not_run(device: Device) -> None:
    device.hook("README", "exit 1", mode=0o644)
    assert run(device)[0].healthy


def test_record_of_another_slot_cannot_be_confirmed(device: Device) -> None:
    device.record(begin_boot(FACTORY, Slot.B).record)
    verdict, _ = run(device)
    assert verdict.reasons[0].startswith("confirm: ")


def test_slot_that_cannot_be_confirmed_is_not_blessed(device: Device) -> None:
    device.on_trial()
    device.record(begin_boot(FACTORY, Slot.A).record)
    assert not run(device)[0].healthy
    assert (device.folder / "efi/loader/entries/imagekit-b+2-1.conf").is_file()


def test_confirmed_slot_without_an_esp_does_not_reboot_for_ever(device: Device) -> None:
    device.report(fallback=True)
    device.record(begin_boot(replace(FACTORY, other_good=True), Slot.A).record)
    shutil.rmtree(device.folder / "efi")
    verdict, _ = run(device)
    assert not verdict.healthy
    assert REBOOT not in device.programs.ran


@pytest.fixture
def unwritable(device: Device) -> Iterator[Device]:
    """A device that ran healthy slots, whose slot-state partition can be read and takes no write any more."""
    device.report(fallback=True)
    device.record(replace(FACTORY, other_good=True))
    sealed = os.memfd_create("state", os.MFD_ALLOW_SEALING)
    os.write(sealed, device.state_path.read_bytes())
    fcntl.fcntl(sealed, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    device.state_path.unlink()
    device.state_path.symlink_to(f"/proc/self/fd/{sealed}")
    yield device
    os.close(sealed)


@pytest.mark.parametrize("healthy", [True, False])
def test_device_whose_record_takes_no_write_does_not_reboot_for_ever(unwritable: Device, healthy: bool) -> None:
    """Nobody can count its boots, so nobody would ever lead away: it lives on, with its updater."""
    if not healthy:
        unwritable.hook("10-pump", "exit 1")
    verdict, _ = run(unwritable)
    assert not verdict.healthy
    assert ("confirm: cannot write the slot-state record" in verdict.reasons[0]) is healthy
    assert REBOOT not in unwritable.programs.ran


@pytest.mark.parametrize(("left", "reboots"), [("imagekit-b+2-1.conf", True), ("imagekit-b.conf", False)])
def test_trial_that_only_the_loader_counts_is_left_until_it_is_blessed(unwritable: Device, left: str, reboots: bool
                                                                       ) -> None:
    unwritable.report(slot="b", fallback=True)
    (unwritable.folder / "efi/loader/entries" / left).write_bytes(unwritable.entry(Slot.A).read_bytes())
    unwritable.hook("10-pump", "exit 1")
    run(unwritable)
    assert (REBOOT in unwritable.programs.ran) is reboots


def test_initrd_that_could_not_count_is_believed(device: Device) -> None:
    """What it wrote may lie in the page cache still, and nowhere else."""
    device.report(fallback=False)
    device.record(begin_boot(replace(FACTORY, other_good=True), Slot.A).record)
    device.hook("10-pump", "exit 1")
    run(device)
    assert REBOOT not in device.programs.ran


def test_trial_without_an_esp_is_left_to_the_loader(device: Device) -> None:
    device.on_trial()
    shutil.rmtree(device.folder / "efi")
    assert not run(device)[0].healthy
    assert REBOOT in device.programs.ran


def test_verdict_is_left_for_status_and_names_the_phases(device: Device) -> None:
    verdict, _ = run(device)
    kept = json.loads((device.folder / "run/health.json").read_text())
    assert kept["healthy"] is True
    assert list(verdict.phases) == ["kernel", "initrd", "systemd", "health"]
    assert verdict.phases["initrd"] == pytest.approx(1.11)


def test_verdict_that_cannot_be_left_for_status_is_one_all_the_same(device: Device) -> None:
    """A judge that died here would have a healthy device rebooted, once it is confirmed: for ever."""
    (device.folder / "run/health.new").mkdir()
    verdict, said = run(device)
    assert verdict.confirmed
    assert said[-1] == "slot a is healthy"


def test_memory_that_is_no_memory_does_not_end_the_judge(device: Device) -> None:
    folder = device.folder / "var/lib/imagekit/updates"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("[" * 100_000)
    assert run(device)[0].healthy


@pytest.mark.parametrize("file", ["efi/loader/entries/imagekit-b.conf", "var/lib/imagekit/updates/state.json"])
def test_file_of_any_size_does_not_end_the_judge(device: Device, file: str) -> None:
    """A folder of a FAT that is damaged may speak of 4 GiB, which many a device has no memory for."""
    path = device.folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.truncate(path, 1 << 42)
    assert judge(device.machine, lambda line: None).healthy


def test_gadget_on_trial_whose_partition_is_lost_does_not_end_the_judge(device: Device) -> None:
    gadget = KnownGadget(revision=2, document=b"", proof=b"")
    record = replace(NO_RECORD, trial=GadgetTrial(gadget=gadget, slot=Slot.B, base_root="d" * 64, kernel_root="e" * 64,
                                                  partition="boot", switches=()))
    raw = device.state_path.read_bytes().ljust(GADGET_OFFSETS[0], b"\0") + encode_gadget_record(record)
    device.state_path.write_bytes(raw.ljust(GADGET_END, b"\0"))
    folder = device.folder / "sys/block/vda/vda2"
    folder.mkdir(parents=True)
    (folder / "uevent").write_text("DEVNAME=vda2\nPARTN=2\nPARTNAME=slot-state\n")
    (folder / "size").write_text("2048\n")
    verdict, said = run(device)
    assert verdict.confirmed
    assert "update: cannot use this disk: it has no partition boot: the gadget stays on trial" in said


def test_times_of_firmware_and_loader_come_from_the_loader(device: Device) -> None:
    folder = device.folder / "sys/firmware/efi/efivars"
    folder.mkdir(parents=True)
    for name, microseconds in (("Init", 1_500_000), ("Exec", 2_250_000)):
        text = f"{microseconds}\0".encode("utf-16-le")
        path = folder / f"LoaderTime{name}USec-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
        path.write_bytes(b"\x06\0\0\0" + text)
    assert list(run(device)[0].phases.items())[:2] == [("firmware", 1.5), ("loader", 0.75)]


class Host:
    """The other end of the port: answers the hello with `challenge`, and keeps what it heard."""

    def __init__(self, handle: int, challenge: bytes) -> None:
        self.heard: list[Message] = []
        self._handle, self._challenge = handle, challenge
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        received = b""
        while not any(isinstance(message, Verdict) for message in self.heard):
            received += os.read(self._handle, 4096)
            *lines, received = received.split(b"\n")
            for line in lines:
                self.heard.append(decode_message(line))
                if isinstance(self.heard[-1], Hello):
                    os.write(self._handle, self._challenge)

    def join(self) -> None:
        self._thread.join(10)


@pytest.fixture
def port(device: Device) -> Iterator[int]:
    """The host's end of a health port; a pseudo terminal stands for the virtio one."""
    host, guest = os.openpty()
    tty.setraw(guest)
    (device.folder / "dev/vport1p1").symlink_to(os.ttyname(guest))
    for name, text in (("vport0p1", "org.example.other"), ("vport1p1", "org.imagekit.health")):
        folder = device.folder / "sys/class/virtio-ports" / name
        folder.mkdir()
        (folder / "name").write_text(f"{text}\n")
    yield host
    os.close(host)
    os.close(guest)


def test_verdict_echoes_the_nonce_of_the_challenge(device: Device, port: int) -> None:
    host = Host(port, encode_message(Challenge(nonce="5e" * 32)))
    verdict, _ = run(device)
    host.join()
    assert [type(message) for message in host.heard] == [Hello, Verdict]
    assert host.heard[0] == Hello(boot_id="b00t")
    assert host.heard[1] == verdict
    assert verdict.nonce == "5e" * 32


def test_noise_before_the_challenge_is_passed_over(device: Device, port: int) -> None:
    noise = b"\n{}\nnot json\n" + encode_message(Hello(boot_id="echo"))
    host = Host(port, noise + encode_message(Challenge(nonce="5e" * 32)))
    assert run(device)[0].nonce == "5e" * 32
    host.join()


def test_host_that_never_answers_changes_nothing_but_the_nonce(device: Device, port: int) -> None:
    host = Host(port, b"")
    verdict, _ = run(device)
    host.join()
    assert verdict.healthy
    assert verdict.nonce == ""


def test_host_that_sends_without_end_is_given_up(device: Device, port: int) -> None:
    host = Host(port, b"x" * 3000)
    verdict, _ = run(device)
    host.join()
    assert verdict.healthy


def test_device_without_a_port_judges_itself_alone(device: Device) -> None:
    verdict, _ = run(device)
    assert verdict.healthy
    assert verdict.nonce == ""


def test_boot_that_our_initrd_did_not_start_is_refused(device: Device, tmp_path: Path) -> None:
    (device.folder / "run/boot.json").unlink()
    with pytest.raises(TargetError, match=r"cannot read .*boot\.json"):
        run(device)
