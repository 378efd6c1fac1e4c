"""Assertions as bytes: one, or a stream of them.

    assertion = content LF LF signature
    content   = headers [ LF LF body ]              exactly the signed bytes; no newline at the end
    signature = base64 in lines of 76               version byte and packet, see `imagekit.keys`
    blob      = assertion LF
    stream    = blob *( LF blob )

The body is UTF-8 and has exactly `body-length` bytes; without that header there is none. What was read is kept byte for
byte, since those are the signed bytes; the writer has one order: type, format, authority-id, revision, the primary key,
all others by byte order, body-length, sign-key-sha3-384. Whether a signature holds is decided in
`imagekit.assertions.database`. Source: snapd's assertion format (docs/reference/assertions.md, "Text").
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from imagekit.assertions.headers import Header, decode_headers, encode_entry
from imagekit.assertions.kinds import kind_of
from imagekit.digests import short
from imagekit.errors import DocumentError
from imagekit.units import KIB, MIB

MAX_HEADERS = 128 * KIB
MAX_SIGNATURE = 128 * KIB
MAX_BODY = 2 * MIB

LINE = 76
DIGEST = re.compile(r"[A-Za-z0-9_-]{64}\Z")  # 48 bytes in base64url
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One well-formed assertion; nothing about it is proved. `signature` is its base64 text as received."""

    type: str
    headers: Mapping[str, Header]
    body: bytes
    content: bytes
    signature: bytes

    def text(self, name: str) -> str:
        """The header `name`, or its default in the primary key, or the empty text.

        Raises:
            DocumentError: the header is a list or map.
        """
        value = self.headers.get(name, kind_of(self.type).defaults.get(name, ""))
        if not isinstance(value, str):
            raise DocumentError(f"cannot use {self.label}: header {name!r} must be a text")
        return value

    @property
    def authority_id(self) -> str:
        return self.text("authority-id")

    @property
    def key_id(self) -> str:
        """The id of the key that is said to have signed."""
        return self.text("sign-key-sha3-384")

    @property
    def revision(self) -> int:
        return int(self.text("revision") or "0")

    @property
    def primary_key(self) -> tuple[str, ...]:
        return tuple(self.text(name) for name in kind_of(self.type).primary_key)

    @property
    def label(self) -> str:
        """`model 16/acme/pc`: the type and primary key, digests shortened, for messages."""
        key = (short(str(self.headers.get(name, kind_of(self.type).defaults.get(name, ""))))
               for name in kind_of(self.type).primary_key)
        return printable(f"{self.type} {'/'.join(key)}")

    def encode(self) -> bytes:
        """The blob this was read from."""
        return self.content + b"\n\n" + self.signature + b"\n"


