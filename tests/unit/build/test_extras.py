"""Words of `--snap`: names and files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.assertions import SnapType
from imagekit.build.extras import Extra, parse_extras, type_of
from imagekit.build.inputs import assertion_files, find_packages
from imagekit.build.run import Request
from imagekit.errors import UsageError


def touched(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(4096))
    return path


def test_names_and_files_are_told_apart_and_asked_for_once(tmp_path: Path) -> None:
    file = touched(tmp_path / "world_7.snap")
    assert parse_extras(["hello", str(file), "hello"]) == (Extra(name="hello"), Extra(name="world", file=file))


@pytest.mark.parametrize(("word", "said"), [
    ("Hello", "neither the name of a package nor a file"), ("", "neither the name"),
    ("nowhere/hello_1.snap", "no such file"), ("hello_1.snap", "no such file"), ("./", "it is a folder")])
def test_word_that_is_no_package_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_extras([word])


def test_name_that_snapcraft_gave_a_file_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    file = touched(tmp_path / "hello_1.2_amd64.snap")
    with pytest.raises(UsageError, match=r"must be named NAME_REVISION\.snap") as caught:
        parse_extras([str(file)])
    assert f"cp {file} {tmp_path}/hello_1.snap" in str(caught.value.hint)


def test_two_files_of_one_package_are_refused(tmp_path: Path) -> None:
    words = [str(touched(tmp_path / f"hello_{number}.snap")) for number in (1, 2)]
    with pytest.raises(UsageError, match=r"'hello': it is asked for twice, as .*hello_1\.snap and as .*hello_2\.snap"):
        parse_extras(words)


def test_file_counts_alone_and_brings_the_assertion_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    touched(folder / "hello_9.snap")
    given = touched(tmp_path / "elsewhere" / "hello_2.snap")
    extras = parse_extras([str(given)])
    assert list(find_packages([folder], {"hello"}, files=extras)) == [("hello", 2)]
    assert assertion_files([folder], {"hello"}, files=extras) == []
    beside = touched(given.with_suffix(".assert"))
    assert assertion_files([folder], {"hello"}, files=extras) == [beside]
    assert list(find_packages([folder], {"hello"}, files=parse_extras(["hello"]))) == [("hello", 9)]


def test_type_of_a_package_without_a_file_is_left_to_be_told_later() -> None:
    assert type_of(Extra(name="hello"), {}) is SnapType.APP


def test_build_watches_the_words_and_the_files_that_they_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    request = Request(model=Path("pc.model"), packages=(), trust=(), epoch=None, now=datetime(2026, 1, 1, tzinfo=UTC),
                      extras=("hello", "./world_7.snap"))
    assert request.watched.settings["snaps"] == f"hello\n{tmp_path}/world_7.snap"
    assert {tmp_path / f"world_7{suffix}" for suffix in (".snap", ".snap.zst", ".assert")} <= {*request.watched.files}
