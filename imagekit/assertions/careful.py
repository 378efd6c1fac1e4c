"""What is signed here is held to more than what is read: ids of the right form, and words that mean something.

The field's readers take nearly any text as an id or architecture, and so do ours, since what others have signed must
come in. A statement of our own with a mistyped id would be signed, shipped, and mean nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from imagekit.assertions.accounts import Validation
from imagekit.assertions.fields import ACCOUNT_ID, SNAP_ID, SNAP_NAME, Fields, Form
from imagekit.assertions.headers import shown
from imagekit.assertions.interfaces import parse_rules
from imagekit.assertions.model import ARCHITECTURES
from imagekit.assertions.rulebook import AssertionRules
from imagekit.assertions.snaps import SERIES
from imagekit.assertions.wire import Assertion
from imagekit.schema import near

_FORMS: Mapping[str, Form] = MappingProxyType({
    "account-id": ACCOUNT_ID, "brand-id": ACCOUNT_ID, "publisher-id": ACCOUNT_ID, "developer-id": ACCOUNT_ID,
    "operator-id": ACCOUNT_ID, "snap-id": SNAP_ID, "snap-name": SNAP_NAME,
})
_ALSO_CALLED = MappingProxyType({"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armv7l": "armhf",
                                 "armv7": "armhf", "i686": "i386", "x86": "i386"})


def check_careful(assertion: Assertion) -> None:
    """Raises: DocumentProblems: it would be read, and should not be signed."""
    fields = Fields(assertion.headers, assertion=assertion)
    for name, form in _FORMS.items():
        if name in fields:
            fields.text(name, form=form)
    series = fields.headers.get("series")
    if isinstance(series, str) and series != SERIES:
        fields.problem(f"{shown(series)} is not {SERIES!r}, the only series", "series", rule=AssertionRules.SERIES)
    if assertion.type == "account":
        fields.choice("validation", Validation, default=Validation.UNPROVEN, rule=AssertionRules.ACCOUNT_VALIDATION)
    if assertion.type == "model":
        _check_architecture(fields)
    if assertion.format < (least := least_format(assertion)):
        fields.problem(f"{assertion.format} is lower than what is said needs, {least}", "format",
                       rule=AssertionRules.FORMAT_LEAST)
    fields.finish()


def least_format(assertion: Assertion) -> int:
    """The lowest format whose readers understand all that an assertion says."""
    headers = assertion.headers
    if assertion.type == "account-key":
        return int("constraints" in headers)
    if assertion.type == "system-user":
        return 2 if headers.get("user-presence") else int("serials" in headers)
    if assertion.type == "snap-declaration":
        return parse_rules(Fields(headers, assertion=assertion)).least_format
    return 0


def _check_architecture(fields: Fields) -> None:
    word = fields.headers.get("architecture")
    if isinstance(word, str) and word and word not in ARCHITECTURES:
        meant = f", did you mean {_ALSO_CALLED[word]!r}?" if word in _ALSO_CALLED else near(word, ARCHITECTURES)
        fields.problem(f"{shown(word)} is not one of {', '.join(ARCHITECTURES)}{meant}",
                       "architecture", rule=AssertionRules.MODEL_ARCHITECTURE)
