"""Files appear whole or not at all; folders have one owner at a time."""

from __future__ import annotations

import errno
import os
import signal
import threading
from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.files import FolderLock, atomic_file, require_space, scratch_folder, uninterrupted, write_atomic


def test_file_has_the_new_bytes_and_mode_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_atomic(tmp_path / "deep" / "file", b"new", mode=0o640)
    finally:
        os.umask(before)
    assert (tmp_path / "deep" / "file").read_bytes() == b"new"
    assert (tmp_path / "deep" / "file").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("end", [KeyboardInterrupt(), ValueError("bug"), OSError(errno.EIO, "Input/output error")])
def test_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, end: BaseException) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises((type(end), HostError)), atomic_file(path) as stream:
        stream.write(b"half")
        raise end
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_full_disk_is_told_with_the_path(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="no space left") as caught, atomic_file(tmp_path / "file"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert str(tmp_path) in caught.value.message
    assert "df" in (caught.value.hint or "")


def test_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot write"):
        write_atomic(tmp_path / "file" / "below", b"")


def test_lack_of_space_is_told_before_anything_is_written(tmp_path: Path) -> None:
    require_space(tmp_path / "not" / "there", 1, what="build")
    with pytest.raises(HostError, match=r"cannot build in .*: it needs .* GiB, the disk has"):
        require_space(tmp_path, 1 << 60, what="build")
    assert not list(tmp_path.iterdir())


def test_second_imagekit_in_a_folder_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(HostError, match="another imagekit works in it"), FolderLock(tmp_path):
        pass
    with FolderLock(tmp_path):
        pass


def test_process_that_may_wait_says_so_once_and_goes_on_when_it_can(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    first.__enter__()
    told: list[str] = []

    def wait() -> None:
        told.append("waiting")
        threading.Timer(0.05, first.__exit__, (None, None, None)).start()

    with FolderLock(tmp_path, wait=True, told=wait):
        assert told == ["waiting"]


def test_lock_is_free_after_an_interruption(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), FolderLock(tmp_path):
        raise KeyboardInterrupt
    with FolderLock(tmp_path):
        pass


def test_scratch_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path) as folder:
        (folder / "x").touch()
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


def test_interruption_waits_for_the_end_of_the_block_beside_other_threads(tmp_path: Path) -> None:
    over = threading.Event()
    beside = threading.Thread(target=over.wait)
    beside.start()
    done = []
    try:
        with pytest.raises(KeyboardInterrupt), uninterrupted():
            os.kill(os.getpid(), signal.SIGINT)
            for number in range(100_000):
                done.append(number)
    finally:
        over.set()
        beside.join()
    assert len(done) == 100_000
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_device_or_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/null")):
        with pytest.raises(HostError, match="it is no file, and would be replaced by one"):
            write_atomic(path, b"x")
    assert (tmp_path / "pipe").is_fifo()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
