"""What systemd-boot decides: which loader entry boots, and what the boot does to its counter.

A model of version 257, for the installer, the updater and the power-cut tests. It knows type 1 entries with a counter
in their file name; it does not model a default set by hand, a one-shot entry or the menu, none of which an image of
ours uses. Nothing here touches a file: names and contents go in, a choice comes out.

Sources: systemd 257 `src/boot/boot.c` (order, counting), UAPI.1 "Boot counting", UAPI.10 "Version Format".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cmp_to_key

from imagekit.boot.entries import fields
from imagekit.boot.slotstate import Slot

_COUNTED = re.compile(r"(?P<stem>.+)\+(?P<left>\d+)(-(?P<done>\d+))?\.conf\Z", re.ASCII)
_COUNTER_MAX = 2**31 - 1  # larger numbers are no counter but part of the name


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryName:
    """`STEM+LEFT-DONE.conf` taken apart; `left` is None for an entry that is not counted: a good one."""

    stem: str
    left: int | None
    done: int

    @property
    def text(self) -> str:
        if self.left is None:
            return f"{self.stem}.conf"
        return f"{self.stem}+{self.left}-{self.done}.conf"

    @property
    def blessed(self) -> EntryName:
        """The name without a counter."""
        return EntryName(stem=self.stem, left=None, done=0)

    @property
    def tried(self) -> EntryName:
        """The name after one more boot."""
        if self.left is None:
            return self
        return EntryName(stem=self.stem, left=max(self.left - 1, 0), done=min(self.done + 1, _COUNTER_MAX))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An entry in the loader's menu."""

    file_name: str
    name: EntryName
    sort_key: str
    machine_id: str
    version: str
    loader: str  # path of the program on the ESP, without a leading slash
    options: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The entry that boots, and what its file is called from then on."""

    entry: Candidate
    renamed_to: str


def parse_name(file_name: str) -> EntryName:
    """Read the counter out of a file name ending in `.conf`."""
    match = _COUNTED.match(file_name)
    if match is None or int(match["left"]) > _COUNTER_MAX or int(match["done"] or 0) > _COUNTER_MAX:
        return EntryName(stem=file_name.removesuffix(".conf"), left=None, done=0)
    return EntryName(stem=match["stem"], left=int(match["left"]), done=int(match["done"] or 0))


def slot_of(file_name: str) -> Slot | None:
    """The slot whose entry this is, None for a file that is not ours."""
    if not file_name.endswith(".conf"):
        return None
    stem = parse_name(file_name).stem
    return next((slot for slot in Slot if stem == f"imagekit-{slot.value}"), None)


def candidates(entries: Mapping[str, bytes], programs: frozenset[str]) -> tuple[Candidate, ...]:
    """The menu in its order: entries that name a program which is there, the one to boot first.

    `entries` are the files of loader/entries by name, `programs` the paths present on the ESP. An entry whose program
    is missing is left out, as is an empty or foreign file; a program that is there but broken is found out only later.
    """
    there = {path.lower() for path in programs}
    found: list[Candidate] = []
    for file_name, raw in entries.items():
        if not file_name.lower().endswith(".conf") or file_name.startswith((".", "auto-")):
            continue
        values = fields(raw)
        loader = values.get("efi", values.get("linux", "")).replace("\\", "/").lstrip("/")
        if loader and loader.lower() in there:
            found.append(Candidate(
                file_name=file_name, name=parse_name(file_name), sort_key=values.get("sort-key", ""),
                machine_id=values.get("machine-id", ""), version=values.get("version", ""), loader=loader,
                options=values.get("options", ""),
            ))
    return tuple(sorted(sorted(found, key=lambda item: item.file_name), key=cmp_to_key(_compare)))


def choose(entries: Mapping[str, bytes], programs: frozenset[str]) -> Choice | None:
    """The entry that boots; None: the menu is empty and the firmware goes on to its next option."""
    menu = candidates(entries, programs)
    if not menu:
        return None
    first = menu[0]
    return Choice(entry=first, renamed_to=first.file_name if first.name.left is None else first.name.tried.text)


def _compare(one: Candidate, two: Candidate) -> int:
    """Negative: `one` comes first. No tries left goes last; then sort-key, machine-id, version and name descending."""
    if spent := (one.name.left == 0) - (two.name.left == 0):
        return spent
    if unsorted := (not one.sort_key) - (not two.sort_key):
        return unsorted
    if one.sort_key:
        for mine, theirs in ((one.sort_key, two.sort_key), (one.machine_id, two.machine_id)):
            if mine != theirs:
                return -1 if mine < theirs else 1
        if order := compare_versions(two.version, one.version):
            return order
    if order := compare_versions(two.name.stem, one.name.stem):
        return order
    if one.name.left is None or two.name.left is None:
        return 0
    return (two.name.left - one.name.left) or (one.name.done - two.name.done)


_MARKS = "~-^."  # ascending: each separates, and sorts before what follows it here
_TOKEN = re.compile(r"[~\-^.]|\d+|[A-Za-z]+", re.ASCII)


def compare_versions(one: str, two: str) -> int:
    """Negative when `one` is the older version (UAPI.10): pieces from the left, numbers by value."""
    mine, theirs = _TOKEN.findall(one), _TOKEN.findall(two)
    for index in range(max(len(mine), len(theirs))):
        left = _rank(mine[index] if index < len(mine) else "")
        right = _rank(theirs[index] if index < len(theirs) else "")
        if left != right:
            return -1 if left < right else 1
    return 0


def _rank(token: str) -> tuple[int, int, str]:
    """Where a piece sorts: `~`, the end, `-`, `^`, `.`, letters, numbers."""
    if token == "~":
        return (0, 0, "")
    if not token:
        return (1, 0, "")
    if token in _MARKS:
        return (1 + _MARKS.index(token), 0, "")
    if token.isdigit():
        return (6, int(token), "")
    return (5, 0, token)
