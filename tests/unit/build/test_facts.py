"""Facts about packages in the cache: kept, found again, and not believed when they are none."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest

from imagekit.build.facts import SEEDS, SLOTS, recall, remember, remember_package
from imagekit.digests import sha3_384
from imagekit.disk.verity import build_tree, salt_for, uuid_for
from imagekit.host.cache import Cache


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_fact_is_found_again(cache: Cache) -> None:
    remember(cache, SEEDS, "a" * 64, "b" * 64)
    assert recall(cache, SEEDS, "a" * 64) == "b" * 64


def test_fact_that_was_never_found_is_not_known(cache: Cache) -> None:
    assert recall(cache, SEEDS, "a" * 64) is None


@pytest.mark.parametrize("raw", [b"", b"b" * 63, b"b" * 64 + b"\n", b"\xff" * 64])
def test_fact_that_is_damaged_is_not_known(cache: Cache, raw: bytes) -> None:
    remember(cache, SEEDS, "a" * 64, "b" * 64)
    cache.entry(SEEDS, "a" * 64).write_bytes(raw)
    assert recall(cache, SEEDS, "a" * 64) is None


def test_maker_of_a_package_knows_both_facts(cache: Cache, tmp_path: Path) -> None:
    raw = bytes(range(256)) * 16 * 9
    (tmp_path / "base_1.snap").write_bytes(raw)
    remember_package(cache, tmp_path / "base_1.snap", compressed_sha256="c" * 64, runs_from_slot=True)
    signed = sha3_384(io.BytesIO(raw))
    tree = build_tree(io.BytesIO(raw), len(raw), salt=salt_for(signed), uuid=uuid_for(signed)).tree
    assert recall(cache, SEEDS, "c" * 64) == signed
    assert recall(cache, SLOTS, signed) == hashlib.sha256(raw + tree).hexdigest()


def test_package_that_runs_from_no_slot_has_no_fact_about_one(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "app_1.snap").write_bytes(b"odd size")
    remember_package(cache, tmp_path / "app_1.snap", compressed_sha256="c" * 64, runs_from_slot=False)
    assert recall(cache, SLOTS, sha3_384(io.BytesIO(b"odd size"))) is None
