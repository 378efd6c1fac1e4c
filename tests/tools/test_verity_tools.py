"""Our hash trees against cryptsetup's veritysetup."""

from __future__ import annotations

import io
import random
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.disk import verity

pytestmark = pytest.mark.tools

UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


@pytest.mark.parametrize("salt", [b"", b"\x01\x02", bytes(range(32)), bytes(256)], ids=lambda salt: f"salt{len(salt)}")
@pytest.mark.parametrize("blocks", [1, 2, 127, 128, 129, 300])
def test_tree_is_what_veritysetup_writes(run_tool: Callable[..., str], tmp_path: Path, blocks: int,
                                         salt: bytes) -> None:
    compare(run_tool, tmp_path / "package", blocks, salt)


def test_tree_of_three_levels_is_what_veritysetup_writes(run_tool: Callable[..., str], tmp_path: Path) -> None:
    compare(run_tool, tmp_path / "package", 128 * 128 + 1, bytes(range(32)))


def compare(run_tool: Callable[..., str], path: Path, blocks: int, salt: bytes) -> None:
    size = blocks * 4096
    content = random.Random(blocks).randbytes(size)
    path.write_bytes(content)
    said = run_tool("veritysetup", "format", f"--hash-offset={size}", f"--data-blocks={blocks}",
                    f"--salt={salt.hex() or '-'}", f"--uuid={UUID}", path, path)
    tree = verity.build_tree(io.BytesIO(content), size, salt=salt, uuid=UUID)
    found = re.search(r"Root hash:\s+([0-9a-f]+)", said)
    assert found
    assert tree.root_hash == found[1]
    theirs = path.read_bytes()[size:]
    assert tree.tree.rstrip(b"\0") == theirs.rstrip(b"\0")
    assert len(theirs) <= len(tree.tree) == verity.tree_size(size)
    path.write_bytes(content + tree.tree)
    run_tool("veritysetup", "verify", f"--hash-offset={size}", path, path, tree.root_hash)
    with path.open("rb") as stream:
        verity.verify(stream, size=size, root_hash=tree.root_hash)
