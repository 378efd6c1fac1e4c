"""What is at a station's ports: by the topology of USB, or by path; and when it is another medium."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.mediaports import SystemPorts
from imagekit.plan.factory_job import Port
from imagekit.plan.flash_device import Kind

from .test_devices import ATA, USB, Machine

PORT = Port(name="left", usb="1-1.4")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_medium_is_seen_at_its_usb_port_and_nowhere_else(machine: Machine) -> None:
    machine.add(USB, "8:16")
    machine.add(ATA, "8:0")
    ports = SystemPorts(machine.inventory())
    assert ports.seen(PORT) == "sdb/7/131072"
    assert ports.device(PORT).path == str(machine.dev / "sdb")
    for other in ("1-1", "1-1.3", "1-1.40", "2-1.4"):
        assert ports.seen(Port(name="x", usb=other)) == ""


def test_empty_reader_holds_no_medium_and_another_card_is_another_one(machine: Machine) -> None:
    folder = machine.add(USB, "8:16", sectors=0)
    ports = SystemPorts(machine.inventory())
    assert ports.seen(PORT) == ""
    (folder / "size").write_text("131072\n")
    before = ports.seen(PORT)
    (folder / "diskseq").write_text("8\n")
    assert before != ports.seen(PORT) != ""


def test_two_media_at_one_port_are_told_and_not_chosen_from(machine: Machine) -> None:
    machine.add(USB, "8:16")
    machine.add(USB.replace("6:0:0:0/block/sdb", "6:0:0:1/block/sdc"), "8:32")
    ports = SystemPorts(machine.inventory())
    assert ports.seen(PORT) == "sdb/7/131072 sdc/7/131072"
    with pytest.raises(HostError, match=r"2 media are plugged in at 1-1\.4: sdb, sdc"):
        ports.device(PORT)


def test_file_that_comes_goes_and_is_replaced_is_a_medium(machine: Machine, tmp_path: Path) -> None:
    ports, port = SystemPorts(machine.inventory()), Port(name="file", path=str(tmp_path / "left.img"))
    assert ports.seen(port) == ""
    (tmp_path / "left.img").touch()
    before = ports.seen(port)
    assert ports.device(port).kind is Kind.FILE
    (tmp_path / "left.img").write_bytes(b"more")
    assert ports.seen(port) == before != ""
    (tmp_path / "other.img").touch()
    (tmp_path / "other.img").rename(tmp_path / "left.img")
    assert ports.seen(port) != before


def test_path_that_cannot_be_looked_at_is_an_error_and_no_empty_port(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="cannot look at port x: not a directory"):
        SystemPorts(machine.inventory()).seen(Port(name="x", path=str(tmp_path / "file" / "below")))
