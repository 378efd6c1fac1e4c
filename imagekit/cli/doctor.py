"""`imagekit doctor`: what this machine has, what it lacks, and the one line that installs it.

Told apart: there, missing, and there but denied. Only what the main job needs decides the exit code; what merely tests
use is listed too. Nothing is fetched; what is started is the tiny guest that tells whether KVM is of use, and a
namespace for programs of other architectures with nothing in it.
"""

from __future__ import annotations

import os
import pwd
import re
import shlex
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from imagekit.build.foreign import EMULATORS, REGISTERED, dispatched, native_architecture, way
from imagekit.cli.doctor_boards import board_checks, rom_ids, udev_rules
from imagekit.cli.doctor_check import Check, Machine
from imagekit.cli.options import json_option, report_option
from imagekit.cli.output import emit_json, say, table, write, write_report
from imagekit.errors import HostError
from imagekit.host.folders import default_cache_folder
from imagekit.host.tools import DEBIAN_PACKAGES
from imagekit.qemu.probe import probe_kvm
from imagekit.units import GIB, iec

OWN_BINFMT = (6, 7)  # the Linux that gives a user namespace a binfmt_misc of its own
SPACE_NEEDED = 3 * GIB  # packages, image and overlay of the demo, with room for a second build
PYTHON_NEEDED = (3, 11)

NEEDED = ("qemu-system-x86_64", "qemu-img", "apt-get", "dpkg-deb", "mmdebstrap")
FOR_TESTS = ("mcopy", "fsck.vfat", "sfdisk", "sgdisk", "veritysetup", "bmaptool", "fsck.erofs", "e2fsck",
             "unsquashfs", "mksquashfs", "shellcheck", "busybox", "go", "gpg", "gpgv", "softhsm2-util", "pkcs11-tool")
FIRMWARE = ("usr/share/OVMF/OVMF_CODE_4M.fd", "usr/share/OVMF/OVMF_VARS_4M.fd")
ARCHIVE_KEYS = "usr/share/keyrings/debian-archive-keyring.gpg"


def this_machine() -> Machine:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a number that has no name, as in some containers
        user = ""
    return Machine(root=Path("/"), environ=os.environ, uid=os.geteuid(), python=sys.version_info[:2],
                   groups=frozenset((*os.getgroups(), os.getegid())), user=user)


def examine(machine: Machine, *, cache: Path, here: Path) -> list[Check]:
    """All checks, what is needed first."""
    return [
        _python(machine),
        *_programs(machine, NEEDED, needed=True),
        *(_file(machine, path, package="ovmf") for path in FIRMWARE),
        _file(machine, ARCHIVE_KEYS, package="debian-archive-keyring"),
        *_rootless(machine),
        _apt_sources(machine),
        _kvm(machine, cache),
        *_binfmt(machine),
        _cache(machine, cache),
        _space("free space for the cache", cache),
        _space("free space here", here),
        *_programs(machine, FOR_TESTS, needed=False),
        *board_checks(machine),
    ]


def install_line(checks: Iterable[Check], *, uid: int) -> str | None:
    """The one apt line that brings every missing package; None when none is missing."""
    packages = sorted({check.package for check in checks if check.state == "missing" and check.package})
    if not packages:
        return None
    return ("" if uid == 0 else "sudo ") + shlex.join(["apt-get", "install", "--no-install-recommends", *packages])


def _python(machine: Machine) -> Check:
    ok = machine.python >= PYTHON_NEEDED
    return Check(name="python", state="ok" if ok else "missing", found=".".join(map(str, machine.python)), needed=True,
                 remedy=None if ok else "use Python 3.11 or newer: PYTHON=/path/to/python3 ./bootstrap")


def _programs(machine: Machine, programs: Iterable[str], *, needed: bool) -> Iterator[Check]:
    for program in programs:
        found = machine.find(program)
        yield Check(name=program, state="ok" if found else "missing", found=found or "", needed=needed,
                    package=DEBIAN_PACKAGES[program])


def _file(machine: Machine, path: str, *, package: str) -> Check:
    there = machine.at(path).is_file()
    return Check(name=Path(path).name, state="ok" if there else "missing", found=f"/{path}" if there else "",
                 needed=True, package=package)


def _rootless(machine: Machine) -> Iterator[Check]:
    """Making a base without root needs a user namespace with ranges of ids (newuidmap, /etc/subuid)."""
    if machine.uid == 0:
        return
    found = machine.find("newuidmap")
    yield Check(name="newuidmap", state="ok" if found else "missing", found=found or "", needed=True, package="uidmap")
    switch = machine.at("proc/sys/kernel/unprivileged_userns_clone")
    if switch.is_file() and switch.read_text().strip() == "0":
        yield Check(name="user namespaces", state="denied", found="unprivileged_userns_clone is 0", needed=True,
                    remedy="as root: sysctl kernel.unprivileged_userns_clone=1, or pack the base as root")


def _apt_sources(machine: Machine) -> Check:
    count = sum(_sources_in(path) for path in
                (machine.at("etc/apt/sources.list"), *sorted(machine.at("etc/apt/sources.list.d").glob("*"))))
    return Check(name="apt sources", state="ok" if count else "missing", found=f"{count} entries", needed=True,
                 remedy=None if count else "name a Debian mirror in /etc/apt/sources.list.d")


