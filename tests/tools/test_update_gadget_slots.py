"""A gadget whose files lie in the slots, as the Raspberry Pi's firmware, arrives with a slot, and stays with it.

On a device made of files. The power is cut after every write, too: a slot that gets healthy has the files of one
gadget, the one that it says it has.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.boot.pislot import GADGET_NAME, GADGET_PROOF, SUMS_NAME, Measure, encode_sums, is_whole
from imagekit.boot.slotstate import Slot
from imagekit.device import history
from imagekit.device.cli import main
from imagekit.device.gadget import gadget_record
from imagekit.device.report import load_report
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.errors import PlanError, TargetError
from imagekit.plan.update import Source, Step
from imagekit.testing.documents import Brand
from imagekit.testing.images import Workshop, noise
from tests.tools.update_bugs import NONE
from tests.tools.update_cut import carry_out
from tests.tools.update_disk import CutDisk, after_cut, all_of_it, drawn, none_of_it
from tests.tools.update_oracle import DiskState, boot_until_healthy, check_offered
from tests.tools.update_rig import PI, Maker, Rig, make, pi_files, root_of

pytestmark = pytest.mark.tools

MADE_BY_US = {GADGET_NAME, GADGET_PROOF}


def with_files(*names: str) -> Callable[[str], str]:
    return lambda text: text.replace("[config.txt, start.elf, start4.elf]", f"[{', '.join(names)}]")


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("maker"), PI)
    made.build()
    made.base(2)
    made.base(3)
    made.kernel(2)
    made.gadget(2)
    made.gadget(3)
    made.gadget(4, change=lambda text: text.replace("vfat, size: 5M}", "vfat, size: 5M, update: {edition: 1}}"))
    made.gadget(5, change=with_files("config.txt", "start.elf", "start4.elf", "fixup.dat"))
    made.gadget(6, change=with_files("config.txt", "start.elf", "gadget.yaml"))
    made.gadget(7, files={**pi_files(7), "start4.elf": noise("much", 5_000_000)})
    made.gadget(8, change=lambda text: with_files("config.txt", "start4.elf", "fixup.dat")(text).replace(
        "panic=10", "panic=20"), files={**pi_files(8), "fixup.dat": b"fixup"})
    return made


@pytest.fixture
def rig(maker: Maker, tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "device", maker.image, PI)
    made.revisions = {("debian-13", number): root_of(maker, maker.workshop.packages / f"debian-13_{number}.snap")
                      for number in (1, 2, 3)}
    return made


Stick = Callable[..., Path]


@pytest.fixture
def stick(maker: Maker, tmp_path: Path) -> Stick:
    def made(*names: str) -> Path:
        return maker.stick(tmp_path / f"stick-{'-'.join(names)}",
                           *(maker.workshop.packages / f"{name}.snap" for name in names))

    return made


def own(state: DiskState, slot: Slot) -> dict[str, bytes]:
    """What a slot has of a gadget. The slot is whole."""
    files = state.volume(slot)
    assert is_whole(files, slot)
    names = {"config.txt", "start.elf", "start4.elf", "fixup.dat"}
    return {name: raw for name, raw in files.items() if name in names}


def told(rig: Rig, capsys: pytest.CaptureFixture[str]) -> int:
    """The revision that `status` tells."""
    capsys.readouterr()
    assert main(["status", "--json"], machine=rig.machine) == 0
    return int(json.loads(capsys.readouterr().out)["gadget"]["revision"])


def test_gadget_alone_comes_with_the_same_pair_in_the_other_slot(rig: Rig, stick: Stick,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert told(rig, capsys) == 1
    outcome = rig.install(stick("pc_2"))
    assert outcome.plan is not None
    assert {item.source for item in outcome.plan.parts} == {Source.RUNNING}
    assert outcome.plan.pair == (("debian-13", 1), ("pc-kernel", 1), ("pc", 2))
    assert Step.GADGET not in outcome.plan.steps
    assert told(rig, capsys) == 1
    rig.up()
    assert (rig.slot, told(rig, capsys)) == (Slot.B, 2)
    assert (own(rig.disk_state(), Slot.A), own(rig.disk_state(), Slot.B)) == (pi_files(1), pi_files(2))
    assert history.load_history(rig.machine).changes[-1].outcome == "done"
    assert rig.install(stick("pc_2")).plan is None


def test_slot_keeps_its_gadget_when_it_is_gone_back_to(rig: Rig, stick: Stick,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(stick("pc_2", "debian-13_2"))
    rig.up()
    assert main(["revert"], machine=rig.machine) == 0
    rig.up()
    assert (rig.slot, told(rig, capsys)) == (Slot.A, 1)
    assert rig.install(stick("debian-13_3")).installed  # what ran is older than the gadget that was healthy once
    rig.up()
    assert (rig.slot, told(rig, capsys)) == (Slot.B, 1)
    assert own(rig.disk_state(), Slot.B) == pi_files(1)
    assert rig.install(stick("pc_2")).installed  # it is offered again
    rig.up()
    assert (rig.slot, told(rig, capsys)) == (Slot.A, 2)


def test_next_update_takes_the_gadget_along(rig: Rig, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(stick("pc_2"))
    rig.up()
    rig.install(stick("debian-13_2", "pc-kernel_2"))
    rig.up()
    assert (rig.slot, told(rig, capsys)) == (Slot.A, 2)
    assert own(rig.disk_state(), Slot.A) == pi_files(2)
    rig.install(stick("pc_3"))
    rig.up()
    assert (rig.slot, told(rig, capsys)) == (Slot.B, 3)
    assert rig.install(stick("pc_2")).plan is None  # older than what is there


def test_sick_base_takes_the_gadget_back_with_it_and_neither_is_tried_again(
        rig: Rig, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    folder = stick("pc_2", "debian-13_2")
    rig.install(folder)
    rig.up(sick=frozenset({("debian-13", 2)}))
    assert (rig.slot, told(rig, capsys)) == (Slot.A, 1)
    with pytest.raises(TargetError, match=r"debian-13 2 with pc-kernel 1 with pc 2: it was tried on .* and failed"):
        rig.install(folder)
    assert rig.install(stick("pc_2")).installed
    rig.up()
    assert told(rig, capsys) == 2


def test_gadget_may_have_other_files_and_another_command_line(rig: Rig, stick: Stick) -> None:
    outcome = rig.install(stick("pc_8"))
    assert outcome.plan is not None
    assert outcome.plan.cmdline.split()[-1] == "panic=20"
    rig.up()
    assert own(rig.disk_state(), Slot.B) == {
        "config.txt": pi_files(8)["config.txt"], "start4.elf": pi_files(8)["start4.elf"], "fixup.dat": b"fixup"}
    assert b"panic=20" in rig.disk_state().volume(Slot.B)["cmdline.txt"]


@pytest.mark.parametrize(("gadget", "why"), [
    ("pc_4", "structure 'boot': its edition rises, and what lies outside of the slots is there once"),
    ("pc_5", "it has no file fixup.dat, which its slot-files name"),
    ("pc_6", "the gadget's gadget.yaml lies where imagekit writes another file"),
    ("pc_7", "cannot install pc_7.snap: its files do not fit into boot-b")])
def test_what_a_slot_cannot_take_is_refused_and_nothing_is_written(rig: Rig, stick: Stick, gadget: str,
                                                                   why: str) -> None:
    before = rig.disk_state()
    with pytest.raises(PlanError, match=why):
        rig.install(stick(gadget))
    assert rig.disk_state() == before


def test_slot_whose_proof_is_nobodys_counts_as_the_factorys(rig: Rig, stick: Stick, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(stick("pc_2"))
    rig.up()
    stranger = Maker(workshop=Workshop(folder=tmp_path / "stranger", brand=Brand("acme", key="stranger")),
                         loader=PI)
    forged = stranger.gadget(99).with_suffix(".assert").read_bytes()
    put_files(rig, Slot.B, {GADGET_PROOF: forged})
    assert told(rig, capsys) == 1
    assert rig.install(stick("pc_3")).installed
    rig.up()
    assert told(rig, capsys) == 3


def put_files(rig: Rig, slot: Slot, changed: Mapping[str, bytes]) -> None:
    """Write a slot's FAT image anew, with other files and their sums."""
    files = {name: raw for name, raw in rig.disk_state().volume(slot).items() if name != SUMS_NAME} | dict(changed)
    files[SUMS_NAME] = encode_sums(slot, {name: Measure.of(raw) for name, raw in files.items()})
    path = rig.device(f"boot-{slot.value}")
    raw = bytearray(path.stat().st_size)
    listed = [FatFile(path=name, source=found) for name, found in files.items()]
    for offset, content in plan_fat(len(raw), "boot", 1, listed, time=datetime(2026, 1, 1, tzinfo=UTC)).extents:
        assert isinstance(content, bytes)
        raw[offset:offset + len(content)] = content
    path.write_bytes(raw)


