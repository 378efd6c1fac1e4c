"""Labels of units: a file each, handed to the printer's program; what goes wrong is told and holds nothing up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from imagekit.flash.labels import LabelPrinter
from imagekit.host.tools import LocalTools
from imagekit.plan.factory_label import Label, Unit

UNIT = Unit(number=7, record="ab" * 32, serial="A0001", model="pc", station="line-1", image="pc.img", date="2026-06-01")


def printer(folder: Path, *command: str) -> LabelPrinter:
    label = Label(text="{model} {serial}\n{date} {station} {number}", code="{serial}", folder="labels", command=command)
    return LabelPrinter(label, folder, tools=LocalTools())


def test_label_is_a_file_and_the_program_of_the_job_gets_it(tmp_path: Path) -> None:
    assert printer(tmp_path, "cp", "{file}", "printed")(UNIT) == ""
    text = (tmp_path / "labels/000007-abababab.svg").read_text()
    assert ">pc A0001</text>" in text
    assert ">2026-06-01 line-1 7</text>" in text
    assert (tmp_path / "printed").read_text() == text


def test_program_beside_the_job_is_found_and_one_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "print").write_text("#!/bin/sh\necho out of paper >&2\nexit 3\n")
    (tmp_path / "print").chmod(0o755)
    assert "it failed with exit status 3" in printer(tmp_path, "./print", "{file}")(UNIT)
    assert "it is not installed" in printer(tmp_path, "no-such-printer")(UNIT)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["000007-abababab.unprinted.svg"]


def test_label_that_is_not_printed_yet_does_not_pass_for_one_that_is(tmp_path: Path) -> None:
    failing, working = printer(tmp_path, "false"), printer(tmp_path, "true")
    assert failing(UNIT)
    assert not failing.has(UNIT)
    assert working(UNIT) == ""
    assert working.has(UNIT)
    assert [path.name for path in (tmp_path / "labels").iterdir()] == ["000007-abababab.svg"]


def test_two_logs_with_one_folder_for_labels_do_not_take_each_others(tmp_path: Path) -> None:
    """Else the program of one station prints what the other has just written, and a unit gets another one's label."""
    other = replace(UNIT, record="cd" * 32, serial="B0001", station="line-2")
    assert printer(tmp_path)(UNIT) == ""
    assert not printer(tmp_path).has(other)
    assert printer(tmp_path)(other) == ""
    assert ">pc A0001</text>" in printer(tmp_path).file(UNIT).read_text()
    assert ">pc B0001</text>" in printer(tmp_path).file(other).read_text()


def test_label_without_an_identity_has_the_images_model_and_its_number(tmp_path: Path) -> None:
    assert printer(tmp_path)(replace(UNIT, number=12, serial="")) == ""
    text = (tmp_path / "labels/000012-abababab.svg").read_text()
    assert ">pc </text>" in text
    assert ">2026-06-01 line-1 12</text>" in text
