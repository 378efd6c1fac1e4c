"""A factory reset as the initrd does it, cut anywhere; what goes, what stays, and no way to older software."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagekit.boot.numbers import NUMBER_SIZE, REPAIR, RESET
from imagekit.boot.slotstate import FACTORY, encode_partition
from imagekit.device import history
from imagekit.device.cli import main
from imagekit.device.factory_reset import end_reset
from imagekit.device.report import load_report
from imagekit.digests import crc32c
from imagekit.disk.ext4 import SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE, decode_condition
from imagekit.errors import TargetError
from imagekit.powercut.filesystem import MACHINE_ID, MEMORY
from imagekit.units import MIB
from tests.loops import looped, need_loops
from tests.tools.conftest import ADMIN_PATH, RunTool, Shell, require
from tests.tools.update_rig import SYSTEMD_BOOT, Maker, Rig, make, root_of

pytestmark = pytest.mark.tools

STAYS = ("lib/imagekit/etc/machine-id", "lib/imagekit/updates/state.json", "lib/imagekit/updates/keys.assert",
         "lib/imagekit/updates/store.assert", "lib/imagekit/updates/model.assert",
         "lib/imagekit/updates/store/acme-store/timestamp.json")
GOES = ("secret", ".hidden/secret", "..odd", "log/journal/x/system.journal", "lib/app/data base/rows",
        "lib/imagekit/probe", "lib/imagekit/no-store", "lib/imagekit/etc/hostname", "lib/imagekit/etc/app/settings",
        "lib/imagekit/updates/wishes.json", "lib/imagekit/updates/rhythm.json", "lib/imagekit/updates/state.json.new",
        "lib/imagekit/updates/state.json keys.assert", "lib/imagekit/updates/downloads/packages/x.snap.part",
        "lost+found/#12")
# The mount, the trim and the flush are the kernel's; the watchdog of a test is none.
STUBS = 'NEW=$1 state_device=$2 DATA=$3; mount() { :; }; umount() { :; }; fstrim() { :; }; sync() { :; }; ' \
        'find_partition() { found=$DATA; }; say() { echo "$*"; }; '


def test_power_cuts_are_judged_by_each_of_the_files_that_stay() -> None:
    assert {MACHINE_ID, *MEMORY} == {name for name in STAYS if "/store/" not in name}


def filled(folder: Path) -> Path:
    """A `var` with all of it."""
    var = folder / "var"
    for name in (*STAYS, *GOES):
        path = var / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return var


def files(var: Path) -> list[str]:
    return sorted(str(path.relative_to(var)) for path in var.rglob("*") if not path.is_dir() or path.is_symlink())


def marked(folder: Path, mark: bytes = RESET.encode(1)) -> Path:
    state = folder / "slot-state"
    state.write_bytes(encode_partition(FACTORY).ljust(RESET.offset, b"\0") + mark.ljust(MIB, b"\0"))
    return state


def mark_of(state: Path) -> int:
    with state.open("rb") as stream:
        stream.seek(RESET.offset)
        return RESET.decode(stream.read(NUMBER_SIZE))


def boot(shell: Shell, folder: Path, state: Path, *, more: str = "") -> str:
    """What the initrd does with a data partition that is mounted at `var` of `folder`; what it said."""
    script = 'open_data; echo "status $?"; cat $RUN/reset 2> /dev/null; rm -f $RUN/reset'
    return shell(f"{STUBS}{more}{script}", folder, state, folder / "data")


def test_all_goes_but_who_the_device_is_and_what_keeps_older_software_away(shell: Shell, tmp_path: Path) -> None:
    var, state = filled(tmp_path), marked(tmp_path)
    said = boot(shell, tmp_path, state)
    assert said == "factory reset: the data partition is emptied\nstatus 0\nemptied\n"
    assert files(var) == sorted(STAYS)
    assert all((var / name).read_text() == name for name in STAYS)
    assert mark_of(state) == 0
    (var / "secret").write_text("new")
    assert boot(shell, tmp_path, state) == "status 0\n"  # once
    assert "secret" in files(var)


def test_reset_whose_trim_takes_for_ever_is_done_all_the_same(shell: Shell, tmp_path: Path) -> None:
    """The watchdog ends that boot; the next one finds no mark, or it would come no further."""
    var, state = filled(tmp_path), marked(tmp_path)
    boot(shell, tmp_path, state, more="fstrim() { exit 9; }; ")
    assert mark_of(state) == 0
    assert files(var) == sorted(STAYS)


@pytest.mark.parametrize("fails", [True, False])
def test_reset_is_done_whether_or_not_the_medium_can_be_trimmed(shell: Shell, tmp_path: Path, fails: bool) -> None:
    filled(tmp_path)
    said = boot(shell, tmp_path, marked(tmp_path), more=f"fstrim() {{ return {fails:d}; }}; ")
    assert said.endswith("status 0\nemptied\n")


def test_without_a_mark_nothing_is_touched(shell: Shell, tmp_path: Path) -> None:
    var, before = filled(tmp_path), marked(tmp_path, b"").read_bytes()
    assert boot(shell, tmp_path, tmp_path / "slot-state") == "status 0\n"
    assert files(var) == sorted((*STAYS, *GOES))
    assert (tmp_path / "slot-state").read_bytes() == before


@pytest.mark.parametrize("length", [1, 4, 5, 8, 508, 511])
def test_mark_that_was_cut_while_it_was_written_resets_nothing(shell: Shell, tmp_path: Path, length: int) -> None:
    var = filled(tmp_path)
    assert boot(shell, tmp_path, marked(tmp_path, RESET.encode(1)[:length])) == "status 0\n"
    assert files(var) == sorted((*STAYS, *GOES))


def test_boot_that_leaves_the_data_out_leaves_the_mark_too(shell: Shell, tmp_path: Path) -> None:
    var, state = filled(tmp_path), marked(tmp_path)
    shell(STUBS + 'leave_data=yes l_begun=7; degrade() { :; }; mount_var', tmp_path, state, tmp_path / "data")
    assert set(files(var)) >= {*STAYS, *GOES}
    assert mark_of(state) == 1


def test_power_cut_at_every_removal_ends_in_the_same(shell: Shell, tmp_path: Path) -> None:
    """`rm` takes one thing after the other away, and after some of them the power is gone."""
    for cut in range(len(GOES) + 12):
        folder = tmp_path / str(cut)
        var, state = filled(folder), marked(folder)
        (folder / "left").write_text(f"{cut}\n")
        shell(STUBS + '''
            FOLDER=$1
            rm() {
                find "$2" -depth > "$FOLDER/order"
                while read -r path; do
                    read -r left < "$FOLDER/left"
                    [ "$left" -gt 0 ] || exit 9
                    echo $((left - 1)) > "$FOLDER/left"
                    if [ -d "$path" ]; then rmdir "$path"; else command rm "$path"; fi
                done < "$FOLDER/order"
            }
            open_data''', folder, state, folder / "data")
        assert set(files(var)) >= set(STAYS)
        if (folder / "left").read_text() == "0\n" and mark_of(state):
            boot(shell, folder, state)
        assert files(var) == sorted(STAYS)
        assert mark_of(state) == 0
        shutil.rmtree(folder)


def test_links_are_removed_and_not_followed(shell: Shell, tmp_path: Path) -> None:
    var, state, outside = filled(tmp_path), marked(tmp_path), tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("x")
    (var / "link").symlink_to(outside)
    shutil.rmtree(var / "lib/imagekit/updates/store")
    (var / "lib/imagekit/updates/store").symlink_to(outside)
    shutil.move(var / "lib/imagekit/etc", outside / "etc")
    (var / "lib/imagekit/etc").symlink_to(outside / "etc")
    boot(shell, tmp_path, state)
    assert files(var) == sorted(name for name in STAYS if Path(name).parent == Path("lib/imagekit/updates"))
    assert files(outside) == sorted(["precious", "etc/machine-id", "etc/hostname", "etc/app/settings"])


def test_data_that_cannot_be_emptied_is_made_anew_by_the_programs_of_the_base(shell: Shell, tmp_path: Path) -> None:
    require("mke2fs")
    var, state, data = filled(tmp_path), marked(tmp_path), tmp_path / "data"
    with data.open("wb") as out:
        out.truncate(16 * MIB)
    program = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
    said = boot(shell, tmp_path, state, more=f'empty_var() {{ return 1; }}; chroot() {{ shift 2; {program} "$@"; }}; ')
    assert said == ("factory reset: the data partition is emptied\n"
                    "factory reset: it cannot be emptied, and is made anew\nstatus 0\nanew\n")
    raw = data.read_bytes()[SUPERBLOCK_OFFSET:SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE]
    assert decode_condition(raw).size == 16 * MIB
    assert mark_of(state) == 0
    assert var.is_dir()


def test_data_that_is_lost_keeps_its_mark_and_the_boot_is_degraded(shell: Shell, tmp_path: Path) -> None:
    state = marked(tmp_path)
    said = boot(shell, tmp_path, state, more='mount_data() { return 1; }; chroot() { return 1; }; ')
    assert said.endswith("status 1\n")
    assert mark_of(state) == 1


# ---- on a file system of the kernel's

OWN = 'chroot() { shift; "$@"; }; '  # the programs of the base are this machine's
MOUNTED = 'NEW=$1 state_device=$2 DATA=$3; find_partition() { found=$DATA; }; say() { echo "$*"; }; '


@contextmanager
def data_of(folder: Path, run_tool: RunTool) -> Iterator[Path]:
    """A data partition with all of it, as a device of this machine; it is mounted nowhere afterwards."""
    need_loops()
    source, image = filled(folder / "source"), folder / "data.img"
    for name in ("var", "dev"):
        (folder / name).mkdir()
    run_tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", source, image, "16M")
    with looped(image) as loop:
        try:
            yield loop.path
        finally:
            for name in ("var", "dev"):
                subprocess.run(["umount", folder / name], check=False, capture_output=True)


def names_on(image: Path, run_tool: RunTool) -> set[str]:
    """All files of a file system, which is sound."""
    run_tool("e2fsck", "-fn", image)
    target = image.with_name("read")
    target.mkdir()
    run_tool("debugfs", "-R", f"rdump / {target}", image)
    return {name for name in files(target) if not name.startswith("lost+found")}


def test_mounted_file_system_is_emptied_and_sound(shell: Shell, run_tool: RunTool, tmp_path: Path) -> None:
    state = marked(tmp_path)
    with data_of(tmp_path, run_tool) as device:
        said = shell(f'{MOUNTED}open_data; echo "status $?"; umount $NEW/var', tmp_path, state, device)
    assert said == "factory reset: the data partition is emptied\nstatus 0\n"
    assert names_on(tmp_path / "data.img", run_tool) == set(STAYS)
    assert mark_of(state) == 0


def test_file_system_that_cannot_be_mounted_is_made_anew_and_sound(shell: Shell, run_tool: RunTool, tmp_path: Path
                                                                   ) -> None:
    state = marked(tmp_path)
    program = shutil.which("mke2fs", path=ADMIN_PATH)
    with data_of(tmp_path, run_tool) as device:
        with device.open("r+b") as out:
            out.write(bytes(64 * 1024))
        made = f'chroot() {{ shift 2; {program} "$@"; }}; '
        said = shell(f'{MOUNTED}{made}open_data 2> /dev/null; echo "status $?"; umount $NEW/var', tmp_path, state,
                     device)
    assert said.endswith("it cannot be emptied, and is made anew\nstatus 0\n")
    assert names_on(tmp_path / "data.img", run_tool) == set()
    told = run_tool("dumpe2fs", "-h", tmp_path / "data.img")
    counts = dict(re.findall(r"(?m)^(Reserved block|Block) count: +(\d+)", told))
    assert int(counts["Reserved block"]) == int(counts["Block"]) // 20
    assert mark_of(state) == 0


def test_data_that_is_damaged_is_repaired_before_it_is_emptied(shell: Shell, run_tool: RunTool, tmp_path: Path) -> None:
    """The power went within the first superblock: what keeps older software away is still there, and stays."""
    state = marked(tmp_path)
    with data_of(tmp_path, run_tool) as device:
        with device.open("r+b") as out:
            out.seek(SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE // 2)
            out.write(bytes(SUPERBLOCK_SIZE // 4))
        said = shell(f'{MOUNTED}{OWN}open_data; echo "status $?"; umount $NEW/var', tmp_path, state, device)
    assert said == ("factory reset: the data partition is emptied\n"
                    "the data partition is damaged: repairing it\nstatus 0\n")
    assert names_on(tmp_path / "data.img", run_tool) == set(STAYS)
    assert mark_of(state) == 0


# ---- a data partition that is damaged, of which nobody asked for a reset

SUPERBLOCKS = (1, 8193)  # of 16 MiB in blocks of 1 KiB


def damaged(folder: Path, run_tool: RunTool, *commands: str) -> Path:
    """An ext4 with a file, after these commands of debugfs."""
    filled(folder)
    data = folder / "data"
    run_tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", folder / "var", data, "16M")
    for command in commands:
        run_tool("debugfs", "-w", "-R", command, data)
    return data


@pytest.mark.parametrize(("commands", "wrong"), [((), False), (("ssv state 0",), False), (("ssv state 2",), True),
                                                 (("ssv state 3",), True)])
def test_file_system_says_itself_that_it_has_errors(shell: Shell, run_tool: RunTool, tmp_path: Path,
                                                    commands: tuple[str, ...], wrong: bool) -> None:
    data = damaged(tmp_path, run_tool, *commands)
    assert shell("has_errors $1 && echo wrong || echo right", data) == ("wrong\n" if wrong else "right\n")


@pytest.mark.parametrize("raw", [b"", bytes(4096), b"\xff" * 4096])
def test_what_is_no_file_system_has_noted_no_errors(shell: Shell, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "data").write_bytes(raw)
    assert shell("has_errors $1 && echo wrong || echo right", tmp_path / "data") == "right\n"


def opened(shell: Shell, folder: Path, data: Path, stubs: str) -> str:
    return shell(f'{stubs}{OWN}open_data; echo "status $?"; umount $NEW/var', folder, marked(folder, b""), data)


def test_data_that_has_noted_errors_is_repaired_before_it_is_mounted(shell: Shell, run_tool: RunTool, tmp_path: Path
                                                                     ) -> None:
    data = damaged(tmp_path, run_tool, "ssv state 3", "clri /secret")
    run_tool("e2fsck", "-fn", data, status=4)
    assert opened(shell, tmp_path, data, STUBS) == "the data partition is damaged: repairing it\nstatus 0\n"
    assert names_on(data, run_tool) == {*STAYS, *GOES} - {"secret", "lost+found/#12"}


def test_data_that_cannot_be_mounted_is_repaired_and_mounted(shell: Shell, run_tool: RunTool, tmp_path: Path) -> None:
    """The first superblock is gone; the file system has others."""
    with data_of(tmp_path, run_tool) as device:
        with device.open("r+b") as out:
            out.seek(SUPERBLOCK_OFFSET)
            out.write(bytes(SUPERBLOCK_SIZE))
        said = opened(shell, tmp_path, device, MOUNTED)
    assert said == "the data partition is damaged: repairing it\nstatus 0\n"
    assert names_on(tmp_path / "data.img", run_tool) == {*STAYS, *GOES} - {"lost+found/#12"}


def test_data_whose_superblock_was_torn_while_it_grew_is_repaired(shell: Shell, run_tool: RunTool, tmp_path: Path
                                                                 ) -> None:
    """The kernel's journal has the superblock and its copy then. One run of e2fsck replays it and gives up."""
    with data_of(tmp_path, run_tool):
        pass
    data, blocks = tmp_path / "data.img", tmp_path / "blocks"
    blocks.write_bytes(b"".join(mounted_superblock(data, block) for block in SUPERBLOCKS))
    commands = tmp_path / "commands"
    commands.write_text(f"jo\njw -b {','.join(map(str, SUPERBLOCKS))} {blocks}\njc\n")
    run_tool("debugfs", "-w", "-f", commands, data)
    with data.open("r+b") as out:
        out.seek(SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE - 4)
        out.write(bytes(4))
    shutil.copyfile(data, tmp_path / "once.img")
    run_tool("e2fsck", "-fy", tmp_path / "once.img", status=12)
    with looped(data) as loop:
        said = opened(shell, tmp_path, loop.path, MOUNTED)
    assert said == "the data partition is damaged: repairing it\nstatus 0\n"
    assert names_on(data, run_tool) == {*STAYS, *GOES} - {"lost+found/#12"}


