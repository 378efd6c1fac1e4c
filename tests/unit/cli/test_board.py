"""`imagekit board` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imagekit.build.boards import board_names, called_after, load_board
from imagekit.gadget import parse_gadget
from imagekit.packages.recipe import GADGET
from imagekit.qemu.machine import load_machine
from imagekit.schema import load_yaml
from tests.unit.cli.conftest import Run


@pytest.mark.parametrize("name", board_names())
def test_board_of_the_project_says_what_it_is(name: str) -> None:
    board = load_board(name)
    assert board.name == name and board.recipe.board is not None
    assert board.volumes and board.volumes[0].layout is not None


def test_list_has_every_board(run: Run) -> None:
    shown = run("board", "list").stdout
    assert {line.split()[0] for line in shown.splitlines()[1:]} == set(board_names())
    boards = json.loads(run("board", "list", "--json").stdout)["boards"]
    (pc,) = [item for item in boards if item["name"] == "pc"]
    assert (pc["architecture"], pc["bootloader"], pc["models"]) == ("amd64", "systemd-boot", ["pc-demo", "pc"])
    assert pc["machines"][0]["name"] == "pc"


def test_show_tells_disk_boot_path_and_what_is_not_verified(run: Run, tmp_path: Path) -> None:
    shown = run("board", "show", "arm64-uefi", "-o", "disk.svg").stdout
    for part in ("board:        arm64-uefi, arm64", "QEMU:         arm64-uefi", "-> systemd-boot", "flash: ",
                 "updated:      boot loader", "not verified: ", "8  data", "|1#"):
        assert part in shown
    assert (tmp_path / "disk.svg").read_text().startswith("<svg")
    found = json.loads(run("board", "show", "arm64-uefi", "--json").stdout)
    assert found["volumes"][0]["name"] == "arm64-uefi" and found["picture"] is None and found["unverified"]
    assert "no second place" in found["updated"][1]


def test_unknown_board_is_told_with_those_there_are(run: Run) -> None:
    said = run("board", "show", "pcx", code=2).stderr
    assert "cannot find board 'pcx'" in said and "hint: boards: " in said


def test_new_board_is_one_that_is_read_like_any_other(run: Run, tmp_path: Path) -> None:
    files = json.loads(run("board", "new", "kiosk", "--like", "pc", "-o", "mine", "--json").stdout)["files"]
    assert "mine/models/kiosk.yaml" in files and "mine/qemu/kiosk.yaml" in files
    board = load_board(str(tmp_path / "mine/gadgets/kiosk"))
    assert (board.name, board.recipe.type, board.recipe.revision) == ("kiosk", GADGET, 1)
    raw = (tmp_path / "mine/gadgets/kiosk/gadget.yaml").read_bytes()
    assert [volume.name for volume in parse_gadget(load_yaml(raw, name="g")).volumes] == ["kiosk"]
    assert load_machine(str(tmp_path / "mine/qemu/kiosk.yaml"), ()).name == "kiosk"
    model = load_yaml((tmp_path / "mine/models/kiosk.yaml").read_bytes(), name="m").value
    assert model["model"] == "kiosk" and model["snaps"][0]["name"] == "kiosk"
    run("gadget", "check", "mine/gadgets/kiosk")
    again = run("board", "new", "third", "--like", "mine/gadgets/kiosk", "-o", "mine").stdout
    assert "mine/gadgets/third/gadget.yaml" in again


def test_nothing_is_overwritten_and_nothing_half_made_stays(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine/qemu").mkdir(parents=True)
    (tmp_path / "mine/qemu/kiosk.yaml").write_text("mine")
    said = run("board", "new", "kiosk", "--like", "pc", "-o", "mine", code=2).stderr
    assert "there is a mine/qemu/kiosk.yaml already" in said
    assert not (tmp_path / "mine/gadgets").exists() and (tmp_path / "mine/qemu/kiosk.yaml").read_text() == "mine"
    assert "cannot make board" in run("board", "new", "Bad Name", "--like", "pc", "-o", "mine", code=2).stderr


def test_machine_belongs_to_the_board_with_the_longest_name_that_it_is_called_after() -> None:
    machines, boards = ("pi", "pi-4", "pi-tryboot", "pi-tryboot-4", "pine"), ("pc", "pi", "pi-tryboot")
    assert called_after("pi", machines, boards=boards) == ("pi", "pi-4")
    assert called_after("pi-tryboot", machines, boards=boards) == ("pi-tryboot", "pi-tryboot-4")


@pytest.mark.parametrize(("like", "entries", "at"), [("cubieboard", 56, None), ("sabrelite", None, 1032192)])
def test_new_board_keeps_the_room_that_its_boot_code_has_in_the_table(like: str, entries: int | None, at: int | None,
                                                                      run: Run, tmp_path: Path) -> None:
    run("board", "new", "kiosk", "--like", like, "-o", "mine")
    extension = load_board(str(tmp_path / "mine/gadgets/kiosk")).gadget.extension
    assert extension is not None
    assert (extension.gpt_entries, extension.gpt_entries_at) == (entries, at)
    assert (tmp_path / "mine/qemu/kiosk.yaml").exists() is (like == "cubieboard")
    run("gadget", "check", "mine/gadgets/kiosk")
