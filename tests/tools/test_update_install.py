"""Installing updates on a device made of files: what arrives, what stays, and what is remembered."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from imagekit.boot.entries import ENTRY_FOLDER, VERSION_MAX, entry_name
from imagekit.boot.ledger import IN_VAIN, LEDGER_OFFSET, encode_ledger
from imagekit.boot.slotstate import Slot
from imagekit.boot.uboot import DEVICE_TREE
from imagekit.device import history
from imagekit.device.cli import main
from imagekit.device.esp import rank, renumber
from imagekit.device.install import Options, install
from imagekit.device.offers import Offer
from imagekit.device.revert import revert
from imagekit.device.state import StatePartition
from imagekit.device.survey import slot_proof
from imagekit.errors import ImagekitError, PlanError, TargetError, TrustError
from imagekit.plan.update import Source
from imagekit.testing.images import noise
from tests.tools.update_cut import lose_clusters, lost_on
from tests.tools.update_rig import LOADERS, SYSTEMD_BOOT, U_BOOT, Maker, Rig, make, root_of

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module", params=LOADERS)
def maker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("maker"), request.param)
    made.build()
    for revision in (2, 3):
        made.base(revision)
        made.kernel(revision)
    return made


@pytest.fixture
def rig(maker: Maker, tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "device", maker.image, maker.loader)
    made.revisions = {(name, number): root_of(maker, maker.workshop.packages / f"{name}_{number}.snap")
                      for name in ("debian-13", "pc-kernel") for number in (1, 2, 3)}
    return made


@pytest.fixture
def stick(maker: Maker, tmp_path: Path) -> Callable[..., Path]:
    def made(*names: str, packed: bool = False) -> Path:
        folder = tmp_path / f"stick-{'-'.join(names)}"
        return maker.stick(folder, *(maker.workshop.packages / f"{name}.snap" for name in names), packed=packed)

    return made


Stick = Callable[..., Path]


def runs(rig: Rig) -> tuple[str, int, int]:
    """Slot, revision of the base, revision of the kernel."""
    by_root = {root: number for (_, number), root in rig.revisions.items()}
    return rig.slot.value, by_root[rig.roots["base"]], by_root[rig.roots["kernel"]]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "zstd"])
@pytest.mark.parametrize(("names", "expected"), [
    (("debian-13_2", "pc-kernel_2"), ("b", 2, 2)), (("debian-13_2",), ("b", 2, 1)), (("pc-kernel_2",), ("b", 1, 2)),
], ids=["both", "base", "kernel"])
def test_update_arrives_in_the_other_slot(rig: Rig, stick: Stick, names: tuple[str, ...],
                                          expected: tuple[str, int, int], packed: bool) -> None:
    outcome = rig.install(stick(*names, packed=packed))
    assert outcome.installed
    assert rig.rebooted
    rig.up()
    assert runs(rig) == expected
    memory = history.load_history(rig.machine)
    assert memory.pending is None
    assert memory.changes[-1].outcome == "done"
    assert memory.floors == {"debian-13": expected[1], "pc-kernel": expected[2]}
    assert {item.type for item in slot_proof(partition_of(rig, "base-b"))} >= {"snap-revision", "snap-declaration"}


# No other loader's updates make files on a FAT.
@pytest.mark.parametrize("maker", [SYSTEMD_BOOT], indirect=True)
def test_update_frees_what_earlier_cuts_left_taken_on_the_esp(rig: Rig, stick: Stick) -> None:
    lose_clusters(rig.device("esp"))
    assert lost_on(rig.disk_state())
    assert rig.install(stick("pc-kernel_2")).installed
    assert not lost_on(rig.disk_state())
    rig.up()
    assert runs(rig) == ("b", 1, 2)


# No other loader's updates make files on a FAT.
@pytest.mark.parametrize("maker", [SYSTEMD_BOOT], indirect=True)
@pytest.mark.parametrize("why", ["in use", "mounted elsewhere, too", "damaged"])
def test_esp_that_cannot_be_swept_keeps_no_update_away(rig: Rig, stick: Stick, why: str,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    if why == "mounted elsewhere, too":  # umount succeeds, and the kernel still lets nobody else write
        real = os.open

        def busy(path: Path, flags: int, *more: int, **named: int) -> int:
            if flags & os.O_EXCL and path == rig.device("esp"):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
            return real(path, flags, *more, **named)

        lose_clusters(rig.device("esp"))
        monkeypatch.setattr("imagekit.device.medium.os.open", busy)
    elif why == "in use":
        def refuse(command: str) -> None:
            raise TargetError(f"cannot run {command}: target is busy")

        rig.programs.mounting = refuse
    else:
        def spoil(command: str) -> None:
            with rig.device("esp").open("r+b") as esp:
                esp.write(bytes(512) if command == "umount" else intact)

        intact = rig.device("esp").read_bytes()[:512]
        rig.programs.mounting = spoil
    assert rig.install(stick("pc-kernel_2")).installed
    assert [line for line in rig.said if "stays lost" in line]
    rig.up()
    assert runs(rig) == ("b", 1, 2)


# No other loader's entries have versions.
@pytest.mark.parametrize("maker", [SYSTEMD_BOOT], indirect=True)
def test_update_and_revert_past_the_highest_version_of_an_entry_are_refused_with_the_remedy(rig: Rig,
                                                                                            stick: Stick) -> None:
    rig.install(stick("pc-kernel_2"))
    rig.up()
    rank(rig.machine.esp / ENTRY_FOLDER / entry_name(rig.slot), VERSION_MAX)
    before = rig.disk_state()
    with pytest.raises(TargetError, match="version 9999999999, and none can be above it") as caught:
        rig.install(stick("pc-kernel_3"))
    assert caught.value.hint == "reboot: the next healthy boot ranks them from 1 on"
    with pytest.raises(TargetError, match=r"cannot go back to slot a: cannot rank .*: version 10000000000"):
        revert(rig.machine, (), rig.said.append, now="2026-06-01T00:00:00Z")
    assert rig.disk_state() == before
    renumber(rig.slot, esp=rig.machine.esp, programs=None)
    assert rig.install(stick("pc-kernel_3")).installed
    rig.up()
    assert runs(rig) == ("a", 1, 3)


def test_hold_begins_at_what_is_proven_to_be_past_where_the_clock_is_behind(rig: Rig, stick: Stick) -> None:
    """As it is where nothing keeps the time, until somebody on the network tells it: in 1970, or last year."""
    history.save_history(rig.machine, history.History(latest="2061-01-01T00:00:00Z"))
    assert main(["hold", "3"], machine=rig.machine) == 0
    with pytest.raises(TargetError, match="updates are held until 2061-01-04T00:00:00Z"):
        rig.install(stick("pc-kernel_2"), unattended=True)
    assert main(["hold", "--off"], machine=rig.machine) == 0
    assert rig.install(stick("pc-kernel_2"), unattended=True).installed


def test_of_equal_device_trees_the_one_that_the_gadget_names_is_gone_on_with(tmp_path: Path) -> None:
    maker = make(tmp_path / "maker", U_BOOT)
    tree = noise("tree 1", 5000)
    maker.kernel(1, more={"dtbs/vendor/board.dtb": tree, "dtbs/vendor/alike.dtb": tree})
    rig = Rig(tmp_path / "device", maker.build(), U_BOOT)
    newer = maker.kernel(2, more={"dtbs/vendor/alike.dtb": b"no more"})
    assert rig.install(maker.stick(tmp_path / "stick", newer)).installed
    assert rig.disk_state().volume(Slot.B)[DEVICE_TREE] == noise("tree 2", 5000)
    rig.up()
    assert rig.slot is Slot.B


def partition_of(rig: Rig, name: str):  # type: ignore[no-untyped-def]
    from imagekit.device.partitions import find_partitions

    return find_partitions(rig.machine, Path("/dev/vda"))[name]


# The slots of the others are written whole.
@pytest.mark.parametrize("maker", [SYSTEMD_BOOT], indirect=True)
def test_image_that_the_esp_does_not_give_back_is_written_anew(rig: Rig, stick: Stick) -> None:
    """A bad sector, or a chain that a power cut has broken: at the latter vfat takes no write any more."""
    path = rig.machine.esp / "EFI/imagekit/b/kernel.efi"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to("/proc/self/mem")  # opens, and cannot be read at its beginning
    rig.programs.mounting = lambda command: None
    rig.install(stick("pc-kernel_2"))
    assert rig.programs.ran.count(("mount", "-o", "remount,rw", str(rig.machine.esp))) == 2
    rig.up()
    assert runs(rig) == ("b", 1, 2)


# Under the Pi's firmware nothing but the memory tells a trial that failed from one that never began.
@pytest.mark.parametrize("maker", [SYSTEMD_BOOT, U_BOOT], indirect=True)
def test_device_without_a_memory_does_not_try_what_just_failed_again(rig: Rig, stick: Stick) -> None:
    """Its data partition is lost: /var is in memory, and every check of the store would begin the same trial anew."""
    bad = stick("debian-13_2")
    rig.install(bad, unattended=True)
    assert rig.up(sick=frozenset({("debian-13", 2)})) is Slot.A
    shutil.rmtree(rig.machine.var)
    (rig.machine.var / "lib/imagekit").mkdir(parents=True)
    before = rig.disk_state()
    with pytest.raises(TargetError, match="slot b holds it, and has used up its boots"):
        rig.install(bad, unattended=True)
    assert rig.disk_state() == before
    assert rig.install(stick("debian-13_2", "pc-kernel_2"), unattended=True).installed
    rig.up()
    assert runs(rig) == ("b", 2, 2)


def test_updates_go_back_and_forth_and_keep_what_is_there_already(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2", "pc-kernel_2"))
    rig.up()
    rig.install(stick("pc-kernel_3"))
    rig.up()
    assert runs(rig) == ("a", 2, 3)
    outcome = rig.install(stick("debian-13_3"))
    assert outcome.plan is not None
    assert {item.part: item.source for item in outcome.plan.parts} == {"base": Source.PACKAGE,
                                                                       "kernel": Source.RUNNING}
    rig.up()
    assert runs(rig) == ("b", 3, 3)


def test_part_that_the_idle_slot_holds_already_is_kept(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2"))
    rig.up()
    rig.install(stick("pc-kernel_2"), check=True)
    outcome = rig.install(stick("debian-13_3"))
    assert outcome.plan is not None
    assert outcome.plan.part("kernel").source is Source.KEPT
    rig.up()
    assert runs(rig) == ("a", 3, 1)


def test_part_that_has_rotted_in_the_idle_slot_is_copied_instead(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2"))
    rig.up()
    with rig.device("kernel-a").open("r+b") as stream:
        stream.seek(500_000)
        stream.write(b"rot")
    outcome = rig.install(stick("debian-13_3"))
    assert outcome.plan is not None
    assert outcome.plan.part("kernel").source is Source.RUNNING
    rig.up()
    assert runs(rig) == ("a", 3, 1)


def test_check_writes_nothing(rig: Rig, stick: Stick) -> None:
    before = rig.disk_state()
    outcome = rig.install(stick("debian-13_2", "pc-kernel_2"), check=True)
    assert outcome.plan is not None
    assert not outcome.installed
    assert rig.disk_state() == before
    assert not rig.programs.ran


def test_what_runs_already_is_nothing_newer(rig: Rig, stick: Stick) -> None:
    outcome = rig.install(stick("debian-13_1", "pc-kernel_1"))
    assert (outcome.plan, outcome.installed) == (None, False)


def test_sick_update_falls_back_and_is_remembered_and_refused(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2"))
    rig.up(sick=frozenset({("debian-13", 2)}))
    assert runs(rig) == ("a", 1, 1)
    memory = history.load_history(rig.machine)
    assert memory.failed[0].packages == (("debian-13", 2), ("pc-kernel", 1))
    assert memory.failed[0].reason == "hooks: pump is dry"
    with pytest.raises(TargetError, match=r"debian-13 2 with pc-kernel 1: it was tried on .* failed: hooks: pump"):
        rig.install(stick("debian-13_2"))
    assert rig.install(stick("debian-13_3")).installed  # something newer may come
    rig.up()
    assert runs(rig) == ("b", 3, 1)


def test_failed_update_is_tried_again_when_somebody_asks(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2"))
    rig.up(sick=frozenset({("debian-13", 2)}))
    assert rig.install(stick("debian-13_2"), again=True).installed
    rig.up()
    assert runs(rig) == ("b", 2, 1)
    assert history.load_history(rig.machine).failed == ()


def test_trial_that_has_not_begun_is_replaced(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2"), reboot=False)
    assert not rig.rebooted
    rig.install(stick("debian-13_3"), reboot=False)
    rig.up()
    assert runs(rig) == ("b", 3, 1)


def test_status_of_an_update_that_waits_for_its_reboot(rig: Rig, stick: Stick,
                                                       capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(stick("debian-13_2"), reboot=False)
    assert main(["status"], machine=rig.machine) == 0
    said = capsys.readouterr().out
    assert "slot:   a (confirmed)\n" in said
    assert "slot b: on trial: debian-13 2, pc-kernel 1\n" in said
    assert "update: debian-13 2 with pc-kernel 1 in slot b, on trial\n" in said


def test_slot_on_trial_is_not_updated_before_its_verdict(rig: Rig, stick: Stick) -> None:
    rig.install(stick("debian-13_2"))
    rig.up()
    record = rig.state
    assert record is not None
    StatePartition(device=rig.device("slot-state")).store(
        replace(record, generation=record.generation + 1, confirmed=False, unhealthy=1))
    with pytest.raises(TargetError, match="not known to be healthy in this boot"):
        rig.install(stick("debian-13_3"))


@pytest.mark.parametrize("begun", [IN_VAIN, IN_VAIN + 1])
def test_device_with_two_slots_in_vain_takes_an_update_in_its_last_resort(rig: Rig, stick: Stick, begun: int) -> None:
    """The other slot is a good one, which was no better all the same."""
    partition = StatePartition(device=rig.device("slot-state"))
    record = rig.state
    assert record is not None
    partition.store(replace(record, generation=record.generation + 1, unhealthy=1, other_good=True))
    with rig.device("slot-state").open("r+b") as stream:
        stream.seek(LEDGER_OFFSET)
        stream.write(encode_ledger(begun))
    if begun == IN_VAIN:
        with pytest.raises(TargetError, match="not known to be healthy in this boot"):
            rig.install(stick("debian-13_2"))
        return
    rig.install(stick("debian-13_2"))
    rig.up()
    assert runs(rig) == ("b", 2, 1)


def test_interruption_in_the_middle_leaves_what_runs(rig: Rig, stick: Stick, monkeypatch: pytest.MonkeyPatch,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(line: str) -> None:
        if "boot files" in line:
            raise KeyboardInterrupt

    monkeypatch.setattr("imagekit.device.cli._say", interrupt)
    assert main(["install", str(stick("debian-13_2"))], machine=rig.machine) == 130
    assert capsys.readouterr().err == "interrupted: the running slot is untouched\n"
    if rig.loader == SYSTEMD_BOOT:
        assert rig.programs.ran[-1][:3] == ("mount", "-o", "remount,ro")
    rig.up()
    assert runs(rig) == ("a", 1, 1)
    assert history.load_history(rig.machine).changes[-1].outcome == "interrupted"


def test_loader_that_cannot_be_updated_yet_is_refused_clearly(rig: Rig, stick: Stick) -> None:
    path = rig.folder / "run/boot.json"
    path.write_text(path.read_text().replace(f'"loader": "{rig.loader}"', '"loader": "lilo"'))
    with pytest.raises(TargetError, match="its loader is lilo, updates are for systemd-boot, u-boot, piboot"):
        rig.install(stick("debian-13_2"))


def test_errors_are_json_for_programs(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install", str(tmp_path / "absent"), "--json"], machine=rig.machine) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["kind"], error["exit_code"], error["hint"]) == ("usage", 2, None)
    assert error["message"].endswith("there is no such file")


def test_what_a_check_of_the_store_says_meanwhile_is_not_forgotten(rig: Rig, stick: Stick) -> None:
    """A store may be asked while a stick is installed, which takes minutes."""
    def say(line: str) -> None:
        if line == "update: writing the base of slot b":
            history.edit_history(rig.machine, lambda memory: replace(memory, unanswered=memory.unanswered + 1))

    install(rig.machine, [stick("debian-13_2")], Options(), say, clock=lambda: rig.clock)
    memory = history.load_history(rig.machine)
    assert memory.unanswered == 1
    assert memory.pending is not None
    assert memory.pending.trial


def test_second_install_at_the_same_time_is_refused(rig: Rig, stick: Stick) -> None:
    with history.alone(rig.machine), pytest.raises(TargetError, match="another update is at work"):
        rig.install(stick("debian-13_2"))


def test_held_device_takes_nothing_unattended(rig: Rig, stick: Stick) -> None:
    history.save_history(rig.machine, history.History(hold_until="2026-07-01T00:00:00Z"))
    with pytest.raises(TargetError, match="updates are held until 2026-07-01"):
        rig.install(stick("debian-13_2"), unattended=True)
    rig.pass_days(40)
    assert rig.install(stick("debian-13_2"), unattended=True).installed


def test_package_cut_short_changes_nothing(rig: Rig, stick: Stick) -> None:
    folder = stick("debian-13_2", packed=True)
    path = folder / "debian-13_2.snap.zst"
    path.write_bytes(path.read_bytes()[:-200_000])
    before = rig.disk_state()
    with pytest.raises(ImagekitError, match=r"cannot install|cannot unpack"):
        rig.install(folder)
    assert rig.disk_state() == before
    assert history.load_history(rig.machine).pending is None


class Pulled(io.RawIOBase):
    """A file on a stick that is gone after some bytes."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        super().__init__()
        self._stream, self._left = stream, left

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._stream.seek(offset, whence)

    def readinto(self, buffer: object, /) -> int:
        raw = self._stream.read(len(buffer))  # type: ignore[arg-type]
        self._left -= len(raw)
        if self._left < 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        buffer[:len(raw)] = raw  # type: ignore[index]
        return len(raw)