def mounted_superblock(data: Path, block: int) -> bytes:
    """A superblock or its copy as it is while the file system is mounted: it asks for its journal to be replayed."""
    with data.open("rb") as stream:
        stream.seek(block * SUPERBLOCK_SIZE)
        raw = bytearray(stream.read(SUPERBLOCK_SIZE))
    raw[96] |= 4  # s_feature_incompat, EXT4_FEATURE_INCOMPAT_RECOVER
    raw[-4:] = crc32c(raw[:-4]).to_bytes(4, "little")
    return bytes(raw)


def test_repair_that_was_cut_short_is_done_again(shell: Shell, run_tool: RunTool, tmp_path: Path) -> None:
    """What the file system says of itself does not count then: e2fsck may have called it clean before it was."""
    data = damaged(tmp_path, run_tool, "ssv state 2", "clri /secret")
    shell(f"{STUBS}in_base() {{ exit 9; }}; open_data", tmp_path, marked(tmp_path, b""), data)
    run_tool("debugfs", "-w", "-R", "ssv state 1", data)
    run_tool("e2fsck", "-fn", data, status=4)
    state = tmp_path / "slot-state"
    assert repair_mark(state) == 1
    assert shell(f'{STUBS}{OWN}open_data; echo "status $?"', tmp_path, state, data) == (
        "the data partition is damaged: repairing it\nstatus 0\n")
    assert repair_mark(state) == 0
    assert names_on(data, run_tool) == {*STAYS, *GOES} - {"secret", "lost+found/#12"}
    assert shell(f'{STUBS}{OWN}open_data; echo "status $?"', tmp_path, state, data) == "status 0\n"


