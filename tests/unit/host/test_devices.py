"""What sysfs, mountinfo and udev say of a machine's media, read from a machine in a folder."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from imagekit.disk.ext_csd import EXT_CSD_SIZE, PARTITION_CONFIG, BootArea
from imagekit.errors import HostError
from imagekit.host.devices import Registers, SystemInventory
from imagekit.host.mmc import read_ext_csd
from imagekit.plan.flash_device import Allowed as List
from imagekit.plan.flash_device import Code, Demand, Device, Kind, RefusedError, Use, judge
from tests.loops import looped, need_loops

USB = "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4/1-1.4:1.0/host6/target6:0:0/6:0:0:0/block/sdb"
ATA = "devices/pci0000:00/0000:00:17.0/ata3/host2/target2:0:0/2:0:0:0/block/sda"
NVME = "devices/pci0000:00/0000:00:1d.0/0000:02:00.0/nvme/nvme0/nvme0n1"
SD = "devices/platform/soc/fe340000.mmc/mmc_host/mmc0/mmc0:aaaa/block/mmcblk0"
EMMC = "devices/platform/soc/fe350000.mmc/mmc_host/mmc1/mmc1:0001/block/mmcblk1"
VIRTUAL = "devices/virtual/block"
LOOKS = 3000  # about one in two thousand met a link that was gone between two looks at it
JIGGLE = """
import os, sys
print("ready", flush=True)
while True:
    os.unlink(sys.argv[1])
    os.symlink(sys.argv[2], sys.argv[1])
