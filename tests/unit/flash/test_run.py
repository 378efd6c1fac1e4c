"""Writing to media in memory: order, what stays of older content, many at once, reading back."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
import zstandard

from imagekit.disk import gpt
from imagekit.disk.bmap import digest_ranges, encode_bmap
from imagekit.disk.zstd_frames import compress_frames
from imagekit.errors import DocumentError, TrustError
from imagekit.flash.job import How
from imagekit.flash.run import flash
from imagekit.host.clock import SystemClock
from imagekit.host.devices import SystemInventory
from imagekit.plan.flash import HEAD
from imagekit.plan.flash_events import Phase, Result, Started, State
from imagekit.testing.blocks import STALE, MemoryTarget
from imagekit.units import MIB

from .conftest import PARTS, SIZE, USED, Bench, write_image


def same_where_mapped(bench: Bench, target: MemoryTarget) -> bool:
    content = bench.content()
    return all(target.content[start:end] == content[start:end] for start, end in USED)


def test_image_is_written_and_read_back(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE)
    outcome = bench.write(target)
    assert [(item.result, item.state) for item in outcome.ended] == [(Result.DONE, State.VERIFIED)]
    assert same_where_mapped(bench, target)
    assert gpt.decode(io.BytesIO(target.content)).problems == ()
    assert [event.phase for event in bench.heard.events if isinstance(event, Started)] == [
        Phase.WIPE, Phase.WRITE, Phase.TABLES, Phase.VERIFY]


def test_unmapped_middle_of_a_partition_is_left_alone_and_edges_are_cleared(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE)
    bench.write(target)
    start, end = PARTS[1]
    assert not any(target.content[USED[1][1]:start + MIB])
    assert not any(target.content[end - MIB:end])
    assert target.content[start + MIB:USED[2][0]] == STALE * (USED[2][0] - start - MIB)


def test_first_block_is_written_last_and_what_lies_before_it_is_flushed(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE)
    bench.write(target)
    done = target.log[:target.log.index(("forget", 0, 0))]
    assert done[-3:] == [("flush", 0, 0), ("write", 0, 4096), ("flush", 0, 0)]
    data = next(index for index, entry in enumerate(done) if entry[:2] == ("write", USED[0][0]) and entry[2] > MIB)
    assert ("write", 0, HEAD) in done[:data]
    assert ("flush", 0, 0) in done[:data]


def test_no_table_is_on_the_medium_before_the_end(bench: Bench) -> None:
    seen: list[bool] = []
    target = MemoryTarget(size=SIZE, content=bytearray(bench.content()))

    def look(offset: int) -> None:
        if MIB < offset < SIZE - MIB:
            try:
                gpt.decode(io.BytesIO(target.content))
                seen.append(True)
            except Exception:
                seen.append(False)

    target.on_write = look
    bench.write(target)
    assert seen
    assert not any(seen)


@pytest.mark.parametrize("update", [False, True])
def test_old_tables_are_gone_for_good_before_anything_else_changes(bench: Bench, update: bool) -> None:
    """What a power cut leaves, where a medium keeps one late write and forgets all others since the last flush."""
    target = MemoryTarget(size=SIZE + 5 * MIB)
    bench.write(target)
    for start, end in USED:
        target.content[start:end] = bytes(end - start)
    durable, readable = bytearray(target.content), []

    def look(offset: int) -> None:
        if HEAD <= offset < SIZE - MIB:
            try:
                readable.append(bool(gpt.decode(io.BytesIO(durable))))
            except DocumentError:
                readable.append(False)

    target.on_write = look
    target.on_flush = lambda: durable.__setitem__(slice(None), target.content)
    assert bench.write(target, update=update).ended[0].state is State.VERIFIED
    assert readable
    assert not any(readable)


def test_backup_table_lies_at_the_end_of_a_larger_card(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE + 5 * MIB)
    outcome = bench.write(target)
    assert outcome.ended[0].state is State.VERIFIED
    table = gpt.decode(io.BytesIO(target.content))
    assert (table.disk_size, table.problems) == (target.size, ())
    assert table.partitions == gpt.decode(io.BytesIO(bench.content())).partitions


def test_eight_media_get_the_image_from_one_reading(bench: Bench) -> None:
    targets = [MemoryTarget(size=SIZE + index * MIB) for index in range(8)]
    outcome = bench.write(*targets)
    assert {item.state for item in outcome.ended} == {State.VERIFIED}
    assert all(same_where_mapped(bench, target) for target in targets)


@pytest.mark.parametrize("kind", ["frames", "one-frame", "xz", "gz"])
def test_compressed_image_gives_the_same_medium(bench: Bench, tmp_path: Path, kind: str) -> None:
    import gzip
    import lzma

    from imagekit.flash.source import FramedSource, PlainSource, opened

    raw = bench.content()
    packed = tmp_path / f"disk.img.{'zst' if 'frame' in kind else kind}"
    packed.write_bytes({
        "frames": lambda: b"".join(compress_frames(raw[at:at + 3_000_000] for at in range(0, len(raw), 3_000_000))),
        "one-frame": lambda: zstandard.ZstdCompressor(write_content_size=False).compress(raw),
        "xz": lambda: lzma.compress(raw, preset=0), "gz": lambda: gzip.compress(raw, 1)}[kind]())
    with opened(packed, tmp_path / "scratch") as source:
        assert isinstance(source, FramedSource if kind == "frames" else PlainSource)
        target = MemoryTarget(size=SIZE)
        outcome = Bench(path=packed, heard=bench.heard, opened=source).write(target)
    assert outcome.ended[0].state is State.VERIFIED
    assert same_where_mapped(bench, target)
    assert not list((tmp_path / "scratch").glob("*"))


def test_image_without_a_block_map_is_written_whole(bench: Bench) -> None:
    bench.path.with_name("disk.img.bmap").unlink()
    target = MemoryTarget(size=SIZE)
    outcome = bench.write(target)
    assert outcome.ended[0].state is State.VERIFIED
    assert bytes(target.content) == bench.content()


def test_block_map_of_another_image_is_refused_by_its_size(bench: Bench) -> None:
    with bench.path.open("rb") as image:
        ranges = digest_ranges(image, [(0, MIB)])
    bench.path.with_name("disk.img.bmap").write_bytes(encode_bmap(SIZE + 4096, ranges))
    with pytest.raises(DocumentError, match=f"it is for an image of {SIZE + 4096} bytes"):
        bench.plan()


@pytest.mark.parametrize(("kept", "why"), [(0, "maps nothing"), (1, "leaves out the image's partition table")])
def test_block_map_that_leaves_out_what_a_medium_needs_is_refused(bench: Bench, kept: int, why: str) -> None:
    with bench.path.open("rb") as image:
        ranges = digest_ranges(image, [USED[0]][:kept])
    bench.path.with_name("disk.img.bmap").write_bytes(encode_bmap(SIZE, ranges))
    with pytest.raises(DocumentError, match=why):
        bench.plan()


def test_file_that_held_something_else_keeps_nothing_of_it(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "out.img"
    path.write_bytes(STALE * (SIZE + MIB))
    device = SystemInventory().device(path)
    with contextlib.closing(SystemInventory().open(device, writable=True)) as target:
        outcome = flash(bench.plan(device), bench.source(), [target], how=How(), clock=SystemClock(),
                        listener=bench.heard, reopen=bench.source)
    assert outcome.ended[0].state is State.VERIFIED
    assert path.read_bytes() == bench.content()


def test_image_that_is_not_its_block_map_is_refused_and_no_medium_boots(bench: Bench) -> None:
    with bench.path.open("r+b") as image:
        image.seek(USED[2][0] + 7)
        image.write(b"changed")
    targets = [MemoryTarget(size=SIZE), MemoryTarget(size=SIZE)]
    outcome = bench.write(*targets)
    assert isinstance(outcome.source_error, TrustError)
    assert {(item.result, item.state) for item in outcome.ended} == {(Result.FAILED, State.NOT_BOOTABLE)}
    assert not any(target.content[:HEAD].strip(b"\0") for target in targets)


def test_update_writes_only_what_differs(bench: Bench, tmp_path: Path) -> None:
    target = MemoryTarget(size=SIZE + MIB)
    bench.write(target)
    with bench.path.open("r+b") as image:
        image.seek(USED[2][0] + 3 * MIB)
        image.write(b"another byte")
    other = tmp_path / "other.img"
    write_image(other, seed=1)
    before = target.written
    bench.path.with_name("disk.img.bmap").unlink()  # every range must be compared
    outcome = bench.write(target, update=True)
    assert outcome.ended[0].state is State.VERIFIED
    assert target.content[USED[2][0] + 3 * MIB:][:12] == b"another byte"
    assert target.written - before < 26 * MIB  # zeros in what was unmapped before, and one run of 64 KiB


def test_update_of_what_is_up_to_date_writes_nothing(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE + MIB)
    bench.write(target)
    before = target.written
    outcome = bench.write(target, update=True)
    assert (outcome.ended[0].state, target.written) == (State.VERIFIED, before)


def test_update_of_one_changed_range_writes_its_runs_and_the_tables(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE)
    bench.write(target)
    target.content[USED[2][0] + 3 * MIB] ^= 1
    before = target.written
    outcome = bench.write(target, update=True)
    assert outcome.ended[0].state is State.VERIFIED
    assert same_where_mapped(bench, target)
    assert target.written - before <= 64 * 1024 + 2 * HEAD + 64 * 1024


def test_resumed_medium_is_not_written_again_where_it_was_durable(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE)
    bench.write(target)
    target.log.clear()
    outcome = bench.write(target, resume={"/dev/sdx": 3})
    assert outcome.ended[0].state is State.VERIFIED
    starts = [offset for what, offset, length in target.log if what == "write" and length > MIB]
    assert USED[0][0] not in starts
    assert USED[2][0] in starts


def test_resumed_medium_that_is_another_one_is_written_whole(bench: Bench) -> None:
    target = MemoryTarget(size=SIZE)
    outcome = bench.write(target, resume={"/dev/sdx": 3}, verify=False)
    assert outcome.ended[0].state is State.COMPLETE
    assert same_where_mapped(bench, target)


@pytest.mark.parametrize("how", [{"update": True}, {"resume": {"/dev/sdx": 3}}])
def test_place_that_cannot_be_read_is_written(bench: Bench, how: dict[str, object]) -> None:
    target = MemoryTarget(size=SIZE)
    bench.write(target)
    target.content[USED[2][0] + MIB] ^= 1
    target.unreadable = frozenset({USED[2][0] + MIB})
    outcome = bench.write(target, **how)
    assert outcome.ended[0].state is State.VERIFIED
    assert same_where_mapped(bench, target)
