"""The power is cut at every write of a first boot on a larger disk, and of the boot that recovers from such a cut."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from mmap import ACCESS_READ, mmap
from pathlib import Path

import pytest

from imagekit.cli.powercut_record import During
from imagekit.device.machine import Programs
from imagekit.disk import gpt
from imagekit.disk.ext4 import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, decode_condition
from imagekit.host.tools import LocalTools
from imagekit.powercut.data import data_partition
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.filesystem import MACHINE_ID, Kept, kept_on
from imagekit.qemu.workbench import copy_sparse
from imagekit.units import MIB
from tests.tools.conftest import Shell, require
from tests.tools.device_life import DATA, Booted, Growing, booted, by_command, call, live
from tests.tools.recorded_disk import Recorded, need_recorder, resize
from tests.tools.update_rig import LOADERS, SYSTEMD_BOOT, Maker, make

pytestmark = pytest.mark.tools

LARGER = 96 * MIB
AGAIN = 2  # classes of states from which the recovery is recorded
# As the initrd asked for growing before it looked at the file system.
FORGETFUL = 'has_room() { read -r v_start < "$SYS/class/block/${1##*/}/start"; read -r v_size < ' \
            '"$SYS/class/block/${1##*/}/size"; read -r v_disk < "$SYS/block/$disk/size"; ' \
            '[ $((v_disk - v_start - v_size)) -gt 4096 ]; }'


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """A disk with an image on it that is smaller."""

    maker: Maker
    disk: Path


FreshOf = Callable[[str], Fresh]


@pytest.fixture(scope="module")
def fresh_of(tmp_path_factory: pytest.TempPathFactory) -> FreshOf:
    """What is fresh from the factory, by its loader."""
    need_recorder()
    require("systemd-repart", "resize2fs", "e2fsck", "debugfs")

    @functools.cache
    def fresh(loader: str) -> Fresh:
        folder = tmp_path_factory.mktemp("fresh")
        made = Fresh(maker=make(folder / "maker", loader, data=DATA), disk=folder / "disk.img")
        copy_sparse(made.maker.build(), made.disk)
        os.truncate(made.disk, made.disk.stat().st_size + LARGER)
        return made

    return fresh


def boot_of(shell: Shell, *, programs: Callable[[Booted], Programs] | None = None, bug: str = ""
            ) -> Callable[[Recorded, Path], None]:
    """Up, and grown; a little is written that nobody flushes."""

    def boot(on: Recorded, folder: Path) -> None:
        with booted(shell, folder, on, bug=bug) as up:
            (up.var / "log/journal/noise").write_bytes(os.urandom(100_000))
            up.grow(programs)

    return boot


def is_grown(disk: Path) -> bool:
    """Whether partition and file system reach to the end of the disk, by a table that is whole."""
    with disk.open("rb") as stream:
        table = gpt.decode(stream)
        found = data_partition(table)
        stream.seek(found.start + SUPERBLOCK_OFFSET)
        size = decode_condition(stream.read(SUPERBLOCK_SIZE)).size
    return not table.problems and disk.stat().st_size - found.end < MIB and found.size - size < MIB


@pytest.mark.parametrize("loader", LOADERS)
def test_cut_at_every_write_leaves_a_device_that_boots_and_grows_with_its_data(shell: Shell, fresh_of: FreshOf,
                                                                               tmp_path: Path, loader: str) -> None:
    life = live(fresh_of(loader).disk, tmp_path / "first", boot_of(shell))
    assert is_grown(life.after)
    with life.judged() as judged:
        assert not judged.found.unbootable, judged.found.problems
        assert not judged.found.sampled
        assert any(way.startswith("by the backup table: mounts") for way in judged.ways)
        assert any(way.endswith("replayed, grows") for way in judged.ways)
        assert any(way == "mounts" for way in judged.ways)
        assert not judged.lost(Kept(), tmp_path / "checked", drawn=12)
        rarest = list(reversed(judged.found.classes))[:AGAIN if loader == SYSTEMD_BOOT else 0]
        disks = [judged.put(item.first, tmp_path / f"cut-{number}.img") for number, item in enumerate(rarest)]
    for disk in disks:
        second = live(disk, disk.with_suffix(""), boot_of(shell))
        assert is_grown(second.after)
        with second.judged() as judged:
            assert not judged.found.unbootable, judged.found.problems
            assert not judged.lost(Kept(), disk.with_suffix(".checked"), drawn=4)


def test_command_judges_a_first_boot_and_looks_into_its_data(shell: Shell, fresh_of: FreshOf, tmp_path: Path) -> None:
    fresh = fresh_of(SYSTEMD_BOOT)
    life = live(fresh.disk, tmp_path / "first", boot_of(shell))
    result = by_command(fresh.maker, life, During.FIRST_BOOT, tmp_path / "kept", "--data", "3", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["during"], told["unbootable"], told["lost"], told["again"]) == ("first-boot", 0, [], [])
    assert told["checked"] == len(told["classes"]) + 3
    assert any(item["data"].startswith("by the backup table") for item in told["classes"])


def test_what_has_to_stay_is_read_from_what_the_device_would_mount(fresh_of: FreshOf, tmp_path: Path) -> None:
    """A superblock that a cut has torn is repaired before: nothing that debugfs says about it is taken for a file's."""
    image, identity = tmp_path / "disk.img", b"0123456789abcdef0123456789abcdef\n"
    copy_sparse(fresh_of(SYSTEMD_BOOT).disk, image)
    (tmp_path / "machine-id").write_bytes(identity)
    with image.open("rb") as stream:
        start = data_partition(gpt.decode(stream)).start
    folder = MACHINE_ID.rpartition("/")[0]
    commands = [f"mkdir {'/'.join(folder.split('/')[:depth])}" for depth in range(1, 4)]
    (tmp_path / "commands").write_text("\n".join([*commands, f"cd {folder}", "write machine-id machine-id"]) + "\n")
    LocalTools().run("debugfs", "-w", "-f", "commands", f"{image}?offset={start}", cwd=tmp_path)
    for torn in (False, True):
        if torn:
            with image.open("r+b") as out:
                out.seek(start + SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE - 4)
                out.write(bytes(4))
        with image.open("rb") as stream, mmap(stream.fileno(), 0, access=ACCESS_READ) as raw, \
                CutDisk(raw, bytes(512), size=raw.size()) as disk:
            assert kept_on(LocalTools(), disk, tmp_path) == Kept(stays={MACHINE_ID: identity})


