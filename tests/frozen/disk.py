"""What lies on a device's disk beside its data: records, boot files, the proof in a slot, a hash tree, and deltas."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import Any

import zstandard

from imagekit.boot import gadgetrecord, numbers, slotstate
from imagekit.boot.autoboot import Autoboot, decode_autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry, encode_entry, parse_entry
from imagekit.boot.gadgetrecord import (
    GadgetRecord,
    GadgetTrial,
    KnownGadget,
    decode_gadget_record,
    encode_gadget_record,
)
from imagekit.boot.pislot import Measure, decode_sums, encode_cmdline, encode_sums, parse_cmdline
from imagekit.boot.slotproof import decode_proof, encode_proof
from imagekit.boot.slotstate import Slot, SlotState, decode_record, encode_record
from imagekit.boot.uboot import SlotEnv, decode_env, encode_env
from imagekit.disk.fat_swap import Switch
from imagekit.disk.identity import DeviceIdentity, decode_identity, encode_identity
from imagekit.disk.verity import build_tree, salt_for, uuid_for
from imagekit.packages.delta import DeltaHead, Kind, Op, apply_delta, encode_head, encode_op
from imagekit.testing.images import noise
from tests.frozen.format import Format, Holds, places

UUID = "00000000-0000-4000-8000-000000000007"
RECORD = SlotState(generation=41, slot=Slot.B, tries=2, confirmed=False, unhealthy=1, other_good=True)
ENTRY = LoaderEntry(slot=Slot.B, version=7, base_root="b" * 64, kernel_root="c" * 64, state_partuuid=UUID,
                    cmdline="console=ttyS0,115200 panic=10")
FILES = {"Image": b"kernel", "initrd": b"initrd", "board.dtb": b"tree"}
ENV = SlotEnv(slot=Slot.B, base_root="b" * 64, kernel_root="c" * 64, state_partuuid=UUID, cmdline="quiet",
              files=SlotEnv.measure(FILES))
SUMS = {name: Measure.of(content) for name, content in FILES.items()}
TRIED = SlotState(generation=0x01020304, slot=Slot.B, tries=3, confirmed=True, unhealthy=2, other_good=False)
GADGET = GadgetRecord(
    generation=7, installed=KnownGadget(revision=2, document=b"volumes: {}\n", proof=b"type: snap-revision\n"),
    trial=GadgetTrial(
        gadget=KnownGadget(revision=3, document=b"volumes:\n  pc: {}\n", proof=b"type: account\n"), slot=Slot.B,
        base_root="b" * 64, kernel_root="c" * 64, partition="esp",
        switches=(Switch(path="EFI/BOOT/BOOTX64.EFI", at=4096, old=bytes(range(32)), new=bytes(range(32, 64))),)))
IDENTITY = DeviceIdentity(assertions=b"type: serial\n", key=b"-----BEGIN PRIVATE KEY-----\n")
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


def lies() -> dict[str, Any]:
    """Where each record lies on the slot-state partition, in bytes; the initrd and U-Boot's script know it too."""
    return {"slot-state": slotstate.COPY_OFFSETS, "gadget": gadgetrecord.GADGET_OFFSETS,
            "gadget-end": gadgetrecord.GADGET_END, "ledger": numbers.LEDGER.offset, "reset": numbers.RESET.offset,
            "repair": numbers.REPAIR.offset}


def _number(place: str, number: int, second: int = 0) -> Format:
    return Format(encode=lambda: getattr(numbers, place).encode(number, second),
                  decode=lambda raw: getattr(numbers, place).decode_both(raw), value=(number, second))


def _tree() -> bytes:
    return build_tree(io.BytesIO(BLOCKS), len(BLOCKS), salt=salt_for(DIGEST), uuid=uuid_for(DIGEST)).tree


DISK: Mapping[str, Format] = {
    "state-partition.json": places(lies),
    "slot-state.bin": Format(encode=lambda: encode_record(RECORD), decode=decode_record, value=RECORD),
    "slot-state-confirmed.bin": Format(encode=lambda: encode_record(TRIED), decode=decode_record, value=TRIED),
    "ledger.bin": _number("LEDGER", 5, 40),
    "reset.bin": _number("RESET", 1),
    "repair.bin": _number("REPAIR", 1),
    "gadget-record.bin": Format(encode=lambda: encode_gadget_record(GADGET), decode=decode_gadget_record, value=GADGET),
    "identity.bin": Format(encode=lambda: encode_identity(IDENTITY), decode=decode_identity, value=IDENTITY),
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
    "verity-tree.bin": Format(encode=_tree, decode=lambda raw: raw == _tree(), value=True),
    "delta.bin": Format(encode=delta, decode=_applied, value=NEW, holds=Holds.READING),
}
