"""Boot scripts in the form that U-Boot's `source` takes: a legacy image of type script.

Decides the bytes of `boot.scr`; what the script says is `imagekit.boot.uboot`'s. Its checksums tell damage, they prove
nothing. Source: U-Boot `include/image.h`, structure `legacy_img_hdr`.

Grammar, big-endian:

    0 u32 magic 0x27051956 | 4 u32 CRC-32 of these 64 bytes with this field zero | 8 u32 time
    12 u32 size of what follows | 16 u32 load address (0) | 20 u32 entry point (0) | 24 u32 CRC-32 of what follows
    28 u8 system (5, Linux) | 29 u8 architecture | 30 u8 type (6, script) | 31 u8 compression (0)
    32 name[32], padded with zeros
    64 u32 length of the text | 68 u32 zero: no further file | 72 text
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from imagekit.errors import DocumentError

ARCHITECTURES = {"armhf": 2, "arm64": 22}

_HEAD = struct.Struct(">7I4B32s")
_FILES = struct.Struct(">2I")
_MAGIC = 0x27051956
_LINUX, _SCRIPT, _PLAIN = 5, 6, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BootScript:
    """A script; `time` is seconds since 1970, `architecture` Debian's name, `name` at most 32 bytes of ASCII."""

    text: str
    name: str
    architecture: str
    time: int


def encode_script(script: BootScript) -> bytes:
    """The file. Raises: DocumentError: a field does not fit into the header."""
    if not script.name.isascii() or len(script.name) > 32 or not 0 <= script.time < 1 << 32:
        raise DocumentError(f"cannot encode boot script {script.name!r}: a name has at most 32 ASCII letters, a time is"
                            " a 32-bit number")
    if script.architecture not in ARCHITECTURES:
        raise DocumentError(f"cannot encode boot script {script.name!r}: architecture {script.architecture!r} has"
                            f" no U-Boot here, only {', '.join(ARCHITECTURES)}")
    text = script.text.encode("ascii")
    body = _FILES.pack(len(text), 0) + text
    fields = (script.time, len(body), 0, 0, zlib.crc32(body), _LINUX, ARCHITECTURES[script.architecture], _SCRIPT,
              _PLAIN, script.name.encode("ascii"))
    return _HEAD.pack(_MAGIC, zlib.crc32(_HEAD.pack(_MAGIC, 0, *fields)), *fields) + body


def decode_script(raw: bytes, *, name: str) -> BootScript:
    """Read a script as U-Boot does, for an architecture that has one; `name` is the file's.

    Raises:
        DocumentError: cut short, damaged, or another kind of image.
    """
    if len(raw) < _HEAD.size + _FILES.size:
        raise _refusal(name, f"{len(raw)} bytes, a script has more than {_HEAD.size + _FILES.size}")
    magic, head_crc, time, size, load, entry, body_crc, system, machine, kind, compression, label = \
        _HEAD.unpack_from(raw)
    if magic != _MAGIC:
        raise _refusal(name, f"magic {magic:08x}, expected {_MAGIC:08x}")
    if zlib.crc32(raw[:4] + bytes(4) + raw[8:_HEAD.size]) != head_crc:
        raise _refusal(name, "the checksum of its header does not match")
    body = raw[_HEAD.size:_HEAD.size + size]
    if len(body) < size or zlib.crc32(body) != body_crc:
        raise _refusal(name, "the checksum of its content does not match")
    if (system, kind, compression, load, entry) != (_LINUX, _SCRIPT, _PLAIN, 0, 0):
        raise _refusal(name, f"system {system}, type {kind}, compression {compression}: not a script")
    architecture = next((key for key, number in ARCHITECTURES.items() if number == machine), None)
    if architecture is None:
        raise _refusal(name, f"architecture {machine}, expected {' or '.join(map(str, ARCHITECTURES.values()))}")
    return BootScript(text=_text(body, name), name=label.rstrip(b"\0").decode("ascii", "replace"),
                      architecture=architecture, time=time)


def _text(body: bytes, name: str) -> str:
    """The first and only file of the content."""
    if len(body) < _FILES.size:
        raise _refusal(name, "no list of files")
    length, last = _FILES.unpack_from(body)
    if last or _FILES.size + length > len(body):
        raise _refusal(name, "more than one file, or a file that is cut short")
    try:
        return body[_FILES.size:_FILES.size + length].decode("ascii")
    except UnicodeDecodeError as error:
        raise _refusal(name, "its text is not ASCII") from error


def _refusal(name: str, reason: str) -> DocumentError:
    return DocumentError(f"cannot read boot script {name}: {reason}")
