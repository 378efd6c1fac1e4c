"""The archive of the initial RAM disk, byte by byte."""

from __future__ import annotations

from imagekit.packages.cpio import CHARACTER, DIRECTORY, LINK, REGULAR, CpioEntry, encode_cpio


def fields(archive: bytes, at: int) -> list[int]:
    return [int(archive[at + 6 + 8 * number:at + 14 + 8 * number], 16) for number in range(13)]


def names(archive: bytes) -> list[tuple[str, int]]:
    found, at = [], 0
    while True:
        values = fields(archive, at)
        name = archive[at + 110:at + 110 + values[11] - 1].decode()
        if name == "TRAILER!!!":
            return found
        found.append((name, values[1]))
        at += 110 + values[11]
        at += -at % 4 + values[6]
        at += -at % 4


def test_parents_come_before_their_content_once() -> None:
    archive = encode_cpio([CpioEntry(path="a/b/c", content=b"x"), CpioEntry(path="a/b/d", content=b"y")])
    assert names(archive) == [("a", DIRECTORY | 0o755), ("a/b", DIRECTORY | 0o755), ("a/b/c", REGULAR | 0o644),
                              ("a/b/d", REGULAR | 0o644)]


def test_kinds_and_devices_are_written() -> None:
    archive = encode_cpio([CpioEntry(path="sh", kind=LINK, mode=0o777, content=b"busybox"),
                           CpioEntry(path="console", kind=CHARACTER, mode=0o600, device=(5, 1))])
    assert names(archive) == [("sh", LINK | 0o777), ("console", CHARACTER | 0o600)]
    second = archive.index(b"070701", 6)
    assert fields(archive, second)[9:11] == [5, 1]


def test_everything_is_padded_and_timeless() -> None:
    archive = encode_cpio([CpioEntry(path="odd", content=b"12345")])
    assert len(archive) % 512 == 0
    assert fields(archive, 0)[2:4] == [0, 0]
    assert fields(archive, 0)[5] == 0
    assert archive == encode_cpio([CpioEntry(path="odd", content=b"12345")])
