"""The phases of a boot: told apart on the console, timed, and named when one of them does not end.

    firmware -> loader -> kernel -> initrd -> systemd -> health

Marks are console lines (OVMF's boot manager, our script in U-Boot, the kernel's or its stub's first line, the
`imagekit: phase` lines of our initrd) and the health port (hello, verdict). A quiet kernel prints no first line; then
the guest's own count of seconds from its kernel's start to its initrd, if the verdict brings one, tells loader and
kernel apart, and without it the loader is given both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Phase(StrEnum):
    """What a boot is busy with."""

    FIRMWARE = "firmware"
    LOADER = "loader"
    KERNEL = "kernel"
    INITRD = "initrd"
    SYSTEMD = "systemd"
    HEALTH = "health"


ORDER = tuple(Phase)

_MARKS: tuple[tuple[re.Pattern[str], Phase], ...] = (
    (re.compile(r'BdsDxe: starting Boot\w+(?! "EFI Internal Shell)\b'), Phase.LOADER),  # the shell is firmware too
    (re.compile(r"imagekit: boot script$"), Phase.LOADER),
    (re.compile(r"EFI stub: |Starting kernel \.\.\.|\[ *0\.000000\] |Linux version \d"), Phase.KERNEL),
    (re.compile(r"imagekit: phase (initrd|verity)$"), Phase.INITRD),
    (re.compile(r"imagekit: phase switch$"), Phase.SYSTEMD),
)

_HINTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"dm-verity device corrupted|data block \d+ is corrupted|metadata block \d+ is corrupted"),
     "a block of the base or kernel partition does not match its signed root: build or flash the image again"),
    (re.compile(r"Kernel panic"), "the kernel gave up; the lines before its panic say why"),
    (re.compile(r"Out of memory|oom-kill"), "the guest ran out of memory: give the machine more (memory: in its YAML)"),
    (re.compile(r"Error loading|Error opening|Failed to (execute|start|load)", re.IGNORECASE),
     "the boot loader could not load the kernel of this slot: is it on the ESP, and whole?"),
    (re.compile(r"imagekit: neither slot can be loaded"),
     "U-Boot found no slot whose files are whole: look at the lines before, and at boot-a and boot-b"),
    (re.compile(r"No bootable option|Press any key to enter the Boot Manager|BdsDxe: failed to load|"
                r"UEFI Interactive Shell", re.IGNORECASE),
     "the firmware found no boot loader it could start: is EFI/BOOT on the ESP?"),
    (re.compile(r"soft lockup|hard LOCKUP|detected stall"), "a processor of the guest hung in its kernel"),
)
_STUCK: Mapping[Phase, str] = {
    Phase.FIRMWARE: "the firmware printed nothing about a boot loader: is there an ESP with EFI/BOOT on the disk?",
    Phase.LOADER: "no sign of a kernel: look at loader/entries on the ESP, and at the console= of the kernel",
    Phase.KERNEL: "the kernel started and its initrd did not",
    Phase.INITRD: "the initrd did not hand over: its last line names the step",
    Phase.SYSTEMD: "systemd started and the health service did not report: look on with --console",
    Phase.HEALTH: "the health service opened its port and gave no verdict",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseTime:
    """How long one phase took."""

    phase: Phase
    seconds: float


class PhaseClock:
    """Follows one boot; times are seconds of the run."""

    def __init__(self, start_s: float) -> None:
        self._began: dict[Phase, float] = {Phase.FIRMWARE: start_s}
        self._end_s: float | None = None

    @property
    def current(self) -> Phase:
        """The phase that the last mark began."""
        return max(self._began, key=ORDER.index)

    def line(self, time_s: float, text: str) -> None:
        """A console line came."""
        for pattern, phase in _MARKS:
            if pattern.search(text):
                self.enter(time_s, phase)
                return

    def enter(self, time_s: float, phase: Phase) -> None:
        """The phase begins, unless it or a later one began before."""
        if ORDER.index(phase) > ORDER.index(self.current):
            self._began[phase] = time_s

    def end(self, time_s: float) -> None:
        """The verdict came."""
        self._end_s = time_s

    def times(self, told: Mapping[str, float] | None = None) -> tuple[PhaseTime, ...]:
        """What each phase took, in order; the running one is left out. `told`: seconds by name from the verdict."""
        began = dict(self._began)
        kernel_s = (told or {}).get("kernel")
        if kernel_s is not None and Phase.KERNEL not in began and {Phase.LOADER, Phase.INITRD} <= began.keys():
            began[Phase.KERNEL] = max(began[Phase.LOADER], began[Phase.INITRD] - kernel_s)
        known = [phase for phase in ORDER if phase in began]
        ends = [began[phase] for phase in known[1:]] + ([self._end_s] if self._end_s is not None else [])
        return tuple(PhaseTime(phase=phase, seconds=round(end - began[phase], 3))
                     for phase, end in zip(known, ends, strict=False))


def hint(phase: Phase, lines: Sequence[str]) -> str:
    """The likely cause of a boot that ended in `phase` with these last lines, and what to try."""
    for pattern, text in _HINTS:
        if any(pattern.search(line) for line in lines):
            return text
    return _STUCK[phase]
