"""imagekit inside a machine with an eMMC: what kernel and chip say, boot partitions that are written, a real `mmc`.

No other boot could carry it: the other machines have no eMMC. It is also the one where imagekit flashes on 32 bits.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.boot.emmc_guest import BOOT_SIZE, EMMC_SIZE, make_guest, started

pytestmark = pytest.mark.boot

BOOT0, BOOT1, USER = "/dev/mmcblk0boot0", "/dev/mmcblk0boot1", "/dev/mmcblk0"


def test_boot_partition_of_an_emmc_is_told_from_the_one_that_boots_and_written(tmp_path: Path) -> None:
    boot, emmc = random.Random(1).randbytes(200_000), tmp_path / "emmc.img"
    parts = make_guest(tmp_path, boot=boot)
    old = b"\x5a" * 2 * BOOT_SIZE
    with emmc.open("wb") as out:
        out.write(old)
        out.truncate(EMMC_SIZE)
    with started(parts, emmc) as machine:
        found = machine.listed("listed")
        assert {path: (item["kind"], item["size"]) for path, item in found.items() if "mmcblk0" in path} == {
            BOOT0: ("emmc-boot", BOOT_SIZE), BOOT1: ("emmc-boot", BOOT_SIZE), USER: ("disk", EMMC_SIZE - 2 * BOOT_SIZE)}
        assert {found[path]["boots_from"] for path in (BOOT0, BOOT1, USER)} == {"boot0"}
        assert [item["code"] for item in found[BOOT0]["refusals"]] == ["not-allowed"]
        denied = machine.listed("denied")
        assert {denied[path]["boots_from"] for path in (BOOT0, BOOT1, USER)} == {None}
        assert {item["code"] for item in denied[BOOT0]["refusals"]} == {"not-allowed", "permission"}
        status, said = machine.outcome("write")
        assert status == 0, machine.tail
        ended = next(json.loads(line) for line in said.splitlines() if '"ended"' in line)
        assert (ended["result"], ended["state"]) == ("done", "verified")
        assert machine.outcome("protected") == (0, "1")
        assert emmc.read_bytes()[BOOT_SIZE:] == old[BOOT_SIZE:] + bytes(EMMC_SIZE - 2 * BOOT_SIZE)
        status, said = machine.outcome("switch")
        assert status == 0, machine.tail
        found = machine.listed("switched")
        assert {found[path]["boots_from"] for path in (BOOT0, BOOT1, USER)} == {"boot1"}
    whole = boot + bytes(BOOT_SIZE - len(boot))
    assert emmc.read_bytes() == 2 * whole + bytes(EMMC_SIZE - 2 * BOOT_SIZE)
