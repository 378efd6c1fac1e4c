"""Refusals and full disks as a user meets them: real devices, the program as it is started, its exit codes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagekit.disk import mbr
from imagekit.host.devices import SystemInventory
from imagekit.plan.flash_device import Allowed, Code, Demand, RefusedError, judge
from imagekit.units import MIB
from tests.loops import looped, need_loops
from tests.pages import desk, ran
from tests.tools.conftest import RunTool
from tests.unit.flash.conftest import SIZE, write_image

NOBODY = 65534
OLD = b"\x5a" * 4096


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    """`imagekit` as a program, and `disk.img`."""
    write_image(tmp_path / "disk.img")
    return desk(tmp_path, trust=tmp_path)


def write(target: Path, *more: str, env: dict[str, str], cwd: Path) -> tuple[int, list[str]]:
    """`flash write` where nobody can be asked: how it ended, and the codes it was refused by."""
    line = f"imagekit flash write disk.img {target} --foreign --json {' '.join(more)} 2>err"
    status, said = ran(line, env=env, cwd=cwd)
    print(said, (cwd / "err").read_text())
    found: list[str] = json.loads(said.splitlines()[-1]).get("refusals", [])
    return status, found


def confirmed(target: Path, *, env: dict[str, str], cwd: Path) -> tuple[str, str]:
    """The words that take the place of the question."""
    plan = json.loads(ran(f"imagekit flash plan disk.img {target} --foreign --json 2>err", env=env, cwd=cwd)[1])
    return "--confirm", str(plan["token"])


@pytest.mark.parametrize(("more", "size", "sector", "writable", "code"), [
    ((), SIZE - MIB, 512, True, Code.TOO_SMALL),
    (("--serial", "ANOTHER"), SIZE, 512, True, Code.NOT_ALLOWED),
    ((), SIZE, 4096, True, Code.SECTOR_SIZE),
    ((), SIZE, 512, False, Code.READ_ONLY),
])
def test_loop_device_that_is_refused_keeps_what_it_has(more: tuple[str, ...], size: int, sector: int, writable: bool,
                                                       code: Code, env: dict[str, str], tmp_path: Path) -> None:
    need_loops()
    card = tmp_path / "card"
    card.write_bytes(OLD)
    with looped(card, size=size, sector=sector, writable=writable) as loop:
        assert write(loop.path, *more, env=env, cwd=tmp_path) == (7, [code])
    assert card.read_bytes() == OLD.ljust(size, b"\0")


def test_image_with_an_mbr_that_counts_in_512_is_refused_on_a_disk_of_4096(env: dict[str, str],
                                                                           tmp_path: Path) -> None:
    need_loops()
    table = mbr.Table(signature=7, disk_size=SIZE, partitions=(
        mbr.Partition(index=1, type=0x0C, start=MIB, end=SIZE - MIB),))
    image = bytearray(SIZE)
    for offset, content in mbr.encode(table):
        image[offset:offset + len(content)] = content
    (tmp_path / "disk.img.bmap").unlink()
    (tmp_path / "disk.img").write_bytes(image)
    with looped(tmp_path / "card", size=SIZE, sector=4096) as loop:
        assert write(loop.path, env=env, cwd=tmp_path) == (7, [Code.SECTOR_SIZE])
    with looped(tmp_path / "card", size=SIZE) as loop:
        assert write(loop.path, *confirmed(loop.path, env=env, cwd=tmp_path), env=env, cwd=tmp_path)[0] == 0


def as_nobody(work: Callable[[], list[str]]) -> list[str]:
    """What a function gives to a user without rights."""
    there, back = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            os.write(back, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(back)
    with os.fdopen(there, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    found: list[str] = json.loads(said)
    return found


def test_device_of_root_is_refused_to_others(tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=MIB) as loop:
        ours = SystemInventory().device(loop.path)
        assert ours.permitted

        def judged() -> list[str]:
            return [item.code for item in judge(SystemInventory().device(loop.path), Demand(), Allowed())]

        def opened() -> list[str]:
            try:
                SystemInventory().open(ours, writable=True).close()
            except RefusedError as error:
                return [item.code for item in error.refusals]
            return []

        assert as_nobody(judged) == [Code.PERMISSION]
        assert as_nobody(opened) == [Code.PERMISSION]


# ---- the disk that records are kept on is full

@contextmanager
def small_disk_of_records(folder: Path, run_tool: RunTool) -> Iterator[Path]:
    """A file system with room for one record, where records are kept."""
    point = folder / "state" / "imagekit" / "flash"
    point.mkdir(parents=True)
    run_tool("mount", "-t", "tmpfs", "-o", "size=4096", "none", point)
    try:
        yield point
    finally:
        run_tool("umount", point)


def test_full_disk_of_records_stops_all_before_the_first_byte(env: dict[str, str], tmp_path: Path,
                                                              run_tool: RunTool) -> None:
    need_loops()
    card = tmp_path / "card"
    card.write_bytes(OLD)
    with looped(card, size=SIZE) as loop, small_disk_of_records(tmp_path, run_tool) as full:
        word = confirmed(loop.path, env=env, cwd=tmp_path)
        (full / "filling").write_bytes(bytes(4096))
        assert write(loop.path, *word, env=env, cwd=tmp_path)[0] == 6
    assert card.read_bytes() == OLD.ljust(SIZE, b"\0")


def test_disk_of_records_that_is_full_in_the_end_is_told_and_the_card_is_whole(env: dict[str, str], tmp_path: Path,
                                                                               run_tool: RunTool) -> None:
    """The record that was begun stays: nobody takes this card for one that was never touched."""
    need_loops()
    card = tmp_path / "card"
    with looped(card, size=SIZE) as loop, small_disk_of_records(tmp_path, run_tool) as full:
        word = confirmed(loop.path, env=env, cwd=tmp_path)
        assert write(loop.path, *word, env=env, cwd=tmp_path)[0] == 6
        record, = full.glob("*.json")
        assert json.loads(record.read_text())["result"] == "begun"
    status, said = ran("imagekit flash verify disk.img card --foreign", env=env, cwd=tmp_path)
    assert status == 0, said


# ---- the disk that a file is written to

@contextmanager
def small_disk(folder: Path, size: int, run_tool: RunTool) -> Iterator[Path]:
    folder.mkdir()
    run_tool("mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder)
    try:
        yield folder
    finally:
        run_tool("umount", folder)


def test_file_needs_room_for_what_is_written_and_not_for_its_holes(env: dict[str, str], tmp_path: Path,
                                                                   run_tool: RunTool) -> None:
    need_loops()
    with small_disk(tmp_path / "disk", 8 * MIB, run_tool) as disk:  # the image: 32 MiB, of which 5 are mapped
        one, two = disk / "one.img", disk / "two.img"
        line = f"imagekit flash write disk.img {one} {two} --foreign --json 2>err"
        assert ran(line, env=env, cwd=tmp_path)[0] == 6
        assert "it needs 10.1 MiB, the disk has 8 MiB free" in (tmp_path / "err").read_text()
        assert not list(disk.iterdir())
        assert write(one, env=env, cwd=tmp_path)[0] == 0
        word = confirmed(one, env=env, cwd=tmp_path)
        assert write(one, *word, env=env, cwd=tmp_path)[0] == 0  # what it has now, it gives back


def test_file_that_was_made_is_gone_again_when_another_target_is_refused(env: dict[str, str], tmp_path: Path) -> None:
    used, new = tmp_path / "used.img", tmp_path / "new.img"
    used.write_bytes(OLD)
    word = " ".join(confirmed(Path(f"{new} {used}"), env=env, cwd=tmp_path))
    held = SystemInventory().open(SystemInventory().device(used), writable=True)
    try:
        assert write(Path(f"{new} {used}"), word, env=env, cwd=tmp_path) == (7, [Code.IN_USE])
    finally:
        held.close()
    assert not new.exists()
    assert used.read_bytes() == OLD
    assert write(Path(f"{new} {used}"), word, env=env, cwd=tmp_path)[0] == 0


def test_file_that_is_not_there_cannot_be_verified_and_is_not_made(env: dict[str, str], tmp_path: Path) -> None:
    status, _ = ran("imagekit flash verify disk.img absent.img --foreign 2>err", env=env, cwd=tmp_path)
    assert status == 6
    assert "there is no such file" in (tmp_path / "err").read_text()
    assert not (tmp_path / "absent.img").exists()


def test_second_station_is_refused_and_the_card_is_the_first_ones(env: dict[str, str], tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card", size=SIZE) as loop:
        word = confirmed(loop.path, env=env, cwd=tmp_path)
        first = SystemInventory().open(SystemInventory().device(loop.path), writable=True)
        try:
            assert write(loop.path, *word, env=env, cwd=tmp_path) == (7, [Code.IN_USE])
        finally:
            first.close()
        assert not any((tmp_path / "card").read_bytes())
        assert write(loop.path, *word, env=env, cwd=tmp_path)[0] == 0
