"""What must hold between an assertion and the others, type by type.

    account, account-key    only a root's account vouches; another root's account is never vouched for
    account-key-request     signed by its own key; its account is believed
    model, validation-set,  by the account that they belong to (their parsers see to that), which is believed;
    repair                  snap-build: by whoever built it
    serial                  by the brand, or whom the believed model lists in serial-authority
    preseed                 by the brand, or whom the believed model lists in preseed-authority
    system-user             by the brand, or whom a believed model that it is for accepts in system-user-authority
    serial-request          signed by its own device key, and that is all that it proves
    snap-declaration        only a root's account; its snap-id is not that of another root's package of the same name
    snap-revision, snap-    the root's account that declared the snap-id; of another provenance, whom the declaration
    resource-*              lists for that and the revision; the developer is believed
    snap-developer          a root's account or the publisher; everybody in it is believed
    validation              by the publisher of the snap that has tried the other
    store                   only a root's account; the operator is believed
    base-declaration        only a root's account

A rule is handed a `Witness`, through which it asks for other assertions: what it gets is believed. Whether the
signature holds was decided before, in `imagekit.assertions.database`. A device's own checks (its model, its serial, the
time of a system-user) are for whoever uses the assertion. Sources: snapd's consistency checks and, for system-user and
preseed, its checks when it uses them (docs/reference/assertions.md, "Types").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from imagekit.assertions.accounts import Account, AccountKey, AccountKeyRequest, Store
from imagekit.assertions.devices import Serial, SystemUser
from imagekit.assertions.gating import SnapDeveloper, Validation
from imagekit.assertions.model import Model
from imagekit.assertions.model_reader import parse_model
from imagekit.assertions.proof import Disbelief
from imagekit.assertions.sets import Preseed
from imagekit.assertions.snaps import (
    GLOBAL_UPLOAD,
    SERIES,
    SnapDeclaration,
    SnapResourcePair,
    SnapResourceRevision,
    SnapRevision,
    parse_snap_declaration,
    snap_id,
)
from imagekit.assertions.wire import Assertion
from imagekit.errors import DocumentError, TrustError


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

    def require_declaration(self, of_snap_id: str) -> SnapDeclaration:
        """Raises: TrustError: no believed snap-declaration is at hand."""
        found = self.believe("snap-declaration", SERIES, of_snap_id)
        if found is None:
            raise self.refuse(f"no snap-declaration at hand says which package {of_snap_id} is",
                              hint="add the file that came with the package")
        return parse_snap_declaration(found)

    def models(self, brand_id: str, names: Iterable[str]) -> list[Model]:
        """The believed models of a brand; without `names` all of them."""
        wanted = frozenset(names)
        found = []
        for key in self.all_of("model"):
            if key[:2] != (SERIES, brand_id) or (wanted and key[2] not in wanted):
                continue
            try:
                model = self.believe("model", *key)
            except (TrustError, DocumentError):
                continue
            if model is not None:
                found.append(parse_model(model))
        return found


def note_account(witness: Witness, account_id: str) -> None:
    """Take an account along that nothing depends on, if it is at hand and believed."""
    if witness.assertion.type == "account" and witness.assertion.text("account-id") == account_id:
        return
    try:
        witness.believe("account", account_id)
    except (TrustError, DocumentError):
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


def check_account_key_request(witness: Witness, value: AccountKeyRequest) -> None:
    witness.require_account(value.account_id)


def check_self_signed(_witness: Witness, _value: object) -> None:
    """Its own key signed it: nothing else is to be proved."""


def check_signed_by_account(witness: Witness, _value: object) -> None:
    """For what an account says of its own things: the account is somebody."""
    witness.require_account(witness.authority)


def check_root_speaks(witness: Witness, _value: object) -> None:
    witness.require_root()


def check_serial(witness: Witness, value: Serial) -> None:
    witness.require_account(witness.authority)
    if witness.authority != value.brand_id:
        _require_listed(witness, value.brand_id, (value.model,), "serial-authority",
                        lambda model: model.may_sign_serial(witness.authority))


def check_preseed(witness: Witness, value: Preseed) -> None:
    witness.require_account(witness.authority)
    if witness.authority != value.brand_id:
        _require_listed(witness, value.brand_id, (value.model,), "preseed-authority",
                        lambda model: model.may_sign_preseed(witness.authority))


def check_system_user(witness: Witness, value: SystemUser) -> None:
    witness.require_account(witness.authority)
    if witness.authority != value.brand_id:
        _require_listed(witness, value.brand_id, value.models, "system-user-authority",
                        lambda model: model.may_sign_system_user(witness.authority))


def _require_listed(witness: Witness, brand_id: str, names: tuple[str, ...], header: str,
                    listed: Callable[[Model], bool]) -> None:
    """Raises: Disbelief: no believed model of the brand lists who speaks."""
    models = witness.models(brand_id, names)
    if any(listed(model) for model in models):
        return
    what = f"model {'/'.join((brand_id, *names))}" if len(names) == 1 else f"model of {brand_id!r} that it is for"
    if not models:
        raise witness.refuse(f"{witness.authority!r} is not the brand {brand_id!r}, and no believed {what} at hand"
                             f" lists it in {header}", hint="add the file with the model")
    raise witness.refuse(f"{witness.authority!r} is not the brand {brand_id!r}, and no {what} lists it in {header}")


def check_declaration(witness: Witness, value: SnapDeclaration) -> None:
    witness.require_root()
    for other in sorted(witness.root_accounts - {witness.authority}):
        if other == value.publisher_id or snap_id(other, value.snap_name) == value.snap_id:
            raise witness.refuse(f"package {value.snap_name!r} is {other!r}'s, {witness.authority!r} cannot declare it")
    witness.require_account(value.publisher_id)


def check_revision(witness: Witness, value: SnapRevision) -> None:
    _check_uploaded(witness, value.snap_id, value.provenance, value.snap_revision, value.developer_id)


def check_resource_revision(witness: Witness, value: SnapResourceRevision) -> None:
    _check_uploaded(witness, value.snap_id, value.provenance, value.resource_revision, value.developer_id)


def check_resource_pair(witness: Witness, value: SnapResourcePair) -> None:
    _check_uploaded(witness, value.snap_id, value.provenance, value.snap_revision, value.developer_id)


def _check_uploaded(witness: Witness, of_snap_id: str, provenance: str, revision: int, developer_id: str) -> None:
    """Who may say that a file is this revision of a snap."""
    if provenance == GLOBAL_UPLOAD:
        witness.require_root()
    declared = witness.require_declaration(of_snap_id)
    if provenance == GLOBAL_UPLOAD and declared.assertion.authority_id != witness.authority:
        raise witness.refuse(f"{witness.authority!r} signed it, but {declared.assertion.authority_id!r} declared the"
                             " package")
    if provenance != GLOBAL_UPLOAD and not any(item.permits(witness.authority, provenance, revision)
                                            for item in declared.revision_authorities):
        raise witness.refuse(f"its snap-declaration lets {witness.authority!r} sign no revision {revision} of"
                             f" provenance {provenance!r}")
    if provenance != GLOBAL_UPLOAD:
        witness.require_account(witness.authority)
    witness.require_account(developer_id)


def check_developer(witness: Witness, value: SnapDeveloper) -> None:
    if witness.authority != value.publisher_id:
        witness.require_root()
    witness.require_declaration(value.snap_id)
    for account_id in dict.fromkeys((value.publisher_id, *(item.developer_id for item in value.developers))):
        witness.require_account(account_id)


def check_validation(witness: Witness, value: Validation) -> None:
    witness.require_declaration(value.approved_snap_id)
    gating = witness.require_declaration(value.snap_id)
    if gating.publisher_id != witness.authority:
        raise witness.refuse(f"{witness.authority!r} signed it, but {gating.publisher_id!r} publishes"
                             f" {gating.snap_name!r}, which is said to have tried the other")
    witness.require_account(witness.authority)


def check_store(witness: Witness, value: Store) -> None:
    witness.require_root()
    witness.require_account(value.operator_id)


Rule = Callable[[Witness, Any], None]

RULES: Mapping[str, Rule] = MappingProxyType({
    "account": check_account,
    "account-key": check_account_key,
    "account-key-request": check_account_key_request,
    "base-declaration": check_root_speaks,
    "model": check_signed_by_account,
    "preseed": check_preseed,
    "repair": check_signed_by_account,
    "serial": check_serial,
    "serial-request": check_self_signed,
    "snap-build": check_signed_by_account,
    "snap-declaration": check_declaration,
    "snap-developer": check_developer,
    "snap-resource-pair": check_resource_pair,
    "snap-resource-revision": check_resource_revision,
    "snap-revision": check_revision,
    "store": check_store,
    "system-user": check_system_user,
    "validation": check_validation,
    "validation-set": check_signed_by_account,
})
