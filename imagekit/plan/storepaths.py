"""Where things lie in a store, as names of TUF targets; shared by the store, which signs them, and devices.

A name never changes its meaning and never moves, whoever publishes the package (docs/reference/store.md, "Names"). With
consistent snapshots the file of the target `a/b` is `targets/a/SHA256.b`, so that each content has a name of its own.

    channels/NAME.json                      the channel map
    packages/NAME/NAME_REVISION.snap.zst    a package, compressed; NAME_REVISION.snap of a squashfs
    assertions/NAME/NAME_REVISION.assert    what proves it, with all keys and accounts down to the root of trust
    deltas/NAME/NAME_FROM_TO.delta          what makes revision TO out of revision FROM
    sets/ACCOUNT/NAME_SEQUENCE.assert       a validation set; NAME.assert is the newest of its name
    accounts/ACCOUNT.assert                 an account and its keys, so that devices learn of those that were ended
    stores/STORE.assert                     where the store is from now on, so that devices ask there
    models/BRAND/MODEL.assert               the newest revision of a model, which its devices go by from then on

A publisher signs for package names, each a whole name or a beginning with `*` behind it; its delegation has exactly the
names above for them, and those of its own sets. The role that delegates to publishers signs all others: accounts,
stores and models.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from imagekit.errors import UsageError
from imagekit.plan.channelmap import Compression

METADATA, TARGETS = "metadata", "targets"  # the folders of a store
ROLE_PREFIX = "publisher-"  # so that no account is called `root` or `snapshot` to TUF
_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,39}\*?\Z")
_PACKAGE = re.compile(r"packages/[^/]+/(?P<name>[a-z0-9-]+)_(?P<revision>[1-9][0-9]*)\.snap(?:\.zst)?\Z")
_DELTA = re.compile(r"deltas/[^/]+/(?P<name>[a-z0-9-]+)_(?P<source>[1-9][0-9]*)_(?P<target>[1-9][0-9]*)\.delta\Z")
_ASSERTIONS = re.compile(r"assertions/[^/]+/(?P<name>[a-z0-9-]+)_(?P<revision>[1-9][0-9]*)\.assert\Z")


def channels_path(name: str) -> str:
    return f"channels/{name}.json"


def package_path(name: str, revision: int, compression: Compression) -> str:
    return f"packages/{name}/{name}_{revision}.snap{'.zst' if compression is Compression.ZSTD else ''}"


def assertions_path(name: str, revision: int) -> str:
    return f"assertions/{name}/{name}_{revision}.assert"


def delta_path(name: str, source: int, target: int) -> str:
    return f"deltas/{name}/{name}_{source}_{target}.delta"


def set_path(account_id: str, name: str, sequence: int | None = None) -> str:
    """A validation set; the newest of its name without a sequence."""
    return f"sets/{account_id}/{name}{'' if sequence is None else f'_{sequence}'}.assert"


def account_path(account_id: str) -> str:
    return f"accounts/{account_id}.assert"


def store_path(store_id: str) -> str:
    return f"stores/{store_id}.assert"


def model_path(brand_id: str, model: str) -> str:
    return f"models/{brand_id}/{model}.assert"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Which package a target belongs to. `revision` is None for the channel map; `source` is of deltas alone."""

    name: str
    revision: int | None = None
    source: int | None = None


def subject_of(path: str) -> Subject | None:
    """What a target's name says; None for sets, accounts, stores and models."""
    if found := _PACKAGE.match(path) or _ASSERTIONS.match(path):
        return Subject(name=found["name"], revision=int(found["revision"]))
    if found := _DELTA.match(path):
        return Subject(name=found["name"], revision=int(found["target"]), source=int(found["source"]))
    if path.startswith("channels/"):
        return Subject(name=path.removeprefix("channels/").removesuffix(".json"))
    return None


def stored_name(path: str, sha256: str) -> str:
    """The file of a target below `targets/` (TUF specification 6.2.3, consistent snapshots)."""
    folder, _, name = path.rpartition("/")
    return f"{folder}/{sha256}.{name}" if folder else f"{sha256}.{name}"


def role_of(account_id: str) -> str:
    """The TUF role of a publisher."""
    return ROLE_PREFIX + account_id


def check_pattern(pattern: str) -> str:
    """Raises: UsageError: neither a package name nor the beginning of one with `*` behind it."""
    if not _PATTERN.match(pattern):
        raise UsageError(f"cannot use {pattern!r}: a package name, or its beginning with a * behind it, is needed")
    return pattern


def overlap(one: str, other: str) -> bool:
    """Whether a package name could fit both patterns."""
    first, second = one.removesuffix("*"), other.removesuffix("*")
    if "*" in one and "*" in other:
        return first.startswith(second) or second.startswith(first)
    if "*" in one:
        return other.startswith(first)
    return one.startswith(second) if "*" in other else one == other


def fits(name: str, pattern: str) -> bool:
    """Whether a package name is meant by a pattern."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def delegated_paths(account_id: str, patterns: tuple[str, ...]) -> list[str]:
    """The path patterns of a publisher's delegation."""
    found = [f"sets/{account_id}/*"]
    for pattern in patterns:
        found += [f"channels/{pattern}.json", f"packages/{pattern}/*", f"assertions/{pattern}/*", f"deltas/{pattern}/*"]
    return sorted(found)


def patterns_of(paths: list[str]) -> tuple[str, ...]:
    """The package patterns of a delegation."""
    return tuple(sorted(path.removeprefix("channels/").removesuffix(".json") for path in paths
                        if path.startswith("channels/")))
