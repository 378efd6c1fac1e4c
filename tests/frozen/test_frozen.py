"""Devices of every version of the formats are taken to today's packages by today's code; today's bytes are theirs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.device import history
from imagekit.device.install import know
from imagekit.device.rhythm import load_rhythm
from tests.frozen.device import FAILED, FOLDER, NEWEST, TRIED, VERSIONS, maker_of, thaw
from tests.frozen.format import Holds, unfilled, unlike
from tests.frozen.formats import FORMATS
from tests.tools.update_rig import LOADERS, Maker, Rig, root_of

MOST = 300 << 10


@pytest.mark.parametrize("name", FORMATS)
def test_todays_bytes_are_those_of_the_newest_frozen_version(name: str) -> None:
    """They changed? Then devices that are out there write others: `python -m tests.frozen.make`, the next number."""
    assert FORMATS[name].changed((FOLDER / VERSIONS[-1] / "formats" / name).read_bytes()) == ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", FORMATS)
def test_todays_reader_understands_every_version(version: str, name: str) -> None:
    path = FOLDER / version / "formats" / name
    if not path.exists():
        assert version != VERSIONS[-1]
        pytest.skip("that version knew nothing of it")
    assert FORMATS[name].decode(path.read_bytes()) == FORMATS[name].value


def test_every_frozen_file_has_a_reader() -> None:
    assert {path.name for version in VERSIONS for path in (FOLDER / version / "formats").iterdir()} == set(FORMATS)


@pytest.mark.parametrize("name", [name for name, found in FORMATS.items() if found.holds in (Holds.KEYS, Holds.SHAPE)])
def test_every_key_of_a_sample_has_a_value(name: str) -> None:
    """A key that is empty in it could be lost, or mean something else, and nobody would see."""
    if name != "parts.lock":  # it has lines, for people; all of its values are in the sample
        assert unfilled(json.loads(FORMATS[name].encode())) == []


def test_change_of_an_encoder_is_noticed() -> None:
    exact, keys, shaped = FORMATS["ledger.bin"].encode(), FORMATS["state.json"].encode(), {"a": [{"b": "x"}], "c": 1}
    assert unlike(Holds.NOTHING, exact, exact[:-1] + b"?") == "byte 511"
    document = json.loads(keys)
    assert unlike(Holds.KEYS, keys, json.dumps({**document, "later": 1}).encode()) == ""
    document["pending"]["trial"] = 1
    assert unlike(Holds.KEYS, keys, json.dumps(document).encode()) == ".pending.trial was True, is 1"
    del document["floors"]
    assert unlike(Holds.KEYS, keys, json.dumps(document).encode()) == ".floors is gone"
    document = {**json.loads(keys), "changes": []}
    assert "changes" in unlike(Holds.KEYS, keys, json.dumps(document).encode())
    old = json.dumps(shaped).encode()
    assert unlike(Holds.SHAPE, old, json.dumps({"a": [{"b": "y", "d": 0}], "c": 2}).encode()) == ""
    assert unlike(Holds.SHAPE, old, json.dumps({**shaped, "c": "1"}).encode()) == ".c was 'int', is 'str'"
    assert unlike(Holds.SHAPE, old, json.dumps({**shaped, "a": [{}]}).encode()) == ".a[0].b is gone"


def test_key_without_a_value_is_noticed() -> None:
    assert unfilled({"a": "", "b": [{"c": None, "d": 0}, {"c": 1, "d": None}], "e": [], "f": False}) == [".a", ".e"]


def test_what_is_frozen_stays_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < MOST


# ---- whole devices

@pytest.fixture(scope="module", params=LOADERS)
def newest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = maker_of(tmp_path_factory.mktemp("newest"), request.param)
    made.base(NEWEST)
    made.kernel(NEWEST)
    return made


@pytest.fixture(params=VERSIONS)
def rig(request: pytest.FixtureRequest, newest: Maker, tmp_path: Path) -> Rig:
    made = thaw(FOLDER / request.param / newest.loader, tmp_path / "thawed")
    made.revisions = {(name, NEWEST): root_of(newest, newest.workshop.packages / f"{name}_{NEWEST}.snap")
                      for name in ("debian-13", "pc-kernel")}
    return made


BASE, KERNEL = "debian-13", "pc-kernel"


@pytest.mark.tools
def test_trial_that_an_old_updater_began_is_judged_and_the_newest_packages_follow(rig: Rig, newest: Maker) -> None:
    memory = history.load_history(rig.machine)
    assert (rig.slot, memory.pending) == (Slot.B, None)
    assert memory.floors == {BASE: TRIED, KERNEL: TRIED}
    assert [item.packages for item in memory.failed] == [((BASE, FAILED), (KERNEL, FAILED))]
    assert memory.changes[-1].outcome == "done"
    rig.install(*newest.workshop.packages.glob(f"*_{NEWEST}.*"))
    assert rig.up() is Slot.A
    assert rig.roots == {"base": rig.revisions[BASE, NEWEST], "kernel": rig.revisions[KERNEL, NEWEST]}
    memory = history.load_history(rig.machine)
    assert memory.floors == {BASE: NEWEST, KERNEL: NEWEST} and memory.changes[-1].outcome == "done"


@pytest.mark.tools
def test_newest_packages_that_fail_lead_back_to_what_was_frozen(rig: Rig, newest: Maker) -> None:
    frozen = dict(rig.roots)
    rig.install(*newest.workshop.packages.glob(f"*_{NEWEST}.*"))
    assert rig.up(sick=frozenset({(BASE, NEWEST)})) is Slot.B
    assert rig.roots == frozen
    assert history.load_history(rig.machine).failed[-1].packages == ((BASE, NEWEST), (KERNEL, NEWEST))


@pytest.mark.tools
def test_device_without_its_data_knows_what_it_runs_by_the_proof_in_its_slot(rig: Rig) -> None:
    shutil.rmtree(rig.machine.var)
    known = know(rig.machine, now=rig.clock)
    assert {part: held.revision for part, held in known.running.items()} == {"base": TRIED, "kernel": TRIED}


@pytest.mark.tools
def test_schedule_goes_on_where_it_was(rig: Rig) -> None:
    path = rig.machine.var / history.FOLDER / "rhythm.json"
    before = json.loads(path.read_bytes())["lost_boots"]
    load_rhythm(rig.machine)
    assert json.loads(path.read_bytes())["lost_boots"] == before + 1