@pytest.mark.parametrize("left", [500_000, 1_300_000, 2_000_000], ids=["checking", "looking", "writing"])
def test_stick_pulled_in_the_middle_leaves_what_runs(rig: Rig, stick: Stick, left: int,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    from imagekit.device.offers import FolderShelf

    opened = FolderShelf.open
    budget = [left]

    def open_pulled(self: FolderShelf, name: str) -> BinaryIO:
        stream = opened(self, name)
        if not name.endswith(".snap"):
            return stream
        pulled = Pulled(stream, budget[0])
        budget[0] -= 1_250_000
        return io.BufferedReader(pulled, 1 << 16)  # type: ignore[return-value]

    with monkeypatch.context() as patched:
        patched.setattr(FolderShelf, "open", open_pulled)
        with pytest.raises(TargetError, match=r"cannot read debian-13_2\.snap: Input/output error"):
            rig.install(stick("debian-13_2"))
    rig.up()
    assert runs(rig) == ("a", 1, 1)
    assert rig.install(stick("debian-13_2")).installed
    rig.up()
    assert runs(rig) == ("b", 2, 1)


def test_stick_that_gives_other_bytes_the_second_time_is_refused(rig: Rig, stick: Stick,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked is not what is written: the hash tree of what was written tells."""
    folder = stick("debian-13_2")
    checked = Offer.open
    calls = []

    def open_changed(self: Offer, *, most: int):  # type: ignore[no-untyped-def]
        calls.append(self.file)
        if len(calls) == 3:
            path = folder / self.file
            raw = bytearray(path.read_bytes())
            raw[700_000] ^= 1
            path.write_bytes(raw)
        return checked(self, most=most)

    monkeypatch.setattr(Offer, "open", open_changed)
    with pytest.raises(TrustError, match="what was written has the verity root"):
        rig.install(folder)
    rig.up()
    assert runs(rig) == ("a", 1, 1)


def test_full_data_partition_does_not_stop_a_person_but_stops_a_service(rig: Rig, stick: Stick) -> None:
    folder = rig.folder / "var/lib/imagekit/updates"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("in the way")  # as good as full: no file can be made there
    with pytest.raises(TargetError, match=r"cannot write .*state\.json"):
        rig.install(stick("debian-13_2"), unattended=True)
    assert rig.install(stick("debian-13_2")).installed
    assert any("will not be remembered" in line for line in rig.said)
    rig.up()
    assert runs(rig) == ("b", 2, 1)


def test_kernel_without_room_is_told_before_anything_is_written(rig: Rig, stick: Stick,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    slot = rig.table.find("boot-b")
    if slot is None:
        found = os.statvfs("/")
        full = os.statvfs_result((found.f_bsize, 4096, found.f_blocks, 10, 10, *tuple(found)[5:10]))
        monkeypatch.setattr("imagekit.device.offer_checks.os.statvfs", lambda path: full)
    else:
        (rig.folder / f"sys/block/vda/vda{slot.index}/size").write_text("1600\n")
    before = rig.disk_state()
    with pytest.raises((TargetError, PlanError), match="the ESP has room for 40 KiB" if slot is None else
                       r"cannot install pc-kernel_2\.snap: its files do not fit into boot-b"):
        rig.install(stick("pc-kernel_2"))
    assert rig.disk_state() == before


def test_revert_goes_back_to_the_slot_before(rig: Rig, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(stick("debian-13_2"))
    rig.up()
    assert main(["revert", "--json"], machine=rig.machine) == 0
    assert json.loads(capsys.readouterr().out) == {"imagekit": 1, "slot": "a", "rebooting": True}
    rig.up()
    assert runs(rig) == ("a", 1, 1)
    with pytest.raises(TargetError, match="reverted by hand"):
        rig.install(stick("debian-13_2"))
    assert rig.install(stick("debian-13_3")).installed


def test_revert_without_a_good_other_slot_is_refused(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["revert"], machine=rig.machine) == 7
    assert "what it holds has never been healthy" in capsys.readouterr().err


def test_status_tells_what_lies_in_each_slot_and_what_failed(rig: Rig, stick: Stick,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    rig.install(stick("debian-13_2"))
    rig.up(sick=frozenset({("debian-13", 2)}))
    assert main(["status", "--json"], machine=rig.machine) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["slots"]["a"]["state"] == "running"
    assert (found["slots"]["b"]["state"], found["slots"]["b"]["base"]["revision"]) == ("idle", 2)
    assert found["failed"][0]["packages"] == {"debian-13": 2, "pc-kernel": 1}
    assert main(["status"], machine=rig.machine) == 0
    assert "debian-13 2 with pc-kernel 1: hooks: pump is dry" in capsys.readouterr().out


def test_commands_speak_json_and_words(rig: Rig, stick: Stick, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(stick("debian-13_2"))
    for words in (["install", folder, "--check"], ["model"], ["changes"], ["hold", "7"], ["hold", "--off"], ["hold"]):
        assert main([*words, "--json"], machine=rig.machine) == 0, words
        assert json.loads(capsys.readouterr().out)["imagekit"] == 1
        assert main(words, machine=rig.machine) == 0
        assert capsys.readouterr().out


@pytest.mark.parametrize("words", [["install"], ["install", "--what", "x"], ["hold", "0"], ["hold", "5000"],
                                   ["install", "/nowhere"], ["install", "/etc/hostname"]])
def test_wrong_words_are_told(rig: Rig, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words, machine=rig.machine) == 2
    assert capsys.readouterr().err.startswith("error: cannot ")


def test_slots_agree_with_what_was_planned(rig: Rig, stick: Stick) -> None:
    assert rig.slot is Slot.A
    outcome = rig.install(stick("debian-13_2", "pc-kernel_2"))
    assert outcome.plan is not None
    assert [item.partition for item in outcome.plan.parts] == ["base-b", "kernel-b"]
    assert outcome.plan.pair == (("debian-13", 2), ("pc-kernel", 2))
