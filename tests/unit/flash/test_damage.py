"""How closely a medium is looked at that could not be verified."""

from __future__ import annotations

import random
from pathlib import Path

from imagekit.flash.damage import find_damage, work
from imagekit.flash.medium import Medium
from imagekit.plan.flash_damage import Pattern
from imagekit.testing.blocks import Heard, MemoryTarget, card
from imagekit.units import MIB

from .conftest import SIZE, USED, Bench


class Listening(MemoryTarget):
    """A medium that remembers what was read of it."""

    def read_into(self, offset: int, buffer: memoryview) -> int:
        self.log.append(("read", offset, len(buffer)))
        return MemoryTarget.read_into(self, offset, buffer)


def test_damage_is_counted_only_so_far_as_tells_its_pattern_and_told_to_the_end(bench: Bench) -> None:
    start = USED[2][0]
    target = Listening(size=SIZE, content=bytearray(bench.content()))
    target.content[start + 2 * MIB:start + 3 * MIB] = b"\x5a" * MIB
    target.content[start + MIB + 7] ^= 1
    plan, told = bench.plan(card(size=SIZE)), [0]
    wrong = [(start, start + 3 * MIB), (USED[3][0], USED[3][1])]
    damage = find_damage(Medium(card(size=SIZE), target), wrong, plan, (), bench.source, told.append, behind=MIB)
    assert (damage.first, damage.blocks, damage.pattern, damage.least) == (
        start + MIB + 7, 1, Pattern.CHANGED, True)
    assert target.log == [("read", start, MIB), ("read", start + MIB, MIB)]
    assert sum(told) == work(wrong, plan) - plan.image.amount  # it was not looked for in the image
    damage = find_damage(Medium(card(size=SIZE), target), wrong, plan, (), bench.source, told.append)
    assert (damage.blocks, damage.least) == (257, False)


def test_dead_cells_are_no_fake_though_the_image_has_erased_blocks(tmp_path: Path) -> None:
    """A run of them looks as if it belonged to any other run."""
    content = bytearray(random.Random(5).randbytes(4 * MIB))
    content[MIB:MIB + 8 * 4096] = b"\xff" * 8 * 4096
    (tmp_path / "flash.img").write_bytes(content)
    bench = Bench(path=tmp_path / "flash.img", heard=Heard())
    dead = bytearray(content)
    dead[3 * MIB:3 * MIB + 6 * 4096] = b"\xff" * 6 * 4096
    device = card(size=4 * MIB)
    damage = find_damage(Medium(device, MemoryTarget(size=4 * MIB, content=dead)), [(0, 4 * MIB)],
                         bench.plan(device), (), bench.source, lambda _: None)
    assert (damage.first, damage.blocks, damage.pattern, damage.distance) == (3 * MIB, 6, Pattern.STALE, None)
