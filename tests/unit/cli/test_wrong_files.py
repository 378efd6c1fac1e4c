"""Files that are not what a command takes: what is said names the file, and is true of it."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import main
from imagekit.disk import gpt
from imagekit.units import MIB


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.parametrize(("content", "said"), [
    (b"", "document: it is empty"), (b"\x86\xff", "headers: the file ends before a blank line"),
    (b"type: model\nmodel: pc\n", "it is not signed"), (b"base: debian-13\n", "it is not signed")])
def test_model_that_is_no_text_is_not_called_unsigned(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "pc.model").write_bytes(content)
    done = run("plan", tmp_path / "pc.model")
    assert done.exit_code in (3, 4)
    assert said in done.stderr
    assert ("imagekit sign" in done.stderr) == ("not signed" in said)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A disk that was cut off behind its first MiB."""
    data = gpt.Partition(index=1, name="data", type_guid=UUID(int=1), unique_guid=UUID(int=2), start=MIB, end=8 * MIB)
    table = gpt.Table(disk_guid=UUID(int=3), partitions=(data,), disk_size=16 * MIB)
    path = tmp_path / "disk.img"
    with path.open("wb") as stream:
        for offset, piece in gpt.encode(table):
            stream.seek(offset)
            stream.write(piece)
        stream.truncate(MIB)
    return path


@pytest.mark.parametrize("words", [("flash", "plan"), ("flash", "write"), ("flash", "verify"), ("flash", "compress"),
                                   ("inspect",)], ids=" ".join)
def test_image_that_was_cut_short_is_named(image: Path, words: tuple[str, ...]) -> None:
    done = run(*words, image, *([image.with_name("card.img")] if words[-1] in ("plan", "write", "verify") else []))
    assert done.exit_code == 3
    assert f"imagekit: cannot use {image}: cannot read partition table: partitions reach up to" in done.stderr
    assert "cut short" in done.stderr


def test_block_map_that_is_not_there_is_not_promised(image: Path) -> None:
    image.write_bytes(bytes(MIB))
    assert "the image has no block map disk.img.bmap beside it" in run("flash", "compress", image).stderr
