"""Data, talk and tables."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import click
import pytest
from click.testing import CliRunner

from imagekit.cli.output import (
    Talk,
    colors_wanted,
    detail,
    emit_json,
    fits,
    plain_table,
    short_path,
    suggest,
    table,
    warn,
)
from imagekit.cli.output import talk_of as talk


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    path: Path
    start: int


def output_of(function) -> str:
    return CliRunner().invoke(click.command()(function)).output


def test_json_has_sorted_keys_two_spaces_and_a_last_newline() -> None:
    assert output_of(lambda: emit_json({"b": 1, "a": ["ü"]})) == '{\n  "a": [\n    "ü"\n  ],\n  "b": 1\n}\n'


def test_table_that_would_be_cut_to_pieces_is_not_drawn() -> None:
    columns, rows = ("structure", "content"), [("kernel-a", "pc-kernel_1.snap + hash tree")]
    assert fits(columns, rows, 11 + 16)
    assert not fits(columns, rows, 11 + 15)
    assert fits(("check",), [("",)], 5)


def test_path_is_shown_from_here_or_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/build").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "home/build")
    assert short_path(tmp_path / "home/build/out/pc.img") == "out/pc.img"
    assert short_path(tmp_path / "home/.local/x.log") == "~/.local/x.log"
    assert short_path(tmp_path / "homestead") == str(tmp_path / "homestead")
    assert short_path("out/pc.img") == "out/pc.img"
    (tmp_path / "home/build").rmdir()
    assert short_path("/etc/x") == "/etc/x"


def test_json_knows_values_paths_times_and_uuids() -> None:
    value = [Place(path=Path("/x"), start=1), datetime(2026, 1, 2, tzinfo=UTC), UUID(int=0)]
    assert json.loads(output_of(lambda: emit_json(value))) == [
        {"path": "/x", "start": 1}, "2026-01-02T00:00:00+00:00", "00000000-0000-0000-0000-000000000000"]


def test_json_of_something_without_a_form_is_a_bug() -> None:
    with pytest.raises(TypeError):
        emit_json({"x": object()})


def test_plain_table_keeps_every_value_in_full() -> None:
    digest = "f" * 200
    text = plain_table(("name", "size", "digest"), [["a", "5", digest], ["long-name", "12345", ""]], right={"size"})
    assert text == f"name        size  digest\na              5  {digest}\nlong-name  12345"


def test_table_off_a_terminal_is_plain_and_on_stdout() -> None:
    assert output_of(lambda: table(("n",), [[1], [2]])) == "n\n1\n2\n"


def test_rows_may_not_be_longer_than_the_head() -> None:
    with pytest.raises(ValueError):
        plain_table(("a",), [["1", "2"]])


@pytest.mark.parametrize(("environ", "tty", "option", "wanted"), [
    ({}, True, None, True),
    ({}, False, None, False),
    ({"NO_COLOR": "1"}, True, None, False),
    ({"NO_COLOR": ""}, True, None, True),
    ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, None, False),
    ({"FORCE_COLOR": "1"}, False, None, True),
    ({"CLICOLOR_FORCE": "1"}, False, None, True),
    ({"TERM": "dumb"}, True, None, False),
    ({"FORCE_COLOR": "1"}, True, False, False),
])
def test_colours_obey_option_environment_and_terminal(environ, tty, option, wanted) -> None:
    stream = Terminal() if tty else io.StringIO()
    assert colors_wanted(stream, talk=Talk(color=option), environ=environ) is wanted


def test_warning_is_told_even_when_quiet_and_detail_only_when_verbose() -> None:
    def both() -> None:
        talk().verbosity = -1
        warn("careful")
        detail("hidden")
        talk().verbosity = 1
        detail("shown")

    assert output_of(both) == "warning: careful\nshown\n"


def test_suggestion_for_a_near_name_and_list_for_a_far_one() -> None:
    assert suggest("kernl", ["kernel", "base"]) == "did you mean 'kernel'?"
    assert suggest("zzz", ["kernel", "base"]) == "there is: base, kernel"
    assert suggest("zzz", []) is None
