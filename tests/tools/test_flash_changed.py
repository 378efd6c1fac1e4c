"""A card that is changed in its reader, which keeps its node and all descriptors: loop devices that become others."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from imagekit.flash.buffers import Buffer
from imagekit.flash.medium import Medium
from imagekit.host.devices import SystemInventory
from imagekit.plan.flash_device import Code, RefusedError
from imagekit.units import MIB
from tests.loops import attach, changed, detach, grown, looped, need_loops
from tests.pages import desk, typed
from tests.unit.flash.conftest import SIZE, write_image


def test_medium_that_becomes_another_while_the_question_waits_is_left_alone(tmp_path: Path) -> None:
    need_loops()
    write_image(tmp_path / "disk.img")
    with looped(tmp_path / "card", size=SIZE) as loop:
        def change() -> str:
            grown(loop, SIZE + MIB)
            return f"erase {loop.path.name}\n"

        status, said = typed(f"imagekit flash write disk.img {loop.path} --foreign", ("to go on", change),
                             env=desk(tmp_path, trust=tmp_path), cwd=tmp_path)
    assert status == 7, said
    assert f"cannot write {loop.path}: identity-changed: size was {SIZE}, is {SIZE + MIB}" in said
    assert "of the one that was there before: it is as it was" in said
    assert not any((tmp_path / "card").read_bytes())
    record, = (tmp_path / "state/imagekit/flash").glob("*.json")
    found = json.loads(record.read_text())
    assert (found["result"], found["state"], found["written"]) == ("failed", "untouched", 0)


def test_medium_that_was_put_in_later_is_neither_written_nor_read(tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=SIZE) as loop:
        device = SystemInventory().device(loop.path)
        held = SystemInventory().open(device, writable=True)
        try:
            view = Buffer(4096).take(4096)
            view[:] = b"first".ljust(4096)
            held.write(0, view)
            grown(loop, SIZE + MIB)
            view[:] = bytes(4096)
            for call in (lambda: held.write(0, view), held.flush, lambda: held.read_into(0, view)):
                with pytest.raises(OSError, match="Stale") as caught:
                    call()
                assert caught.value.errno == errno.ESTALE
        finally:
            held.close()
    assert (tmp_path / "card").read_bytes()[:5] == b"first"


def test_medium_of_the_same_size_is_told_by_its_disk_sequence_and_not_verified(tmp_path: Path) -> None:
    need_loops()
    (tmp_path / "card").write_bytes(bytes(SIZE))
    (tmp_path / "other").write_bytes(bytes(SIZE))
    loop = attach(tmp_path / "card", writable=False)
    try:
        device = SystemInventory().device(loop.path)
        held = SystemInventory().open(device, writable=False)
        try:
            medium = Medium(device, held)
            medium.check()
            before = held.identity().diskseq
            loop = changed(loop, tmp_path / "other")
            if held.identity().diskseq == before:
                pytest.skip("this kernel does not count the change of a loop device's file")
            with pytest.raises(RefusedError, match="disk sequence was") as caught:
                medium.read(0, memoryview(bytearray(4096)))
            assert caught.value.refusals[0].code is Code.IDENTITY_CHANGED
        finally:
            held.close()
    finally:
        detach(loop)