@pytest.mark.parametrize(("status", "mark"), [(0, 0), (1, 0), (3, 0), (4, 1), (8, 1), (12, 1), (137, 1)])
def test_repair_that_did_not_come_to_its_end_is_done_again(shell: Shell, tmp_path: Path, status: int, mark: int
                                                           ) -> None:
    """As where e2fsck was killed, because a small board has too little memory for a large file system."""
    state = marked(tmp_path, b"")
    shell(f"{STUBS}sound_data() {{ false; }}; chroot() {{ return {status}; }}; open_data", tmp_path, state,
          tmp_path / "data")
    assert repair_mark(state) == mark


def test_repair_that_could_not_be_begun_is_done_at_the_next_boot(shell: Shell, tmp_path: Path) -> None:
    state = marked(tmp_path, b"")
    stubs = f"{STUBS}sound_data() {{ false; }}; mount() {{ return 1; }}; chroot() {{ exit 9; }}; "
    shell(f"{stubs}open_data || true", tmp_path, state, tmp_path / "data")
    assert repair_mark(state) == 1


def repair_mark(state: Path) -> int:
    with state.open("rb") as stream:
        stream.seek(REPAIR.offset)
        return REPAIR.decode(stream.read(NUMBER_SIZE))


@pytest.mark.parametrize("mark", [0, 1])
def test_watchdog_is_kept_quiet_while_the_data_partition_is_mounted(shell: Shell, tmp_path: Path, mark: int) -> None:
    """A long journal on a slow card."""
    filled(tmp_path)
    (tmp_path / "dev").mkdir()
    slow = 'have_watchdog() { true; }; mount() { usleep 300000; [ ! -s $DEV/watchdog0 ] || echo quiet; }; '
    said = shell(f"{STUBS}{slow}open_data", tmp_path, marked(tmp_path, RESET.encode(mark)), tmp_path / "data",
                 dev=tmp_path / "dev")
    assert said.endswith("quiet\n")


