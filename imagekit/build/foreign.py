"""Bootstrapping a root file system of another architecture than this machine's.

Its maintainer scripts run programs that this machine cannot run. In a user namespace with a binfmt_misc of its own
(Linux 6.7), every start of such a program comes to `foreign/dispatch`: that takes the program's twin, the same version
built for this machine, and where there is none QEMU. So nothing of the host is set or changed, and what takes five
times as long under QEMU alone makes the same tree, file by file (docs/how-to/foreign-architectures.md). Twins and QEMU
are locked parts (`packages/foreign.yaml`). Where the host cannot give such a namespace but has QEMU registered for
everybody, that is used.

Decides which programs have a twin and how mmdebstrap is called; `imagekit.build.pack_base` calls it. `imagekit doctor`
asks for the same way. Sources: Linux Documentation/admin-guide/binfmt-misc.rst; ELF header fields from the System V
ABI, chapter 4.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from imagekit.build.parts import Parts, make_root, unpack
from imagekit.errors import HostError
from imagekit.host.ports import Tools
from imagekit.host.tools import LOADERS
from imagekit.packages.lockfile import Part, Section

HERE = Path(__file__).parent / "foreign"
BOX = "/.imagekit"  # within the new root, while it is made
NATIVE = {"x86_64": "amd64", "aarch64": "arm64"}
EMULATORS = {"arm64": "aarch64", "armhf": "arm", "amd64": "x86_64"}
REGISTERED = Path("/proc/sys/fs/binfmt_misc")

# e_ident up to the version, any ABI; a program or a shared object; the machine
_HEADERS = {"arm64": (2, 0xB7), "armhf": (1, 0x28), "amd64": (2, 0x3E)}
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"

# What tells the architecture it was built for, or writes a file that depends on it, is never replaced by a twin.
TELLTALES = frozenset({
    "arch", "dpkg", "dpkg-query", "getconf", "iconvconfig", "ld.so", "ldconfig", "ldd", "linux32", "linux64",
    "localedef", "lscpu", "setarch", "uname", "uname26"})
PROGRAM_FOLDERS = ("usr/bin/", "usr/sbin/", "usr/lib/systemd/", "usr/lib/dpkg/", "usr/libexec/")
QEMU, BUSYBOX = "qemu-user", "busybox-static"

HINT = ("Linux 6.7 and later lets imagekit run them by itself (as another user than root: newuidmap and ranges in"
        " /etc/subuid); on an older one, as root: apt-get install qemu-user-static binfmt-support")


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """How to call mmdebstrap: words before its own, and further arguments."""

    prefix: tuple[str, ...]
    arguments: tuple[str, ...]


def native_architecture() -> str:
    """Debian's name of this machine's architecture; the machine's own word where we know no name."""
    machine = os.uname().machine
    return NATIVE.get(machine, machine)


def handler(architecture: str, interpreter: str, flags: str) -> str:
    """The line for binfmt_misc's `register`."""
    bits, machine = _HEADERS[architecture]
    magic = rf"\x7fELF\x{bits:02x}\x01\x01" + r"\x00" * 9 + rf"\x02\x00\x{machine:02x}\x00"
    return f":imagekit-{architecture}:M::{magic}:{_MASK}:{interpreter}:{flags}"


def twins(section: Section, native: Section) -> tuple[Part, ...]:
    """The parts of `native` whose programs may stand in for those of `section`: built from the same source."""
    there = {(part.name, part.source, part.source_version) for part in section.parts}
    return tuple(part for part in native.parts if (part.name, part.source, part.source_version) in there)


def prepare(architecture: str, section: Section, native: Section, *, parts: Parts, scratch: Path, tools: Tools,
            emulate: bool = False, registrations: Path = REGISTERED) -> Foreign:
    """Make everything ready in `scratch`. `emulate`: no twins, QEMU runs all of it.

    `registrations` is the host's own binfmt_misc.

    Raises:
        HostError: this machine has no way to run programs of `architecture`.
    """
    box = scratch / "box"
    box.mkdir()
    _fill(box, architecture, native, {part.name for part in twins(section, native)}, parts)
    line = handler(architecture, str(box / "qemu"), "POCF") if emulate else dispatched(architecture)
    prefix = way(architecture, line, scratch=scratch, tools=tools, registrations=registrations)
    if emulate or not prefix:
        return Foreign(prefix=prefix, arguments=("--skip=check/qemu",))
    loader, triplet = LOADERS[os.uname().machine]
    words = f"'{box}' '{triplet}' '{loader}' \"$1\""
    return Foreign(prefix=prefix, arguments=("--skip=check/qemu", f"--extract-hook=sh '{HERE}/enter' {words}",
                                             f"--customize-hook=sh '{HERE}/leave' {words}"))


def dispatched(architecture: str) -> str:
    """The line that lets `dispatch` choose between twin and QEMU. Nothing need lie there yet when it is registered."""
    return handler(architecture, f"{BOX}/dispatch", "P")


def way(architecture: str, line: str, *, scratch: Path, tools: Tools,
        registrations: Path = REGISTERED) -> tuple[str, ...]:
    """Find out how programs of `architecture` run here: the words before a program, for a namespace that has `line`.

    There are none where the host has QEMU registered for everybody. `line` stays in `scratch`.

    Raises:
        HostError: neither way is there; `details` are what the namespace said.
    """
    path = scratch / "handler"
    path.write_text(line)
    prefix = ("sh", str(HERE / "namespace"), str(path))
    try:
        tools.run(*prefix, "true")
    except HostError as error:
        if registered(architecture, registrations):
            return ()
        raise HostError(f"cannot run the scripts of {architecture} packages: this machine does not run its programs",
                        hint=HINT, details=error.details) from error
    return prefix


def registered(architecture: str, folder: Path) -> bool:
    """Whether the host has QEMU registered for everybody, kept open (flag F), so that it is found in any root."""
    try:
        lines = (folder / f"qemu-{EMULATORS[architecture]}").read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags


def _fill(box: Path, architecture: str, native: Section, twins_of: Collection[str], parts: Parts) -> None:
    """Fill `box`: `qemu`, `busybox`, `dispatch`, and below `twins` the native parts, their programs where wanted."""
    root, aside = box / "twins", box / "aside"
    make_root(root)
    make_root(aside)
    programs = {QEMU: f"usr/bin/qemu-{EMULATORS[architecture]}", BUSYBOX: "usr/bin/busybox"}
    for part in native.parts:
        if part.name in programs:
            unpack(parts.path(part), aside, name=part.filename, only=programs[part.name].__eq__)
            continue
        wanted = _may_stand_in if part.name in twins_of else _is_no_program
        unpack(parts.path(part), root, name=part.filename, only=wanted)
    shutil.move(aside / programs[QEMU], box / "qemu")
    shutil.move(aside / programs[BUSYBOX], box / "busybox")
    shutil.rmtree(aside)
    shutil.copy(HERE / "dispatch", box / "dispatch")
    (box / "dispatch").chmod(0o755)


def _is_no_program(path: str) -> bool:
    return not path.startswith(PROGRAM_FOLDERS) or ".so" in path


def _may_stand_in(path: str) -> bool:
    return _is_no_program(path) or path.rpartition("/")[2] not in TELLTALES
