"""`imagekit sign` and `imagekit verify`; `imagekit key` is in `imagekit.cli.keys`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.assertions.database import Chain
from imagekit.assertions.fields import format_time
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.types import AccountKey
from imagekit.assertions.wire import Assertion, printable
from imagekit.build.sign import Signed, authority_for, sign_file
from imagekit.build.verify import Finding, Report, State, examine
from imagekit.cli.keys import complete_key, key, keyring, passphrase_from, passphrase_option, trusted
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import console, detail, drawn, emit_json, say, write
from imagekit.digests import short
from imagekit.errors import UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.trust import signing_time

if TYPE_CHECKING:
    from rich.tree import Tree

__all__ = ["key", "sign", "verify"]


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-k", "--key", "key_name", metavar="KEY", required=True, shell_complete=complete_key,
              help="The key that signs.")
@passphrase_option
@trust_option
@output_option
@json_option
def sign(files: tuple[Path, ...], key_name: str, passphrase_file: Path | None, trust: tuple[Path, ...],
         output: Path | None, as_json: bool) -> None:
    """Sign headers in YAML or JSON, or packages (.snap).

    A model becomes NAME.model, a package NAME_REVISION.snap gets NAME_REVISION.assert beside it. What is left out of
    the headers is filled in: who signs, the time (SOURCE_DATE_EPOCH, or now), for a model the brand and the snaps' ids.
    """
    if output is not None and len(files) > 1 and not output.is_dir():
        raise UsageError(f"cannot write {len(files)} results into {output}: it is not a folder",
                         hint="name an existing folder with -o")
    clock = SystemClock()
    private = keyring().load(key_name, passphrase=passphrase_from(passphrase_file, name=key_name))
    authority = authority_for(private, trusted(trust), name=key_name)
    results = []
    for path in files:
        done = sign_file(path, authority, output=output, timestamp=signing_time(clock), now=clock.now())
        results.append(done)
        if not as_json:
            write(str(done.path))
            say(f"{path.name}: {'already signed' if done.unchanged else 'signed'} by {authority.account_id} with key"
                f" {short(private.public.key_id)}")
            detail(f"  holds {_labels(done)}")
    if as_json:
        emit_json({"key_id": private.public.key_id, "account_id": authority.account_id,
                   "signed": [{"file": str(done.source), "result": str(done.path), "unchanged": done.unchanged,
                               "assertions": [_named(item) for item in done.assertions]} for done in results]})


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@trust_option
@json_option
def verify(files: tuple[Path, ...], trust: tuple[Path, ...], as_json: bool) -> None:
    """Verify assertions and packages, and show what leads each back to a root of trust.

    Roots are the self-signed account-keys in your own folder of trust and in those named with --trust. A package is
    looked up in the files named and in NAME_REVISION.assert beside it.
    """
    report = examine(files, trusted(trust), now=SystemClock().now())
    if as_json:
        emit_json({"verified": report.verified, "findings": [_finding_json(finding) for finding in report.findings]})
    elif drawn(sys.stdout):
        console().print(_tree(report))
    else:
        for line in _plain(report):
            write(line)
    report.raise_if_any()


def _labels(done: Signed) -> str:
    return ", ".join(f"{item.type} {_name(item)}" for item in done.assertions)


def _name(assertion: Assertion) -> str:
    """The primary key, long digests shortened, defaults left out."""
    defaults = kind_of(assertion.type).defaults
    names = kind_of(assertion.type).primary_key
    return "/".join(printable(short(value))
                    for name, value in zip(names, assertion.primary_key, strict=True) if defaults.get(name) != value)


def _validity(key: AccountKey) -> str:
    return f"since {format_time(key.since)}" + (f" until {format_time(key.until)}" if key.until else "")


def _key_line(key: AccountKey, *, root: bool) -> str:
    name = key.account_id if key.name in {"", key.account_id} else f"{key.account_id} ({key.name})"
    return f"account-key {short(key.key_id)} of {name}, {_validity(key)}{', trusted root' if root else ''}"


def _finding_line(finding: Finding) -> str:
    if finding.assertion is None or finding.subject.startswith("package "):
        what = finding.subject
    else:
        what = f"{finding.assertion.type} {_name(finding.assertion)}"
    revision = finding.assertion.revision if finding.assertion else 0
    return f"{what}{f' revision {revision}' if revision else ''}: {finding.state.value} ({finding.file})"


def _keys_of(chain: Chain) -> tuple[AccountKey, ...]:
    return tuple(found for link in chain.links if (found := link.account_key) is not None)


def _grouped(report: Report) -> dict[tuple[str, ...], tuple[tuple[AccountKey, ...], list[Finding]]]:
    """The verified findings by the keys that lead to them, in order of appearance."""
    groups: dict[tuple[str, ...], tuple[tuple[AccountKey, ...], list[Finding]]] = {}
    for finding in report.findings:
        if finding.chain is not None:
            keys = _keys_of(finding.chain)
            groups.setdefault(tuple(item.key_id for item in keys), (keys, []))[1].append(finding)
    return groups


def _plain(report: Report) -> Iterator[str]:
    """The tree as indented lines."""
    seen: set[tuple[str, ...]] = set()
    for path, (keys, findings) in _grouped(report).items():
        for depth, item in enumerate(keys):
            if path[:depth + 1] not in seen:
                seen.add(path[:depth + 1])
                yield "  " * depth + _key_line(item, root=depth == 0)
        for finding in findings:
            yield "  " * len(keys) + _finding_line(finding)
    for finding in report.findings:
        if finding.state != State.VERIFIED:
            yield _finding_line(finding)


def _tree(report: Report) -> Tree:
    """The same for a terminal."""
    from rich.text import Text
    from rich.tree import Tree

    top = Tree(Text(f"{len(report.findings)} assertions and packages"))
    nodes: dict[tuple[str, ...], Tree] = {(): top}
    for path, (keys, findings) in _grouped(report).items():
        for depth, item in enumerate(keys):
            if path[:depth + 1] not in nodes:
                nodes[path[:depth + 1]] = nodes[path[:depth]].add(Text(_key_line(item, root=depth == 0), style="bold"))
        for finding in findings:
            nodes[path].add(Text(_finding_line(finding), style="green"))
    for finding in report.findings:
        if finding.state != State.VERIFIED:
            top.add(Text(_finding_line(finding), style="yellow" if finding.state == State.UNPROVEN else "red"))
    return top


def _named(assertion: Assertion) -> dict[str, Any]:
    names = kind_of(assertion.type).primary_key
    return {"type": assertion.type, "primary_key": dict(zip(names, assertion.primary_key, strict=True)),
            "revision": assertion.revision, "authority_id": assertion.authority_id or None,
            "sign_key": assertion.key_id}


def _finding_json(finding: Finding) -> dict[str, Any]:
    """One finding (docs/reference/assertions.md)."""
    error = finding.error
    chain = None if finding.chain is None else [
        {**_named(link.assertion), "signer": link.signer.account_id, "since": format_time(link.signer.since),
         "until": format_time(link.signer.until) if link.signer.until else None} for link in finding.chain.links]
    return {"file": str(finding.file), "subject": finding.subject, "state": finding.state.value, "chain": chain,
            "assertion": _named(finding.assertion) if finding.assertion else None,
            "error": {"message": error.message, "hint": error.hint, "details": list(error.details)} if error else None}
