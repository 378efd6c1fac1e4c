"""Machines: what a YAML file may say, and the command line it becomes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.errors import DocumentError, HostError, UsageError
from imagekit.qemu.machine import (
    MACHINES,
    Accelerator,
    CardFirmware,
    HealthWay,
    Network,
    Wiring,
    check_qemu,
    command_line,
    find_firmware,
    load_machine,
    machine_of,
    parse_machine,
)
from imagekit.schema import load_yaml
from imagekit.testing.fakes import FakeTools

FOLDER = Path(__file__).parents[3] / "qemu"
WIRING = Wiring(disk=Path("/tmp/a,b/disk.qcow2"), disk_format="qcow2", firmware_code=Path("/f/code.fd"),
                firmware_variables=Path("/tmp/vars.fd"), qmp_fd=10, serial_fd=11, health_fd=12)


@pytest.mark.parametrize("name", ["pc", "pc-ahci", "pc-nvme"])
def test_our_machines_parse_and_differ_in_their_disk_only(name: str) -> None:
    machine = load_machine(name, [FOLDER])
    reference = load_machine("pc", [FOLDER])
    assert machine.name == name
    assert replace(machine, name="", summary="", disk="") == replace(reference, name="", summary="", disk="")


def test_disk_on_usb_differs_in_disk_and_controller_which_comes_first_on_the_command_line() -> None:
    machine, reference = load_machine("pc-usb", [FOLDER]), load_machine("pc", [FOLDER])
    assert machine.devices == (*reference.devices, "qemu-xhci,id=xhci")
    assert replace(machine, name="", summary="", disk="", devices=()) == replace(
        reference, name="", summary="", disk="", devices=())
    argv = command_line(machine, WIRING, Accelerator.TCG)
    assert argv.index("qemu-xhci,id=xhci") < argv.index("usb-storage,bus=xhci.0,bootindex=0,drive=disk")


def test_command_line_has_no_network_no_display_and_starts_paused() -> None:
    argv = command_line(load_machine("pc", [FOLDER]), WIRING, Accelerator.TCG)
    text = " ".join(argv)
    assert "-nic none" in text
    assert "-display none" in text
    assert "-S" in argv
    assert "-accel tcg,thread=multi -cpu qemu64,cx16=off -smp 1" in text


@pytest.mark.parametrize("ask", [True, False])
def test_cable_is_plugged_in_and_the_device_told_to_ask_only_if_wanted(ask: bool) -> None:
    wiring = replace(WIRING, network=Network(ask=ask))
    text = " ".join(command_line(load_machine("pc", [FOLDER]), wiring, Accelerator.TCG))
    assert "-netdev user,id=net -device virtio-net-pci,netdev=net,romfile=" in text
    assert "-nic none" not in text
    assert ("-smbios type=11,value=io.systemd.stub.kernel-cmdline-extra=imagekit.refresh=boot" in text) is ask


def test_command_line_uses_the_host_cpu_only_under_kvm() -> None:
    argv = command_line(load_machine("pc", [FOLDER]), WIRING, Accelerator.KVM)
    assert argv[argv.index("-accel") + 1] == "kvm"
    assert argv[argv.index("-cpu") + 1] == "host"


def test_firmware_of_the_card_takes_the_place_of_the_flash_chips() -> None:
    machine = load_machine("arm64-uboot", [FOLDER])
    assert machine.firmware.card == CardFirmware(partition="boot", files=(("bios", "u-boot.bin"),))
    assert find_firmware(machine) is None
    wiring = replace(WIRING, firmware_code=None, firmware_variables=None, card_files=(("bios", Path("/tmp/a,b/bios")),))
    argv = command_line(machine, wiring, Accelerator.TCG)
    assert argv[argv.index("-bios") + 1] == "/tmp/a,b/bios"
    assert not [word for word in argv if "pflash" in word]


def test_comma_in_a_path_does_not_become_an_option() -> None:
    argv = command_line(load_machine("pc", [FOLDER]), WIRING, Accelerator.TCG)
    assert any("filename=/tmp/a,,b/disk.qcow2," in arg for arg in argv)


def test_health_port_and_console_are_inherited_sockets() -> None:
    text = " ".join(command_line(load_machine("pc", [FOLDER]), WIRING, Accelerator.TCG))
    assert "socket,id=qmp,fd=10" in text
    assert "socket,id=console,fd=11" in text
    assert "socket,id=health,fd=12" in text
    assert "virtserialport,chardev=health,name=org.imagekit.health" in text


BOARD = """\
name: board
summary: a board with a card slot and two serial lines
architecture: arm64
emulator: qemu-system-aarch64
machine: raspi3b
firmware: {}
cpu: {tcg: cortex-a53}
cpus: 4
memory: 1024M
disk: sd-card
health: console
console: 1
"""


def test_board_without_virtio_has_its_verdict_on_the_second_serial_line_and_its_card_in_the_slot() -> None:
    machine = parse_machine(load_yaml(BOARD, name="board.yaml"))
    assert (machine.health, machine.console, find_firmware(machine)) == (HealthWay.CONSOLE, 1, None)
    wiring = replace(WIRING, firmware_code=None, firmware_variables=None, health_fd=None)
    argv = command_line(machine, wiring, Accelerator.TCG)
    text = " ".join(argv)
    assert "-serial null -serial chardev:console" in text
    assert "-accel tcg,thread=multi" in text
    assert "-drive if=sd,format=qcow2,file=/tmp/a,,b/disk.qcow2,cache=unsafe,discard=unmap" in text
    assert "virtio" not in text
    assert "-device" not in argv


def test_writes_are_logged_by_a_node_that_sees_flushes() -> None:
    wiring = replace(WIRING, write_log=Path("/tmp/writes,.log"))
    argv = command_line(load_machine("pc", [FOLDER]), wiring, Accelerator.TCG)
    nodes = [word for word in argv if word.startswith("driver=")]
    assert "driver=file,node-name=log,filename=/tmp/writes,,.log,cache.no-flush=on" in nodes
    assert nodes[-1] == ("driver=blklogwrites,node-name=disk,file=disk-raw,log=log,log-sector-size=512,discard=unmap")
    assert "virtio-blk-pci,bootindex=0,drive=disk,request-merging=off" in argv, "the log has no room for more buffers"
    assert "request-merging" not in " ".join(command_line(load_machine("pc-nvme", [FOLDER]), wiring, Accelerator.TCG))


def test_writes_to_a_card_are_logged_too() -> None:
    wiring = replace(WIRING, firmware_code=None, firmware_variables=None, health_fd=None,
                     write_log=Path("/tmp/writes.log"))
    text = " ".join(command_line(parse_machine(load_yaml(BOARD, name="board.yaml")), wiring, Accelerator.TCG))
    assert "-drive if=sd,format=blklogwrites," in text
    assert "log.filename=/tmp/writes.log,file.driver=qcow2,file.file.driver=file,file.file.filename=/tmp/a,,b" in text
    assert "log-append" not in text
    text = " ".join(command_line(parse_machine(load_yaml(BOARD, name="board.yaml")), replace(wiring, log_goes_on=True),
                                 Accelerator.TCG))
    assert "log-append=on" in text
    assert "log-sector-size" not in text, "QEMU takes one of them"


def test_stick_of_a_board_without_pci_is_one_of_usb() -> None:
    wiring = replace(WIRING, firmware_code=None, firmware_variables=None, health_fd=None, stick=Path("/tmp/stick.img"))
    assert "usb-storage,drive=stick" in command_line(parse_machine(load_yaml(BOARD, name="board.yaml")), wiring,
                                                     Accelerator.TCG)
    assert "virtio-blk-pci,drive=stick" in command_line(load_machine("pc", [FOLDER]), replace(WIRING, stick=Path("/s")),
                                                        Accelerator.TCG)


def test_unknown_machine_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        load_machine("px", [FOLDER])
    assert "pc, pc-ahci, pc-nvme, pc-usb" in (caught.value.hint or "")


def test_machine_by_path_of_a_yaml_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text((FOLDER / "pc.yaml").read_text().replace("name: pc\n", "name: mine\n"))
    assert load_machine(str(path), [FOLDER]).name == "mine"


@pytest.mark.parametrize(("old", "new", "complaint"), [
    ("memory: 1024M", "memory: 1024K", "memory"),
    ("memory: 1024M", "memory: 16M", "outside 64M to 64G"),
    ("cpus: 1", "cpus: 0", "cpus"),
    ("name: pc\n", "name: ../pc\n", "name"),
    ('["-action", "watchdog=reset"]', '["-nic", "user"]', "-nic is not a machine's to say"),
    ("emulator: qemu-system-x86_64", "emulator: /bin/sh", "emulator"),
    ("cpus: 1", "cpus: 1\nshell: yes", "shell"),
    ("cpus: 1", "cpus: 1\nhealth: telnet", "health"),
    ("cpus: 1", "cpus: 1\nconsole: 8", "console"),
])
def test_wrong_machine_is_refused_naming_the_key(old: str, new: str, complaint: str) -> None:
    text = (FOLDER / "pc.yaml").read_text()
    assert old in text
    with pytest.raises(DocumentError, match=complaint):
        parse_machine(load_yaml(text.replace(old, new), name="pc.yaml"))


def test_missing_firmware_names_the_package(tmp_path: Path) -> None:
    machine = load_machine("pc", [FOLDER])
    machine = replace(machine, firmware=replace(machine.firmware, code=(tmp_path / "none.fd",)))
    with pytest.raises(HostError) as caught:
        find_firmware(machine)
    assert "ovmf" in (caught.value.hint or "")


def test_machine_is_the_one_that_is_called_as_the_gadget() -> None:
    assert machine_of(None, [MACHINES], gadget="arm64-uefi", architecture="arm64").name == "arm64-uefi"
    assert machine_of("pc-nvme", [MACHINES], gadget="pc", architecture="amd64").name == "pc-nvme"


def test_image_whose_gadget_no_machine_is_called_after_needs_a_name() -> None:
    with pytest.raises(UsageError, match="no machine is called 'toaster'") as caught:
        machine_of(None, [MACHINES], gadget="toaster", architecture="arm64")
    assert "machines for arm64: arm64-uboot, arm64-uefi" in str(caught.value.hint)
    assert machine_of("pc", [MACHINES], gadget="toaster", architecture="amd64").name == "pc"


def test_machine_of_another_architecture_than_the_image_is_refused() -> None:
    with pytest.raises(UsageError, match="'pc': it is amd64, the image is for arm64"):
        machine_of("pc", [MACHINES], gadget="arm64-uefi", architecture="arm64")


@pytest.mark.parametrize(("said", "fine"), [
    (b"QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)\n", False),
    (b"QEMU emulator version 8.2.0\n", False),
    (b"QEMU emulator version 9.0.0\n", True), (b"QEMU emulator version 10.0.2 (Debian)\n", True), (b"hello\n", False)])
def test_machine_that_an_older_qemu_does_not_have_is_refused_with_the_version(said: bytes, fine: bool) -> None:
    machine = replace(load_machine("pi", [FOLDER]), least_qemu=(9, 0))
    tools = FakeTools(qemu_system_aarch64=said)
    if fine:
        check_qemu(tools, machine)
        return
    with pytest.raises(HostError, match="cannot start machine 'pi': it is in QEMU from version") as caught:
        check_qemu(tools, machine)
    assert "PATH" in (caught.value.hint or "")
    check_qemu(FakeTools(), replace(machine, least_qemu=None))
