"""Signed documents for tests: a brand that signs in memory, and real assertions from the field.

The keys are committed under `tests/keys` (TEST-ONLY-*.pem): they protect nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.keys import PrivateKey

TESTS = Path(__file__).parent.parent.parent / "tests"
REAL = TESTS / "data" / "assertions"
REAL_ROOT_KEY = "-CvQKAwRQ5h3Ffn10FILJoEZUXOv6km9FwA80-Rcj-f-6jadQ89VRswHNiEB9Lxk"


@cache
def signing_key(name: str) -> PrivateKey:
    """The test key called `name`: `brand`, `stranger` or `store`."""
    private = load_pem_private_key((TESTS / "keys" / f"TEST-ONLY-{name}.pem").read_bytes(), password=None)
    assert isinstance(private, RSAPrivateKey)
    return PrivateKey(rsa=private)


def real(name: str) -> tuple[Assertion, ...]:
    """The real assertions in the file `name` of `tests/data/assertions`."""
    return decode_stream((REAL / name).read_bytes(), name=name)
