"""What is made of a guest's words: boots, phases, failures by name."""

from __future__ import annotations

import json
from pathlib import Path

from imagekit.boot.frames import decode_frame, encode_frames
from imagekit.qemu.judge import Expectation, Package
from imagekit.qemu.phases import Phase, PhaseClock, PhaseTime, hint
from imagekit.qemu.transcript import Transcript
from imagekit.qemu.watch import Watch

ROOT = "11" * 32
EXPECTED = Expectation(model="acme/pc", kernel=Package(name="k", revision=1, root=ROOT),
                       base=Package(name="b", revision=1, root=ROOT))
LOADER = b"\x1b[2J\x1b[01;01HBdsDxe: starting Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)\r\n"
HELLO = b'{"imagekit":1,"type":"hello","boot_id":"x"}\n'


def watch(transcript: Transcript | None = None) -> Watch:
    seen = Watch(expectation=EXPECTED, transcript=transcript or Transcript(), new_nonce=lambda: "ab" * 32)
    seen.begin(0.0, "power on")
    return seen


def verdict(**changes: object) -> bytes:
    good = {"imagekit": 1, "type": "verdict", "nonce": "ab" * 32, "healthy": True, "slot": "a", "base_root": ROOT,
            "kernel_root": ROOT, "confirmed": True, "reasons": [], "checks": [], "phases": {}, "degraded": False}
    return json.dumps({**good, **changes}).encode() + b"\n"


def boot_up_to_switch(seen: Watch, start: float) -> None:
    seen.console(start + 4, LOADER)
    seen.console(start + 9, b"imagekit: phase initrd\r\n")
    seen.console(start + 10, b"imagekit: phase verity\r\n")
    seen.console(start + 12, b"imagekit: phase switch\r\n")


def test_healthy_boot_has_the_time_of_each_phase() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    seen.health(30, HELLO)
    seen.health(33, verdict(phases={"kernel": 2.0}))
    assert seen.boot.healthy
    assert seen.reboots == 0
    assert {time.phase.value: time.seconds for time in seen.boot.phases} == {
        "firmware": 4, "loader": 3, "kernel": 2, "initrd": 3, "systemd": 18, "health": 3}


def test_quiet_kernel_without_a_count_leaves_its_time_to_the_loader() -> None:
    clock = PhaseClock(0)
    clock.line(4, "BdsDxe: starting Boot0001")
    clock.line(9, "imagekit: phase initrd")
    clock.line(12, "imagekit: phase switch")
    assert clock.times() == (PhaseTime(phase=Phase.FIRMWARE, seconds=4), PhaseTime(phase=Phase.LOADER, seconds=5),
                             PhaseTime(phase=Phase.INITRD, seconds=3))


def test_shell_of_the_firmware_is_no_loader() -> None:
    clock = PhaseClock(0)
    clock.line(4, 'BdsDxe: starting Boot0002 "EFI Internal Shell" from Fv(7CB8BDC9)/FvFile(7C04A583)')
    assert clock.current is Phase.FIRMWARE
    clock.line(9, 'BdsDxe: starting Boot0001 "UEFI Misc Device" from PciRoot(0x0)')
    assert clock.current is Phase.LOADER


def test_guest_cannot_turn_a_phase_back_or_make_its_time_negative() -> None:
    clock = PhaseClock(0)
    clock.line(4, "BdsDxe: starting Boot0001")
    clock.line(9, "imagekit: phase initrd")
    clock.line(10, "BdsDxe: starting Boot0002")
    assert clock.current is Phase.INITRD
    assert all(time.seconds >= 0 for time in clock.times({"kernel": 1e9}))


def test_machine_that_never_started_has_no_boot_to_end() -> None:
    seen = Watch(expectation=EXPECTED, transcript=Transcript(), new_nonce=lambda: "")
    seen.end(0.0, "switched off")
    assert seen.boots == []


def test_reset_begins_a_new_boot_with_a_nonce_of_its_own() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    seen.health(20, HELLO)
    seen.event(21, "RESET", guest=True, reason="guest-reset")
    seen.health(22, verdict())
    assert seen.reboots == 1
    assert not seen.boot.healthy
    assert "nonce" in (seen.boot.judgement.reasons[0] if seen.boot.judgement else "")


def test_watchdog_is_named_as_the_cause_of_the_next_boot() -> None:
    seen = watch()
    seen.event(60, "WATCHDOG", guest=False, reason="")
    seen.event(60, "RESET", guest=False, reason="host-qmp-system-reset")
    assert seen.boot.cause == "the watchdog's reset"
    assert seen.reboots == 1


def test_boot_that_its_watchdog_ended_is_said_to_have_hung() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    seen.console(13, b"[    3.7] watchdog: watchdog0: watchdog did not stop!\r\n")
    assert "hung" not in (seen.failure().hint or "")
    seen.event(60, "WATCHDOG", guest=False, reason="")
    seen.event(60, "RESET", guest=False, reason="host-qmp-system-reset")
    failure = seen.failure()
    assert failure.phase is Phase.SYSTEMD
    assert "watchdog reset it" in (failure.hint or "")


def test_deadline_is_said_to_be_perhaps_too_short() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    seen.boot.ended = "no verdict after 20 s"
    assert "longer --deadline" in (seen.failure().hint or "")


