"""The list of media on a machine that umockdev pretends: udev's own answers, through pyudev."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

MACHINE = """\
P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4
E: DEVTYPE=usb_device
E: SUBSYSTEM=usb
A: serial=000000001206

P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4/1-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sdb
N: sdb
E: DEVNAME=/dev/sdb
E: DEVTYPE=disk
E: SUBSYSTEM=block
E: MAJOR=8
E: MINOR=16
E: ID_BUS=usb
E: ID_SERIAL_SHORT=AA04012700007659
E: ID_MODEL=Ultra_Fit
E: ID_FS_TYPE=vfat
A: dev=8:16
A: size=60088320
A: removable=1
A: ro=0
A: diskseq=12
A: queue/logical_block_size=512

P: /devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda
N: sda
E: DEVNAME=/dev/sda
E: DEVTYPE=disk
E: SUBSYSTEM=block
E: MAJOR=8
E: MINOR=0
E: ID_BUS=ata
E: ID_SERIAL_SHORT=S2R6NX0H
E: ID_MODEL=Samsung_SSD
A: dev=8:0
A: size=976773168
A: removable=0
A: ro=0
A: queue/logical_block_size=4096
"""


def test_devices_of_a_pretended_machine_are_listed_with_what_udev_knows(program: Callable[[str], str],
                                                                        tmp_path: Path) -> None:
    (tmp_path / "machine.umockdev").write_text(MACHINE)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run([program("umockdev-run"), "--device", str(tmp_path / "machine.umockdev"), "--",
                           sys.executable, "-m", "imagekit.cli", "flash", "list", "--json"],
                          capture_output=True, text=True, env=env, check=True, timeout=60)
    found = {item["path"]: item for item in json.loads(done.stdout)["devices"]}
    assert sorted(found) == ["/dev/sda", "/dev/sdb"]  # and none of this machine
    card, disk = found["/dev/sdb"], found["/dev/sda"]
    assert (card["serial"], card["model"], card["bus"], card["port"]) == (
        "AA04012700007659", "Ultra Fit", "usb", "1-1.4")
    assert (card["size"], card["diskseq"], card["removable"]) == (60088320 * 512, 12, True)
    assert (disk["serial"], disk["bus"], disk["port"], disk["sector"]) == ("S2R6NX0H", "ata", "ata3", 4096)
    assert [item["code"] for item in disk["refusals"]] == ["not-allowed"]


ROM = """\
P: /devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4
N: bus/usb/001/012
E: DEVTYPE=usb_device
E: SUBSYSTEM=usb
A: idVendor=0a5c
A: idProduct=2711
A: busnum=1
A: devnum=12
A: serial=000000001206
A: manufacturer=Broadcom
A: product=BCM2711 Boot
"""


def test_board_in_its_boot_rom_is_found_on_a_pretended_machine(program: Callable[[str], str], tmp_path: Path) -> None:
    (tmp_path / "machine.umockdev").write_text(ROM)
    (tmp_path / "rpiboot").write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/ran\n')
    (tmp_path / "rpiboot").chmod(0o755)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(tmp_path),
           "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([program("umockdev-run"), "--device", str(tmp_path / "machine.umockdev"), "--",
                           sys.executable, "-m", "imagekit.cli", "board", "recover", "--board", "pi", "--wait", "0",
                           "--json"], capture_output=True, text=True, env=env, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["port"], found["id"], found["serial"], found["ran"]) == ("1-1.4", "0a5c:2711", "000000001206", True)
    assert (tmp_path / "ran").read_text() == "-p 1-1.4\n"
