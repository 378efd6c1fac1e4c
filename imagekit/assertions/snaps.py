"""What assertions say of packages: whose they are, which file is which revision, and who made it.

Sources: snapd's asserts/snap_asserts.go and snap_resource_asserts.go. `verity-root` in a snap-revision is ours: the
root hash of the package's dm-verity tree, which others ignore.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions.constraints import DeviceScope, parse_scope
from imagekit.assertions.fields import ACCOUNT_ID, DIGEST, HEX_SHA256, PROVENANCE, SNAP_NAME, Fields, Form, check_type
from imagekit.assertions.headers import shown
from imagekit.assertions.interfaces import InterfaceRules, parse_rules
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import Assertion

SERIES = "16"  # the only one there is
GLOBAL_UPLOAD = "global-upload"  # the provenance of what a store's own upload made
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

ALIAS = Form(re.compile(r"[a-zA-Z0-9][-_.a-zA-Z0-9]*\Z"), "an alias: letters, digits, dots, hyphens and underscores",
             AssertionRules.DECLARATION_ALIAS)
APP = Form(re.compile(r"[a-zA-Z0-9]+(?:-[a-zA-Z0-9]+)*\Z"), "an app: letters, digits and single inner hyphens",
           AssertionRules.DECLARATION_ALIAS)
_AUTHORITY = Form(ACCOUNT_ID.pattern, ACCOUNT_ID.what, AssertionRules.DECLARATION_REVISION_AUTHORITY)
_AUTHORITY_PROVENANCE = Form(PROVENANCE.pattern, PROVENANCE.what, AssertionRules.DECLARATION_REVISION_AUTHORITY)
_VERITY_ROOT = Form(re.compile(r"[0-9a-f]{64}\Z"), "64 lower-case hexadecimal digits",
                    AssertionRules.REVISION_VERITY_ROOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionAuthority:
    """An account that may sign revisions of a snap with one of `provenances`. `last` is None without an end."""

    account_id: str
    provenances: tuple[str, ...]
    first: int
    last: int | None
    scope: DeviceScope | None

    def permits(self, authority_id: str, provenance: str, revision: int) -> bool:
        return (authority_id == self.account_id and provenance in self.provenances
                and self.first <= revision and (self.last is None or revision <= self.last))


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapDeclaration:
    """Which name and publisher a snap-id stands for, and what the store lets it do."""

    series: str
    snap_id: str
    snap_name: str
    publisher_id: str
    refresh_control: tuple[str, ...]
    auto_aliases: tuple[str, ...]
    aliases: tuple[tuple[str, str], ...]  # alias and app
    rules: InterfaceRules
    revision_authorities: tuple[RevisionAuthority, ...]
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseDeclaration:
    """What interfaces may do where no snap-declaration says otherwise."""

    series: str
    rules: InterfaceRules
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """A dm-verity tree that goes with a package; sizes in bytes, digests in hexadecimal."""

    data_block_size: int
    hash_block_size: int
    digest: str
    salt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapRevision:
    """Which package file is which revision. `verity_root` is of those that run from a slot."""

    snap_sha3_384: str
    snap_id: str
    snap_revision: int
    snap_size: int
    developer_id: str
    provenance: str
    integrity: tuple[Integrity, ...]
    verity_root: str | None
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapBuild:
    """Who built a package file, and of which grade it is."""

    snap_sha3_384: str
    snap_id: str
    snap_size: int
    grade: str
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapResourceRevision:
    """Which component file is which revision of a snap's resource."""

    snap_id: str
    resource_name: str
    resource_sha3_384: str
    resource_revision: int
    resource_size: int
    developer_id: str
    provenance: str
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapResourcePair:
    """Which revision of a resource goes with which revision of its snap."""

    snap_id: str
    resource_name: str
    resource_revision: int
    snap_revision: int
    developer_id: str
    provenance: str
    timestamp: datetime
    assertion: Assertion


def snap_id(brand: str, name: str) -> str:
    """The id of a brand's own package: 32 letters and digits out of SHA-256 of `brand/name`."""
    number = int.from_bytes(hashlib.sha256(f"{brand}/{name}".encode()).digest(), "big")
    digits = []
    for _ in range(32):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    return "".join(digits)


