"""Assertions that publishers and stores exchange: who develops a snap, and which revisions of others it has tried.

Source: snapd's asserts/snap_asserts.go.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from imagekit.assertions.fields import ACCOUNT_ID, Fields, check_type
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.wire import Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """The publisher of a snap has tried a revision of another; `revoked` takes that back."""

    series: str
    snap_id: str
    approved_snap_id: str
    approved_snap_revision: int
    revoked: bool
    timestamp: datetime
    assertion: Assertion


@dataclass(frozen=True, slots=True, kw_only=True)
class Developer:
    """Somebody who develops a snap for its publisher; where `until` is `since`, never."""

    developer_id: str
    since: datetime
    until: datetime | None

    @property
    def revoked(self) -> bool:
        return self.until == self.since


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapDeveloper:
    """Who develops a snap besides its publisher."""

    snap_id: str
    publisher_id: str
    developers: tuple[Developer, ...]
    assertion: Assertion


def parse_validation(assertion: Assertion) -> Validation:
    fields = check_type(assertion, "validation")
    validation = Validation(
        series=fields.text("series"), snap_id=fields.text("snap-id"), approved_snap_id=fields.text("approved-snap-id"),
        approved_snap_revision=fields.number("approved-snap-revision", least=1), revoked=fields.flag("revoked"),
        timestamp=fields.time("timestamp"), assertion=assertion)
    fields.finish()
    return validation


def parse_snap_developer(assertion: Assertion) -> SnapDeveloper:
    fields = check_type(assertion, "snap-developer")
    entries = fields.maps("developers")
    developers = tuple(map(_developer, entries))
    periods = Counter(developer.developer_id for developer in developers)
    for entry, developer in zip(entries, developers, strict=True):
        if developer.revoked and periods[developer.developer_id] > 1:
            entry.problem(f"revokes {developer.developer_id!r}, who has other periods, none is allowed then", "until",
                          rule=AssertionRules.DEVELOPER_REVOKED)
    found = SnapDeveloper(snap_id=fields.text("snap-id"), publisher_id=fields.text("publisher-id"),
                          developers=developers, assertion=assertion)
    fields.finish()
    return found


def _developer(entry: Fields) -> Developer:
    since, until = entry.time("since"), entry.time_or_none("until")
    if until is not None and until < since:
        entry.problem("ends before it begins with 'since'", "until", rule=AssertionRules.PERIOD)
    return Developer(developer_id=entry.text("developer-id", form=ACCOUNT_ID), since=since, until=until)
