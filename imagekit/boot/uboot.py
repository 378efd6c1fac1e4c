"""Which slot U-Boot boots: the decision as a model, and what it reads to decide.

Decides: which slot the boot script takes, from the two copies of the slot-state record and from what lies in the slots
(`decide`), and the bytes of `slot.env`, by which a slot says how it is booted. The script itself is
`imagekit.boot.uboot_script`; a test drives both through equal states. Leaves to others: the record's bytes
(`imagekit.boot.slotstate`).

Under U-Boot the record decides and nothing else counts: no environment is read or written. The rule:

1. A slot is sound when its `slot.env` has the right checksum and names it, and every file named there is loaded with
   the size and checksum given there.
2. The slot of the record has had its chances when it is confirmed and was begun `LIMIT` times since it was last
   healthy, or is on trial and has no tries left.
3. Such a slot gives way to the other one if that is sound, and has once been healthy or the first is only on trial.
4. A slot that is not sound gives way to any sound one. Two that are not: nothing is written, the machine starts over.
5. The boot is counted in the record before it begins. A slot that never was healthy comes in with `TRIES` tries, so two
   slots of which none ever was take turns.
6. Without a valid copy the first sound slot is taken, as if on trial.

`slot.env`: 4096 bytes: lines `name=value`, filled up with `#` lines, the last four CRC-32 of all before, little-endian.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from imagekit.boot.slotstate import LIMIT, TRIES, Slot, SlotState, newest
from imagekit.errors import DocumentError, PlanError

ENV_NAME = "slot.env"
ENV_SIZE = 4096
SCRIPT_NAME = "boot.scr"
INITRD = "initrd"
DEVICE_TREE = "board.dtb"
LABEL = "imagekit-"  # of a slot's FAT image, and the slot
LOADER_WORD = "imagekit.loader=u-boot"  # tells the initrd and the health check who counts
KERNELS = {"arm64": ("Image", "booti"), "armhf": ("zImage", "bootz")}
COMPRESSED = "Image.gz"  # in its place for booti, which unpacks it

_CIRCLE = 1 << 32
_BYTE_MAX = 255
_TEXT_SIZE = ENV_SIZE - 4
_ROOT = re.compile(r"[0-9a-f]{64}\Z")
_PARTUUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")
_NAMES = {INITRD: "initrd", DEVICE_TREE: "dtb", COMPRESSED: "kernel",
          **{name: "kernel" for name, _ in KERNELS.values()}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One run of the script. `slot` None: neither is sound, and nothing is written."""

    slot: Slot | None
    record: SlotState | None
    copy: int  # the copy of the record that is written


def decide(copies: tuple[bytes, bytes], sound: Collection[Slot]) -> Decision:
    """What the script does, given both copies and the slots whose files are sound."""
    state, copy = newest(copies)
    here = state if state is not None else _lost(Slot.A if Slot.A in sound or Slot.B not in sound else Slot.B)
    other = here.slot.other
    weary = here.unhealthy >= LIMIT if here.confirmed else here.tries == 0
    if other in sound and (here.slot not in sound or (weary and (here.other_good or not here.confirmed))):
        here = _given_way(here)
    if here.slot not in sound:
        return Decision(slot=None, record=None, copy=copy)
    return Decision(slot=here.slot, record=_counted(here), copy=copy)


def _lost(slot: Slot) -> SlotState:
    return SlotState(generation=0, slot=slot, tries=TRIES, confirmed=False, unhealthy=0, other_good=False)


def _given_way(state: SlotState) -> SlotState:
    return replace(state, slot=state.slot.other, tries=0 if state.other_good else TRIES, confirmed=state.other_good,
                   unhealthy=0, other_good=state.confirmed)


