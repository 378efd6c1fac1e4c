"""Programs: the locked tool parts first, the host's own where that is right.

Decides how a program is found and started, in which environment, and what is said when it is missing or fails.
Programs that write bytes into packages and images (`mkfs.erofs`, `mke2fs`, `depmod`, `ukify`) are Debian parts pinned
by the lock, unpacked into the cache and started by their own dynamic loader on their own libraries, so that they behave
alike on every host. Their unpacking is `imagekit.build.parts`'s.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from imagekit.errors import HostError
from imagekit.host.files import reason
from imagekit.host.ports import Finished

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LAST_LINES = 20
ENDING_S = 10.0  # for a program that is told to end

# name -> path in the tool parts. Everything here is an ELF program of the host's architecture.
LOCKED_PROGRAMS = {
    "mkfs.erofs": "usr/bin/mkfs.erofs", "fsck.erofs": "usr/bin/fsck.erofs", "dump.erofs": "usr/bin/dump.erofs",
    "mke2fs": "usr/sbin/mke2fs", "e2fsck": "usr/sbin/e2fsck", "debugfs": "usr/sbin/debugfs",
    "dumpe2fs": "usr/sbin/dumpe2fs", "depmod": "usr/sbin/depmod", "modinfo": "usr/sbin/modinfo",
}
# The same for parts of another recipe (`packages/qemu.yaml`), which has these and none of those above.
LOCKED_EMULATORS = {"qemu-system-arm": "usr/bin/qemu-system-arm", "qemu-system-aarch64": "usr/bin/qemu-system-aarch64"}
# Scripts among the tool parts, with the host's interpreter for each.
LOCKED_SCRIPTS = {"ukify": (sys.executable, "usr/bin/ukify"), "mmdebstrap": ("perl", "usr/bin/mmdebstrap")}

# name -> the Debian package that brings it, for the hint.
DEBIAN_PACKAGES = {
    "apt-get": "apt", "apt-cache": "apt", "apt-config": "apt", "apt-helper": "apt", "perl": "perl",
    "mkfs.erofs": "erofs-utils", "fsck.erofs": "erofs-utils", "dump.erofs": "erofs-utils", "mke2fs": "e2fsprogs",
    "e2fsck": "e2fsprogs", "debugfs": "e2fsprogs", "dumpe2fs": "e2fsprogs", "depmod": "kmod", "modinfo": "kmod",
    "ukify": "systemd-ukify", "mmdebstrap": "mmdebstrap", "unshare": "util-linux", "newuidmap": "uidmap",
    "setpriv": "util-linux",
    "veritysetup": "cryptsetup-bin", "mcopy": "mtools", "mdir": "mtools", "mkfs.vfat": "dosfstools",
    "fsck.vfat": "dosfstools", "sfdisk": "fdisk", "sgdisk": "gdisk", "gdisk": "gdisk", "bmaptool": "bmap-tools",
    "qemu-system-x86_64": "qemu-system-x86", "qemu-system-aarch64": "qemu-system-arm",
    "qemu-system-arm": "qemu-system-arm", "qemu-img": "qemu-utils", "genimage": "genimage", "dpkg-deb": "dpkg",
    "fdtput": "device-tree-compiler", "unsquashfs": "squashfs-tools", "mksquashfs": "squashfs-tools",
    "busybox": "busybox", "shellcheck": "shellcheck", "go": "golang-go",
    "mmc": "mmc-utils",
    "gpg": "gnupg", "gpgv": "gpgv", "softhsm2-util": "softhsm2", "pkcs11-tool": "opensc",
}
ELSEWHERE = {"apt-helper": ("/usr/lib/apt/apt-helper",)}

LOADERS = {"x86_64": ("usr/lib64/ld-linux-x86-64.so.2", "x86_64-linux-gnu"),
           "aarch64": ("usr/lib/ld-linux-aarch64.so.1", "aarch64-linux-gnu")}


class LocalTools:
    """`Tools` of this machine. `locked` is the folder of the unpacked tool parts; without it all are the host's.

    `emulators` is that of QEMU's parts.
    """

    def __init__(self, locked: Path | None = None, *, emulators: Path | None = None) -> None:
        self._locked = locked
        self._emulators = emulators

    def find(self, name: str) -> Sequence[str]:
        if self._emulators is not None and name in LOCKED_EMULATORS:
            return self._loaded(self._emulators, LOCKED_EMULATORS[name])
        if self._locked is not None:
            if name in LOCKED_PROGRAMS:
                return self._loaded(self._locked, LOCKED_PROGRAMS[name])
            if name in LOCKED_SCRIPTS:
                interpreter, script = LOCKED_SCRIPTS[name]
                return (*self.find(interpreter), str(self._locked / script))
        folders = [folder for folder in os.environ.get("PATH", "").split(":") if folder.startswith("/")]
        found = shutil.which(name, path=":".join((*folders, SYSTEM_PATH)))  # never from where we happen to stand
        for path in ELSEWHERE.get(name, ()):
            found = found or shutil.which(path)
        if found is None:
            package = DEBIAN_PACKAGES.get(name)
            raise HostError(f"cannot run {name}: it is not installed",
                            hint=f"as root: apt-get install {package}" if package else None)
        return (found,)

    def _loaded(self, root: Path, program: str) -> Sequence[str]:
        loader, triplet = LOADERS[os.uname().machine]
        libraries = ":".join(str(root / folder / triplet) for folder in ("usr/lib", "lib"))
        return (str(root / loader), "--library-path", libraries, "--argv0", Path(program).name, str(root / program))

    def run(self, name: str, *args: str | Path, stdin: bytes | None = None, cwd: Path | None = None,
            env: Mapping[str, str] | None = None, timeout_s: float | None = None) -> Finished:
        argv = (*self.find(name), *(str(arg) for arg in args))
        process = self._start(name, argv, stdin, cwd, env)
        with process:
            try:
                stdout, stderr = process.communicate(stdin, timeout=timeout_s)
            except subprocess.TimeoutExpired as error:
                process.kill()
                raise HostError(f"cannot run {name}: it did not end within {timeout_s:g} s") from error
            except BaseException:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(ENDING_S)  # what it works on is about to be removed
                raise
        if process.returncode:
            how = f"exit status {process.returncode}" if process.returncode > 0 else f"signal {-process.returncode}"
            lines = (stderr or stdout).decode("utf-8", "replace").splitlines()
            raise HostError(f"cannot run {name}: it failed with {how}", details=tuple(lines[-LAST_LINES:]))
        return Finished(argv=argv, stdout=stdout, stderr=stderr)

    def _start(self, name: str, argv: Sequence[str], stdin: bytes | None, cwd: Path | None,
               env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=cwd,
                                    env={**self._environment(), **(env or {})})
        except OSError as error:
            raise HostError(f"cannot run {name}: {reason(error)}") from error

    def _environment(self) -> dict[str, str]:
        fixed = {"LC_ALL": "C.UTF-8", "TZ": "UTC", "PATH": SYSTEM_PATH, "HOME": "/nonexistent",
                 "PYTHONDONTWRITEBYTECODE": "1"}
        if self._locked is not None:
            fixed["MKE2FS_CONFIG"] = str(self._locked / "etc/mke2fs.conf")
        return fixed
