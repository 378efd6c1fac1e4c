"""What a device remembers of its updates, on the data partition: what was healthy, what failed, what is under way.

Decides the file `updates/state.json` below /var/lib/imagekit, how it is replaced (whole, or not at all), and what a
verdict makes of an update that is under way. It is memory, not truth: what runs is said by the slots, and a device
whose data is lost goes on without. Grammar: docs/reference/updates.md.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from imagekit.device.machine import Machine
from imagekit.errors import DocumentError, TargetError
from imagekit.host.files import clear_place
from imagekit.units import MIB

FORMAT = 1
FOLDER = "lib/imagekit/updates"
STATE, KEYS, MODEL = "state.json", "keys.assert", "model.assert"
MEMORY = "memory"  # its lock is held while the file is replaced, and no longer
CHANGES_MOST, FAILED_MOST = 50, 20
KEPT_MOST = 16 * MIB  # bytes of a file in the folder; ours stay far below that
ADVISORIES_MOST, ADVISORY_MOST = 5, 1000  # of one update; characters that are kept of each

Packages = tuple[tuple[str, int], ...]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A pair that did not become healthy, or a gadget beside the pair that ran when it was refused."""

    packages: Packages
    reason: str
    time: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """What a publisher says of one revision on the way."""

    name: str
    revision: int
    update_class: str
    text: str

    @property
    def lines(self) -> tuple[str, ...]:
        """For people."""
        first, *rest = self.text.splitlines() or [""]
        return (f"{self.name} {self.revision}, {self.update_class}: {first}", *(f"  {line}" for line in rest))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """An update under way. `trial`: the slot was opened to the loader. Roots are what the slot boots with.

    `update_class` and `advisories` are the store's word; what came on a stick has none.
    """

    slot: str
    packages: Packages
    base_root: str
    kernel_root: str
    trial: bool
    time: str
    reasons: tuple[str, ...] = ()
    update_class: str = ""
    advisories: tuple[Advisory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An update that the store has, and that may not begin yet: `why` is the verdict of `imagekit.plan.schedule`.

    `since`: when it was first found; `until`: when it may begin, empty where no time says so.
    """

    packages: Packages
    update_class: str
    since: str
    why: str
    until: str = ""
    advisories: tuple[Advisory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFloor:
    """The newest model that was taken here: nothing older is, and of its revision no other. `sha3_384`: its digest."""

    revision: int
    sha3_384: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing that was done, for people: `what` is install, revert, model, factory-reset; `outcome` how it ended."""

    time: str
    what: str
    packages: Packages
    outcome: str
    reason: str = ""
    update_class: str = ""
    advisories: tuple[Advisory, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All of it. `floors`: the highest revision of each package that was healthy here. Times are ISO 8601, UTC."""

    floors: Mapping[str, int] = field(default_factory=dict)
    failed: tuple[Failed, ...] = ()
    pending: Pending | None = None
    hold_until: str = ""
    latest: str = ""  # the latest time that something signed proves to be past; a clock proves nothing
    changes: tuple[Change, ...] = ()
    checked: str = ""  # when the store was last asked
    check: str = ""  # what came of that
    waiting: int = 0  # how many checks found an update that had to wait, since the last that found none to take
    waits: Waiting | None = None  # which
    answered: str = ""  # when the store last gave an answer that was believed
    unanswered: int = 0  # how many checks in a row since came to none
    model: ModelFloor | None = None  # None: none was taken, the seed's is the first

    def with_failed(self, failed: Failed) -> History:
        """What was said before of the same packages is forgotten."""
        others = tuple(item for item in self.failed if item.packages != failed.packages)
        return replace(self, failed=(*others, failed)[-FAILED_MOST:])

    def with_change(self, change: Change) -> History:
        return replace(self, changes=(*self.changes, change)[-CHANGES_MOST:])


def folder_of(machine: Machine) -> Path:
    return machine.var / FOLDER


def read_kept(machine: Machine, name: str) -> bytes:
    """A file of the folder. Raises: OSError: there is none, or a damaged disk has made something else of it.

    A pipe would be waited for and a file without an end take all memory, in the judge of each boot too.
    """
    handle = os.open(folder_of(machine) / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as stream:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_size > KEPT_MOST:
            raise OSError(errno.EINVAL, "it is none of ours")
        return stream.read(KEPT_MOST)


def decoded(raw: bytes, read: Callable[[dict[str, Any]], T], *, version: int) -> T:
    """What `read` makes of one of our documents. Raises: DocumentError: it is none, or of another format."""
    try:
        found = json.loads(raw)
        if found["imagekit"] != version:
            raise ValueError(f"format {found['imagekit']!r}")
        return read(found)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DocumentError(f"cannot read what this device remembers: {error}") from error


def load_history(machine: Machine) -> History:
    """What is remembered; nothing, where there is no file or it is not one of ours."""
    with suppress(OSError, DocumentError):
        return decode_history(read_kept(machine, STATE))
    return History()


def decode_history(raw: bytes) -> History:
    """The memory out of its file. Raises: DocumentError."""
    return decoded(raw, _history, version=FORMAT)


def _history(found: dict[str, Any]) -> History:
    pending = found["pending"]
    return History(
        floors={str(name): int(number) for name, number in found["floors"].items()},
        failed=tuple(Failed(packages=_packages(item["packages"]), reason=str(item["reason"]), time=str(item["time"]))
                     for item in found["failed"]),
        pending=None if pending is None else Pending(
            slot=str(pending["slot"]), packages=_packages(pending["packages"]), base_root=str(pending["base_root"]),
            kernel_root=str(pending["kernel_root"]), trial=bool(pending["trial"]), time=str(pending["time"]),
            reasons=tuple(map(str, pending["reasons"])), **_told(pending)),
        hold_until=str(found["hold_until"]), latest=str(found["latest"]),
        changes=tuple(Change(time=str(item["time"]), what=str(item["what"]), packages=_packages(item["packages"]),
                             outcome=str(item["outcome"]), reason=str(item["reason"]), **_told(item))
                      for item in found["changes"]),
        checked=str(found.get("checked", "")), check=str(found.get("check", "")),  # what knew of no store has none
        waiting=int(found.get("waiting", 0)), waits=_waits(found.get("waits")),
        answered=str(found.get("answered", "")), unanswered=int(found.get("unanswered", 0)),
        model=_model(found.get("model")))


def _model(found: dict[str, Any] | None) -> ModelFloor | None:
    return None if found is None else ModelFloor(revision=int(found["revision"]), sha3_384=str(found["sha3_384"]))


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """What a store said; an older base kept none of it."""
    return {"update_class": str(found.get("update_class", "")), "advisories": tuple(
        Advisory(name=str(item["name"]), revision=int(item["revision"]), update_class=str(item["update_class"]),
                 text=str(item["text"])) for item in found.get("advisories", ()))}


def _waits(found: dict[str, Any] | None) -> Waiting | None:
    if found is None:
        return None
    return Waiting(packages=_packages(found["packages"]), since=str(found["since"]), why=str(found["why"]),
                   until=str(found["until"]), **_told(found))


def moment(text: str) -> datetime | None:
    """A time that was kept; None where there is none, or one that names no zone."""
    with suppress(ValueError):
        found = datetime.fromisoformat(text)
        return found if found.tzinfo is not None else None
    return None


def _packages(found: Any) -> Packages:
    return tuple((str(name), int(number)) for name, number in found)


def as_json(history: History) -> dict[str, Any]:
    """The document that is kept, which `changes --json` prints too."""
    return {"imagekit": FORMAT, **asdict(history)}


def save_history(machine: Machine, history: History) -> None:
    """Replace the file. Raises: TargetError: it cannot be written, as on a full disk; the old one stays."""
    with _locked(machine, MEMORY, fcntl.LOCK_EX):
        _save(machine, history)


def edit_history(machine: Machine, change: Callable[[History], History]) -> None:
    """Replace it by what `change` makes of it, with nobody in between. Raises: TargetError: as `save_history`."""
    with _locked(machine, MEMORY, fcntl.LOCK_EX):
        _save(machine, change(load_history(machine)))


def _save(machine: Machine, history: History) -> None:
    save(machine, STATE, (json.dumps(as_json(history)) + "\n").encode())


def save(machine: Machine, name: str, content: bytes) -> None:
    """Replace a file of the folder, whole or not at all. Raises: TargetError.

    What a damaged disk has made of a file is taken out of the way.
    """
    folder = folder_of(machine)
    fresh = folder / f"{name}.new"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in (fresh, folder / name):
            clear_place(path)
        with fresh.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        fresh.rename(folder / name)
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink()
        denied = isinstance(error, PermissionError)
        raise TargetError(f"cannot write {folder / name}: {error.strerror}", hint="run it as root" if denied else
                          "the data partition may be full: nothing was changed") from error


@contextmanager
def alone(machine: Machine, *, name: str = "update") -> Iterator[None]:
    """One at a time of this name. Raises: TargetError: another one is at work on this device."""
    with _locked(machine, name, fcntl.LOCK_EX | fcntl.LOCK_NB):
        yield


@contextmanager
def _locked(machine: Machine, name: str, how: int) -> Iterator[None]:
    path = machine.run / f"{name}.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise TargetError(f"cannot lock {path}: {error.strerror}", hint="this works on a booted device only, as root"
                          ) from error
    try:
        try:
            fcntl.flock(handle, how)
        except OSError as error:
            raise TargetError(f"cannot update this device: another {name} is at work",
                              hint="wait for it: imagekit-device status") from error
        yield
    finally:
        os.close(handle)


def after_verdict(history: History, *, slot: str, roots: tuple[str, str], healthy: bool, reasons: tuple[str, ...],
                  now: str) -> History:
    """What a verdict on a boot of `slot` makes of the update that is under way. `roots` are base and kernel."""
    pending = history.pending
    if pending is None:
        return history
    if (slot, *roots) == (pending.slot, pending.base_root, pending.kernel_root):
        if not healthy:
            return replace(history, pending=replace(pending, trial=True, reasons=reasons))
        floors = {**history.floors, **{name: max(number, history.floors.get(name, 0))
                                       for name, number in pending.packages}}
        return replace(history, floors=floors, pending=None, failed=tuple(
            item for item in history.failed if item.packages != pending.packages)).with_change(
                _ended(pending, "done", now=now))
    if not healthy:
        return history
    if not pending.trial:
        return replace(history, pending=None).with_change(_ended(pending, "interrupted", now=now))
    reason = "; ".join(pending.reasons) or "it never came as far as its health check"
    failed = Failed(packages=pending.packages, reason=reason, time=now)
    return replace(history, pending=None).with_failed(failed).with_change(
        _ended(pending, "failed", now=now, reason=reason))


def _ended(pending: Pending, outcome: str, *, now: str, reason: str = "") -> Change:
    return Change(time=now, what="install", packages=pending.packages, outcome=outcome, reason=reason,
                  update_class=pending.update_class, advisories=pending.advisories)
