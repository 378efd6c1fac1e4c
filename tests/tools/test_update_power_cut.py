"""The power is cut after every write of an update: what boots is whole, and the update can be made again.

Each update is recorded once, on a fresh device and on one with two good slots; then every prefix of what it wrote is
taken as the disk, with the unflushed rest there, absent or in between. The oracle starts each such disk until a slot is
healthy, and refuses a slot that the loader may start and that is not whole. Planted bugs show that it would be found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from imagekit.boot.oracle import Lost, Unverified
from tests.tools.update_bugs import BUGS, NONE, Planted
from tests.tools.update_cut import carry_out, lost_on, makers_in, prepared
from tests.tools.update_disk import CutDisk, Draw, Op, after_cut, all_of_it, drawn, none_of_it
from tests.tools.update_oracle import DiskState, boot_until_healthy, check_offered
from tests.tools.update_rig import LOADERS, SYSTEMD_BOOT, Maker, Rig

pytestmark = pytest.mark.tools

SEEDS = 4
DRAWS: dict[str, Callable[[int], Draw]] = {
    "none": lambda at: none_of_it, "all": lambda at: all_of_it,
    **{f"drawn {seed}": lambda at, seed=seed: drawn(f"{at}/{seed}") for seed in range(SEEDS)},
}


class Recording:
    """An update of a device as it was recorded: the disk before, the operations, and how to make it again."""

    def __init__(self, rig: Rig, stick: Path, *, bug: Planted | None = None) -> None:
        self.rig, self.stick = rig, stick
        self.before = rig.disk_state()
        self.disk = CutDisk(self.before)
        self.plan = carry_out(rig, stick, self.disk, bug or NONE[rig.loader])

    @property
    def ops(self) -> list[Op]:
        return self.disk.ops

    def states(self) -> Iterator[tuple[str, DiskState]]:
        """The disk after each cut, with its name; equal ones once."""
        seen: set[tuple[object, ...]] = set()
        for count in range(len(self.ops) + 1):
            for name, draw in DRAWS.items():
                state = after_cut(self.before, self.ops[:count], draw(count))
                key = (*state.partitions.values(), *sorted(state.esp.items()))
                mark = (hash(key),)
                if mark not in seen:
                    seen.add(mark)
                    yield f"{count} of {len(self.ops)} operations, {name}", state


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Maker]:
    return makers_in(tmp_path_factory.mktemp("makers"))


@pytest.mark.parametrize("lived", [False, True], ids=["fresh", "two good slots"])
@pytest.mark.parametrize("loader", LOADERS)
def test_cut_after_every_write_boots_a_whole_slot(makers: dict[str, Maker], tmp_path: Path, loader: str,
                                                  lived: bool) -> None:
    recording = Recording(*prepared(makers[loader], tmp_path, lived=lived))
    slots = set()
    count = 0
    for name, state in recording.states():
        try:
            check_offered(state)
            slots.add(boot_until_healthy(state)[0])
        except (Unverified, Lost) as error:
            raise AssertionError(f"cut after {name}: {error}") from error
        count += 1
    assert slots == {recording.plan.running, recording.plan.slot}, "the cuts reach from before the commit to after it"
    assert count > len(recording.ops)
    kinds = {op.kind for op in recording.ops}
    assert {"write", "flush", "record"} <= kinds


@pytest.mark.parametrize("lived", [False, True], ids=["fresh", "two good slots"])
@pytest.mark.parametrize("loader", LOADERS)
def test_update_that_was_cut_is_made_again(makers: dict[str, Maker], tmp_path: Path, loader: str, lived: bool) -> None:
    recording = Recording(*prepared(makers[loader], tmp_path, lived=lived))
    rig, goal = recording.rig, {item.part: item.root for item in recording.plan.parts}
    again = 0
    for count in range(len(recording.ops) + 1):
        rig.take(after_cut(recording.before, recording.ops[:count], drawn(f"again {count}")))
        rig.up()
        if rig.roots != goal:
            assert rig.install(recording.stick).installed
            rig.up()
            again += 1
        assert rig.roots == goal, f"after a cut at operation {count}"
        assert rig.install(recording.stick).plan is None
        assert loader != SYSTEMD_BOOT or not lost_on(rig.disk_state())
    assert again > len(recording.ops) // 2


@pytest.mark.parametrize("bug", BUGS)
def test_planted_bug_is_found(makers: dict[str, Maker], tmp_path: Path, bug: str) -> None:
    planted = BUGS[bug]
    recording = Recording(*prepared(makers[planted.loader], tmp_path, lived=True), bug=planted)
    with pytest.raises((Unverified, Lost)):
        for _, state in recording.states():
            check_offered(state)
            boot_until_healthy(state)
