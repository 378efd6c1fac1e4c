"""gadget.yaml: what is accepted, and the values that come of it. What is refused: tests/documents/test_rules.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import DocumentError
from imagekit.gadget import Era, FileContent, Filesystem, OffsetWrite, Part, Role, Schema, SlotPart, parse_gadget
from imagekit.gadget.values import Gadget
from imagekit.schema import load_yaml
from imagekit.units import MIB

TESTS = Path(__file__).parent.parent.parent
VALID = sorted((TESTS / "documents" / "valid").glob("gadget-*"))
REAL = sorted((TESTS / "data" / "gadgets").glob("*.yaml"))


def parse(path: Path, *, era: Era | None = None) -> Gadget:
    return parse_gadget(load_yaml(path.read_bytes(), name="gadget.yaml"), era=era)


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.name)
def test_valid_document_is_accepted(case: Path) -> None:
    assert parse(case / "gadget.yaml").volumes


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_published_gadget_is_accepted(path: Path) -> None:
    gadget = parse(path)
    assert gadget.era is (Era.UC16 if "_16_" in path.name or "_18_" in path.name else Era.UC20)
    assert gadget.extension is None


def test_there_are_cases_at_all() -> None:
    assert len(VALID) >= 8
    assert len(REAL) == 7


def test_kernels_of_the_projects_boards_leave_a_panic_and_a_torn_table(repository: Path) -> None:
    found = [parse(path) for path in sorted((repository / "gadgets").glob("*/gadget.yaml"))]
    assert found
    for gadget in found:
        assert gadget.extension is not None
        assert {"panic=10", "gpt"} <= set(gadget.extension.cmdline.split()), gadget.boot_volume.name


def test_published_pc_gadget_has_the_values_of_its_document() -> None:
    gadget = parse(TESTS / "data" / "gadgets" / "pc-gadget_24_gadget_gadget-amd64.yaml")
    volume = gadget.boot_volume
    assert (volume.name, volume.schema) == ("pc", Schema.GPT)
    assert [item.name for item in volume.structures] == [
        "mbr", "BIOS Boot", "ubuntu-seed", "ubuntu-boot", "ubuntu-save", "ubuntu-data"]
    mbr, _, seed, _, save, data = volume.structures
    assert (mbr.role, mbr.type.in_table, mbr.update.edition) == (Role.MBR, False, 1)
    assert seed.filesystem is Filesystem.VFAT32
    assert seed.content[0] == FileContent(source="grubx64.efi", target="EFI/boot/grubx64.efi")
    assert (save.min_size, save.size) == (16 * MIB, 32 * MIB)
    assert (data.label, data.offset, data.size) == ("ubuntu-data", None, 1024 * MIB)


def test_offset_write_names_the_first_structure() -> None:
    gadget = parse(TESTS / "data" / "gadgets" / "pc-gadget_16_gadget.yaml")
    assert gadget.boot_volume.structures[1].offset_write == OffsetWrite(relative_to="mbr", offset=92)


def test_label_system_boot_implies_the_role_before_uc20() -> None:
    gadget = parse(TESTS / "data" / "gadgets" / "dragonboard-gadget_18_gadget.yaml")
    assert gadget.boot_volume.structures[-1].role is Role.BOOT


def test_defaults_are_kept_as_they_are() -> None:
    gadget = parse(TESTS / "data" / "gadgets" / "imx-gadget_20_imx8mm-evk_gadget.yaml")
    assert gadget.defaults == {"system": {"refresh": {"retain": 2}}}


def test_structures_come_in_the_order_of_the_disk() -> None:
    gadget = parse(TESTS / "documents" / "valid" / "gadget-out-of-order" / "gadget.yaml")
    assert [item.title for item in gadget.boot_volume.structures] == ["raw", "ubuntu-seed", "ubuntu-data"]


def test_type_that_yaml_reads_as_a_number_keeps_its_digits() -> None:
    gadget = parse(TESTS / "documents" / "valid" / "gadget-octal-looking-type" / "gadget.yaml")
    assert [item.type.mbr for item in gadget.boot_volume.structures] == [0x06, 0x83]


def test_extension_tells_what_a_slot_is_made_of() -> None:
    extension = parse(TESTS / "documents" / "valid" / "gadget-slots" / "gadget.yaml").extension
    assert extension is not None
    assert extension.bootloader == "systemd-boot"
    assert extension.structures["bb"] == SlotPart(part=Part.BASE, slot="b")
    assert extension.named(Part.STATE, None) == "slot-state"
    assert extension.named(Part.BOOT, "a") is None


def test_model_of_uc20_refuses_a_gadget_without_a_seed() -> None:
    with pytest.raises(DocumentError) as caught:
        parse(TESTS / "data" / "gadgets" / "pc-gadget_16_gadget.yaml", era=Era.UC20)
    assert caught.value.details == (
        "gadget.yaml:1: volumes: a gadget for UC20+ needs a structure with the role system-seed",
        "gadget.yaml:1: volumes: a gadget for UC20+ needs a structure with the role system-data",
    )