"""


class Machine:
    """A sysfs, a proc and a dev in a folder. Nodes are plain files: nothing here is a device."""

    def __init__(self, folder: Path) -> None:
        self.sys, self.proc, self.dev = folder / "sys", folder / "proc", folder / "dev"
        for path in (self.sys / "block", self.sys / "class/block", self.sys / "dev/block", self.proc / "self",
                     self.dev):
            path.mkdir(parents=True)
        self.mounts: list[str] = []
        self.properties: dict[str, dict[str, str]] = {}
        self.registers: Registers = read_ext_csd
        self.asked: list[str] = []
        self.mount()

    def add(self, place: str, number: str, *, disk: bool = True, sectors: int = 131072, **files: str) -> Path:
        """A block device at a place of sysfs; `files` are its attributes, a double underscore for a slash."""
        folder = self.sys / place
        folder.mkdir(parents=True, exist_ok=True)
        wanted = {"dev": number, "size": str(sectors), "ro": "0", **files}
        if disk:
            wanted = {"removable": "0", "diskseq": "7", "queue__logical_block_size": "512", **wanted}
            (self.sys / "block" / folder.name).symlink_to(folder)
        for name, text in wanted.items():
            path = folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        (folder / "holders").mkdir(exist_ok=True)
        (self.sys / "class/block" / folder.name).symlink_to(folder)
        (self.sys / "dev/block" / number).symlink_to(folder)
        (self.dev / folder.name).write_bytes(bytes(4096))
        return folder

    def partition(self, place: str, number: str, index: int) -> Path:
        return self.add(place, number, disk=False, partition=str(index), sectors=2048)

    def mount(self, *lines: tuple[str, str, str]) -> None:
        """Lines of mountinfo: number, mount point, source."""
        self.mounts += [f"{36 + count} 35 {number} / {point} rw shared:1 - ext4 {self.dev / source} rw"
                        for count, (number, point, source) in enumerate(lines)]
        (self.proc / "self/mountinfo").write_text("\n".join(["22 1 0:21 / /proc rw - proc proc rw", *self.mounts]))

    def inventory(self) -> SystemInventory:
        def properties(name: str) -> Mapping[str, str]:
            return self.properties.get(name, {})

        def registers(path: Path) -> bytes:
            self.asked.append(path.name)
            return self.registers(path)

        return SystemInventory(sys=self.sys, proc=self.proc, dev=self.dev, properties=properties, registers=registers)

    def find(self, name: str) -> Device:
        return next(item for item in self.inventory().devices() if item.name == name)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def usb_card(machine: Machine, **more: str) -> None:
    machine.add(USB, "8:16", removable="1", device__vendor="Generic", device__model="STORAGE DEVICE", **more)
    usb = machine.sys / "devices/pci0000:00/0000:00:14.0/usb1/1-1/1-1.4"
    (usb / "serial").write_text("000000001206\n")


def test_card_in_a_usb_reader_has_serial_port_and_model(machine: Machine) -> None:
    usb_card(machine)
    card = machine.find("sdb")
    assert (card.bus, card.port, card.model, card.identity.serial) == (
        "usb", "1-1.4", "Generic STORAGE DEVICE", "000000001206")
    assert (card.identity.size, card.identity.diskseq, card.removable, card.fixed) == (64 << 20, 7, True, False)
    assert judge(card, Demand(size=1 << 20), List()) == ()


def test_udev_knows_better_where_it_runs(machine: Machine) -> None:
    usb_card(machine)
    machine.properties["sdb"] = {"ID_SERIAL_SHORT": "AA04012700007659", "ID_MODEL": "Ultra_Fit"}
    card = machine.find("sdb")
    assert (card.identity.serial, card.model) == ("AA04012700007659", "Ultra Fit")


@pytest.mark.parametrize(("place", "files", "bus", "port", "fixed"), [
    (ATA, {"device__model": "Samsung SSD"}, "ata", "ata3", True),
    (NVME, {"device__serial": "S4EV"}, "nvme", "pci-0000:02:00.0", True),
    (SD, {"device__type": "SD", "device__serial": "0x1234", "device__name": "SC32G"}, "sd", "mmc0", False),
    (EMMC, {"device__type": "MMC", "device__serial": "0xabcd", "device__name": "DG4032"}, "emmc", "mmc1", True),
    ("devices/pci0000:00/0000:00:02.0/virtio1/block/vda", {}, "virtio", "pci-0000:00:02.0", True),
])
def test_bus_and_port_of_every_kind_of_disk(machine: Machine, place: str, files: dict[str, str], bus: str, port: str,
                                            fixed: bool) -> None:
    machine.add(place, "8:0", **files)
    disk, = machine.inventory().devices()
    assert (disk.kind, disk.bus, disk.port, disk.fixed) == (Kind.DISK, bus, port, fixed)


def test_partition_names_its_disk_and_is_no_whole_one(machine: Machine) -> None:
    usb_card(machine)
    machine.partition(f"{USB}/sdb1", "8:17", 1)
    found = machine.find("sdb1")
    assert (found.kind, found.whole) == (Kind.PARTITION, str(machine.dev / "sdb"))


def test_mount_of_a_partition_is_a_use_of_the_disk(machine: Machine) -> None:
    usb_card(machine)
    machine.partition(f"{USB}/sdb1", "8:17", 1)
    machine.mount(("8:17", "/media/you/my\\040card", "sdb1"))
    assert machine.find("sdb").uses == (Use(device=str(machine.dev / "sdb1"), how="mounted at /media/you/my card"),)


def test_root_on_a_mapping_over_a_partition_makes_its_disk_a_system_ancestor(machine: Machine) -> None:
    machine.add(ATA, "8:0")
    partition = machine.partition(f"{ATA}/sda2", "8:2", 2)
    mapping = machine.add(f"{VIRTUAL}/dm-0", "253:0")
    (partition / "holders/dm-0").symlink_to(mapping)
    machine.mount(("253:0", "/", "mapper/root"))
    disk = machine.find("sda")
    assert disk.system == ("/",)
    assert [item.code for item in judge(disk, Demand(), List(ports=frozenset({"ata3"})))] == [
        Code.SYSTEM_ANCESTOR, Code.IN_USE, Code.IN_USE]
    assert machine.find("dm-0").kind is Kind.MAPPING


def test_btrfs_with_a_number_of_its_own_is_found_by_its_source(machine: Machine) -> None:
    machine.add(ATA, "8:0")
    machine.partition(f"{ATA}/sda1", "8:1", 1)
    machine.mount(("0:42", "/home", "sda1"))
    assert machine.find("sda").system == ("/home",)


def test_swap_is_a_use(machine: Machine) -> None:
    machine.add(ATA, "8:0")
    machine.partition(f"{ATA}/sda3", "8:3", 3)
    (machine.proc / "swaps").write_text(f"Filename Type Size Used Priority\n{machine.dev}/sda3 partition 9 0 -2\n")
    assert [use.how for use in machine.find("sda").uses] == ["swap"]


def test_loop_nodes_that_nobody_set_up_are_left_out(machine: Machine) -> None:
    machine.add(f"{VIRTUAL}/loop0", "7:0", sectors=0)
    machine.add(f"{VIRTUAL}/loop1", "7:1", loop__backing_file="/home/you/card.img")
    loop, = machine.inventory().devices()
    assert (loop.name, loop.kind, loop.identity.backing) == ("loop1", Kind.LOOP, "/home/you/card.img")


def test_reader_without_a_card_is_listed_and_too_small(machine: Machine) -> None:
    usb_card(machine)
    (machine.sys / USB / "size").write_text("0\n")
    assert [item.code for item in judge(machine.find("sdb"), Demand(), List())] == [Code.TOO_SMALL]


def test_write_protected_card_and_memory(machine: Machine) -> None:
    usb_card(machine, ro="1")
    machine.add(f"{VIRTUAL}/zram0", "252:0")
    assert machine.find("sdb").read_only
    assert machine.find("zram0").kind is Kind.MEMORY


def test_boot_partition_of_an_emmc_is_a_target_of_its_own(machine: Machine) -> None:
    machine.add(EMMC, "179:0", device__type="MMC", device__serial="0xabcd", device__name="DG4032")
    machine.add(f"{EMMC}/mmcblk1boot0", "179:8", ro="1", force_ro="1", sectors=8192)
    boot = machine.find("mmcblk1boot0")
    assert (boot.kind, boot.bus, boot.identity.serial, boot.identity.size) == (
        Kind.EMMC_BOOT, "emmc", "0xabcd", 4 << 20)
    assert [item.code for item in judge(boot, Demand(), List())] == [Code.NOT_ALLOWED]
    assert judge(boot, Demand(), List(serials=frozenset({"0xabcd"}))) == ()


@pytest.mark.parametrize(("lock", "codes"), [("0", []), ("1", [Code.READ_ONLY]), ("2", [Code.READ_ONLY])])
def test_boot_partition_that_the_chip_has_locked_is_read_only(machine: Machine, lock: str, codes: list[Code]) -> None:
    emmc_boot(machine, ro_lock_until_next_power_on=lock)
    found = judge(machine.find("mmcblk1boot0"), Demand(), List(serials=frozenset({"0xabcd"})))
    assert [item.code for item in found] == codes
    assert all("cut the power" in item.allow for item in found)


def chip_with_everything(machine: Machine) -> None:
    machine.add(EMMC, "179:0", device__type="MMC", device__serial="0xabcd")
    machine.partition(f"{EMMC}/mmcblk1p1", "179:1", 1)
    for number, name in enumerate(("mmcblk1boot0", "mmcblk1boot1", "mmcblk1gp0")):
        machine.add(f"{EMMC}/{name}", f"179:{8 * number + 8}")
    machine.add(SD, "179:32", device__type="SD", device__serial="0x1234")
    usb_card(machine)


def test_emmc_and_its_boot_partitions_tell_what_it_boots_from(machine: Machine) -> None:
    chip_with_everything(machine)
    machine.registers = lambda path: bytes(PARTITION_CONFIG) + b"\x10" + bytes(EXT_CSD_SIZE - PARTITION_CONFIG - 1)
    told = {item.name for item in machine.inventory().devices() if item.boots_from is BootArea.BOOT1}
    assert told == {"mmcblk1", "mmcblk1boot0", "mmcblk1boot1"}
    assert machine.asked == ["mmcblk1"] * 3  # no SD card: to it the command means something else


@pytest.mark.parametrize("answer", [PermissionError(errno.EPERM, "not permitted"), OSError(errno.EIO, "silent"), None])
def test_emmc_that_does_not_answer_is_listed_without(machine: Machine, answer: OSError | None) -> None:
    chip_with_everything(machine)
    if answer is not None:  # otherwise its node is asked, which is a plain file here
        def deny(path: Path) -> bytes:
            raise answer

        machine.registers = deny
    found = {item.name: item.boots_from for item in machine.inventory().devices()}
    assert len(found) == 7 and set(found.values()) == {None}
    assert len(machine.asked) == 3


def test_optical_drive_is_read_only(machine: Machine) -> None:
    machine.add("devices/pci0000:00/0000:00:17.0/ata2/host1/target1:0:0/1:0:0:0/block/sr0", "11:0", removable="1")
    assert [item.code for item in judge(machine.find("sr0"), Demand(), List())] == [Code.READ_ONLY]


def test_disk_that_is_pulled_out_while_the_list_is_made_is_not_in_it(machine: Machine) -> None:
    machine.add(ATA, "8:0")
    folder = machine.add(USB, "8:16")
    machine.partition(f"{USB}/sdb1", "8:17", 1)

    def properties(name: str) -> Mapping[str, str]:
        if name == "sdb" and folder.exists():
            (machine.sys / "block/sdb").unlink()
            shutil.rmtree(folder)
        return {}

    inventory = SystemInventory(sys=machine.sys, proc=machine.proc, dev=machine.dev, properties=properties)
    assert [device.path for device in inventory.devices()] == [str(machine.dev / "sda")]


def test_disk_that_comes_and_goes_while_a_port_is_looked_at_is_there_or_not(machine: Machine) -> None:
    folder, seen = machine.add(USB, "8:16"), set()
    inventory = machine.inventory()
    with subprocess.Popen([sys.executable, "-c", JIGGLE, machine.sys / "block/sdb", folder],
                          stdout=subprocess.PIPE) as jiggling:
        assert jiggling.stdout is not None and jiggling.stdout.readline()
        try:
            for _ in range(LOOKS):
                seen.update(inventory.plugged("1-1.4").values())
        finally:
            jiggling.kill()
    assert seen <= {"sdb/7/131072"}


def test_machine_without_sysfs_has_no_media(tmp_path: Path) -> None:
    assert SystemInventory(sys=tmp_path, proc=tmp_path, dev=tmp_path).devices() == ()


def emmc_boot(machine: Machine, **more: str) -> Path:
    machine.add(EMMC, "179:0", device__type="MMC", device__serial="0xabcd")
    return machine.add(f"{EMMC}/mmcblk1boot0", "179:8", ro="1", force_ro="1", **more)


def test_boot_partition_that_cannot_be_opened_is_protected_again(machine: Machine) -> None:
    folder = emmc_boot(machine)
    with pytest.raises(HostError, match="something else"):  # its node is a plain file here
        machine.inventory().open(machine.find("mmcblk1boot0"), writable=True)
    assert (folder / "force_ro").read_text() == "1"


def test_boot_partition_is_writable_while_it_is_held_and_protected_afterwards(machine: Machine,
                                                                              tmp_path: Path) -> None:
    """The kernel's side is a loop device under the eMMC's name."""
    need_loops()
    with looped(tmp_path / "boot", size=4 << 20) as loop:
        number = loop.path.stat().st_rdev
        folder = emmc_boot(machine, diskseq=loop.diskseq, size=str((4 << 20) // 512))
        (machine.sys / f"dev/block/{os.major(number)}:{os.minor(number)}").symlink_to(folder)
        (machine.dev / "mmcblk1boot0").unlink()
        (machine.dev / "mmcblk1boot0").symlink_to(loop.path)
        held = machine.inventory().open(machine.find("mmcblk1boot0"), writable=True)
        assert (folder / "force_ro").read_text() == "0"
        assert held.write(0, memoryview(b"boot code")) == 9
        held.close()
        assert (folder / "force_ro").read_text() == "1"
        assert (tmp_path / "boot").read_bytes()[:9] == b"boot code"


def test_device_that_is_not_there_is_told_from_one_that_is_denied(machine: Machine) -> None:
    with pytest.raises(HostError, match="there is no such device"):
        machine.inventory().device(machine.dev / "sdz")


@pytest.mark.skipif(not os.geteuid(), reason="root may open everything")
def test_denied_file_is_a_permission(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "out.img"
    path.write_bytes(b"")
    path.chmod(0o400)
    device = machine.inventory().device(path)
    assert [item.code for item in judge(device, Demand(), List())] == [Code.PERMISSION]
    with pytest.raises(RefusedError, match="permission"):
        machine.inventory().open(device, writable=True)


def test_folder_is_neither_device_nor_file(machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="neither a block device nor a file"):
        machine.inventory().device(tmp_path)
    with pytest.raises(HostError, match="there is no folder"):
        machine.inventory().device(tmp_path / "absent" / "out.img")


def test_file_that_was_replaced_after_it_was_looked_at_is_refused(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "out.img"
    path.write_bytes(bytes(4096))
    device = machine.inventory().device(path)
    (tmp_path / "other").write_bytes(b"precious")
    (tmp_path / "other").replace(path)
    with pytest.raises(RefusedError, match="identity-changed"):
        machine.inventory().open(device, writable=True)
    assert path.read_bytes() == b"precious"


def test_file_behind_a_loop_device_is_in_use(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "out.img"
    path.write_bytes(bytes(4096))
    (tmp_path / "link.img").symlink_to(path)
    machine.add(f"{VIRTUAL}/loop3", "7:3", loop__backing_file=str(path))
    machine.add(f"{VIRTUAL}/loop4", "7:4", loop__backing_file=f"{path}.other")
    for name in ("out.img", "link.img"):
        refusal, = judge(machine.inventory().device(tmp_path / name), Demand(), List())
        assert (refusal.code, refusal.reason) == (Code.IN_USE, f"it is behind {machine.dev}/loop3")


@pytest.mark.parametrize("kind", [fcntl.F_RDLCK, fcntl.F_WRLCK])
def test_file_that_a_virtual_machine_runs_from_is_in_use(machine: Machine, tmp_path: Path, kind: int) -> None:
    """QEMU locks single bytes behind the hundredth (its block/file-posix.c), of a backing file for reading."""
    path = tmp_path / "out.img"
    path.write_bytes(b"precious")
    device = machine.inventory().device(path)
    with path.open("r+b") as stream:
        fcntl.fcntl(stream, fcntl.F_OFD_SETLK, struct.pack("@hhqqi4x", kind, os.SEEK_SET, 101, 1, 0))
        with pytest.raises(RefusedError, match="in-use: another program has locked bytes of it"):
            machine.inventory().open(device, writable=True)
        machine.inventory().open(device, writable=False).close()
    machine.inventory().open(device, writable=True).close()
