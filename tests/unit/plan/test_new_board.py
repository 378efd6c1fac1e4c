"""A new board after another: names changed, comments kept."""

from __future__ import annotations

import pytest

from imagekit.errors import PlanError, UsageError
from imagekit.plan.new_board import BoardFiles, plan_new_board

GADGET = b"# The disk of a pc.\nvolumes:\n  pc:\n    # pc: here too\n    schema: gpt\n"
RECIPE = b"name: pc\ntype: gadget\nrevision: 7  # kept\nboard:\n  title: A PC\n  covers: [pc]\n"
MODEL = (b"# any pc\ntype: model\nmodel: pc-demo\nsnaps:\n  - {name: pc, type: gadget}\n"
         b"  - {name: pc-kernel, type: kernel}\n")
MACHINE = b"name: pc\nsummary: a pc\n"
OTHER = BoardFiles(name="pc", folder={"gadget.yaml": GADGET, "recipe.yaml": RECIPE, "loader.conf": b"pc\n"},
                   model=MODEL, machine=MACHINE)


def test_names_are_changed_and_all_else_stays() -> None:
    files = {file.path: file.content for file in plan_new_board("kiosk", OTHER)}
    recipe = RECIPE.replace(b"name: pc", b"name: kiosk").replace(b"A PC", b"kiosk (like pc)").replace(b": 7", b": 1")
    assert files == {
        "gadgets/kiosk/gadget.yaml": GADGET.replace(b"  pc:\n", b"  kiosk:\n", 1),
        "gadgets/kiosk/recipe.yaml": recipe,
        "gadgets/kiosk/loader.conf": b"pc\n",
        "models/kiosk.yaml": MODEL.replace(b"pc-demo", b"kiosk").replace(b"{name: pc,", b"{name: kiosk,"),
        "qemu/kiosk.yaml": b"name: kiosk\nsummary: a pc\n"}


def test_board_without_model_and_machine_has_none() -> None:
    bare = BoardFiles(name="pc", folder={"gadget.yaml": GADGET}, model=None, machine=None)
    assert [file.path for file in plan_new_board("kiosk", bare)] == ["gadgets/kiosk/gadget.yaml"]


@pytest.mark.parametrize("name", ["", "pc", "a", "../x", "Kiosk", "a/b", "x" * 41])
def test_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="cannot make board"):
        plan_new_board(name, OTHER)


def test_document_that_hides_its_name_is_refused() -> None:
    odd = BoardFiles(name="pc", folder={"recipe.yaml": b"{name: pc}\n"}, model=None, machine=None)
    with pytest.raises(PlanError, match=r"its recipe\.yaml does not have its name"):
        plan_new_board("kiosk", odd)
