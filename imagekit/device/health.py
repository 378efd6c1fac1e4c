"""Judge this boot, make a good one permanent, and tell whoever watches.

Decides: healthy or not, and what follows. Healthy: first the loader's entry is blessed (U-Boot has none; the Pi's
firmware has autoboot.txt), then the slot-state record is cleared, then the verdict is sent. In that order a power cut
between any two leaves a slot that is either still on trial or blessed with a count that the next healthy boot clears; a
record that says "confirmed" beside an entry that the loader would give up cannot arise. Unhealthy: the record stays as
the initrd or the loader left it, and the device reboots where that helps, which is where the other slot has once been
healthy. A device without a way back stays up: its updater is the only help there is.
Where neither slot has become healthy in many boots (`imagekit.boot.ledger`), though both once were, what ails the
device lies outside of them, and an update may help: it stays up for one, for a while.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagekit.boot.autoboot import AUTOBOOT_NAME
from imagekit.boot.entries import ENTRY_FOLDER, kernel_path
from imagekit.boot.health import CHALLENGE_TIMEOUT_S, Check, Hello, Verdict
from imagekit.boot.slotstate import SlotState, mark_healthy
from imagekit.device import checks
from imagekit.device.autoboot import prefer
from imagekit.device.console import open_console
from imagekit.device.esp import bless, renumber, tries_left
from imagekit.device.machine import Machine
from imagekit.device.network import check_network
from imagekit.device.port import Host, open_port
from imagekit.device.report import PIBOOT, SYSTEMD_BOOT, U_BOOT, BootReport, load_report
from imagekit.device.state import StatePartition, load_gadget_record
from imagekit.device.verity import VerityDevice
from imagekit.errors import ImagekitError, TargetError

STAY_S = 4 * 3600  # a store is asked within 105 minutes of a boot, and again after as many
_LOADER_GUID = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All checks of one boot, and the devices they found."""

    checks: tuple[Check, ...]
    base_root: str
    kernel_root: str
    degraded: bool

    @property
    def reasons(self) -> tuple[str, ...]:
        return tuple(f"{check.name}: {check.detail}" for check in self.checks if not check.ok)


def judge(machine: Machine, say: Callable[[str], None], *, wait_s: float = CHALLENGE_TIMEOUT_S) -> Verdict:
    """Run the whole: checks, blessing, record, verdict, reboot.

    `say` takes one line for the console; `wait_s` is how long a host may take to answer.
    """
    started = _uptime_s()
    report = load_report(machine.run)
    say("phase health")
    host = _greet(machine)
    findings = inspect(machine, report)
    reasons = findings.reasons
    confirmed = False
    if not reasons:
        try:
            confirm(machine, report)
            confirmed = True
        except ImagekitError as error:
            reasons = (f"confirm: {error.message}",)
    verdict = Verdict(
        nonce=host.challenge(timeout_s=wait_s) if host else "", healthy=not reasons,
        slot=report.slot.value, base_root=findings.base_root, kernel_root=findings.kernel_root, confirmed=confirmed,
        reasons=reasons, checks=findings.checks, phases=phases(machine, report, started), degraded=findings.degraded,
    )
    publish(machine, verdict, host)
    remember(machine, report, verdict)
    if verdict.healthy:
        _end_reset(machine, report)
    if confirmed:
        end_gadget_trial(machine, report, say)
    state = "healthy" if verdict.healthy else "NOT healthy"
    say(f"slot {verdict.slot} is {state}" + "".join(f"; {reason}" for reason in reasons))
    if reasons and can_fall_back(machine, report):
        _lead_away(machine, report, say)
    return verdict


def _lead_away(machine: Machine, report: BootReport, say: Callable[[str], None]) -> None:
    """Reboot, at once; or after some hours, in which an update may come, where the other slot was no better."""
    reboot = ("systemctl", "--no-block", "reboot")
    with suppress(TargetError):
        if StatePartition(device=report.state_device).is_last_resort(report.slot):
            machine.programs.run("systemd-run", f"--on-active={STAY_S}", *reboot)
            say(f"rebooting in {STAY_S // 3600} h: no slot has become healthy, and an update may come until then")
            return
    say("rebooting: the other slot has once been healthy")
    with suppress(TargetError):
        machine.programs.run(*reboot)


