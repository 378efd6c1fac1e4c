"""`imagekit verify`: what is believed of assertions and packages, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from imagekit.assertions import AccountKey
from imagekit.assertions.fields import format_time
from imagekit.assertions.kinds import kind_of
from imagekit.assertions.proof import Link
from imagekit.assertions.wire import Assertion
from imagekit.build.verify import STDIN, Cause, Finding, State, examine
from imagekit.cli.chain import lines_of, nodes_of, trees_of
from imagekit.cli.keyring import trusted
from imagekit.cli.options import json_option, report_option, trust_option
from imagekit.cli.output import console, drawn, emit_json, write, write_report
from imagekit.host.clock import SystemClock
from imagekit.host.trust import read_public_key


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--public-key", "public_keys", metavar="FILE", multiple=True,
              type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="A public key without an account-key, to check signatures with; it vouches for nothing.")
@trust_option
@report_option
@json_option
def verify(files: tuple[Path, ...], public_keys: tuple[Path, ...], trust: tuple[Path, ...], output: Path | None,
           as_json: bool) -> None:
    """Verify assertions and packages, and show what leads each back to a root of trust.

    Roots are the self-signed account-keys in your own folder of trust (imagekit trust) and in those named with --trust.
    A package is looked up in the files named and in NAME_REVISION.assert beside it; `-` is a stream on stdin.
    """
    report = examine(files, trusted(trust), now=SystemClock().now(),
                     public_keys=tuple(read_public_key(path) for path in public_keys),
                     stdin=sys.stdin.buffer if STDIN in files else None)
    document = {"verified": report.verified, "now": format_time(report.now),
                "roots": [key_json(root) for root in report.roots],
                "findings": [_finding_json(finding) for finding in report.findings],
                "causes": [_cause_json(cause) for cause in report.causes]}
    write_report(document, output)
    if as_json:
        emit_json(document)
    elif drawn(sys.stdout):
        for tree in trees_of(nodes_of(report)):
            console().print(tree)
    else:
        for line in lines_of(nodes_of(report), encoding=sys.stdout.encoding or "ascii"):
            write(line)
    report.raise_if_any()


def named(assertion: Assertion) -> dict[str, Any]:
    """An assertion by its name (docs/reference/assertions.md)."""
    names = kind_of(assertion.type).primary_key
    return {"type": assertion.type, "primary_key": dict(zip(names, assertion.primary_key, strict=True)),
            "revision": assertion.revision, "authority_id": assertion.headers.get("authority-id"),
            "sign_key": assertion.key_id}


def key_json(key: AccountKey) -> dict[str, Any]:
    """A key that is a root of trust."""
    return {"account_id": key.account_id, "name": key.name, "key_id": key.key_id, "revision": key.assertion.revision,
            "since": format_time(key.since), "until": format_time(key.until) if key.until else None}


def _link_json(link: Link) -> dict[str, Any]:
    signer = link.signer
    root = signer is not None and link.assertion.content == signer.assertion.content
    verdict = State.SELF_SIGNED.value if signer is None else "trusted root" if root else State.VERIFIED.value
    return {**named(link.assertion), "verdict": verdict, "signer": signer.account_id if signer else None,
            "since": format_time(signer.since) if signer else None,
            "until": format_time(signer.until) if signer and signer.until else None}


def _finding_json(finding: Finding) -> dict[str, Any]:
    error = finding.error
    return {"file": str(finding.file), "subject": finding.subject, "state": finding.state.value,
            "chain": None if finding.chain is None else [_link_json(link) for link in finding.chain.links],
            "assertion": named(finding.assertion) if finding.assertion else None, "cause": finding.cause,
            "error": {"message": error.message, "hint": error.hint, "details": list(error.details)} if error else None}


def _cause_json(cause: Cause) -> dict[str, Any]:
    return {"state": cause.state.value, "text": cause.text, "hint": cause.hint,
            "subjects": [finding.subject for finding in cause.findings]}
