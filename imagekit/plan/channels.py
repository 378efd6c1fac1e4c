"""Names of channels, as the field writes them: `TRACK/RISK/BRANCH`, for example `latest/stable`.

Decides how a channel is written and which one is looked at where a channel has nothing: a branch falls back to its
risk, a risk to the next steadier one of its track. A branch called `security` is special: only security fixes go into
it, so that an owner who wants no new features can follow it (docs/reference/store.md, "Channels").
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from imagekit.errors import DocumentError

DEFAULT_TRACK = "latest"
SECURITY_BRANCH = "security"
_WORD = re.compile(r"[a-zA-Z0-9](?:[-._]?[a-zA-Z0-9]){0,39}\Z")


class Risk(StrEnum):
    """How much a channel dares; the steadiest first."""

    STABLE = "stable"
    CANDIDATE = "candidate"
    BETA = "beta"
    EDGE = "edge"


RISKS = tuple(Risk)


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One channel of a package."""

    track: str
    risk: Risk
    branch: str | None = None

    def __str__(self) -> str:
        return "/".join((self.track, self.risk.value, *([self.branch] if self.branch else [])))

    @property
    def security_only(self) -> bool:
        """Whether features are kept out of it."""
        return self.branch == SECURITY_BRANCH

    @property
    def followed(self) -> tuple[Channel, ...]:
        """Itself, and where a device looks when nothing is released there, in that order."""
        steadier = [Channel(track=self.track, risk=risk) for risk in reversed(RISKS[:RISKS.index(self.risk) + 1])]
        return (self, *steadier) if self.branch else tuple(steadier)


def parse_channel(text: str) -> Channel:
    """Read `RISK`, `TRACK`, `TRACK/RISK` or `TRACK/RISK/BRANCH`, also `RISK/BRANCH`; what is left out is `latest` and
    `stable`.

    Raises:
        DocumentError: none of these.
    """
    words = text.split("/")
    if words[0] in RISKS:
        words.insert(0, DEFAULT_TRACK)
    track, risk, branch = (*words, *([None] * 3))[:3]
    if len(words) > 3 or not all(_WORD.match(word) for word in words) or (risk is not None and risk not in RISKS):
        raise DocumentError(f"cannot read channel {text!r}: TRACK/RISK or TRACK/RISK/BRANCH is needed, with a risk of"
                            f" {', '.join(RISKS)}")
    return Channel(track=track or DEFAULT_TRACK, risk=Risk(risk or Risk.STABLE), branch=branch)
