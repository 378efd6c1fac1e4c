"""Constraints of account-keys: what a key may sign."""

from __future__ import annotations

from typing import Any

import pytest

from imagekit.assertions import AccountKey, parse_account_key
from imagekit.assertions.headers import Header
from imagekit.assertions.signing import sign
from imagekit.assertions.wire import armor
from imagekit.testing.documents import SIGNED, signing_key

KEY = signing_key("brand")
MODEL: dict[str, Header] = {"type": "model", "authority-id": "acme", "model": "pc-1", "architecture": "amd64"}


def key(*constraints: Any) -> AccountKey:
    headers: dict[str, Header] = {
        "type": "account-key", "format": "1" if constraints else "0", "authority-id": "acme", "account-id": "acme",
        "public-key-sha3-384": KEY.public.key_id, "name": "k", "since": "2026-01-01T00:00:00Z",
        "constraints": tuple({"headers": constraint} for constraint in constraints)}
    return parse_account_key(sign(headers, key=KEY, created=SIGNED, body=armor(KEY.public.encode())))


def test_key_without_constraints_signs_anything() -> None:
    assert key().constraints == ()
    assert key().permits_headers(MODEL)


@pytest.mark.parametrize(("constraint", "more", "permitted"), [
    ({"type": "model"}, {}, True),
    ({"type": "serial"}, {}, False),
    ({"type": "mode"}, {}, False),
    ({"type": "model", "model": "pc-[0-9]+"}, {}, True),
    ({"type": "model", "model": "pc"}, {}, False),
    ({"type": "model", "model": "pc"}, {"model": ("pc", "pc")}, True),
    ({"type": "model", "model": "pc"}, {"model": ("pc", "pi")}, False),
    ({"type": "model", "model": ("pc", "pc-1")}, {}, True),
    ({"type": "model", "model": ("pc", "pi")}, {}, False),
    ({"type": "model", "model": ("pc", "pi")}, {"model": ("pc", "pi")}, True),
    ({"type": "model", "store": ("a", "$MISSING")}, {}, False),  # of what is not there no alternative is asked
    ({"type": "model", "classic": "$MISSING"}, {}, True),
    ({"type": "model", "classic": "$MISSING"}, {"classic": "true"}, False),
    ({"type": "model", "store": "shop"}, {}, False),
    ({"type": "model", "snaps": {"name": "pc.*"}}, {"snaps": ({"name": "pc"}, {"name": "pc-kernel"})}, True),
    ({"type": "model", "snaps": {"name": "pc.*"}}, {"snaps": ({"name": "pc"}, {"name": "app"})}, False),
    ({"type": "model", "snaps": {"name": "pc.*"}}, {"snaps": "pc"}, False),
    ({"type": "model", "model": "pc.*"}, {"model": {"a": "pc"}}, False),
])
def test_key_permits_what_matches(constraint: Any, more: dict[str, Header], permitted: bool) -> None:
    assert key(constraint).permits_headers({**MODEL, **more}) is permitted


def test_one_constraint_of_several_is_enough() -> None:
    several = key({"type": "serial"}, {"type": "model"})
    assert several.permits_headers(MODEL)
    assert not several.permits_headers({**MODEL, "type": "store"})


def test_what_a_type_takes_for_granted_counts_as_written() -> None:
    headers: dict[str, Header] = {"type": "snap-revision", "snap-id": "x"}
    assert key({"type": "snap-revision", "provenance": "global-upload"}).permits_headers(headers)
    assert not key({"type": "snap-revision", "provenance": "ours"}).permits_headers(headers)
