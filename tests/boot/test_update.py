"""Updates on a running device, unattended: from a stick that is plugged in, and from its store."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from imagekit.assertions import decode_stream
from imagekit.boot.slotstate import TRIES, Slot
from imagekit.disk.writelog import Kind
from imagekit.powercut.examine import Examiner, check_seed
from imagekit.powercut.rebuild import check_log, open_recording
from imagekit.powercut.sweep import Limits, Sweep
from imagekit.qemu.device import Device
from imagekit.qemu.judge import Package
from imagekit.qemu.machine import Network
from imagekit.qemu.pytest_plugin import MakeDevice
from imagekit.qemu.stick import make_stick
from imagekit.qemu.surgery_piboot import slot_files
from tests.boot.boards import ARM64_UBOOT, PC, PI_TRYBOOT, Board
from tests.boot.fleet import fleet_of
from tests.boot.stock import OTHER_CONFIG, OTHER_STARTUP, Stock, StockOf, sign_revision

pytestmark = pytest.mark.boot

DEADLINE_S = 900.0
# The slow one only where it is asked for.
CHOSEN = [PC, *([ARM64_UBOOT] if os.environ.get("IMAGEKIT_BOARDS") in ("all", str(ARM64_UBOOT)) else [])]
BOARDS = pytest.mark.parametrize("board", CHOSEN, ids=str)


def signed(stock: Stock, package: Path, revision: int) -> tuple[Path, Package]:
    """A package as a further revision of the board's base, signed; and what a healthy boot of it shows."""
    path = sign_revision(stock, package, revision)
    for item in decode_stream(path.with_suffix(".assert").read_bytes(), name="test"):
        if item.type == "snap-revision":
            return path, Package(name=stock.board.base, revision=revision, root=item.text("verity-root"))
    raise AssertionError("no snap-revision was signed")


def check_every_cut(image: Path, log: Path, device: Device, *, brought: Mapping[str, str]) -> None:
    """Every state that a power cut may have left while the log was written boots a whole slot.

    `brought`: digests of the boot files that came with a gadget, by path.
    """
    size = device.disk_path.stat().st_size
    with open_recording(image, log, size=size) as (disk, requests), device.disk_path.open("rb") as written:
        check_log(disk, requests, written)
    with open_recording(image, log, size=size) as (disk, requests):
        check_seed(disk, requests)
        found = Sweep(disk, requests, Examiner(disk, brought=brought), Limits(lost=1)).run()
    assert not found.unbootable, found.problems
    assert {item.verdict.slot for item in found.classes} == {"a", "b"}
    assert found.flushes > 10
    assert found.prefixes > 100_000
    unflushed = [entry for entry in requests if entry.kind is not Kind.FLUSH]
    with open_recording(image, log, size=size) as (disk, _):
        lost = Sweep(disk, unflushed, Examiner(disk, brought=brought), Limits(lost=1, tree=20)).run()
    assert lost.unbootable, "a device that never flushed would be lost somewhere, or the sweep sees nothing"


@BOARDS
def test_new_base_and_gadget_arrive_from_a_stick(board: Board, stock_of: StockOf, make_device: MakeDevice,
                                       tmp_path: Path) -> None:
    stock = stock_of(board)
    path, package = signed(stock, stock.other_base, 2)
    packages = [path]
    if board is PC:
        packages.append(sign_revision(stock, stock.other_gadget, 2, name=board.gadget))
    device = make_device(stock.image, deadline_s=DEADLINE_S)
    device.plug(make_stick(tmp_path / "stick.img", [file for item in packages
                                                    for file in (item, item.with_suffix(".assert"))]))
    log = tmp_path / "writes.log"
    device.log_writes(log)
    device.boot(slot="a")
    device.expect_packages(base=package)
    device.expect(r"imagekit: update: writing the base of slot b", timeout_s=DEADLINE_S)
    device.wait_healthy(slot="b", since=len(device.boots))
    assert device.boots[-1].verdict is not None
    assert device.boots[-1].verdict.confirmed
    assert len(device.boots) == 2
    if board is PC:
        device.expect(r"imagekit: update: gadget revision 2 is kept", timeout_s=DEADLINE_S)
    device.power_cut()
    device.log_writes(None)
    with device.disk() as disk:
        state = disk.state
        assert state is not None
        assert (state.slot, state.confirmed, state.other_good) == (Slot.B, True, True)
        if board is PC:
            assert disk.esp_files()["startup.nsh"] == OTHER_STARTUP
    check_every_cut(stock.image, log, device, brought={"startup.nsh": hashlib.sha256(OTHER_STARTUP).hexdigest()})
    assert device.boot(slot="b").healthy  # with the stick still there: nothing newer


