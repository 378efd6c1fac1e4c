"""What of its model may change under a device, and what may not."""

from __future__ import annotations

import pytest

from imagekit.assertions import Header, Model, parse_model
from imagekit.errors import DocumentError, PlanError
from imagekit.plan.model_update import changed_headers, check_change, is_of, name_of
from imagekit.testing.documents import Brand

BRAND = Brand("acme")


def snaps(*more: dict[str, Header], **named: str) -> tuple[dict[str, Header], ...]:
    names = {"gadget": "pc", "kernel": "pc-kernel", "base": "debian-13"} | named
    return (*(BRAND.snap(name, kind) for kind, name in names.items()), *more)


def model(**headers: Header) -> Model:
    return parse_model(BRAND.model(**({"store": "acme-store", "revision": "1"} | headers)))


OLD = model(snaps=snaps(BRAND.snap("app", "app"), BRAND.snap("extra", "app", presence="optional")))
APP = BRAND.snap("app", "app")

MAY = {
    "policy": {"x-imagekit": {"updates": {"automatic": "false"}}},
    "validation sets": {"validation-sets": ({"account-id": "acme", "name": "tested", "mode": "enforce"},)},
    "channel": {"snaps": (*(BRAND.snap(name, kind) | {"default-channel": "latest/edge"} for name, kind in (
        ("pc", "gadget"), ("pc-kernel", "kernel"), ("debian-13", "base"))), APP)},
    "a package less": {"snaps": snaps()},
    "a package that may be left out": {"snaps": snaps(APP, BRAND.snap("fresh", "app", presence="optional"))},
    "who signs serials": {"serial-authority": ("globex",)},
    "name for people": {"display-name": "The Box"},
}


@pytest.mark.parametrize("headers", MAY.values(), ids=[name.replace(" ", "-") for name in MAY])
def test_what_says_how_a_device_is_updated_may_change(headers: dict[str, Header]) -> None:
    check_change(OLD, model(**({"snaps": snaps(APP), "revision": "2"} | headers)))


MAY_NOT = {
    "architecture": ({"architecture": "arm64"}, "architecture: it changes from amd64 to arm64"),
    "grade": ({"grade": "dangerous"}, "grade: it falls from signed to dangerous"),
    "kernel": ({"snaps": snaps(APP, kernel="other-kernel")}, "kernel: it changes from pc-kernel .* to other-kernel"),
    "gadget": ({"snaps": snaps(APP, gadget="pi")}, "gadget: it changes from pc .* to pi"),
    "base": ({"base": "debian-14", "snaps": snaps(APP, base="debian-14")}, "base: it changes from debian-13"),
    "another publisher's kernel": ({"snaps": (*snaps(APP)[:1], Brand("globex").snap("pc-kernel", "kernel"),
                                              *snaps(APP)[2:])}, "kernel: it changes from pc-kernel .* to pc-kernel"),
    "no store": ({"store": ()}, "store: it changes from acme-store to none"),
    "another store": ({"store": "globex"}, "store: it changes from acme-store to globex"),
    "storage": ({"storage-safety": "prefer-unencrypted"}, "storage-safety: it changes from prefer-encrypted"),
    "encrypted storage": ({"storage-safety": "encrypted"}, "demands what images do not have: storage-safety"),
    "secured": ({"grade": "secured", "storage-safety": "encrypted"}, "demands what images do not have: grade"),
    "a new package": ({"snaps": snaps(APP, BRAND.snap("fresh", "app"))}, "app fresh becomes required"),
    "a package that could be left out": ({"snaps": snaps(APP, BRAND.snap("extra", "app"))}, "extra becomes required"),
}


@pytest.mark.parametrize(("headers", "match"), MAY_NOT.values(), ids=[name.replace(" ", "-") for name in MAY_NOT])
def test_what_a_device_is_and_what_keeps_it_safe_may_not(headers: dict[str, Header], match: str) -> None:
    with pytest.raises(PlanError, match=match):
        check_change(OLD, model(**({"snaps": snaps(APP), "revision": "2"} | headers)))


def test_all_reasons_are_told() -> None:
    with pytest.raises(PlanError, match="cannot take revision 2 of model acme/pc: architecture") as refused:
        check_change(OLD, model(architecture="arm64", grade="dangerous", revision="2"))
    assert refused.value.details == ("grade: it falls from signed to dangerous",)


def test_policy_that_is_none_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"x-imagekit: updates\.urgent"):
        check_change(OLD, model(**{"x-imagekit": {"updates": {"urgent": "never"}}, "snaps": snaps(APP)}))


def test_grade_may_rise() -> None:
    check_change(model(grade="dangerous"), model(revision="2"))


def test_changes_are_named_without_those_that_every_revision_makes() -> None:
    other = model(revision="2", timestamp="2026-02-01T00:00:00Z", store=(), **{"display-name": "Box"})
    assert changed_headers(model(), other) == ("display-name", "store")
    assert changed_headers(model(), model(revision="7")) == ()


def test_another_model_is_not_this_one_in_another_revision() -> None:
    assert is_of(model(revision="9").assertion, OLD)
    assert not is_of(Brand("acme").model(model="pi"), OLD)
    assert not is_of(Brand("globex").model(), OLD)
    assert not is_of(BRAND.account, OLD)
    assert name_of(OLD) == "acme/pc"