def _sources_in(path: Path) -> int:
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    start = {".list": "deb ", ".sources": "URIs:"}.get(path.suffix)
    return sum(line.lstrip().startswith(start) for line in lines) if start else 0


def _kvm(machine: Machine, cache: Path) -> Check:
    """KVM opens on machines where it is of no use, so a tiny guest is the judge; its answer is kept until a reboot."""
    device = machine.at("dev/kvm")
    emulated = "QEMU emulates the processor"
    if not device.exists():
        return Check(name="kvm", state="none", found=f"no /dev/kvm: {emulated}", needed=False)
    if not machine.access(device, os.R_OK | os.W_OK):
        return Check(name="kvm", state="denied", found=f"/dev/kvm may not be opened: {emulated}", needed=False,
                     remedy="join the group kvm for faster boots")
    emulator = machine.find("qemu-system-x86_64")
    if emulator is None:
        return Check(name="kvm", state="none", found="not tried: there is no QEMU", needed=False)
    try:
        answer = probe_kvm(machine.tools, emulator, cache=cache, device=device)
    except HostError as error:
        return Check(name="kvm", state="none", found=f"not tried: {error.message}", needed=False)
    return Check(name="kvm", state="ok" if answer.usable else "broken",
                 found=answer.reason if answer.usable else f"{answer.reason}: {emulated}", needed=False)


def _binfmt(machine: Machine) -> Iterator[Check]:
    """Whether `imagekit pack` can make a base of each other architecture: tried as it tries it."""
    for architecture in sorted({*EMULATORS} - {native_architecture()}):
        name, registrations = f"binfmt {architecture}", machine.at(str(REGISTERED).lstrip("/"))
        try:
            with tempfile.TemporaryDirectory() as folder:
                prefix = way(architecture, dispatched(architecture), scratch=Path(folder), tools=machine.tools,
                             registrations=registrations)
        except HostError as error:
            loaded, able = registrations.is_dir(), _linux(machine) >= OWN_BINFMT
            why = "; ".join(error.details[:1]) or error.message
            allow = "as root: modprobe binfmt_misc" if able and not loaded else error.hint
            yield Check(name=name, state="denied" if able and loaded else "missing", found=why, needed=False,
                        remedy=f"for bases of {architecture} ({why}): {allow}")
        else:
            found = "a namespace of imagekit's own" if prefix else "QEMU that is registered for the whole machine"
            yield Check(name=name, state="ok", found=f"{found}, for bases of {architecture}", needed=False)


def _linux(machine: Machine) -> tuple[int, ...]:
    """Version and patch level of the running kernel; (0, 0) where nothing tells them."""
    release = machine.at("proc/sys/kernel/osrelease")
    found = re.match(r"(\d+)\.(\d+)", release.read_text()) if release.is_file() else None
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _cache(machine: Machine, cache: Path) -> Check:
    known = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not known.is_dir() or not machine.access(known, os.W_OK | os.X_OK):
        why = f"{cache} may not be written" if known.is_dir() else f"{known} is no folder"
        return Check(name="cache", state="denied", found=why, needed=True,
                     remedy=f"{why}: name another folder, IMAGEKIT_CACHE=...")
    return Check(name="cache", state="ok", found=f"{cache}, {iec(sum(map(_size, cache.rglob('*'))))}", needed=False)


def _size(path: Path) -> int:
    """Of a file; nothing for all else, among it what another run has just removed."""
    try:
        found = path.lstat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _space(name: str, folder: Path) -> Check:
    known = folder
    while not known.exists():
        known = known.parent
    free = shutil.disk_usage(known).free
    low = free < SPACE_NEEDED
    return Check(name=name, state="low" if low else "ok", found=f"{iec(free)} at {known}", needed=True,
                 remedy=f"make room: {iec(SPACE_NEEDED)} are needed" if low else None)


@click.command()
@report_option
@json_option
@click.option("--install-line", "line_only", is_flag=True, help="Print only the apt line that brings what is missing.")
@click.option("--udev-rules", "rules_only", is_flag=True,
              help="Print only rules for udev that let users reach boards over USB.")
def doctor(output: Path | None, as_json: bool, line_only: bool, rules_only: bool) -> None:
    """Check that this machine has what imagekit needs; exit 6 if something is missing."""
    if rules_only:
        write(udev_rules(rom_ids()).rstrip("\n"))
        return
    machine = this_machine()
    checks = examine(machine, cache=default_cache_folder(machine.environ), here=Path.cwd())
    line = install_line(checks, uid=machine.uid)
    fatal = [check for check in checks if check.fatal]
    document = {"version": 1, "ok": not fatal, "install": line, "checks": [
        {"name": check.name, "state": check.state, "found": check.found, "needed": check.needed,
         "package": check.package, "remedy": check.remedy} for check in checks]}
    write_report(document, output)
    if as_json:
        emit_json(document)
    elif line_only:
        if line:
            write(line)
    else:
        table(("check", "state", "found"), [(check.name, check.state + ("" if check.needed or check.state == "ok"
              else " (not needed)"), check.remedy or check.found) for check in checks])
        if line and not fatal:  # otherwise it is the hint
            say(f"to install what is missing: {line}")
    if fatal:
        raise HostError(f"cannot do the main job on this machine: {', '.join(check.name for check in fatal)}",
                        hint=line or fatal[0].remedy)
