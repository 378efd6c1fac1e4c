"""The documents of assertions: which there are, how they are made, and what reading them says.

Each is a valid sample with one thing changed, signed by nobody: where the signature belongs stands a text that says so.
A folder is called after the rule that its document breaks, with `--` and a word where a rule has several. It holds
`document.assert`, or `draft.yaml` for what only signing refuses, `error.txt` with the exact words, and `more.json` (a
text, and how often it is appended) where it is large. `python -m tests.documents.assertion_cases` writes them all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagekit.assertions import PARSERS
from imagekit.assertions.drafts import check_draft, complete, parse_draft
from imagekit.assertions.headers import Header
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import armor, decode_one, decode_stream, encode_content
from imagekit.rules import Rule, rules_of
from imagekit.schema import DocumentProblems
from imagekit.testing.documents import SIGNED, signing_key

FOLDER = Path(__file__).parent / "invalid"
VALID = Path(__file__).parent / "valid"
RULES = {rule.id: rule for rule in rules_of(AssertionRules)}
KEY = signing_key("brand").public
PLACE = armor(b"\x01 stands where a signature would")
ID, OTHER_ID, DIGEST, TIME = "a" * 32, "b" * 32, "D" * 64, "2026-01-01T00:00:00Z"
KEY_TEXT = armor(KEY.encode()).decode()

Tree = Mapping[str, Header]

SNAPS: tuple[Tree, ...] = (
    {"name": "pc", "id": ID, "type": "gadget"}, {"name": "pc-kernel", "id": OTHER_ID, "type": "kernel"},
    {"name": "core24", "id": "c" * 32, "type": "base"})
MODEL: Tree = {"type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "pc",
               "architecture": "amd64", "base": "core24", "snaps": SNAPS, "timestamp": TIME}
OLD_MODEL: Tree = {"type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "pc",
                   "architecture": "amd64", "gadget": "pc=18", "kernel": "pc-kernel=18", "base": "core18",
                   "required-snaps": ("app-one",), "timestamp": TIME}
SAMPLES: Mapping[str, tuple[Tree, bytes]] = {
    "account": ({"type": "account", "authority-id": "acme", "account-id": "acme", "display-name": "ACME",
                 "validation": "unproven", "timestamp": TIME}, b""),
    "account-key": ({"type": "account-key", "format": "1", "authority-id": "acme", "public-key-sha3-384": KEY.key_id,
                     "account-id": "acme", "name": "models", "since": TIME, "until": "2036-01-01T00:00:00Z",
                     "constraints": ({"headers": {"type": "model", "model": "pc-.*"}},)}, KEY_TEXT.encode()),
    "account-key-request": ({"type": "account-key-request", "public-key-sha3-384": KEY.key_id, "account-id": "acme",
                             "name": "models", "since": TIME}, KEY_TEXT.encode()),
    "base-declaration": ({"type": "base-declaration", "authority-id": "acme", "series": "16", "timestamp": TIME,
                          "slots": {"network": {"allow-installation": {"slot-snap-type": ("core",)}}}}, b""),
    "confdb-schema": ({"type": "confdb-schema", "authority-id": "acme", "account-id": "acme", "name": "network",
                       "views": {"wifi": {"rules": ({"request": "ssid", "storage": "ssid"},)}}, "timestamp": TIME},
                      b'{\n  "storage": {\n    "schema": {\n      "ssid": "string"\n    }\n  }\n}'),
    "device-session-request": ({"type": "device-session-request", "brand-id": "acme", "model": "pc", "serial": "7",
                                "nonce": "abc", "timestamp": TIME}, b""),
    "model": (MODEL, b""),
    "model-classic": ({**OLD_MODEL, "classic": "true", "gadget": "pc", "kernel": (), "base": ()}, b""),
    "model-hybrid": ({**MODEL, "classic": "true", "distribution": "debian", "snaps": (
        *SNAPS, {"name": "app-one", "id": "d" * 32, "classic": "true"})}, b""),
    "model-secured": ({**MODEL, "grade": "secured", "storage-safety": "encrypted", "serial-authority": ("generic",),
                       "system-user-authority": "*",
                       "validation-sets": ({"name": "base-set", "mode": "enforce"},)}, b""),
    "model-uc16": (OLD_MODEL, b""),
    "preseed": ({"type": "preseed", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "pc",
                 "system-label": "20260101", "artifact-sha3-384": DIGEST, "timestamp": TIME, "snaps": (
                     {"name": "pc", "id": ID, "revision": "3", "components": ({"name": "extra", "revision": "2"},)},
                     {"name": "local"})}, b""),
    "repair": ({"type": "repair", "authority-id": "acme", "brand-id": "acme", "repair-id": "1", "summary": "mends",
                "modes": ("run",), "bases": ("core24",), "timestamp": TIME}, b"#!/bin/sh\n"),
    "serial": ({"type": "serial", "authority-id": "acme", "brand-id": "acme", "model": "pc", "serial": "7",
                "device-key": KEY_TEXT, "device-key-sha3-384": KEY.key_id, "timestamp": TIME}, b""),
    "serial-request": ({"type": "serial-request", "brand-id": "acme", "model": "pc", "request-id": "r1",
                        "device-key": KEY_TEXT}, b""),
    "snap-build": ({"type": "snap-build", "authority-id": "acme", "snap-sha3-384": DIGEST, "snap-id": ID,
                    "grade": "stable", "snap-size": "4096", "timestamp": TIME}, b""),
    "snap-declaration": ({"type": "snap-declaration", "format": "6", "authority-id": "acme", "series": "16",
                          "snap-id": ID, "snap-name": "app-one", "publisher-id": "acme", "timestamp": TIME,
                          "aliases": ({"name": "one", "target": "run"},),
                          "plugs": {"content": {"allow-auto-connection": {
                              "plug-attributes": {"content": "$SLOT_PUBLISHER_ID"}, "slots-per-plug": "*"}}},
                          "revision-authority": ({"account-id": "acme", "provenance": ("ours",)},)}, b""),
    "snap-developer": ({"type": "snap-developer", "authority-id": "acme", "snap-id": ID, "publisher-id": "acme",
                        "developers": ({"developer-id": "smith", "since": TIME, "until": "2027-01-01T00:00:00Z"},)},
                       b""),
    "snap-resource-pair": ({"type": "snap-resource-pair", "authority-id": "acme", "snap-id": ID,
                            "resource-name": "extra", "resource-revision": "2", "snap-revision": "3",
                            "developer-id": "acme", "timestamp": TIME}, b""),
    "snap-resource-revision": ({"type": "snap-resource-revision", "authority-id": "acme", "snap-id": ID,
                                "resource-name": "extra", "resource-sha3-384": DIGEST, "resource-revision": "2",
                                "resource-size": "4096", "developer-id": "acme", "timestamp": TIME}, b""),
    "snap-revision": ({"type": "snap-revision", "authority-id": "acme", "snap-sha3-384": DIGEST, "snap-id": ID,
                       "snap-revision": "3", "snap-size": "4096", "developer-id": "acme", "timestamp": TIME,
                       "integrity": ({"type": "dm-verity", "version": "1", "hash-algorithm": "sha256",
                                      "data-block-size": "4096", "hash-block-size": "4096", "digest": "0f" * 32,
                                      "salt": "f0" * 32},)}, b""),
    "store": ({"type": "store", "authority-id": "acme", "store": "shop", "operator-id": "acme",
               "url": "https://shop.example.com/", "friendly-stores": ("other-shop",), "timestamp": TIME}, b""),
    "system-user": ({"type": "system-user", "format": "2", "authority-id": "acme", "brand-id": "acme",
                     "email": "jo@example.com", "series": ("16",), "models": ("pc",), "serials": ("7",),
                     "username": "jo", "password": "$6$rounds=5000$salt$hash", "force-password-change": "true",
                     "since": TIME, "until": "2027-01-01T00:00:00Z", "user-presence": "until-expiration"}, b""),
    "validation": ({"type": "validation", "authority-id": "acme", "series": "16", "snap-id": ID,
                    "approved-snap-id": OTHER_ID, "approved-snap-revision": "3", "timestamp": TIME}, b""),
    "validation-set": ({"type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme",
                        "name": "base-set", "sequence": "1", "timestamp": TIME, "snaps": (
                            {"name": "pc", "id": ID, "revision": "3",
                             "components": {"extra": {"presence": "required", "revision": "2"}}},
                            {"name": "app-one", "id": OTHER_ID, "presence": "invalid"})}, b""),
}


def wire(sample: str, /, *, body: bytes | None = None, key_id: str = KEY.key_id, **changes: Header) -> str:
    """`sample` with headers changed; underscores stand for hyphens, an empty tuple leaves a header out."""
    headers, own = SAMPLES[sample]
    renamed = {header.replace("_", "-"): value for header, value in changes.items()}
    content = encode_content({**headers, **renamed, "sign-key-sha3-384": key_id}, own if body is None else body)
    return f"{content.decode()}\n\n{PLACE.decode()}\n"


def edit(name: str, old: str, new: str) -> str:
    """The text of the sample `name` with one thing replaced."""
    text = wire(name)
    assert text.count(old) >= 1, (name, old)
    return text.replace(old, new, 1)


def entry(sample: str, header: str, index: int, /, **changes: Header) -> str:
    """`sample` with the map at `index` of a list changed; None takes a key out."""
    entries = list(_tuple(SAMPLES[sample][0][header]))
    renamed = {key.replace("_", "-"): value for key, value in changes.items()}
    entries[index] = {**_map(entries[index]), **renamed}
    return wire(sample, **{header: tuple(entries)})


def _tuple(value: Header) -> tuple[Header, ...]:
    assert isinstance(value, tuple)
    return value


def _map(value: Header) -> Tree:
    assert isinstance(value, Mapping)
    return value


def document(case: Path) -> bytes:
    text = next(case.glob("document.*")).read_bytes()
    if (case / "more.json").exists():
        piece, count = json.loads((case / "more.json").read_text())
        text += piece.encode() * count
    return text


def read(case: Path) -> None:
    """Read a document as a command would, and hold it to the rules of its type."""
    if (case / "draft.yaml").exists():
        drafted = parse_draft((case / "draft.yaml").read_bytes(), name="draft.yaml")
        check_draft(drafted, complete(drafted, account_id="acme", timestamp=SIGNED), key=KEY)
    elif case.name == AssertionRules.SINGLE.id:
        decode_one(document(case), name="document.assert")
    else:
        for assertion in decode_stream(document(case), name="document.assert"):
            PARSERS.get(assertion.type, lambda known: known)(assertion)


def problems(case: Path) -> tuple[str, tuple[Rule | None, ...]]:
    """What reading says, a line for each problem, and the rules that are broken."""
    try:
        read(case)
    except DocumentProblems as error:
        return "".join(f"{item}\n" for item in error.problems), tuple(item.rule for item in error.problems)
    return "", ()


def more(piece: str, count: int) -> str:
    """The text of `more.json`."""
    return json.dumps([piece, count]) + "\n"


def made(text: str, **files: Any) -> dict[str, str]:
    return {"document.assert": text, **{name.replace("_", "."): value for name, value in files.items()}}
