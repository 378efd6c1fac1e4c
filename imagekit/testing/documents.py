"""Signed documents for tests: a brand that signs in memory, and real assertions from the field.

The keys are committed under `tests/keys` (TEST-ONLY-*.pem): they protect nothing. Every time is fixed, so that the same
calls give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from imagekit.assertions import snap_id
from imagekit.assertions.database import Database
from imagekit.assertions.headers import Header
from imagekit.assertions.signing import sign, sign_account, sign_account_key, sign_declaration, sign_revision
from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.digests import sha3_384
from imagekit.keys import PrivateKey

TESTS = Path(__file__).parent.parent.parent / "tests"
REAL = TESTS / "data" / "assertions"
REAL_ROOT_KEY = "-CvQKAwRQ5h3Ffn10FILJoEZUXOv6km9FwA80-Rcj-f-6jadQ89VRswHNiEB9Lxk"

SINCE = datetime(2025, 1, 1, tzinfo=UTC)  # when the keys of test brands come into force
SIGNED = datetime(2026, 1, 1, tzinfo=UTC)  # the timestamp of what they sign
NOW = datetime(2026, 6, 1, tzinfo=UTC)  # a moment to verify at
MODEL_DRAFT = """\
type: model
model: pc
architecture: amd64
base: small-base
snaps:
  - {name: pc, type: gadget}
  - {name: small, type: kernel}
  - {name: small-base, type: base}
"""  # of packages that lie in tests/unit/build/packages


@cache
def signing_key(name: str) -> PrivateKey:
    """The test key called `name`: `brand`, `stranger` or `store`."""
    private = load_pem_private_key((TESTS / "keys" / f"TEST-ONLY-{name}.pem").read_bytes(), password=None)
    assert isinstance(private, RSAPrivateKey)
    return PrivateKey(rsa=private)


def real(name: str) -> tuple[Assertion, ...]:
    """The real assertions in the file `name` of `tests/data/assertions`."""
    return decode_stream((REAL / name).read_bytes(), name=name)


class Brand:
    """A brand that is its own root of trust, store and publisher, and remembers what it signed.

    `key` names the test key; a brand called `stranger` or `store` has that key unless told otherwise.
    """

    def __init__(self, name: str = "acme", *, key: str | None = None, since: datetime = SINCE,
                 until: datetime | None = None) -> None:
        self.name = name
        self.key = signing_key(key or (name if name in ("stranger", "store") else "brand"))
        self.account_key = sign_account_key(self.key.public, account_id=name, authority_id=name, name="root",
                                            since=since, until=until, key=self.key)
        self.account = sign_account(name, authority_id=name, key=self.key, timestamp=since)
        self.signed: list[Assertion] = []

    @property
    def roots(self) -> tuple[Assertion, ...]:
        """What a folder of trust holds for this brand."""
        return self.account_key, self.account

    def sign(self, headers: dict[str, Header], *, created: datetime = SIGNED, body: bytes = b"") -> Assertion:
        return self._keep(sign(headers, key=self.key, created=created, body=body))

    def model(self, **headers: Header) -> Assertion:
        """A model of grade `signed` with gadget `pc`, kernel `pc-kernel`, base `debian-13`; `headers` change it.

        Underscores in the names stand for hyphens; an empty tuple leaves a header out.
        """
        snaps = tuple(self.snap(name, kind) for name, kind in (
            ("pc", "gadget"), ("pc-kernel", "kernel"), ("debian-13", "base")))
        base: dict[str, Header] = {
            "type": "model", "authority-id": self.name, "series": "16", "brand-id": self.name, "model": "pc",
            "architecture": "amd64", "base": "debian-13", "grade": "signed", "snaps": snaps,
            "timestamp": "2026-01-01T00:00:00Z"}
        return self.sign(base | {name.replace("_", "-"): value for name, value in headers.items()})

    def snap(self, name: str, kind: str, **more: Header) -> dict[str, Header]:
        """An entry of a model's `snaps`."""
        return {"name": name, "id": snap_id(self.name, name), "type": kind, "default-channel": "latest/stable", **more}

    def declaration(self, name: str) -> Assertion:
        return self._keep(sign_declaration(self.name, name, key=self.key, timestamp=SIGNED))

    def revision(self, name: str, revision: int, *, sha3: str, size: int, verity_root: str | None = None,
                 timestamp: datetime = SIGNED) -> Assertion:
        """The snap-revision of a package that need not exist; its declaration is signed along with it."""
        self.declaration(name)
        return self._keep(sign_revision(self.name, name, revision, sha3_384=sha3, size=size, key=self.key,
                                        timestamp=timestamp, verity_root=verity_root))

    def revision_for(self, path: Path, *, verity_root: str | None = None) -> Assertion:
        """The snap-revision of the file `NAME_REVISION.snap`, whatever it holds."""
        name, _, revision = path.name.removesuffix(".snap").rpartition("_")
        with path.open("rb") as stream:
            digest = sha3_384(stream)
        return self.revision(name, int(revision), sha3=digest, size=path.stat().st_size, verity_root=verity_root)

    def database(self, *more: Assertion) -> Database:
        """Trusts this brand alone, and holds what it signed and `more`."""
        return holding(self.roots, *self.signed, *more)

    def _keep(self, assertion: Assertion) -> Assertion:
        if assertion not in self.signed:
            self.signed.append(assertion)
        return assertion


class VouchedBrand(Brand):
    """A brand that is no root: a store's root vouches for its account and key, and is all that is trusted."""

    def __init__(self, name: str = "acme", *, store: Brand, key: str | None = None, since: datetime = SINCE,
                 until: datetime | None = None, revision: int = 0) -> None:
        super().__init__(name, key=key, since=since, until=until)
        self.store = store
        self.account_key = sign_account_key(self.key.public, account_id=name, authority_id=store.name, name=name,
                                            since=since, until=until, revision=revision, key=store.key)
        self.account = sign_account(name, authority_id=store.name, key=store.key, timestamp=since)

    @property
    def roots(self) -> tuple[Assertion, ...]:
        return self.store.roots

    @property
    def vouched(self) -> tuple[Assertion, ...]:
        """What the store says of this brand."""
        return self.account, self.account_key

    def database(self, *more: Assertion) -> Database:
        """Trusts the store alone, and holds what it says of this brand, what the brand signed and `more`."""
        return holding(self.roots, *self.vouched, *self.signed, *more)


def holding(trusted: Iterable[Assertion], *more: Assertion) -> Database:
    """A database that trusts the one and holds the others."""
    database = Database(trusted)
    for assertion in more:
        database.add(assertion)
    return database
