"""A device's data partition through a boot, on a disk that is recorded: mounted, reset, grown by the device's own code.

The file system is the kernel's. Loader and system are left out: nothing of them writes there.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from imagekit.cli.main import main
from imagekit.cli.powercut import put_state
from imagekit.cli.powercut_record import BEFORE, LOG, RECORDING, During, digest_of
from imagekit.device.grow import grow
from imagekit.device.machine import LocalPrograms, Machine, Programs
from imagekit.disk.writelog import LogEntry
from imagekit.host.tools import LocalTools
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.examine import Examiner
from imagekit.powercut.filesystem import Kept, check_states
from imagekit.powercut.rebuild import check_log, open_recording
from imagekit.powercut.sweep import Found, Limits, State, Sweep
from imagekit.qemu.workbench import copy_sparse
from tests.tools.conftest import ADMIN_PATH, Shell
from tests.tools.recorded_disk import Recorded, recorded
from tests.tools.update_rig import Maker

OVERLAY = Path(__file__).parents[2] / "imagekit/build/base-overlay/root/usr/lib/imagekit"
KEEPS = 20  # drawn states of each class
DATA = "256M"  # as our gadgets have it: up to 128 MiB an ext4 has no second superblock, and a torn one is its end
CAP_SYS_RESOURCE = 24  # without it the kernel grows no mounted ext4
# The disk's partitions have no names here, and the base's programs are this machine's.
INITRD = '''NEW=$1 RUN=$2 state_device=$3 DATA=$4 disk=$5 leave_data=no
find_partition() { found=$DATA; }; say() { echo "$*"; }; chroot() { shift; "$@"; }
'''
MOUNT = "mount_var; name_machine $NEW/var/lib/imagekit/etc"


def machine_of(folder: Path, disk: Path, *, programs: Programs) -> Machine:
    """The machine of a boot with this disk; the initrd has reported."""
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/boot.json").write_text(json.dumps({
        "imagekit": 1, "slot": "a", "base_root": "0" * 64, "kernel_root": "0" * 64, "state_device": "/dev/null",
        "generation": 1, "loader": "", "boot_device": "", "disk": str(disk), "fallback": False, "degraded": False,
        "resets": True, "uptime": {"initrd": 1.0, "verity": 1.0, "switch": 1.0}}))
    return Machine(run=folder / "run", var=folder / "var", repart=OVERLAY / "repart.d", programs=programs)


def may_grow_mounted() -> bool:
    """Whether this process may have the kernel grow a mounted ext4."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> CAP_SYS_RESOURCE & 1)
    return False


@dataclass(frozen=True, kw_only=True)
class Growing:
    """The device's programs. Where the kernel may not be asked to grow what is mounted, resize2fs does it unmounted."""

    data: Path
    var: Path

    def run(self, *command: str) -> str:
        if not command[0].endswith("systemd-growfs") or may_grow_mounted():
            return LocalPrograms().run(*command)
        call("umount", self.var)
        call("resize2fs", "-f", self.data)
        call("mount", "-t", "ext4", self.data, self.var)
        return ""


def call(program: str, *args: str | Path) -> None:
    """A program of this machine, which has to end well."""
    ended = subprocess.run([program, *args], capture_output=True, text=True, check=False,
                           env={**os.environ, "PATH": ADMIN_PATH, "LC_ALL": "C.UTF-8"})
    assert ended.returncode == 0, f"{program}: {ended.stderr}"


@dataclass(frozen=True, kw_only=True)
class Booted:
    """A boot that is up: `/var` is mounted at `var`."""

    folder: Path
    on: Recorded
    said: str

    @property
    def var(self) -> Path:
        return self.folder / "var"

    @property
    def grows(self) -> bool:
        """Whether the initrd asks for growing."""
        return (self.folder / "run/grow").exists()

    def grow(self, programs: Callable[[Booted], Programs] | None = None) -> None:
        """As the unit does, where it is asked to; by other programs to plant a bug."""
        if self.grows:
            with_programs = programs(self) if programs else Growing(data=self.on.partitions["data"], var=self.var)
            grow(machine_of(self.folder, self.on.disk, programs=with_programs), lambda line: None)


