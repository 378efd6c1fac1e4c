"""What lies in a slot's FAT image where the Raspberry Pi's firmware boots it, and how the slot describes its files.

Decides the bytes of `cmdline.txt`, by which the kernel learns which slot it is, and of `slot.sum`, which measures every
other file. The firmware reads no sums and believes what it finds; they serve inspection and the health check, which
have no verified copy of the files that come from the gadget. Where those are not the factory's, `gadget.yaml` and the
assertions in `gadget.assert` say which revision of the gadget they are of, and prove it. Which slot is booted is
`imagekit.boot.piboot`'s.

`slot.sum`: `imagekit slot a`, then one line for each file, by name: CRC-32 as eight hexadecimal digits, size, name;
at last the CRC-32 of all lines before. `cmdline.txt`: one line.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from imagekit.boot.entries import LoaderEntry
from imagekit.boot.piboot import CMDLINE_NAME, CONFIG_NAME
from imagekit.boot.slotstate import Slot
from imagekit.errors import DocumentError, PlanError

KERNEL = "Image"
INITRD = "initrd"
SUMS_NAME = "slot.sum"
GADGET_NAME, GADGET_PROOF = "gadget.yaml", "gadget.assert"
LOADER_WORD = "imagekit.loader=piboot"  # tells the initrd and the health check who boots
CMDLINE_MOST = 1024  # the firmware adds words of its own; Linux takes 2048 on arm64
TREE_SUFFIX = ".dtb"

_LINE = re.compile(r"([0-9a-f]{8}) (0|[1-9][0-9]{0,17}) (\S+)\Z")
_WORDS = ("imagekit.slot", "imagekit.base", "imagekit.kernel", "imagekit.state")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Size and CRC-32 of a file."""

    size: int
    crc32: int

    @staticmethod
    def of(content: bytes) -> Measure:
        return Measure(size=len(content), crc32=zlib.crc32(content))


def encode_cmdline(entry: LoaderEntry) -> bytes:
    """The line for a slot; its `version` has no place here.

    Raises:
        DocumentError: the gadget's words are not the gadget's to say, or not printable.
        PlanError: it is longer than the firmware is sure to take.
    """
    if not all(" " <= letter <= "~" for letter in entry.cmdline):
        raise DocumentError(f"cannot encode {CMDLINE_NAME}: the command line holds more than printable ASCII")
    if own := [word for word in entry.cmdline.split() if word.startswith("imagekit.")]:
        raise DocumentError(f"cannot encode {CMDLINE_NAME}: the command line may not set {own[0].partition('=')[0]}",
                            hint="words that begin with imagekit. are set by the builder alone")
    line = " ".join((
        f"imagekit.slot={entry.slot.value}", f"imagekit.base={entry.base_root}",
        f"imagekit.kernel={entry.kernel_root}", f"imagekit.state={entry.state_partuuid}", LOADER_WORD,
        *entry.cmdline.split(),
    ))
    if len(line) > CMDLINE_MOST:
        raise PlanError(f"cannot encode {CMDLINE_NAME} of slot {entry.slot.value}: {len(line)} characters, at most"
                        f" {CMDLINE_MOST} are sure to be taken", hint="shorten the command line of the gadget")
    return line.encode("ascii") + b"\n"


def parse_cmdline(raw: bytes, *, name: str) -> LoaderEntry:
    """Read it back. Raises: DocumentError: a word of ours is missing, or given twice."""
    words: dict[str, str] = {}
    rest: list[str] = []
    for word in raw.decode("ascii", "replace").split("\n")[0].split():
        key, _, value = word.partition("=")
        if key not in _WORDS:
            rest += [word] if word != LOADER_WORD else []
        elif key in words:
            raise DocumentError(f"{name}: {key} is given twice")
        else:
            words[key] = value
    if missing := [key for key in _WORDS if key not in words]:
        raise DocumentError(f"{name}: {missing[0]} is missing")
    if words["imagekit.slot"] not in ("a", "b"):
        raise DocumentError(f"{name}: imagekit.slot={words['imagekit.slot']!r} is neither a nor b")
    return LoaderEntry(slot=Slot(words["imagekit.slot"]), version=0, base_root=words["imagekit.base"],
                       kernel_root=words["imagekit.kernel"], state_partuuid=words["imagekit.state"],
                       cmdline=" ".join(rest))


def encode_sums(slot: Slot, files: Mapping[str, Measure]) -> bytes:
    """The bytes of `slot.sum`. Raises: DocumentError: a name is not ASCII, has blanks, or is its own."""
    for name in files:
        if name == SUMS_NAME or not name or not name.isascii() or re.search(r"\s", name):
            raise DocumentError(f"cannot encode {SUMS_NAME}: {name!r} is no name that it can hold")
    lines = [f"imagekit slot {slot.value}",
             *(f"{found.crc32:08x} {found.size} {name}" for name, found in sorted(files.items()))]
    text = "".join(f"{line}\n" for line in lines).encode("ascii")
    return text + f"{zlib.crc32(text):08x}\n".encode()


def decode_sums(raw: bytes, *, name: str = SUMS_NAME) -> tuple[Slot, dict[str, Measure]]:
    """Read it back. Raises: DocumentError: damaged, or not one."""
    body, end = raw[:-9], raw[-9:]
    if f"{zlib.crc32(body):08x}\n".encode() != end:
        raise DocumentError(f"cannot read {name}: the checksum does not match")
    if not body.isascii():
        raise DocumentError(f"cannot read {name}: it is not ASCII")
    first, *lines = body.decode("ascii").splitlines() or [""]
    if first not in ("imagekit slot a", "imagekit slot b"):
        raise DocumentError(f"cannot read {name}: it begins with {first[:40]!r}")
    found: dict[str, Measure] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None or match[3] in found:
            raise DocumentError(f"cannot read {name}: {line[:80]!r} is no measure of a file, or its second")
        found[match[3]] = Measure(size=int(match[2]), crc32=int(match[1], 16))
    return Slot(first[-1]), found


def is_whole(files: Mapping[str, bytes], slot: Slot) -> bool:
    """Whether `slot.sum` is there and measures exactly the files beside it, all that a boot needs among them."""
    try:
        named, found = decode_sums(files.get(SUMS_NAME, b""))
    except DocumentError:
        return False
    measured = {name: Measure.of(content) for name, content in files.items() if name != SUMS_NAME}
    return named is slot and found == measured and {KERNEL, INITRD, CONFIG_NAME, CMDLINE_NAME} <= set(found)


def is_of_kernel(name: str) -> bool:
    """Whether a file of the slot is the kernel package's, not the gadget's or made by the builder."""
    return name in (KERNEL, INITRD) or name.endswith(TREE_SUFFIX)
