"""The cache: nothing is under a digest that it does not have."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from imagekit.errors import TrustError
from imagekit.host.cache import Cache

CONTENT = b"a package"
SHA256, SHA512 = hashlib.sha256(CONTENT).hexdigest(), hashlib.sha512(CONTENT).hexdigest()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "fetched"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_blob_is_found_by_its_digest(cache: Cache, source: Path) -> None:
    assert not cache.has(SHA256)
    cache.put(source, sha256=SHA256, sha512=SHA512, name="x")
    assert cache.has(SHA256)
    assert cache.verified(SHA256, name="x").read_bytes() == CONTENT


@pytest.mark.parametrize(("sha256", "sha512"), [("0" * 64, None), (SHA256, "0" * 128)])
def test_file_with_another_digest_does_not_enter(cache: Cache, source: Path, sha256: str, sha512: str | None) -> None:
    with pytest.raises(TrustError, match="locked is 000"):
        cache.put(source, sha256=sha256, sha512=sha512, name="hello.deb")
    assert not cache.has(sha256)
    assert not any(path.is_file() for path in cache.root.rglob("*"))


def test_blob_changed_in_the_cache_is_refused_and_removed(cache: Cache, source: Path) -> None:
    cache.put(source, sha256=SHA256, sha512=None, name="x").write_bytes(b"something else")
    with pytest.raises(TrustError, match="removed from the cache") as caught:
        try:
            cache.verified(SHA256, name="hello.deb")
        except TrustError as error:
            raise TrustError(f"{error.message} {error.hint}") from error
    assert "hello.deb" in caught.value.message
    assert not cache.has(SHA256)


def test_of_two_who_made_the_same_thing_the_first_stays(cache: Cache, tmp_path: Path) -> None:
    for text in ("first", "second"):
        (tmp_path / text).mkdir()
        (tmp_path / text / "file").write_text(text)
        cache.adopt(tmp_path / text, "tools", "key")
    assert (cache.entry("tools", "key") / "file").read_text() == "first"
    assert not (tmp_path / "second").exists()
