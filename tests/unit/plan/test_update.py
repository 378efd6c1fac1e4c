"""Planning an update: which slot, which bytes, in which order, and when there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from imagekit.assertions import decode_stream, parse_model
from imagekit.boot.autoboot import decode_autoboot
from imagekit.boot.entries import parse_entry
from imagekit.boot.pislot import Measure
from imagekit.boot.slotproof import decode_proof
from imagekit.boot.slotstate import FACTORY, Slot, SlotState, begin_trial, hand_over, seen_from
from imagekit.errors import PlanError, TargetError
from imagekit.plan.resolve import Resolution, resolve
from imagekit.plan.update import (
    Failure,
    Held,
    Past,
    RunningState,
    Source,
    Step,
    UpdatePlan,
    as_json,
    plan_update,
)
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.plans import SIZES, available, digest
from imagekit.units import MIB

ROOT = {("debian-13", 1): "1d" * 32, ("debian-13", 2): "2d" * 32, ("pc-kernel", 1): "1c" * 32,
        ("pc-kernel", 2): "2c" * 32}
HEALTHY = replace(FACTORY, generation=7)
FRESH = Past(floors={})


def resolved(base: int = 1, kernel: int = 1, *, roots: Mapping[tuple[str, int], str | None] = ROOT) -> Resolution:
    """The usual model with these revisions at hand."""
    brand = Brand("acme")
    wanted = {"pc": 1, "debian-13": base, "pc-kernel": kernel}
    for name, number in wanted.items():
        brand.revision(name, number, sha3=digest(name, number), size=SIZES[name], verity_root=roots.get((name, number)))
    model = parse_model(brand.model())
    return resolve(model, brand.database(), available(*wanted.items()), now=NOW)


def running(record: SlotState | None = HEALTHY, **changes: object) -> RunningState:
    state = RunningState(
        loader="systemd-boot", slot=Slot.A, record=record, spare_roots={}, rank=4, cmdline="quiet", boot_files={},
        state_partuuid="00000000-0000-4000-8000-000000000000", capacity={"base": 8 * MIB, "kernel": 4 * MIB,
                                                                         "boot": 8 * MIB},
        held={"base": Held(name="debian-13", revision=1, root=ROOT["debian-13", 1]),
              "kernel": Held(name="pc-kernel", revision=1, root=ROOT["pc-kernel", 1])})
    return replace(state, **changes)  # type: ignore[arg-type]


def planned(state: RunningState, resolution: Resolution, past: Past = FRESH, *, again: bool = False) -> UpdatePlan:
    plan = plan_update(state, resolution, past, again=again)
    assert plan is not None
    return plan


def test_new_base_takes_the_kernel_from_the_running_slot() -> None:
    plan = planned(running(), resolved(base=2))
    assert plan.slot is Slot.B
    assert {item.part: (item.source, item.revision, item.partition) for item in plan.parts} == {
        "base": (Source.PACKAGE, 2, "base-b"), "kernel": (Source.RUNNING, 1, "kernel-b")}
    assert plan.part("base").file == "packages/debian-13_2.snap"
    assert plan.part("kernel").file == ""


def test_kernel_that_the_idle_slot_holds_is_kept_and_not_written() -> None:
    plan = planned(running(spare_roots={"kernel": ROOT["pc-kernel", 1]}), resolved(base=2))
    assert plan.part("kernel").source is Source.KEPT
    assert Step.KERNEL not in plan.steps


def test_steps_close_before_the_first_byte_and_open_after_the_last() -> None:
    plan = planned(running(replace(HEALTHY, other_good=True)), resolved(base=2, kernel=2))
    assert plan.steps == (Step.FORGET, Step.CLOSE, Step.SWEEP, Step.BASE, Step.KERNEL, Step.BOOT_FILES, Step.TRIAL,
                          Step.OPEN)
    uboot = planned(running(replace(HEALTHY, other_good=True), loader="u-boot", boot_files={"Image": "Image"}),
                    resolved(base=2, kernel=2))
    assert uboot.steps == tuple(step for step in plan.steps if step is not Step.SWEEP)


def test_record_gets_a_trial_of_the_idle_slot_with_the_running_one_as_way_back() -> None:
    plan = planned(running(), resolved(base=2))
    assert plan.forgotten is None
    assert (plan.trial.slot, plan.trial.tries, plan.trial.confirmed, plan.trial.other_good) == (Slot.B, 3, False, True)
    assert plan.trial.generation == HEALTHY.generation + 1


def test_record_forgets_a_good_idle_slot_first() -> None:
    plan = planned(running(replace(HEALTHY, other_good=True)), resolved(base=2))
    assert plan.forgotten == replace(HEALTHY, generation=8)
    assert plan.trial.generation == 9


def test_entry_ranks_above_all_and_has_the_signed_roots() -> None:
    plan = planned(running(), resolved(base=2))
    assert plan.entry is not None
    name, raw = plan.entry
    entry = parse_entry(raw, name=name)
    assert name == "imagekit-b+3.conf"
    assert (entry.slot, entry.version, entry.base_root, entry.kernel_root, entry.cmdline) == (
        Slot.B, 5, ROOT["debian-13", 2], ROOT["pc-kernel", 1], "quiet")


def test_uboot_gets_a_volume_and_no_entry() -> None:
    plan = planned(running(loader="u-boot", boot_files={"Image": "Image", "board.dtb": "dtbs/x.dtb"}), resolved(base=2))
    assert plan.entry is None
    assert plan.volume is not None
    assert (plan.volume.partition, plan.volume.label) == ("boot-b", "imagekit-b")
    assert plan.volume.files == (("Image", "Image"), ("board.dtb", "dtbs/x.dtb"))


def test_pi_gets_a_volume_with_the_gadgets_own_files_and_is_told_last() -> None:
    own = {"config.txt": Measure.of(b"kernel=Image\n")}
    plan = planned(running(replace(HEALTHY, other_good=True), loader="piboot", own_files=own,
                           numbers={Slot.A: 2, Slot.B: 3}), resolved(base=2, kernel=2))
    assert plan.steps == (Step.FORGET, Step.CLOSE, Step.BASE, Step.KERNEL, Step.BOOT_FILES, Step.TRIAL, Step.OPEN)
    assert plan.entry is None
    assert plan.volume is not None
    assert (plan.volume.partition, plan.volume.running, plan.volume.own) == ("boot-b", "boot-a", tuple(own.items()))
    assert plan.autoboot is not None
    assert {slot: decode_autoboot(raw).boot for slot, raw in plan.autoboot.items()} == {Slot.A: 2, Slot.B: 3}


def test_proof_leads_from_the_root_to_the_revision() -> None:
    proof = decode_stream(decode_proof(planned(running(), resolved(base=2)).part("base").proof), name="proof")
    kinds = [item.type for item in proof]
    assert sorted(set(kinds)) == ["account", "account-key", "snap-declaration", "snap-revision"]
    assert [item.text("snap-revision") for item in proof if item.type == "snap-revision"] == ["2"]


def test_what_runs_is_no_update() -> None:
    assert plan_update(running(), resolved(), FRESH) is None
    assert plan_update(running(record=None), resolved(), FRESH) is None


def test_older_than_what_runs_is_refused() -> None:
    state = running(held={"base": Held(name="debian-13", revision=2, root=ROOT["debian-13", 2]),
                          "kernel": Held(name="pc-kernel", revision=1, root=ROOT["pc-kernel", 1])})
    with pytest.raises(TargetError, match="cannot install debian-13 1: revision 2 runs"):
        plan_update(state, resolved(), FRESH)


def test_older_than_what_was_once_healthy_is_refused() -> None:
    with pytest.raises(TargetError, match="cannot install debian-13 2: revision 3 has run here"):
        plan_update(running(), resolved(base=2), Past(floors={"debian-13": 3}))
    assert plan_update(running(), resolved(), Past(floors={"debian-13": 3})) is None  # what runs may go on


def test_pair_that_failed_is_refused_unless_asked_for() -> None:
    past = Past(floors={}, failed=(Failure(packages=(("debian-13", 2), ("pc-kernel", 1)), reason="pump is dry",
                                           time="2026-06-01T00:00:00Z"),))
    with pytest.raises(TargetError, match="it was tried on 2026-06-01T00:00:00Z and failed: pump is dry"):
        plan_update(running(), resolved(base=2), past)
    assert planned(running(), resolved(base=2), past, again=True).slot is Slot.B
    assert planned(running(), resolved(base=2, kernel=2), past).slot is Slot.B  # another pair


@pytest.mark.parametrize(("failed", "refused"), [
    ((), True),  # a memory that was lost
    ((("debian-13", 9), ("pc-kernel", 1)), True),
    ((("debian-13", 2), ("pc-kernel", 1), ("pc", 2)), False),  # with a gadget that does not come now
])
def test_pair_whose_trial_used_up_its_boots_is_not_tried_again(failed: tuple[tuple[str, int], ...], refused: bool
                                                               ) -> None:
    state = running(spent=(ROOT["debian-13", 2], ROOT["pc-kernel", 1]))
    past = Past(floors={}, failed=(Failure(packages=failed, reason="x", time="t"),) if failed else ())
    if refused:
        with pytest.raises(TargetError, match="slot b holds it, and has used up its boots"):
            planned(state, resolved(base=2), past)
    else:
        planned(state, resolved(base=2), past)
    planned(state, resolved(base=2), past, again=True)
    planned(state, resolved(base=2, kernel=2), past)


def test_memory_knows_better_than_what_uboots_slot_and_record_let_conclude() -> None:
    """A record that was lost begins anew, and knows nothing of how good the other slot was."""
    state = running(spent=(ROOT["debian-13", 2], ROOT["pc-kernel", 1]), loader="u-boot", boot_files={"Image": "Image"})
    with pytest.raises(TargetError, match="slot b holds it, and has used up its boots"):
        planned(state, resolved(base=2))
    planned(state, resolved(base=2), Past(floors={"debian-13": 1}))


@pytest.mark.parametrize(("record", "match"), [
    (None, "its slot-state record is lost"),
    (replace(HEALTHY, unhealthy=1, other_good=True), "not known to be healthy in this boot"),
    (replace(HEALTHY, confirmed=False, other_good=True), "not known to be healthy in this boot"),
    (hand_over(replace(HEALTHY, other_good=True)), "it goes to slot b at the next boot"),
], ids=["lost", "not judged", "on trial", "handed over"])
def test_device_that_may_not_lose_its_idle_slot_is_refused(record: SlotState | None, match: str) -> None:
    with pytest.raises(TargetError, match=match):
        plan_update(running(record), resolved(base=2), FRESH)


def test_device_without_a_way_back_may_be_helped_though_it_is_sick() -> None:
    assert planned(running(replace(HEALTHY, confirmed=False, unhealthy=9)), resolved(base=2)).slot is Slot.B


def test_trial_that_has_not_begun_is_given_up_in_the_record_first() -> None:
    record = begin_trial(HEALTHY)
    plan = planned(running(record), resolved(base=2))
    assert plan.forgotten is not None
    assert seen_from(plan.forgotten, Slot.A) == plan.forgotten
    assert (plan.forgotten.slot, plan.forgotten.confirmed, plan.forgotten.other_good) == (Slot.A, True, False)


def test_other_loader_is_refused_clearly() -> None:
    with pytest.raises(TargetError, match="its loader is grub, updates are for systemd-boot, u-boot, piboot"):
        plan_update(running(loader="grub"), resolved(base=2), FRESH)


def test_package_too_large_for_its_partition_is_refused() -> None:
    with pytest.raises(PlanError, match=r"with its hash tree it has \d+ bytes .*, partition base-b has 4194304"):
        plan_update(running(capacity={"base": 4 * MIB, "kernel": 4 * MIB}), resolved(base=2), FRESH)


def test_package_without_a_signed_root_is_refused() -> None:
    with pytest.raises(PlanError, match="its signed revision has no verity-root"):
        plan_update(running(), resolved(base=2, roots={**ROOT, ("debian-13", 2): None}), FRESH)


def test_plan_as_json_says_everything_but_the_bytes() -> None:
    told = as_json(planned(running(), resolved(base=2)))
    assert told["steps"] == ["close", "sweep", "base", "kernel", "boot-files", "trial", "open"]
    assert told["parts"][0] == {  # type: ignore[index]
        "part": "base", "partition": "base-b", "source": "package", "name": "debian-13", "revision": 2,
        "size": SIZES["debian-13"], "sha3-384": digest("debian-13", 2), "verity-root": ROOT["debian-13", 2],
        "file": "packages/debian-13_2.snap"}