def _counted(state: SlotState) -> SlotState:
    return replace(state, generation=(state.generation + 1) % _CIRCLE, tries=max(state.tries - 1, 0),
                   unhealthy=min(state.unhealthy + 1, _BYTE_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotEnv:
    """How a slot is booted. `files`: name in the slot -> size and CRC-32; roots are hex SHA-256."""

    slot: Slot
    base_root: str
    kernel_root: str
    state_partuuid: str
    cmdline: str
    files: Mapping[str, tuple[int, int]]

    @staticmethod
    def measure(files: Mapping[str, bytes]) -> dict[str, tuple[int, int]]:
        """`files` of contents."""
        return {name: (len(content), zlib.crc32(content)) for name, content in files.items()}

    @property
    def arguments(self) -> str:
        """The kernel's command line."""
        return " ".join((
            f"imagekit.slot={self.slot.value}", f"imagekit.base={self.base_root}",
            f"imagekit.kernel={self.kernel_root}", f"imagekit.state={self.state_partuuid}", LOADER_WORD,
            *self.cmdline.split(),
        ))


def encode_env(env: SlotEnv) -> bytes:
    """The bytes of `slot.env`.

    Raises:
        DocumentError: a field is not in the form that the initrd demands, or U-Boot would not take it as it stands.
        PlanError: the gadget's command line leaves no room.
    """
    _check(env)
    lines = [f"bootargs={env.arguments}", f"ik_slot={env.slot.value}"]
    for name, (size, crc) in sorted(env.files.items()):
        lines += [f"ik_{_NAMES[name]}_size={size:x}", f"ik_{_NAMES[name]}_crc={crc:x}"]
    text = ("\n".join(lines) + "\n").encode("ascii")
    if len(text) > _TEXT_SIZE:
        raise PlanError(f"cannot encode {ENV_NAME} of slot {env.slot.value}: {len(text)} bytes, at most {_TEXT_SIZE}"
                        " fit", hint="shorten the command line of the gadget")
    while len(text) < _TEXT_SIZE:
        text += b"#" * (min(_TEXT_SIZE - len(text), 64) - 1) + b"\n"
    return text + zlib.crc32(text).to_bytes(4, "little")


def _check(env: SlotEnv) -> None:
    for name, value, pattern in (("base root", env.base_root, _ROOT), ("kernel root", env.kernel_root, _ROOT),
                                 ("state partition", env.state_partuuid, _PARTUUID)):
        if not pattern.match(value):
            raise DocumentError(f"cannot encode {ENV_NAME}: {name} {value!r} is not lower-case hexadecimal of the right"
                                " length")
    if not all(" " <= letter <= "~" and letter != "\\" for letter in env.cmdline):
        raise DocumentError(f"cannot encode {ENV_NAME}: the command line holds more than printable ASCII, or a"
                            " backslash, which U-Boot takes for its own")
    if own := [word for word in env.cmdline.split() if word.partition("=")[0].startswith("imagekit.")]:
        raise DocumentError(f"cannot encode {ENV_NAME}: the command line may not set {own[0].partition('=')[0]}",
                            hint="words that begin with imagekit. are set by the builder alone")
    if strange := sorted(set(env.files) - set(_NAMES)):
        raise DocumentError(f"cannot encode {ENV_NAME}: no file of a slot is called {strange[0]!r}")


def decode_env(raw: bytes, *, name: str) -> dict[str, str]:
    """The variables, as U-Boot would import them. Raises: DocumentError: another size, or a wrong checksum."""
    if len(raw) != ENV_SIZE:
        raise DocumentError(f"cannot read {name}: {len(raw)} bytes, expected {ENV_SIZE}")
    if zlib.crc32(raw[:_TEXT_SIZE]).to_bytes(4, "little") != raw[_TEXT_SIZE:]:
        raise DocumentError(f"cannot read {name}: the checksum does not match")
    found = {}
    for line in raw[:_TEXT_SIZE].decode("ascii", "replace").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found[key] = value
    return found


def env_roots(files: Mapping[str, bytes]) -> tuple[str, str]:
    """The roots of base and kernel that a slot's `slot.env` hands over. Raises: DocumentError: it is damaged."""
    words = dict(word.partition("=")[::2] for word in
                 decode_env(files.get(ENV_NAME, b""), name=ENV_NAME).get("bootargs", "").split())
    return words.get("imagekit.base", ""), words.get("imagekit.kernel", "")


def is_sound(files: Mapping[str, bytes], slot: Slot, needed: Collection[str]) -> bool:
    """Whether the script would take a slot that holds these files; `needed` are those that it loads."""
    try:
        found = decode_env(files.get(ENV_NAME, b""), name=ENV_NAME)
    except DocumentError:
        return False
    return found.get("ik_slot") == slot.value and all(
        name in files
        and found.get(f"ik_{_NAMES[name]}_size") == f"{len(files[name]):x}"
        and found.get(f"ik_{_NAMES[name]}_crc") == f"{zlib.crc32(files[name]):x}"
        for name in needed)


def is_whole(files: Mapping[str, bytes], slot: Slot) -> bool:
    """Whether `slot.env` measures exactly the files beside it, a kernel and an initrd among them."""
    names = set(files) - {ENV_NAME}
    try:
        found = decode_env(files.get(ENV_NAME, b""), name=ENV_NAME)
    except DocumentError:
        return False
    measured = {key[3:-5] for key in found if key.startswith("ik_") and key.endswith("_size")}
    return (names <= set(_NAMES) and {_NAMES[name] for name in names} == measured >= {"kernel", "initrd"}
            and is_sound(files, slot, names))
