"""Makes the seeds that need programs or our own writers: `PYTHONPATH=. python tests/fuzz/make_seeds.py`.

The others were written by hand and lie beside them. Needs mke2fs, mkfs.fat and mkfs.erofs of the host.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
import subprocess
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from securesystemslib.signer import SSlibKey
from sparse import shrink, shrink_file

from imagekit.boot.autoboot import Autoboot, encode_autoboot
from imagekit.boot.frames import encode_frames
from imagekit.boot.gadgetrecord import GadgetRecord, GadgetTrial, KnownGadget, encode_gadget_record
from imagekit.boot.health import Challenge, Check, Hello, Verdict, encode_message
from imagekit.boot.slotproof import encode_proof
from imagekit.boot.slotstate import FACTORY, Slot, encode_partition, encode_record
from imagekit.boot.uimage import BootScript, encode_script
from imagekit.boot.ymodem import encode_block
from imagekit.disk import gpt
from imagekit.disk.bmap import MappedRange, encode_bmap
from imagekit.disk.fat_swap import Switch
from imagekit.disk.identity import DeviceIdentity, encode_identity
from imagekit.disk.sparse import encode_sparse
from imagekit.disk.verity import Superblock
from imagekit.disk.writelog import Kind as Request
from imagekit.disk.writelog import LogEntry, encode_entry, encode_super
from imagekit.disk.zstd_frames import compress_frames
from imagekit.host.keyring import encode_public_pem
from imagekit.host.signer import program_from
from imagekit.host.storekeys import encode_public
from imagekit.packages.delta import DeltaHead, Kind, Op, apply_delta, encode_head, encode_op
from imagekit.packages.lockfile import Lock, Section, encode_lock
from imagekit.plan import factory_log
from imagekit.plan.manifest import Manifest, ManifestFile, ManifestImage, ManifestModel, encode_manifest
from imagekit.testing.documents import TESTS, Brand, signing_key

HERE = Path(__file__).parent
SEEDS = HERE / "seeds"
FORMATS = HERE.parent / "frozen/1/formats"
NOTHING = bytes(64)
MIB = 1 << 20


def put(target: str, name: str, content: bytes) -> None:
    (SEEDS / target).mkdir(parents=True, exist_ok=True)
    (SEEDS / target / name).write_bytes(content)


def documents() -> None:
    """YAML that no parser should trust; the tests' own documents are added when fuzzing, large ones in test_seeds."""
    hostile = {
        "bom": b"\xef\xbb\xbfname: hello\nversion: 1\n", "crlf": b"name: hello\r\nversion: 1\r\n",
        "nul": b"name: a\0b\n", "latin": b"name: h\xe9llo\n", "repeated": b"name: a\nname: b\nversion: 1\n",
        "tab": b"apps:\n\ta: {}\n", "cycle": b"a: &a [*a]\n", "merge": b"a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n",
        "deep": b"[" * 200, "laughs": b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\nd: [*c, *c, *c]\n",
        "two": b"a: 1\n---\nb: 2\n", "tag": b"a: !!python/object:os.system x\n", "empty": b"",
        "surrogate": b'a: "\\ud800"\n',
    }
    for target in ("gadget-yaml", "snap-yaml", "kernel-yaml"):
        for name, content in hostile.items():
            put(target, f"hostile-{name}", content)
    put("model-draft", "yaml", b"y" + (TESTS.parent / "models" / "pc.yaml").read_bytes())
    put("model-draft", "json", b"j" + (TESTS / "data" / "assertions" / "valid-for-testing-pc-20.json").read_bytes())
    put("model-draft", "json-deep", b"j" + b"[" * 500)
    put("model-draft", "json-numbers", b'j{"type": "model", "a": 1e400, "b": NaN, "c": -0, "d": true, "e": null}')


def store() -> None:
    page = (TESTS.parent / "docs/reference/store.md").read_text()
    sample = page.partition("```json\n")[2].partition("```")[0].encode()
    put("channel-map", "documented", sample)
    put("channel-map", "small", json.dumps(json.loads(sample)).encode())
    put("channel-map", "revoked", sample.replace(b'"revoked": null', b'"revoked": {"time": "2026-11-02T08:00:00Z",'
                                                 b' "reason": "bad"}', 1))
    put("channel-map", "deep", b"[" * 500)
    put("channel-map", "numbers", sample.replace(b'"share": 2500', b'"share": 1e400'))
    old, new = bytes(range(256)) * 64, bytes(range(256)) * 60 + b"new" * 200
    ops = (Op(kind=Kind.COPY, length=8192, old=0), Op(kind=Kind.ADD, length=7168, old=8192),
           Op(kind=Kind.DATA, length=600))
    at, coded = 0, b""
    for op in ops:
        coded += encode_op(op, at)
        at = op.old + op.length
    streams = [zstandard.ZstdCompressor().compress(raw) for raw in (coded, bytes(7168), b"new" * 200)]
    head = DeltaHead(old_size=len(old), new_size=len(new), old_sha3_384="", new_sha3_384="",
                     ops=len(streams[0]), diff=len(streams[1]), extra=len(streams[2]))
    digests = [hashlib.sha3_384(raw).digest() for raw in (old, new)]
    whole = encode_head(head, old=digests[0], new=digests[1]) + b"".join(streams)
    apply_delta(io.BytesIO(whole), io.BytesIO(old), lambda piece: None, name="seed")
    put("delta", "whole", whole)
    put("delta", "repaired", whole + b"\1")


