"""The model of U-Boot's choice and U-Boot itself, driven through the same states."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from imagekit.boot.slotstate import FACTORY, LIMIT, RECORD_SIZE, Slot, begin_trial, encode_record, forget_other
from imagekit.boot.uboot import DEVICE_TREE, ENV_NAME, INITRD, decide, is_sound
from imagekit.boot.uboot_script import needed_files
from tests.boot import uboot_rig
from tests.boot.boards import is_asked_for
from tests.boot.faults import commit
from tests.boot.uboot_rig import VALUES, Rig, look_at, make_disk, run_uboot, slot_files

pytestmark = pytest.mark.boot

LOST = bytes(RECORD_SIZE)
GOOD_B = replace(FACTORY, other_good=True)
OLD, NEW = (replace(GOOD_B, generation=number, slot=slot, confirmed=True)
            for number, slot in ((2**32 - 1, Slot.A), (0, Slot.B)))
Wound = Callable[[dict[str, bytes]], object]


@dataclass(frozen=True, kw_only=True)
class Case:
    """Both copies of the record, and what is done to a slot's files."""

    name: str
    copies: tuple[bytes, bytes]
    wounds: dict[Slot, Wound]

    def __str__(self) -> str:
        return self.name


def torn(raw: bytes) -> bytes:
    """The first half is new, the rest is not."""
    return raw[:4] + bytes(508)


def case(name: str, first: bytes, second: bytes = LOST, **wounds: Wound) -> Case:
    return Case(name=name, copies=(first, second), wounds={Slot(key): wound for key, wound in wounds.items()})


def missing(name: str) -> Wound:
    return lambda files: files.pop(name)


def changed(name: str, change: Callable[[bytes], bytes]) -> Wound:
    return lambda files: files.update({name: change(files[name])})


CASES = [
    case("factory", encode_record(FACTORY)),
    case("trial, both copies", encode_record(FACTORY), encode_record(begin_trial(FACTORY))),
    case("trial, last try", encode_record(begin_trial(FACTORY, tries=1))),
    case("trial, no tries left", encode_record(begin_trial(FACTORY, tries=0))),
    case("trial, no tries left, old kernel missing", encode_record(begin_trial(FACTORY, tries=0)), a=missing("Image")),
    case("trial, kernel missing", encode_record(begin_trial(FACTORY)), b=missing("Image")),
    case("trial, kernel short", encode_record(begin_trial(FACTORY)), b=changed("Image", lambda raw: raw[:-1])),
    case("trial, initrd is noise", encode_record(begin_trial(FACTORY)), b=changed(INITRD, lambda raw: raw[::-1])),
    case("trial, tree empty", encode_record(begin_trial(FACTORY)), b=changed(DEVICE_TREE, lambda raw: b"")),
    case("trial, slot.env damaged", encode_record(begin_trial(FACTORY)),
         b=changed(ENV_NAME, lambda raw: raw.replace(b"ik_slot=b", b"ik_slot=c"))),
    case("trial, slot.env of the other slot", encode_record(begin_trial(FACTORY)),
         b=lambda files: files.update(slot_files(Slot.A))),
    case("confirmed, weary", encode_record(replace(GOOD_B, unhealthy=LIMIT))),
    case("confirmed, weary, refuge damaged", encode_record(replace(GOOD_B, unhealthy=LIMIT)), b=missing(INITRD)),
    case("confirmed, weary, no refuge", encode_record(forget_other(replace(GOOD_B, unhealthy=LIMIT)))),
    case("confirmed, count is full", encode_record(replace(FACTORY, unhealthy=255))),
    case("confirmed, kernel missing", encode_record(FACTORY), a=missing("Image")),
    case("newest copy torn", encode_record(GOOD_B), torn(encode_record(begin_trial(GOOD_B)))),
    case("flag out of range", LOST, encode_record(FACTORY)[:8] + b"\2" + encode_record(FACTORY)[9:]),
    case("generation wraps", encode_record(OLD), encode_record(NEW)),
    case("generation about to wrap", encode_record(NEW), encode_record(replace(OLD, generation=2**32 - 2))),
    case("generation wraps while counting", LOST, encode_record(OLD)),
    case("both copies lost", LOST),
    case("both copies lost, slot a too", LOST, a=missing(ENV_NAME)),
    case("both slots lost", encode_record(FACTORY), a=missing("Image"), b=missing(ENV_NAME)),
]


def driven() -> list[tuple[str, Case]]:
    """Every state on the quick board; on the slow ones, whose `crc32` differ, a few, and all by IMAGEKIT_BOARDS."""
    few = random.Random(commit()).sample(CASES, 3)
    return [(name, told) for name in ("arm64-uboot", "pi", "cubieboard")
            for told in (CASES if name == "arm64-uboot" or is_asked_for(name) else few)]


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Rig:
    return uboot_rig.make_rig(request.param, tmp_path_factory.mktemp("rig"))


@pytest.mark.parametrize(("rig", "told"), driven(), indirect=["rig"], ids=str)
def test_uboot_does_what_the_model_says(told: Case, rig: Rig, tmp_path: Path) -> None:
    slots = {slot: slot_files(slot) for slot in Slot}
    for slot, wound in told.wounds.items():
        wound(slots[slot])
    needed = needed_files(VALUES)
    expected = decide(told.copies, {slot for slot, files in slots.items() if is_sound(files, slot, needed)})
    disk = tmp_path / "disk.img"
    make_disk(disk, copies=told.copies, slots=slots, rig=rig)
    _, before = look_at(disk)
    seen = run_uboot(disk, rig=rig)
    written = list(told.copies)
    if expected.record is not None:
        written[expected.copy] = encode_record(expected.record)
    assert (seen.slot, seen.copies) == (expected.slot, tuple(written)), seen.console
    assert seen.rest == before, "U-Boot wrote something else than the record"
