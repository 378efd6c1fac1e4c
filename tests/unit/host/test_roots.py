"""What may be put among the roots of trust, and what an attacker would like to put there."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from imagekit.assertions import Database, Header, OutOfTime, decode_one, encode_content, encode_stream
from imagekit.assertions.signing import sign_account, sign_account_key
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError, TrustError, UsageError
from imagekit.host.roots import KNOWN_ROOTS, known_root, plan_additions, plan_removal, remove_files, write_additions
from imagekit.host.trust import load_trust
from imagekit.keys import sign_content
from imagekit.testing.documents import NOW, SIGNED, SINCE, Brand, real, signing_key


def test_known_root_is_the_fields_own_byte_for_byte() -> None:
    assert KNOWN_ROOTS == ("canonical",)
    assert known_root("canonical") == (*real("canonical-root.account"), *real("canonical-root.account-key"))


def test_added_root_is_read_back_and_leads_to_its_documents(tmp_path: Path) -> None:
    brand = Brand()
    write_additions(plan_additions(tmp_path / "trust", brand.roots, now=NOW))
    Database(load_trust([tmp_path / "trust"])).verify(brand.model(), now=NOW)
    again = plan_additions(tmp_path / "trust", brand.roots, now=NOW)
    assert all(item.known for item in again)


def test_key_of_a_brand_under_a_root_is_kept_once_the_root_is_there(tmp_path: Path) -> None:
    store, brand = Brand("store"), Brand()
    vouched = (sign_account("acme", authority_id="store", key=store.key, timestamp=SIGNED),
               sign_account_key(brand.key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                key=store.key))
    with pytest.raises(TrustError, match="no account-key at hand"):
        plan_additions(tmp_path, vouched, now=NOW)
    write_additions(plan_additions(tmp_path, store.roots, now=NOW))
    added = plan_additions(tmp_path, vouched, now=NOW)
    write_additions(added)
    assert [item.root for item in added] == [False, False]
    assert Database(load_trust([tmp_path])).root_accounts == {"store"}


def test_newer_revision_of_a_root_takes_the_place_of_its_file(tmp_path: Path) -> None:
    brand = Brand()
    write_additions(plan_additions(tmp_path, brand.roots, now=NOW))
    newer = sign_account_key(brand.key.public, account_id="acme", authority_id="acme", name="root", since=SINCE,
                             until=NOW + timedelta(days=1), revision=1, key=brand.key)
    write_additions(plan_additions(tmp_path, [newer], now=NOW))
    assert [item.revision for item in load_trust([tmp_path]) if item.type == "account-key"] == [1]
    with pytest.raises(TrustError):
        plan_additions(tmp_path, [brand.account_key], now=NOW)


def test_other_root_under_the_same_name_and_revision_is_refused(tmp_path: Path) -> None:
    brand = Brand()
    write_additions(plan_additions(tmp_path, brand.roots, now=NOW))
    with pytest.raises(TrustError, match="they differ"):
        plan_additions(tmp_path, [Brand(since=SIGNED).account_key], now=NOW)


def test_root_whose_time_is_over_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutOfTime, match="expired"):
        plan_additions(tmp_path, Brand(until=SIGNED).roots, now=NOW)


def test_account_that_another_root_signed_in_the_brands_name_is_refused(tmp_path: Path) -> None:
    write_additions(plan_additions(tmp_path, Brand().roots, now=NOW))
    store = Brand("store")
    forged = sign_account_key(signing_key("stranger").public, account_id="acme", authority_id="store", name="mine",
                              since=SINCE, key=store.key)
    with pytest.raises(TrustError, match="is a root of trust of its own"):
        plan_additions(tmp_path, [*store.roots, forged], now=NOW)


def test_file_that_holds_other_accounts_too_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "both.assert").write_bytes(encode_stream((*Brand().roots, *Brand("store").roots)))
    with pytest.raises(UsageError, match=r"both\.assert holds"):
        plan_removal(tmp_path, "acme")


def test_one_of_two_keys_is_removed_and_the_account_stays(tmp_path: Path) -> None:
    first, second = Brand(), Brand(key="stranger")
    write_additions(plan_additions(tmp_path, [*first.roots, second.account_key], now=NOW))
    remove_files(plan_removal(tmp_path, second.key.public.key_id))
    assert {item.content for item in load_trust([tmp_path])} == {item.content for item in first.roots}


def test_root_whose_account_would_lead_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    key = signing_key("stranger")
    headers: dict[str, Header] = {
        "type": "account-key", "authority-id": "..", "public-key-sha3-384": key.public.key_id,
        "account-id": "..", "since": "2025-01-01T00:00:00Z", "sign-key-sha3-384": key.public.key_id}
    content = encode_content(headers, armor(key.public.encode()))
    raw = content + b"\n\n" + armor(sign_content(key, content, created=SIGNED, what="it")) + b"\n"
    with pytest.raises((UsageError, DocumentError)):
        plan_additions(tmp_path / "trust", [decode_one(raw, name="x")], now=NOW)
