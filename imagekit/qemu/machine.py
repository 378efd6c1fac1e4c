"""A virtual machine as a value, and the QEMU command line it becomes.

A machine is a YAML file (`qemu/*.yaml`, keys in docs/reference/qemu-machines.md). It says what the hardware is; how it
is watched is decided here: no network unless a cable is plugged in, no display, one serial line, QMP, and one
virtio-serial port named `org.imagekit.health` where the hardware can have one, each over a socket that the caller made
and QEMU inherits by number. No path is bound, nobody else can connect, and the 108 bytes of a socket path are no limit.

Option syntax: QEMU's "Invocation" manual page; values with commas are doubled there ("Block device options").
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from imagekit.errors import DocumentError, HostError, UsageError
from imagekit.host.ports import Tools
from imagekit.qemu.devicetree import SCHEMA as TREE_SCHEMA
from imagekit.qemu.devicetree import TreeEdit, parse_edits
from imagekit.qemu.pifirmware import SCHEMA as PI_SCHEMA
from imagekit.qemu.pifirmware import PiFirmware, parse_firmware
from imagekit.schema import Problems, Source, check_shape, load_yaml
from imagekit.units import MIB, SECTOR, parse_size

MACHINES = Path(__file__).parent.parent.parent / "qemu"  # ours, in the source tree
HEALTH_PORT = "org.imagekit.health"  # /dev/virtio-ports/… in the guest
FORBIDDEN = ("-nic", "-netdev", "-net", "-display", "-vnc", "-monitor", "-qmp", "-serial", "-drive", "-blockdev")
CARD_FILES = ("bios", "kernel", "dtb")  # QEMU's options that a file on the card may be for
HOST_ADDRESS = "10.0.2.2"  # QEMU's manual, "Network options", user
ASK_AT_BOOT = "io.systemd.stub.kernel-cmdline-extra=imagekit.refresh=boot"  # systemd-stub(7)
SD_CARD = "sd-card"  # in place of a `-device` text: the board's own card slot, which takes powers of two only

_TEXT = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"\A[^\x00-\x1f\x7f]+\Z"}
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 16}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "summary", "architecture", "emulator", "machine", "firmware", "cpu", "cpus", "memory", "disk"],
    "properties": {
        "name": {"type": "string", "pattern": r"\A[a-z0-9](-?[a-z0-9])*\Z", "maxLength": 40},
        "summary": _TEXT,
        "architecture": {"enum": ["amd64", "arm64", "armhf"]},
        "emulator": {"type": "string", "pattern": r"\Aqemu-system-[a-z0-9_]+\Z"},
        "machine": _TEXT,
        "firmware": {
            "type": "object", "additionalProperties": False,
            "properties": {"code": _TEXTS, "variables": _TEXTS, "package": _TEXT, "card": {
                "type": "object", "additionalProperties": False, "required": ["partition"], "minProperties": 2,
                "properties": {"partition": _TEXT, **dict.fromkeys(CARD_FILES, _TEXT)},
            }, "pi": PI_SCHEMA},
            "oneOf": [{"required": ["code", "variables", "package"], "maxProperties": 3},
                      {"required": ["card"], "maxProperties": 1}, {"required": ["pi"], "maxProperties": 1},
                      {"maxProperties": 0}],
        },
        "cpu": {"type": "object", "additionalProperties": False, "required": ["tcg"],
                "properties": {"tcg": _TEXT, "kvm": _TEXT, "thread": {"enum": ["multi", "single"]}}},
        "cpus": {"type": "integer", "minimum": 1, "maximum": 64},
        "memory": {"type": ["integer", "string"]},
        "disk": _TEXT,
        "device-tree": TREE_SCHEMA,
        "least-qemu": {"type": "string", "pattern": r"\A[0-9]{1,3}\.[0-9]{1,3}\Z"},
        "health": {"enum": ["port", "console"]},
        "console": {"type": "integer", "minimum": 0, "maximum": 7},
        "devices": {"type": "array", "items": _TEXT, "maxItems": 32},
        "options": {"type": "array", "maxItems": 32,
                    "items": {"type": "array", "items": _TEXT, "minItems": 1, "maxItems": 2}},
    },
}


class Accelerator(StrEnum):
    """What runs the guest's instructions."""

    TCG = "tcg"
    KVM = "kvm"


