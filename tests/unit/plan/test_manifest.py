"""manifest.json: written, read back, and refused when it is something else."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagekit.disk.bmap import MappedRange
from imagekit.errors import DocumentError
from imagekit.plan.manifest import (
    Manifest,
    ManifestFile,
    ManifestImage,
    ManifestModel,
    ManifestPackage,
    ManifestStructure,
    encode_manifest,
    parse_manifest,
    ranges_digest,
    with_boot,
)

MANIFEST = Manifest(
    model=ManifestModel(brand="acme", model="pc", revision=0, grade="signed", architecture="amd64",
                        timestamp="2026-01-01T00:00:00+00:00", digest="d" * 64),
    image=ManifestImage(file="pc.img", size=8 << 20, mapped=4096, digest="a" * 64, disk_guid="b" * 36),
    packages=(ManifestPackage(name="pc", revision=1, version="1.0", type="gadget", snap_id="i" * 32, sha3_384="s" * 64,
                              size=10, verity_root=None, structures=("seed",), seed_size=5, mapped=5, share=0.5),),
    structures=(ManifestStructure(name="esp", partition=1, type="t", guid="g", start=1 << 20, size=1 << 20,
                                  role="system-boot", filesystem="vfat-32", label="ubuntu-boot", slot=None, part=None,
                                  content="boot files", mapped=4096, share=1, digest="e" * 64),),
    files={"bmap": ManifestFile(file="pc.img.bmap", sha256="f" * 64)},
    timestamp="2026-01-01T00:00:00+00:00",
)


def test_manifest_reads_back_as_it_was_written() -> None:
    assert parse_manifest(encode_manifest(MANIFEST), name="m") == MANIFEST


def test_fields_are_spelled_with_hyphens_and_the_form_has_a_version() -> None:
    value = json.loads(encode_manifest(MANIFEST))
    assert (value["format"], value["version"]) == ("imagekit-manifest", 1)
    assert value["packages"][0]["snap-id"] == "i" * 32
    assert value["booted"] is None


def test_recorded_boot_is_kept() -> None:
    booted = with_boot(MANIFEST, machine="pc", digest="a" * 64, time=datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC))
    again = parse_manifest(encode_manifest(booted), name="m")
    assert again == booted
    assert json.loads(encode_manifest(booted))["booted"] == {
        "machine": "pc", "digest": "a" * 64, "time": "2026-02-03T04:05:06+00:00"}


def test_boot_of_other_bytes_is_not_recorded() -> None:
    with pytest.raises(DocumentError, match="the booted image has the digest 00, the manifest says aaa"):
        with_boot(MANIFEST, machine="pc", digest="00", time=datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(("change", "reason"), [
    ({"format": "other"}, "it is no manifest of imagekit"),
    ({"version": 2}, "version 2, known is 1"),
    ({"image": None}, "m: image: an object is needed"),
    ({"packages": {}}, "m: packages: a list is needed"),
    ({"packages": [{"name": 5}]}, r"m: packages\[0\].name: str is needed, not 5"),
    ({"files": []}, "m: files: an object is needed"),
    ({"booted": {"machine": "pc", "digest": True, "time": ""}}, "m: booted.digest: str is needed, not True"),
])
def test_document_that_is_no_manifest_is_refused(change: dict[str, Any], reason: str) -> None:
    value = {**json.loads(encode_manifest(MANIFEST)), **change}
    with pytest.raises(DocumentError, match=reason):
        parse_manifest(json.dumps(value).encode(), name="m")


@given(st.binary(max_size=64) | st.integers(0, 1500).map(lambda length: encode_manifest(MANIFEST)[:length]))
def test_noise_and_cut_manifests_are_refused(raw: bytes) -> None:
    with pytest.raises(DocumentError):
        parse_manifest(raw, name="m")


def test_digest_covers_places_and_contents() -> None:
    one = MappedRange(start=0, end=4096, sha256="1" * 64)
    moved = replace(one, start=4096, end=8192)
    changed = replace(one, sha256="2" * 64)
    assert len({ranges_digest([one]), ranges_digest([moved]), ranges_digest([changed]), ranges_digest([])}) == 4
