"""`imagekit plan` and `build` as far as they need no image: words, tables, options."""

from __future__ import annotations

import io
import json
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.cli import image as command
from imagekit.cli.disk_bar import WIDTH, BarPart, cells, draw_bar, draw_parts
from imagekit.errors import UsageError
from imagekit.plan.image import ImagePlan


@pytest.fixture
def planned(repository: Path) -> ImagePlan:
    """The plan that the plan's own tests make, loaded from there."""
    import importlib.util

    path = repository / "tests" / "unit" / "plan" / "test_image.py"
    spec = importlib.util.spec_from_file_location("plan_of_pc", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    plan = module.planned()
    assert isinstance(plan, ImagePlan)
    return plan


def test_plan_off_a_terminal_is_the_reviewed_text(planned: ImagePlan, repository: Path,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    command.show_plan(planned, as_json=False)
    assert capsys.readouterr().out == (repository / "tests" / "golden" / "plan-pc.txt").read_text()


def test_plan_as_json_has_packages_structures_and_writes(planned: ImagePlan,
                                                         capsys: pytest.CaptureFixture[str]) -> None:
    command.show_plan(planned, as_json=True)
    value = json.loads(capsys.readouterr().out)
    assert [item["name"] for item in value["packages"]] == ["pc", "pc-kernel", "debian-13"]
    assert value["disk"]["size"] == 175112192
    assert all(item["length"] > 0 for item in value["writes"])


@pytest.mark.parametrize(("sizes", "width"), [([1, 1], 10), ([1, 1000, 1], 20), ([5] * 8, 76), ([1 << 40, 1], 3)])
def test_bar_uses_all_cells_and_leaves_none_out(sizes: list[int], width: int) -> None:
    counts = cells(sizes, width)
    assert sum(counts) == width
    assert min(counts) >= 1


def test_plain_bar_keeps_the_number_of_the_smallest_share(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [1 << 40, *[1] * 10, 1 << 39]
    draw_parts([BarPart(number=number, title="", size=size, used=None, style="")
                for number, size in enumerate(sizes, 1)])
    bar = capsys.readouterr().out.rstrip("\n")
    assert re.findall(r"\|(\d+)", bar) == [str(number) for number in range(1, 13)]
    assert len(bar) == WIDTH


@pytest.mark.parametrize(("columns", "width"), [(40, 40), (200, 76)])
def test_bar_is_no_wider_than_the_terminal(planned: ImagePlan, monkeypatch: pytest.MonkeyPatch, columns: int,
                                           width: int) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name, value in (("COLUMNS", str(columns)), ("TERM", "xterm-256color"), ("FORCE_COLOR", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", screen := Terminal())
    draw_bar(planned)
    bar = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()[0]
    assert (len(bar), set(bar)) == (width, {"█", "░"})


def test_packages_are_looked_for_beside_the_model(tmp_path: Path) -> None:
    model = tmp_path / "pc.model"
    assert command.package_folders(model, ()) == (tmp_path,)
    (tmp_path / "packages").mkdir()
    assert command.package_folders(model, ()) == (tmp_path, tmp_path / "packages")
    assert command.package_folders(model, (tmp_path / "other",)) == (tmp_path / "other",)


def test_build_without_a_folder_is_refused_with_a_command_that_works(tmp_path: Path) -> None:
    (tmp_path / "pc.model").write_text("x")
    result = CliRunner().invoke(command.build, [str(tmp_path / "pc.model")])
    assert isinstance(result.exception, UsageError)
    assert result.exception.hint == f"imagekit build {tmp_path / 'pc.model'} -o out"
