"""Which boot partition an eMMC boots from."""

from __future__ import annotations

import pytest

from imagekit.errors import HostError, UsageError
from imagekit.flash.emmc import boot_from
from imagekit.plan.flash_device import Kind
from imagekit.testing.blocks import card
from imagekit.testing.fakes import FakeTools


@pytest.mark.parametrize(("path", "number"), [("/dev/mmcblk1boot0", "1"), ("/dev/mmcblk1boot1", "2")])
def test_chip_is_told_the_number_of_the_boot_partition(path: str, number: str) -> None:
    tools = FakeTools(mmc=b"")
    boot_from(tools, card(path, kind=Kind.EMMC_BOOT))
    assert [call.args for call in tools.calls] == [("bootpart", "enable", number, "1", "/dev/mmcblk1")]


def test_another_disk_is_no_boot_partition() -> None:
    with pytest.raises(UsageError, match="no boot partition"):
        boot_from(FakeTools(mmc=b""), card())


def test_missing_program_is_named() -> None:
    with pytest.raises(HostError, match="mmc"):
        boot_from(FakeTools(), card("/dev/mmcblk1boot0", kind=Kind.EMMC_BOOT))
