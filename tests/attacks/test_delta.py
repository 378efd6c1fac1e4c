"""Deltas that make something else than was signed, each with a twin: the same delta, its defence removed."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable

import pytest
import zstandard

from imagekit.digests import b64url
from imagekit.errors import DocumentError
from imagekit.packages import delta as deltas
from imagekit.packages.delta import DeltaHead, Kind, Op, apply_delta, encode_head, encode_op
from tests.attacks.whatever import Whatever

OLD, TRUE, EVIL = b"old " * 5000, b"new " * 5000, b"evil" * 5000
BOMB = 64 << 20


def delta(*ops: Op, extra: bytes, old: bytes = OLD, size: int = len(TRUE)) -> bytes:
    """A delta that says it makes `TRUE`, of `size` bytes."""
    streams = [zstandard.ZstdCompressor().compress(raw) for raw in (
        b"".join(encode_op(op, 0) for op in ops), b"", extra)]
    head = DeltaHead(old_size=len(old), new_size=size, old_sha3_384="", new_sha3_384="",
                     ops=len(streams[0]), diff=len(streams[1]), extra=len(streams[2]))
    digests = (hashlib.sha3_384(raw).digest() for raw in (old, TRUE))
    return encode_head(head, old=next(digests), new=next(digests)) + b"".join(streams)


def applied(raw: bytes, old: bytes = OLD, *, size: int | None = len(TRUE)) -> bytes:
    """As a device does it: digest and size are those that the signed revision has."""
    out = io.BytesIO()
    apply_delta(io.BytesIO(raw), io.BytesIO(old), out.write, name="delta",
                sha3_384=b64url(hashlib.sha3_384(TRUE).digest()), size=size)
    return out.getvalue()


SUBSTITUTIONS: dict[str, Callable[[], tuple[bytes, bytes]]] = {
    "other-bytes": lambda: (delta(Op(kind=Kind.DATA, length=len(TRUE)), extra=EVIL), OLD),
    "another-source": lambda: (delta(Op(kind=Kind.COPY, length=len(TRUE)), extra=b""), EVIL),
}


def test_true_delta_makes_the_package() -> None:
    assert applied(delta(Op(kind=Kind.DATA, length=len(TRUE)), extra=TRUE)) == TRUE


@pytest.mark.parametrize("name", SUBSTITUTIONS)
def test_delta_that_makes_something_else_is_refused(name: str) -> None:
    raw, old = SUBSTITUTIONS[name]()
    with pytest.raises(DocumentError, match="what it makes is not the package"):
        applied(raw, old)


@pytest.mark.parametrize("name", SUBSTITUTIONS)
def test_delta_that_makes_something_else_is_taken_without_the_digest(name: str, monkeypatch: pytest.MonkeyPatch
                                                                     ) -> None:
    raw, old = SUBSTITUTIONS[name]()
    monkeypatch.setattr(deltas, "b64url", lambda found: Whatever(b64url(found)))
    assert applied(raw, old) == EVIL


def bomb() -> bytes:
    return delta(Op(kind=Kind.DATA, length=BOMB), extra=bytes(BOMB))


def test_delta_writes_no_more_than_its_head_says() -> None:
    assert len(bomb()) < 10_000
    with pytest.raises(DocumentError, match="an operation that is none"):
        applied(bomb())


def test_delta_whose_head_lies_about_its_size_is_refused_by_the_signed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where nobody looked at the digest."""
    monkeypatch.setattr(deltas, "b64url", lambda found: Whatever(b64url(found)))
    with pytest.raises(DocumentError, match="it makes another package"):
        applied(delta(Op(kind=Kind.DATA, length=BOMB), extra=bytes(BOMB), size=BOMB))


def test_delta_whose_head_lies_writes_all_of_it_without_digest_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "b64url", lambda found: Whatever(b64url(found)))
    assert len(applied(delta(Op(kind=Kind.DATA, length=BOMB), extra=bytes(BOMB), size=BOMB), size=None)) == BOMB
