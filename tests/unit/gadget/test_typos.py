"""Mistyped keys of a gadget."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import DocumentError
from imagekit.gadget.typos import refuse_typos
from imagekit.schema import load_yaml

OURS = Path(__file__).parents[3] / "gadgets/pc/gadget.yaml"


@pytest.mark.parametrize(("right", "wrong", "place"), [
    ("filesystem-label", "filesystem-lable", "structure[0].filesystem-lable"),
    ("volumes:", "volums:", "volums"),
    ("bootloader: grub", "bootloder: grub", "volumes.pc.bootloder"),
    ("source: loader.conf", "sorce: loader.conf", "content[1].sorce"),
    ("edition:", "editon:", "update.editon"),
])
def test_mistyped_key_is_refused_with_the_right_one(right: str, wrong: str, place: str) -> None:
    text = OURS.read_text().replace(right, wrong)
    with pytest.raises(DocumentError) as refused:
        refuse_typos(load_yaml(text, name="gadget.yaml"))
    said = "\n".join((refused.value.message, *refused.value.details))
    assert f"{place}: there is no such key, did you mean {right.partition(':')[0]!r}?" in said


@pytest.mark.parametrize("text", ["", "[]", "volumes: 3", "volumes: {pc: {structure: [3, {update: 1, content: x}]}}",
                                  "volumes: {pc: {comment: of ours}}\nsomething-new: 1"])
def test_unknown_keys_and_other_shapes_are_left_to_the_parser(text: str) -> None:
    refuse_typos(load_yaml(text, name="gadget.yaml"))


def test_own_gadget_has_no_mistyped_key() -> None:
    refuse_typos(load_yaml(OURS.read_text(), name=str(OURS)))
