"""Assertions for the oracle: all that we can sign, the field's own files, streams, and mutants of all of these."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from imagekit.assertions.headers import Header, encode_entry
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.signing import PARSERS
from imagekit.assertions.wire import Assertion, armor, decode_one, decode_stream, encode_content
from imagekit.errors import DocumentError
from imagekit.testing.documents import SIGNED, signing_key
from tests.oracle.ask import Answer, plain
from tests.oracle.compare import Case, Judgement, judged
from tests.oracle.mutate import Mutant, change, flip, mutate_lines
from tests.oracle.samples import DIGEST, HASH, TIME, Tree, all_samples

TESTS = Path(__file__).parent.parent
DATA = Path(os.environ.get("IMAGEKIT_TEST_DATA") or TESTS / "data")
PLACE = armor(b"\x01 stands where a signature would")

HEADER_VALUES: tuple[Header, ...] = (
    "", " ", "a", "A", "a-b", "-a", "a-", "a--b", "a b", " a", "a ", "a/b", "ä", "a\nb", "\n", "a\n", "x" * 100, "*",
    "0", "1", "-1", "+1", "01", "1.0", "1e3", "18446744073709551615", "18446744073709551616", "9223372036854775808",
    "2147483648", "true", "false", "True", "yes", (), {}, ("a",), ("",), ("a", "a"), (("a",),), ({},), ({"a": "b"},),
    {"a": "b"}, {"a": ("b",)}, ("a", {"b": "c"}), ("a\nb",),
)
HEADER_BY_KEY: Mapping[str, tuple[Header, ...]] = {
    "timestamp": (TIME, "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "2026-13-01T00:00:00Z",
                  "2026-01-01T24:00:00Z", "2026-01-01T00:00:60Z", "2026-02-29T00:00:00Z", "2026-01-01t00:00:00z",
                  "2026-01-01T00:00:00.1234567890Z", "2026-01-01T00:00:00.Z", "2026-01-01T00:00:00,5Z",
                  "2026-01-01T00:00:00-23:59", "2026-01-01T00:00:00+24:00", "0000-01-01T00:00:00Z",
                  "9999-12-31T23:59:59Z", "2026-1-1T0:0:0Z", "2026-01-01T1:00:00Z"),
    "format": ("0", "1", "2", "3", "4", "5", "6", "7", "8"),
    "revision": ("0", "1", "01", "x1", "x"), "series": ("16", "17", ("16",)), "sequence": ("0", "1", "01"),
    "brand-id": ("acme", "other", "ACME", "a" * 32, "a" * 29), "account-id": ("acme", "other", "A" * 32, "a" * 29, "a"),
    "authority-id": ("acme", "other", "a b", "a/b"), "model": ("pc", "PC", "p--c", "pc-", "baz-3000"),
    "grade": ("dangerous", "signed", "secured", "unset"), "base": ("core18", "core20", "core", "debian-13", "x=1"),
    "storage-safety": ("encrypted", "prefer-encrypted", "prefer-unencrypted", "other"), "classic": ("true", "false"),
    "type": ("app", "base", "gadget", "kernel", "core", "snapd", "os", "model", "snap"),
    "presence": ("required", "optional", "invalid", "x"), "modes": (("run",), ("run", "run"), ("run", "x!"), "run"),
    "default-channel": ("latest/stable", "stable", "latest", "20/edge/fix", "a/b/c/d", "//", "latest/x"),
    "name": ("pc", "snapd", "p", "x" * 41, "UPPER", "a_b", "a--b", "1", "models"), "id": ("a" * 32, "a" * 31, "a" * 33),
    "mode": ("enforce", "prefer-enforce", "x"), "architecture": ("amd64", "x86", "arm64"),
    "gadget": ("pc", "pc=18", "pc=18/x", "pc=", "=18", "pc=18=1"), "kernel": ("pi", "pi=18", "pi="),
    "required-snaps": (("a1", "a1"), ("A",), ("snapd",)), "distribution": ("debian", "Debian", "x y"),
    "system-user-authority": ("*", "acme", ("acme",), ("a b",)), "serial-authority": ("*", ("generic",), ("a b",)),
    "since": ("2026-01-01T00:00:00Z", "2030-01-01T00:00:00Z", "x"),
    "until": ("2026-01-01T00:00:00Z", "2024-01-01T00:00:00Z", "2028-01-01T00:00:00Z", "x"),
    "snap-sha3-384": (DIGEST, DIGEST[:-1], DIGEST + "A", DIGEST[:-1] + "=", DIGEST[:-1] + "!", DIGEST + "="),
    "sign-key-sha3-384": (DIGEST,), "artifact-sha3-384": (DIGEST[:-4],), "resource-sha3-384": (DIGEST[:-4],),
    "email": ("a@b", "a", "A <a@b>", "a@", "a b@c", "ä@b", '"a b"@c', "a@b@c", "<a@b>", "a@[1.2.3.4]"),
    "username": ("root", "-a", "a_b", "a.b", "A", "a+b", "1a"), "friendly-stores": (("a", "a"), ("a b",)),
    "password": (HASH, "$6$salt$hash", "$1$salt$hash", "$6$rounds=1$salt$hash", "$6$salt", "plain", "$6$s!lt$hash",
                 "$7$salt$hash", "$6$rounds=5000$salt$hash", "$6$rounds=4999$salt$hash", "$6$rounds=x$salt$hash"),
    "url": ("https://x", "http://x/y", "ftp://x", "https://", "x", "https://x?y", "https://x#y", "https://x:port", "/x"),
    "provenance": ("global-upload", "prov", "-prov", "prov-", "p--q", "P"), "snap-revision": ("0", "1", "-1"),
    "validation": ("unproven", "verified", "starred", "certified", "x"), "summary": ("a", "a\nb", "a\rb"),
    "modes-": (("run",),), "bases": (("core",), ("core18",), ("core20",), ("a b",)), "system-label": ("a", "A", "a--b", "1"),
    "components": ({"a1": "required"}, {"a1": {"presence": "optional", "modes": ("run",)}}, {"A": "required"},
                   {"a1": {"presence": "x"}}, {"a1": {"revision": "1"}}, {"a1": {"presence": "required", "revision": "1"}}),
    "aliases": (({"name": "a"},), ({"name": "a", "target": "b"}, {"name": "a", "target": "c"}), ({"name": "a/b", "target": "b"},)),
    "plugs": ({"i": "true"}, {"i": "maybe"}, {"i": {}}, {"i": {"allow-installation": "x"}}, {"i": {"allow": "true"}},
              {"i": {"allow-connection": {"plug-attributes": {"a": "["}}}}, {"i": {"allow-connection": {"x": "y"}}},
              {"i": {"deny-auto-connection": {"on-store": ("a",), "on-brand": ("b",), "on-model": ("b/c",)}}},
              {"i": {"allow-connection": {"slots-per-plug": "*"}}}, {"i": {"allow-connection": {"plug-names": ("a", "$X")}}},
              {"i": {"allow-connection": {"plug-attributes": {"a": "$SLOT(b)", "c": "$MISSING"}}}}),
    "slots": ({"i": "false"}, {"i": {"allow-installation": {"slot-snap-type": ("app", "x")}}},
              {"i": {"allow-installation": {"slot-snap-id": ("x",)}}}, {"i": {"allow-connection": {"plug-publisher-id": ("$SLOT_PUBLISHER_ID",)}}},
              {"i": {"deny-installation": {"on-classic": "true"}}}, {"i": {"allow-installation": {"slot-names": ("$INTERFACE",)}}}),
    "constraints": ((), ({"headers": {}},), ({"headers": {"type": "model", "m": "["}},), ({"headers": {"type": "m.del"}},),
                    ({"headers": {"model": "x"}},), ({"x": "y"},)),
    "developers": (({"developer-id": "other", "since": TIME, "until": TIME}, {"developer-id": "other", "since": TIME}),
                   ({"developer-id": "other"},), ({"since": TIME},)),
}
HEADERS_ADDED = (*HEADER_BY_KEY, "display-name", "body-length", "unknown", "snaps", "validation-sets", "store", "serials",
                 "core", "os", "class", "allowed-modes", "ssh-keys", "user-presence", "force-password-change", "verity-root",
                 "integrity", "snap-integrity", "disabled", "revoked", "auto-aliases", "refresh-control", "min-revision")


def understood(assertion: Assertion) -> dict[str, Any]:
    """What was read: headers, body, and how the bytes were cut."""
    kind = KINDS[assertion.type]
    headers = {**kind.defaults, **{name: plain(value) for name, value in assertion.headers.items()}}
    return {"type": assertion.type, "headers": headers, "body": plain(assertion.body), "content": plain(assertion.content),
            "revision": assertion.revision, "key": list(assertion.primary_key)}


def understood_there(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {"count": len(answer["assertions"])}
    for index, one in enumerate(answer["assertions"]):
        found |= {f"{index}.{key}": one[key] for key in ("type", "headers", "content", "revision")}
        found[f"{index}.body"], found[f"{index}.key"] = one["body"] or "", one["key"] or []
    return found


def read(raw: bytes, *, stream: bool) -> dict[str, Any]:
    """Decode, and hold each assertion to the rules of its type."""
    found = decode_stream(raw, name="case") if stream else (decode_one(raw, name="case"),)
    flat: dict[str, Any] = {"count": len(found)}
    for index, assertion in enumerate(found):
        if assertion.type in PARSERS:
            PARSERS[assertion.type](assertion)
        flat |= {f"{index}.{key}": value for key, value in understood(assertion).items()}
    return flat


def judge(raw: bytes, *, stream: bool) -> Judgement:
    return judged(lambda: read(raw, stream=stream))


def case(name: str, raw: bytes, *, stream: bool) -> Case:
    return Case(kind="assertion", name=f"{name} [{'stream' if stream else 'one'}]", document=raw,
                judge=lambda: judge(raw, stream=stream), request={"op": "decode", "text": raw, "stream": stream},
                understand=understood_there)


@cache
def signed_samples() -> Mapping[str, Assertion]:
    """Every sample signed by the test brand, whether or not we know the rules of its type."""
    key, found = signing_key("brand"), {}
    for name, (headers, body) in all_samples().items():
        content = encode_content({**headers, "sign-key-sha3-384": key.public.key_id}, body)
        signature = armor(key.sign(content, created=SIGNED))
        found[name] = decode_one(content + b"\n\n" + signature + b"\n", name=name)
    return found


def documents() -> dict[str, bytes]:
    """Files of the field and of our own, by name."""
    found = {path.name: path.read_bytes() for path in sorted((DATA / "assertions").iterdir())
             if path.suffix not in (".json", ".md")}
    for folder in ("valid", "invalid"):
        for path in sorted((TESTS / "documents" / folder).glob("*/*.assert")):
            found[f"{folder}/{path.parent.name}"] = path.read_bytes()
    return found


def given() -> Iterator[Case]:
    """What we sign, alone and in streams, and every file."""
    signed = {name: assertion.encode() for name, assertion in signed_samples().items()}
    for name, raw in {**signed, **documents()}.items():
        for stream in (True, False):
            yield case(name, raw, stream=stream)
    for what, stream_of in streams(list(signed.values())).items():
        yield case(what, stream_of, stream=True)


def streams(blobs: list[bytes]) -> dict[str, bytes]:
    """Ways to put assertions behind each other, right and wrong."""
    two = blobs[:2]
    return {"all samples in one stream": b"\n".join(blobs), "nothing": b"", "one newline": b"\n",
            "no newline at the end": b"\n".join(two)[:-1], "one newline between": b"".join(two),
            "two blank lines between": b"\n\n".join(two), "blank line first": b"\n" + two[0],
            "blank line last": b"\n".join(two) + b"\n", "two blank lines last": b"\n".join(two) + b"\n\n",
            "text last": b"\n".join(two) + b"\nmore", "carriage returns": two[0].replace(b"\n", b"\r\n"),
            "byte order mark": b"\xef\xbb\xbf" + two[0], "space last": two[0] + b" "}


def write(headers: Tree, body: bytes) -> bytes:
    """Headers in the order given, without asking whether they are sound; an unwritable name raises DocumentError."""
    lines = [line for name, value in headers.items() for line in encode_entry(name, value)]
    head = "\n".join(lines).encode()
    return head + (b"\n\n" + body if body else b"") + b"\n\n" + PLACE + b"\n"


def mutants(count: int, seed: int) -> Iterator[Case]:
    """Half have changed headers, a quarter changed lines and a quarter a changed byte."""
    draw = random.Random(seed)
    samples = list(all_samples().items())
    texts = [*((name, item.encode()) for name, item in signed_samples().items()), *documents().items()]
    number = 0
    while number < count:
        if number % 2:
            name, (headers, body) = draw.choice(samples)
            whole: Tree = {**headers, **({"body-length": str(len(body))} if body else {}),
                           "sign-key-sha3-384": signing_key("brand").public.key_id}
            what, changed = change(whole, draw, by_key=HEADER_BY_KEY, anything=HEADER_VALUES, added=HEADERS_ADDED)
            try:
                mutant = Mutant(what=what, text=write(changed, body))
            except DocumentError:
                continue
        else:
            name, raw = draw.choice(texts)
            mutant = flip(raw, draw) if number % 4 else mutate_lines(raw, draw)
        number += 1
        yield case(f"{name}: {mutant.what}", mutant.text, stream=bool(draw.randrange(3)))


def cases(count: int, seed: int) -> Iterator[Case]:
    """All that is compared of reading assertions."""
    yield from given()
    yield from mutants(count, seed)
