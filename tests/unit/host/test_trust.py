"""Folders of trust."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.assertions import Database, encode_stream
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.folders import default_trust_dir
from imagekit.host.trust import load_trust, signing_time, store_root
from imagekit.testing.documents import NOW, REAL, Brand, real


def test_real_folder_is_a_root_for_the_real_chain() -> None:
    database = Database(load_trust([REAL]))
    assert database.root_accounts == {"canonical"}
    assert len(database.verify(real("valid-for-testing-pc-20.model")[0], now=NOW).links) == 4


def test_only_assertion_files_count_in_the_order_of_their_names(tmp_path: Path) -> None:
    brand = Brand()
    (tmp_path / "b.account-key").write_bytes(brand.account_key.encode())
    (tmp_path / "a.assert").write_bytes(encode_stream(brand.roots))
    (tmp_path / "README.md").write_text("not an assertion")
    (tmp_path / "folder.account").mkdir()
    (tmp_path / ".hidden.account-key").write_bytes(Brand("stranger").account_key.encode())
    assert load_trust([tmp_path]) == (*brand.roots, brand.account_key)


def test_own_folder_may_be_absent_a_named_one_may_not(tmp_path: Path) -> None:
    assert load_trust([default_trust_dir()]) == ()
    with pytest.raises(HostError, match="cannot read trust folder"):
        load_trust([tmp_path / "absent"])


def test_file_with_an_assertions_name_that_holds_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.account-key").write_bytes(b"")
    with pytest.raises(DocumentError, match=r"x\.account-key:1: document: it is empty"):
        load_trust([tmp_path])


@pytest.mark.parametrize("what", ["folder", "file"])
def test_trust_that_everybody_may_write_to_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "acme.account-key"
    path.write_bytes(Brand().account_key.encode())
    (tmp_path if what == "folder" else path).chmod(0o777)
    with pytest.raises(TrustError, match="everybody may write to it"):
        load_trust([tmp_path])


def test_absurdly_large_file_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "x.assert").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(DocumentError, match="larger than"):
        load_trust([tmp_path])


def test_new_root_is_stored_beside_the_account_of_an_older_one(tmp_path: Path) -> None:
    first, second = Brand(), Brand(key="stranger")
    assert [path.name for path in store_root(tmp_path, account=first.account, account_key=first.account_key)] == [
        "acme.account", "root.account-key"]
    with pytest.raises(UsageError, match="such a root of trust already"):
        store_root(tmp_path, account=second.account, account_key=second.account_key)
    (tmp_path / "root.account-key").rename(tmp_path / "older.account-key")
    assert [path.name for path in store_root(tmp_path, account=second.account, account_key=second.account_key)] == [
        "root.account-key"]
    database = Database(load_trust([tmp_path]))
    for brand in (first, second):
        database.verify(brand.model(), now=NOW)


def test_signing_time_is_the_source_date_if_there_is_one() -> None:
    clock = SystemClock()
    assert signing_time(clock, {"SOURCE_DATE_EPOCH": "1767225600"}) == datetime(2026, 1, 1, tzinfo=UTC)
    assert abs((signing_time(clock, {}) - clock.now()).total_seconds()) < 60
    assert signing_time(clock, {}).microsecond == 0
