"""The canonical tar: same entries, same bytes, and nothing of the host in them."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from imagekit.build.tree import (
    BLOCK,
    CHAR,
    FIFO,
    Entry,
    Slice,
    Tree,
    content_of,
    file,
    folder,
    read_tar,
    symlink,
    write_tar,
)
from imagekit.errors import PlanError

ENTRIES = [
    file("usr/bin/a", b"a" * 5000, mode=0o755), symlink("bin", "usr/bin"), folder("tmp", mode=0o1777),
    Entry(path="dev/console", kind=CHAR, mode=0o600, device=(5, 1)), Entry(path="dev/sda", kind=BLOCK, device=(8, 0)),
    Entry(path="run/pipe", kind=FIFO), Entry(path="home/me", kind="folder", mode=0o700, uid=1000, gid=1001),
    Entry(path="usr/bin/cap", content=b"x", xattrs={"security.capability": b"\x01\x00\x00\x02\xff"}),
    file("ümlaut/" + "x" * 150, b"long name"),
]


def tar(entries: list[Entry], *, mtime: int = 7) -> bytes:
    out = io.BytesIO()
    write_tar(Tree(entries), out, mtime=mtime)
    return out.getvalue()


def test_order_of_adding_and_the_umask_do_not_matter() -> None:
    before = os.umask(0o077)
    try:
        other = tar(list(reversed(ENTRIES)))
    finally:
        os.umask(before)
    assert tar(ENTRIES) == other


def test_root_comes_first_with_mode_0755_and_all_names_are_below_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(tar(ENTRIES))) as archive:
        members = archive.getmembers()
    assert (members[0].name, members[0].mode, members[0].isdir()) == (".", 0o755, True)
    assert all(member.name.startswith("./") for member in members[1:])
    assert {(member.mtime, member.uname, member.gname) for member in members} == {(7, "", "")}


def test_written_tree_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(tar(ENTRIES))
    with path.open("rb") as stream:
        tree = read_tar(stream, path=path)
    again = io.BytesIO()
    write_tar(tree, again, mtime=7)
    assert again.getvalue() == path.read_bytes()
    capable = tree.get("usr/bin/cap")
    assert capable is not None and capable.xattrs == {"security.capability": b"\x01\x00\x00\x02\xff"}


def test_hard_link_becomes_a_file_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("./a")
        info.size, info.mode = 3, 0o755
        archive.addfile(info, io.BytesIO(b"abc"))
        hard = tarfile.TarInfo("./b")
        hard.type, hard.linkname = tarfile.LNKTYPE, "./a"
        archive.addfile(hard)
    with path.open("rb") as stream:
        entry = read_tar(stream, path=path).get("b")
    assert entry is not None
    assert (content_of(entry), entry.mode) == (b"abc", 0o755)


def test_hard_link_before_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        hard = tarfile.TarInfo("./b")
        hard.type, hard.linkname = tarfile.LNKTYPE, "./a"
        archive.addfile(hard)
    with path.open("rb") as stream, pytest.raises(PlanError, match="which comes later"):
        read_tar(stream, path=path)


@pytest.mark.parametrize("form", ["gnu", "posix"])
def test_file_that_is_stored_with_holes_is_refused(tmp_path: Path, form: str) -> None:
    with (tmp_path / "holey").open("wb") as stream:
        stream.truncate(1 << 20)
        stream.seek(500_000)
        stream.write(b"something")
    path = tmp_path / "x.tar"
    subprocess.run(["tar", "--sparse", f"--format={form}", "-cf", path, "-C", tmp_path, "holey"], check=True)
    with path.open("rb") as stream, pytest.raises(PlanError, match="holey is stored with holes"):
        read_tar(stream, path=path)


def test_contents_come_from_memory_files_and_slices(tmp_path: Path) -> None:
    path = tmp_path / "big"
    path.write_bytes(b"0123456789")
    for content, expected in ((b"x", b"x"), (path, b"0123456789"), (Slice(path=path, start=2, end=5), b"234")):
        assert content_of(file("f", content)) == expected
        with tarfile.open(fileobj=io.BytesIO(tar([file("f", content)]))) as archive:
            member = archive.extractfile("./f")
            assert member is not None and member.read() == expected


@pytest.mark.parametrize("path", ["", "/etc", "../x", "a/../b", "a//b", "./a"])
def test_path_that_is_not_below_the_root_is_refused(path: str) -> None:
    with pytest.raises(PlanError, match="not a path below its root"):
        Tree([file(path, b"")])


def test_file_below_a_link_and_file_over_a_full_folder_are_refused() -> None:
    with pytest.raises(PlanError, match="bin is a symlink there"):
        Tree([symlink("bin", "usr/bin"), file("bin/sh", b"")])
    with pytest.raises(PlanError, match="folder with content"):
        Tree([file("etc/x", b""), file("etc", b"")])


def test_removing_takes_what_is_below_and_nothing_else() -> None:
    tree = Tree([file("a/b", b""), file("a/c/d", b""), file("ab", b"")])
    tree.remove("a")
    assert tree.paths() == ["ab"]
