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
import json
import re
from codecs import BOM_UTF8
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from imagekit.assertions.headers import Header, decode_headers, encode_entry, shown, unlike
from imagekit.assertions.kinds import KINDS, Kind, kind_of
from imagekit.assertions.rulebook import AssertionRules
from imagekit.digests import short
from imagekit.errors import DocumentError
from imagekit.rules import Rule
from imagekit.schema import DocumentProblems, Path, Problem, Source, near
from imagekit.units import KIB, MIB

MAX_HEADERS = 128 * KIB
MAX_SIGNATURE = 128 * KIB
MAX_BODY = 2 * MIB

LINE = 76
DIGEST = re.compile(r"[A-Za-z0-9_-]{64}\Z")  # 48 bytes in base64url
TYPES = f": known are {', '.join(sorted(KINDS))}"
_POSITIVE = re.compile(r"[1-9][0-9]{0,17}\Z")
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,17})\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """One well-formed assertion; nothing about it is proved. `signature` is its base64 text as received.

    `name` and `line` say where it was read, and play no part in what it is.
    """

    type: str
    headers: Mapping[str, Header]
    body: bytes
    content: bytes
    signature: bytes
    name: str = field(default="", compare=False, repr=False)
    line: int = field(default=1, compare=False, repr=False)

    def source(self) -> Source:
        """Where each header, the body and the signature stand in the file, for messages."""
        head = self.content[:-len(self.body) - 2] if self.body else self.content
        lines: dict[Path, int] = {}
        decode_headers(head.decode("utf-8"), name=self.name, first_line=self.line, lines=lines)
        lines[()] = self.line
        lines[("body",)] = self.line + head.count(b"\n") + 2
        lines[("signature",)] = self.line + self.content.count(b"\n") + 2
        return Source(name=self.name or self.label, value=None, lines=lines)

    @property
    def format(self) -> int:
        return int(self.text("format") or "0")

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
    if len(head) + 2 > MAX_HEADERS or len(body) > MAX_BODY:
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
        raise _refusal(name, 1, "", "it is empty, expected an assertion", AssertionRules.EMPTY)
    return found


def decode_one(raw: bytes, *, name: str) -> Assertion:
    """Read exactly one assertion. Raises: DocumentError: anything else."""
    found = decode_stream(raw, name=name)
    if len(found) != 1:
        raise _refusal(name, found[1].line, "type", f"it holds {len(found)} assertions, expected one",
                       AssertionRules.SINGLE)
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
        raise DocumentError(f"cannot decode {what}: not base64") from error
    if base64.b64encode(blob) != flat:
        raise DocumentError(f"cannot decode {what}: not canonical base64")
    return blob


def _split(raw: bytes, name: str) -> Iterator[Assertion]:
    """Cut a stream at its blank lines, guided by body-length."""
    at, line = 0, 1
    if raw.startswith(BOM_UTF8):
        raise _refusal(name, line, "headers", "a byte order mark comes first, the name of a header is expected",
                       AssertionRules.NAME)
    while at < len(raw):
        head_end = raw.find(b"\n\n", at, at + MAX_HEADERS)
        if head_end < 0:
            raise _refusal(name, line, "headers", _endless(raw[at:at + MAX_HEADERS]), AssertionRules.HEADERS_END)
        headers = _decode_head(raw[at:head_end], name, line)
        reader = _Checks(name, line, raw[at:head_end])
        size = reader.number(headers, "body-length")
        if size > MAX_BODY:
            raise reader.refusal("body-length", f"{size} bytes, at most {MAX_BODY} are allowed",
                                 AssertionRules.BODY_SIZE)
        content_end = head_end + 2 + size if size else head_end
        if raw[content_end:content_end + 2] != b"\n\n":
            raise reader.refusal("body-length", f"no blank line follows the {size} bytes of the body",
                                 AssertionRules.BODY_END)
        start = content_end + 2
        end = raw.find(b"\n\n", start, start + MAX_SIGNATURE + 2)
        after = end + 2 if end >= 0 else len(raw)
        signature = raw[start:end] if end >= 0 else raw[start:].removesuffix(b"\n")
        body = raw[head_end + 2:content_end] if size else b""
        yield reader.assemble(headers, body, raw[at:content_end], signature)
        line += raw.count(b"\n", at, after)
        at = after


def _endless(found: bytes) -> str:
    """Why no blank line ends the headers that `found` begins with."""
    if b"\r\n" in found:
        return "their lines end in CR LF, line feeds alone are signed: a program has changed the file"
    if len(found) < MAX_HEADERS:
        return "the file ends before a blank line: after it the signature is expected"
    return f"no blank line ends them within {MAX_HEADERS} bytes"


def _decode_head(head: bytes, name: str, line: int) -> Mapping[str, Header]:
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refusal(name, line + head.count(b"\n", 0, error.start), "headers",
                       f"not UTF-8 at byte {error.start}", AssertionRules.HEADERS_UTF8) from error
    return decode_headers(text, name=name, first_line=line)


def _refusal(name: str, line: int, place: str, text: str, rule: Rule) -> DocumentProblems:
    path = (place,) if place else ()
    return DocumentProblems(name, (Problem(name=name, line=line, path=path, text=text, rule=rule),))


