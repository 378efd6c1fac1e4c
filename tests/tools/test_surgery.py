"""What tests do to a disk does just that, by the readers of everybody else in this project."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.boot.entries import kernel_path
from imagekit.boot.slotstate import FACTORY, Slot
from imagekit.build.run import Request, build
from imagekit.disk.verity import verify
from imagekit.errors import DocumentError, PlanError, TrustError
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.packages.erofs import Erofs
from imagekit.qemu.surgery import Disk, Spot
from imagekit.testing.documents import NOW
from imagekit.testing.images import Workshop

pytestmark = pytest.mark.tools
RunTool = Callable[..., str]


class Silence:
    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        pass

    def advance(self, amount: int) -> None:
        pass

    def note(self, text: str) -> None:
        pass


@pytest.fixture
def image(tmp_path: Path, run_tool: RunTool) -> Path:
    run_tool("mkfs.erofs", "--help")
    run_tool("mke2fs", "-V")
    run_tool("debugfs", "-V")
    shop = Workshop(folder=tmp_path / "shop")
    (tmp_path / "shop").mkdir()
    request = Request(model=shop.usual(), packages=(shop.packages,), trust=(shop.trust,), epoch=None, now=NOW)
    manifest = build(request, tmp_path / "out", tools=LocalTools, progress=Silence(),
                     cache=Cache(tmp_path / "cache"))
    return tmp_path / "out" / manifest.image.file


@pytest.fixture
def packages(tmp_path: Path, image: Path) -> tuple[Path, Path]:
    folder = tmp_path / "shop" / "packages"
    return folder / "debian-13_1.snap", folder / "pc-kernel_1.snap"


def verified(disk: Disk, path: Path, name: str, root: str) -> None:
    partition = disk.partition(name)
    with path.open("rb") as stream:
        size = Erofs(stream, offset=partition.start).size
        verify(stream, size=size, root_hash=root, offset=partition.start)


def test_filled_slot_is_verified_ranked_first_and_on_trial(image: Path, packages: tuple[Path, Path]) -> None:
    base, kernel = packages
    with Disk(image) as disk:
        entry = disk.install(Slot.B, base=base, kernel=kernel)
        entries = disk.entries()
        assert [name for name, _ in entries.values()] == ["imagekit-a.conf", "imagekit-b+3.conf"]
        assert entries[Slot.B][1] == entry
        assert entry.version == entries[Slot.A][1].version + 1
        assert disk.state is not None
        assert (disk.state.slot, disk.state.confirmed, disk.state.other_good) == (Slot.B, False, True)
        files = disk.esp_files()
        assert files[kernel_path(Slot.B)] == files[kernel_path(Slot.A)]
        verified(disk, image, "base-b", entry.base_root)
        verified(disk, image, "kernel-b", entry.kernel_root)
        verified(disk, image, "base-a", entry.base_root)


def test_slot_that_was_healthy_before_needs_no_tries(image: Path, packages: tuple[Path, Path]) -> None:
    with Disk(image) as disk:
        disk.install(Slot.B, base=packages[0], kernel=packages[1], tries=None)
        assert disk.entries()[Slot.B][0] == "imagekit-b.conf"
        assert disk.state is not None
        assert disk.state.confirmed


def test_running_slot_is_not_overwritten(image: Path, packages: tuple[Path, Path]) -> None:
    with Disk(image) as disk:
        disk.install(Slot.B, base=packages[0], kernel=packages[1])
        with pytest.raises(PlanError):
            disk.install(Slot.B, base=packages[0], kernel=packages[1])


@pytest.mark.parametrize("spot", [Spot.USED, Spot.VERITY, Spot.TREE, Spot.TOP])
@pytest.mark.parametrize("part", ["base", "kernel"])
def test_one_bit_anywhere_in_a_package_or_its_tree_is_found(image: Path, spot: Spot, part: str) -> None:
    for seed in range(3):
        with Disk(image) as disk:
            entry = disk.entries()[Slot.A][1]
            root = entry.base_root if part == "base" else entry.kernel_root
            offset = disk.find_spot(f"{part}-a", spot, seed=seed)
            disk.flip(f"{part}-a", offset, bit=seed)
            with pytest.raises((TrustError, DocumentError)):
                verified(disk, image, f"{part}-a", root)
            disk.flip(f"{part}-a", offset, bit=seed)
            verified(disk, image, f"{part}-a", root)


def test_spots_are_drawn_by_seed_and_always_the_same(image: Path) -> None:
    with Disk(image) as disk:
        once = [disk.find_spot("base-a", Spot.USED, seed=seed) for seed in range(20)]
        again = [disk.find_spot("base-a", Spot.USED, seed=seed) for seed in range(20)]
    assert once == again
    assert len(set(once)) > 15


def test_state_is_written_over_the_older_copy(image: Path) -> None:
    with Disk(image) as disk:
        assert disk.state == FACTORY
        for generation in range(2, 6):
            disk.set_state(replace(FACTORY, generation=generation))
            assert disk.state is not None
            assert disk.state.generation == generation


def test_write_outside_a_partition_is_refused(image: Path) -> None:
    with Disk(image) as disk:
        size = disk.partition("slot-state").size
        with pytest.raises(PlanError):
            disk.write("slot-state", size - 1, b"xx")
        with pytest.raises(PlanError, match="base-a"):
            disk.read("no-such", 0, 1)


def test_esp_made_anew_passes_the_check_of_dosfstools(image: Path, tmp_path: Path, run_tool: RunTool) -> None:
    with Disk(image) as disk:
        files = disk.esp_files()
        files["EFI/new/long name of a file.bin"] = b"x" * 100_000
        disk.set_esp_files(files)
        assert disk.esp_files() == files
        esp = disk.partition("esp")
        (tmp_path / "esp.img").write_bytes(disk.read("esp", 0, esp.size))
    run_tool("fsck.vfat", "-n", tmp_path / "esp.img")
