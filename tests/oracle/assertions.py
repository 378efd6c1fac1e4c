"""Assertions for the oracle: all that we can sign, the field's own files, streams, and mutants of all of these."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from imagekit.assertions import PARSERS
from imagekit.assertions.headers import encode_entry
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.wire import Assertion, armor, decode_one, decode_stream, encode_content
from imagekit.errors import DocumentError
from imagekit.keys import sign_content
from imagekit.testing.documents import SIGNED, signing_key
from tests.oracle.ask import Answer, plain
from tests.oracle.compare import Case, Judgement, judged
from tests.oracle.edges import HEADERS, altered
from tests.oracle.mutate import change, draws, flip, load_values, mutate_lines
from tests.oracle.samples import Tree, all_samples

TESTS = Path(__file__).parent.parent
DATA = Path(os.environ.get("IMAGEKIT_TEST_DATA") or TESTS / "data")
PLACE = armor(b"\x01 stands where a signature would")

VALUES = load_values("assertion")


def understood(assertion: Assertion) -> dict[str, Any]:
    """What was read: headers, body, and how the bytes were cut."""
    kind = KINDS[assertion.type]
    headers = {**kind.defaults, **{name: plain(value) for name, value in assertion.headers.items()}}
    return {"type": assertion.type, "headers": headers, "body": plain(assertion.body),
            "content": plain(assertion.content),
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
        signature = armor(sign_content(key, content, created=SIGNED, what=name))
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
    request = signed["account-key-request"].replace(signed_samples()["account-key-request"].key_id.encode(), b"D" * 64)
    yield case("request under the id of another key", request, stream=True)
    preseed = signed["preseed"].replace(b"authority-id: acme", b"authority-id: umbrella")
    yield case("preseed that another than the brand signs", preseed, stream=True)
    yield case("one, and a blank line", next(iter(signed.values())) + b"\n", stream=False)
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


def whole(headers: Tree, body: bytes) -> Tree:
    """With what signing would set."""
    return {**headers, **({"body-length": str(len(body))} if body else {}),
            "sign-key-sha3-384": signing_key("brand").public.key_id}


def edges() -> Iterator[Case]:
    """Cases made on purpose."""
    for what, (base, path, value) in HEADERS.items():
        headers, body = all_samples()[base]
        yield case(what, write(altered(whole(headers, body), path, value), body), stream=False)
    doubled = signed_samples()["account"].encode().replace(b"\n\n", b"\n\n\n", 1)
    yield case("two newlines more before the signature", doubled, stream=False)


def mutants(count: int, seed: int) -> Iterator[Case]:
    """Half have changed headers, a quarter changed lines and a quarter a changed byte."""
    samples = all_samples()
    texts = {**{name: item.encode() for name, item in signed_samples().items()}, **documents()}
    for name, draw in draws(samples, count // 2, seed):
        headers, body = samples[name]
        what, changed = change(whole(headers, body), draw, VALUES)
        try:
            text = write(changed, body)
        except DocumentError:
            continue  # a name that cannot be written
        yield case(f"{name}: {what}", text, stream=bool(draw.randrange(3)))
    for name, draw in draws(texts, count - count // 2, seed):
        mutant = flip(texts[name], draw) if draw.randrange(2) else mutate_lines(texts[name], draw)
        yield case(f"{name}: {mutant.what}", mutant.text, stream=bool(draw.randrange(3)))


def cases(count: int, seed: int) -> Iterator[Case]:
    """All that is compared of reading assertions."""
    yield from given()
    yield from edges()
    yield from mutants(count, seed)
