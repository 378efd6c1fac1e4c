"""Boot scripts against U-Boot's own mkimage and dumpimage."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.boot.uimage import BootScript, decode_script, encode_script
from tests.tools.conftest import RunTool

pytestmark = pytest.mark.tools

ARCHITECTURES = [("arm64", "arm64"), ("armhf", "arm")]
TIME = 1700000000


@pytest.mark.parametrize(("ours", "theirs"), ARCHITECTURES)
def test_mkimage_writes_the_same_bytes(run_tool: RunTool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str,
                                       theirs: str) -> None:
    text, made = tmp_path / "text", tmp_path / "boot.scr"
    text.write_text("echo hello\nreset\n")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(TIME))
    run_tool("mkimage", "-A", theirs, "-O", "linux", "-T", "script", "-C", "none", "-n", "imagekit", "-d", text, made)
    script = BootScript(text=text.read_text(), name="imagekit", architecture=ours, time=TIME)
    assert encode_script(script) == made.read_bytes()
    assert decode_script(made.read_bytes(), name="boot.scr") == script


def test_dumpimage_takes_the_script_out_again(run_tool: RunTool, tmp_path: Path) -> None:
    path, out = tmp_path / "boot.scr", tmp_path / "text"
    path.write_bytes(encode_script(BootScript(text="echo hello\n", name="imagekit", architecture="arm64", time=TIME)))
    listed = run_tool("dumpimage", "-l", path)
    assert "AArch64 Linux Script (uncompressed)" in listed
    run_tool("dumpimage", "-T", "script", "-p", "0", "-o", out, path)
    assert out.read_bytes() == (11).to_bytes(4, "big") + bytes(4) + b"echo hello\n"  # with its list of files