class HealthWay(StrEnum):
    """How the guest tells its verdict: over a virtio-serial port, or framed on its console."""

    PORT = "port"
    CONSOLE = "console"


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFirmware:
    """Firmware that lies in a FAT of the card itself: QEMU is handed what is there, never another copy."""

    partition: str
    files: tuple[tuple[str, str], ...]  # of CARD_FILES -> path in the FAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Firmware:
    """Candidates for the two flash chips, first found wins, variables copied for each run; or the card's own.

    `pi`: a Raspberry Pi's, which is played. Nothing of all: QEMU's boot ROM of the board reads the card by itself.
    """

    code: tuple[Path, ...] = ()
    variables: tuple[Path, ...] = ()
    package: str = ""
    card: CardFirmware | None = None
    pi: PiFirmware | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What the hardware is. `disk` is a `-device` text that gets `,drive=disk` added, or `SD_CARD`.

    `console` says which of its serial lines is the console, from 0; those before it lead nowhere.
    """

    name: str
    summary: str
    architecture: str
    emulator: str
    machine: str
    firmware: Firmware
    cpu_tcg: str
    cpu_kvm: str | None
    thread: str  # of TCG: multi or single
    cpus: int
    memory: int
    disk: str
    devices: tuple[str, ...]
    options: tuple[tuple[str, ...], ...]
    health: HealthWay = HealthWay.PORT
    console: int = 0
    device_tree: tuple[TreeEdit, ...] = ()  # what is changed in a run's copy of the card's device tree
    least_qemu: tuple[int, int] | None = None  # the first version that has this machine; None: every one that we know


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A cable: QEMU's own network, in which this host is `HOST_ADDRESS` and gives the device an address.

    `ask`: UEFI firmware tells the device to ask its store at every boot, whatever its schedule.
    """

    ask: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What one run connects to a machine: files, and inherited socket numbers."""

    disk: Path
    disk_format: str
    firmware_code: Path | None
    firmware_variables: Path | None  # this run's own copy
    qmp_fd: int
    serial_fd: int
    health_fd: int | None  # None where the verdict comes over the console
    card_files: tuple[tuple[str, Path], ...] = ()  # of CARD_FILES -> this run's copy of what the card has
    loaded: tuple[str, ...] = ()  # options for what a played firmware loaded
    stick: Path | None = None  # a second disk, read-only, as somebody plugs one in
    write_log: Path | None = None  # where everything that is written to the disk is logged; there already
    log_goes_on: bool = False  # it is of an earlier QEMU of the same run; else it is empty
    network: Network | None = None


def parse_machine(source: Source) -> Machine:
    """Raises: DocumentError: with everything that is wrong at once."""
    check_shape(source, SCHEMA)
    value = source.value
    problems = Problems(source)
    try:
        memory = parse_size(value["memory"], where=source.where(("memory",)))
    except DocumentError as error:
        problems.add(("memory",), error.message)
        memory = 64 * MIB
    if not 64 * MIB <= memory <= 65536 * MIB:
        problems.add(("memory",), f"{value['memory']} is outside 64M to 64G")
    for index, option in enumerate(value.get("options", [])):
        if option[0] in FORBIDDEN:
            problems.add(("options", index), f"{option[0]} is not a machine's to say: imagekit wires it itself")
    if "device-tree" in value and "dtb" not in value["firmware"].get("card", {}) and "pi" not in value["firmware"]:
        problems.add(("device-tree",), "there is none to change: firmware.card names no dtb")
    try:
        firmware = _firmware(value["firmware"])
    except DocumentError as error:
        problems.add(("firmware", "pi", "edition"), error.message)
        firmware = Firmware()
    problems.raise_if_any()
    return Machine(
        name=value["name"], summary=value["summary"], architecture=value["architecture"], emulator=value["emulator"],
        machine=value["machine"], cpu_tcg=value["cpu"]["tcg"], cpu_kvm=value["cpu"].get("kvm"),
        thread=value["cpu"].get("thread", "multi"), cpus=value["cpus"],
        memory=memory, disk=value["disk"], devices=tuple(value.get("devices", [])),
        options=tuple(tuple(option) for option in value.get("options", [])),
        firmware=firmware, health=HealthWay(value.get("health", HealthWay.PORT)),
        console=value.get("console", 0), device_tree=parse_edits(value.get("device-tree", [])),
        least_qemu=_version(value["least-qemu"]) if "least-qemu" in value else None,
    )


def _version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def check_qemu(tools: Tools, machine: Machine) -> None:
    """Raises: HostError: QEMU is missing, or older than the machine."""
    if machine.least_qemu is None:
        return
    said = tools.run(machine.emulator, "--version").stdout.decode("utf-8", "replace")
    found = re.search(r"version ([0-9]+\.[0-9]+)", said)
    if found is None or _version(found[1]) < machine.least_qemu:
        wanted = ".".join(map(str, machine.least_qemu))
        raise HostError(f"cannot start machine {machine.name!r}: it is in QEMU from version {wanted} on, here is"
                        f" {found[1] if found else 'one that does not tell its version'}",
                        hint="take a newer Debian's QEMU, or its backport; where it lies apart, put it first in PATH")


def _firmware(value: Mapping[str, Any]) -> Firmware:
    if not value:
        return Firmware()
    if "pi" in value:
        return Firmware(pi=parse_firmware(value["pi"]))
    if card := value.get("card"):
        files = tuple((name, card[name]) for name in CARD_FILES if name in card)
        return Firmware(card=CardFirmware(partition=card["partition"], files=files))
    return Firmware(code=tuple(map(Path, value["code"])), variables=tuple(map(Path, value["variables"])),
                    package=value["package"])


def machine_folders(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Where machines are looked for: the user's own (`$XDG_CONFIG_HOME/imagekit/machines`), then ours."""
    config = Path(environ.get("XDG_CONFIG_HOME", ""))
    return (config if config.is_absolute() else Path.home() / ".config") / "imagekit" / "machines", MACHINES


