"""What can be wrong with a board's inputs, or with the card image made of them: exit code, words, nothing left."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from imagekit.errors import ExitCode
from imagekit.testing.images import BOOT_ASSETS, EFI_ARM64, Workshop, kernel_image, noise
from tests.tools.conftest import Built, RunTool, require
from tests.tools.small_boards import UBOOT

pytestmark = pytest.mark.tools


def imagekit(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "imagekit.cli", *map(str, args)], capture_output=True, text=True,
                          check=False, timeout=120)


def refused(done: subprocess.CompletedProcess[str], code: ExitCode, *words: str) -> None:
    assert done.returncode == code, done.stderr
    for word in words:
        assert word in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def build(workshop: Workshop, model: Path) -> subprocess.CompletedProcess[str]:
    return imagekit("build", model, "--packages", workshop.packages, "--trust", workshop.trust, "-o",
                    workshop.folder / "out")


SPL = ("      - {name: spl, type: bare, offset: 8192, size: 32768, content: [{image: u-boot.bin}]}\n"
       "      - {name: boot, role")


def test_bootloader_blob_over_the_partition_table_is_refused_with_the_way_out(tmp_path: Path) -> None:
    require("mkfs.erofs", "mke2fs")
    gadget = UBOOT.gadget.replace("      - {name: boot, role", SPL, 1)
    done = UBOOT.build(tmp_path, gadget=gadget)
    refused(done, ExitCode.PLAN, "structure 'spl'", "at 8192: the partition table needs bytes 512 to 17408",
            "gpt-entries: 56")
    assert not (tmp_path / "out").exists()


def test_smaller_table_makes_room_for_the_blob(tmp_path: Path, run_tool: RunTool) -> None:
    require("mkfs.erofs", "mke2fs")
    gadget = UBOOT.gadget.replace("      - {name: boot, role", SPL, 1).replace(
        "x-imagekit:\n", "x-imagekit:\n  gpt-entries: 56\n")
    done = UBOOT.build(tmp_path, gadget=gadget)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out/pc.img").open("rb") as stream:
        stream.seek(8192)
        assert stream.read(6) == b"u-boot"
    assert "No problems found" in run_tool("sgdisk", "-v", tmp_path / "out/pc.img")


def test_boot_partition_too_small_for_its_kernel_is_refused(tmp_path: Path) -> None:
    require("mkfs.erofs", "mke2fs")
    gadget = UBOOT.gadget.replace("2CAB23537C90, size: 8M", "2CAB23537C90, size: 4M")
    kernel = {**UBOOT.kernel, "Image": noise("large", 4 << 20)}
    refused(UBOOT.build(tmp_path, kernel=kernel, gadget=gadget), ExitCode.PLAN, "cannot fill structure 'boot-a'",
            "'Image'", "of the volume's 4 MiB are free")
    assert not (tmp_path / "out").exists()


def test_esp_too_small_for_two_kernels_is_refused_though_one_would_fit(workshop: Workshop) -> None:
    """The first update would find no room: that is told when the image is made."""
    gadget = workshop.gadget.replace("D69AB6A623A1, size: 8M", "D69AB6A623A1, size: 32M").replace(
        "B7CADD51CAA6, size: 6M", "B7CADD51CAA6, size: 32M")
    workshop.package("pc", "gadget", {"meta/gadget.yaml": gadget.encode(), **BOOT_ASSETS}, revision=2)
    workshop.package("pc-kernel", "kernel", {"kernel.efi": kernel_image(24 << 20), "modules/6.12/a.ko": b"module"},
                     revision=2)
    refused(build(workshop, workshop.folder / "pc.model"), ExitCode.PLAN, "structure 'esp' the kernels of two slots",
            "raise its size")
    assert not (workshop.folder / "out").exists()


def test_device_tree_that_the_kernel_does_not_have_is_refused(tmp_path: Path) -> None:
    require("mkfs.erofs", "mke2fs")
    gadget = UBOOT.gadget.replace("vendor/board.dtb", "vendor/other.dtb")
    refused(UBOOT.build(tmp_path, gadget=gadget), ExitCode.PLAN,
            "it has no dtbs/vendor/other.dtb, which the gadget's loader takes", "names the device tree")


def test_kernel_whose_program_is_for_another_architecture_is_refused(workshop: Workshop) -> None:
    """Its snap.yaml says the right one; the program itself tells."""
    foreign = kernel_image(1 << 20, machine=EFI_ARM64)
    workshop.package("pc-kernel", "kernel", {"kernel.efi": foreign, "modules/6.12/a.ko": b"module"}, revision=2)
    refused(build(workshop, workshop.folder / "pc.model"), ExitCode.PLAN, "pc-kernel_2.snap", "arm64", "amd64")
    assert not (workshop.folder / "out").exists()


def test_model_of_one_board_with_the_gadget_of_another_is_refused(workshop: Workshop) -> None:
    """Model of board A, only the gadget of board B among the packages; then B's under A's name."""
    brand = workshop.brand
    model = workshop.model("kiosk", snaps=[brand.snap("kiosk", "gadget"), brand.snap("pc-kernel", "kernel"),
                                           brand.snap("debian-13", "base")])
    refused(build(workshop, model), ExitCode.PLAN, "kiosk")
    for path in workshop.packages.glob("pc_1.*"):
        shutil.copy(path, path.with_name(path.name.replace("pc_1", "kiosk_1")))
    refused(build(workshop, model), ExitCode.TRUST, "kiosk_1.snap")
    assert not (workshop.folder / "out").exists()


# the card image


@pytest.fixture
def image(built: Built, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copy(built.image, tmp_path / "card.img"))


def spoil(image: Path, *offsets: int) -> None:
    raw = bytearray(image.read_bytes())
    for offset in offsets:
        raw[offset] ^= 1
    image.write_bytes(raw)


@pytest.mark.parametrize("command", ["inspect", "boot"])
@pytest.mark.parametrize("missing", [512, 1 << 20, 40 << 20])
def test_card_image_that_was_cut_short_is_refused(built: Built, image: Path, command: str, missing: int) -> None:
    with image.open("r+b") as stream:
        stream.truncate(image.stat().st_size - missing)
    refused(imagekit(command, image, "--trust", built.workshop.trust), ExitCode.DOCUMENT, "was cut short")


@pytest.mark.parametrize("command", [("inspect",), ("boot",), ("inspect", "--repair-table")])
def test_two_damaged_tables_are_refused(built: Built, image: Path, command: tuple[str, ...]) -> None:
    spoil(image, 512 + 20, -512 + 20)
    refused(imagekit(*command, image, "--trust", built.workshop.trust), ExitCode.DOCUMENT,
            "neither the primary nor the backup copy is there and whole")


@pytest.mark.parametrize(("copy", "other", "offset"), [
    ("primary", "backup", 512 + 20), ("primary", "backup", 1024 + 40), ("backup", "primary", -512 + 20),
    ("backup", "primary", -33 * 512 + 40)])
def test_one_damaged_table_is_told_and_repaired_from_the_other(built: Built, image: Path, run_tool: RunTool, copy: str,
                                                               other: str, offset: int) -> None:
    before = hashlib.sha256(image.read_bytes()).hexdigest()
    spoil(image, offset)
    trust = ("--trust", built.workshop.trust)
    told = imagekit("inspect", image, *trust)
    assert told.returncode == ExitCode.DOCUMENT
    assert f"{copy} GPT" in told.stdout, told.stdout
    repaired = imagekit("inspect", image, "--repair-table", *trust)
    assert repaired.returncode == 0, repaired.stderr
    assert f"repaired: {copy} partition table, from the {other}" in repaired.stderr
    assert hashlib.sha256(image.read_bytes()).hexdigest() == before
    assert "No problems found" in run_tool("sgdisk", "-v", image)
    again = imagekit("inspect", image, "--repair-table", *trust)
    assert again.returncode == 0
    assert "nothing to repair" in again.stderr


def test_table_of_another_program_is_not_repaired(image: Path) -> None:
    """One that says less is usable than there is: sound, but not what we would write."""
    raw = bytearray(image.read_bytes())
    header = raw[512:512 + 92]
    header[40:48] = (int.from_bytes(header[40:48], "little") + 1).to_bytes(8, "little")
    header[16:20] = bytes(4)
    header[16:20] = zlib.crc32(header).to_bytes(4, "little")
    raw[512:512 + 92] = header
    image.write_bytes(raw)
    spoil(image, -512 + 20)
    damaged = image.read_bytes()
    refused(imagekit("inspect", image, "--repair-table"), ExitCode.DOCUMENT, "another program made it")
    assert image.read_bytes() == damaged


def test_table_larger_than_ours_is_not_repaired(image: Path, run_tool: RunTool) -> None:
    run_tool("sgdisk", "--resize-table=256", image)
    spoil(image, -512 + 20)
    damaged = image.read_bytes()
    refused(imagekit("inspect", image, "--repair-table"), ExitCode.DOCUMENT, "another program made it")
    assert image.read_bytes() == damaged


def test_moved_table_is_repaired_like_any_other(image: Path, run_tool: RunTool) -> None:
    run_tool("sgdisk", "--move-main-table=10", image)
    before = image.read_bytes()
    spoil(image, 512 + 20, 10 * 512 + 40)
    assert "repaired: primary partition table" in imagekit("inspect", image, "--repair-table").stderr
    assert image.read_bytes() == before