def _greet(machine: Machine) -> Host | None:
    """Whoever watches this boot, once greeted: over the port, else over the console; None: nobody does."""
    host: Host | None = open_port(sys=machine.sys, dev=machine.dev)
    host = host or open_console(sys=machine.sys, dev=machine.dev, programs=machine.programs)
    if host and not host.greet(Hello(boot_id=_boot_id(machine))):
        host.close()
        return None
    return host


def inspect(machine: Machine, report: BootReport) -> Findings:
    """Run every check; the long read goes on beside the others."""
    base, kernel = _verity(machine, machine.base), _verity(machine, machine.kernel)
    reading = checks.Scrub([(item.path, item.size) for item in (base, kernel) if isinstance(item, VerityDevice)])
    var, degraded = checks.check_var(var=machine.var, degraded=machine.run / "degraded")
    done = (
        checks.check_root("base", base, report.base_root), checks.check_root("kernel", kernel, report.kernel_root),
        checks.check_boot_complete(machine.programs),
        checks.check_units(machine.programs, optional=machine.optional_units), var,
        check_network(machine, report),
        checks.check_hooks(machine.hook_folders),
        _boot_files(machine, report),
        checks.check_store(machine, now=datetime.now(UTC)),
        reading.check(),
    )
    return Findings(
        checks=done, degraded=degraded, base_root=base.root if isinstance(base, VerityDevice) else "",
        kernel_root=kernel.root if isinstance(kernel, VerityDevice) else "",
    )


def _boot_files(machine: Machine, report: BootReport) -> Check:
    """Whether what the loader reads of this slot is what its verified package has."""
    if report.loader in (U_BOOT, PIBOOT):
        form = checks.UBOOT_FORM if report.loader == U_BOOT else checks.PIBOOT_FORM
        return checks.check_slot_volume(form, device=report.boot_device, package=machine.package, slot=report.slot)
    return checks.check_image(on_esp=machine.esp / kernel_path(report.slot), in_package=machine.package / "kernel.efi")


def _verity(machine: Machine, mount_point: Path) -> VerityDevice | TargetError:
    try:
        return machine.verity(mount_point)
    except TargetError as error:
        return error


def confirm(machine: Machine, report: BootReport) -> None:
    """Make the running slot a good one: the entry first, the record second.

    Raises:
        TargetError: either could not be written.
    """
    partition = StatePartition(device=report.state_device)
    state = partition.load()
    if state is None or state.slot is not report.slot:
        raise TargetError(f"cannot confirm slot {report.slot.value}: the slot-state record names another or is lost")
    if report.loader == SYSTEMD_BOOT:  # to U-Boot the record is all
        bless(report.slot, esp=machine.esp, programs=machine.programs)
        with suppress(TargetError):  # it only keeps later updates possible
            renumber(report.slot, esp=machine.esp, programs=machine.programs)
    elif report.loader == PIBOOT:
        prefer(report.slot, boot=machine.esp, disk=report.disk, sys=machine.sys, programs=machine.programs)
    partition.store(mark_healthy(state))
    with suppress(TargetError):  # it only puts off a last resort
        partition.clear_ledger()


def can_fall_back(machine: Machine, report: BootReport) -> bool:
    """Whether a reboot leads anywhere: by what the initrd read and counted, and by the record as it is now.

    A boot that could not be counted is followed by the next one like it, for ever. From a slot on trial systemd-boot
    leads away by itself. From a confirmed one the initrd does, by an entry on the ESP: where that is lost, this slot is
    what the firmware knows to start, and a reboot would be followed by the next. From a slot that the Pi's firmware
    started only the initrd leads away, by autoboot.txt. U-Boot leads away from both by the record.
    """
    with suppress(TargetError):
        state = StatePartition(device=report.state_device).load()
        if state is not None and report.fallback:
            return state.other_good and _is_counted(machine, report, state) and not _way_is_lost(machine, report, state)
    return report.fallback