def load_machine(name: str, folders: Sequence[Path]) -> Machine:
    """The machine called `name` in the first of `folders` that has it; `name` may also be the path of a YAML file.

    Raises:
        UsageError: there is none, with the names there are.
        DocumentError: its file is wrong.
    """
    paths = [Path(name)] if name.endswith(".yaml") else [folder / f"{name}.yaml" for folder in folders]
    for path in paths:
        if path.is_file():
            return parse_machine(load_yaml(path.read_bytes(), name=str(path)))
    known = ", ".join(machine_names(folders))
    raise UsageError(f"cannot use machine {name!r}: there is no such machine",
                     hint=f"machines: {known or 'none found'}; or give the path of a .yaml file")


def machine_of(name: str | None, folders: Sequence[Path], *, gadget: str, architecture: str) -> Machine:
    """The machine to boot an image on: the one called `name`, or else the one that is called as the image's gadget.

    Raises:
        UsageError: there is none, or it is of another architecture than the image.
        DocumentError: its file is wrong.
    """
    if name is None and gadget not in machine_names(folders):
        raise UsageError(f"cannot boot the image: no machine is called {gadget!r} as its gadget is",
                         hint=f"name one: --machine NAME; {_of_architecture(architecture, folders)}")
    machine = load_machine(name or gadget, folders)
    if architecture and machine.architecture != architecture:
        raise UsageError(f"cannot boot the image on machine {machine.name!r}: it is {machine.architecture}, the image"
                         f" is for {architecture}", hint=_of_architecture(architecture, folders))
    return machine


def _of_architecture(architecture: str, folders: Sequence[Path]) -> str:
    fitting = [name for name in machine_names(folders) if load_machine(name, folders).architecture == architecture]
    return f"machines for {architecture}: {', '.join(fitting) or 'none found'}"


def machine_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """The machines in these folders, by name."""
    return tuple(sorted({path.stem for folder in folders for path in folder.glob("*.yaml")}))


def find_firmware(machine: Machine) -> tuple[Path, Path] | None:
    """The code and variables files of this host, None where the card or the board has its own.

    Raises:
        HostError: with the package that brings them.
    """
    if not machine.firmware.code:
        return None
    found = []
    for kind, candidates in (("code", machine.firmware.code), ("variables", machine.firmware.variables)):
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise HostError(f"cannot start machine {machine.name!r}: no firmware {kind} at {candidates[0]}",
                            hint=f"as root: apt-get install {machine.firmware.package}")
        found.append(path)
    return found[0], found[1]


def _value(path: Path) -> str:
    """A path inside a QEMU option: commas are doubled."""
    return str(path).replace(",", ",,")


def _firmware_options(wiring: Wiring) -> list[str]:
    options = []
    if wiring.firmware_code is not None and wiring.firmware_variables is not None:
        options += ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_value(wiring.firmware_code)}",
                    "-drive", f"if=pflash,unit=1,format=raw,file={_value(wiring.firmware_variables)}"]
    for name, path in wiring.card_files:
        options += [f"-{name}", str(path)]
    return [*options, *wiring.loaded]