@pytest.mark.skipif(os.environ.get("IMAGEKIT_BOARDS") not in ("all", str(PI_TRYBOOT)),
                    reason="ten minutes: only where it is asked for")
def test_gadget_whose_files_lie_in_the_slots_arrives_in_one(stock_of: StockOf, make_device: MakeDevice,
                                                            tmp_path: Path) -> None:
    stock = stock_of(PI_TRYBOOT)
    path = sign_revision(stock, stock.other_config, 2, name=PI_TRYBOOT.gadget)
    device = make_device(stock.image, deadline_s=DEADLINE_S)
    device.plug(make_stick(tmp_path / "stick.img", [path, path.with_suffix(".assert")]))
    device.boot(slot="a")
    device.expect(r"imagekit: update: writing the base of slot b", timeout_s=DEADLINE_S)
    device.wait_healthy(slot="b", since=len(device.boots))
    device.power_cut()
    with device.disk() as disk:
        old, new = slot_files(disk, Slot.A), slot_files(disk, Slot.B)
    assert new["config.txt"] == old["config.txt"] + OTHER_CONFIG
    assert new["start4.elf"] == old["start4.elf"]
    assert {"gadget.yaml", "gadget.assert"} <= new.keys() - old.keys()
    assert device.boot(slot="b").healthy  # with the stick still there: nothing newer


@BOARDS
def test_sick_base_from_a_stick_is_rolled_back_and_not_tried_again(
    board: Board, stock_of: StockOf, make_device: MakeDevice, tmp_path: Path
) -> None:
    stock = stock_of(board)
    path, _ = signed(stock, stock.sick_base, 3)
    device = make_device(stock.image, deadline_s=DEADLINE_S)
    device.plug(make_stick(tmp_path / "stick.img", [path, path.with_suffix(".assert")]))
    device.boot(slot="a")
    device.expect(r"imagekit: update: rebooting", timeout_s=DEADLINE_S)
    first = len(device.boots)
    device.wait_healthy(slot="a", since=first)
    assert len(device.boots) == first + TRIES + 1
    device.expect(r"imagekit: update: cannot install .* 3 with .*: it was tried on .* and failed: hooks: .*50-never",
                  timeout_s=DEADLINE_S)
    device.power_cut()
    with device.disk() as disk:
        state = disk.state
        assert state is not None
        assert (state.slot, state.confirmed, state.unhealthy) == (Slot.A, True, 0)


def test_new_base_arrives_from_the_store_and_a_sick_one_is_rolled_back(
    stock_of: StockOf, make_device: MakeDevice, tmp_path: Path
) -> None:
    stock = stock_of(PC)
    good, package = signed(stock, stock.other_base, 2)
    sick, _ = signed(stock, stock.sick_base, 3)
    with fleet_of(stock, tmp_path) as fleet:
        fleet.publish(good)
        device = make_device(fleet.image, deadline_s=DEADLINE_S)
        device.connect(Network(ask=True))
        device.boot(slot="a")
        device.expect_packages(base=package)
        base = stock.board.base
        device.expect(rf"imagekit: update: fetching deltas/{base}/{base}_1_2\.delta", timeout_s=DEADLINE_S)
        device.expect(r"imagekit: update: writing the base of slot b", timeout_s=DEADLINE_S)
        device.wait_healthy(slot="b", since=len(device.boots))
        fleet.publish(sick)
        first = len(device.boots)
        device.reboot(slot="b")
        device.expect(rf"imagekit: update: fetching deltas/{base}/{base}_2_3\.delta", timeout_s=DEADLINE_S)
        device.expect(r"imagekit: update: rebooting", timeout_s=DEADLINE_S)
        device.wait_healthy(slot="b", since=first + 1)
        assert len(device.boots) == first + 1 + TRIES + 1
        device.expect(rf"imagekit: update: {base} 3 with .* was tried on .* and failed: hooks: .*50-never",
                      timeout_s=DEADLINE_S)
        device.power_cut()
    with device.disk() as disk:
        state = disk.state
        assert state is not None
        assert (state.slot, state.confirmed, state.unhealthy) == (Slot.B, True, 0)
