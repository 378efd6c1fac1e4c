"""The initrd's program, run by busybox: the same records, decisions and bytes as the Python models."""

from __future__ import annotations

import itertools
import os
import random
import uuid
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.boot.autoboot import PARTITION_MOST, Autoboot, encode_autoboot
from imagekit.boot.entries import LoaderEntry, encode_entry, parse_entry, sector_with_version
from imagekit.boot.ledger import (
    LEDGER_OFFSET,
    LEDGER_SIZE,
    decode_ledger,
    decode_seen,
    encode_ledger,
    leaves_data_out,
)
from imagekit.boot.pislot import encode_cmdline
from imagekit.boot.slotstate import (
    COPY_OFFSETS,
    FACTORY,
    RECORD_SIZE,
    TRIES,
    Slot,
    SlotState,
    begin_boot,
    begin_trial,
    counted_boot,
    encode_partition,
    encode_record,
    newest,
    stay,
)
from imagekit.boot.systemd_boot import choose
from imagekit.boot.uboot import SlotEnv, decide
from imagekit.disk.gpt import LINUX_DATA, Partition, Table, encode
from imagekit.disk.verity import build_tree
from tests.tools.conftest import INIT, RunTool, Shell

MIB = 1 << 20
pytestmark = pytest.mark.tools

SHOW = 'echo "$s_known $s_generation $s_slot $s_tries $s_confirmed $s_unhealthy $s_other_good"'
SET = 'set -- $line; s_known=$1 s_generation=$2 s_slot=$3 s_tries=$4 s_confirmed=$5 s_unhealthy=$6 s_other_good=$7'


def line_of(state: SlotState | None) -> str:
    if state is None:
        return "no 0 a 0 0 0 0"
    return (f"yes {state.generation} {state.slot.value} {state.tries} {state.confirmed:d} {state.unhealthy}"
            f" {state.other_good:d}")


def all_states() -> list[SlotState | None]:
    """Every combination of flags, with the numbers at which something changes."""
    return [None, *(
        SlotState(generation=generation, slot=slot, tries=tries, confirmed=confirmed, unhealthy=unhealthy,
                  other_good=other_good)
        for generation, slot, tries, confirmed, unhealthy, other_good in itertools.product(
            (0, 1, 2**31 - 1, 2**31, 2**32 - 1), Slot, (0, 1, 3, 255), (False, True), (0, 1, 2, 3, 4, 254, 255),
            (False, True))
    )]


def test_every_boot_is_decided_as_in_the_model(shell: Shell) -> None:
    cases = [(state, booted) for state in all_states() for booted in Slot]
    said = shell(f'while read -r line; do {SET}; record_begin $8; echo "$hand_over $({SHOW})"; done',
                 stdin="".join(f"{line_of(state)} {booted.value}\n" for state, booted in cases)).splitlines()
    assert len(said) == len(cases)
    for (state, booted), line in zip(cases, said, strict=True):
        step = begin_boot(state, booted)
        assert line == f"{'yes' if step.hand_over else 'no'} {line_of(step.record)}", (state, booted)


def test_failed_hand_over_leaves_the_record_of_the_model(shell: Shell) -> None:
    cases = [(state, booted) for state in all_states() for booted in Slot]
    said = shell(f'while read -r line; do {SET}; record_stay $8; {SHOW}; done',
                 stdin="".join(f"{line_of(state)} {booted.value}\n" for state, booted in cases)).splitlines()
    assert said == [line_of(stay(state, booted)) for state, booted in cases]


def test_boot_that_the_loader_counted_is_counted_no_second_time(shell: Shell) -> None:
    cases = [(state, booted, seen) for state in all_states() for booted in Slot
             for seen in {0, 1, state.generation if state else 2**31}]
    lines = "".join(f"{line_of(state)} {booted.value} {seen}\n" for state, booted, seen in cases)
    said = shell(f'while read -r line; do {SET}; if record_counted $8 $9; then echo counted; else {SHOW}; fi; done',
                 stdin=lines).splitlines()
    assert said == [line_of(found) if (found := counted_boot(state, booted, seen=seen)) else "counted"
                    for state, booted, seen in cases]


@pytest.mark.parametrize("deaf_from", [0, 1, 2])
def test_trial_ends_where_u_boot_cannot_write_its_medium_any_more(shell: Shell, tmp_path: Path, deaf_from: int) -> None:
    """What U-Boot decides is in its memory alone from that boot on: the initrd counts on the disk."""
    state = tmp_path / "state"
    state.write_bytes(encode_partition(begin_trial(FACTORY)).ljust(MIB, b"\0"))
    taken = []
    for boot in range(TRIES + 1):
        raw = state.read_bytes()
        held = [raw[offset:offset + RECORD_SIZE] for offset in COPY_OFFSETS]
        step = decide((held[0], held[1]), frozenset(Slot))
        assert step.slot is not None
        assert step.record is not None
        if boot < deaf_from:
            at = COPY_OFFSETS[step.copy]
            state.write_bytes(raw[:at] + encode_record(step.record) + raw[at + RECORD_SIZE:])
        shell("slot=$2 loader=u-boot state_device=$1; count_boot; ledger_add $1", state, step.slot.value)
        taken.append(step.slot)
    assert taken == [*[Slot.B] * TRIES, Slot.A]


