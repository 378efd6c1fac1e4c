"""In which order a store's files go to where devices fetch them, and how long each may be kept on the way.

The order is the only safe one: targets, then metadata that has its version in its name, then what clients begin with.
`timestamp.json` comes last, but for roots that a client needs only afterwards: a root whose keys the new timestamp
satisfies already under the root before it. So a client that comes in the middle finds the old store or the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

TIMESTAMP = "metadata/timestamp.json"
FOREVER = "public, max-age=31536000, immutable"
TIMESTAMP_MAX_AGE_S = 60
SHORT = f"public, max-age={TIMESTAMP_MAX_AGE_S}, must-revalidate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One file to be put. `replaces`: there is another under that name."""

    name: str
    size: int
    cache_control: str
    content_type: str
    replaces: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadPlan:
    """What goes up, in this order, and what is there already."""

    uploads: tuple[Upload, ...]
    there: int

    @property
    def size(self) -> int:
        return sum(item.size for item in self.uploads)


def cache_control(name: str) -> str:
    """The Cache-Control of a file: for ever for all that never changes under its name, a minute for the timestamp."""
    return SHORT if name == TIMESTAMP else FOREVER


def content_type(name: str) -> str:
    """The Content-Type of a file."""
    if name.endswith(".json"):
        return "application/json"
    if name.endswith(".assert"):
        return "application/x.ubuntu.assertion"
    return "application/zstd" if name.endswith(".zst") else "application/octet-stream"


def plan_upload(files: Mapping[str, int], there: Iterable[str], changed: Iterable[str], *,
                late_roots: Iterable[str] = ()) -> UploadPlan:
    """Put all of `files` (name and size) that are not `there` as they shall be; `changed` are there and differ.

    `late_roots` are the roots that go up after the timestamp.
    """
    kept, differ, late = set(there), set(changed), set(late_roots)
    order = sorted((name for name in files if name not in kept), key=lambda name: (_phase(name, late), _number(name)))
    return UploadPlan(
        uploads=tuple(Upload(name=name, size=files[name], cache_control=cache_control(name),
                             content_type=content_type(name), replaces=name in differ) for name in order),
        there=len(kept & set(files)))


def _phase(name: str, late: set[str]) -> int:
    if name.startswith("targets/"):
        return 0
    if name == TIMESTAMP:
        return 3
    if name.endswith(".root.json"):
        return 4 if name in late else 2
    return 1


def _number(name: str) -> tuple[int, str]:
    """Roots by their number, all else by name."""
    head = name.rpartition("/")[2].partition(".")[0]
    return (int(head), name) if name.endswith(".root.json") and head.isdecimal() else (0, name)
