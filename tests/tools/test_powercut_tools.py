"""`imagekit powercut` on recordings that are there already, and the log of QEMU's own driver."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import main
from imagekit.cli.powercut_record import LOG, RECORDING, digest_of
from imagekit.disk import gpt
from imagekit.disk.fat_read import read_fat
from imagekit.disk.writelog import Kind, LogEntry, decode_log
from imagekit.errors import DocumentError, ExitCode, TargetError
from imagekit.host.tools import LocalTools
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.examine import Examiner, check_seed
from imagekit.powercut.filesystem import Kept, kept_on
from imagekit.powercut.rebuild import check_log, open_recording, write_state
from imagekit.powercut.sweep import State
from imagekit.qemu.recording import SECRET, boot_files_on, plant_secret
from imagekit.qemu.stick import make_stick
from imagekit.qemu.surgery import Disk
from imagekit.qemu.workbench import copy_sparse
from tests.tools.conftest import require
from tests.tools.update_bugs import BUGS, NONE, Planted
from tests.tools.update_cut import carry_out, prepared
from tests.tools.update_log import LoggedDisk, disk_of
from tests.tools.update_rig import SYSTEMD_BOOT, U_BOOT, Maker, gadget_files, make

pytestmark = pytest.mark.tools

MACHINES = {SYSTEMD_BOOT: "pc", U_BOOT: "arm64-uboot"}


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("maker"), SYSTEMD_BOOT)
    made.build()
    made.base(2)
    made.kernel(2)
    return made


class Recording:
    """A recording in a folder, as `powercut -o` keeps it."""

    def __init__(self, maker: Maker, folder: Path, bug: Planted = NONE[SYSTEMD_BOOT], *, gadget: bool = False) -> None:
        self.maker, self.folder = maker, folder / "kept"
        self.folder.mkdir()
        rig, self.stick = prepared(maker, folder, lived=False)
        if gadget:
            maker.stick(self.stick, maker.gadget(2))
        self.image = disk_of(rig, maker.image, folder / "before.img")
        self.now = folder / "now.img"
        logged = LoggedDisk(self.image, self.now)
        carry_out(rig, self.stick, logged, bug)
        logged.finish()
        (self.folder / LOG).write_bytes(logged.log)
        files = sorted(self.stick.iterdir())
        self.brought = boot_files_on(make_stick(folder / "stick.img", files), self.image)
        self.machine = MACHINES[maker.loader]
        (self.folder / RECORDING).write_text(json.dumps({
            "image": digest_of(self.image), "machine": self.machine, "during": "update",
            "update": {path.name: digest_of(path) for path in files}, "brought": self.brought,
            "recorded": {"slots": ["a", "b"], "boots": 2, "seconds": 1.0}}))

    def cut(self, *options: str) -> Result:
        return CliRunner().invoke(main, [  # type: ignore[arg-type]  # Program has a command's face
            "powercut", str(self.image), "--update", str(self.stick), "-o", str(self.folder), "--accel", "tcg",
            "--machine", self.machine,
            "--trust", str(self.maker.workshop.trust), *options])


def test_update_that_is_safe_is_told_with_its_counts(maker: Maker, tmp_path: Path) -> None:
    kept = Recording(maker, tmp_path)
    result = kept.cut("--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert (told["unbootable"], told["stopped"], told["shard"], told["medium"]) == (0, False, "1/1", "epochs")
    assert told["prefixes"] == told["sectors"] + 1
    assert {item["slot"] for item in told["classes"]} == {"a", "b"}
    text = kept.cut().stdout
    assert "unbootable" in text
    assert f"{told['prefixes']:,}" in text


def test_gadget_of_the_update_may_bring_its_boot_files_and_nobody_else(maker: Maker, tmp_path: Path) -> None:
    kept = Recording(maker, tmp_path, gadget=True)
    wanted = {name: hashlib.sha256(raw).hexdigest() for name, raw in gadget_files(2).items()}
    assert kept.brought == {"EFI/BOOT/BOOTX64.EFI": wanted["systemd-bootx64.efi"], "startup.nsh": wanted["startup.nsh"],
                            "loader/loader.conf": wanted["loader.conf"]}
    assert kept.cut().exit_code == 0
    told = json.loads((kept.folder / RECORDING).read_text())
    (kept.folder / RECORDING).write_text(json.dumps({**told, "brought": {}}))
    result = kept.cut()
    assert result.exit_code == ExitCode.TARGET
    assert "on the boot partition is not what it was" in result.stderr


def test_script_that_is_made_for_uboot_counts_as_brought(tmp_path: Path) -> None:
    maker = make(tmp_path / "maker", U_BOOT)
    image = maker.build()
    gadget = maker.gadget(2, change=lambda text: text.replace("panic=10", "panic=20"))
    stick = make_stick(tmp_path / "stick.img", [gadget, gadget.with_suffix(".assert")])
    with Disk(image) as disk:
        script = disk.fat_files("boot")["boot.scr"]
    assert boot_files_on(stick, image) == {"u-boot.bin": hashlib.sha256(gadget_files(2)["u-boot.bin"]).hexdigest(),
                                           "boot.scr": hashlib.sha256(script).hexdigest()}


def test_packed_gadget_brings_what_the_plain_one_does_and_a_damaged_one_is_no_stick(maker: Maker, tmp_path: Path
                                                                                     ) -> None:
    gadget = maker.gadget(2)
    assertion = gadget.with_suffix(".assert")
    packed = gadget.with_name(gadget.name + ".zst")
    plain = boot_files_on(make_stick(tmp_path / "plain.img", [gadget, assertion]), maker.image)
    assert boot_files_on(make_stick(tmp_path / "packed.img", [packed, assertion]), maker.image) == plain != {}
    cut = tmp_path / packed.name
    cut.write_bytes(packed.read_bytes()[:-1000])
    with pytest.raises(DocumentError):
        boot_files_on(make_stick(tmp_path / "cut.img", [cut, assertion]), maker.image)
    cut.write_bytes(b"(" * 1000)
    with pytest.raises(DocumentError, match="not valid zstd"):
        boot_files_on(make_stick(tmp_path / "damaged.img", [cut, assertion]), maker.image)


def test_update_that_is_not_is_a_failure_with_the_states_that_are_lost(maker: Maker, tmp_path: Path) -> None:
    result = Recording(maker, tmp_path, BUGS["packages are not flushed"]).cut("--lost", "3")
    assert result.exit_code == ExitCode.TARGET
    assert "do not boot a whole slot" in result.stderr
    assert "its base does not verify" in result.stderr


def test_update_where_uboot_boots_is_judged_by_its_rules(tmp_path: Path) -> None:
    maker = make(tmp_path / "maker", U_BOOT)
    maker.build()
    maker.base(2)
    maker.kernel(2)
    for name in ("right", "wrong"):
        (tmp_path / name).mkdir()
    result = Recording(maker, tmp_path / "right", NONE[U_BOOT]).cut("--json")
    assert result.exit_code == 0, result.output
    told: dict[str, Any] = json.loads(result.stdout)
    assert (told["unbootable"], told["medium"], told["during"]) == (0, "epochs", "update")
    assert {tuple(item["menu"]) for item in told["classes"]} == {("boot-a",), ("boot-a", "boot-b")}
    assert {way for item in told["classes"] for way in item["way"]} == {"boot-a: slot a", "boot-b: slot b"}
    wrong = Recording(maker, tmp_path / "wrong", BUGS["packages are not flushed, U-Boot"]).cut("--lost", "1")
    assert wrong.exit_code == ExitCode.TARGET
    assert "does not verify" in wrong.stderr


@pytest.mark.parametrize(("options", "why"), [
    (["--during", "first-boot"], "during first-boot with --update"), (["--during", "supper"], "--during"),
    (["--shard", "3/2"], "is no shard"), (["--shard", "x"], "is no shard"), (["--tree", "0"], "--tree"),
    (["--medium", "tape"], "--medium"), (["--update", "/nowhere"], "/nowhere"),
])
def test_call_that_makes_no_sense_is_a_usage_error(tmp_path: Path, options: list[str], why: str) -> None:
    result = CliRunner().invoke(  # type: ignore[type-var]
        main, ["powercut", "x.img", "--update", str(tmp_path), *options])  # type: ignore[arg-type]
    assert result.exit_code == ExitCode.USAGE
    assert why in result.output


def test_log_leads_to_the_disk_and_a_changed_byte_is_found(maker: Maker, tmp_path: Path) -> None:
    kept = Recording(maker, tmp_path)
    size = kept.image.stat().st_size

    def check() -> None:
        with open_recording(kept.image, kept.folder / LOG, size=size) as (disk, log), kept.now.open("rb") as written:
            check_log(disk, log, written)

    check()
    with open_recording(kept.image, kept.folder / LOG, size=size) as (_, log):
        at = next(item.first for item in log if item.count) * 512
    with kept.now.open("r+b") as out:
        out.seek(at)
        out.write(b"?" * 512)
    with pytest.raises(Exception, match="is not what was logged"):
        check()


def test_last_state_as_a_file_is_the_disk(maker: Maker, tmp_path: Path) -> None:
    kept = Recording(maker, tmp_path)
    target = tmp_path / "state.img"
    copy_sparse(kept.image, target)
    with open_recording(kept.image, kept.folder / LOG, size=kept.image.stat().st_size) as (disk, log):
        with target.open("r+b") as out:
            write_state(out, disk, log, State(entries=len(log)))
        with target.open("rb") as mine:
            check_log(disk, log, mine)


def test_changed_loader_is_a_state_that_does_not_count_as_bootable(maker: Maker, tmp_path: Path) -> None:
    kept = Recording(maker, tmp_path)
    with kept.image.open("rb") as stream:
        found = gpt.decode(stream).find("esp")
        assert found is not None
        start = read_fat(stream, found.start).locate("EFI/BOOT/BOOTX64.EFI")[0].start
        assert start is not None
    with open_recording(kept.image, kept.folder / LOG, size=kept.image.stat().st_size) as (disk, _):
        examine = Examiner(disk)
        assert not examine().problem
        with disk.with_versions([(start // 512, 3)]):
            assert "is not what it was" in examine().problem
        assert not examine().problem


def test_secret_is_planted_where_a_reset_has_to_take_it(maker: Maker, tmp_path: Path) -> None:
    require("debugfs", "e2fsck")
    image = tmp_path / "image.img"
    copy_sparse(maker.image, image)
    for planted in (False, True):
        if planted:
            plant_secret(LocalTools(), image, tmp_path)
        with CutDisk(image.read_bytes(), bytes(512), size=image.stat().st_size) as disk:
            kept = kept_on(LocalTools(), disk, tmp_path, goes=(SECRET, "other"))
        assert kept == Kept(goes=(SECRET,) * planted)


def test_write_to_the_seed_is_refused(maker: Maker, tmp_path: Path) -> None:
    kept = Recording(maker, tmp_path)
    with kept.image.open("rb") as stream:
        seed = gpt.decode(stream).find("seed")
        assert seed is not None
    last = LogEntry(kind=Kind.WRITE, first=seed.end // 512 - 1, count=1, at=1)
    with open_recording(kept.image, kept.folder / LOG, size=kept.image.stat().st_size) as (disk, log):
        check_seed(disk, log)
        with pytest.raises(TargetError, match="writes to the seed"):
            check_seed(disk, (*log, last))


def test_log_of_qemu_is_read_as_what_was_asked(tmp_path: Path) -> None:
    require("qemu-io")
    image, log = tmp_path / "disk.img", tmp_path / "writes.log"
    image.write_bytes(bytes(1 << 20))
    log.write_bytes(b"")
    options = (f"driver=blklogwrites,file.driver=raw,file.file.driver=file,file.file.filename={image},"
               f"log.driver=file,log.filename={log},log-sector-size=512")
    LocalTools().run("qemu-io", "--image-opts", options, "-c", "write -P 7 4096 1024", "-c", "flush",
                     "-c", "write -P 9 512 512", "-c", "discard 8192 4096", "-c", "flush")
    raw = log.read_bytes()
    requests = decode_log(raw, disk_size=1 << 20)
    kinds = [(item.kind, item.first, item.count) for item in requests if item.kind is not Kind.FLUSH]
    assert kinds == [(Kind.WRITE, 8, 2), (Kind.WRITE, 1, 1), (Kind.DISCARD, 16, 8)]
    assert any(item.kind is Kind.FLUSH for item in requests)
    disk = CutDisk(bytes(1 << 20), raw, size=1 << 20)
    for item in requests:
        disk.apply(item)
    assert disk.read(0, 1 << 20)[:8192] == image.read_bytes()[:8192]
