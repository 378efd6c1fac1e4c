"""Small packages, signed, and a model of them: everything that an image is built from, in a folder of the test.

The packages are real EROFS, made by the host's mkfs.erofs; what is in them is random but equal on every run.
"""

from __future__ import annotations

import hashlib
import io
import json
import random
import struct
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import zstandard

from imagekit.assertions import Assertion, Header, encode_stream
from imagekit.digests import sha3_384
from imagekit.disk.verity import build_tree, salt_for, uuid_for
from imagekit.testing.documents import Brand

GADGET = """\
volumes:
  pc:
    bootloader: grub
    structure:
      - name: esp
        role: system-boot
        type: C12A7328-F81F-11D2-BA4B-00A0C93EC93B
        filesystem: vfat
        size: 40M
        content:
          - {source: systemd-bootx64.efi, target: EFI/BOOT/BOOTX64.EFI}
          - {source: loader.conf, target: loader/loader.conf}
          - {source: startup.nsh, target: /}
      - {name: slot-state, type: 33DEB6F2-752F-574C-BB05-38266357DEAF, size: 1M}
      - {name: base-a, type: 86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size: 8M}
      - {name: base-b, type: 86B3FADB-AE30-590F-BC3C-D69AB6A623A1, size: 8M}
      - {name: kernel-a, type: 23358B13-2DBE-5357-962A-B7CADD51CAA6, size: 6M}
      - {name: kernel-b, type: 23358B13-2DBE-5357-962A-B7CADD51CAA6, size: 6M}
      - name: seed
        role: system-seed
        type: EBD0A0A2-B9E5-4433-87C0-68B6B72699C7
        filesystem: vfat
        size: 64M
      - name: data
        role: system-data
        type: 4D21B016-B534-45C2-A9FB-5C16E091FD2D
        filesystem: ext4
        size: 32M
x-imagekit:
  bootloader: systemd-boot
  cmdline: "console=ttyS0,115200 panic=10"
  structures:
    slot-state: {part: state}
    base-a: {slot: a, part: base}
    base-b: {slot: b, part: base}
    kernel-a: {slot: a, part: kernel}
    kernel-b: {slot: b, part: kernel}
"""


def noise(seed: str, size: int) -> bytes:
    """`size` bytes that do not compress, equal for equal seeds."""
    return random.Random(seed).randbytes(size)


EFI_AMD64, EFI_ARM64 = 0x8664, 0xAA64


def efi_program(sections: Mapping[str, bytes], *, size: int, machine: int = EFI_AMD64) -> bytes:
    """A PE image of exactly `size` bytes with these sections; nothing in it runs."""
    head = b"MZ".ljust(0x3C, b"\0") + (0x40).to_bytes(4, "little") + b"PE\0\0"
    coff = struct.pack("<HHIIIHH", machine, len(sections), 0, 0, 0, 0, 0)
    at = len(head) + len(coff) + 40 * len(sections)
    table, body = b"", b""
    for name, content in sections.items():
        length = len(content)
        table += struct.pack("<8sIIIIIIHHI", name.encode(), length, 0, length, at + len(body), 0, 0, 0, 0, 0)
        body += content
    return (head + coff + table + body).ljust(size, b"\0")


def kernel_image(size: int, *, seed: str = "kernel", version: str = "6.12.1-test", machine: int = EFI_AMD64) -> bytes:
    """A unified kernel image of `size` bytes, noise for a kernel."""
    rest = size - 0x40 - 24 - 2 * 40 - len(version)
    return efi_program({".uname": version.encode(), ".linux": noise(seed, rest)}, size=size, machine=machine)


LOADER_MARK = b"#### LoaderInfo: systemd-boot 257.1-test ####"
BOOT_ASSETS = {"systemd-bootx64.efi": efi_program({".sdmagic": LOADER_MARK}, size=9000),
               "loader.conf": b"timeout 0\neditor no\n", "startup.nsh": b"reset\r\n"}