def signed() -> None:
    brand = Brand()
    model = brand.model()
    put("assertions", "model", model.encode())
    for assertion in (brand.account_key, brand.account, brand.declaration("pc"),
                      brand.revision("pc", 1, sha3="A" * 64, size=5)):
        put("assertions", assertion.type, assertion.encode())
    put("assertions", "body-of-4-gib", model.encode().replace(b"\nbase:", b"\nbody-length: 4294967296\nbase:"))
    put("assertions", "crlf", model.encode().replace(b"\n", b"\r\n"))
    put("assertions", "newer", model.encode().replace(b"type: model", b"type: model\nformat: 99"))
    put("assertions", "latin", model.encode().replace(b"pc", b"p\xe9"))
    put("openpgp-key", "rsa", signing_key("brand").public.encode())
    put("openpgp-signature", "rsa", base64.b64decode(model.signature))
    put("openpgp-secret", "empty", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n=twTO\n"
                                   b"-----END PGP PRIVATE KEY BLOCK-----\n")


def disks(scratch: Path) -> None:
    table = gpt.Table(disk_guid=uuid.uuid5(uuid.NAMESPACE_DNS, "a"), disk_size=4 * MIB, partitions=(
        gpt.Partition(index=1, name="esp", type_guid=uuid.UUID("C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
                      unique_guid=uuid.uuid5(uuid.NAMESPACE_DNS, "b"), start=MIB, end=2 * MIB),))
    disk = bytearray(4 * MIB)
    for offset, content in gpt.encode(table):
        disk[offset:offset + len(content)] = content
    put("partition-tables", "gpt", shrink(bytes(disk)) + b"\0")
    put("partition-tables", "gpt-repaired", shrink(bytes(disk)) + b"\1")
    backup = bytes(34 * 512) + bytes(disk[34 * 512:])
    put("partition-tables", "backup-only", shrink(backup) + b"\1")
    mbr = bytearray(MIB)
    mbr[440:444], mbr[446:462], mbr[510:512] = b"abcd", b"\x80\0\0\0\x0c\0\0\0\0\x08\0\0\0\x04\0\0", b"\x55\xaa"
    put("partition-tables", "mbr", shrink(bytes(mbr)))
    for bits, size in ((12, 1), (16, 16), (32, 40)):
        image = scratch / f"fat{bits}"
        subprocess.run(["/usr/sbin/mkfs.fat", "-F", str(bits), "-C", image, str(size * 1024), "-n", "TEST", "-i",
                        "12345678"], check=True, capture_output=True)
        (scratch / "a long file name.txt").write_bytes(b"hello\n" * 100)
        subprocess.run(["mmd", "-i", image, "::/folder"], check=True)
        subprocess.run(["mcopy", "-i", image, scratch / "a long file name.txt", "::/folder/"], check=True)
        put("fat", f"fat{bits}", shrink_file(image))
    for name, size in (("small", 1), ("large", 40)):
        image = scratch / name
        subprocess.run(["/usr/sbin/mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "^has_journal", "-U",
                        "11111111-2222-3333-4444-555555555555", image, f"{size}M"], check=True, capture_output=True)
        content = shrink_file(image)
        put("ext4", name, content[:16384])
    tree = scratch / "tree"
    (tree / "meta").mkdir(parents=True)
    (tree / "meta/snap.yaml").write_bytes(b"name: a\nversion: 1\n" * 10)
    (tree / "large").write_bytes(b"a" * 9000)
    (tree / "link").symlink_to("meta/snap.yaml")
    for name, options in (("flat", ()), ("chunked", ("--chunksize=4096",)), ("compressed", ("-zlz4",))):
        image = scratch / name
        subprocess.run(["mkfs.erofs", "-T0", "--all-root", *options, image, tree], check=True, capture_output=True)
        put("erofs", name, shrink_file(image))


def small() -> None:
    put("squashfs", "superblock", (TESTS / "unit/packages/squashfs/hello.squashfs").read_bytes()[:96])
    put("squashfs", "list", b"drwxr-xr-x 0/0 38 1970-01-01 00:00 squashfs-root\n"
        b"-rwsr-xr-T 1000/50 3 1970-01-01 00:00 squashfs-root/bin/a b -> c\n"
        b"crw-r--r-- 0/0 1,  3 1970-01-01 00:00 squashfs-root/bin/dev\n"
        b"lrwxrwxrwx 0/0 17 1970-01-01 00:00 squashfs-root/bin/link -> ../meta\n")
    ranges = (MappedRange(start=0, end=MIB, sha256="0" * 64),
              MappedRange(start=2 * MIB, end=2 * MIB + 4096, sha256="1" * 64))
    put("block-map", "two", encode_bmap(1 << 30, ranges))
    put("block-map", "repaired", encode_bmap(1 << 30, ranges) + b"\1")
    put("autoboot", "ours", encode_autoboot(Autoboot(boot=2, trial=3)))
    put("autoboot", "config", b"# a\r\n[none]\nx=1\n[all]\narm_64bit=1\n[pi4]\ninitramfs initrd followkernel\n")
    put("slot-state", "record", encode_record(FACTORY))
    put("slot-state", "partition", encode_partition(FACTORY)[:1024])
    put("slot-state", "repaired", encode_record(FACTORY) + b"\1")
    verdict = Verdict(nonce="0" * 64, healthy=True, slot="a", base_root="1" * 64, kernel_root="2" * 64, confirmed=True,
                      reasons=("x",), checks=(Check(name="units", ok=True, detail=""),), phases={"kernel": 1.5},
                      degraded=False)
    for message in (Hello(boot_id="x"), Challenge(nonce="0" * 64), verdict):
        put("health", type(message).__name__.lower(), encode_message(message))
    put("health", "framed", b"[  OK  ] x\n" + encode_frames(encode_message(verdict)))
    put("health", "infinity", json.dumps({"imagekit": 1, "type": "verdict", "phases": {"a": float("inf")}}).encode())
    superblock = Superblock(uuid=uuid.uuid5(uuid.NAMESPACE_DNS, "c"), data_blocks=5, salt=b"s" * 32)
    put("zstd-frames", "three", b"".join(compress_frames([b"a" * 5000, b"", b"abc"])))
    put("zstd-frames", "skippable", b"\x50\x2a\x4d\x18\x04\0\0\0text" + b"".join(compress_frames([b"abc"])))
    put("verity", "superblock", superblock.encode())


def records() -> None:
    for name in ("imagekit-b.conf", "slot.env", "cmdline.txt", "slot.sum"):
        put("boot-files", name, (FORMATS / name).read_bytes())
    put("boot-files", "boot.scr", encode_script(BootScript(text="booti\n", name="a", architecture="arm64", time=1)))
    put("boot-files", "boot.scr-repaired", encode_script(BootScript(text="a\n", name="a", architecture="arm64", time=1
                                                                    )) + b"\1")
    put("slot-proof", "frozen", (FORMATS / "slot-proof.bin").read_bytes()[:4096])
    put("slot-proof", "repaired", encode_proof(b"type: account\n\1")[:31])
    put("device-memory", "frozen", (FORMATS / "state.json").read_bytes())
    put("device-memory", "wishes", b'{"imagekit": 1, "automatic": true, "windows": "Mon..Fri 22:00-04:00",'
        b' "urgent": "wait", "held_until": ""}')
    put("device-memory", "beyond", b'{"imagekit": 1, "lost_boots": 2, "counted_s": 1e3}')
    put("device-memory", "deep", b"[" * 4000)
    known = KnownGadget(revision=1, document=b"volumes: {}\n", proof=b"type: snap-revision\n")
    switch = Switch(path="EFI/BOOT/BOOTX64.EFI", at=8192, old=b"o" * 32, new=b"n" * 32)
    trial = GadgetTrial(gadget=known, slot=Slot.B, base_root="1b" * 32, kernel_root="1c" * 32, partition="esp",
                        switches=(switch,))
    record = encode_gadget_record(GadgetRecord(generation=7, installed=known, trial=trial))
    put("gadget-record", "one", b"\0" + record)
    put("gadget-record", "two", bytes([len(NOTHING) // 8]) + NOTHING + record + b"\1")
    put("gadget-record", "deep", b"\0" + record[:20] + b"[" * 4000 + b"\1")
    whole = encode_identity(DeviceIdentity(assertions=b"type: serial\n", key=b"-----BEGIN PRIVATE KEY-----\n"))
    put("identity", "whole", whole)
    put("identity", "repaired", whole[:560] + b"\1")
    data = b"d" * 512
    put("write-log", "three", encode_super(3) + encode_entry(LogEntry(kind=Request.WRITE, first=2, count=1), data)
        + encode_entry(LogEntry(kind=Request.FLUSH)) + encode_entry(LogEntry(kind=Request.DISCARD, first=1, count=8)))
    put("sparse", "two", encode_sparse(4096 * 4, 4096, [(4096, bytes(4096)), (8192, b"x" * 4096)]))


def elf() -> bytes:
    """A program that needs one library."""
    def program(kind: int, start: int, length: int) -> bytes:
        return struct.pack("<IIQQQQQQ", kind, 0, start, start, 0, length, length, 0)

    head = struct.pack("<4sBBB9xHHIQQQIHHHHHH", b"\x7fELF", 2, 1, 1, 2, 62, 1, 0, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    loader, names = b"/lib/ld.so\0".ljust(16, b"\0"), b"\0libc.so.6\0".ljust(16, b"\0")
    return (head + program(3, 232, 16) + program(1, 0, 512) + program(2, 264, 48) + loader + names
            + struct.pack("<6q", 5, 248, 1, 1, 0, 0))


def others() -> None:
    """Of packages, lines and a factory."""
    put("factory-job", "documented", (TESTS.parent / "docs/how-to/run-a-factory-station.md").read_text().partition(
        "```yaml\nfactory-job")[2].partition("```")[0].join(("factory-job", "")).encode())
    key = signing_key("brand")
    said = {"key": factory_log.key_said(key.public)}
    first = factory_log.encode_record(factory_log.Kind.START, said, number=0, previous="0" * 64, station="line-1",
                                      key=key, now=datetime(2026, 1, 1, tzinfo=UTC))
    put("factory-log", "one", first)
    put("factory-log", "torn", first + first[:100])
    put("lock", "small", encode_lock(Lock(sections={"base": Section(suite="trixie", wants=("a",), parts=())})))
    put("manifest", "small", encode_manifest(Manifest(
        model=ManifestModel(brand="acme", model="pc", revision=0, grade="signed", architecture="amd64", timestamp="x",
                            digest="d" * 64),
        image=ManifestImage(file="pc.img", size=8 << 20, mapped=4096, digest="a" * 64, disk_guid="b" * 36),
        packages=(), structures=(), files={"bmap": ManifestFile(file="pc.img.bmap", sha256="f" * 64)}, timestamp="x")))
    for name, packet in (("reply", b"DATA00001000"), ("request", b"\0\1a\0octet\0blksize\x001468\0"),
                         ("ack", b"\0\4\0\1"), ("block", encode_block(0, b"a\x005 0\0".ljust(128, b"\0")))):
        put("packets", name, packet)
    put("programs", "elf", elf())
    put("programs", "efi", b"MZ".ljust(0x3c, b"\0") + b"\x40\0\0\0PE\0\0"
        + struct.pack("<HHIIIHH", 0x8664, 1, 0, 0, 0, 0, 0)
        + struct.pack("<8sIIIIIIHHI", b".linux", 4, 0, 4, 124, 0, 0, 0, 0, 0) + b"kern")
    put("deb", "archive", b"!<arch>\n" + b"debian-binary   0           0     0     100644  4         `\n2.0\n")
    put("deb", "control", b"Package: a\nVersion: 1\nArchitecture: all\nSource: b (2)\nDescription: c\n d\n .\n\n")


def host() -> None:
    """Files of a machine that works with imagekit."""
    root = TESTS.parent
    for name in ("pc-kernel", "initrd", "arm64-uboot-kernel"):
        put("recipe", name, (root / f"packages/{name}.yaml").read_bytes())
    put("recipe", "like", b"name: mine\nlike: pc-kernel\n---\n" + (root / "packages/pc-kernel.yaml").read_bytes())
    for name in ("pc", "cubieboard"):
        put("machine", name, (root / f"qemu/{name}.yaml").read_bytes())
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # small: each one is held to be a key
    for name, form, encryption in (("pkcs8", PrivateFormat.PKCS8, NoEncryption()),
                                   ("pkcs1", PrivateFormat.TraditionalOpenSSL, NoEncryption()),
                                   ("encrypted", PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))):
        put("key-files", f"TEST-ONLY-{name}", key.private_bytes(Encoding.PEM, form, encryption))
    put("key-files", "program", program_from("/usr/bin/sign --slot 1").encode())
    put("key-files", "program-beyond", b'{"imagekit-signer": 1, "argv": ["a"], "timeout_s": 1' + b"0" * 400 + b"}")
    ed25519 = SSlibKey("11" * 32, "ed25519", "ed25519", {"public": "22" * 32})
    put("key-files", "store-ed25519", encode_public(ed25519))
    put("key-files", "store-rsa", encode_public(SSlibKey("33" * 32, "rsa", "rsassa-pss-sha256", {
        "public": encode_public_pem(signing_key("brand").public).decode()})))


if __name__ == "__main__":
    documents()
    store()
    signed()
    with tempfile.TemporaryDirectory() as folder:
        disks(Path(folder))
    small()
    records()
    others()
    host()
