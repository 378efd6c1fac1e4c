"""What `imagekit verify` shows: a report as a tree, from the trusted roots down to the documents.

Keys are branches, documents are leaves; a key that was asked about itself says so on its branch. What is not believed
hangs below the cause, which is told once. On a terminal rich draws the tree; elsewhere the same lines are written with
the characters that the stream can take.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from imagekit.assertions import AccountKey
from imagekit.assertions.fields import format_time
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.wire import Assertion, printable
from imagekit.build.verify import Finding, Report, State
from imagekit.digests import short

if TYPE_CHECKING:
    from rich.tree import Tree

GOOD, BAD, UNSURE, KEY = "green", "red", "yellow", "bold"
_DRAWN = ("├── ", "└── ", "│   ", "    ")
_ASCII = ("|-- ", "`-- ", "|   ", "    ")
_STYLES = {State.REPLACED: UNSURE, State.UNPROVEN: UNSURE, State.UNKNOWN_KEY: UNSURE}


@dataclass(slots=True)
class Node:
    """One line and what hangs below it."""

    text: str
    style: str
    children: list[Node] = field(default_factory=list)


def nodes_of(report: Report) -> list[Node]:
    """The trees of a report: one for each root that something leads to, then one for each cause."""
    tops: list[Node] = []
    branches: dict[tuple[str, ...], Node] = {}
    asked = {finding.assertion.content: finding for finding in report.findings
             if finding.state is State.VERIFIED and finding.assertion is not None
             and finding.assertion.type == "account-key"}
    for finding in report.findings:
        if finding.chain is None:
            continue
        keys = [key for link in finding.chain.links if (key := link.account_key) is not None]
        path: tuple[str, ...] = ()
        below = tops
        for key in keys:
            path = (*path, key.key_id)
            if path not in branches:
                branches[path] = Node(_key_line(key, asked.get(key.assertion.content), root=len(path) == 1), KEY)
                below.append(branches[path])
            below = branches[path].children
        if finding.assertion is None or finding.assertion.content not in asked:
            below.append(Node(finding_line(finding), GOOD))
    for cause in report.causes:
        style = _STYLES.get(cause.state, BAD)
        tops.append(Node(printable(f"{cause.state.value}: {cause.text}"), style,
                         [Node(finding_line(item), style) for item in cause.findings]))
    return tops


def name_of(assertion: Assertion) -> str:
    """The primary key, long digests shortened, defaults left out."""
    defaults = kind_of(assertion.type).defaults
    names = kind_of(assertion.type).primary_key
    return "/".join(printable(short(value))
                    for name, value in zip(names, assertion.primary_key, strict=True) if defaults.get(name) != value)


def validity(key: AccountKey) -> str:
    return f"since {format_time(key.since)}" + (f" until {format_time(key.until)}" if key.until else "")


def key_name(key: AccountKey) -> str:
    """Whose key, and what its owner calls it."""
    return key.account_id if key.name in {"", key.account_id} else f"{key.account_id} ({key.name})"


def _key_line(key: AccountKey, asked: Finding | None, *, root: bool) -> str:
    told = "trusted root" if root else "verified"
    return (f"account-key {short(key.key_id)} of {key_name(key)}, revision {key.assertion.revision}, {validity(key)}:"
            f" {told}{f' ({asked.file})' if asked is not None else ''}")


def finding_line(finding: Finding) -> str:
    """What was judged, its revision, the verdict and the file."""
    found = finding.assertion
    if found is None:
        what = finding.subject
    elif finding.subject.startswith("package "):
        what = f"{finding.subject}, {found.type} signed by key {short(found.key_id)}"
    else:
        own = name_of(found)
        what = f"{found.type}{f' {own}' if own else ''}, revision {found.revision}{_period(found)}"
    return printable(f"{what}: {finding.state.value} ({finding.file})")


def _period(assertion: Assertion) -> str:
    """The time that an assertion which is no key is for, if it says one."""
    since, until = assertion.headers.get("since"), assertion.headers.get("until")
    return f", since {since} until {until}" if isinstance(since, str) and isinstance(until, str) else ""


def lines_of(nodes: list[Node], *, encoding: str) -> Iterator[str]:
    """The trees as plain lines; lines of ASCII where `encoding` has no others."""
    try:
        "".join(_DRAWN).encode(encoding)
        marks = _DRAWN
    except (UnicodeEncodeError, LookupError):
        marks = _ASCII
    for node in nodes:
        yield node.text
        yield from _below(node, "", marks)


def _below(node: Node, indent: str, marks: tuple[str, str, str, str]) -> Iterator[str]:
    for child in node.children:
        last = child is node.children[-1]
        yield indent + marks[1 if last else 0] + child.text
        yield from _below(child, indent + marks[3 if last else 2], marks)


def trees_of(nodes: list[Node]) -> Iterator[Tree]:
    """The trees for a terminal."""
    from rich.text import Text
    from rich.tree import Tree

    def grown(node: Node, tree: Tree) -> Tree:
        for child in node.children:
            grown(child, tree.add(Text(child.text, style=child.style)))
        return tree

    for node in nodes:
        yield grown(node, Tree(Text(node.text, style=node.style)))
