"""What a model says of its devices' updates: its header `x-imagekit`, which other readers leave alone.

    x-imagekit:
      updates:
        automatic: true | false      false: updates are told, and a person starts them
        windows: WINDOWS             Mon..Fri 22:00-04:00; Sun 00:00-24:00 (imagekit.plan.windows)
        urgent: at-once | wait       wait: an urgent update waits for a window too
        fixed: REASON                no owner may change the three above, because of this

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

HEADER, PART = "x-imagekit", "updates"
AUTOMATIC, WINDOWS, URGENT, FIXED = "automatic", "windows", "urgent", "fixed"
KEYS = (AUTOMATIC, WINDOWS, URGENT, FIXED)
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
    """`fixed`: why no owner may change the policy; empty where he may."""

    policy: Policy = field(default_factory=Policy)
    fixed: str = ""


def model_policy(model: Model) -> ModelPolicy:
    """The policy of a model; the default one where it has none. Raises: DocumentError: with all that is wrong."""
    header = model.assertion.headers.get(HEADER)
    problems: list[str] = []
    found = _updates(header, problems)
    made = ModelPolicy(
        policy=Policy(automatic=_choice(found, AUTOMATIC, ("true", "false"), problems) != "false",
                      windows=_windows(found, problems),
                      urgent=Urgent(_choice(found, URGENT, tuple(Urgent), problems) or Urgent.AT_ONCE)),
        fixed=_reason(found, problems))
    if problems:
        raise DocumentError(f"cannot use {model.assertion.label}: {HEADER}: {problems[0]}", details=tuple(problems[1:]))
    return made


def policy_text(policy: Policy) -> str:
    """A few words for people."""
    if not policy.automatic:
        return "by hand: they are told, and a person starts them"
    if not policy.windows:
        return "by themselves, at any time"
    urgent = "urgent ones at once" if policy.urgent is Urgent.AT_ONCE else "urgent ones too"
    return f"by themselves, {windows_text(policy.windows)}, {urgent}"


def _updates(header: Header | None, problems: list[str]) -> Mapping[str, Header]:
    if header is None:
        return {}
    if not isinstance(header, Mapping):
        problems.append("it is no map")
        return {}
    problems += [f"{name}: not known here, only {PART} is" for name in header if name != PART]
    found = header.get(PART, {})
    if not isinstance(found, Mapping):
        problems.append(f"{PART}: it is no map")
        return {}
    problems += [f"{PART}.{name}: not known here, {', '.join(KEYS)} are" for name in found if name not in KEYS]
    return found


def _text(found: Mapping[str, Header], key: str, problems: list[str]) -> str:
    value = found.get(key, "")
    if isinstance(value, str) and (value or key not in found):
        return value
    problems.append(f"{PART}.{key}: it is no text")
    return ""


def _choice(found: Mapping[str, Header], key: str, allowed: tuple[str, ...], problems: list[str]) -> str:
    value = _text(found, key, problems)
    if not value or value in allowed:
        return value
    problems.append(f"{PART}.{key}: {value!r} is none of {', '.join(allowed)}")
    return ""


def _windows(found: Mapping[str, Header], problems: list[str]) -> tuple[Window, ...]:
    try:
        return parse_windows(_text(found, WINDOWS, problems))
    except DocumentError as error:
        problems.append(f"{PART}.{WINDOWS}: {error.message}")
        return ()


def _reason(found: Mapping[str, Header], problems: list[str]) -> str:
    value = _text(found, FIXED, problems)
    if len(value) <= REASON_MOST and "\n" not in value:
        return value
    problems.append(f"{PART}.{FIXED}: a reason has one line of {REASON_MOST} characters at most")
    return ""
