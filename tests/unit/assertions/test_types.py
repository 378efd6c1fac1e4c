"""What single assertions say, and what they must not say."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from imagekit.assertions import (
    parse_account,
    parse_account_key,
    parse_snap_declaration,
    parse_snap_revision,
    sign,
    snap_id,
)
from imagekit.assertions.fields import format_time, parse_time
from imagekit.assertions.headers import Header
from imagekit.assertions.signing import sign_account_key
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError
from imagekit.schema import DocumentProblems
from imagekit.testing.documents import REAL_ROOT_KEY, SIGNED, SINCE, Brand, real, signing_key

BRAND = Brand()
KEY = signing_key("brand")


def test_real_account_is_read() -> None:
    account = parse_account(real("canonical-root.account")[0])
    assert (account.account_id, account.display_name, account.username) == ("canonical", "Canonical", "canonical")
    assert account.validation == "certified"
    assert account.timestamp == datetime(2016, 4, 1, tzinfo=UTC)


def test_real_root_key_is_read() -> None:
    key = parse_account_key(real("canonical-root.account-key")[0])
    assert key.key_id == REAL_ROOT_KEY and key.key.bits == 8192
    assert key.self_signed and key.name == "root" and key.until is None
    assert key.valid_at(datetime(2016, 4, 1, tzinfo=UTC))
    assert not key.valid_at(datetime(2016, 3, 31, 23, 59, 59, tzinfo=UTC))


def test_validity_ends_just_before_until() -> None:
    key = parse_account_key(Brand(until=SIGNED).account_key)
    assert key.valid_at(SINCE) and not key.valid_at(SIGNED)
    assert key.valid_at(datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC))


def test_own_revision_carries_its_verity_root() -> None:
    revision = parse_snap_revision(BRAND.revision("pc-kernel", 7, sha3="A" * 64, size=4096, verity_root="0f" * 32))
    assert (revision.snap_revision, revision.snap_size, revision.verity_root) == (7, 4096, "0f" * 32)
    assert revision.snap_id == snap_id("acme", "pc-kernel") and revision.developer_id == "acme"
    assert parse_snap_revision(BRAND.revision("pc", 1, sha3="B" * 64, size=1)).verity_root is None


def test_declaration_names_the_brands_own_id() -> None:
    declared = parse_snap_declaration(BRAND.declaration("pc-kernel"))
    assert (declared.snap_name, declared.publisher_id) == ("pc-kernel", "acme")
    assert declared.snap_id == snap_id("acme", "pc-kernel")


def test_snap_id_depends_on_brand_and_name_and_is_well_formed() -> None:
    ids = {snap_id(brand, name) for brand in ("acme", "umbrella") for name in ("pc", "pc-kernel")}
    assert len(ids) == 4
    assert all(re.fullmatch("[0-9A-Za-z]{32}", item) for item in ids)
    assert snap_id("acme", "pc") == "BlxqSghgmOqG49i32GvG5aQvNjWFyLMY"  # devices in the field depend on it


REVISION: dict[str, Header] = {
    "type": "snap-revision", "authority-id": "acme", "snap-sha3-384": "A" * 64, "snap-id": "a" * 32,
    "snap-revision": "1", "snap-size": "4096", "developer-id": "acme", "timestamp": "2026-01-01T00:00:00Z"}
ACCOUNT: dict[str, Header] = {
    "type": "account", "authority-id": "acme", "account-id": "acme", "display-name": "ACME", "validation": "unproven",
    "timestamp": "2026-01-01T00:00:00Z"}
DECLARATION: dict[str, Header] = {
    "type": "snap-declaration", "authority-id": "acme", "series": "16", "snap-id": "a" * 32, "snap-name": "pc",
    "publisher-id": "acme", "timestamp": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(("headers", "name", "value", "reason"), [
    (REVISION, "snap-sha3-384", "short", "not a digest"),
    (REVISION, "snap-id", "a" * 31, "not a snap id"),
    (REVISION, "snap-revision", "0", "at least 1"),
    (REVISION, "snap-revision", "x1", "at least 1"),
    (REVISION, "snap-size", "-4096", "at least 0"),
    (REVISION, "snap-size", "4096.0", "at least 0"),
    (REVISION, "snap-size", (), "missing"),
    (REVISION, "developer-id", "no such/thing", "not an account id"),
    (REVISION, "verity-root", "0F" * 32, "hexadecimal"),
    (REVISION, "verity-root", "0f" * 31, "hexadecimal"),
    (REVISION, "timestamp", "yesterday", "RFC 3339"),
    (REVISION, "timestamp", "2026-01-01T00:00:00", "RFC 3339"),
    (REVISION, "timestamp", "2026-02-30T00:00:00Z", "not a time"),
    (REVISION, "timestamp", ("2026-01-01T00:00:00Z",), "not a time"),
    (ACCOUNT, "account-id", "x", "not an account id"),
    (ACCOUNT, "account-id", "UPPER", "not an account id"),
    (ACCOUNT, "display-name", (), "missing"),
    (ACCOUNT, "validation", "sworn", "not one of unproven"),
    (DECLARATION, "series", "18", "the only series"),
    (DECLARATION, "snap-name", "-pc", "not a snap name"),
    (DECLARATION, "snap-name", "1234", "not a snap name"),
    (DECLARATION, "snap-name", "a" * 41, "not a snap name"),
    (DECLARATION, "publisher-id", (), "missing"),
])
def test_wrong_header_is_refused_before_the_key_is_used(
        headers: dict[str, Header], name: str, value: Header, reason: str) -> None:
    sign(headers, key=KEY, created=SIGNED)
    with pytest.raises(DocumentError, match=reason):
        sign({**headers, name: value}, key=KEY, created=SIGNED)


def test_all_problems_are_told_at_once_with_their_places() -> None:
    with pytest.raises(DocumentProblems) as caught:
        sign({**REVISION, "snap-size": "x", "verity-root": "x", "timestamp": "now"}, key=KEY, created=SIGNED)
    assert [problem.path for problem in caught.value.problems] == [("snap-size",), ("timestamp",), ("verity-root",)]
    assert caught.value.message.endswith("3 problems")


def account_key(**headers: Header) -> dict[str, Header]:
    return {"type": "account-key", "authority-id": "acme", "public-key-sha3-384": KEY.public.key_id,
            "account-id": "acme", "since": "2026-01-01T00:00:00Z",
            **{name.replace("_", "-"): value for name, value in headers.items()}}


@pytest.mark.parametrize(("headers", "reason"), [
    ({"until": "2025-12-31T23:59:59Z"}, "ends before it begins with 'since'"),
    ({"name": "two words"}, "key name"),
    ({"public_key_sha3_384": "A" * 64}, f"not the id of the key in the body, {re.escape(KEY.public.key_id)}"),
    ({"format": "1", "constraints": ({"headers": {"type": "mod.*"}},)}, "'mod.*' is not an exact type"),
    ({"constraints": ({"headers": {"type": "model"}},)}, "format: 0 is lower than what is said needs, 1"),
    ({"format": "2"}, "format: 2 is not supported"),
])
def test_odd_account_key_is_refused(headers: dict[str, Header], reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        sign(account_key(**headers), key=KEY, created=SIGNED, body=armor(KEY.public.encode()))


@pytest.mark.parametrize("body", [b"", b"AQ==", b"no base64", armor(b"\x01\xc6\x01\x04")])
def test_account_key_without_a_key_in_it_is_refused(body: bytes) -> None:
    with pytest.raises(DocumentError):
        sign(account_key(), key=KEY, created=SIGNED, body=body)


def test_a_type_without_rules_is_not_signed() -> None:
    with pytest.raises(DocumentError, match="rules are not known"):
        sign({"type": "cluster", "authority-id": "acme", "cluster-id": "x", "sequence": "1"}, key=KEY, created=SIGNED)


def test_a_parser_refuses_another_type() -> None:
    with pytest.raises(DocumentError, match="expected account"):
        parse_account(BRAND.account_key)


@pytest.mark.parametrize(("text", "when"), [
    ("2016-04-01T00:00:00.0Z", datetime(2016, 4, 1, tzinfo=UTC)),
    ("2016-09-19T08:47:02.448689Z", datetime(2016, 9, 19, 8, 47, 2, 448689, tzinfo=UTC)),
    ("2016-09-19T08:47:02.448689123Z", datetime(2016, 9, 19, 8, 47, 2, 448689, tzinfo=UTC)),
    ("2024-01-04T20:18:51+05:30", datetime(2024, 1, 4, 14, 48, 51, tzinfo=UTC)),
])
def test_times_are_read_as_utc(text: str, when: datetime) -> None:
    assert parse_time(text) == when


@pytest.mark.parametrize("text", ["", "2026-01-01", "2026-01-01 00:00:00Z", "0001-01-01T00:00:00+14:00",
                                  "2026-01-01T24:00:01Z", "2026-01-01T00:00:60Z", "2026-01-01T00:00:00Z\n",
                                  "２０26-01-01T00:00:00Z"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="time"):
        parse_time(text)


def test_a_time_outside_of_what_a_signature_holds_is_refused() -> None:
    with pytest.raises(DocumentError, match="between 1970 and 2106"):
        sign_account_key(KEY.public, account_id="acme", authority_id="acme", name="root", key=KEY,
                         since=datetime(1969, 1, 1, tzinfo=UTC))


def test_times_are_written_in_utc() -> None:
    assert format_time(parse_time("2024-01-04T20:18:51+05:30")) == "2024-01-04T14:48:51Z"
