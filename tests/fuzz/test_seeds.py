"""Inputs that are too large to mutate, and those that once broke something: each within its second and its memory.

What breaks one is kept in `regressions/TARGET`; no fuzzer is needed to run it again.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
SEEDS = HERE / "seeds"
REGRESSIONS = HERE / "regressions"
TARGETS = sorted(path.name for path in SEEDS.iterdir())
MODEL = (HERE.parent / "data" / "assertions" / "valid-for-testing-pc-20.model").read_bytes()
MIB = 1 << 20

LAUGHS = b"a0: &a0 [x, x]\n" + b"".join(
    b"a%d: &a%d [%s]\n" % (level, level, b", ".join([b"*a%d" % (level - 1)] * 9)) for level in range(1, 12))
YAML = {
    "billion-laughs": LAUGHS,
    "laughs-of-text": b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a, " * 10_000 + b"]\n",
    "deep-flow": b"[" * 100_000,
    "deep-maps": b"{a: " * 100_000,
    "deep-block": b"".join(b" " * level + b"a:\n" for level in range(1000)),
    "deep-dashes": b"- " * 100_000,
    "many-items": b"a: [" + b"1, " * 300_000 + b"1]\n",
    "many-keys": b"".join(b"k%d: 1\n" % number for number in range(80_000)),
    "repeated-keys": b"a: 1\n" * 100_000,
    "long-scalar": b"name: " + b"x" * 1_000_000 + b"\n",
    "long-number": b"version: " + b"9" * 100_000 + b"\n",
    "long-comment": b"#" + b"x" * 1_000_000 + b"\n",
    "many-anchors": b"".join(b"k%d: &a%d x\n" % (number, number) for number in range(50_000)),
    "merges": b"a: &a {x: 1}\n" + b"".join(b"b%d: {<<: [%s]}\n" % (number, b", ".join([b"*a"] * 50))
                                           for number in range(500)),
    "crlf": b"name: a\r\n" * 1000, "bom": b"\xef\xbb\xbfa: 1\n", "nul": b"a\0" * 100_000,
    "not-utf-8": b"a: \xff\xfe" * 1000, "utf-16": "name: a\n".encode("utf-16"), "above-1-mib": b"#" * (MIB + 1),
    "unclosed": b"'" + b"a" * 500_000, "tabs": b"\t" * 500_000, "question": b"? " * 50_000,
    "percent": b"%" * 100_000, "exclamation": b"!" * 100_000, "pipe": b"a: |\n" + b" x\n" * 200_000,
}
LARGE: dict[str, dict[str, bytes]] = {
    **dict.fromkeys(("gadget-yaml", "kernel-yaml", "snap-yaml"), YAML),
    "model-draft": {**{name: b"y" + text for name, text in YAML.items()},
                    "json-deep": b"j" + b"[" * 100_000, "json-maps": b"j" + b'{"a":' * 100_000,
                    "json-number": b"j" + b"9" * 500_000, "json-keys": b"j{" + b'"a":1,' * 100_000 + b'"b":1}'},
    "assertions": {
        "body-of-4-gib": MODEL.replace(b"\nbase:", b"\nbody-length: 4294967296\nbase:"),
        "body-of-a-googol": MODEL.replace(b"\nbase:", b"\nbody-length: 1" + b"0" * 100_000 + b"\nbase:"),
        "deep-lists": b"type: model\nsnaps:" + b"".join(
            b"\n" + b"  " * level + b"-" for level in range(1, 2000)) + b"\n\nAXN\n",
        "deep-maps": b"type: model\na:" + b"".join(
            b"\n" + b"  " * level + b"a:" for level in range(1, 2000)) + b"\n\nAXN\n",
        "many-headers": b"type: model\n" + b"".join(b"h%d: x\n" % number for number in range(10_000)) + b"\nAXN\n",
        "many-items": b"type: model\nsnaps:\n" + b"  - x\n" * 20_000 + b"\nAXN\n",
        "no-end": b"type: model\n" * 100_000, "blank": b"\n" * MIB, "nul": b"\0" * MIB, "not-utf-8": b"\xff" * MIB,
        "many": MODEL * 100, "crlf": MODEL.replace(b"\n", b"\r\n"), "bom": b"\xef\xbb\xbf" + MODEL,
        "body-of-3-mib": MODEL.replace(b"\nbase:", b"\nbody-length: 3145728\nbase:").replace(
            b"\n\n", b"\n\n" + b"x" * (3 * MIB) + b"\n\n", 1)},
    "health": {"deep": b"[" * 100_000, "long": b'{"imagekit": 1, "x": "' + b"x" * MIB + b'"}'},
    "block-map": {"many": b"<Range chksum=\"" + b"0" * 64 + b"\"> 1 </Range>" * 20_000,
                  "spaces": b"<Range" + b" " * MIB},
    "squashfs": {"many": b"-rw-r--r-- 0/0 1 1970-01-01 00:00 squashfs-root/a\n" * 20_000, "line": b"-" * MIB,
                 "spaces": b"-rw-r--r-- 0/0 " + b" " * MIB, "digits": b"-rw-r--r-- 0/0 " + b"1" * MIB},
    "openpgp-key": {"long": b"\x01\xc6\xff\xff\xff\xff\xff" + bytes(MIB)},
    "openpgp-signature": {"long": b"\x01\xc2\xff\xff\xff\xff\xff" + bytes(MIB)},
    "openpgp-secret": {"armor": b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n" + b"A" * MIB, "zeros": bytes(MIB)},
}
ELF = (SEEDS / "programs/elf").read_bytes()
DYNAMIC = ELF[:54] + struct.pack("<HH", 0, 0xFFFF) + ELF[58:64] + struct.pack("<IIQQQQQQ", 2, 0, 0, 0, 0, 32768, 0, 0)
SECTION = struct.pack("<8sIIIIIIHHI", b".linux", 4 * MIB, 0, 4 * MIB, 0, 0, 0, 0, 0, 0)
EFI = (SEEDS / "programs/efi").read_bytes()
LARGE["programs"] = {
    "one-header-many-times": DYNAMIC.ljust(32768, b"\0"),
    "one-section-many-times": (EFI[:70] + struct.pack("<H", 96) + EFI[72:84] + SECTION * 96).ljust(4 * MIB, b"\0"),
    "no-end-of-a-name": (ELF[:208] + struct.pack("<QQQ", 1_600_016, 1_600_016, 0) + ELF[232:264]
                         + struct.pack("<2q", 5, 0) + struct.pack("<2q", 1, 1_700_000) * 100_000
                         ).ljust(4 * MIB, b"a") + b"\0",
}
LARGE["deb"] = {"continued": b"a: b\n" + b" c\n" * 400_000, "many": b"a: b\n\n" * 100_000,
                "members": b"!<arch>\n" + b"a/              0           0     0     100644  0         `\n" * 20_000}
SUMS = b"imagekit slot a\n00000000 %b name\n" % (b"9" * 5000)
LARGE["boot-files"] = {"digits": SUMS + b"%08x\n" % zlib.crc32(SUMS), "lines": b"\n" * MIB, "words": b"a " * 500_000}
LARGE["gadget-record"] = {"deep": bytes(1) + b"[" * 400_000}
LARGE["device-memory"] = {"deep": b"[" * 1_000_000, "maps": b'{"a":' * 200_000,
                          "changes": b'{"imagekit": 1, "floors": {}, "failed": [], "pending": null, "hold_until": "",'
                          b' "latest": "", "changes": [' + b"[]," * 100_000 + b"[]]}"}
LARGE["write-log"] = {"flushes": struct.pack("<3QI", 0x6A736677736872, 1, 1 << 40, 512).ljust(512, b"\0")
                      + struct.pack("<4Q", 0, 0, 1, 0).ljust(512, b"\0") * 8000}
LARGE["identity"] = {"zeros": bytes(MIB), "ones": b"IKIDENT1" + b"\1" * MIB}
LARGE["factory-log"] = {"deep": b'{"record":' * 100_000, "lines": b"\n" * MIB, "long": b"x" * MIB}
LARGE["manifest"] = {"deep": b"[" * 100_000, "number": b"9" * MIB}
SNAP = b"name: hello\nversion: 1\n"
LARGE["snap-yaml"] = {
    **YAML,
    "many-bad-apps": SNAP + b"apps:\n" + b"".join(b"  -%d: {command: 'a b!', daemon: x}\n" % number
                                                  for number in range(4000)),
    "many-services": SNAP + b"apps:\n" + b"".join(
        b"  a%d: {daemon: simple, after: [a%d]}\n" % (number, (number + 1) % 5000) for number in range(5000)),
    "all-after-all": SNAP + b"apps:\n" + b"".join(
        b"  a%d: {daemon: simple, after: [%s]}\n" % (number, b", ".join(b"a%d" % other for other in range(100)))
        for number in range(100)),
    "many-layouts": SNAP + b"layout:\n" + b"".join(b"  /opt/a%s: {type: tmpfs}\n" % (b"/a" * number)
                                                   for number in range(300)),
    "many-plugs": SNAP + b"apps:\n" + b"".join(b"  a%d: {plugs: [p%d]}\n" % (number, number) for number in range(5000)),
    "long-license": SNAP + b"license: " + b"(" * 100_000 + b"\n",
    "long-license-or": SNAP + b"license: MIT" + b" OR MIT" * 50_000 + b"\n",
    "long-timer": SNAP + b"apps: {a: {daemon: simple, timer: '" + b"mon," * 100_000 + b"'}}\n",
    "long-duration": SNAP + b"apps: {a: {daemon: simple, stop-timeout: '" + b"1s" * 100_000 + b"'}}\n",
    "long-name": b"name: " + b"a-" * 200_000 + b"\nversion: " + b"1." * 100_000 + b"\n",
}


def replay(target: str, files: Iterable[Path], out: Path) -> None:
    """Run inputs through a target in a process of its own, with the limits of fuzzing."""
    done = subprocess.run([sys.executable, str(HERE / "child.py"), target, "replay", str(out), *map(str, files)],
                          capture_output=True, text=True, check=False, timeout=600,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("target", LARGE)
def test_large_inputs_stay_within_their_limits(tmp_path: Path, target: str) -> None:
    for name, text in LARGE[target].items():
        (tmp_path / name).write_bytes(text)
    replay(target, [tmp_path / name for name in LARGE[target]], tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_what_once_broke_it_and_its_seeds_are_judged(tmp_path: Path, target: str) -> None:
    found = [*sorted((SEEDS / target).iterdir()), *sorted((REGRESSIONS / target).glob("*"))]
    assert found
    replay(target, found, tmp_path)
