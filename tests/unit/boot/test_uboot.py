"""U-Boot's choice as a model: every small state, and what holds in all of them."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from imagekit.boot.slotstate import (
    FACTORY,
    LIMIT,
    RECORD_SIZE,
    TRIES,
    Slot,
    SlotState,
    begin_trial,
    encode_record,
    mark_healthy,
    newest,
)
from imagekit.boot.uboot import (
    DEVICE_TREE,
    ENV_NAME,
    ENV_SIZE,
    INITRD,
    SlotEnv,
    decide,
    decode_env,
    encode_env,
    is_sound,
    is_whole,
)
from imagekit.errors import DocumentError, PlanError

LOST = bytes(RECORD_SIZE)
SOUND = [frozenset(chosen) for count in range(3) for chosen in itertools.combinations(Slot, count)]
STATES = [
    SlotState(generation=7, slot=slot, tries=tries, confirmed=confirmed, unhealthy=unhealthy, other_good=other)
    for slot in Slot for tries in range(TRIES + 2) for confirmed in (False, True) for unhealthy in (0, 1, 2, 3, 4, 255)
    for other in (False, True)
]
GOOD_B = replace(FACTORY, other_good=True)


def copies(state: SlotState | None) -> tuple[bytes, bytes]:
    return (LOST if state is None else encode_record(state)), LOST


@pytest.mark.parametrize("sound", SOUND, ids=lambda sound: "".join(sorted(slot.value for slot in sound)) or "none")
def test_every_state_boots_a_sound_slot_or_writes_nothing(sound: frozenset[Slot]) -> None:
    for state in [None, *STATES]:
        decision = decide(copies(state), sound)
        if not sound:
            assert decision.slot is decision.record is None
            continue
        assert decision.slot in sound
        record = decision.record
        assert record is not None
        assert record.slot is decision.slot
        assert record.unhealthy >= 1
        assert record.generation == (state.generation if state else 0) + 1


@pytest.mark.parametrize("both", [True, False])
def test_no_slot_is_begun_more_than_three_times_while_the_other_may_help(both: bool) -> None:
    """From every state, without a verdict: a slot that may give way does so after at most three boots."""
    sound = frozenset(Slot) if both else frozenset({Slot.A})
    for state in STATES:
        held = copies(state)
        taken: list[tuple[Slot | None, bool]] = []
        for _ in range(2 * TRIES + 4):
            decision = decide(held, sound)
            assert decision.record is not None
            may_go = both and (decision.record.other_good or not decision.record.confirmed)
            taken.append((decision.slot, may_go))
            kept = list(held)
            kept[decision.copy] = encode_record(decision.record)
            held = kept[0], kept[1]
        if state.tries <= TRIES:
            for at in range(len(taken) - 3):
                window = taken[at:at + 4]
                assert len({slot for slot, _ in window}) == 2 or not all(may for _, may in window)


def test_trial_has_its_tries_and_then_the_old_slot_boots() -> None:
    held = copies(begin_trial(FACTORY))
    seen = []
    for _ in range(TRIES + 2):
        decision = decide(held, set(Slot))
        assert decision.record is not None
        seen.append((decision.slot, decision.record.tries, decision.record.confirmed))
        held = (held[0], encode_record(decision.record)) if decision.copy else (encode_record(decision.record), held[1])
    assert seen == [(Slot.B, 2, False), (Slot.B, 1, False), (Slot.B, 0, False), (Slot.A, 0, True), (Slot.A, 0, True)]


def test_trial_that_is_healthy_stays() -> None:
    first = decide(copies(begin_trial(FACTORY)), set(Slot)).record
    assert first is not None
    again = decide(copies(mark_healthy(first)), set(Slot))
    assert again.slot is Slot.B
    assert again.record is not None
    assert (again.record.confirmed, again.record.other_good, again.record.unhealthy) == (True, True, 1)


@pytest.mark.parametrize(("state", "sound", "slot"), [
    (replace(GOOD_B, unhealthy=LIMIT - 1), set(Slot), Slot.A),
    (replace(GOOD_B, unhealthy=LIMIT), set(Slot), Slot.B),
    (replace(GOOD_B, unhealthy=LIMIT), {Slot.A}, Slot.A),  # its refuge is damaged
    (replace(FACTORY, unhealthy=LIMIT), set(Slot), Slot.A),  # the other one has never been good
    (FACTORY, {Slot.B}, Slot.B),  # better a slot of unknown health than none
    (begin_trial(FACTORY), {Slot.A}, Slot.A),  # the new kernel is damaged: not one try is lost on it
    (None, set(Slot), Slot.A),
    (None, {Slot.B}, Slot.B),
])
def test_stated_cases(state: SlotState | None, sound: set[Slot], slot: Slot) -> None:
    assert decide(copies(state), sound).slot is slot


def test_slot_that_gave_way_for_its_files_is_a_refuge_again_when_they_are_back() -> None:
    first = decide(copies(GOOD_B), {Slot.B}).record
    assert first is not None
    assert (first.slot, first.confirmed, first.other_good) == (Slot.B, True, True)


def test_damaged_newest_copy_counts_as_the_older_one_and_is_written_over() -> None:
    older, damaged = encode_record(GOOD_B), bytearray(encode_record(replace(GOOD_B, generation=2, slot=Slot.B)))
    damaged[300] ^= 1
    decision = decide((older, bytes(damaged)), set(Slot))
    assert (decision.slot, decision.copy) == (Slot.A, 1)


def test_generation_wraps_around() -> None:
    old, new = (replace(GOOD_B, generation=number, slot=slot) for number, slot in ((2**32 - 1, Slot.A), (0, Slot.B)))
    decision = decide((encode_record(old), encode_record(new)), set(Slot))
    assert (decision.slot, decision.copy) == (Slot.B, 0)
    last = decide((encode_record(old), LOST), set(Slot))
    assert last.record is not None
    assert last.record.generation == 0
    assert newest((encode_record(old), encode_record(last.record)))[0] == last.record


FILES = {"Image": b"kernel" * 100, INITRD: b"initrd" * 100, DEVICE_TREE: b"tree" * 100}
NEEDED = tuple(FILES)
ENV = SlotEnv(slot=Slot.A, base_root="ab" * 32, kernel_root="cd" * 32,
              state_partuuid="00000000-0000-0000-0000-000000000001", cmdline="console=ttyAMA0  quiet",
              files=SlotEnv.measure(FILES))


def test_env_has_the_documented_form() -> None:
    raw = encode_env(ENV)
    assert len(raw) == ENV_SIZE
    found = decode_env(raw, name=ENV_NAME)
    assert found["bootargs"] == (f"imagekit.slot=a imagekit.base={'ab' * 32} imagekit.kernel={'cd' * 32}"
                                 " imagekit.state=00000000-0000-0000-0000-000000000001 imagekit.loader=u-boot"
                                 " console=ttyAMA0 quiet")
    assert (found["ik_slot"], found["ik_kernel_size"]) == ("a", f"{600:x}")
    assert all(not line or line.startswith("#") or "=" in line for line in raw[:-4].decode().splitlines())


def test_slot_is_sound_only_whole_and_in_its_place() -> None:
    files = {**FILES, ENV_NAME: encode_env(ENV)}
    assert is_sound(files, Slot.A, NEEDED)
    assert not is_sound(files, Slot.B, NEEDED)
    for name in files:
        assert not is_sound({key: raw for key, raw in files.items() if key != name}, Slot.A, NEEDED)
        assert not is_sound({**files, name: files[name][:-1]}, Slot.A, NEEDED)
        assert not is_sound({**files, name: files[name][:-1] + b"\xff"}, Slot.A, NEEDED)


def test_slot_is_whole_when_every_file_is_measured_and_nothing_is_missing() -> None:
    files = {**FILES, ENV_NAME: encode_env(ENV)}
    assert is_whole(files, Slot.A)
    assert not is_whole(files, Slot.B)
    assert not is_whole({**files, "other": b""}, Slot.A)
    for name in files:
        assert not is_whole({key: raw for key, raw in files.items() if key != name}, Slot.A)
    without = {ENV_NAME: encode_env(replace(ENV, files={}))}
    assert not is_whole(without, Slot.A)


@pytest.mark.parametrize("changed", [
    {"base_root": "AB" * 32}, {"kernel_root": "ab"}, {"state_partuuid": "1"}, {"cmdline": "a\nb"},
    {"cmdline": "a\\b"}, {"cmdline": "imagekit.slot=b"}, {"files": {"other": (1, 1)}},
])
def test_env_that_would_mean_something_else_is_refused(changed: dict[str, object]) -> None:
    with pytest.raises(DocumentError, match=r"cannot encode slot\.env"):
        encode_env(replace(ENV, **changed))  # type: ignore[arg-type]  # any one field


def test_command_line_that_does_not_fit_is_refused() -> None:
    with pytest.raises(PlanError, match="at most 4092"):
        encode_env(replace(ENV, cmdline="x" * 4000))