@pytest.mark.parametrize("lived", [False, True], ids=["fresh", "two good slots"])
def test_cut_after_every_write_finds_slots_with_one_gadget_each(maker: Maker, tmp_path: Path, stick: Stick,
                                                                lived: bool) -> None:
    rig = Rig(tmp_path / "cut", maker.image, PI)
    if lived:
        rig.install(stick("pc_2"))
        rig.up()
    before, old, new = rig.disk_state(), 2 if lived else 1, 3 if lived else 2
    disk = CutDisk(before)
    carry_out(rig, stick(f"pc_{new}", "debian-13_2"), disk, NONE[PI])
    came: set[tuple[bool, int]] = set()
    for count in range(len(disk.ops) + 1):
        for draw in (none_of_it, all_of_it, drawn(str(count))):
            state = after_cut(before, disk.ops[:count], draw)
            check_offered(state)
            slot, _ = boot_until_healthy(state)
            revision = said(rig, state, slot)
            assert own(state, slot) == pi_files(revision), f"cut after {count} of {len(disk.ops)} operations"
            came.add((slot is rig.slot, revision))
    assert came == {(True, old), (False, new)}


def said(rig: Rig, state: DiskState, slot: Slot) -> int:
    """The revision that a slot says it has."""
    kept, rig.slot = rig.slot, slot
    try:
        rig.take(state)
        (rig.folder / "run/boot.json").write_text(json.dumps({
            **json.loads((rig.folder / "run/boot.json").read_text()), "slot": slot.value,
            "boot_device": str(rig.device(f"boot-{slot.value}"))}))
        found = gadget_record(load_report(rig.machine.run)).installed
    finally:
        rig.slot = kept
    return found.revision if found else 1
