"""Asking an eMMC for its register. That a real kernel answers is shown by tests/boot/test_emmc_guest.py."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from imagekit.host.mmc import read_ext_csd
from tests.loops import looped, need_loops


def test_what_is_no_emmc_does_not_answer(tmp_path: Path) -> None:
    path = tmp_path / "card.img"
    path.write_bytes(bytes(4096))
    with pytest.raises(OSError, match="Inappropriate ioctl") as caught:
        read_ext_csd(path)
    assert caught.value.errno == errno.ENOTTY
    with pytest.raises(FileNotFoundError):
        read_ext_csd(tmp_path / "absent")


def test_another_block_device_does_not_answer(tmp_path: Path) -> None:
    need_loops()
    with looped(tmp_path / "card.img", size=1 << 20) as loop, pytest.raises(OSError, match="In") as caught:
        read_ext_csd(loop.path)
    assert caught.value.errno in (errno.ENOTTY, errno.EINVAL)  # by kernel