def test_boots_that_u_boot_counts_are_counted_by_nobody_else(shell: Shell, tmp_path: Path) -> None:
    """Boots of a slot that never gets healthy: after each the record is the one that U-Boot wrote."""
    state = tmp_path / "state"
    state.write_bytes(encode_partition(replace(FACTORY, generation=2**32 - 2)).ljust(MIB, b"\0"))
    for _ in range(5):
        raw = state.read_bytes()
        held = [raw[offset:offset + RECORD_SIZE] for offset in COPY_OFFSETS]
        step = decide((held[0], held[1]), frozenset(Slot))
        assert step.record is not None
        at = COPY_OFFSETS[step.copy]
        written = raw[:at] + encode_record(step.record) + raw[at + RECORD_SIZE:]
        state.write_bytes(written)
        shell("slot=a loader=u-boot state_device=$1; count_boot; ledger_add $1", state)
        after = state.read_bytes()
        assert after[:LEDGER_OFFSET] == written[:LEDGER_OFFSET]
        assert decode_seen(after[LEDGER_OFFSET:LEDGER_OFFSET + LEDGER_SIZE]) == step.record.generation


STATES = st.builds(
    SlotState, generation=st.integers(min_value=0, max_value=2**32 - 1), slot=st.sampled_from(Slot),
    tries=st.integers(min_value=0, max_value=255), confirmed=st.booleans(),
    unhealthy=st.integers(min_value=0, max_value=255), other_good=st.booleans(),
)
FEW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@FEW
@given(first=STATES, second=STATES, damage=st.sampled_from(("none", "first", "second", "both")),
       at=st.integers(min_value=0, max_value=RECORD_SIZE * 8 - 1))
