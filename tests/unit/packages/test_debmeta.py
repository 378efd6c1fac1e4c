"""Debian packages: right ones are read, broken and hostile ones refused."""

from __future__ import annotations

import io

import pytest

from imagekit.errors import DocumentError
from imagekit.packages.debmeta import Deb, control_of, decode_ar, parse_stanzas, safe_path
from imagekit.testing.debs import MTIME, build_ar, build_deb, folder, link, regular

FILES = [folder("./usr"), regular("./usr/hello", b"hello\n", mode=0o755), link("./usr/hi", "hello"),
         link("./usr/hard", "./usr/hello", hard=True)]


def read(content: bytes) -> list[tuple[str, bytes | None]]:
    deb = Deb(io.BytesIO(content), name="x.deb")
    deb.control()
    return [(entry.name, stream.read() if stream else None) for entry, stream in deb.files()]


@pytest.mark.parametrize("compression", ["", ".gz", ".xz", ".zst"])
def test_files_and_control_are_read_whatever_the_compression(compression: str) -> None:
    content = build_deb(FILES, compression=compression)
    assert read(content) == [("usr", None), ("usr/hello", b"hello\n"), ("usr/hi", None), ("usr/hard", None)]
    control = Deb(io.BytesIO(content), name="x.deb").control()
    assert (control.package, control.version, control.source, control.source_version) == ("hello", "1.0-1", "hello",
                                                                                         "1.0-1")


def test_build_time_is_that_of_the_archive() -> None:
    assert Deb(io.BytesIO(build_deb()), name="x.deb").mtime == MTIME


@pytest.mark.parametrize(("field", "source", "version"), [
    ("Source: other\n", "other", "1-1"), ("Source: other (0.9-3)\n", "other", "0.9-3"), ("", "hello", "1-1")])
def test_source_package_is_named_with_its_version(field: str, source: str, version: str) -> None:
    deb = build_deb(control=f"Package: hello\nVersion: 1-1\nArchitecture: all\n{field}")
    control = Deb(io.BytesIO(deb), name="x.deb").control()
    assert (control.source, control.source_version) == (source, version)


def test_every_truncation_is_refused() -> None:
    content = build_deb(FILES, compression=".xz")
    for length in range(len(content)):
        with pytest.raises(DocumentError):
            read(content[:length])


@pytest.mark.parametrize("compression", ["", ".gz", ".xz", ".zst"])
def test_flipped_bytes_are_refused_or_harmless_but_never_a_crash(compression: str) -> None:
    content = build_deb(FILES, compression=compression)
    for at in range(0, len(content), 3):
        broken = bytearray(content)
        broken[at] ^= 0xFF
        try:
            read(bytes(broken))
        except DocumentError:
            continue


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "usr/../../up", "./a/../../b", "a\nb"])
def test_path_that_leaves_the_tree_is_refused(path: str) -> None:
    with pytest.raises(DocumentError, match="leaves the tree"):
        read(build_deb([regular(path)]))


def test_hard_link_to_outside_is_refused() -> None:
    with pytest.raises(DocumentError, match="leaves the tree"):
        read(build_deb([link("./a", "../../etc/shadow", hard=True)]))


def test_root_itself_is_the_empty_path() -> None:
    assert safe_path("./", name="x") == ""
    assert safe_path("./a//b/", name="x") == "a/b"


@pytest.mark.parametrize(("content", "reason"), [
    (b"", "not a Debian package"), (b"!<arch>\n", "not a Debian package"),
    (build_ar([("control.tar", b"")]), "no debian-binary"), (build_ar([("debian-binary", b"2.0\n")]), "no control.tar"),
    (build_ar([("debian-binary", b"2.0\n"), ("control.tar.lz4", b"x")]), "compressed in a way"),
    (build_deb(control="Package: hello\n"), "no Version and no Architecture"),
    (build_deb(control="no colon here\n"), "not a `Field: value` line"),
    (build_deb(control=""), "0 paragraphs"),
])
def test_what_is_no_package_is_refused_with_its_reason(content: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        read(content)


def test_member_longer_than_the_file_is_refused_before_it_is_read() -> None:
    header = f"{'debian-binary':<16}{0:<12}{0:<6}{0:<6}{0:<8}{10**9:<10}`\n".encode()
    with pytest.raises(DocumentError, match="cut short"):
        decode_ar(io.BytesIO(b"!<arch>\n" + header), name="x.deb")


def test_stanzas_keep_continuation_lines() -> None:
    text = "Package: a\nDescription: short\n long\n .\n\n\nPackage: b\n"
    assert list(parse_stanzas(text, name="x")) == [{"Package": "a", "Description": "short\nlong\n."}, {"Package": "b"}]


def test_continuation_without_a_field_is_refused_with_its_line() -> None:
    with pytest.raises(DocumentError, match="x:1: a continuation line"):
        list(parse_stanzas(" lost\n", name="x"))


def test_missing_fields_are_named() -> None:
    with pytest.raises(DocumentError, match="no Package and no Architecture"):
        control_of({"Version": "1"}, name="x")
