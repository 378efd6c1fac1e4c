"""A gadget arrives on a device made of files: alone or with a pair, kept when that is healthy, else taken back."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import Assertion, snap_id
from imagekit.boot.gadgetrecord import GadgetRecord
from imagekit.device import history
from imagekit.device.cli import main
from imagekit.device.install import GadgetRefused
from imagekit.device.state import load_gadget_record
from imagekit.errors import PlanError, TargetError, TrustError
from imagekit.plan.update import Source, Step
from tests.tools.update_rig import BOOT, GADGET_LOADERS, SYSTEMD_BOOT, Maker, Rig, gadget_files, make, root_of

pytestmark = pytest.mark.tools

ONE = pytest.mark.parametrize("maker", [SYSTEMD_BOOT], indirect=True)  # what has nothing to do with the loader


def other_layout(text: str) -> str:
    return text.replace("name: base-b", "name: base-c").replace("base-b:", "base-c:")


@pytest.fixture(scope="module", params=GADGET_LOADERS)
def maker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("maker"), request.param)
    made.build()
    made.base(2)
    made.gadget(2)
    made.gadget(3, edition=1, change=lambda text: text.replace("panic=10", "panic=20"))
    made.gadget(4, change=other_layout)
    made.gadget(5)
    made.gadget(6, change=lambda text: "volumes: [")
    return made


@pytest.fixture
def rig(maker: Maker, tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "device", maker.image, maker.loader)
    made.revisions = {("debian-13", number): root_of(maker, maker.workshop.packages / f"debian-13_{number}.snap")
                      for number in (1, 2)}
    return made


Stick = Callable[..., Path]


@pytest.fixture
def stick(maker: Maker, tmp_path: Path) -> Stick:
    def made(*names: str, packed: bool = False) -> Path:
        folder = tmp_path / f"stick-{'-'.join(names)}"
        return maker.stick(folder, *(maker.workshop.packages / f"{name}.snap" for name in names), packed=packed)

    return made


def record(rig: Rig) -> GadgetRecord:
    return load_gadget_record(rig.device("slot-state"))


def installed(rig: Rig) -> int:
    """The revision of the gadget, which its boot files agree with."""
    found = record(rig)
    assert found.trial is None
    return found.installed.revision if found.installed else 1


def has_files_of(rig: Rig, revision: int) -> bool:
    wanted = gadget_files(revision)
    there = rig.disk_state().assets()
    return there == {name: wanted[name] for name in there}


def test_gadget_alone_comes_with_the_same_pair_in_the_other_slot(rig: Rig, stick: Stick) -> None:
    outcome = rig.install(stick("pc_2", packed=True))
    assert outcome.plan is not None
    assert {item.source for item in outcome.plan.parts} == {Source.RUNNING}
    assert outcome.plan.pair == (("debian-13", 1), ("pc-kernel", 1), ("pc", 2))
    assert record(rig).trial is not None
    rig.up()
    assert (rig.slot.value, installed(rig)) == ("b", 2)
    assert has_files_of(rig, 2)
    memory = history.load_history(rig.machine)
    assert memory.changes[-1].packages == (("debian-13", 1), ("pc-kernel", 1), ("pc", 2))
    assert memory.changes[-1].outcome == "done"
    assert rig.install(stick("pc_2")).plan is None


def test_gadget_base_and_kernel_come_together(rig: Rig, stick: Stick) -> None:
    assert rig.install(stick("pc_2", "debian-13_2")).installed
    rig.up()
    assert rig.roots["base"] == rig.revisions["debian-13", 2]
    assert installed(rig) == 2
    assert has_files_of(rig, 2)


def test_revert_starts_the_other_slot_with_the_gadget_that_is_installed(rig: Rig, stick: Stick) -> None:
    rig.install(stick("pc_2", "debian-13_2"))
    rig.up()
    assert (rig.slot.value, installed(rig)) == ("b", 2)
    assert main(["revert"], machine=rig.machine) == 0
    rig.up()
    assert (rig.slot.value, installed(rig)) == ("a", 2)
    assert rig.roots["base"] == rig.revisions["debian-13", 1]
    assert has_files_of(rig, 2)


@ONE
def test_gadgets_follow_each_other(rig: Rig, stick: Stick) -> None:
    for revision in (2, 5):
        assert rig.install(stick(f"pc_{revision}")).installed
        rig.up()
        assert installed(rig) == revision
        assert has_files_of(rig, revision)
    assert rig.install(stick("pc_2")).plan is None  # older than what is there


def test_sick_base_takes_the_gadget_back_with_it_and_neither_is_tried_again(rig: Rig, stick: Stick) -> None:
    folder = stick("pc_2", "debian-13_2")
    rig.install(folder)
    assert has_files_of(rig, 2)
    rig.up(sick=frozenset({("debian-13", 2)}))
    assert (rig.slot.value, installed(rig)) == ("a", 1)
    assert has_files_of(rig, 1)
    with pytest.raises(TargetError, match=r"debian-13 2 with pc-kernel 1 with pc 2: it was tried on .* and failed"):
        rig.install(folder)
    assert rig.install(stick("pc_2")).installed  # without the base that was sick
    rig.up()
    assert installed(rig) == 2


def test_interruption_before_the_trial_takes_the_gadget_back(rig: Rig, stick: Stick,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(line: str) -> None:
        if "gets its tries" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr("imagekit.device.cli._say", interrupt)
    assert main(["install", str(stick("pc_2"))], machine=rig.machine) == 130
    assert has_files_of(rig, 2)
    rig.up()
    assert (rig.slot.value, installed(rig)) == ("a", 1)
    assert has_files_of(rig, 1)
    assert history.load_history(rig.machine).changes[-1].outcome == "interrupted"


@ONE
def test_trial_that_has_not_begun_gives_way_to_another_update(rig: Rig, stick: Stick) -> None:
    rig.install(stick("pc_2"), reboot=False)
    outcome = rig.install(stick("debian-13_2"), reboot=False)
    assert outcome.plan is not None
    assert Step.SETTLE in outcome.plan.steps
    assert has_files_of(rig, 1)
    rig.up()
    assert rig.roots["base"] == rig.revisions["debian-13", 2]
    assert installed(rig) == 1


@ONE
def test_edition_that_does_not_rise_leaves_the_files_and_brings_the_command_line(rig: Rig, stick: Stick) -> None:
    outcome = rig.install(stick("pc_3"))
    assert outcome.plan is not None
    assert outcome.plan.gadget is not None
    assert (outcome.plan.gadget.assets, outcome.plan.cmdline.split()[-1]) == ((), "panic=20")
    rig.up()
    assert installed(rig) == 3
    assert has_files_of(rig, 1)


@ONE
def test_other_layout_is_refused_and_nothing_is_written(rig: Rig, stick: Stick) -> None:
    before = rig.disk_state()
    with pytest.raises(PlanError, match="cannot update the gadget to pc 4") as refusal:
        rig.install(stick("pc_4"))
    assert any("its name changes from 'base-b' to 'base-c'" in line
               for line in (refusal.value.message, *refusal.value.details))
    assert rig.disk_state() == before


@ONE
@pytest.mark.parametrize(("gadget", "why"), [
    ("pc_4", "cannot update the gadget to pc 4"), ("pc_6", "pc_6.snap meta/gadget.yaml")],
    ids=["another layout", "no gadget.yaml that can be read"])
def test_gadget_that_is_refused_keeps_no_base_away(rig: Rig, stick: Stick, gadget: str, why: str) -> None:
    outcome = rig.install(stick(gadget, "debian-13_2"))
    assert outcome.plan is not None
    assert outcome.plan.pair == (("debian-13", 2), ("pc-kernel", 1))
    assert any(note.startswith(f"{gadget}.snap is left out: ") and why in note for note in outcome.notes)
    rig.up()
    assert (rig.slot.value, installed(rig)) == ("b", 1)


def test_base_that_is_allowed_with_a_refused_gadget_alone_is_refused_because_of_that(tmp_path: Path) -> None:
    made = make(tmp_path / "maker", SYSTEMD_BOOT)

    def tested(sequence: int, base: int, gadget: int) -> Assertion:
        wanted = (("debian-13", base), ("pc", gadget))
        return made.workshop.brand.sign({
            "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
            "sequence": str(sequence), "timestamp": "2026-01-01T00:00:00Z", "snaps": tuple(
                {"name": name, "id": snap_id("acme", name), "presence": "required", "revision": str(number)}
                for name, number in wanted)})

    (made.workshop.packages / "tested.validation-set").write_bytes(tested(1, 1, 1).encode())
    made.build(validation_sets=({"account-id": "acme", "name": "tested", "mode": "enforce"},))
    base = made.base(2)
    gadget = made.gadget(4, change=other_layout)
    rig = Rig(tmp_path / "device", made.image, SYSTEMD_BOOT)
    with pytest.raises(GadgetRefused, match="cannot update the gadget to pc 4"):
        rig.install(made.stick(tmp_path / "stick", base, gadget, more=(tested(2, 2, 4),)))


@ONE
def test_gadget_with_a_changed_byte_is_refused(rig: Rig, stick: Stick) -> None:
    folder = stick("pc_2")
    raw = bytearray((folder / "pc_2.snap").read_bytes())
    raw[5000] ^= 1
    (folder / "pc_2.snap").write_bytes(raw)
    before = rig.disk_state()
    with pytest.raises(TrustError, match="its SHA3-384 is"):
        rig.install(folder)
    assert rig.disk_state() == before


@ONE
def test_check_writes_nothing_and_tells_the_files(rig: Rig, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    before = rig.disk_state()
    assert main(["install", str(stick("pc_2")), "--check", "--json"], machine=rig.machine) == 0
    gadget = json.loads(capsys.readouterr().out)["plan"]["gadget"]
    assert (gadget["revision"], gadget["partition"]) == (2, BOOT[rig.loader])
    assert gadget["files"][-1]["source"] == ("startup.nsh" if rig.loader == SYSTEMD_BOOT else "u-boot.bin")
    assert rig.disk_state() == before


@ONE
def test_status_tells_the_gadget(rig: Rig, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    def told() -> dict[str, object]:
        assert main(["status", "--json"], machine=rig.machine) == 0
        found: dict[str, object] = json.loads(capsys.readouterr().out)["gadget"]
        return found

    assert told() == {"name": "pc", "revision": 1, "on_trial": None}
    rig.install(stick("pc_2"))
    assert told() == {"name": "pc", "revision": 1, "on_trial": 2}
    rig.up()
    assert told() == {"name": "pc", "revision": 2, "on_trial": None}
    assert main(["status"], machine=rig.machine) == 0
    assert "gadget: pc 2\n" in capsys.readouterr().out


@ONE
def test_device_that_lost_its_data_still_knows_its_gadget(rig: Rig, stick: Stick) -> None:
    rig.install(stick("pc_2"))
    rig.up()
    (rig.folder / "var/lib/imagekit/updates/state.json").unlink()
    assert rig.install(stick("pc_2")).plan is None
    assert rig.install(stick("pc_5")).installed
    rig.up()
    assert has_files_of(rig, 5)
