"""What an eMMC's register says it boots from."""

from __future__ import annotations

import pytest

from imagekit.disk.ext_csd import EXT_CSD_SIZE, PARTITION_CONFIG, BootArea, boot_area


def register(config: int) -> bytes:
    """EXT_CSD with every other byte set to what must not be taken."""
    other = bytearray(b"\x10" * EXT_CSD_SIZE)
    other[179] = config
    return bytes(other)


@pytest.mark.parametrize(("config", "area"), [
    (0x00, BootArea.NONE), (0x08, BootArea.BOOT0), (0x10, BootArea.BOOT1), (0x38, BootArea.USER),
    (0x48, BootArea.BOOT0), (0x09, BootArea.BOOT0), (0x0A, BootArea.BOOT0), (0x41, BootArea.NONE),
    (0xFF, BootArea.USER),
])
def test_boot_area_is_told_whatever_is_acknowledged_or_accessed(config: int, area: BootArea) -> None:
    assert boot_area(register(config)) is area


@pytest.mark.parametrize("value", [3, 4, 5, 6])
def test_reserved_value_is_not_guessed_at(value: int) -> None:
    assert boot_area(register(value << 3)) is None


@pytest.mark.parametrize("size", [0, PARTITION_CONFIG, EXT_CSD_SIZE - 1, EXT_CSD_SIZE + 1])
def test_register_of_another_size_tells_nothing(size: int) -> None:
    assert boot_area(bytes(size)) is None
