"""The firmware's decision as a model: every small state of a card of ours, and what holds in all of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import pytest

from imagekit.boot.autoboot import Autoboot, encode_autoboot
from imagekit.boot.piboot import (
    BOARDS,
    HALT,
    POWER_ON,
    Board,
    Card,
    Choice,
    Family,
    Load,
    Partition,
    Reset,
    Rules,
    choose,
    rules_of,
)
from imagekit.errors import DocumentError

CONFIG = b"[all]\narm_64bit=1\nkernel=Image\ninitramfs initrd followkernel\nupstream_kernel=1\n"
TREES = frozenset(name for board in BOARDS.values() for name in board.device_trees)
FIRMWARE = frozenset({"start.elf", "fixup.dat", "start4.elf", "fixup4.dat"})
OWN = frozenset({"image", "initrd", "config.txt", "cmdline.txt"})
A, B = 2, 3
RULES = [Rules(tryboot_a_b=a_b, partition_walk=walk) for a_b in (False, True) for walk in (False, True)]


def slot(*, without: frozenset[str] = frozenset(), name: str = "a") -> Partition:
    texts = {"config.txt": CONFIG, "cmdline.txt": f"imagekit.slot={name} quiet\n".encode()}
    return Partition(names=(FIRMWARE | OWN | TREES) - without,
                     texts={key: text for key, text in texts.items() if key not in without})


# What may have become of a slot; None: it holds no FAT.
STATES: dict[str, frozenset[str] | None] = {
    "sound": frozenset(), "no FAT": None, "empty": FIRMWARE | OWN | TREES, "no firmware": FIRMWARE,
    "no config": frozenset({"config.txt"}), "no kernel": frozenset({"image"}), "no tree": TREES,
    "no initrd": frozenset({"initrd"}), "no cmdline": frozenset({"cmdline.txt"}),
}
AUTOBOOT = {"a": encode_autoboot(Autoboot(boot=A, trial=B)), "b": encode_autoboot(Autoboot(boot=B, trial=A)),
            "empty": b"", "missing": None}


def card(autoboot: str, first: str, second: str) -> Card:
    text = AUTOBOOT[autoboot]
    found = {1: Partition(names=frozenset({"autoboot.txt"} if text is not None else ()),
                          texts={} if text is None else {"autoboot.txt": text})}
    for number, state, name in ((A, first, "a"), (B, second, "b")):
        lacking = STATES[state]
        if lacking is not None:
            found[number] = slot(without=lacking, name=name)
    return found


def everything() -> Iterator[tuple[str, str, str, Board, Rules, Reset]]:
    resets = [Reset(partition=number, tryboot=flag) for number in (0, A, B, 4, HALT) for flag in (False, True)]
    yield from itertools.product(AUTOBOOT, STATES, STATES, BOARDS.values(), RULES, resets)


def bootable(state: str, family: Family) -> bool:
    """By the documents' table, written down a second time."""
    if state in ("no FAT", "empty"):
        return False
    return {Family.PI3: state != "no firmware", Family.PI4: state != "no firmware",
            Family.PI5: state not in ("no config", "no tree")}[family]


def loads(state: str) -> bool:
    return state in ("sound", "no initrd", "no cmdline", "no firmware")


def expected(autoboot: str, states: dict[int, str], family: Family, rules: Rules, reset: Reset) -> int | None:
    """The partition that is booted, told from the documents as a table of cases."""
    trial = reset.tryboot and rules.tryboot_a_b
    named = {"a": B if trial else A, "b": A if trial else B}.get(autoboot, 0)
    target = reset.partition or named
    able = [number for number in (A, B) if bootable(states[number], family)]
    if not target:
        return able[0] if able else None
    if target in able:
        return target
    if not rules.partition_walk or not able:
        return None
    return able[0]  # with two slots the walk has no choice but the other, or after partition 4 the first


def test_every_state_of_a_card_with_two_slots() -> None:
    count = 0
    for autoboot, first, second, board, rules, reset in everything():
        count += 1
        found = choose(card(autoboot, first, second), board=board, rules=rules, reset=reset)
        told = (autoboot, first, second, board.name, rules, reset, found)
        states = {A: first, B: second}
        if reset.partition == HALT:
            assert found.load is None, told
            continue
        number = expected(autoboot, states, board.family, rules, reset)
        assert found.partition == number, told
        # Without tryboot_a_b the flag asks for tryboot.txt, which our slots do not have.
        lost = reset.tryboot and not (rules.tryboot_a_b and autoboot in ("a", "b"))
        runs = number is not None and loads(states[number]) and not lost
        assert (found.load is not None) == runs, told
        check_load(found, states, told)
    assert count == 4 * 9 * 9 * 3 * 4 * 10


