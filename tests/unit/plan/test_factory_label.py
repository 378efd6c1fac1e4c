"""The label: its text, its places, and a code that a reader of somebody else's reads."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import pytest
import segno

from imagekit.plan.factory_label import Label, encode_label, filled, may_lack_label, unit_of, wrong_places
from imagekit.plan.factory_log import Kind, Log, Record

VALUES = {"serial": "A0001", "number": "7", "model": "pc<demo>"}
SVG = "{http://www.w3.org/2000/svg}"


def test_places_are_filled_once_and_unknown_ones_are_found() -> None:
    assert filled("{serial} of {model}", {**VALUES, "serial": "{model}"}) == "{model} of pc<demo>"
    assert list(wrong_places("{serial} {nothing} {}")) == ["nothing", ""]


def test_label_is_svg_with_every_line_inside_it_and_markup_as_text() -> None:
    label = Label(text="{model}\n{serial}\n" + "long " * 30, code="", folder="", command=())
    root = ElementTree.fromstring(encode_label(label, VALUES))
    texts = root.findall(f"{SVG}text")
    assert [item.text for item in texts][:2] == ["pc<demo>", "A0001"]
    for item in texts:
        assert float(item.attrib["x"]) + 0.6 * float(item.attrib["font-size"]) * len(item.text or "") <= 62 - 2.9
        assert 0 < float(item.attrib["y"]) < float(root.attrib["height"].removesuffix("mm"))


def test_code_has_the_modules_of_the_standard() -> None:
    root = ElementTree.fromstring(encode_label(Label(text="x", code="https://example.com/{serial}", folder="",
                                                     command=()), VALUES))
    path = root.find(f"{SVG}g/{SVG}path")
    assert path is not None
    drawn = {(int(x), int(y)) for x, y in re.findall(r"M(\d+) (\d+)h1v1h-1z", path.attrib["d"])}
    matrix = segno.make_qr("https://example.com/A0001", error="m", boost_error=False).matrix
    assert drawn == {(x, y) for y, row in enumerate(matrix) for x, dark in enumerate(row) if dark}
    side = len(matrix)
    for x, y in ((0, 0), (side - 7, 0), (0, side - 7)):  # the three squares in which every reader looks first
        assert all((x + step, y) in drawn and (x, y + step) in drawn and (x + step, y + 6) in drawn
                   for step in range(7))


@pytest.mark.parametrize("code", ["A1", "{serial}", "https://example.com/units/{serial}?model={model}&record={number}"])
def test_code_has_four_white_modules_on_every_side(code: str) -> None:
    """ISO/IEC 18004; text begins behind them."""
    root = ElementTree.fromstring(encode_label(Label(text="x", code=code, folder="", command=()), VALUES))
    group, text = root.find(f"{SVG}g"), root.find(f"{SVG}text")
    assert group is not None and text is not None
    x, y, scale = (float(number) for number in re.findall(r"[\d.]+", group.attrib["transform"]))
    side = scale * segno.make_qr(filled(code, VALUES), error="m", boost_error=False).symbol_size(border=0)[0]
    height = float(root.attrib["height"].removesuffix("mm"))
    for white in (x, y, height - y - side, float(text.attrib["x"]) - x - side):
        assert white >= 4 * scale - 0.001


def test_labels_that_may_be_missing_are_those_of_runs_that_were_cut_and_those_that_the_last_run_left() -> None:
    unit: dict[str, Any] = {"result": "done", "identity": {"serial": "A1", "model": "pc"}, "began": "2026-06-01T08:30"}
    image = {"image": {"file": "pc.img"}}
    of: list[tuple[Kind, dict[str, Any]]] = [
        (Kind.START, image), (Kind.UNIT, unit), (Kind.UNIT, {**unit, "identity": None}), (Kind.STOP, {})]

    def lacking() -> list[int]:
        return [item.number for item in may_lack_label(Log(records=tuple(
            Record(number=number, kind=kind, digest="ab" * 32, signature="", said={**said, "station": "line-1"})
            for number, (kind, said) in enumerate(of)), key=None, torn=b"", unended=False))]

    assert lacking() == []  # it ended by itself, before there was `unlabelled`
    of[-1] = (Kind.STOP, {"unlabelled": [2]})
    assert lacking() == [2]
    of += [(Kind.START, image), (Kind.UNIT, unit), (Kind.UNIT, {**unit, "result": "failed"}), (Kind.START, image)]
    assert lacking() == [2, 5]
    of += [(Kind.STOP, {"unlabelled": [5]})]
    assert lacking() == [5]


def test_label_tells_of_the_run_in_which_its_unit_was_made() -> None:
    said = {"identity": {"serial": "A1", "model": "pc"}, "began": "2026-06-01T08:30:00+00:00"}
    made = unit_of(said, {"image": {"file": "pc.img", "model": "pc-2"}}, number=7, record="ab" * 32, station="line-1")
    assert made.values == {"serial": "A1", "number": "7", "station": "line-1", "date": "2026-06-01", "image": "pc.img",
                           "model": "pc-2", "record": "ab" * 32}
    assert unit_of(said, {"image": {"file": "pc.img"}}, number=7, record="", station="").model == "pc"
    bare = unit_of({**said, "identity": None}, {"image": {"file": "pc.img"}}, number=7, record="", station="")
    assert (bare.serial, bare.model) == ("", "")