def test_shell_reads_and_writes_the_partition_as_the_model(
    shell: Shell, tmp_path: Path, first: SlotState, second: SlotState, damage: str, at: int
) -> None:
    copies = [bytearray(encode_record(first)), bytearray(encode_record(second))]
    for index, name in enumerate(("first", "second")):
        if damage in (name, "both"):
            copies[index][at // 8] ^= 1 << at % 8
    raw = copies[0].ljust(COPY_OFFSETS[1], b"\0") + copies[1]
    partition = tmp_path / "state"
    partition.write_bytes(raw)
    expected, copy = newest((bytes(copies[0]), bytes(copies[1])))
    said = shell(f"record_load $1; {SHOW}; echo $next_copy; record_begin b; record_write $1; record_load $1; {SHOW}",
                 partition)
    lines = said.splitlines()
    if expected is not None:
        assert lines[0] == line_of(expected)
    else:
        assert lines[0].startswith("no ")
    after = begin_boot(expected, Slot.B).record
    assert lines[1:] == [str(copy), line_of(after)]
    written = bytearray(raw)
    written[COPY_OFFSETS[copy]:COPY_OFFSETS[copy] + RECORD_SIZE] = encode_record(after)
    assert partition.read_bytes() == written


@pytest.mark.parametrize("raw", [b"", b"IKS1", bytes(8192), encode_partition(FACTORY)[:511], b"\xff" * 8192])
def test_partition_without_a_record_is_a_lost_one(shell: Shell, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "state").write_bytes(raw)
    assert shell(f"record_load $1; {SHOW}", tmp_path / "state").startswith("no ")


def test_record_with_a_value_out_of_range_is_lost_though_its_checksum_fits(shell: Shell, tmp_path: Path) -> None:
    import zlib

    for offset, value in ((8, 2), (10, 2), (12, 3), (13, 2)):
        raw = bytearray(encode_record(FACTORY))
        raw[offset] = value
        raw[508:] = zlib.crc32(raw[:508]).to_bytes(4, "little")
        (tmp_path / "state").write_bytes(raw)
        assert shell(f"record_load $1; {SHOW}", tmp_path / "state").startswith("no ")


def entry(slot: Slot, version: int) -> bytes:
    return encode_entry(LoaderEntry(
        slot=slot, version=version, base_root="0" * 64, kernel_root="1" * 64,
        state_partuuid="00000000-0000-4000-8000-000000000000", cmdline="console=ttyS0 quiet panic=10",
    ))


@pytest.mark.parametrize("begun", [None, 0, 1, 5, 6, 7, 12, 13, 255, 65535, 2**31, 2**32 - 1])
def test_boot_is_added_to_the_ledger_and_leaves_data_out_as_in_the_model(shell: Shell, tmp_path: Path,
                                                                         begun: int | None) -> None:
    state = tmp_path / "state"
    front = encode_partition(FACTORY).ljust(LEDGER_OFFSET, b"\0")
    state.write_bytes(front + (bytes(LEDGER_SIZE) if begun is None else encode_ledger(begun)) + bytes(4096))
    said = shell('s_generation=4294967295; ledger_add $1; echo "$l_begun $leave_data"', state).split()
    after = ((begun or 0) + 1) % 2**32
    assert said == [str(after), "yes" if leaves_data_out(after) else "no"]
    assert state.read_bytes() == front + encode_ledger(after, 2**32 - 1) + bytes(4096)


@pytest.mark.parametrize("at", [0, 4, 100, 508])
def test_torn_ledger_counts_as_nothing_begun(shell: Shell, tmp_path: Path, at: int) -> None:
    raw = bytearray(encode_ledger(6))
    raw[at] ^= 1
    state = tmp_path / "state"
    state.write_bytes(encode_partition(FACTORY).ljust(LEDGER_OFFSET, b"\0") + raw)
    assert shell('s_generation=1; ledger_add $1; echo "$l_begun $leave_data"', state) == "1 no\n"
    assert decode_ledger(bytes(raw)) == 0


def test_missing_state_partition_does_not_end_the_boot(shell: Shell, tmp_path: Path) -> None:
    assert "cannot write the ledger" in shell(
        's_generation=1; ledger_add $1; cat $DEV/console; echo "$leave_data"', tmp_path / "none" / "none")


PROGRAMS = frozenset({"EFI/imagekit/a/kernel.efi", "EFI/imagekit/b/kernel.efi"})


@pytest.mark.parametrize(("mine", "other"), [(1, 0), (7, 8), (8, 9), (99, 100), (9_999_999, 3), (1_234_567_889, 0)])
def test_hand_over_ranks_the_other_slot_above_all_with_one_sector(
    shell: Shell, tmp_path: Path, mine: int, other: int
) -> None:
    (tmp_path / "imagekit-a.conf").write_bytes(entry(Slot.A, mine))
    (tmp_path / "imagekit-b.conf").write_bytes(old := entry(Slot.B, other))
    assert shell("entries_prefer $1 b && echo done", tmp_path) == "done\n"
    raw = (tmp_path / "imagekit-b.conf").read_bytes()
    top = max(mine, other) + 1
    assert raw == sector_with_version(old[:512], top) + old[512:]
    assert parse_entry(raw, name="b").version == top
    assert (tmp_path / "imagekit-a.conf").read_bytes() == entry(Slot.A, mine)
    choice = choose({path.name: path.read_bytes() for path in tmp_path.iterdir()}, PROGRAMS)
    assert choice
    assert choice.entry.file_name == "imagekit-b.conf"


@pytest.mark.parametrize("files", [
    {}, {"imagekit-b+0-3.conf": entry(Slot.B, 2)}, {"imagekit-b.conf": b""}, {"imagekit-b.conf": b"version 2\n"},
    {"imagekit-b.conf": b"#" * 1024}, {"imagekit-b.conf.bak": entry(Slot.B, 2)},
])
def test_hand_over_to_a_slot_that_the_loader_would_not_take_is_not_done(
    shell: Shell, tmp_path: Path, files: dict[str, bytes]
) -> None:
    files = {"imagekit-a.conf": entry(Slot.A, 1)} | files
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    assert shell("entries_prefer $1 b || echo refused", tmp_path) == "refused\n"
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files


def test_slot_that_the_loader_took_instead_of_a_confirmed_one_comes_first_from_now_on(shell: Shell,
                                                                                      tmp_path: Path) -> None:
    """The firmware's shell asks for it once; the next boot must not begin with the detour again."""
    for state in (state for state in all_states() if state is None or state.generation == 1):
        (tmp_path / "state").write_bytes(bytes(8192) if state is None else encode_partition(state))
        said = shell('give_slot_to() { echo "first $1"; }; reboot() { exit 9; }; loader=systemd-boot slot=b'
                     ' state_device=$1; count_boot', tmp_path / "state")
        step = begin_boot(state, Slot.B)
        assert said.split() == (["first", "b"] if step.rank_first else ["first", "a"] if step.hand_over else []), state
        with (tmp_path / "state").open("rb") as stream:
            after = newest((stream.read(RECORD_SIZE), stream.seek(COPY_OFFSETS[1]) and stream.read(RECORD_SIZE)))[0]
        assert after == step.record


GOOD = {"slot": "a", "base": "0a" * 32, "kernel": "ff" * 32, "state": "01234567-89ab-5cde-8f01-23456789abcd"}


def cmdline(words: dict[str, str], extra: str = "") -> str:
    return "BOOT=x " + " ".join(f"imagekit.{key}={value}" for key, value in words.items()) + f" quiet {extra}\n"


def test_command_line_of_our_entry_is_read(shell: Shell, tmp_path: Path) -> None:
    raw = encode_entry(LoaderEntry(slot=Slot.B, version=1, base_root="ab" * 32, kernel_root="cd" * 32,
                                   state_partuuid=GOOD["state"], cmdline="panic=10 quiet"))
    options = next(line for line in raw.decode().splitlines() if line.startswith("options "))
    (tmp_path / "cmdline").write_text(options.removeprefix("options ") + "\n")
    said = shell('read_cmdline $1; echo "$slot $base $kernel $state"', tmp_path / "cmdline")
    assert said == f"b {'ab' * 32} {'cd' * 32} {GOOD['state']}\n"


def test_arguments_of_a_slot_for_uboot_name_their_loader(shell: Shell, tmp_path: Path) -> None:
    env = SlotEnv(slot=Slot.B, base_root="ab" * 32, kernel_root="cd" * 32, state_partuuid=GOOD["state"],
                  cmdline="panic=10 quiet", files={})
    (tmp_path / "cmdline").write_text(env.arguments + "\n")
    said = shell('read_cmdline $1; echo "$slot $base $kernel $state $loader"', tmp_path / "cmdline")
    assert said == f"b {'ab' * 32} {'cd' * 32} {GOOD['state']} u-boot\n"


def test_arguments_of_a_slot_for_the_pis_firmware_name_their_loader(shell: Shell, tmp_path: Path) -> None:
    entry = LoaderEntry(slot=Slot.B, version=0, base_root="ab" * 32, kernel_root="cd" * 32, cmdline="panic=10 quiet",
                        state_partuuid=GOOD["state"])
    (tmp_path / "cmdline").write_bytes(encode_cmdline(entry))
    said = shell('read_cmdline $1; echo "$slot $base $kernel $state $loader"', tmp_path / "cmdline")
    assert said == f"b {'ab' * 32} {'cd' * 32} {GOOD['state']} piboot\n"


def test_autoboot_is_written_byte_for_byte_as_the_model_has_it(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "autoboot.txt"
    pairs = [(2, 3), (3, 2), (1, 9), (9, 10), (10, 11), (PARTITION_MOST, 1)]
    for boot, trial in pairs:
        before = path.stat().st_ino if path.exists() else None
        assert shell(f"autoboot_write $1 {boot} {trial} && echo done", path) == "done\n"
        assert path.read_bytes() == encode_autoboot(Autoboot(boot=boot, trial=trial))
        assert before in (None, path.stat().st_ino), "in place"


MOUNTED = 'mount() { :; }; umount() { :; }'  # the folder that a boot partition is mounted on stays as it is


def hand_over_to(shell: Shell, folder: Path, slot: str, other: bytes, *, booted: str = "") -> tuple[str, bytes]:
    """What the initrd of the other slot, or of `booted`, says when it gives a slot the way, and autoboot.txt then."""
    parts = {"boot": b"", "boot-a": b"", "boot-b": b"", "slot-state": b""}
    parts[f"boot-{slot}"] = other
    sys, dev = disk_of(folder, parts, guid=STATE_GUID)
    path = folder / "esp/autoboot.txt"
    path.parent.mkdir()
    path.write_bytes(encode_autoboot(Autoboot(boot=2, trial=3)))
    booted = booted or ("b" if slot == "a" else "a")
    said = shell(f"{MOUNTED}; RUN={folder}; disk=vda slot={booted} loader=piboot;"
                 f" give_slot_to {slot} && echo given || echo kept", sys=sys, dev=dev)
    return said, path.read_bytes()


@pytest.mark.parametrize(("slot", "boot", "trial"), [("a", 2, 3), ("b", 3, 2)])
def test_hand_over_writes_the_partition_of_the_other_slot(shell: Shell, tmp_path: Path, slot: str, boot: int,
                                                          trial: int) -> None:
    fat = bytes(510) + b"\x55\xaa"
    said, raw = hand_over_to(shell, tmp_path, slot, fat)
    assert (said, raw) == ("given\n", encode_autoboot(Autoboot(boot=boot, trial=trial)))


def test_slot_that_came_up_by_the_walk_gives_itself_the_way(shell: Shell, tmp_path: Path) -> None:
    said, raw = hand_over_to(shell, tmp_path, "b", bytes(510) + b"\x55\xaa", booted="b")
    assert (said, raw) == ("given\n", encode_autoboot(Autoboot(boot=3, trial=2)))


@pytest.mark.parametrize("other", [b"", bytes(512), b"\x55\xaa" + bytes(510)])
def test_slot_whose_boot_partition_was_never_written_is_not_handed_over_to(shell: Shell, tmp_path: Path,
                                                                           other: bytes) -> None:
    said, raw = hand_over_to(shell, tmp_path, "b", other)
    assert (said, raw) == ("kept\n", encode_autoboot(Autoboot(boot=2, trial=3)))


@pytest.mark.parametrize(("unhealthy", "written"), [(0, True), (1, False), (3, False), (255, False)])
def test_record_that_the_loader_wrote_is_left_as_it_is(shell: Shell, tmp_path: Path, unhealthy: int,
                                                       written: bool) -> None:
    device = tmp_path / "state"
    device.write_bytes(encode_partition(replace(FACTORY, unhealthy=unhealthy, other_good=True)))
    before = device.read_bytes()
    shell("slot=a loader=u-boot state_device=$1; count_boot", device)
    assert (device.read_bytes() != before) is written
    copies = tuple(device.read_bytes()[offset:offset + RECORD_SIZE] for offset in COPY_OFFSETS)
    state = newest((copies[0], copies[1]))[0]
    assert state is not None
    assert (state.slot, state.unhealthy) == (Slot.A, max(unhealthy, 1))


@pytest.mark.parametrize("text", [
    "", "quiet",
    *(cmdline({key: value for key, value in GOOD.items() if key != gone}) for gone in GOOD),
    *(cmdline(GOOD, f"imagekit.{key}={value}") for key, value in GOOD.items()),
    cmdline(GOOD | {"slot": "c"}), cmdline(GOOD | {"slot": "*"}), cmdline(GOOD | {"base": "0A" * 32}),
    cmdline(GOOD | {"base": "0a" * 31}), cmdline(GOOD | {"kernel": "0a" * 33}), cmdline(GOOD | {"kernel": "none"}),
    cmdline(GOOD | {"state": "../../etc/passwd"}), cmdline(GOOD | {"state": GOOD["state"].upper()}),
    cmdline(GOOD | {"base": ""}), cmdline(GOOD, "imagekit.loader=grub"),
    cmdline(GOOD, "imagekit.loader=u-boot imagekit.loader=u-boot"),
])
def test_command_line_without_all_four_words_or_with_two_of_one_boots_nothing(
    shell: Shell, tmp_path: Path, text: str
) -> None:
    (tmp_path / "cmdline").write_text(text)
    assert shell("read_cmdline $1; echo booted", tmp_path / "cmdline").startswith("refused: imagekit.")


def disk_of(folder: Path, partitions: dict[str, bytes], *, guid: uuid.UUID) -> tuple[Path, Path]:
    """A disk, and the part of sysfs and devtmpfs that shows it; the first partition gets `guid`."""
    sys, dev = folder / "sys", folder / "dev"
    dev.mkdir()
    table = Table(
        disk_guid=uuid.uuid5(guid, "disk"), disk_size=64 * MIB, partitions=tuple(
            Partition(index=index, name=name, type_guid=LINUX_DATA, start=index * 4 * MIB, end=(index + 1) * 4 * MIB,
                      unique_guid=guid if index == 1 else uuid.uuid5(guid, name))
            for index, name in enumerate(partitions, 1)),
    )
    with (dev / "vda").open("wb") as stream:
        stream.truncate(table.disk_size)
        for offset, raw in encode(table):
            stream.seek(offset)
            stream.write(raw)
    shown = {"vda": "DEVNAME=vda\n"} | {
        f"vda/vda{part.index}": f"MAJOR=1\nDEVNAME=vda{part.index}\nPARTN={part.index}\nPARTNAME={part.name}\n"
        for part in table.partitions
    }
    for place, text in shown.items():
        (sys / "block" / place).mkdir(parents=True)
        (sys / "block" / place / "uevent").write_text(text)
    (sys / "block/vda/queue").mkdir()
    (sys / "block/vda/queue/logical_block_size").write_text("512\n")
    (sys / "block/vda/size").write_text(f"{table.disk_size // 512}\n")
    for part, raw in zip(table.partitions, partitions.values(), strict=True):
        (dev / f"vda{part.index}").write_bytes(raw)
    return sys, dev


STATE_GUID = uuid.UUID(GOOD["state"])


def test_disk_is_found_by_the_identifier_of_its_slot_state_partition(shell: Shell, tmp_path: Path) -> None:
    sys, dev = disk_of(tmp_path, {"slot-state": b"", "data": b""}, guid=STATE_GUID)
    script = f"state={STATE_GUID}; find_state && echo $disk $state_device; find_partition data && echo $found"
    assert shell(script, sys=sys, dev=dev) == f"vda {dev}/vda1\n{dev}/vda2\n"


def test_disk_is_found_by_its_backup_table(shell: Shell, tmp_path: Path) -> None:
    sys, dev = disk_of(tmp_path, {"slot-state": b""}, guid=STATE_GUID)
    with (dev / "vda").open("r+b") as stream:
        stream.write(bytes(MIB))
    assert shell(f"state={STATE_GUID}; find_state && echo $disk", sys=sys, dev=dev) == "vda\n"


@pytest.mark.parametrize(("at", "value"), [
    (2 * 512 + 128 + 16, 0xFF),  # the GUID in the entry: noise that the header's checksum would show
    (512 + 72, 9),  # where the entries are
    (512 + 84, 0),  # how long one is
])
def test_disk_is_found_by_its_backup_table_where_the_primary_one_is_damaged(shell: Shell, tmp_path: Path, at: int,
                                                                            value: int) -> None:
    """As the firmware and the kernel find it, which hold a table against its checksums."""
    sys, dev = disk_of(tmp_path, {"data": b"", "slot-state": b""}, guid=uuid.uuid5(STATE_GUID, "data"))
    state = uuid.uuid5(uuid.uuid5(STATE_GUID, "data"), "slot-state")
    with (dev / "vda").open("r+b") as stream:
        stream.seek(at)
        stream.write(bytes([value]))
    assert shell(f"state={state}; find_state && echo $disk", sys=sys, dev=dev) == "vda\n"


@pytest.mark.parametrize("copy", ["primary", "backup"])
def test_disk_is_found_whichever_copy_of_its_table_is_noise(shell: Shell, tmp_path: Path, copy: str) -> None:
    """Noise that still begins as a table does is followed nowhere: to find an end of the disk would take for ever."""
    sys, dev = disk_of(tmp_path, {"data": b"", "slot-state": b""}, guid=uuid.uuid5(STATE_GUID, "data"))
    state = uuid.uuid5(uuid.uuid5(STATE_GUID, "data"), "slot-state")
    whole, draw = (dev / "vda").read_bytes(), random.Random(copy)
    at = 512 if copy == "primary" else len(whole) - 512
    for number in range(40):
        header = (b"EFI PART" if number % 4 else b"") + draw.randbytes(512)
        found = header[:512] if number % 2 else header[:72] + whole[at + 72:at + 80] + header[80:512]
        (dev / "vda").write_bytes(whole[:at] + found + whole[at + 512:])
        os.truncate(dev / "vda", 1 << 40)
        assert shell(f"state={state}; find_state && echo $disk", sys=sys, dev=dev) == "vda\n"


@pytest.mark.parametrize("gone", ["queue/logical_block_size", "size"])
def test_disk_that_is_pulled_out_while_it_is_looked_at_is_passed(shell: Shell, tmp_path: Path, gone: str) -> None:
    sys, dev = disk_of(tmp_path, {"slot-state": b""}, guid=STATE_GUID)
    (sys / "block/vda" / gone).unlink()
    said = shell(f"exec 2> /dev/null; state={STATE_GUID}; find_state || echo none", sys=sys, dev=dev)
    assert said == "none\n"


def test_foreign_disk_is_not_taken(shell: Shell, tmp_path: Path) -> None:
    sys, dev = disk_of(tmp_path, {"slot-state": b""}, guid=uuid.uuid5(STATE_GUID, "foreign"))
    assert shell(f"state={STATE_GUID}; find_state || echo none", sys=sys, dev=dev) == "none\n"


def test_disk_without_partitions_and_machine_without_disks_are_passed_in_silence(
        shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "none/block").mkdir(parents=True)
    (tmp_path / "bare/block/sda").mkdir(parents=True)
    for name in ("none", "bare"):
        assert shell("state=x; find_state || echo none", sys=tmp_path / name) == "none\n"


def erofs(blocks: int) -> bytes:
    """As much of an EROFS image as the initrd looks at."""
    raw = bytearray(os.urandom(blocks * 4096))
    raw[1024:1028] = (0xE0F5E1E2).to_bytes(4, "little")
    raw[1036] = 12
    raw[1060:1064] = blocks.to_bytes(4, "little")
    return bytes(raw)


def verity_partition(blocks: int, salt: bytes) -> tuple[bytes, str]:
    data = erofs(blocks)
    tree = build_tree(BytesIO(data), len(data), salt=salt, uuid=STATE_GUID)
    return data + tree.tree, tree.root_hash


def test_verity_table_follows_from_the_headers_on_the_partition(shell: Shell, tmp_path: Path) -> None:
    raw, root = verity_partition(300, bytes(range(32)))
    sys, dev = disk_of(tmp_path, {"slot-state": b"", "base-b": raw}, guid=STATE_GUID)
    said = shell(f'disk=vda; verity_table base-b {root}; echo "$table"', sys=sys, dev=dev)
    assert said == (f"0 2400 verity 1 {dev}/vda2 {dev}/vda2 4096 4096 300 301 sha256 {root} {bytes(range(32)).hex()}"
                    " 1 restart_on_corruption\n")


@pytest.mark.parametrize(("offset", "value", "reason"), [
    (1024, 0, "no EROFS"), (1036, 9, "4096 are expected"), (1060, 7, "no verity superblock"),
    (300 * 4096, 0, "no verity superblock"), (300 * 4096 + 81, 9, "a salt of"),
])
def test_damaged_header_boots_nothing(shell: Shell, tmp_path: Path, offset: int, value: int, reason: str) -> None:
    raw = bytearray(verity_partition(300, bytes(32))[0])
    raw[offset] = value
    sys, dev = disk_of(tmp_path, {"base-a": bytes(raw)}, guid=STATE_GUID)
    said = shell(f'disk=vda; verity_table base-a {"0" * 64}; echo "$table"', sys=sys, dev=dev)
    assert said.startswith("refused: base-a")
    assert reason in said


@pytest.mark.parametrize("partitions", [{"base-a": b""}, {"base-a": b"x" * 1000}, {"data": b""}])
def test_empty_short_or_missing_slot_boots_nothing(
    shell: Shell, tmp_path: Path, partitions: dict[str, bytes]
) -> None:
    sys, dev = disk_of(tmp_path, partitions, guid=STATE_GUID)
    assert shell(f"disk=vda; verity_table base-a {'0' * 64}", sys=sys, dev=dev).startswith("refused: ")


PROGRAM = 'seq 300000; echo "the end $*" >&2; return 5; }; '  # one that says two megabytes


def test_slot_is_opened_where_there_is_no_console(shell: Shell, tmp_path: Path) -> None:
    """As where the kernel's command line names a UART that the board does not have."""
    raw, root = verity_partition(4, bytes(32))
    sys, dev = disk_of(tmp_path, {"base-a": raw, "kernel-a": raw}, guid=STATE_GUID)
    dmsetup = 'env() { echo "$*" > $RUN/dmsetup; }; '
    (dev / "console").mkdir()
    said = shell(f"exec 2> /dev/null; {dmsetup}disk=vda slot=a base={root} kernel={root}; open_verity;"
                 " cat $RUN/dmsetup", sys=sys, dev=dev)
    assert said.startswith("DM_DISABLE_UDEV=1 /usr/sbin/dmsetup create --concise imagekit-base,,,ro,0 32 verity ")


@pytest.mark.parametrize("there", [True, False])
def test_program_of_the_base_neither_waits_for_the_console_nor_needs_one(shell: Shell, tmp_path: Path,
                                                                         there: bool) -> None:
    """Of what it says the end is told: at 115200 bits a second the whole would take minutes."""
    console = tmp_path / "console"
    (console.touch if there else console.mkdir)()
    stubs = f'exec 2> /dev/null; mount() {{ :; }}; umount() {{ :; }}; NEW=/new; chroot() {{ {PROGRAM}'
    assert shell(f'{stubs}in_base e2fsck -y /dev/x; echo "status $?"', dev=tmp_path) == "status 5\n"
    if there:
        assert console.read_text().splitlines() == [*map(str, range(299_982, 300_001)), "the end /new e2fsck -y /dev/x"]


def test_machine_gets_an_identifier_once(shell: Shell, tmp_path: Path) -> None:
    script = "name_machine $1 && cat $1/machine-id"
    first = shell(script, tmp_path)
    assert len(first) == 33
    assert set(first.strip()) <= set("0123456789abcdef")
    assert shell(script, tmp_path) == first
    assert [path.name for path in tmp_path.iterdir()] == ["machine-id"]


@pytest.mark.parametrize("text", ["", "uninitialized\n", "0" * 31 + "\n", "G" * 32 + "\n"])
def test_unusable_machine_identifier_is_replaced(shell: Shell, tmp_path: Path, text: str) -> None:
    (tmp_path / "machine-id").write_text(text)
    assert len(shell("name_machine $1 && cat $1/machine-id", tmp_path)) == 33


def test_link_in_place_of_the_machine_identifier_is_not_followed(shell: Shell, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("0" * 32 + "\n")
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "machine-id").symlink_to(secret)
    assert shell("name_machine $1 && cat $1/machine-id", folder) != secret.read_text()
    assert not (folder / "machine-id").is_symlink()
    assert secret.read_text() == "0" * 32 + "\n"


def test_endless_machine_identifier_is_not_read_to_its_end(shell: Shell, tmp_path: Path) -> None:
    with (tmp_path / "machine-id").open("wb") as out:
        out.truncate(1 << 40)
    assert len(shell("name_machine $1 && cat $1/machine-id", tmp_path)) == 33


def test_link_in_place_of_the_new_machine_identifier_is_not_written_through(shell: Shell, tmp_path: Path) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "etc"
    disk.write_bytes(b"table")
    folder.mkdir()
    (folder / "machine-id.new").symlink_to(disk)
    assert len(shell("name_machine $1 && cat $1/machine-id", folder)) == 33
    assert disk.read_bytes() == b"table"


KEEP = 'NEW=$1; mount() { echo "mount $*"; }; say() { echo "$*"; }; keep $1/var/etc "$2"; echo alive'


def kept(tmp_path: Path) -> Path:
    """A root with an empty /etc and an empty folder of persistent files; the latter."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "var/etc").mkdir(parents=True)
    return tmp_path / "var/etc"


def test_persistent_file_and_folder_are_mounted_over_etc(shell: Shell, tmp_path: Path) -> None:
    (kept(tmp_path) / "hostname").write_text("device")
    for name in ("hostname", "ssh/"):
        path = name.rstrip("/")
        assert shell(KEEP, tmp_path, name) == (
            f"mount -o bind {tmp_path}/var/etc/{path} {tmp_path}/etc/{path}\nalive\n")
        assert (tmp_path / "etc" / path).exists()


def test_persistent_file_takes_the_place_of_a_link_in_the_base(shell: Shell, tmp_path: Path) -> None:
    (kept(tmp_path) / "localtime").write_bytes(b"TZif")
    (tmp_path / "etc/localtime").symlink_to("/usr/share/zoneinfo/Nowhere/Such")
    assert shell(KEEP, tmp_path, "localtime").startswith("mount -o bind ")
    assert not (tmp_path / "etc/localtime").is_symlink()


def test_place_that_cannot_be_made_does_not_end_the_shell(shell: Shell, tmp_path: Path) -> None:
    (kept(tmp_path) / "a").mkdir()
    (tmp_path / "var/etc/a/b").write_bytes(b"")
    (tmp_path / "etc/a").write_bytes(b"a file")
    assert shell(KEEP, tmp_path, "a/b") == "cannot keep /etc/a/b\nalive\n"


def test_persistent_name_that_leads_elsewhere_is_not_mounted(shell: Shell, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    (secret / "inner").mkdir(parents=True)
    (kept(tmp_path) / "link").symlink_to(secret)
    for name in ("link/", "link/inner/"):
        assert shell(KEEP, tmp_path, name) == f"cannot keep /etc/{name}\nalive\n"


def test_link_in_place_of_var_tmp_opens_nothing_to_everybody(shell: Shell, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (tmp_path / "var").mkdir()
    (tmp_path / "var/tmp").symlink_to(victim)
    block = tmp_path / "class/block/vda1"
    block.mkdir(parents=True)
    (tmp_path / "block/vda").mkdir(parents=True)
    for path in (block / "start", block / "size", tmp_path / "block/vda/size"):
        path.write_text("8\n")
    shell('NEW=$1; disk=vda; mount() { :; }; find_partition() { found=/dev/vda1; }; mount_var', tmp_path, sys=tmp_path)
    assert victim.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "var/tmp").stat().st_mode & 0o7777 == 0o1777


@pytest.mark.parametrize(("blocks", "behind", "grows"), [
    (4096, 0, False), (4096, 2 * MIB, False), (4096, 3 * MIB, True),
    (3072, 0, True), (3584, 0, False), (3583, 0, True),
])
def test_growing_is_asked_for_where_disk_or_partition_have_room(shell: Shell, run_tool: RunTool, tmp_path: Path,
                                                               blocks: int, behind: int, grows: bool) -> None:
    """A partition of 16 MiB with a file system of so many blocks, and so much of the disk behind it."""
    data = tmp_path / "vda1"
    (tmp_path / "class/block/vda1").mkdir(parents=True)
    (tmp_path / "block/vda").mkdir(parents=True)
    for path, size in (("class/block/vda1/start", MIB), ("class/block/vda1/size", 16 * MIB),
                       ("block/vda/size", 17 * MIB + behind)):
        (tmp_path / path).write_text(f"{size // 512}\n")
    data.touch()
    os.truncate(data, 16 * MIB)
    run_tool("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", data, str(blocks))
    said = shell('disk=vda; has_room $1 && echo grows || echo stays', data, sys=tmp_path)
    assert said == ("grows\n" if grows else "stays\n")


def test_missing_watchdog_is_said_and_nothing_made_in_its_place(shell: Shell, tmp_path: Path) -> None:
    said = shell('load_modules() { :; }; say() { echo "$*"; }; start_watchdog; echo alive', dev=tmp_path)
    assert said == "no watchdog\nalive\n"
    assert not list(tmp_path.iterdir())


def test_no_failing_redirection_can_end_the_first_program() -> None:
    code = [line.partition("#")[0] for line in INIT.read_text().splitlines()]
    assert not [line for line in code if ": >" in line]


def test_no_word_of_the_kernel_command_line_reaches_a_shell_or_skips_a_check() -> None:
    text = INIT.read_text()
    code = [line.partition("#")[0] for line in text.splitlines()]
    assert not [line for line in code if "/bin/sh" in line or "sulogin" in line or "setsid" in line]
    assert text.count("/proc/cmdline") == 1
    reads = [line for line in code if "imagekit." in line and "=*)" in line]
    assert len(reads) == 5  # slot, base, kernel, state, and who counts


@pytest.mark.parametrize("loader", ["", "u-boot", "piboot"])
@pytest.mark.parametrize("confirmed", [True, False])
@pytest.mark.parametrize("written", [True, False])
def test_reboot_out_of_a_boot_that_nobody_counted_leads_nowhere(shell: Shell, tmp_path: Path, loader: str,
                                                                confirmed: bool, written: bool) -> None:
    """But where systemd-boot counts a trial itself."""
    state = tmp_path / "state"
    state.write_bytes(encode_partition(replace(FACTORY, other_good=True, confirmed=confirmed)))
    broken = "" if written else "record_write() { return 1; }; "
    said = shell(f'{broken}slot=a loader={loader} state_device=$1 disk=vda degraded=false; count_boot; write_report;'
                 ' cat $RUN/boot.json', state)
    expected = written or (not loader and not confirmed)
    assert f'"fallback":{str(expected).lower()},' in said


def test_generation_of_the_model_follows_the_shell_over_many_boots(shell: Shell, tmp_path: Path) -> None:
    state: SlotState | None = replace(FACTORY, other_good=True)
    assert state
    (tmp_path / "state").write_bytes(encode_partition(state))
    said = shell(f"i=0; while [ $i -lt 12 ]; do record_load $1; record_begin a; record_write $1; {SHOW};"
                 " i=$((i + 1)); done", tmp_path / "state").splitlines()
    for line in said:
        state = begin_boot(state, Slot.A).record
        assert line == line_of(state)
