"""What a model says of its devices' updates."""

from __future__ import annotations

import pytest

from imagekit.assertions import Header, Model, parse_model
from imagekit.errors import DocumentError
from imagekit.plan.demands import demands_of
from imagekit.plan.policy import ModelPolicy, model_policy, policy_text
from imagekit.plan.schedule import Policy, Urgent
from imagekit.plan.windows import parse_windows
from imagekit.testing.documents import Brand


def model(header: Header | None) -> Model:
    brand = Brand("acme")
    headers: dict[str, Header] = {} if header is None else {"x-imagekit": header}
    return parse_model(brand.model(**headers))


def test_model_without_a_policy_has_the_default_one() -> None:
    assert model_policy(model(None)) == ModelPolicy(policy=Policy(), fixed="")


def test_policy_is_read_and_told() -> None:
    found = model({"updates": {"automatic": "true", "windows": "Mon..Fri 22:00-04:00", "urgent": "wait",
                               "fixed": "it runs a lift"}})
    assert model_policy(found) == ModelPolicy(fixed="it runs a lift", policy=Policy(
        windows=parse_windows("Mon..Fri 22:00-04:00"), urgent=Urgent.WAIT))
    assert demands_of(found).built[-1] == ("x-imagekit: updates by themselves, Mon,Tue,Wed,Thu,Fri 22:00-04:00, urgent"
                                           " ones too; fixed: it runs a lift")


def test_demand_for_a_network_is_read_and_told() -> None:
    found = model({"health": {"network": "required"}})
    assert model_policy(found) == ModelPolicy(needs_network=True)
    assert not model_policy(model({"health": {}})).needs_network
    assert demands_of(found).built[-1] == "x-imagekit: updates by themselves, at any time; kept only with a network"


@pytest.mark.parametrize(("policy", "text"), [
    (Policy(), "by themselves, at any time"),
    (Policy(automatic=False), "by hand: they are told, and a person starts them"),
    (Policy(windows=parse_windows("02:00-04:00")), "by themselves, 02:00-04:00, urgent ones at once")])
def test_policy_in_words(policy: Policy, text: str) -> None:
    assert policy_text(policy) == text


WRONG: dict[str, tuple[Header, str]] = {
    "no map": ("always", "it is no map"),
    "another part": ({"update": {"automatic": "true"}}, "update: not known here, only updates and health are"),
    "no map of updates": ({"updates": "on"}, "updates: it is no map"),
    "another key": ({"updates": {"window": "02:00-04:00"}}, r"updates\.window: not known here"),
    "neither true nor false": ({"updates": {"automatic": "yes"}}, r"updates\.automatic: 'yes' is none of true, false"),
    "no window": ({"updates": {"windows": "at night"}}, r"updates\.windows: cannot read window 'at night'"),
    "windows in a list": ({"updates": {"windows": ("02:00-04:00",)}}, r"updates\.windows: it is no text"),
    "no word about urgent ones": ({"updates": {"urgent": "soon"}}, r"updates\.urgent: 'soon' is none of at-once, wait"),
    "an empty reason": ({"updates": {"fixed": ""}}, r"updates\.fixed: it is no text"),
    "health in a text": ({"health": "network"}, "health: it is no map"),
    "another demand": ({"health": {"store": "required"}}, r"health\.store: not known here, only network is"),
    "a network half demanded": ({"health": {"network": "true"}}, r"health\.network: 'true' is not required"),
    "a long reason": ({"updates": {"fixed": "x" * 201}}, r"updates\.fixed: a reason has one line"),
}


@pytest.mark.parametrize("name", WRONG)
def test_policy_that_is_none_is_refused(name: str) -> None:
    header, match = WRONG[name]
    with pytest.raises(DocumentError, match=match):
        demands_of(model(header))


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(DocumentError) as caught:
        model_policy(model({"updates": {"automatic": "no", "urgent": "soon", "window": "x"}}))
    assert len(caught.value.details) == 2
