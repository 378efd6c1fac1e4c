"""The two text files that a Raspberry Pi's firmware is steered by, and the one sector that names the slot.

Decides how `autoboot.txt` and `config.txt` are read under given filters, and the bytes of our `autoboot.txt`. What the
firmware makes of them is `imagekit.boot.piboot`'s.

Grammar of both: lines; `#` begins a comment; `[filter]` says for whom the lines after it are; `property=value`, and in
`config.txt` `initramfs FILE ADDRESS`. The last value of a property counts. `[all]` ends all filters, `[none]` passes
nobody; of the filters that tell models apart the last counts, `[tryboot]` is apart from them.

Ours is always 512 bytes, filled up with comment lines: it is overwritten in place, as one sector, so that a power cut
leaves the old or the new one (docs/reference/boot-path.md). Both sections are always there, so the firmware's own trial
(`reboot "0 tryboot"`) leads to the other slot where a kernel can ask for it.

Source: Raspberry Pi documentation, `config_txt/autoboot.adoc`, `config_txt/conditional.adoc`, `config_txt/boot.adoc`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from imagekit.errors import DocumentError

AUTOBOOT_NAME = "autoboot.txt"
AUTOBOOT_SIZE = 512  # the firmware reads no more, and it is one sector
CONFIG_MOST = 64 * 1024
ALL, NONE, TRYBOOT = "all", "none", "tryboot"
MODELS = frozenset({"pi3", "pi4", "pi5"})
PARTITION_MOST = 31  # above that the firmware has meanings of its own

_FILTER = re.compile(r"\[([^\]]*)\]\Z")
_NUMBER = re.compile(r"[0-9]{1,3}\Z")
_LINE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Autoboot:
    """The partition that is booted, and the one that is tried. Numbers begin at 1."""

    boot: int
    trial: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What `autoboot.txt` says to one start. `partition` 0: the first that can be booted."""

    partition: int
    tryboot_a_b: bool


def encode_autoboot(found: Autoboot) -> bytes:
    """The 512 bytes. Raises: DocumentError: a number that is no partition's, or both the same."""
    for number in (found.boot, found.trial):
        if not 1 <= number <= PARTITION_MOST:
            raise DocumentError(f"cannot encode {AUTOBOOT_NAME}: partition {number} is outside 1 to {PARTITION_MOST}")
    if found.boot == found.trial:
        raise DocumentError(f"cannot encode {AUTOBOOT_NAME}: partition {found.boot} would be tried beside itself")
    text = (f"[all]\ntryboot_a_b=1\nboot_partition={found.boot}\n"
            f"[tryboot]\nboot_partition={found.trial}\n").encode()
    while len(text) < AUTOBOOT_SIZE:
        text += b"#" * (min(AUTOBOOT_SIZE - len(text), _LINE) - 1) + b"\n"
    return text


def decode_autoboot(raw: bytes, *, name: str = AUTOBOOT_NAME) -> Autoboot:
    """Read one that is ours, to the last byte. Raises: DocumentError: it is not."""
    found = Autoboot(boot=select(raw, tryboot=False, name=name).partition,
                     trial=select(raw, tryboot=True, name=name).partition)
    if encode_autoboot(found) != raw:
        raise DocumentError(f"cannot read {name}: it is not as imagekit writes it")
    return found


def select(raw: bytes, *, tryboot: bool, name: str = AUTOBOOT_NAME) -> Selection:
    """What the firmware takes from the file.

    Raises:
        DocumentError: longer than the firmware reads, or a line whose meaning is not documented.
    """
    if len(raw) > AUTOBOOT_SIZE:
        raise DocumentError(f"cannot read {name}: {len(raw)} bytes, the firmware takes at most {AUTOBOOT_SIZE}")
    found = read_settings(raw, filters=frozenset({TRYBOOT}) if tryboot else frozenset(), known=frozenset(), name=name)
    partition = found.get("boot_partition", "0")
    if not _NUMBER.match(partition) or int(partition) > PARTITION_MOST:
        raise DocumentError(f"cannot read {name}: boot_partition={partition} is no partition's number")
    return Selection(partition=int(partition), tryboot_a_b=found.get("tryboot_a_b", "0") == "1")


def read_settings(raw: bytes, *, filters: frozenset[str], name: str,
                  known: frozenset[str] = MODELS) -> dict[str, str]:
    """The properties that apply where the filters in `filters` pass; `known` models are those that may be asked for.

    Raises:
        DocumentError: not ASCII text, or a filter that is not one of `known`, `all`, `none` or `tryboot`.
    """
    if len(raw) > CONFIG_MOST:
        raise DocumentError(f"cannot read {name}: {len(raw)} bytes, at most {CONFIG_MOST} are read here")
    found: dict[str, str] = {}
    for key, value, asked in _lines(raw, name=name, known=known):
        if asked <= filters:
            found[key] = value
    return found


def _lines(raw: bytes, *, name: str, known: frozenset[str]) -> Iterator[tuple[str, str, frozenset[str]]]:
    """Each property with its value, and the filters that it stands under."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError as error:
        raise DocumentError(f"cannot read {name}: byte {error.start} is not ASCII") from error
    model, trial = frozenset[str](), frozenset[str]()
    for number, whole in enumerate(re.split(r"\r?\n", text), 1):
        line = whole.strip(" \t")
        if not line or line.startswith("#"):
            continue
        if match := _FILTER.match(line):
            word = match[1]
            if word == ALL:
                model, trial = frozenset(), frozenset()
            elif word == TRYBOOT:
                trial = frozenset({TRYBOOT})
            elif word == NONE or word in known:
                model = frozenset({word})
            else:
                raise DocumentError(f"cannot follow {name}: line {number}: filter [{word[:40]}] is not one of"
                                    f" {', '.join(sorted({ALL, NONE, TRYBOOT} | known))}")
            continue
        key, equals, value = line.partition("=")
        if not equals:
            key, _, value = line.partition(" ")
        yield key.strip(), value.strip(), model | trial
