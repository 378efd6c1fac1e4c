"""What a model says of its devices' updates and of their health: its header `x-imagekit`, which others leave alone.

    x-imagekit:
      updates:
        automatic: true | false      false: updates are told, and a person starts them
        windows: WINDOWS             Mon..Fri 22:00-04:00; Sun 00:00-24:00 (imagekit.plan.windows)
        urgent: at-once | wait       wait: an urgent update waits for a window too
        fixed: REASON                no owner may change the three above, because of this
      health:
        network: required            a slot on trial is kept only where it has a network (imagekit.device.network)

Each may be left out. It is signed as all of a model is, so that what an owner may decide cannot be changed by anybody
else than the brand (docs/decisions/0010-policy-in-the-model.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from imagekit.assertions import Model
from imagekit.assertions.headers import Header
from imagekit.errors import DocumentError
from imagekit.plan.windows import Window, parse_windows, windows_text

HEADER, UPDATES, HEALTH = "x-imagekit", "updates", "health"
AUTOMATIC, WINDOWS, URGENT, FIXED = "automatic", "windows", "urgent", "fixed"
NETWORK, REQUIRED = "network", "required"
KEYS = {UPDATES: (AUTOMATIC, WINDOWS, URGENT, FIXED), HEALTH: (NETWORK,)}
REASON_MOST = 200  # characters


class Urgent(StrEnum):
    """What an update of class urgent does about windows."""

    AT_ONCE = "at-once"
    WAIT = "wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How a device takes updates; this is the default: by itself, at any time.

    `automatic` False: updates are looked for and told, and installed only when a person says so.
    """

    automatic: bool = True
    windows: tuple[Window, ...] = ()
    urgent: Urgent = Urgent.AT_ONCE


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPolicy:
    """`fixed`: why no owner may change the policy; empty where he may.

    `needs_network`: an update without a network is taken back.
    """

    policy: Policy = field(default_factory=Policy)
    fixed: str = ""
    needs_network: bool = False


def model_policy(model: Model) -> ModelPolicy:
    """The policy of a model; the default one where it has none. Raises: DocumentError: with all that is wrong."""
    header = model.assertion.headers.get(HEADER)
    problems: list[str] = []
    found = _parts(header, problems)
    made = ModelPolicy(
        policy=Policy(automatic=_choice(found, UPDATES, AUTOMATIC, ("true", "false"), problems) != "false",
                      windows=_windows(found, problems),
                      urgent=Urgent(_choice(found, UPDATES, URGENT, tuple(Urgent), problems) or Urgent.AT_ONCE)),
        fixed=_reason(found, problems),
        needs_network=_choice(found, HEALTH, NETWORK, (REQUIRED,), problems) == REQUIRED)
    if problems:
        raise DocumentError(f"cannot use {model.assertion.label}: {HEADER}: {problems[0]}", details=tuple(problems[1:]))
    return made


def model_policy_text(told: ModelPolicy) -> str:
    """All that a model says of these things, in a few words for people."""
    return (f"updates {policy_text(told.policy)}" + (f"; fixed: {told.fixed}" if told.fixed else "")
            + ("; kept only with a network" if told.needs_network else ""))


def policy_text(policy: Policy) -> str:
    """A few words for people."""
    if not policy.automatic:
        return "by hand: they are told, and a person starts them"
    if not policy.windows:
        return "by themselves, at any time"
    urgent = "urgent ones at once" if policy.urgent is Urgent.AT_ONCE else "urgent ones too"
    return f"by themselves, {windows_text(policy.windows)}, {urgent}"


Parts = Mapping[str, Mapping[str, Header]]


def _parts(header: Header | None, problems: list[str]) -> Parts:
    """The parts that there are, each a map; what else is said is a problem."""
    if header is None:
        return {}
    if not isinstance(header, Mapping):
        problems.append("it is no map")
        return {}
    problems += [f"{name}: not known here, only {' and '.join(KEYS)} are" for name in header if name not in KEYS]
    parts: dict[str, Mapping[str, Header]] = {}
    for part, keys in KEYS.items():
        found = header.get(part, {})
        if not isinstance(found, Mapping):
            problems.append(f"{part}: it is no map")
            continue
        known = f"{', '.join(keys)} are" if len(keys) > 1 else f"only {keys[0]} is"
        problems += [f"{part}.{name}: not known here, {known}" for name in found if name not in keys]
        parts[part] = found
    return parts


def _text(parts: Parts, part: str, key: str, problems: list[str]) -> str:
    found = parts.get(part, {})
    value = found.get(key, "")
    if isinstance(value, str) and (value or key not in found):
        return value
    problems.append(f"{part}.{key}: it is no text")
    return ""


def _choice(parts: Parts, part: str, key: str, allowed: tuple[str, ...], problems: list[str]) -> str:
    value = _text(parts, part, key, problems)
    if not value or value in allowed:
        return value
    problems.append(f"{part}.{key}: {value!r} is none of {', '.join(allowed)}" if len(allowed) > 1 else
                    f"{part}.{key}: {value!r} is not {allowed[0]}")
    return ""


def _windows(parts: Parts, problems: list[str]) -> tuple[Window, ...]:
    try:
        return parse_windows(_text(parts, UPDATES, WINDOWS, problems))
    except DocumentError as error:
        problems.append(f"{UPDATES}.{WINDOWS}: {error.message}")
        return ()


def _reason(parts: Parts, problems: list[str]) -> str:
    value = _text(parts, UPDATES, FIXED, problems)
    if len(value) <= REASON_MOST and "\n" not in value:
        return value
    problems.append(f"{UPDATES}.{FIXED}: a reason has one line of {REASON_MOST} characters at most")
    return ""
