"""A healthy boot is written down for the very bytes that booted, and for no others."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.disk.bmap import block_ranges, digest_ranges, encode_bmap
from imagekit.errors import DocumentError
from imagekit.plan.manifest import (
    MANIFEST,
    Manifest,
    ManifestFile,
    ManifestImage,
    ManifestModel,
    encode_manifest,
    parse_manifest,
    ranges_digest,
)
from imagekit.qemu.record import record_boot

WHEN = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "pc.img"
    path.write_bytes(random.Random(1).randbytes(8192) + b"\0" * 8192)
    with path.open("rb") as stream:
        ranges = digest_ranges(stream, block_ranges([(0, 8192)], 16384))
    bmap = encode_bmap(16384, ranges)
    (tmp_path / "pc.img.bmap").write_bytes(bmap)
    manifest = Manifest(
        model=ManifestModel(brand="acme", model="pc", revision=0, grade="signed", architecture="amd64",
                            timestamp="2026", digest="d"),
        image=ManifestImage(file="pc.img", size=16384, mapped=8192, digest=ranges_digest(ranges), disk_guid="g"),
        packages=(), structures=(), timestamp="2026",
        files={"bmap": ManifestFile(file="pc.img.bmap", sha256=hashlib.sha256(bmap).hexdigest())})
    (tmp_path / MANIFEST).write_bytes(encode_manifest(manifest))
    return path


def booted(image: Path) -> object:
    return parse_manifest((image.parent / MANIFEST).read_bytes(), name=MANIFEST).booted


def test_boot_is_recorded_with_machine_digest_and_time(image: Path) -> None:
    assert record_boot(image, machine="pc", time=WHEN)
    record = parse_manifest((image.parent / MANIFEST).read_bytes(), name=MANIFEST)
    assert record.booted is not None
    assert (record.booted.machine, record.booted.time) == ("pc", "2026-06-01T12:00:00+00:00")
    assert record.booted.digest == record.image.digest


def test_image_that_was_changed_is_not_recorded(image: Path) -> None:
    raw = bytearray(image.read_bytes())
    raw[5000] ^= 1
    image.write_bytes(raw)
    with pytest.raises(DocumentError):
        record_boot(image, machine="pc", time=WHEN)
    assert booted(image) is None


def test_block_map_that_was_changed_is_not_believed(image: Path) -> None:
    path = image.parent / "pc.img.bmap"
    path.write_bytes(path.read_bytes().replace(b"> 0-1 <", b"> 0 <"))
    with pytest.raises(DocumentError, match="checksum"):
        record_boot(image, machine="pc", time=WHEN)


def test_missing_block_map_is_said(image: Path) -> None:
    (image.parent / "pc.img.bmap").unlink()
    with pytest.raises(DocumentError, match="block map"):
        record_boot(image, machine="pc", time=WHEN)


def test_image_without_a_manifest_of_its_own_is_left_alone(image: Path) -> None:
    other = image.with_name("copy.img")
    other.write_bytes(image.read_bytes())
    assert not record_boot(other, machine="pc", time=WHEN)
    (image.parent / MANIFEST).unlink()
    assert not record_boot(image, machine="pc", time=WHEN)
