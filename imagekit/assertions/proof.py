"""What proving an assertion gives: the chain that leads to it, or the reason why it is not believed.

The reasons carry their `cause` apart from the assertion that was asked about, so that what fails for a thousand
assertions at once can be told once.
"""

from __future__ import annotations

from dataclasses import dataclass

from imagekit.assertions.accounts import AccountKey, parse_account_key
from imagekit.assertions.wire import Assertion
from imagekit.errors import TrustError


class Disbelief(TrustError):
    """An assertion that is not believed. `label` says which, `cause` why."""

    def __init__(self, label: str, cause: str, *, hint: str | None = None, verb: str = "believe") -> None:
        super().__init__(f"cannot {verb} {label}: {cause}", hint=hint)
        self.label = label
        self.cause = cause


class UnknownKey(Disbelief):
    """Nothing at hand has the key that signed, so that the signature cannot even be checked."""


class AuthorityUnproven(Disbelief):
    """The signature is valid, but no trusted root vouches for the key that made it."""


class OutOfTime(Disbelief):
    """The key is not in force. `counts`: it is an account-key that a root truly signed, and ends older revisions."""

    def __init__(self, label: str, cause: str, *, hint: str | None = None, counts: bool) -> None:
        super().__init__(label, cause, hint=hint, verb="verify")
        self.counts = counts


class Replaced(Disbelief):
    """A newer revision of the same name is believed. `ended`: it is an account-key that ends the key."""

    def __init__(self, label: str, cause: str, *, ended: bool) -> None:
        super().__init__(label, cause)
        self.ended = ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One assertion of a chain, and the key that signed it; None is a request's own key, which nobody vouches for."""

    assertion: Assertion
    signer: AccountKey | None

    @property
    def account_key(self) -> AccountKey | None:
        """The key that this link brings, if it is an account-key."""
        return parse_account_key(self.assertion) if self.assertion.type == "account-key" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """From the trusted root (first) to what was verified (last); each link's key is brought by the one before it.

    `evidence` is all else that the proof took: accounts, declarations, models, and their own keys. Whoever verifies
    the assertion elsewhere, with nothing but the same root, needs both.
    """

    links: tuple[Link, ...]
    evidence: tuple[Assertion, ...]

    @property
    def accounts(self) -> tuple[Assertion, ...]:
        """The accounts of everybody who speaks in it, as far as they are at hand."""
        return tuple(item for item in self.evidence if item.type == "account")

    @property
    def keys(self) -> tuple[AccountKey, ...]:
        """All keys that the proof takes, the root's first."""
        leading = [key for link in self.links if (key := link.account_key) is not None]
        return (*leading, *(parse_account_key(item) for item in self.evidence if item.type == "account-key"))

    @property
    def assertions(self) -> tuple[Assertion, ...]:
        """All that a reader needs, what was verified last."""
        return (*self.evidence, *(link.assertion for link in self.links))
