"""`imagekit trust`: whom the user trusts.

Nobody is trusted by default but the user's own brands, whose roots `imagekit key create` makes. At a terminal a root is
shown and asked about before it is added; elsewhere nothing is asked, and what is believed from now on is told.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from imagekit.assertions import AccountKey, parse_account_key
from imagekit.assertions.database import Database
from imagekit.assertions.fields import format_time
from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.cli.chain import key_name, name_of, validity
from imagekit.cli.options import json_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, table, write
from imagekit.cli.verify import key_json, named
from imagekit.errors import ImagekitError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.files import read_file
from imagekit.host.folders import default_trust_dir
from imagekit.host.roots import (
    KNOWN_ROOTS,
    Addition,
    accounts_in,
    is_root,
    known_root,
    own_files,
    plan_additions,
    plan_removal,
    remove_files,
    write_additions,
)
from imagekit.host.trust import MAX_FILE, TrustFile, trust_files


def _complete_add(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The roots that come with the program, and files."""
    known = [CompletionItem(name) for name in KNOWN_ROOTS if name.startswith(incomplete)]
    return [*known, CompletionItem(incomplete, type="file")]


def _complete_remove(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    with contextlib.suppress(ImagekitError, OSError):
        return [name for name in accounts_in(default_trust_dir()) if name.startswith(incomplete)]
    return []


@click.group(no_args_is_help=True)
def trust() -> None:
    """Say whom you trust.

    A root of trust is a self-signed account-key in your own folder of trust. All that leads back to one is believed.
    """


@trust.command()
@click.argument("names", metavar="NAME|FILE...", nargs=-1, required=True, shell_complete=_complete_add)
@click.option("-y", "--yes", is_flag=True, help="Do not ask at a terminal.")
@json_option
def add(names: tuple[str, ...], yes: bool, as_json: bool) -> None:
    """Trust a root: NAME is one that comes with the program (canonical), FILE holds a brand's account-key.

    The accounts and account-keys of a file that lead back to a root are kept too, so that their owner can sign with
    them.
    """
    offered = [assertion for name in names for assertion in _offered(name)]
    folder = default_trust_dir()
    additions = plan_additions(folder, offered, now=SystemClock().now())
    new = [item for item in additions if not item.known]
    if new and not yes and sys.stdin.isatty() and sys.stderr.isatty():
        for item in new:
            say(_told(item))
        if not click.confirm("Trust this?", err=True):
            raise UsageError("nothing was added: you said no")
    write_additions(additions)
    if as_json:
        emit_json({"folder": str(folder), "added": [_added_json(item) for item in additions]})
        return
    for item in additions:
        if item.root:
            write(item.assertion.primary_key[0])
        say(f"{'already trusted' if item.known else 'trusted'}: {_told(item)}, {short_path(item.path)}")


def _offered(name: str) -> tuple[Assertion, ...]:
    """What the word on the command line stands for."""
    if name in KNOWN_ROOTS:
        return known_root(name)
    path = Path(name)
    if not path.is_file():
        raise UsageError(f"cannot trust {name!r}: there is no such file, and no root of that name comes with imagekit",
                         hint=f"known by name is {', '.join(KNOWN_ROOTS)}")
    return decode_stream(read_file(path, limit=MAX_FILE), name=name)


def _told(item: Addition) -> str:
    if item.assertion.type == "account-key":
        key = parse_account_key(item.assertion)
        return f"{'root ' if item.root else ''}key {key.key_id} of {key_name(key)}, {validity(key)}"
    return item.assertion.label


def _added_json(item: Addition) -> dict[str, object]:
    return {**named(item.assertion), "account_id": item.assertion.text("account-id"), "root": item.root,
            "known": item.known, "file": str(item.path)}


@trust.command(name="list")
@trust_option
@json_option
def list_roots(trust: tuple[Path, ...], as_json: bool) -> None:
    """List the roots of trust, and what else lies beside them."""
    folder, now = default_trust_dir(), SystemClock().now()
    files = [*own_files(folder), *(file for other in trust for file in trust_files(other))]
    database = Database(tuple(item for file in files for item in file.assertions))
    roots = [(key, _file_of(key, files)) for key in database.roots]
    if as_json:
        emit_json({"folder": str(folder),
                   "roots": [{**key_json(key), "in_force": key.valid_at(now), "file": str(path)}
                             for key, path in roots],
                   "others": [{**named(item), "file": str(file.path)} for file in files for item in file.assertions
                              if not is_root(item)]})
        return
    if not roots:
        say(f"no roots in {short_path(folder)}; trust one with `imagekit trust add NAME|FILE`")
    else:
        table(("account", "name", "in force", "since", "until", "file", "key id"),
              [(key.account_id, key.name or "-", "yes" if key.valid_at(now) else "no", format_time(key.since),
                format_time(key.until) if key.until else "-", short_path(path), key.key_id) for key, path in roots])
    for file in files:
        for item in file.assertions:
            if not is_root(item):
                say(f"beside them: {item.type} {name_of(item)} ({short_path(file.path)})")


def _file_of(key: AccountKey, files: list[TrustFile]) -> Path:
    return next(file.path for file in files
                if any(item.content == key.assertion.content for item in file.assertions))


@trust.command()
@click.argument("name", metavar="ACCOUNT|KEY-ID", shell_complete=_complete_remove)
@json_option
def remove(name: str, as_json: bool) -> None:
    """Trust an account, or one of its keys, no longer.

    A key is named by its id or the first 8 characters of it, without a leading hyphen. Private keys are not touched.
    """
    files = plan_removal(default_trust_dir(), name)
    remove_files(files)
    if as_json:
        emit_json({"removed": [{**named(item), "file": str(file.path)} for file in files for item in file.assertions]})
        return
    for file in files:
        for item in file.assertions:
            say(f"no longer trusted: {item.type} {name_of(item)} ({short_path(file.path)})")
