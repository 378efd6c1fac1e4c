"""Labels of units: a file each, handed to the printer's program; what goes wrong is told and holds nothing up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from imagekit.flash.labels import LabelPrinter
from imagekit.host.tools import LocalTools
from imagekit.plan.factory_label import Label

SAID: dict[str, Any] = {"began": "2026-06-01T08:30:00+00:00", "record": "ab" * 32,
                        "identity": {"serial": "A0001"}}


def printer(folder: Path, *command: str) -> LabelPrinter:
    label = Label(text="{model} {serial}\n{date} {station} {number}", code="{serial}", folder="labels", command=command)
    return LabelPrinter(label, folder, station="line-1", image="pc.img", model="pc", tools=LocalTools())


def test_label_is_a_file_and_the_program_of_the_job_gets_it(tmp_path: Path) -> None:
    assert printer(tmp_path, "cp", "{file}", "printed")(7, SAID) == ""
    text = (tmp_path / "labels/000007.svg").read_text()
    assert ">pc A0001</text>" in text
    assert ">2026-06-01 line-1 7</text>" in text
    assert (tmp_path / "printed").read_text() == text


def test_program_beside_the_job_is_found_and_one_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "print").write_text("#!/bin/sh\necho out of paper >&2\nexit 3\n")
    (tmp_path / "print").chmod(0o755)
    assert "it failed with exit status 3" in printer(tmp_path, "./print", "{file}")(7, SAID)
    assert "it is not installed" in printer(tmp_path, "no-such-printer")(7, SAID)
    assert (tmp_path / "labels/000007.svg").exists()


def test_label_without_an_identity_has_the_images_model_and_its_number(tmp_path: Path) -> None:
    assert printer(tmp_path)(12, {**SAID, "identity": None}) == ""
    assert ">pc </text>" in (tmp_path / "labels/000012.svg").read_text()
    assert ">2026-06-01 line-1 12</text>" in (tmp_path / "labels/000012.svg").read_text()
