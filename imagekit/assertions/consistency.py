"""What must hold between an assertion and the others, type by type.

    account, account-key    only a root's account vouches; another root's account is never vouched for
    model                   signed by the brand (`imagekit.assertions.model`), whose account is believed
    snap-declaration        only a root's account; its snap-id is not that of another root's package of the same name
    snap-revision           the root's account that declared the snap-id

A rule is handed a `Witness`, through which it asks for other assertions: what it gets is believed. Whether the
signature holds was decided before, in `imagekit.assertions.database`. Sources: snapd's consistency checks
(docs/reference/assertions.md, "Types").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from imagekit.assertions.proof import Disbelief
from imagekit.assertions.types import (
    PROVENANCE,
    SERIES,
    Account,
    AccountKey,
    SnapDeclaration,
    SnapRevision,
    snap_id,
)
from imagekit.assertions.wire import Assertion
from imagekit.errors import TrustError


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The assertion, and what can be asked of the database.

    `believe` takes a type and a primary key and gives the assertion, believed; None if none is at hand. It raises if
    there is one that is not believed. `all_of` gives the primary keys of all assertions of a type, believed or not.
    """

    assertion: Assertion
    root_accounts: frozenset[str]
    believe: Callable[..., Assertion | None]
    all_of: Callable[[str], Iterable[tuple[str, ...]]]

    @property
    def authority(self) -> str:
        return self.assertion.authority_id

    def refuse(self, cause: str, *, hint: str | None = None) -> Disbelief:
        return Disbelief(self.assertion.label, cause, hint=hint)

    def require_root(self) -> None:
        """Raises: Disbelief: who speaks is no root."""
        if self.authority not in self.root_accounts:
            raise self.refuse(f"{self.authority!r} is no root of trust, and only such an account may sign"
                              f" {'an' if self.assertion.type[0] in 'aeiou' else 'a'} {self.assertion.type}")
        note_account(self, self.authority)

    def require_account(self, account_id: str) -> None:
        """An account that is no root itself must be vouched for. Raises: TrustError: it is not."""
        if account_id in self.root_accounts:
            note_account(self, account_id)
        elif self.believe("account", account_id) is None:
            raise self.refuse(f"nothing at hand says who {account_id!r} is",
                              hint="add the file with the account assertion")


def note_account(witness: Witness, account_id: str) -> None:
    """Take an account along that nothing depends on, if it is at hand and believed."""
    if witness.assertion.type == "account" and witness.assertion.text("account-id") == account_id:
        return
    try:
        witness.believe("account", account_id)
    except TrustError:
        return


def check_account(witness: Witness, value: Account) -> None:
    witness.require_root()
    _not_another_roots(witness, value.account_id)


def check_account_key(witness: Witness, value: AccountKey) -> None:
    witness.require_root()
    _not_another_roots(witness, value.account_id)
    witness.require_account(value.account_id)


def _not_another_roots(witness: Witness, account_id: str) -> None:
    if account_id != witness.authority and account_id in witness.root_accounts:
        raise witness.refuse(f"{account_id!r} is a root of trust of its own, {witness.authority!r} cannot vouch for it")


def check_signed_by_account(witness: Witness, _value: Any) -> None:
    """For what an account says of its own things: the account is somebody."""
    witness.require_account(witness.authority)


def check_declaration(witness: Witness, value: SnapDeclaration) -> None:
    witness.require_root()
    for other in sorted(witness.root_accounts - {witness.authority}):
        if other == value.publisher_id or snap_id(other, value.snap_name) == value.snap_id:
            raise witness.refuse(f"package {value.snap_name!r} is {other!r}'s, {witness.authority!r} cannot declare it")
    witness.require_account(value.publisher_id)


def check_revision(witness: Witness, value: SnapRevision) -> None:
    if value.provenance != PROVENANCE:
        raise witness.refuse(f"provenance {value.provenance!r} is not supported, only {PROVENANCE!r}")
    witness.require_root()
    found = witness.believe("snap-declaration", SERIES, value.snap_id)
    if found is None:
        raise witness.refuse(f"no snap-declaration at hand says which package {value.snap_id} is",
                             hint="add the file that came with the package")
    if found.authority_id != witness.authority:
        raise witness.refuse(f"{witness.authority!r} signed it, but {found.authority_id!r} declared the package")
    witness.require_account(value.developer_id)


Rule = Callable[[Witness, Any], None]

RULES: Mapping[str, Rule] = MappingProxyType({
    "account": check_account,
    "account-key": check_account_key,
    "model": check_signed_by_account,
    "snap-declaration": check_declaration,
    "snap-revision": check_revision,
})
