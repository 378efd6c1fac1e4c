"""Every refusal: its code, its reason, what would allow it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from imagekit.plan.flash_device import (
    Allowed,
    Code,
    Demand,
    Device,
    Identity,
    Kind,
    RefusedError,
    Use,
    bind,
    judge,
)
from imagekit.testing.blocks import card
from imagekit.units import GIB, MIB

NEEDS = Demand(size=32 * MIB, sector=512)
NOBODY = Allowed()


def codes(device: Device, *, demand: Demand = NEEDS, allowed: Allowed = NOBODY) -> list[str]:
    return [refusal.code.value for refusal in judge(device, demand, allowed)]


def test_card_in_a_reader_is_allowed() -> None:
    assert codes(card()) == []


def test_card_of_the_image_s_very_size_is_allowed() -> None:
    assert codes(card(size=32 * MIB)) == []


def test_plain_file_is_allowed_whatever_its_size() -> None:
    assert codes(Device(path="out.img", kind=Kind.FILE, identity=Identity(size=0), exists=False)) == []


@pytest.mark.parametrize(("device", "code", "reason", "allow"), [
    (card("/dev/sdx1", kind=Kind.PARTITION, whole="/dev/sdx"), "not-whole-disk", "a partition of /dev/sdx",
     "the whole disk: /dev/sdx"),
    (card("/dev/dm-0", kind=Kind.MAPPING), "not-whole-disk", "over other disks", "the disk below"),
    (card(uses=(Use(device="/dev/sdx1", how="mounted at /media/you"),)), "in-use", "mounted at /media/you",
     "umount /dev/sdx1"),
    (card(uses=(Use(device="/dev/sdx2", how="swap"),)), "in-use", "/dev/sdx2 is swap", "swapoff /dev/sdx2"),
    (card(uses=(Use(device="/dev/sdx", how="held by dm-0"),)), "in-use", "it is held by dm-0", "let go"),
    (card(system=("/",)), "system-ancestor", "this machine runs from it: /", ""),
    (card(read_only=True), "read-only", "write-protected", "switch"),
    (card(permitted=False), "permission", "you may not write", "group disk"),
    (card(size=16 * MIB), "too-small", "16777216 bytes (16 MiB), the image 33554432 (32 MiB)", "larger"),
    (card(size=32 * MIB - 512), "too-small", "it has 33553920 bytes", "larger"),
    (card(size=0), "too-small", "no medium", "put a card in"),
    (card(sector=4096), "sector-size", "4096 bytes, the image's partition table counts in 512", "build"),
    (card(bus="ata", removable=False), "not-allowed", "a fixed disk of this machine (ata)", "--serial 0001"),
    (card(bus="virtio", removable=False, identity=Identity(size=64 * MIB), port="pci-0000:00:05.0"), "not-allowed",
     "fixed", "--port pci-0000:00:05.0"),
    (card("/dev/zram0", kind=Kind.MEMORY), "not-allowed", "memory of this machine", ""),
])
def test_refused_device_says_why_and_what_would_allow_it(device: Device, code: str, reason: str, allow: str) -> None:
    found = judge(device, NEEDS, NOBODY)
    assert [item.code.value for item in found] == [code]
    assert reason in found[0].reason
    assert allow in found[0].allow
    assert bool(allow) == bool(found[0].allow)


def test_every_code_is_one_of_the_stable_ones() -> None:
    assert sorted(Code) == ["identity-changed", "in-use", "not-allowed", "not-whole-disk", "permission", "read-only",
                            "sector-size", "system-ancestor", "too-small"]


def test_all_reasons_are_told_the_gravest_first() -> None:
    device = card(size=MIB, system=("/", "/boot"), read_only=True, removable=False, bus="nvme",
                  uses=(Use(device="/dev/sdx1", how="mounted at /"),))
    assert codes(device) == ["system-ancestor", "in-use", "read-only", "too-small", "not-allowed"]


@pytest.mark.parametrize("allowed", [Allowed(serials=frozenset({"0001"})), Allowed(ports=frozenset({"1-1.4"}))])
def test_fixed_disk_on_the_list_is_allowed(allowed: Allowed) -> None:
    assert codes(card(bus="ata", removable=False), allowed=allowed) == []


def test_card_that_is_not_on_the_list_is_refused() -> None:
    refusal, = judge(card(), NEEDS, Allowed(ports=frozenset({"1-1.3"})))
    assert (refusal.code, refusal.reason) == (Code.NOT_ALLOWED, "it is not on the list (serial 0001, port 1-1.4)")


def test_device_without_serial_is_not_allowed_by_an_empty_one() -> None:
    device = card(identity=Identity(size=64 * MIB), port="")
    assert codes(device, allowed=Allowed(serials=frozenset({""}), ports=frozenset({""}))) == ["not-allowed"]


def test_list_allows_nothing_else_that_is_refused() -> None:
    device = card(system=("/",))
    assert codes(device, allowed=Allowed(serials=frozenset({"0001"}))) == ["system-ancestor"]


@pytest.mark.parametrize(("now", "words"), [
    (Identity(size=64 * MIB, serial="0001", diskseq=8), "disk sequence was 7, is 8"),
    (Identity(size=64 * GIB, serial="0001", diskseq=7), f"size was {64 * MIB}, is {64 * GIB}"),
    (Identity(size=64 * MIB, serial="0002", diskseq=7), "serial was 0001, is 0002"),
    (Identity(size=64 * MIB, serial="0001", diskseq=7, backing="/a.img"), "what is behind it was none, is /a.img"),
])
def test_another_medium_under_the_same_name_is_refused(now: Identity, words: str) -> None:
    with pytest.raises(RefusedError, match=r"cannot write /dev/sdx: identity-changed") as caught:
        bind(card(), now)
    assert words in caught.value.message


def test_refusal_of_several_reasons_is_one_error_with_all() -> None:
    error = RefusedError("/dev/sdx", judge(card(read_only=True, size=1), NEEDS, NOBODY))
    assert (error.exit_code, error.message) == (7, "cannot write /dev/sdx: read-only: it is write-protected")
    assert error.details[0].startswith("too-small: ")


def test_same_medium_plugged_in_again_is_known_by_what_lasts() -> None:
    again = card(identity=Identity(size=64 * MIB, serial="0001", diskseq=99))
    assert again.lasting == card().lasting
    assert card(identity=Identity(size=64 * MIB, diskseq=7)).lasting == ""
    assert replace(card(), identity=Identity(size=32 * MIB, serial="0001")).lasting != card().lasting