@contextmanager
def booted(shell: Shell, folder: Path, on: Recorded, *, bug: str = "") -> Iterator[Booted]:
    """The initrd's part of a boot, with a bug planted in its functions; the data partition is unmounted at the end."""
    for name in ("var", "dev", "run"):
        (folder / name).mkdir(exist_ok=True)
    (folder / "run/grow").unlink(missing_ok=True)
    parts = on.partitions
    try:
        said = shell(f"{INITRD}{bug}\n{MOUNT}", folder, folder / "run", parts["slot-state"], parts["data"],
                     on.disk.name, sys=Path("/sys"))
        yield Booted(folder=folder, on=on, said=said)
    finally:
        with suppress(AssertionError):
            call("umount", folder / "var")


@dataclass(frozen=True, kw_only=True)
class Life:
    """A disk before and after something that was recorded."""

    before: Path
    after: Path
    log: Path

    @property
    def size(self) -> int:
        return self.before.stat().st_size

    @contextmanager
    def opened(self) -> Iterator[tuple[CutDisk, tuple[LogEntry, ...]]]:
        with open_recording(self.before, self.log, size=self.size) as opened:
            yield opened

    @contextmanager
    def judged(self, *, lost: int = 1000, requests: Callable[[tuple[LogEntry, ...]], tuple[LogEntry, ...]] = tuple
               ) -> Iterator[Judged]:
        """Every state, once the log is held to the disk; `requests` changes the log."""
        with self.opened() as (disk, log), self.after.open("rb") as written:
            check_log(disk, log, written)
        with self.opened() as (disk, log):
            changed = requests(log)
            found = Sweep(disk, changed, Examiner(disk, data=True), Limits(lost=lost, keeps=KEEPS)).run()
            yield Judged(life=self, disk=disk, log=changed, found=found)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A recording with what the sweep found; `disk` knows its torn sectors."""

    life: Life
    disk: CutDisk
    log: tuple[LogEntry, ...]
    found: Found

    @property
    def ways(self) -> set[str]:
        """What becomes of the data partition."""
        return {item.verdict.data for item in self.found.classes}

    def lost(self, kept: Kept, scratch: Path, *, drawn: int) -> tuple[tuple[State, str], ...]:
        """What is wrong with the data partitions of the first state of each class, and of drawn ones."""
        scratch.mkdir()
        states = [*(item.first for item in self.found.classes), *self.found.spread(drawn)]
        return check_states(LocalTools(), self.disk, self.log, states, kept, scratch)

    def put(self, state: State, target: Path) -> Path:
        """The disk of a state."""
        return put_state(self.life.before, self.disk, self.log, state, target)


def live(disk: Path, folder: Path, what: Callable[[Recorded, Path], None]) -> Life:
    """Do something with a disk, recorded."""
    folder.mkdir()
    after, log = folder / "after.img", folder / "writes.log"
    copy_sparse(disk, after)
    with recorded(after, log) as on:
        what(on, folder)
    return Life(before=disk, after=after, log=log)


def by_command(maker: Maker, life: Life, during: During, folder: Path, *options: str) -> Result:
    """What `imagekit powercut` makes of such a recording, as `-o` keeps one."""
    folder.mkdir()
    (folder / BEFORE).symlink_to(life.before)
    (folder / LOG).symlink_to(life.log)
    (folder / RECORDING).write_text(json.dumps({
        "image": digest_of(maker.image), "machine": "pc", "during": during.value, "update": {}, "brought": {},
        "recorded": {"slots": ["a"], "boots": 1, "seconds": 1.0}}))
    return CliRunner().invoke(main, [  # type: ignore[arg-type]  # Program has a command's face
        "powercut", str(maker.image), "--during", during.value, "-o", str(folder), "--accel", "tcg", "--machine", "pc",
        "--trust", str(maker.workshop.trust), *options])