def _disk_options(machine: Machine, wiring: Wiring) -> list[str]:
    if wiring.write_log is not None:
        return _logged_disk(machine, wiring, wiring.write_log)
    if machine.disk == SD_CARD:
        return ["-drive", f"if=sd,format={wiring.disk_format},file={_value(wiring.disk)},cache=unsafe,discard=unmap"]
    return [
        "-blockdev", f"driver=file,node-name=disk-file,filename={_value(wiring.disk)},cache.no-flush=on",
        "-blockdev", f"driver={wiring.disk_format},node-name=disk,file=disk-file,cache.no-flush=on,discard=unmap",
        "-device", f"{machine.disk},drive=disk",
    ]


def _logged_disk(machine: Machine, wiring: Wiring, log: Path) -> list[str]:
    """The disk behind QEMU's `blklogwrites`. The node that logs has to see flushes; those below need not keep them.

    virtio-blk puts requests together until they have 1024 buffers, as many as one write may have (IOV_MAX). The log
    adds one of its own, and the guest's write fails; so there each request stays by itself, which is what is logged.
    """
    if machine.disk == SD_CARD:
        begun = "log-append=on" if wiring.log_goes_on else f"log-sector-size={SECTOR}"  # which the log's head has
        return ["-drive", f"if=sd,format=blklogwrites,discard=unmap,{begun},log.driver=file,"
                          f"log.filename={_value(log)},file.driver={wiring.disk_format},file.file.driver=file,"
                          f"file.file.filename={_value(wiring.disk)}"]
    return [
        "-blockdev", f"driver=file,node-name=log,filename={_value(log)},cache.no-flush=on",
        "-blockdev", f"driver=file,node-name=disk-file,filename={_value(wiring.disk)},cache.no-flush=on",
        "-blockdev", f"driver={wiring.disk_format},node-name=disk-raw,file=disk-file,cache.no-flush=on,discard=unmap",
        "-blockdev", f"driver=blklogwrites,node-name=disk,file=disk-raw,log=log,log-sector-size={SECTOR},discard=unmap",
        "-device", f"{machine.disk},drive=disk" + ",request-merging=off" * machine.disk.startswith("virtio-blk"),
    ]


def _talk_options(machine: Machine, wiring: Wiring) -> list[str]:
    options = ["-chardev", f"socket,id=qmp,fd={wiring.qmp_fd}", "-mon", "chardev=qmp,mode=control",
               "-chardev", f"socket,id=console,fd={wiring.serial_fd}", *["-serial", "null"] * machine.console,
               "-serial", "chardev:console"]
    if wiring.health_fd is not None:
        options += ["-device", "virtio-serial-pci,max_ports=2", "-chardev", f"socket,id=health,fd={wiring.health_fd}",
                    "-device", f"virtserialport,chardev=health,name={HEALTH_PORT}"]
    return options


def _stick_options(machine: Machine, wiring: Wiring) -> list[str]:
    """A board with a card slot has no PCI, so there it is a USB stick."""
    if wiring.stick is None:
        return []
    return ["-blockdev", f"driver=file,node-name=stick-file,filename={_value(wiring.stick)},read-only=on",
            "-blockdev", "driver=raw,node-name=stick,file=stick-file,read-only=on",
            "-device", ("usb-storage" if machine.disk == SD_CARD else "virtio-blk-pci") + ",drive=stick"]


def _network_options(network: Network | None) -> list[str]:
    if network is None:
        return ["-nic", "none"]
    options = ["-netdev", "user,id=net", "-device", "virtio-net-pci,netdev=net,romfile="]
    return [*options, "-smbios", f"type=11,value={ASK_AT_BOOT}"] if network.ask else options


def command_line(machine: Machine, wiring: Wiring, accelerator: Accelerator) -> tuple[str, ...]:
    """The arguments after the emulator's name. QEMU starts paused, so that no byte is lost before we listen."""
    kvm = accelerator is Accelerator.KVM
    cpu = machine.cpu_kvm if kvm and machine.cpu_kvm else machine.cpu_tcg
    argv = [
        "-nodefaults", "-no-user-config", "-S", "-name", f"imagekit-{machine.name}",
        "-machine", machine.machine, "-accel", "kvm" if kvm else f"tcg,thread={machine.thread}", "-cpu", cpu,
        "-smp", str(machine.cpus), "-m", f"{machine.memory // MIB}M",
        *_network_options(wiring.network), "-display", "none",
        *(["-no-reboot", "-no-shutdown"] if machine.firmware.pi else []),  # a reset is the played firmware's to see
        *_firmware_options(wiring),
    ]
    for device in machine.devices:  # before the disk, which may sit on one of them
        argv += ["-device", device]
    argv += [*_disk_options(machine, wiring), *_stick_options(machine, wiring), *_talk_options(machine, wiring)]
    for option in machine.options:
        argv += option
    return tuple(argv)
