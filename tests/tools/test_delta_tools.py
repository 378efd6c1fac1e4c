"""Deltas between packages of mkfs.erofs: equal to the byte, small where little changed, modest in memory."""

from __future__ import annotations

import io
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.digests import sha3_384
from imagekit.packages.delta import MEMORY, apply_delta, read_head
from imagekit.packages.delta_make import make_delta

pytestmark = pytest.mark.tools
UUID = "-U00000000-0000-0000-0000-000000000000"
APPLY = """
import re, sys
from imagekit.packages.delta import apply_delta
with open(sys.argv[1], "rb") as delta, open(sys.argv[2], "rb") as old, open(sys.argv[3], "wb") as new:
    apply_delta(delta, old, new.write, name="delta")
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024)
"""


def program_like(seed: int, size: int, *, moved: int = 0) -> bytes:
    """Words of which every eighth is an address: an insertion in front moves them all."""
    chance = random.Random(seed)
    out = bytearray()
    while len(out) < size:
        out += chance.randbytes(28) + (0x400000 + len(out) + moved).to_bytes(4, "little")
    return bytes(out[:size])


def pack(mkfs: str, folder: Path, files: dict[str, bytes], *options: str) -> Path:
    tree, path = folder / "tree", folder / "package.snap"
    for name, content in {"meta/snap.yaml": b"name: x\n", **files}.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    subprocess.run([mkfs, "-T0", UUID, *options, str(path), str(tree)], check=True, capture_output=True)
    return path


def delta_between(old: Path, new: Path) -> bytes:
    with old.open("rb") as one, new.open("rb") as other:
        return make_delta(one, other)


def check(old: Path, new: Path) -> bytes:
    """The delta, after it was applied."""
    delta, out = delta_between(old, new), bytearray()
    with old.open("rb") as one:
        head = apply_delta(io.BytesIO(delta), one, out.extend, name="delta")
    assert out == new.read_bytes()
    with new.open("rb") as other:
        assert head.new_sha3_384 == sha3_384(other)
    return delta


@pytest.fixture
def mkfs(program: Callable[[str], str]) -> str:
    return program("mkfs.erofs")


BEFORE = {"usr/lib/libone.so.1.2": program_like(1, 400_000), "usr/lib/libtwo.so": program_like(2, 900_001),
          "usr/bin/tool": program_like(3, 70_000), "etc/small": b"a few words\n", "usr/share/data": random.Random(
              4).randbytes(500_000), "usr/share/gone": random.Random(5).randbytes(300_000)}
AFTER = {**BEFORE, "usr/lib/libone.so.1.3": b"\0" * 16 + program_like(1, 400_000, moved=16), "etc/new": b"new words\n",
         "usr/share/elsewhere/data": BEFORE["usr/share/data"]}
for _name in ("usr/share/gone", "usr/lib/libone.so.1.2", "usr/share/data"):
    del AFTER[_name]


@pytest.mark.parametrize("options", [(), ("-Enoinline_data",), ("-x-1",)],
                         ids=["inline", "plain", "without-xattrs"])
def test_result_is_the_package_whatever_its_layout(mkfs: str, tmp_path: Path, options: tuple[str, ...]) -> None:
    delta = check(pack(mkfs, tmp_path / "old", BEFORE, *options), pack(mkfs, tmp_path / "new", AFTER, *options))
    assert len(delta) < 60_000  # of 1.9 MB: a program that moved, names and inodes, two words


def test_same_package_needs_next_to_nothing(mkfs: str, tmp_path: Path) -> None:
    old = pack(mkfs, tmp_path / "old", BEFORE)
    assert len(check(old, old)) < 1000


def test_a_program_whose_addresses_moved_is_a_fraction_of_itself(mkfs: str, tmp_path: Path) -> None:
    one, other = program_like(7, 1_000_000), b"\0" * 32 + program_like(7, 1_000_000, moved=32)
    old, new = pack(mkfs, tmp_path / "old", {"tool": one}), pack(mkfs, tmp_path / "new", {"tool": other})
    assert len(check(old, new)) < 10_000


def test_packages_with_nothing_in_common_cost_their_new_bytes(mkfs: str, tmp_path: Path) -> None:
    old = pack(mkfs, tmp_path / "old", {"a": random.Random(1).randbytes(1_000_000)})
    new = pack(mkfs, tmp_path / "new", {"b": random.Random(2).randbytes(1_000_000)})
    assert 1_000_000 < len(check(old, new)) < 1_020_000


def test_same_packages_give_the_same_delta(mkfs: str, tmp_path: Path) -> None:
    old, new = pack(mkfs, tmp_path / "old", BEFORE), pack(mkfs, tmp_path / "new", AFTER)
    assert delta_between(old, new) == delta_between(old, new)


def test_a_large_file_is_patched_in_pieces(mkfs: str, tmp_path: Path) -> None:
    one = program_like(9, 9_000_000)
    other = one[:3_000_000] + b"inserted" * 100 + one[3_000_000:]
    old, new = pack(mkfs, tmp_path / "old", {"big": one}), pack(mkfs, tmp_path / "new", {"big": other})
    assert len(check(old, new)) < 20_000


def test_applying_stays_within_its_memory(mkfs: str, tmp_path: Path) -> None:
    chance = random.Random(11)
    shared = chance.randbytes(40 << 20)
    old = pack(mkfs, tmp_path / "old", {"kept": shared, "lib.so": program_like(1, 6 << 20)})
    new = pack(mkfs, tmp_path / "new", {"kept": shared, "lib.so": program_like(1, 6 << 20, moved=8),
                                        "fresh": chance.randbytes(24 << 20)})
    delta = tmp_path / "delta"
    delta.write_bytes(delta_between(old, new))
    with delta.open("rb") as stream:
        assert read_head(stream, name="delta").extra > 24 << 20
    done = subprocess.run([sys.executable, "-c", APPLY, str(delta), str(old), str(tmp_path / "made")], check=True,
                          capture_output=True, text=True)
    assert (tmp_path / "made").read_bytes() == new.read_bytes()
    assert int(done.stdout) <= MEMORY