class _Checks:
    """What every assertion has to pass, whatever its type, each refusal at its line."""

    def __init__(self, name: str, line: int, head: bytes) -> None:
        self._name, self._line, self._head = name, line, head

    def refusal(self, header: str, text: str, rule: Rule) -> DocumentProblems:
        at = (b"\n" + self._head).find(b"\n" + header.encode() + b":")
        return _refusal(self._name, self._line + (self._head.count(b"\n", 0, at) if at >= 0 else 0), header, text, rule)

    def number(self, headers: Mapping[str, Header], header: str) -> int:
        value = headers.get(header, "0")
        if not isinstance(value, str) or not _NUMBER.match(value):
            raise self.refusal(header, f"{shown(value)} is not a number from 0 on, without leading zeros",
                               AssertionRules.COUNT)
        return int(value)

    def assemble(self, headers: Mapping[str, Header], body: bytes, content: bytes, signature: bytes) -> Assertion:
        kind = self._kind(headers)
        if (found := self.number(headers, "format")) > kind.max_format:
            raise self.refusal("format", f"{found} is not supported for {kind.name}, at most {kind.max_format} is",
                               AssertionRules.FORMAT)
        self.number(headers, "revision")
        if not kind.has_authority and "authority-id" in headers:
            raise self.refusal("authority-id", f"a {kind.name} has none, its own key speaks", AssertionRules.AUTHORITY)
        authority = headers.get("authority-id")
        if kind.has_authority and not (isinstance(authority, str) and authority):
            raise self.refusal("authority-id", unlike(authority, "the account that speaks"),
                               AssertionRules.AUTHORITY)
        for header in kind.primary_key:
            value = headers.get(header, kind.defaults.get(header))
            if not isinstance(value, str) or not value or "/" in value:
                raise self.refusal(header, unlike(value, f"a text without slashes that names this {kind.name}"),
                                   AssertionRules.PRIMARY_KEY)
        if kind.sequence and not _POSITIVE.match(str(headers[kind.primary_key[-1]])):
            raise self.refusal(kind.primary_key[-1], f"{shown(headers[kind.primary_key[-1]])} is not a number of at"
                               " least 1", AssertionRules.NUMBER)
        key_id = headers.get("sign-key-sha3-384")
        if not isinstance(key_id, str) or not DIGEST.match(key_id):
            raise self.refusal("sign-key-sha3-384", unlike(key_id, "a digest of 64 characters"),
                               AssertionRules.SIGN_KEY)
        self._check_parts(kind, body, content, signature)
        return Assertion(type=kind.name, headers=headers, body=body, content=content, signature=signature,
                         name=self._name, line=self._line)

    def _kind(self, headers: Mapping[str, Header]) -> Kind:
        name = headers.get("type")
        if not isinstance(name, str) or name not in KINDS:
            meant = near(name, KINDS) if isinstance(name, str) else ""
            raise self.refusal("type", unlike(name, "a type of assertion") + (meant or TYPES), AssertionRules.TYPE)
        return KINDS[name]

    def _check_parts(self, kind: Kind, body: bytes, content: bytes, signature: bytes) -> None:
        line = self._line + content.count(b"\n") + 2
        if not signature or len(signature) > MAX_SIGNATURE:
            raise _refusal(self._name, line, "signature", f"{len(signature)} bytes, allowed are 1 to {MAX_SIGNATURE}",
                           AssertionRules.SIGNATURE_SIZE)
        if b"\ntype: " in signature:
            raise _refusal(self._name, line + signature[:signature.find(b"\ntype: ")].count(b"\n") + 1, "type",
                           "follows a signature at once, a blank line is needed between two assertions",
                           AssertionRules.SIGNATURE_BASE64)
        try:
            unarmor(signature, what="signature")
        except DocumentError as error:
            raise _refusal(self._name, line, "signature", str(error.message).removeprefix("cannot decode signature: "),
                           AssertionRules.SIGNATURE_BASE64) from error
        line = self._line + self._head.count(b"\n") + 2
        try:
            body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise _refusal(self._name, line, "body", f"not UTF-8 at byte {error.start}",
                           AssertionRules.BODY_UTF8) from error
        if kind.json_body and (reason := json_problem(body)):
            raise _refusal(self._name, line, "body", reason, AssertionRules.JSON_BODY)


def json_problem(body: bytes) -> str | None:
    """What keeps a body from being JSON as its one writer writes it, if anything does."""
    if not body:
        return "there is none, JSON is expected"
    try:
        value = json.loads(body, parse_int=float, parse_constant=_refuse_constant)
        written = _go_json(value, "\n").encode("utf-8", "surrogatepass")
    except RecursionError:
        return "JSON that is nested too deep"
    except ValueError as error:
        return f"not JSON: {error}"
    return None if written == body else "JSON that is not indented by two spaces with its keys sorted"


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is no number of JSON")


def _go_json(value: object, newline: str) -> str:
    """JSON as Go's encoder writes it: two spaces, sorted keys, numbers of 64 bits, `<`, `>` and `&` escaped."""
    inner = newline + "  "
    if isinstance(value, dict) and value:
        entries = (f"{_go_json(key, inner)}: {_go_json(value[key], inner)}" for key in sorted(value))
        return "{" + inner + ("," + inner).join(entries) + newline + "}"
    if isinstance(value, list) and value:
        return "[" + inner + ("," + inner).join(_go_json(item, inner) for item in value) + newline + "]"
    if isinstance(value, float):
        return _go_number(value)
    text = json.dumps(value, ensure_ascii=False)
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _go_number(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        raise ValueError("a number beyond 64 bits")
    if value == 0 or 1e-6 <= abs(value) < 1e21:
        plain = f"{Decimal(repr(value)):f}"
        return plain.removesuffix(".0")
    digits, exponent = repr(value).split("e")
    return f"{digits.removesuffix('.0')}e{exponent[0]}{exponent[1:].lstrip('0')}"
