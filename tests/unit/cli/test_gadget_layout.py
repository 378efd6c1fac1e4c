"""`imagekit gadget show` and `gadget diff`, from the command line to the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import main

TESTS = Path(__file__).parent.parent.parent
REAL = sorted((TESTS / "data" / "gadgets").glob("*.yaml"))
PC = TESTS / "data" / "gadgets" / "pc-gadget_24_gadget_gadget-amd64.yaml"

GADGET = """\
volumes:
  card:
    schema: mbr
    bootloader: u-boot
    structure:
      - {name: spl, type: bare, offset: 8192, size: 65536, update: {edition: EDITION}, content: [{image: spl.bin}]}
      - name: boot
        role: system-boot
        type: 0C
        filesystem: vfat
        filesystem-label: system-boot
        size: 16M
        content: [{source: "$kernel:dtbs/dtbs/", target: /}]
"""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])  # type: ignore[arg-type]


def folder(path: Path, *, edition: int = 0, spl: bytes = b"spl") -> Path:
    (path / "meta").mkdir(parents=True)
    (path / "meta" / "gadget.yaml").write_text(GADGET.replace("EDITION", str(edition)))
    (path / "spl.bin").write_bytes(spl)
    return path


@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
@pytest.mark.parametrize("sector", ["512", "4096"])
def test_published_gadget_is_shown(path: Path, sector: str, tmp_path: Path) -> None:
    result = run("gadget", "show", path, "--sector-size", sector, "--json", "-o", tmp_path / "disk.svg")
    assert result.exit_code == 0, result.stderr
    (volume,) = json.loads(result.stdout)["volumes"]
    assert volume["disk"]["sector"] == int(sector)
    assert all(item["start"] is not None for item in volume["structures"])
    words = "".join(ElementTree.parse(tmp_path / "disk.svg").getroot().itertext())
    assert volume["name"] in words
    for item in volume["structures"]:
        assert (item["name"] or "#0") in words


def test_table_off_a_terminal_is_the_reviewed_text() -> None:
    result = run("gadget", "show", PC)
    assert result.stdout == (TESTS / "golden" / "gadget-show-pc.txt").read_text()


def test_several_volumes_are_told_one_after_the_other() -> None:
    result = run("gadget", "show", TESTS / "documents" / "valid" / "gadget-emmc")
    assert "volume pc: schema gpt" in result.stdout
    assert "volume boot-areas: schema emmc, no image" in result.stdout


def test_volume_that_leaves_sizes_to_the_device_is_told_as_far_as_it_is_known() -> None:
    result = run("gadget", "show", TESTS / "documents" / "valid" / "gadget-partial-sizes", "--json")
    (volume,) = json.loads(result.stdout)["volumes"]
    assert (volume["disk"], volume["reason"]) == (None, "no image: the device has the sizes")
    assert volume["structures"][2]["sizes"] == [0, None]


def test_files_of_a_folder_tell_what_is_used(tmp_path: Path) -> None:
    result = run("gadget", "show", folder(tmp_path / "g", spl=bytes(1000)), "--json")
    structures = json.loads(result.stdout)["volumes"][0]["structures"]
    assert [item["used"] for item in structures] == [1000, None]


def test_structure_over_the_partition_table_makes_show_fail(tmp_path: Path) -> None:
    path = tmp_path / "gadget.yaml"
    path.write_text(GADGET.replace("EDITION", "0").replace("schema: mbr", "schema: gpt").replace(
        "type: 0C", "type: C12A7328-F81F-11D2-BA4B-00A0C93EC93B"))
    result = run("gadget", "show", path)
    assert result.exit_code == 5
    assert "the partition table needs bytes 512 to 17408" in result.stderr


def test_document_that_is_wrong_makes_show_fail_with_all_problems(tmp_path: Path) -> None:
    path = tmp_path / "gadget.yaml"
    path.write_text(GADGET)
    assert run("gadget", "show", path).exit_code == run("gadget", "show", tmp_path).exit_code == 3
    path.unlink()
    assert "neither meta/gadget.yaml nor gadget.yaml" in run("gadget", "show", tmp_path).stderr


def test_update_in_place_ends_with_0_and_says_what_is_written(tmp_path: Path) -> None:
    one, two = folder(tmp_path / "one"), folder(tmp_path / "two", edition=1, spl=b"new")
    result = run("gadget", "diff", one, two)
    assert result.exit_code == 0
    assert "may be updated in place: writes spl" in result.stdout
    assert "0 -> 1" in result.stdout


def test_changed_bytes_with_the_old_edition_are_told(tmp_path: Path) -> None:
    result = run("gadget", "diff", folder(tmp_path / "one"), folder(tmp_path / "two", spl=b"new"))
    assert "nothing is written" in result.stdout
    assert "its content differs, but its edition stays 0" in result.stdout


def test_update_that_needs_another_disk_ends_with_5_and_every_reason() -> None:
    old, new = (path for path in REAL if "pi-gadget" in path.name)
    result = run("gadget", "diff", old, new)
    assert result.exit_code == 5
    assert "bootloader changes from u-boot to piboot" in result.stderr
    value = run("gadget", "diff", old, new, "--json")
    assert value.exit_code == 5
    answer = json.loads(value.stdout)
    assert not answer["allowed"]
    assert len(answer["refusals"]) >= 2


def test_new_kernel_brings_its_assets(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel"
    (kernel / "meta").mkdir(parents=True)
    (kernel / "meta" / "kernel.yaml").write_text("assets: {dtbs: {update: true, content: [dtbs/]}}\n")
    (kernel / "dtbs").mkdir()
    (kernel / "dtbs" / "board.dtb").write_bytes(b"dtb")
    one = folder(tmp_path / "one")
    answer = json.loads(run("gadget", "diff", one, one, "--kernel-new", kernel, "--json").stdout)
    assert answer["writes"] == [{"structure": "boot", "volume": "card"}]
    (kernel / "meta" / "kernel.yaml").write_text("assets: {dtbs: {update: yes please}}\n")
    wrong = run("gadget", "diff", one, one, "--kernel-new", kernel)
    assert wrong.exit_code == 3
    assert "true or false is needed" in wrong.stderr


def test_check_holds_references_to_a_kernel_that_is_named(tmp_path: Path) -> None:
    kernel = tmp_path / "kernel.yaml"
    kernel.write_text("assets: {firmware: {update: true, content: [fw/]}}\n")
    for gadget in (folder(tmp_path / "one"), tmp_path / "one" / "meta" / "gadget.yaml"):
        assert run("gadget", "check", gadget).exit_code == 0
        result = run("gadget", "check", gadget, "--kernel", kernel, "--json")
        assert result.exit_code == 3
        assert [problem["rule"] for problem in json.loads(result.stdout)["files"][0]["problems"]] == [
            "content-kernel-unused", "content-kernel-asset"]


def test_bar_has_the_numbers_of_the_table() -> None:
    lines = run("gadget", "show", PC).stdout.splitlines()
    numbers = {line.split()[0] for line in lines[3:9]}
    assert numbers == {"-", "1", "2", "3", "4", "5"}
    assert [character for character in lines[-1] if character.isdigit()] == ["1", "2", "3", "4", "5"]
    large = {line.split()[0] for line in lines[3:9] if "1200 MiB" in line or "750 MiB" in line or "1 GiB" in line}
    assert large == {"2", "3", "5"}


def test_gadget_without_volumes_says_so(tmp_path: Path) -> None:
    (tmp_path / "gadget.yaml").write_text("")
    shown = run("gadget", "show", tmp_path / "gadget.yaml")
    assert (shown.exit_code, shown.stdout) == (0, "")
    assert "declares no volumes" in shown.stderr


@pytest.mark.parametrize("schema", ["gpt", "mbr", "emmc"])
def test_volume_without_structures_is_shown_as_empty(tmp_path: Path, schema: str) -> None:
    path = tmp_path / "gadget.yaml"
    path.write_text(GADGET.replace("EDITION", "0") + f"  none: {{schema: {schema}}}\n")
    result = run("gadget", "show", path, "--svg", tmp_path / "disk.svg")
    assert result.exit_code == 0, result.stderr
    assert f"volume none: schema {schema}" in result.stdout
    assert ElementTree.parse(tmp_path / "disk.svg")