def _is_counted(machine: Machine, report: BootReport, state: SlotState) -> bool:
    """Whether this boot is in a count that leads away from its slot: the record's, or its entry's for systemd-boot."""
    if state.slot is report.slot and state.unhealthy:
        return True
    return report.loader == SYSTEMD_BOOT and tries_left(report.slot, esp=machine.esp) is not None


def _way_is_lost(machine: Machine, report: BootReport, state: SlotState) -> bool:
    """Whether what the initrd would write to lead away from the running slot is gone."""
    if report.loader == PIBOOT:
        return not (machine.esp / AUTOBOOT_NAME).is_file()
    return (report.loader == SYSTEMD_BOOT and state.slot is report.slot and state.confirmed
            and not (machine.esp / ENTRY_FOLDER).is_dir())


def remember(machine: Machine, report: BootReport, verdict: Verdict) -> None:
    """Tell the history of updates, if one is under way: it ends here, or its trial does. A full disk forgets."""
    from imagekit.device.history import History, after_verdict, edit_history, load_history

    def told(memory: History) -> History:
        return after_verdict(memory, slot=report.slot.value, roots=(report.base_root, report.kernel_root),
                             healthy=verdict.healthy, reasons=verdict.reasons,
                             now=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    memory = load_history(machine)
    if told(memory) != memory:
        with suppress(TargetError):
            edit_history(machine, told)


def _end_reset(machine: Machine, report: BootReport) -> None:
    """A factory reset that somebody asked for was done by this boot's initrd, or is given up."""
    from imagekit.device.factory_reset import end_reset

    with suppress(TargetError):
        end_reset(machine, report, now=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def end_gadget_trial(machine: Machine, report: BootReport, say: Callable[[str], None]) -> None:
    """A gadget that came with this slot is kept; one that came with another slot is taken back."""
    with suppress(TargetError):
        if load_gadget_record(report.state_device).trial is not None:
            from imagekit.device.gadget import settle

            settle(machine, report, say)


def publish(machine: Machine, verdict: Verdict, host: Host | None) -> None:
    """Leave the verdict for `imagekit-device status`, where there is room in memory, and send it to the host."""
    path = machine.run / "health.json"
    fresh = path.with_suffix(".new")
    with suppress(OSError):
        fresh.write_text(json.dumps(asdict(verdict)) + "\n")
        fresh.rename(path)
    if host:
        host.tell(verdict)
        host.close()


def phases(machine: Machine, report: BootReport, started: float) -> dict[str, float]:
    """Seconds of each phase, in order; firmware and loader where systemd-boot could tell the time."""
    found: dict[str, float] = {}
    begin, end = _loader_time(machine, "Init"), _loader_time(machine, "Exec")
    if begin is not None and end is not None and end >= begin:
        found |= {"firmware": round(begin, 2), "loader": round(end - begin, 2)}
    return found | {
        "kernel": round(report.initrd_s, 2), "initrd": round(report.switch_s - report.initrd_s, 2),
        "systemd": round(started - report.switch_s, 2), "health": round(_uptime_s() - started, 2),
    }


def _loader_time(machine: Machine, name: str) -> float | None:
    """One of systemd-boot's times: an EFI variable of 4 bytes of attributes and microseconds as UTF-16 text."""
    with suppress(OSError, ValueError):
        raw = (machine.sys / f"firmware/efi/efivars/LoaderTime{name}USec-{_LOADER_GUID}").read_bytes()
        return int(raw[4:].decode("utf-16-le").rstrip("\0")) / 1e6
    return None


def _boot_id(machine: Machine) -> str:
    return (machine.proc / "sys/kernel/random/boot_id").read_text().strip()


def _uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
