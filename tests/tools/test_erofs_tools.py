"""Our EROFS reader against images that the host's mkfs.erofs makes, and its fsck on our fixtures."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.packages.erofs import Erofs
from imagekit.packages.package import ErofsPackage

pytestmark = pytest.mark.tools

FIXTURES = Path(__file__).parent.parent / "unit/packages/erofs"


@pytest.mark.parametrize("name", ["flat", "chunked"])
def test_fixture_is_sound(run_tool: Callable[..., str], name: str) -> None:
    run_tool("fsck.erofs", FIXTURES / f"{name}.erofs")


@pytest.mark.parametrize("options", [[], ["--chunksize=4096"], ["--chunksize=65536"], ["-Eforce-inode-extended"]],
                         ids=["flat", "chunked", "coarse", "extended"])
def test_tree_reads_back_from_the_image_of_mkfs(run_tool: Callable[..., str], tmp_path: Path,
                                                options: list[str]) -> None:
    source = tmp_path / "tree"
    noise = random.Random(7)
    expected = {f"d{index % 5}/{'n' * (index % 60)}{index}": noise.randbytes(noise.choice((0, 5, 4095, 4096, 9000)))
                for index in range(200)}
    for path, content in expected.items():
        source.joinpath(path).parent.mkdir(parents=True, exist_ok=True)
        source.joinpath(path).write_bytes(content)
    run_tool("mkfs.erofs", "-T0", *options, tmp_path / "image", source)
    run_tool("fsck.erofs", tmp_path / "image")
    with (tmp_path / "image").open("rb") as stream:
        image = Erofs(stream)
        assert image.size == (tmp_path / "image").stat().st_size
        assert {entry.path for entry in image.walk() if entry.inode.is_file} == set(expected)
        for path, content in expected.items():
            assert image.read(path) == content


def test_files_of_a_folder_are_those_right_in_it(run_tool: Callable[..., str], tmp_path: Path) -> None:
    hooks = tmp_path / "tree/meta/hooks"
    (hooks / "below").mkdir(parents=True)
    for path in ("configure", "install", "below/remove"):
        (hooks / path).write_bytes(b"#!/bin/sh\n")
    (hooks / "link").symlink_to("configure")
    run_tool("mkfs.erofs", "-T0", tmp_path / "image", tmp_path / "tree")
    with (tmp_path / "image").open("rb") as stream:
        package = ErofsPackage(stream, name="image")
        assert package.files_in("meta/hooks/") == ("configure", "install")
        assert package.files_in("meta/none/") == ()
        assert package.files_in("meta/hooks/install/") == ()
