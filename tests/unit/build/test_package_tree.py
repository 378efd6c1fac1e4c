"""Gadgets as they lie on this machine: documents, folders, sources and packages become one thing."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.build.package_tree import Kind, find_gadget, read_gadget, read_kernel
from imagekit.errors import DocumentError, HostError

TESTS = Path(__file__).parent.parent.parent
PACKAGES = Path(__file__).parent / "packages"
TEXT = (TESTS / "documents/valid/gadget-minimal-uc20/gadget.yaml").read_bytes()


def folder(path: Path, document: str) -> Path:
    (path / document).parent.mkdir(parents=True, exist_ok=True)
    (path / document).write_bytes(TEXT)
    (path / "boot.img").write_bytes(b"x" * 10)
    return path


def test_document_alone_has_no_files(tmp_path: Path) -> None:
    (tmp_path / "any.yaml").write_bytes(TEXT)
    found = find_gadget(tmp_path / "any.yaml")
    assert (found.kind, found.name, found.files, found.contents()) == (
        Kind.DOCUMENT, str(tmp_path / "any.yaml"), None, None)


def test_folder_has_its_files_but_no_links(tmp_path: Path) -> None:
    folder(tmp_path, "meta/gadget.yaml")
    (tmp_path / "link").symlink_to("/etc/passwd")
    found = find_gadget(tmp_path)
    assert found.kind is Kind.FOLDER
    assert found.files == {"boot.img": 10, "meta/gadget.yaml": len(TEXT)}
    assert found.contents() == {"boot.img": b"x" * 10, "meta/gadget.yaml": TEXT}


def test_folder_with_the_document_on_top_has_its_files(tmp_path: Path) -> None:
    found = find_gadget(folder(tmp_path, "gadget.yaml"))
    assert (found.name, found.kind) == (str(tmp_path / "gadget.yaml"), Kind.FOLDER)
    assert found.files == {"boot.img": 10, "gadget.yaml": len(TEXT)}


def test_files_of_a_source_come_with_its_recipe(tmp_path: Path) -> None:
    folder(tmp_path, "gadget.yaml")
    (tmp_path / "recipe.yaml").touch()
    found = find_gadget(tmp_path)
    assert (found.kind, found.files, found.contents()) == (Kind.SOURCE, None, None)


def test_folder_without_the_document_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(DocumentError, match=r"it has neither meta/gadget\.yaml nor gadget\.yaml"):
        find_gadget(tmp_path)


def test_package_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kernel_1.snap"
    path.write_bytes((PACKAGES / "small-kernel.erofs").read_bytes())
    with pytest.raises(DocumentError, match=r"it has no meta/gadget\.yaml"):
        find_gadget(path)
    assert "meta/snap.yaml" in (read_kernel(path).files or {})


def test_document_that_cannot_be_read_is_the_machines_fault(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot read .*gadget\.yaml: no such file or directory"):
        find_gadget(tmp_path / "gadget.yaml")


def test_gadget_that_breaks_rules_tells_them_all(tmp_path: Path) -> None:
    path = tmp_path / "gadget.yaml"
    wrong = TEXT.replace(b"bootloader: grub", b"bootloader: lilo").replace(b"filesystem: vfat", b"filesystem: x")
    path.write_bytes(wrong)
    with pytest.raises(DocumentError) as caught:
        read_gadget(path)
    assert len(caught.value.details) == 2