def test_cut_between_table_and_file_system_is_mended_by_the_next_boot(shell: Shell, fresh_of: FreshOf,
                                                                      tmp_path: Path) -> None:
    class OnlyTable(Growing):
        def run(self, *command: str) -> str:
            return super().run(*command) if command[0] == "systemd-repart" else ""

    def only_table(up: Booted) -> Programs:
        return OnlyTable(data=up.on.partitions["data"], var=up.var)

    cut = live(fresh_of(SYSTEMD_BOOT).disk, tmp_path / "cut", boot_of(shell, programs=only_table)).after
    assert not is_grown(cut)
    assert not is_grown(live(cut, tmp_path / "forgetful", boot_of(shell, bug=FORGETFUL)).after)
    assert is_grown(live(cut, tmp_path / "mended", boot_of(shell)).after)


@dataclass(frozen=True, kw_only=True)
class PrimaryFirst(Growing):
    """The primary table is written first, and nothing is flushed before the backup follows."""

    disk: Path

    def run(self, *command: str) -> str:
        if command[0] != "systemd-repart":
            return super().run(*command)
        with self.disk.open("r+b", buffering=0) as out:
            size = out.seek(0, os.SEEK_END)
            table = replace(gpt.decode(out), disk_size=size)
            data = data_partition(table)
            grown = replace(data, end=gpt.usable_extent(size)[1] // MIB * MIB)
            for offset, raw in gpt.encode(replace(table, partitions=tuple(
                    grown if item == data else item for item in table.partitions))):
                out.seek(offset)
                out.write(raw)
            resize(self.disk, grown)
        return ""


@dataclass(frozen=True, kw_only=True)
class FileSystemFirst(Growing):
    """Kernel and file system know of the new size before the table does."""

    disk: Path

    def run(self, *command: str) -> str:
        if command[0] != "systemd-repart":
            return ""
        with self.disk.open("rb") as stream:
            data = data_partition(gpt.decode(stream))
        resize(self.disk, replace(data, end=data.end + LARGER // 2))
        call("umount", self.var)
        call("resize2fs", "-f", self.data)
        call("mount", "-t", "ext4", self.data, self.var)
        return super().run(*command)


@pytest.mark.parametrize(("planted", "why"), [
    (PrimaryFirst, "neither the primary nor the backup"),
    (FileSystemFirst, "the file system of the data partition has"),
])
def test_planted_bug_is_found(shell: Shell, fresh_of: FreshOf, tmp_path: Path,
                              planted: type[PrimaryFirst | FileSystemFirst], why: str) -> None:
    def programs(up: Booted) -> Programs:
        return planted(data=up.on.partitions["data"], var=up.var, disk=up.on.disk)

    life = live(fresh_of(SYSTEMD_BOOT).disk, tmp_path / "first", boot_of(shell, programs=programs))
    with life.judged(lost=1) as judged:
        assert judged.found.unbootable
        assert why in judged.found.problems[0][1]
