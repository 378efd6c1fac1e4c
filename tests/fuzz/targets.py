"""What is fuzzed: one function for each parser that reads what somebody else wrote.

A function takes any bytes. It may raise an `ImagekitError`, which is a refusal; whatever else comes out of it is a bug.
They are imported when used, so that the fuzzer watches no more than it needs.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A parser under fire: where its function is, and how long an input may be."""

    module: str
    function: str
    max_len: int = 4096

    def load(self) -> Callable[[bytes], None]:
        """The function itself."""
        found: Callable[[bytes], None] = getattr(importlib.import_module(self.module), self.function)
        return found


# Worth inserting, by the kind of format; several to a line, parted by blanks, a blank within one is a `~`.
YAML = r"""
-~ :~ { } [ ] &a~ *a <<:~*a !!binary~ !!str~ |\n~~ >\n~~ ' " null ---\n ...\n \n~~ 1.10 0x10 1e400 2026-01-01
\ufeff \x85
"""
WORDS = {
    "assertions": r"""
type:~model\n type:~account-key\n type:~snap-declaration\n type:~system-user\n body-length:~ format:~1\n authority-id:~
series:~16\n \n\n \n~~- \n~~~~ sign-key-sha3-384:~ 4294967296 timestamp:~2026-01-01T00:00:00Z\n snaps:\n revision:~1\n
constraints: since:~ until:~ plugs: slots: allow-connection:~ false base:~ grade:~secured""",
    "gadget-yaml": YAML + r"""
volumes: structure: schema:~ gpt mbr emmc bootloader:~grub role:~ system-data system-boot type:~ bare size:~
offset-write:~ offset:~ min-size:~ partial:~ content: image:~ source:~ target:~ $kernel:a/b filesystem:~ vfat update:
edition:~ preserve: volume-assignments: kernel-cmdline: x-imagekit: slots: 440 1M
C12A7328-F81F-11D2-BA4B-00A0C93EC93B""",
    "snap-yaml": YAML + r"""
name:~hello\nversion:~1\n apps: plugs: slots: layout: hooks: components: links: daemon:~simple command:~a sockets:
listen-stream:~ $SNAP_DATA/a timer:~ mon1-fri,10:00-12:00/2 epoch:~ 1* read:~ license:~ MIT~OR~(Zlib~AND~0BSD) after:~
stop-timeout:~1h2m.5s bind:~ activates-on:~ interface:~dbus system-usernames: environment: architectures:~""",
    "kernel-yaml": YAML + "assets: update:~true content: dynamic-modules:~",
    "model-draft": YAML + r"""type:~model snaps: name:~ id:~ "type":~"model" \ud800 body:~ 1E400 NaN true""",
    "channel-map": r"""{" "format":"imagekit-channels" "version":1 "name":"debian-13" "snap-id": "floors":{ "amd64"
"revisions":[ "channels":[ "releases":[ "revision": "share": "held":false "least": "revoked":null "class":"urgent" ":
latest/stable all true 10000 1e400 NaN \\ud800 2026-11-01T08:00:00Z""",
    "delta": r"IKDELTA1 \x28\xb5\x2f\xfd \x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    "partition-tables": r"EFI~PART \x55\xaa \xee",
    "block-map": "<Range> </Range> <BmapFileChecksum> 0-1 ~-~",
    "fat": r"FAT12~~~ FAT16~~~ FAT32~~~ \x55\xaa .~~~~~~~~~~",
    "ext4": r"\x53\xef",
    "squashfs": "hsqs squashfs-root/ -rw-r--r--~0/0~ drwxr-xr-x~0/0~ ~1970-01-01~00:00~ ~->~",
    "erofs": r"\xe2\xe1\xf5\xe0",
    "slot-state": "IKS1",
    "autoboot": r"[all]\n [none]\n [tryboot]\n [pi4]\n boot_partition= tryboot_a_b=1 \r\n #",
    "boot-files": r"""title~ version~0000000001 options~ linux~ imagekit.slot=a imagekit.base= imagekit.kernel=
imagekit.state= bootargs= ik_slot=a imagekit~slot~a\n \x27\x05\x19\x56""",
    "deb": r"!<arch>\n debian-binary~~~ `\n Package:~ Version:~ Architecture:~ Source:~a~(1)",
    "device-memory": r"""{" "imagekit":1 "floors":{ "failed":[ "packages":[[" "pending": "changes":[ "waits": null 1e400
\ud800 "automatic":true "windows":"Mon..Fri~22:00-04:00" "urgent":"wait" "held_until" "lost_boots": "counted_s":""",
    "factory-job": YAML + "station:~ image:~ key:~ ports: usb:~1-1.4 path:~ size: least:~ label: {serial} personalise:",
    "factory-log": r"""{"record":{ "signature":" "kind":"begin" "number":1 "version":1 "}\n""",
    "gadget-record": r"""IKGR {"installed": "trial": "revision": "gadget.yaml":" "proof":" "switches":[ "at": "old":"
null 1e400""",
    "identity": "IKIDENT1",
    "lock": r"""{" "format":1 "sections":{ "suite": "wants":[ "parts":[ "name": "sha256": "size":""",
    "manifest": r"""{" "format":"imagekit-manifest" "version":1 "model":{ "image":{ "packages":[ "booted":null""",
    "packets": r"\x00\x01 octet\x00 blksize\x00 INFO FAIL OKAY DATA \x00\x04 \x01\x00\xff",
    "programs": r"\x7fELF\x02\x01 MZ PE\x00\x00 .linux\x00 .initrd\x00 ####~LoaderInfo:~ ~####",
    "slot-proof": r"IKPF type:~snap-revision\n",
    "sparse": r"\x3a\xff\x26\xed \xc1\xca \xc2\xca \xc3\xca",
    "write-log": r"\x72\x68\x73\x77\x67\x66\x73\x6a",
    "machine": YAML + r"""machine:~ architecture:~arm64 emulator:~ cpu:~{tcg:~ cpus:~ memory:~ 64M options: firmware:
code: card: disk:~ console: health:~ device-tree: node:~ set: delete: least-qemu:~ "9.0" """,
    "key-files": r"""{" "keyid": "keytype": "scheme": "keyval":{ "public": "imagekit-signer":1 "argv":[ "timeout_s":
null 1e400 NaN \\ud800 \\u0000 99999999999999 -----BEGIN~PRIVATE~KEY-----\n -----END~PRIVATE~KEY-----\n ENCRYPTED RSA~
Proc-Type:~4,ENCRYPTED\n DEK-Info:~AES-256-CBC,""",
    "recipe": YAML + r"""
\n---\n like:~ name:~ type:~kernel suite:~trixie architecture:~ version-of:~ parts: alone: keep:
modules:~all initrd: drop: files: from:~ to:~ assets: compress:~zstd components: board:""",
    "health": r"""{" ": true null 1e400 NaN \ud800 "verdict" "challenge" "hello" "nonce" "checks":[ "phases":{
imagekit~ ~1/1~""",
    "verity": r"verity\x00\x00 sha256",
}
TARGETS: dict[str, Target] = {
    "assertions": Target("fuzz_signed", "assertions", max_len=16384),
    "boot-files": Target("fuzz_records", "boot_files"),
    "deb": Target("fuzz_records", "deb"),
    "device-memory": Target("fuzz_records", "device_memory"),
    "machine": Target("fuzz_host", "machine"),
    "key-files": Target("fuzz_host", "key_files"),
    "recipe": Target("fuzz_host", "recipe"),
    "factory-job": Target("fuzz_documents", "factory_job"),
    "factory-log": Target("fuzz_documents", "factory_log"),
    "gadget-record": Target("fuzz_records", "gadget_record"),
    "identity": Target("fuzz_records", "identity"),
    "lock": Target("fuzz_documents", "lock"),
    "manifest": Target("fuzz_documents", "manifest"),
    "packets": Target("fuzz_records", "packets", max_len=1100),
    "programs": Target("fuzz_records", "programs", max_len=2048),
    "slot-proof": Target("fuzz_records", "slot_proof"),
    "sparse": Target("fuzz_records", "sparse"),
    "write-log": Target("fuzz_records", "write_log", max_len=8192),
    "autoboot": Target("fuzz_disks", "autoboot", max_len=600),
    "block-map": Target("fuzz_disks", "block_map"),
    "channel-map": Target("fuzz_documents", "channel_map"),
    "delta": Target("fuzz_disks", "delta"),
    "erofs": Target("fuzz_disks", "erofs", max_len=16384),
    "ext4": Target("fuzz_disks", "ext4", max_len=16384),
    "fat": Target("fuzz_disks", "fat", max_len=8192),
    "gadget-yaml": Target("fuzz_documents", "gadget_yaml"),
    "health": Target("fuzz_signed", "health", max_len=2048),
    "kernel-yaml": Target("fuzz_documents", "kernel_yaml"),
    "model-draft": Target("fuzz_documents", "model_draft"),
    "openpgp-key": Target("fuzz_signed", "openpgp_key"),
    "openpgp-secret": Target("fuzz_signed", "openpgp_secret", max_len=8192),
    "openpgp-signature": Target("fuzz_signed", "openpgp_signature"),
    "partition-tables": Target("fuzz_disks", "partition_tables", max_len=8192),
    "slot-state": Target("fuzz_disks", "slot_state", max_len=2048),
    "snap-yaml": Target("fuzz_documents", "snap_yaml"),
    "squashfs": Target("fuzz_disks", "squashfs"),
    "verity": Target("fuzz_disks", "verity", max_len=1024),
    "zstd-frames": Target("fuzz_disks", "zstd_frames", max_len=2048),
}


def dictionary(target: str) -> str:
    """The words of a target as libFuzzer's dictionaries have them: in quotes, odd bytes as \\xAB."""
    lines = []
    for word in WORDS.get(target, "").split():
        raw = word.replace("~", " ").replace(r"\n", "\n").replace(r"\ufeff", "\ufeff").encode()
        raw = re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes([int(match[1], 16)]), raw)
        text = "".join(chr(byte) if 0x20 <= byte < 0x7f and byte not in b'"\\' else f"\\x{byte:02x}" for byte in raw)
        lines.append(f'"{text}"\n')
    return "".join(lines)
