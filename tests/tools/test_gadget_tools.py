"""Gadgets in packages that others make: squashfs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.cli.main import main
from imagekit.testing.squashfs import write_squashfs

pytestmark = pytest.mark.tools

REAL = Path(__file__).parent.parent / "data/gadgets/pc-gadget_24_gadget_gadget-amd64.yaml"
SNAP_YAML = b"name: pc\nversion: 24\ntype: gadget\n"


def test_gadget_in_squashfs_is_held_to_its_files(tmp_path: Path, program: Callable[[str], str]) -> None:
    program("mksquashfs")
    package = write_squashfs(tmp_path / "pc_1.snap", {
        "meta/gadget.yaml": REAL.read_bytes(), "meta/snap.yaml": SNAP_YAML, "mbr.img": bytes(441), "grubx64.efi": b"x"})
    result = CliRunner().invoke(main, ["gadget", "check", "--json", str(package)])  # type: ignore[arg-type]
    found = json.loads(result.stdout)["files"][0]
    assert found["file"] == f"{package}/meta/gadget.yaml"
    assert [(item["rule"], item["path"]) for item in found["problems"]] == [
        ("content-image-does-not-fit", "volumes.pc.structure[0].content[0]"),
        ("content-missing", "volumes.pc.structure[2].content[1].source"),
    ]
    assert result.exit_code == 3
