"""A disk in versions: what is read is what the versions say, and what was read is known."""

from __future__ import annotations

from imagekit.disk.writelog import Kind, LogEntry
from imagekit.powercut.disk import DISCARDED, CutDisk, span_of


def made() -> CutDisk:
    """Four sectors of image on a disk of eight, and a log with sectors 1 to 4."""
    image = b"".join(bytes([number]) * 512 for number in range(1, 5))
    log = b"".join(bytes([0xF0 + number]) * 512 for number in range(5))
    return CutDisk(image, log, size=8 * 512)


def test_image_reads_as_it_is_and_zeros_behind_it() -> None:
    disk = made()
    assert disk.read(510, 4) == b"\1\1\2\2"
    assert disk.read(4 * 512 - 1, 3) == b"\4\0\0"
    assert disk.read(8 * 512 - 1, 100) == b"\0"


def test_written_discarded_and_torn_sectors_read_as_such() -> None:
    disk = made()
    disk.apply(LogEntry(kind=Kind.WRITE, first=1, count=3, at=1), stop=2)
    disk.apply(LogEntry(kind=Kind.DISCARD, first=0, count=1))
    assert [disk.read(sector * 512, 1)[0] for sector in range(4)] == [0, 0xF1, 0xF2, 4]
    torn = disk.torn(3, 2)
    with disk.with_versions([(2, torn), (0, DISCARDED)]):
        assert disk.read(2 * 512 + 254, 4) == b"\xf3\xf3\xf2\xf2"
        assert disk.is_torn(torn)
    assert disk.read(2 * 512, 512) == b"\xf2" * 512
    assert not disk.is_torn(DISCARDED)


def test_what_was_read_is_known_until_it_is_forgotten() -> None:
    disk = made()
    stream = disk.stream()
    stream.seek(700)
    stream.read(1000)
    assert bytes(disk.seen) == bytes([0, 1, 1, 1, 0, 0, 0, 0])
    disk.forget_seen()
    assert not any(disk.seen)


def test_once_asks_again_only_when_its_sectors_changed() -> None:
    disk = made()
    asked = []

    def ask() -> int:
        asked.append(len(asked))
        return asked[-1]

    spans = (span_of(512, 1025),)
    assert spans == ((1, 3),)
    assert [disk.once("x", spans, ask), disk.once("x", spans, ask)] == [0, 0]
    disk.apply(LogEntry(kind=Kind.WRITE, first=3, count=1, at=1))
    assert disk.once("x", spans, ask) == 0
    disk.apply(LogEntry(kind=Kind.WRITE, first=2, count=1, at=1))
    assert disk.once("x", spans, ask) == 1
    assert bytes(disk.seen[1:3]) == b"\1\1"


def test_state_is_made_from_the_log_and_taken_back() -> None:
    disk = made()
    log = (LogEntry(kind=Kind.WRITE, first=0, count=1, at=1), LogEntry(kind=Kind.WRITE, first=1, count=2, at=2))
    with disk.as_written(log, 1, 1, [(5, 4)]):
        assert [disk.read(sector * 512, 1)[0] for sector in (0, 1, 2, 5)] == [0xF1, 0xF2, 3, 0xF4]
    assert disk.read(0, 1) == b"\1"


def test_answer_is_recalled_while_all_that_it_read_is_the_same() -> None:
    disk = made()
    asked = []

    def ask() -> int:
        asked.append(1)
        return disk.read(3 * 512, 1)[0] if disk.read(0, 1) == b"\1" else 0

    assert [disk.recalled("x", ask), disk.recalled("x", ask), len(asked)] == [4, 4, 1]
    with disk.with_versions([(0, 1)]):
        assert [disk.recalled("x", ask), disk.recalled("x", ask), len(asked)] == [0, 0, 2]
        with disk.with_versions([(3, 2)]):
            assert [disk.recalled("x", ask), len(asked)] == [0, 2], "it read nothing of sector 3"
    with disk.with_versions([(3, 2)]):
        assert [disk.recalled("x", ask), len(asked)] == [0xF2, 3]
    disk.forget_seen()
    assert disk.recalled("x", ask) == 4
    assert bytes(disk.seen[:4]) == b"\1\0\0\1"