def test_our_own_reset_is_no_reboot_of_the_guest() -> None:
    seen = watch()
    seen.event(60, "RESET", guest=False, reason="host-qmp-system-reset")
    assert seen.reboots == 0


def test_silent_machine_fails_in_the_firmware() -> None:
    failure = watch().failure()
    assert failure.phase is Phase.FIRMWARE
    assert failure.hint


def test_failure_has_the_phase_the_last_lines_and_the_likely_cause() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    for number in range(30):
        seen.console(13 + number, b"[    9.1] line %d\r\n" % number)
    seen.console(50, b"[   50.1] Kernel panic - not syncing: dm-verity device corrupted")  # no line end
    seen.event(51, "SHUTDOWN", guest=True, reason="guest-shutdown")
    failure = seen.failure()
    assert failure.phase is Phase.SYSTEMD
    assert len(failure.lines) == 15
    assert "dm-verity device corrupted" in failure.lines[-1]
    assert "signed root" in (failure.hint or "")
    assert "switched itself off" in failure.reasons[0]


def test_deadline_in_a_later_boot_names_the_phase_that_the_boots_before_it_came_to() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    seen.console(20, b"[    9.1] device-mapper: verity: 259:3: data block 7 is corrupted\r\n")
    seen.event(21, "RESET", guest=True, reason="guest-reset")
    seen.boot.ended = "no verdict after 25 s"
    failure = seen.failure()
    assert failure.phase is Phase.SYSTEMD
    assert "boot 1 did not get past systemd" in failure.reasons[0]
    assert "signed root" in (failure.hint or "")


def test_refused_verdict_is_a_failure_of_health_with_its_reasons() -> None:
    seen = watch()
    boot_up_to_switch(seen, 0)
    seen.health(20, HELLO)
    seen.health(21, verdict(healthy=False, reasons=["dbus.service failed"]))
    failure = seen.failure()
    assert failure.phase is Phase.HEALTH
    assert "dbus.service failed" in failure.reasons[0]


def test_every_phase_has_a_hint_of_its_own() -> None:
    assert len({hint(phase, ()) for phase in Phase}) == len(Phase)


def test_transcript_has_times_boots_and_verdict_and_no_escapes(tmp_path: Path) -> None:
    path = tmp_path / "boots" / "one.log"
    transcript = Transcript(path)
    seen = watch(transcript)
    seen.console(1.5, b"\x1b[31mhello\x1b[0m \x1b]0;title\x07\r\n")
    seen.event(2, "RESET", guest=True, reason="guest-reset")
    seen.end(3, "switched off")
    transcript.close()
    assert path.read_text() == ("-- boot 1: power on --\n[   1.500] hello\n"
                                "-- boot 2: the guest's reset (guest-reset) --\n-- switched off --\n")
    assert path.stat().st_mode & 0o777 == 0o600


def test_transcript_on_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "link.log").symlink_to(victim)
    try:
        Transcript(tmp_path / "link.log")
    except OSError:
        assert victim.read_text() == "mine"
    else:
        raise AssertionError("followed a link")


def test_verdict_between_the_lines_of_the_console_is_judged_and_kept_out_of_the_transcript() -> None:
    seen = Watch(expectation=EXPECTED, transcript=Transcript(), new_nonce=lambda: "ab" * 32, in_band=True)
    seen.begin(0.0, "power on")
    boot_up_to_switch(seen, 0)
    answer = seen.console(30, b"imagekit: phase health\r\n" + encode_frames(HELLO).replace(b"\n", b"\r\n"))
    assert decode_frame(answer.rstrip(b"\n"))
    assert seen.boot.clock.current is Phase.HEALTH
    assert seen.console(33, b"[  OK  ] Reached target\r\n" + encode_frames(verdict()))
    assert seen.boot.healthy
    assert seen.boot.judged_s == 33
    assert [line.text for line in seen.transcript.lines][-2:] == ["imagekit: phase health", "[  OK  ] Reached target"]


def test_frames_on_the_console_of_a_machine_with_a_port_are_only_text() -> None:
    seen = watch()
    assert seen.console(30, encode_frames(HELLO)) == b""
    assert "hello" in seen.transcript.text()


def test_console_gets_no_byte_unasked() -> None:
    """A boot loader waits for a key on the same line."""
    seen = Watch(expectation=EXPECTED, transcript=Transcript(), new_nonce=lambda: "ab" * 32, in_band=True)
    seen.begin(0.0, "power on")
    assert seen.console(1, b"Hit any key to stop autoboot:  2 \x08\x08\x08 1\r\n=> \r\n") == b""
    seen.console(20, encode_frames(HELLO))
    seen.event(21, "RESET", guest=True, reason="guest-reset")
    assert seen.console(22, b"U-Boot 2025.01\r\nHit any key to stop autoboot:  2\r\n") == b""


def test_board_that_halts_without_ending_qemu_is_off() -> None:
    seen = watch()
    assert not seen.is_off
    seen.console(30, b"[   29.120] reboot: System halted\r\n")
    assert seen.is_off
    assert "switched itself off" in seen.failure().reasons[0]
    seen.event(40, "RESET", guest=False, reason="host-qmp-system-reset")
    assert not seen.is_off
