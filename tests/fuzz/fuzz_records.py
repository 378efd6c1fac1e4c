"""Records that a device finds on its disks, and what comes over lines, sockets and in other people's files.

As in fuzz_disks: where the last bit says so, checksums and lengths are made right first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
import zlib

from fuzz_disks import repaired

from imagekit.assertions import decode_stream
from imagekit.boot import fastboot, tftp, ymodem
from imagekit.boot.entries import parse_entry
from imagekit.boot.gadgetrecord import (
    End,
    GadgetRecord,
    decode_gadget_record,
    encode_gadget_record,
    ended,
    newest_gadget,
)
from imagekit.boot.ledger import decode_ledger
from imagekit.boot.pislot import decode_sums, encode_sums, parse_cmdline
from imagekit.boot.slotproof import decode_proof, encode_proof
from imagekit.boot.uboot import ENV_SIZE, decode_env
from imagekit.boot.uimage import decode_script
from imagekit.device.history import as_json, decode_history
from imagekit.device.rhythm import decode_beyond
from imagekit.device.wishes import decode_owner, owner_json
from imagekit.disk.identity import decode_identity, encode_identity
from imagekit.disk.sparse import decode_sparse
from imagekit.disk.writelog import Kind, decode_log, encode_entry, encode_super
from imagekit.errors import ImagekitError
from imagekit.packages.debmeta import control_of, decode_ar, parse_stanzas
from imagekit.packages.elf import HEAD_SIZE, decode_architecture, decode_needs
from imagekit.packages.uki import decode_uki, efi_architecture, efi_loader
from imagekit.units import MIB, SECTOR

HEAD = 20  # of a gadget's record
PROOF_HEAD = 16


def write_log(raw: bytes) -> None:
    """What a log says is written as a log again, and read again as the same."""
    found = decode_log(raw, disk_size=MIB)
    again = decode_log(encode_super(len(found)) + b"".join(
        encode_entry(item, raw[item.at * SECTOR:(item.at + item.count) * SECTOR] if item.kind is Kind.WRITE else b"")
        for item in found), disk_size=MIB)
    assert [(item.kind, item.first, item.count) for item in again] == [
        (item.kind, item.first, item.count) for item in found]


def identity(raw: bytes) -> None:
    if repaired(raw) and len(raw) > SECTOR:
        body = raw[SECTOR:]
        raw = raw[:12] + struct.pack("<I32s", len(body), hashlib.sha256(body).digest()) + raw[48:]
    found = decode_identity(raw)
    if found is not None:
        assert decode_identity(encode_identity(found)) == found
        assert repr(found) == "DeviceIdentity()"


def gadget_record(raw: bytes) -> None:
    """Both copies, cut where the first byte says; the one that counts is written and read again as the same."""
    cut = (raw[0] if raw else 0) * 8
    copies = [_summed(raw[1:1 + cut], raw), _summed(raw[1 + cut:], raw)]
    found, index = newest_gadget(copies)
    assert index in (0, 1)
    assert decode_gadget_record(encode_gadget_record(found)) == found
    for end in End if found.trial is not None else ():
        after = ended(found, end)
        assert isinstance(after, GadgetRecord) and after.trial is None


def _summed(copy: bytes, raw: bytes) -> bytes:
    if not repaired(raw) or len(copy) < HEAD:
        return copy
    body = copy[HEAD:]
    return copy[:12] + struct.pack("<II", len(body), zlib.crc32(body)) + body


def slot_proof(raw: bytes) -> None:
    decode_ledger(raw[:SECTOR])
    if repaired(raw) and len(raw) > PROOF_HEAD:
        body = raw[PROOF_HEAD:]
        raw = raw[:8] + struct.pack("<II", len(body), zlib.crc32(body)) + body
    stream = decode_proof(raw)
    assert decode_proof(encode_proof(stream)) == stream
    decode_stream(stream, name="fuzz")


def boot_files(raw: bytes) -> None:
    """The text files that loaders read: entries, slot.env, cmdline.txt, slot.sum, boot.scr."""
    text = raw[:ENV_SIZE - 4].ljust(ENV_SIZE - 4, b"\n")
    with contextlib.suppress(ImagekitError):
        decode_env(text + zlib.crc32(text).to_bytes(4, "little") if repaired(raw) else raw, name="slot.env")
    with contextlib.suppress(ImagekitError):
        parse_entry(raw, name="fuzz.conf")
    with contextlib.suppress(ImagekitError):
        parse_cmdline(raw, name="cmdline.txt")
    with contextlib.suppress(ImagekitError):
        slot, found = decode_sums(raw + f"{zlib.crc32(raw):08x}\n".encode() if repaired(raw) else raw)
        assert decode_sums(encode_sums(slot, found)) == (slot, found)
    if repaired(raw) and len(raw) > 64:
        body = raw[64:]
        raw = raw[:12] + struct.pack(">I", len(body)) + raw[16:24] + struct.pack(">I", zlib.crc32(body)) + raw[28:]
        raw = raw[:4] + struct.pack(">I", zlib.crc32(raw[:4] + bytes(4) + raw[8:64])) + raw[8:]
    decode_script(raw, name="boot.scr")


def device_memory(raw: bytes) -> None:
    """What is remembered is written and read again as the same."""
    with contextlib.suppress(ImagekitError):
        history = decode_history(raw)
        assert decode_history(json.dumps(as_json(history)).encode()) == history
    with contextlib.suppress(ImagekitError):
        owner = decode_owner(raw)
        assert decode_owner(json.dumps({"imagekit": 1, **owner_json(owner)}).encode()) == owner
    decode_beyond(raw)


def packets(raw: bytes) -> None:
    fastboot.decode_reply(raw)
    fastboot.parse_number(raw.decode("latin-1"))
    if request := tftp.decode_request(raw):
        terms = tftp.agree(request.options, 5)
        assert tftp.LEAST_BLKSIZE <= terms.blksize <= tftp.MOST_BLKSIZE
        tftp.encode_oack(terms.answer)
    tftp.decode_ack(raw)
    if repaired(raw) and len(raw) > 3:
        content = raw[3:].ljust(128 if len(raw) <= 131 else 1024, b"\x1a")[:1024]
        raw = ymodem.encode_block(raw[1], content)
    if (block := ymodem.decode_block(raw)) is not None:
        ymodem.decode_header(block[1])


def programs(raw: bytes) -> None:
    """ELF and EFI."""
    decode_architecture(raw[:HEAD_SIZE])
    efi_loader(raw)
    with contextlib.suppress(ImagekitError):
        decode_needs(raw, name="fuzz")
    with contextlib.suppress(ImagekitError):
        decode_uki(raw, name="fuzz")
    efi_architecture(raw, name="fuzz")


def deb(raw: bytes) -> None:
    """A Debian package's archive, and the paragraphs of its control file."""
    with contextlib.suppress(ImagekitError):
        end = 8
        for member in decode_ar(io.BytesIO(raw), name="fuzz"):
            assert end <= member.start <= member.end <= len(raw)
            end = member.end
    for stanza in parse_stanzas(raw.decode("utf-8", "replace"), name="fuzz"):
        with contextlib.suppress(ImagekitError):
            control_of(stanza, name="fuzz")


def sparse(raw: bytes) -> None:
    size, chunks = decode_sparse(raw, name="fuzz")
    at = 0
    for chunk in chunks:
        assert chunk.start == at <= chunk.end
        at = chunk.end
    assert at == size
