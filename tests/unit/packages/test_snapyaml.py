"""`meta/snap.yaml` and package file names."""

from __future__ import annotations

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.snapyaml import SnapInfo, encode_snap_yaml, file_name, parse_file_name, parse_snap_yaml
from imagekit.schema import load_yaml

INFO = SnapInfo(name="pc-kernel", version="6.12.1-1", type="kernel", architectures=("amd64",), summary='a "kernel": x',
                description="two\nlines")


def test_written_document_is_read_back() -> None:
    assert parse_snap_yaml(load_yaml(encode_snap_yaml(INFO), name="snap.yaml")) == INFO


def test_app_is_confined_and_keeps_its_base() -> None:
    app = SnapInfo(name="hello", version="1", type="app", architectures=("all",), base="debian-13")
    content = encode_snap_yaml(app)
    assert b"confinement: strict\n" in content
    assert parse_snap_yaml(load_yaml(content, name="snap.yaml")) == app


def test_number_as_version_and_unknown_keys_are_taken_as_snapd_does() -> None:
    info = parse_snap_yaml(load_yaml("name: hello\nversion: 2.5\nplugs: {x: null}\n", name="snap.yaml"))
    assert (info.version, info.type, info.architectures) == ("2.5", "app", ("all",))


@pytest.mark.parametrize("text", [
    "name: hello\n", "version: 1\n", "name: -x\nversion: 1\n", "name: hello\nversion: '1 2'\n",
    f"name: hello\nversion: '{'1' * 33}'\n", "name: hello\nversion: '1'\ntype: car\n",
    "name: hello\nversion: '1'\narchitectures: [[]]\n", "- a\n"])
def test_wrong_document_is_refused(text: str) -> None:
    with pytest.raises(DocumentError):
        parse_snap_yaml(load_yaml(text, name="snap.yaml"))


def test_file_name_goes_both_ways() -> None:
    assert parse_file_name(file_name("pc-kernel", 12)) == ("pc-kernel", 12)


@pytest.mark.parametrize("name", ["pc.snap", "pc_0.snap", "pc_x1.snap", "pc_1.snap.zst", "a/pc_1.snap", "PC_1.snap",
                                  ""])
def test_other_file_names_are_refused(name: str) -> None:
    with pytest.raises(DocumentError, match="not a package name"):
        parse_file_name(name)
