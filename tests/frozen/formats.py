"""Every format that lies on a device, by example: what its encoder makes of one fixed value, and how that is read back.

tests/frozen/VERSION/formats holds the bytes, one file for each of `FORMATS`. A program that is older or newer meets
them: a new base finds what the old one wrote, and after a rollback the old one what the new one wrote.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import zstandard

from imagekit.assertions import decode_stream, encode_stream
from imagekit.boot.autoboot import Autoboot, decode_autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry, encode_entry, parse_entry
from imagekit.boot.ledger import decode_ledger, encode_ledger
from imagekit.boot.pislot import Measure, decode_sums, encode_cmdline, encode_sums, parse_cmdline
from imagekit.boot.slotproof import decode_proof, encode_proof
from imagekit.boot.slotstate import Slot, SlotState, decode_record, encode_record
from imagekit.boot.uboot import SlotEnv, decode_env, encode_env
from imagekit.device import history
from imagekit.device.history import Change, Failed, History, Pending
from imagekit.disk.verity import build_tree, salt_for, uuid_for
from imagekit.packages.delta import DeltaHead, Kind, Op, apply_delta, encode_head, encode_op
from imagekit.testing.documents import Brand
from imagekit.testing.images import noise


class Holds(Enum):
    """What a change of today's encoder may do to the bytes."""

    NOTHING = "the same bytes"
    KEYS = "the same keys and values; there may be more keys, which older readers leave alone"
    READING = "any bytes that mean the same: only reading is held"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`value` is what today's reader finds in the bytes of any version."""

    encode: Callable[[], bytes]
    decode: Callable[[bytes], Any]
    value: Any
    holds: Holds = Holds.NOTHING


UUID = "00000000-0000-4000-8000-000000000007"
RECORD = SlotState(generation=41, slot=Slot.B, tries=2, confirmed=False, unhealthy=1, other_good=True)
ENTRY = LoaderEntry(slot=Slot.B, version=7, base_root="b" * 64, kernel_root="c" * 64, state_partuuid=UUID,
                    cmdline="console=ttyS0,115200 panic=10")
FILES = {"Image": b"kernel", "initrd": b"initrd", "board.dtb": b"tree"}
ENV = SlotEnv(slot=Slot.B, base_root="b" * 64, kernel_root="c" * 64, state_partuuid=UUID, cmdline="quiet",
              files=SlotEnv.measure(FILES))
SUMS = {name: Measure.of(content) for name, content in FILES.items()}
PAIR = (("debian-13", 3), ("pc-kernel", 2))
HISTORY = History(
    floors={"debian-13": 2, "pc-kernel": 2},
    failed=(Failed(packages=PAIR, reason="hooks: pump is dry", time="2026-06-02T00:00:00Z"),),
    pending=Pending(slot="b", packages=PAIR, base_root="b" * 64, kernel_root="c" * 64, trial=True,
                    time="2026-06-03T00:00:00Z", reasons=("hooks: pump is dry",)),
    hold_until="2026-06-09T00:00:00Z", latest="2026-06-01T00:00:00Z",
    changes=(Change(time="2026-06-03T00:00:00Z", what="install", packages=PAIR, outcome="failed", reason="dry"),),
    checked="2026-06-04T00:00:00Z", check="nothing newer", waiting=3)
OLD, NEW = b"a device runs this", b"a device rubs this, too"
BLOCKS = noise("frozen", 8192)
DIGEST = "A" * 64


def delta() -> bytes:
    """Made by hand: what finds better ones may change."""
    streams = [zstandard.compress(raw) for raw in (
        encode_op(Op(kind=Kind.COPY, length=11, old=0), 0) + encode_op(Op(kind=Kind.ADD, length=1, old=11), 11)
        + encode_op(Op(kind=Kind.COPY, length=6, old=12), 12) + encode_op(Op(kind=Kind.DATA, length=5), 18),
        bytes([(ord("b") - ord("n")) % 256]), b", too")]
    ops, diff, extra = map(len, streams)
    head = DeltaHead(old_size=len(OLD), new_size=len(NEW), old_sha3_384="", new_sha3_384="", ops=ops, diff=diff,
                     extra=extra)
    return encode_head(head, old=hashlib.sha3_384(OLD).digest(), new=hashlib.sha3_384(NEW).digest()) + b"".join(streams)


def _applied(raw: bytes) -> bytes:
    out = bytearray()
    apply_delta(io.BytesIO(raw), io.BytesIO(OLD), out.extend, name="frozen")
    return bytes(out)


def _tree() -> bytes:
    return build_tree(io.BytesIO(BLOCKS), len(BLOCKS), salt=salt_for(DIGEST), uuid=uuid_for(DIGEST)).tree


FORMATS: Mapping[str, Format] = {
    "slot-state.bin": Format(encode=lambda: encode_record(RECORD), decode=decode_record, value=RECORD),
    "ledger.bin": Format(encode=lambda: encode_ledger(5), decode=decode_ledger, value=5),
    "slot-proof.bin": Format(encode=lambda: encode_proof(b"proof\n"), decode=decode_proof, value=b"proof\n"),
    "imagekit-b.conf": Format(encode=lambda: encode_entry(ENTRY), decode=lambda raw: parse_entry(raw, name="frozen"),
                              value=ENTRY),
    "slot.env": Format(encode=lambda: encode_env(ENV), decode=lambda raw: decode_env(raw, name="frozen"),
                       value=decode_env(encode_env(ENV), name="frozen")),
    "autoboot.txt": Format(encode=lambda: encode_autoboot(Autoboot(boot=2, trial=3)), decode=decode_autoboot,
                           value=Autoboot(boot=2, trial=3)),
    "cmdline.txt": Format(encode=lambda: encode_cmdline(ENTRY), decode=lambda raw: parse_cmdline(raw, name="frozen"),
                          value=parse_cmdline(encode_cmdline(ENTRY), name="frozen")),
    "slot.sum": Format(encode=lambda: encode_sums(Slot.B, SUMS), decode=decode_sums, value=(Slot.B, SUMS)),
    "verity-tree.bin": Format(encode=_tree, decode=lambda raw: raw, value=_tree()),
    "keys.assert": Format(encode=lambda: encode_stream(Brand().roots),
                          decode=lambda raw: decode_stream(raw, name="frozen"), value=Brand().roots),
    "state.json": Format(encode=lambda: json.dumps(history.as_json(HISTORY), indent=1).encode() + b"\n",
                         decode=lambda raw: history._history(json.loads(raw)), value=HISTORY, holds=Holds.KEYS),
    "delta.bin": Format(encode=delta, decode=_applied, value=NEW, holds=Holds.READING),
}