def debian_package(name: str) -> dict[str, str]:
    """An entry of `meta/packages.json`."""
    return {"name": name, "version": "1:2.3-4+b1", "architecture": "amd64", "source": f"{name}-src",
            "source_version": "1:2.3-4", "sha256": hashlib.sha256(name.encode()).hexdigest(),
            "sha512": hashlib.sha512(name.encode()).hexdigest(), "filename": f"{name}_2.3-4+b1_amd64.deb"}


def snap_yaml(name: str, kind: str) -> bytes:
    return f'name: {name}\nversion: "1.0"\ntype: {kind}\narchitectures: [amd64]\n'.encode()


class Silent:
    """`Progress` that says nothing and keeps the steps with their totals."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.totals: dict[str, tuple[int | None, str]] = {}

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        self.steps.append(name)
        self.totals[name] = (total, unit)

    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@dataclass(slots=True, kw_only=True)
class Workshop:
    """Makes packages and models below `folder`; `gadget` is the text of gadget.yaml."""

    folder: Path
    gadget: str = GADGET
    brand: Brand = field(default_factory=lambda: Brand("acme"))

    @property
    def packages(self) -> Path:
        return self.folder / "packages"

    @property
    def trust(self) -> Path:
        return self.folder / "trust"

    def package(self, name: str, kind: str, files: Mapping[str, bytes], *, revision: int = 1,
                sign: bool = True) -> Path:
        """A package with its compressed form and, unless told otherwise, its assertions beside it."""
        tree = self.folder / f"tree-{name}-{revision}"
        meta = {"meta/snap.yaml": snap_yaml(name, kind), "meta/packages.json": json.dumps(
            [debian_package(f"lib{name}"), debian_package("libc6")]).encode()}
        for path, content in sorted({**meta, **files}.items()):
            target = tree / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        self.packages.mkdir(exist_ok=True)
        made = self.packages / f"{name}_{revision}.snap"
        subprocess.run(["mkfs.erofs", "-T0", "--all-root", "-U", "11111111-2222-3333-4444-555555555555", str(made),
                        str(tree)], check=True, capture_output=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self.finish(made, kind, sign=sign)
        return made

    def finish(self, made: Path, kind: str, *, sign: bool = True) -> None:
        """(Re)make what lies beside a package."""
        raw = made.read_bytes()
        made.with_name(made.name + ".zst").write_bytes(zstandard.ZstdCompressor(level=3).compress(raw))
        if sign:
            root = None
            if kind in ("kernel", "base"):
                digest = sha3_384(io.BytesIO(raw))
                root = build_tree(io.BytesIO(raw), len(raw), salt=salt_for(digest), uuid=uuid_for(digest)).root_hash
            revision = self.brand.revision_for(made, verity_root=root)
            name = made.name.partition("_")[0]
            self.write_assertions(made.with_suffix(".assert"), self.brand.declaration(name), revision)

    def write_assertions(self, path: Path, *assertions: Assertion) -> None:
        path.write_bytes(encode_stream([*assertions, self.brand.account, self.brand.account_key]))

    def write_trust(self) -> None:
        self.trust.mkdir(exist_ok=True)
        (self.trust / "roots.assert").write_bytes(encode_stream(self.brand.roots))

    def usual(self, *, base: int = 3 << 20, kernel: int = 1 << 20) -> Path:
        """The gadget, a kernel, a base and the model of them; answers the model's path."""
        self.package("pc", "gadget", {"meta/gadget.yaml": self.gadget.encode(), **BOOT_ASSETS})
        self.package("pc-kernel", "kernel", {"kernel.efi": kernel_image(kernel), "modules/6.12/a.ko": b"module"})
        self.package("debian-13", "base", {"usr/lib/os-release": b'ID=debian\nVERSION_ID="13"\n',
                                           "usr/bin/init": noise("base", base)})
        self.write_trust()
        return self.model()

    def model(self, name: str = "pc", **headers: Header) -> Path:
        path = self.folder / f"{name}.model"
        self.write_assertions(path, self.brand.model(model=name, **headers))
        return path
