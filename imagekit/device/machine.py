"""The device as its own programs see it: where things lie, and how other programs are called.

The defaults are those of a booted device; a test makes a folder that looks like one and hands in programs of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from imagekit.device.neighbours import answers
from imagekit.device.verity import VerityDevice, mounted_verity
from imagekit.errors import TargetError

PROGRAM_TIMEOUT_S = 120
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


class Programs(Protocol):
    """Other programs of the base."""

    def run(self, *command: str) -> str:
        """Run to the end; what it printed. Raises: TargetError: it is missing, fails or hangs."""


class LocalPrograms:
    """The real ones."""

    def run(self, *command: str) -> str:
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                                  check=False, timeout=PROGRAM_TIMEOUT_S, env=ENVIRONMENT)
        except subprocess.TimeoutExpired as error:
            raise TargetError(f"cannot run {command[0]}: it took longer than {PROGRAM_TIMEOUT_S} s") from error
        except OSError as error:
            raise TargetError(f"cannot run {command[0]}: {error.strerror}") from error
        if done.returncode:
            said = tuple(done.stderr.strip().splitlines()[-20:])
            reason = said[-1] if said else f"status {done.returncode}"
            raise TargetError(f"cannot run {command[0]}: {reason}", details=said)
        return done.stdout


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """One device."""

    run: Path = Path("/run/imagekit")
    esp: Path = Path("/efi")
    sys: Path = Path("/sys")
    dev: Path = Path("/dev")
    proc: Path = Path("/proc")
    var: Path = Path("/var")
    base: Path = Path("/")
    kernel: Path = Path("/usr/lib/modules")
    package: Path = Path("/run/imagekit/kernel")  # the kernel package, whole
    machine_id: Path = Path("/etc/machine-id")
    optional_units: Path = Path("/usr/lib/imagekit/optional-units")
    hook_folders: tuple[Path, ...] = (Path("/usr/lib/imagekit/health.d"), Path("/etc/imagekit/health.d"))
    repart: Path = Path("/usr/lib/imagekit/repart.d")
    programs: Programs = field(default_factory=LocalPrograms)
    verity: Callable[[Path], VerityDevice] = mounted_verity
    answers: Callable[[str, bytes], bool] = answers  # whether a neighbour on an interface does
