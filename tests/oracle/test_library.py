"""The oracle itself: it is compiled from locked sources, answers everything, and its build is cached."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.build.project import load_lock
from imagekit.errors import ExitCode, HostError
from imagekit.testing.images import Silent
from tests.oracle import library
from tests.oracle.ask import Oracle
from tests.oracle.run import main

pytestmark = pytest.mark.tools


def test_program_is_compiled_with_the_library_it_is_named_after(oracle: Oracle) -> None:
    about = oracle.ask({"op": "about"})
    assert about["library"] == oracle.suite
    assert {"model", "account-key", "validation-set"} <= set(about["types"])


def test_second_build_compiles_nothing(oracle: Oracle) -> None:
    told = Silent()
    assert library.build(oracle.suite, progress=told) == oracle.program
    assert told.steps == []


def test_answers_come_in_the_order_of_the_requests(oracle: Oracle) -> None:
    requests = [{"op": "kernel", "yaml": f"assets: {{a{index}: {{update: true}}}}".encode()} for index in range(50)]
    assert [list(answer["assets"]) for answer in oracle.ask_all(requests)] == [[f"a{index}"] for index in range(50)]


def test_document_that_ends_the_process_does_not_end_the_conversation(oracle: Oracle) -> None:
    deep = b"[" * 9000
    answers = oracle.ask_all([{"op": "kernel", "yaml": deep}, {"op": "kernel", "yaml": b"assets: {}"}])
    assert answers[0]["verdict"] in ("refused", "crashed")
    assert answers[1]["verdict"] == "accepted"


def test_request_without_sense_is_an_error_of_the_test(oracle: Oracle) -> None:
    with pytest.raises(AssertionError, match="no such operation"):
        oracle.ask({"op": "guess"})


def test_machine_without_a_compiler_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError) as caught:
        library.build("bookworm", progress=Silent())
    assert caught.value.exit_code == ExitCode.HOST
    assert "golang-go" in (caught.value.hint or "")


def test_task_on_a_machine_without_a_compiler_ends_with_6(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["--cases", "1"])
    assert result.exit_code == ExitCode.HOST
    assert "apt-get install golang-go" in result.output


def test_lock_holds_sources_only() -> None:
    sections = load_lock(library.LOCK).sections
    assert set(sections) == {library.NEEDED, *(f"snapd-{suite}" for suite in library.SUITES)}
    assert {part.architecture for section in sections.values() for part in section.parts} == {"all"}
    assert [library.version(suite)[:4] for suite in library.SUITES] == ["2.57", "2.68"]