def printable(text: str) -> str:
    """`text` with a question mark for everything that could move a terminal's cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def encode_stream(assertions: Iterable[Assertion]) -> bytes:
    return b"\n".join(assertion.encode() for assertion in assertions)


def encode_content(headers: Mapping[str, Header], body: bytes = b"") -> bytes:
    """The bytes to sign, in the writer's order; `body-length` is set to what the body has.

    Raises:
        DocumentError: unknown type, a name or text that cannot be written, more than the limits.
    """
    kind = kind_of(str(headers.get("type")))
    first = ["type", "format", "authority-id", "revision", *kind.primary_key]
    others = sorted(set(headers) - {*first, "body-length", "sign-key-sha3-384"})
    zero = {"format": "0", "revision": "0", **kind.defaults}
    present = {name: headers[name] for name in (*first, *others) if name in headers}
    if body:
        present["body-length"] = str(len(body))
    if "sign-key-sha3-384" in headers:
        present["sign-key-sha3-384"] = headers["sign-key-sha3-384"]
    lines = (line for name, value in present.items() if zero.get(name) != value for line in encode_entry(name, value))
    try:
        head = "\n".join(lines).encode("utf-8")
    except UnicodeEncodeError as error:
        raise DocumentError(f"cannot write {kind.name}: {error.object[error.start:error.end]!r} is no text") from error
    if len(head) > MAX_HEADERS or len(body) > MAX_BODY:
        raise DocumentError(f"cannot write {kind.name}: headers of {len(head)} and a body of {len(body)} bytes,"
                            f" at most {MAX_HEADERS} and {MAX_BODY} are allowed")
    return head + b"\n\n" + body if body else head


def decode_stream(raw: bytes, *, name: str) -> tuple[Assertion, ...]:
    """Read all assertions of a file called `name` in messages.

    Raises:
        DocumentError: anything is malformed, or there is none.
    """
    found = tuple(_split(raw, name))
    if not found:
        raise DocumentError(f"cannot read {name}: it is empty, expected an assertion")
    return found


def decode_one(raw: bytes, *, name: str) -> Assertion:
    """Read exactly one assertion. Raises: DocumentError: anything else."""
    found = decode_stream(raw, name=name)
    if len(found) != 1:
        raise DocumentError(f"cannot read {name}: it holds {len(found)} assertions, expected one")
    return found[0]


def armor(blob: bytes) -> bytes:
    """Base64 in lines of 76, without a newline at the end."""
    flat = base64.b64encode(blob)
    return b"\n".join(flat[at:at + LINE] for at in range(0, len(flat), LINE))


def unarmor(text: bytes, *, what: str) -> bytes:
    """Undo `armor`, whatever the line width. Raises: DocumentError: a spelling that no encoder writes."""
    flat = text.replace(b"\n", b"")
    try:
        blob = base64.b64decode(flat, validate=True)
    except binascii.Error as error:
        raise DocumentError(f"cannot decode {what}: not base64 ({error})") from error
    if base64.b64encode(blob) != flat:
        raise DocumentError(f"cannot decode {what}: not canonical base64")
    return blob


def _split(raw: bytes, name: str) -> Iterator[Assertion]:
    """Cut a stream at its blank lines, guided by body-length."""
    at, line = 0, 1
    while at < len(raw):
        where = f"{name}:{line}"
        head_end = raw.find(b"\n\n", at, at + MAX_HEADERS + 2)
        if head_end < 0:
            raise DocumentError(f"{where}: no blank line ends the headers within {MAX_HEADERS} bytes")
        headers = _decode_head(raw[at:head_end], name, line)
        size = _number(headers, "body-length", where)
        if size > MAX_BODY:
            raise DocumentError(f"{where}: a body of {size} bytes, at most {MAX_BODY} are allowed")
        content_end = head_end + 2 + size if size else head_end
        if raw[content_end:content_end + 2] != b"\n\n":
            raise DocumentError(f"{where}: no blank line after the {size} bytes that body-length announces")
        start = content_end + 2
        end = raw.find(b"\n\n", start, start + MAX_SIGNATURE + 2)
        after = end + 2 if end >= 0 else len(raw)
        signature = raw[start:end] if end >= 0 else raw[start:].removesuffix(b"\n")
        body = raw[head_end + 2:content_end] if size else b""
        yield _assemble(headers, body, raw[at:content_end], signature, where)
        line += raw.count(b"\n", at, after)
        at = after


def _decode_head(head: bytes, name: str, line: int) -> Mapping[str, Header]:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{name}:{line}: the headers are not UTF-8 at byte {error.start}") from error
    return decode_headers(text, name=name, first_line=line)


def _number(headers: Mapping[str, Header], header: str, where: str) -> int:
    value = headers.get(header, "0")
    if not isinstance(value, str) or not _NUMBER.match(value):
        raise DocumentError(f"{where}: header {header!r} must be a non-negative number, not {value!r}")
    return int(value)


def _assemble(headers: Mapping[str, Header], body: bytes, content: bytes, signature: bytes, where: str) -> Assertion:
    """The checks that every assertion has to pass, whatever its type."""
    name = headers.get("type")
    if not isinstance(name, str):
        raise DocumentError(f"{where}: header 'type' is missing or not a text")
    try:
        kind = kind_of(name)
    except DocumentError as error:
        raise DocumentError(f"{where}: {error}") from error
    if (found := _number(headers, "format", where)) > kind.max_format:
        raise DocumentError(f"{where}: {name} of format {found}, at most {kind.max_format} is supported",
                            hint="a newer imagekit may know it")
    _number(headers, "revision", where)
    if kind.has_authority != ("authority-id" in headers):
        raise DocumentError(f"{where}: a {name} must have {'an' if kind.has_authority else 'no'} authority-id")
    for header in (*kind.primary_key, *(("authority-id",) if kind.has_authority else ())):
        value = headers.get(header, kind.defaults.get(header))
        if not isinstance(value, str) or not value or "/" in value:
            raise DocumentError(f"{where}: header {header!r} must be a text, not empty and without slashes")
    key_id = headers.get("sign-key-sha3-384")
    if not isinstance(key_id, str) or not DIGEST.match(key_id):
        raise DocumentError(f"{where}: header 'sign-key-sha3-384' must be a digest of 64 characters, not {key_id!r}")
    _check_parts(body, signature, where)
    return Assertion(type=name, headers=headers, body=body, content=content, signature=signature)


def _check_parts(body: bytes, signature: bytes, where: str) -> None:
    if not signature or len(signature) > MAX_SIGNATURE:
        raise DocumentError(f"{where}: a signature of {len(signature)} bytes, expected 1 to {MAX_SIGNATURE}")
    try:
        body.decode("utf-8")
        signature.decode("ascii")
    except UnicodeDecodeError as error:
        part = "body" if error.encoding == "utf-8" else "signature"
        raise DocumentError(f"{where}: the {part} is not {error.encoding.upper()} at byte {error.start}") from error
    unarmor(signature, what=f"signature of {where}")