def check_load(found: Choice, states: dict[int, str], told: object) -> None:
    load = found.load
    assert found.reasons, told
    if load is None:
        return
    state = states[load.partition]
    assert load.kernel == "Image", told
    assert load.initramfs == (None if state == "no initrd" else "initrd"), told
    name = "a" if load.partition == A else "b"
    assert load.cmdline == ("" if state == "no cmdline" else f"imagekit.slot={name} quiet"), told


def test_flag_is_needed_for_a_trial_and_nothing_else_changes_the_slot() -> None:
    rules = Rules(tryboot_a_b=True, partition_walk=True)
    both = card("a", "sound", "sound")
    for board in BOARDS.values():
        assert choose(both, board=board, rules=rules).partition == A
        assert choose(both, board=board, rules=rules, reset=Reset(tryboot=True)).partition == B


def test_missing_kernel_stops_the_firmware_although_the_other_slot_is_sound() -> None:
    rules = Rules(tryboot_a_b=True, partition_walk=True)
    found = choose(card("a", "no kernel", "sound"), board=BOARDS["raspi4b"], rules=rules)
    assert (found.partition, found.load) == (A, None)
    assert "partition 2 has no Image" in found.reasons


def test_slot_without_firmware_gives_way_only_where_partitions_are_walked() -> None:
    lost = card("a", "empty", "sound")
    for board in BOARDS.values():
        walked = choose(lost, board=board, rules=Rules(tryboot_a_b=True, partition_walk=True))
        assert walked.partition == B
        assert any("PARTITION_WALK" in reason for reason in walked.reasons)
        stopped = choose(lost, board=board, rules=Rules(tryboot_a_b=True, partition_walk=False))
        assert (stopped.partition, stopped.load) == (None, None)


def test_device_tree_goes_by_the_board() -> None:
    rules = Rules(tryboot_a_b=True, partition_walk=True)
    found = {name: choose(card("a", "sound", "sound"), board=board, rules=rules).load
             for name, board in BOARDS.items()}
    assert {name: load.device_tree for name, load in found.items() if load} == {
        "raspi3b": "bcm2837-rpi-3-b.dtb", "raspi4b": "bcm2711-rpi-4-b.dtb", "raspi5b": "bcm2712-rpi-5-b.dtb"}


def test_config_sections_of_the_board_count() -> None:
    whole = slot()
    text = b"[pi3]\nkernel=three\n[pi4]\nkernel=Image\ndevice_tree=Own.dtb\ncmdline=Other.txt\n[all]\n"
    changed = replace(whole, names=whole.names | {"own.dtb", "other.txt"}, texts={"config.txt": text})
    rules = Rules(tryboot_a_b=True, partition_walk=True)
    found = choose({1: changed}, board=BOARDS["raspi4b"], rules=rules)
    assert found.load == Load(partition=1, tryboot=False, kernel="Image", initramfs=None, device_tree="Own.dtb",
                              cmdline="")
    assert choose({1: changed}, board=BOARDS["raspi3b"], rules=rules).load is None


@pytest.mark.parametrize("line", [b"[gpio4=1]\n", b"os_prefix=b/\n", b"include other.txt\n", b"boot_ramdisk=1\n"])
def test_config_that_the_model_has_no_meaning_for_is_refused(line: bytes) -> None:
    strange = replace(slot(), texts={"config.txt": line + CONFIG})
    with pytest.raises(DocumentError, match=r"cannot follow config\.txt of partition 2"):
        choose({2: strange}, board=BOARDS["raspi4b"], rules=RULES[-1])


def test_reset_into_the_partition_with_autoboot_is_refused() -> None:
    with pytest.raises(DocumentError, match="not documented"):
        choose(card("a", "sound", "sound"), board=BOARDS["raspi4b"], rules=RULES[-1], reset=Reset(partition=1))


@pytest.mark.parametrize(("family", "day", "setting", "a_b", "walk"), [
    (Family.PI4, date(2021, 3, 18), None, False, False),
    (Family.PI4, date(2022, 10, 18), None, True, False),
    (Family.PI4, date(2025, 2, 11), None, True, False),
    (Family.PI4, date(2025, 8, 13), True, True, False),
    (Family.PI4, date(2024, 4, 15), True, True, False),
    (Family.PI4, date(2025, 8, 20), None, True, True),
    (Family.PI4, date(2025, 8, 20), False, True, False),
    (Family.PI5, date(2025, 2, 11), None, True, False),
    (Family.PI5, date(2025, 2, 11), True, True, True),
    (Family.PI5, date(2023, 11, 20), None, True, False),
    (Family.PI5, date(2025, 8, 13), None, True, True),
    (Family.PI3, date(2025, 8, 20), True, True, False),
])
def test_rules_follow_the_release_notes(family: Family, day: date, setting: bool | None, a_b: bool, walk: bool) -> None:
    assert rules_of(family, day, partition_walk=setting) == Rules(tryboot_a_b=a_b, partition_walk=walk)


def test_power_on_asks_for_nothing() -> None:
    assert Reset(partition=0, tryboot=False) == POWER_ON