def parse_snap_declaration(assertion: Assertion) -> SnapDeclaration:
    fields = check_type(assertion, "snap-declaration")
    fields.require("snap-name", "the snap's name, which may be empty")
    aliases = fields.maps("aliases")
    fields.once(aliases, "name")
    declaration = SnapDeclaration(
        series=fields.text("series"), snap_id=fields.text("snap-id"), snap_name=fields.optional("snap-name"),
        publisher_id=fields.text("publisher-id"), refresh_control=fields.texts("refresh-control"),
        auto_aliases=fields.texts("auto-aliases", form=ALIAS),
        aliases=tuple((entry.text("name", form=ALIAS), entry.text("target", form=APP)) for entry in aliases),
        rules=parse_rules(fields),
        revision_authorities=tuple(map(_revision_authority, fields.maps("revision-authority"))),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return declaration


def _revision_authority(fields: Fields) -> RevisionAuthority:
    provenances = fields.texts("provenance", form=_AUTHORITY_PROVENANCE)
    fields.require("provenance", "a list of provenances")
    first = fields.number("min-revision", least=1, default=1)
    last = fields.number("max-revision", least=1) if "max-revision" in fields else None
    if last is not None and last < first:
        fields.problem(f"{last} is less than min-revision, {first}", "max-revision",
                       rule=AssertionRules.DECLARATION_REVISION_AUTHORITY)
    return RevisionAuthority(account_id=fields.text("account-id", form=_AUTHORITY), provenances=provenances,
                             first=first, last=last, scope=parse_scope(fields))


def parse_base_declaration(assertion: Assertion) -> BaseDeclaration:
    fields = check_type(assertion, "base-declaration")
    declaration = BaseDeclaration(series=fields.text("series"), rules=parse_rules(fields),
                                  timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return declaration


def parse_snap_revision(assertion: Assertion) -> SnapRevision:
    fields = check_type(assertion, "snap-revision")
    revision = SnapRevision(
        snap_sha3_384=fields.text("snap-sha3-384", form=DIGEST), snap_id=fields.text("snap-id"),
        snap_revision=fields.number("snap-revision", least=1), snap_size=fields.size("snap-size"),
        developer_id=fields.text("developer-id"),
        provenance=fields.optional("provenance", default=GLOBAL_UPLOAD, form=PROVENANCE),
        integrity=tuple(map(_integrity, fields.maps("integrity"))),
        verity_root=fields.optional("verity-root", form=_VERITY_ROOT) or None,
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return revision


def _integrity(fields: Fields) -> Integrity:
    for name, only in (("type", "dm-verity"), ("version", "1"), ("hash-algorithm", "sha256")):
        if (value := fields.headers.get(name)) != only:
            fields.problem(f"{shown(value)} is not {only}, the only one supported", name,
                           rule=AssertionRules.REVISION_INTEGRITY)
    return Integrity(
        data_block_size=fields.size("data-block-size"),
        hash_block_size=fields.size("hash-block-size"),
        digest=fields.text("digest", form=_HEX), salt=fields.text("salt", form=_HEX))


_HEX = Form(re.compile(r"(?:[0-9a-fA-F]{2}){32}\Z"), HEX_SHA256.what, AssertionRules.DIGEST)


def parse_snap_build(assertion: Assertion) -> SnapBuild:
    fields = check_type(assertion, "snap-build")
    build = SnapBuild(
        snap_sha3_384=fields.text("snap-sha3-384", form=DIGEST), snap_id=fields.text("snap-id"),
        snap_size=fields.size("snap-size"), grade=fields.text("grade"),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return build


def parse_snap_resource_revision(assertion: Assertion) -> SnapResourceRevision:
    fields = check_type(assertion, "snap-resource-revision")
    revision = SnapResourceRevision(
        snap_id=fields.text("snap-id"), resource_name=fields.text("resource-name", form=SNAP_NAME),
        resource_sha3_384=fields.text("resource-sha3-384", form=DIGEST),
        resource_revision=fields.number("resource-revision", least=1),
        resource_size=fields.size("resource-size"), developer_id=fields.text("developer-id"),
        provenance=fields.optional("provenance", default=GLOBAL_UPLOAD, form=PROVENANCE),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return revision


def parse_snap_resource_pair(assertion: Assertion) -> SnapResourcePair:
    fields = check_type(assertion, "snap-resource-pair")
    pair = SnapResourcePair(
        snap_id=fields.text("snap-id"), resource_name=fields.text("resource-name", form=SNAP_NAME),
        resource_revision=fields.number("resource-revision", least=1),
        snap_revision=fields.number("snap-revision", least=1), developer_id=fields.text("developer-id"),
        provenance=fields.optional("provenance", default=GLOBAL_UPLOAD, form=PROVENANCE),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return pair
