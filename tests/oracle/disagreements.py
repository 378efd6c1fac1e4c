"""The list of disagreements that stand: read, matched with what was found, and written as a page.

An entry says in what kind of question it occurs, for which versions of snapd, which side accepts, and why it stands.
What it covers is told by our words: the ids of our rules where we refuse, a pattern over snapd's where it refuses, the
name of the field where both accept; `case` may narrow that by a pattern over the names of cases.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import yaml

from tests.oracle.compare import Disagreement

LIST = Path(__file__).parent / "disagreements.yaml"
PAGE = Path(__file__).parent.parent.parent / "docs/reference/snapd-differences.md"
KINDS = {"gadget": "gadget.yaml", "layout": "Layouts", "content": "Content of gadgets", "update": "Gadget updates",
         "assertion": "Reading assertions", "verify": "Believing assertions", "writing": "Writing assertions",
         "snap": "snap.yaml", "kernel": "kernel.yaml"}
ACCEPTS = {"imagekit": "imagekit accepts, snapd refuses", "snapd": "snapd accepts, imagekit refuses",
           "both": "both accept, and understand it differently"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One reason to disagree."""

    id: str
    kinds: tuple[str, ...]
    versions: tuple[str, ...]
    accepts: str
    reason: str
    rules: tuple[str, ...] = ()
    ours: str = ""
    theirs: str = ""
    fields: tuple[str, ...] = ()
    case: str = ""

    def covers(self, found: Disagreement) -> bool:
        """Whether this is the reason for all of a disagreement that was found."""
        if (found.case.kind not in self.kinds or found.version not in self.versions or found.accepts != self.accepts
                or not re.search(self.case, found.case.name)):
            return False
        if self.rules and not (found.ours.rules and all(
                any(fnmatchcase(rule, glob) for glob in self.rules) for rule in found.ours.rules)):
            return False
        names = [text.partition(":")[0].rpartition(".")[2] for text in found.fields]
        return (bool(re.search(self.ours, found.ours.words, re.DOTALL)) and bool(re.search(self.theirs, found.theirs))
                and (not self.fields or all(name in self.fields for name in names)))


def load_list() -> tuple[Entry, ...]:
    """The entries, in the order of the file."""
    return tuple(entry_of(item) for item in yaml.safe_load(LIST.read_text()))


def entry_of(item: dict[str, Any]) -> Entry:
    return Entry(id=item["id"], kinds=tuple(item["kinds"]), versions=tuple(item["versions"]), accepts=item["accepts"],
                 reason=item["reason"], rules=tuple(item.get("rules", ())), ours=item.get("ours", ""),
                 theirs=item.get("theirs", ""), fields=tuple(item.get("fields", ())), case=item.get("case", ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Disagreements that nothing explains, and how often each entry did, by (id, version)."""

    unexplained: tuple[Disagreement, ...]
    counts: Counter[tuple[str, str]]


def sort(found: Iterable[Disagreement], entries: tuple[Entry, ...]) -> Sorted:
    unexplained, counts = [], Counter[tuple[str, str]]()
    for disagreement in found:
        reasons = [entry for entry in entries if entry.covers(disagreement)]
        if not reasons:
            unexplained.append(disagreement)
        for entry in reasons[:1]:
            counts[entry.id, disagreement.version] += 1
    return Sorted(unexplained=tuple(unexplained), counts=counts)


def page(entries: tuple[Entry, ...]) -> str:
    """docs/reference/snapd-differences.md."""
    lines = [HEAD]
    for kind, title in KINDS.items():
        rows = [entry for entry in entries if entry.kinds[0] == kind]
        if not rows:
            continue
        lines += [f"\n## {title}\n"]
        for side, words in ACCEPTS.items():
            chosen = [entry for entry in rows if entry.accepts == side]
            if chosen:
                lines += [f"{words[0].upper()}{words[1:]}:\n", "| id | snapd | why |", "|---|---|---|"]
                lines += [f"| {entry.id} | {', '.join(entry.versions)} | {entry.reason} |" for entry in chosen]
                lines += [""]
    return "\n".join(lines).rstrip() + "\n"


HEAD = """# Where imagekit and snapd disagree

imagekit reads, writes and judges the formats of snapd. In CI, snapd's own library (of Debian 12 and of Debian 13) is
asked about the same documents: everything in the tests' folders, everything that imagekit can sign, and thousands of
changed ones (`invoke oracle`). This page is every difference that was found and stands. It is made from
`tests/oracle/disagreements.yaml`; a test fails when a difference appears that is not here, or one that is here no
longer occurs."""
