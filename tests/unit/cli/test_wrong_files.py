"""Files that are not what a command takes: what is said names the file, and is true of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from imagekit.cli.main import main
from imagekit.disk import gpt
from imagekit.errors import HostError
from imagekit.testing.documents import NOW, TESTS, signing_key
from imagekit.units import MIB
from tests.patience import WALL_S

ROOT = Path(__file__).parents[3]


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


@pytest.mark.parametrize("words", [("pack", "-o", "out"), ("factory", "plan"), ("factory", "run", "--once"), ("plan",),
                                   ("verify",), ("sign", "-k", "acme"), ("snap", "check"), ("gadget", "check"),
                                   ("trust", "add"), ("board", "show"), ("boot", "a.img", "--machine")], ids=" ".join)
def test_private_key_that_is_taken_for_a_document_is_told_to_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                                    words: tuple[str, ...]) -> None:
    """A slip of the completion; what is said goes into logs and bug reports."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    lines = (TESTS / "keys" / "TEST-ONLY-brand.pem").read_text().splitlines()
    (tmp_path / "key.yaml").write_text("\n".join(lines) + "\n")
    done = run(*words, tmp_path / "key.yaml")
    assert done.exit_code in (2, 3, 4), done.stderr
    told = done.output + "".join(log.read_text() for log in (tmp_path / "state").rglob("*.log"))
    assert not [line for line in lines[2:-1] if line in told.replace("\n", "")]


@pytest.mark.parametrize("words", [("boot",), ("powercut", "--update", ".")], ids=" ".join)
def test_folder_in_place_of_an_image_is_told_without_another_command(tmp_path: Path, words: tuple[str, ...],
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = run(*words, tmp_path)
    assert f"hint: name the image in it: {tmp_path}/NAME.img" in done.stderr
    assert "cannot use absent.img: there is no such file" in run(*words, "absent.img").stderr


def test_text_that_is_too_long_is_told_with_what_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(
        "factory-job: 1\nstation: a\nkey: a\nimage: a.img\nports: [{path: a.img, name: " + "x" * 90 + "}]\n")
    done = run("factory", "plan", tmp_path / "job.yaml")
    assert f"ports[0].name: '{'x' * 56}... has 90 characters, 24 are allowed" in done.stderr


@pytest.mark.parametrize("words", [("verify", "-o"), ("plan",), ("trust", "add"), ("key", "import"),
                                   ("sign", "-k", "x")], ids=" ".join)
@pytest.mark.parametrize("name", ["x" * 300, "file/below", "loop"], ids=["long", "below a file", "loop"])
def test_name_that_no_file_can_have_is_no_mistake_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                                          words: tuple[str, ...]) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    (tmp_path / "file").write_bytes(b"type: model\n")
    (tmp_path / "loop").symlink_to("loop")
    done = run(*words, tmp_path / name, *([tmp_path / "file"] if words[-1] == "-o" else []))
    assert done.exit_code in (2, 3, 4, 6), done.stderr
    assert "Traceback" not in done.stderr


def test_folder_for_identities_that_is_a_file_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "units").touch()
    from imagekit.host.prepared import prepare

    with pytest.raises(HostError, match=r"cannot write .*units: "):
        prepare(tmp_path / "units", "A1", authority="acme", brand="acme", model="pc", key=signing_key("brand"), now=NOW)


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape", "latin-1"])
@pytest.mark.parametrize("words", ["verify", "verify --json", "verify -o {} {}", "inspect --json", "plan --json",
                                   "flash plan --json {} card.img", "flash write --json {} card.img"])
def test_name_of_bytes_that_are_no_text_is_no_mistake_of_ours(tmp_path: Path, words: str, encoding: str) -> None:
    """Python has them as lone surrogates, which no encoding takes."""
    name = b"b\xff.img"
    (tmp_path / os.fsdecode(name)).write_bytes(bytes(2 * MIB))
    line = [name if word == "{}" else word.encode() for word in words.split()] + [name] * ("{}" not in words)
    done = subprocess.run([sys.executable.encode(), b"-m", b"imagekit.cli", *line], capture_output=True, check=False,
                          cwd=tmp_path, stdin=subprocess.DEVNULL, timeout=WALL_S,
                          env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)})
    assert done.returncode in (3, 4), done.stderr
    assert b"Traceback" not in done.stderr + done.stdout
    for document in ([done.stdout] if "write" not in words else done.stdout.splitlines()) if "--json" in words else []:
        assert isinstance(json.loads(document.decode("latin-1" if encoding == "latin-1" else "utf-8")), dict)


def test_folder_that_was_removed_is_no_mistake_of_ours(tmp_path: Path) -> None:
    program = f"{sys.executable} -m imagekit.cli"
    for words, code in (("board list", 0), ("plan pc.model", 2), ("flash plan a.img b.img", 2), ("doctor", 6)):
        done = subprocess.run(["sh", "-c", f"mkdir gone; cd gone; rmdir ../gone; exec {program} {words}"], check=False,
                              capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=WALL_S, cwd=tmp_path,
                              env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert done.returncode == code, done.stderr
        assert "mistake" not in done.stderr, done.stderr


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
