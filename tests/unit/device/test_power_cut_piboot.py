"""Power is cut at every write where the Pi's firmware boots: afterwards a healthy slot comes up.

The device is made of the firmware's model, the record's transitions, the blessing on a folder, the record on a file. A
write is cut in each way: not begun, torn in the middle, done. Slots are such as have their initrd reached, or such as
the firmware walks on from; what the firmware stops at is in docs/decisions and has a test of its own here.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.boot.autoboot import AUTOBOOT_NAME, Autoboot, encode_autoboot
from imagekit.boot.piboot import BOARDS, Choice, Partition, Rules, choose
from imagekit.boot.slotstate import (
    Slot,
    begin_boot,
    begin_trial,
    forget_other,
    mark_healthy,
)
from imagekit.device.autoboot import overwrite, prefer
from tests.unit.device.cut_device import (
    BOOTS_TO_RECOVER,
    BOTH,
    ONLY_A,
    ONLY_B,
    WAYS,
    CutDevice,
    booted,
    confirm_both,
    cut_everywhere,
    cut_in_series,
    updated,
)

RULES = Rules(tryboot_a_b=True, partition_walk=True)
NUMBERS = {Slot.A: 2, Slot.B: 3}
TREE = "bcm2711-rpi-4-b.dtb"
WHOLE = frozenset({"start4.elf", "config.txt", "image", "initrd", "cmdline.txt", TREE})


class Device(CutDevice):
    """A card with two slots, of which `good` get healthy and `absent` hold nothing the firmware would boot."""

    def __init__(self, folder: Path, *, good: frozenset[Slot], absent: frozenset[Slot] = frozenset()) -> None:
        self.absent = absent
        self.boot_folder, self.sys = folder / "boot", folder / "sys"
        self.boot_folder.mkdir(parents=True)
        self.path = self.boot_folder / AUTOBOOT_NAME
        self.path.write_bytes(encode_autoboot(Autoboot(boot=2, trial=3)))
        for number, name in ((2, "boot-a"), (3, "boot-b")):
            part = self.sys / f"block/mmcblk0/mmcblk0p{number}"
            part.mkdir(parents=True)
            (part / "uevent").write_text(f"PARTN={number}\nPARTNAME={name}\n")
        super().__init__(folder, good=good)

    def card(self) -> dict[int, Partition]:
        config = b"kernel=Image\ninitramfs initrd followkernel\n"
        slots = {NUMBERS[slot]: Partition(names=WHOLE, texts={"config.txt": config}) for slot in Slot
                 if slot not in self.absent}
        texts = {AUTOBOOT_NAME: self.path.read_bytes()} if self.path.exists() else {}
        return {1: Partition(names=frozenset(texts), texts=texts), **slots}

    def update(self) -> None:
        """What an updater does around filling slot b: no way back to it, content, record, autoboot.txt last."""
        self.store(forget_other(self.state))
        self.store(begin_trial(self.state))
        self._name(Slot.B)

    def start(self) -> Choice:
        return choose(self.card(), board=BOARDS["raspi4b"], rules=RULES)

    def boot(self) -> Slot | None:
        """One start, until a healthy verdict or the next reset. Returns the slot that got healthy."""
        load = self.start().load
        assert load, "the firmware has nothing to start"
        slot = Slot.A if load.partition == NUMBERS[Slot.A] else Slot.B
        step = begin_boot(self.partition.load(), slot)
        if step.hand_over:
            self._name(slot.other)
            self.store(step.record)
            return None
        self.store(step.record)
        if slot not in self.good:
            return None
        self._name(slot, bless=True)
        assert self.state.slot is slot
        self.store(mark_healthy(self.state))
        return slot

    def _name(self, slot: Slot, *, bless: bool = False) -> None:
        old = self.path.read_bytes()
        new = encode_autoboot(Autoboot(boot=NUMBERS[slot], trial=NUMBERS[slot.other]))
        if bless and old == new:
            return

        def done() -> None:
            if bless:
                assert prefer(slot, boot=self.boot_folder, disk=Path("/dev/mmcblk0"), sys=self.sys, programs=None)
            else:
                overwrite(self.path, new)

        at = new.index(b"[tryboot]")  # the worst place: a sector is not torn, but if it were
        self.write(done, torn=lambda: self.path.write_bytes(new[:at] + old[at:]))

    def check_settled(self, slot: Slot) -> None:
        assert self.path.read_bytes() == encode_autoboot(Autoboot(boot=NUMBERS[slot], trial=NUMBERS[slot.other]))


def both_confirmed(folder: Path, good: frozenset[Slot]) -> Device:
    return confirm_both(Device(folder, good=BOTH), good)


def test_update_to_a_good_slot_arrives_without_a_power_cut(tmp_path: Path) -> None:
    device = Device(tmp_path, good=BOTH)
    device.update()
    assert device.boot() is Slot.B


def test_bad_update_gets_three_boots_and_then_the_old_slot_is_back(tmp_path: Path) -> None:
    device = Device(tmp_path, good=ONLY_A)
    device.update()
    assert [device.boot() for _ in range(5)] == [None, None, None, None, Slot.A]
    assert device.until_healthy() is Slot.A


def test_update_that_the_firmware_would_not_boot_is_walked_past_and_given_up(tmp_path: Path) -> None:
    device = Device(tmp_path, good=BOTH, absent=ONLY_B)
    device.update()
    assert device.boot() is Slot.A
    assert not device.state.other_good
    assert device.until_healthy() is Slot.A


def test_rot_in_the_confirmed_slot_ends_in_the_other_after_three_boots(tmp_path: Path) -> None:
    device = both_confirmed(tmp_path, ONLY_A)
    assert [device.boot() for _ in range(5)] == [None, None, None, None, Slot.A]
    assert device.until_healthy() is Slot.A


def test_two_rotten_slots_are_both_tried_again_and_the_one_that_recovers_is_found(tmp_path: Path) -> None:
    device = both_confirmed(tmp_path, frozenset())
    assert {device.boot() for _ in range(23)} == {None}
    device.good = ONLY_A
    assert device.until_healthy() is Slot.A


def test_slot_whose_kernel_is_gone_stops_the_firmware_and_is_not_covered(tmp_path: Path) -> None:
    """What this way of booting cannot do: nothing runs that could lead away (docs/decisions/0007)."""
    device = Device(tmp_path, good=BOTH)
    device.update()
    card = device.card()
    gone = {**card, 3: Partition(names=WHOLE - {"image"}, texts=card[3].texts)}
    for _ in range(BOOTS_TO_RECOVER):
        assert choose(gone, board=BOARDS["raspi4b"], rules=RULES).load is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("good", "absent"), [(BOTH, frozenset()), (ONLY_A, frozenset()), (BOTH, ONLY_B)],
                         ids=["good", "bad", "absent"])
def test_cut_at_every_write_of_an_update(tmp_path: Path, good: frozenset[Slot], absent: frozenset[Slot],
                                         way: str) -> None:
    found = cut_everywhere(lambda at: Device(tmp_path / str(at), good=good, absent=absent), way, updated, good - absent)
    assert found > 6


@pytest.mark.parametrize("way", WAYS)
def test_cut_at_every_write_of_a_hand_over(tmp_path: Path, way: str) -> None:
    assert cut_everywhere(lambda at: both_confirmed(tmp_path / str(at), ONLY_A), way, booted, ONLY_A) > 5


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.tuples(st.integers(min_value=1, max_value=9), st.sampled_from(WAYS)), max_size=8),
       good=st.sampled_from([BOTH, ONLY_A]))
def test_any_series_of_cuts_ends_in_a_healthy_slot(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[tuple[int, str]], good: frozenset[Slot]
) -> None:
    cut_in_series(Device(tmp_path_factory.mktemp("device"), good=good), cuts)


@pytest.mark.parametrize("damage", [b"", b"\0" * 8192, b"IKS1" * 2048])
def test_lost_record_boots_a_healthy_slot_and_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    device = both_confirmed(tmp_path, ONLY_B)
    device.partition.device.write_bytes(damage)
    assert device.until_healthy() is Slot.B


@pytest.mark.parametrize("damage", [b"", b"#" * 512, b"boot_partition=0\n"])
def test_lost_autoboot_boots_the_first_slot_and_is_made_anew(tmp_path: Path, damage: bytes) -> None:
    device = both_confirmed(tmp_path, BOTH)
    device.path.write_bytes(damage)
    assert device.until_healthy() is Slot.A