def test_data_that_nothing_can_repair_is_tried_once_and_done_without(shell: Shell, tmp_path: Path) -> None:
    require("e2fsck")
    data = tmp_path / "data"
    data.write_bytes(noise := bytes(range(256)) * 4096)
    said = opened(shell, tmp_path, data, STUBS.replace("mount() { :; }", "mount() { [ \"$2\" != ext4 ]; }", 1))
    assert said == "the data partition is damaged: repairing it\nstatus 1\n"
    assert data.read_bytes() == noise


# ---- attack 29: downgrade through a reset

@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("maker"), SYSTEMD_BOOT)
    made.build()
    for revision in (2, 3):
        made.base(revision)
    return made


def reset(rig: Rig, shell: Shell) -> None:
    """By a person, then by the initrd, then told by the health check."""
    assert main(["factory-reset", "--yes"], machine=rig.machine) == 0
    assert rig.rebooted
    boot(shell, rig.folder, rig.device("slot-state"))
    (rig.folder / "run/reset").write_text("emptied\n")
    end_reset(rig.machine, load_report(rig.machine.run), now="2026-06-01T00:00:00Z")
    rig.up()


def reset_without_a_memory(rig: Rig, shell: Shell) -> None:
    """The twin: all of the data goes."""
    shutil.rmtree(rig.machine.var)
    rig.machine.var.mkdir()
    rig.up()


def older_after(how: Callable[[Rig, Shell], None], shell: Shell, maker: Maker, folder: Path) -> Rig:
    """A device that has run base 3, went back to 1, and was reset; somebody comes with base 2."""
    rig = Rig(folder / "device", maker.image, SYSTEMD_BOOT)
    packages = maker.workshop.packages
    rig.revisions = {("debian-13", number): root_of(maker, packages / f"debian-13_{number}.snap")
                     for number in (1, 2, 3)}
    rig.install(maker.stick(folder / "newest", packages / "debian-13_3.snap"))
    rig.up()
    assert main(["revert"], machine=rig.machine) == 0
    rig.up()
    assert rig.runs["base"] == rig.revisions["debian-13", 1]
    how(rig, shell)
    rig.install(maker.stick(folder / "older", packages / "debian-13_2.snap"))
    rig.up()
    return rig


def test_reset_is_no_way_to_older_software(shell: Shell, maker: Maker, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="revision 3 has run here, and nothing older is taken"):
        older_after(reset, shell, maker, tmp_path)


def test_reset_that_forgets_is_a_way_to_older_software(shell: Shell, maker: Maker, tmp_path: Path) -> None:
    rig = older_after(reset_without_a_memory, shell, maker, tmp_path)
    assert rig.runs["base"] == rig.revisions["debian-13", 2]


def test_device_runs_what_it_ran_and_takes_a_true_update_after_a_reset(shell: Shell, maker: Maker, tmp_path: Path,
                                                                      capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig(tmp_path / "device", maker.image, SYSTEMD_BOOT)
    packages = maker.workshop.packages
    rig.install(maker.stick(tmp_path / "two", packages / "debian-13_2.snap"))
    rig.up()
    assert main(["hold", "9"], machine=rig.machine) == 0
    (rig.machine.var / "lib/imagekit/no-stick").touch()
    runs = rig.runs
    reset(rig, shell)
    assert rig.runs == runs  # not the seed's base, which is older
    assert not (rig.machine.var / "lib/imagekit/no-stick").exists()
    capsys.readouterr()
    assert main(["hold"], machine=rig.machine) == 0
    assert capsys.readouterr().out == "not held\n"
    assert rig.install(maker.stick(tmp_path / "one", packages / "debian-13_1.snap")).plan is None
    rig.install(maker.stick(tmp_path / "three", packages / "debian-13_3.snap"))
    rig.up()
    assert history.load_history(rig.machine).floors["debian-13"] == 3
