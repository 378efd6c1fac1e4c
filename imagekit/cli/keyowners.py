"""`imagekit key vouch`, `renew`, `expire` and `export`: whose a key is, until when, and how others get to know."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from imagekit.assertions import AccountKey
from imagekit.assertions.fields import format_time
from imagekit.assertions.wire import Assertion, encode_stream
from imagekit.build.accountkeys import Vouched, make_root, read_request, request, revise, vouch
from imagekit.build.sign import Authority, authority_for
from imagekit.cli.chain import validity
from imagekit.cli.keyring import (
    account_key_json,
    checked_account,
    complete_key,
    keyring,
    open_authority,
    owners,
    passphrase_from,
    passphrase_option,
    time_option,
    trusted,
)
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, warn, write
from imagekit.digests import short
from imagekit.errors import TrustError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.files import read_file, write_atomic
from imagekit.host.folders import default_trust_dir
from imagekit.host.keyring import StoredKey, encode_public_pem
from imagekit.host.trust import MAX_FILE, replace_account_key, signing_time, store_root
from imagekit.keys import PublicKey


@click.command(name="vouch")
@click.argument("name", required=False, shell_complete=complete_key)
@click.option("--request", "request_file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Vouch for the key of this account-key-request instead.")
@click.option("--brand", metavar="ACCOUNT_ID", help="Whose key it is.  [default: NAME, or that of --by]")
@click.option("--by", "by", metavar="KEY", shell_complete=complete_key,
              help="The root that vouches for it.  [default: itself]")
@time_option("--since", "From when it is in force.  [default: SOURCE_DATE_EPOCH, or now]")
@time_option("--until", "When it ends.  [default: never]")
@passphrase_option
@trust_option
@output_option
@json_option
def vouch_key(name: str | None, request_file: Path | None, brand: str | None, by: str | None, since: datetime | None,
              until: datetime | None, passphrase_file: Path | None, trust: tuple[Path, ...], output: Path | None,
              as_json: bool) -> None:
    """Say whose a key is that was imported or added, or that somebody else has.

    Your own folder of trust gets its account-key, and the account if nobody has said who that is: signed by the key
    itself, which makes it a root of trust, or with --by by a root that you have. With -o that file gets them too, for
    others.
    """
    if (name is None) == (request_file is None):
        raise UsageError("cannot vouch for a key without knowing which", hint="name one of your keys, or --request")
    start = since or signing_time(SystemClock())
    if request_file is not None:
        made = _vouch_for_request(request_file, brand, by, since, until, passphrase_file, trust)
    else:
        assert name is not None
        made = _vouch_for_own(name, brand, by, start, until, passphrase_file, trust)
    path = store_root(default_trust_dir(), account=made.account, account_key=made.account_key.assertion)[-1]
    if output is not None:
        path = output / f"{name or made.account_key.name}.account-key" if output.is_dir() else output
        write_atomic(path, encode_stream(made.assertions))
    _tell(made.account_key, path, as_json=as_json)


def _vouch_for_own(name: str, brand: str | None, by: str | None, since: datetime, until: datetime | None,
                   passphrase_file: Path | None, trust: tuple[Path, ...]) -> Vouched:
    stored = keyring().stored(name)
    _refuse_owned(name, stored.public, trust)
    if by is None:
        account_id = checked_account(brand or name)
        key = keyring().load(name, passphrase=passphrase_from(passphrase_file, name=name))
        return make_root(key, account_id=account_id, name=name, since=since, until=until)
    root = open_authority(by, passphrase_file, trust)
    return vouch(stored.public, root, account_id=checked_account(brand or root.account_id), name=name, since=since,
                 until=until, now=SystemClock().now())


def _refuse_owned(name: str, public: PublicKey, trust: tuple[Path, ...]) -> None:
    """Two account-keys of one revision that differ would be one too many."""
    if (owner := owners(trust).get(public.key_id)) is not None:
        raise UsageError(f"cannot vouch for key {name!r}: an account-key says already that it is {owner.account_id}'s",
                         hint=f"to change its end: imagekit key renew {name}")


def _vouch_for_request(path: Path, brand: str | None, by: str | None, since: datetime | None, until: datetime | None,
                       passphrase_file: Path | None, trust: tuple[Path, ...]) -> Vouched:
    if by is None:
        raise UsageError(f"cannot vouch for {path}: only a root can", hint="name yours with --by")
    asked = read_request(read_file(path, limit=MAX_FILE), name=str(path))
    _refuse_owned(asked.name, asked.key, trust)
    root = open_authority(by, passphrase_file, trust)
    account_id = checked_account(brand or root.account_id)
    if asked.account_id != account_id:
        raise TrustError(f"cannot vouch for {path}: it asks for a key of {asked.account_id!r}, not of {account_id!r}",
                         hint=f"if that is right: --brand {asked.account_id}")
    return vouch(asked.key, root, account_id=account_id, name=asked.name, since=since or asked.since,
                 until=until or asked.until, now=SystemClock().now())


@click.command()
@click.argument("name", shell_complete=complete_key)
@time_option("--until", "When it ends.")
@click.option("--forever", is_flag=True, help="It has no end.")
@passphrase_option
@trust_option
@output_option
@json_option
def renew(name: str, until: datetime | None, forever: bool, passphrase_file: Path | None, trust: tuple[Path, ...],
          output: Path | None, as_json: bool) -> None:
    """Give a key another end: the next revision of its account-key.

    NAME is one of your keys, or that of a key that you vouched for. It is signed by the key that vouched for it before,
    which must be among yours. Your own folder of trust gets it, with -o that file too.
    """
    if (until is None) != forever:
        raise UsageError("cannot renew a key without its new end", hint="name one of --until TIME and --forever")
    _change_end(name, until, passphrase_file, trust, output, as_json=as_json)


@click.command()
@click.argument("name", shell_complete=complete_key)
@time_option("--at", "When it ends.  [default: now]")
@passphrase_option
@trust_option
@output_option
@json_option
def expire(name: str, at: datetime | None, passphrase_file: Path | None, trust: tuple[Path, ...],
           output: Path | None, as_json: bool) -> None:
    """End a key: the next revision of its account-key ends now.

    Whoever has that revision believes nothing any more that the key has signed, not even what it signed before; sign it
    anew with another key first (docs/how-to/rotate-a-key.md).
    """
    _change_end(name, at or signing_time(SystemClock()), passphrase_file, trust, output, as_json=as_json)


def _change_end(name: str, until: datetime | None, passphrase_file: Path | None, trust: tuple[Path, ...],
                output: Path | None, *, as_json: bool) -> None:
    clock = SystemClock()
    current = _account_key_called(name, trust)
    by = _voucher(current, passphrase_file, trust)
    revised = revise(current, by, until=until, created=signing_time(clock), now=clock.now())
    path = replace_account_key(default_trust_dir(), revised.assertion)
    if output is not None:
        path = output / f"{name}.account-key" if output.is_dir() else output
        write_atomic(path, revised.assertion.encode())
    _tell(revised, path, as_json=as_json)
    if until is not None and not as_json:
        say(f"from {format_time(until)} on, nothing that key {name} has signed is believed by whoever has this file")


def _account_key_called(name: str, trust: tuple[Path, ...]) -> AccountKey:
    """Of one of our keys, or of one that somebody else has: by its name, or its key id."""
    known = owners(trust)
    if name in keyring().names():
        found = [owner for owner in (known.get(keyring().stored(name).public.key_id),) if owner]
    else:
        found = [owner for owner in known.values() if name in (owner.name, owner.key_id)]
    if len(found) > 1:
        raise UsageError(f"cannot change the end of key {name!r}: {len(found)} keys are called so",
                         hint="name it by its key id", details=tuple(owner.key_id for owner in found))
    if not found:
        raise TrustError(f"cannot change the end of key {name!r}: no account-key in your folders of trust has it",
                         hint=f"say whose it is with `imagekit key vouch {name}`, or name its folder with --trust")
    return found[0]


def _voucher(current: AccountKey, passphrase_file: Path | None, trust: tuple[Path, ...]) -> Authority:
    """The key of ours that signed an account-key."""
    keys = keyring()
    for name in keys.names():
        if keys.stored(name).public.key_id == current.assertion.key_id:
            key = keys.load(name, passphrase=passphrase_from(passphrase_file, name=name))
            return authority_for(key, trusted(trust), name=name)
    raise UsageError(f"cannot change the end of key {current.name!r} of {current.account_id}: key"
                     f" {short(current.assertion.key_id)}, which vouches for it, is not among yours",
                     hint="ask whoever has that key for a further revision of the account-key")


def _tell(owner: AccountKey, path: Path, *, as_json: bool) -> None:
    if as_json:
        emit_json({**account_key_json(owner), "key_id": owner.key_id, "result": str(path)})
        return
    write(str(path))
    revision = f", revision {owner.assertion.revision}" if owner.assertion.revision else ""
    say(f"key {owner.name or short(owner.key_id)} is {owner.account_id}'s, {validity(owner)}{revision}:"
        f" {short_path(path)}")


@click.command()
@click.argument("name", shell_complete=complete_key)
@click.option("--public", "form", flag_value="public", help="Print the public key in PEM instead.")
@click.option("--request", "form", flag_value="request",
              help="Print a request for an account-key instead, for whoever shall vouch for the key.")
@click.option("--private", "form", flag_value="private", help="Print the private key instead, as it is stored.")
@click.option("--brand", metavar="ACCOUNT_ID", help="Whose key it shall be, in a request.  [default: NAME]")
@time_option("--until", "When it shall end, in a request.  [default: never]")
@click.option("--yes", is_flag=True, help="Do not ask before the private key is printed.")
@passphrase_option
@trust_option
@output_option
def export(name: str, form: str | None, brand: str | None, until: datetime | None, yes: bool,
           passphrase_file: Path | None, trust: tuple[Path, ...], output: Path | None) -> None:
    """Print the account-key assertion of a key: its public part, signed."""
    keys = keyring()
    stored = keys.stored(name)
    if form != "request" and (brand is not None or until is not None):
        raise UsageError("cannot use --brand and --until here: they belong to --request")
    if form == "private":
        pem = keys.export_private(name)
        warn(f"this is the private key {name}{'' if stored.encrypted else ', without a passphrase'}:"
             " whoever has it signs in your name")
        if not yes and sys.stdin.isatty():
            click.confirm("Print it?", abort=True, err=True)
        _deliver(pem, output, mode=0o600)
        return
    if form == "public":
        content = encode_public_pem(stored.public)
    elif form == "request":
        key = keys.load(name, passphrase=passphrase_from(passphrase_file, name=name))
        asked = request(key, account_id=checked_account(brand or name), name=name, until=until,
                        since=signing_time(SystemClock()))
        content = asked.encode()
    else:
        content = _account_key(stored, trust).encode()
    _deliver(content, output, mode=0o644)


def _account_key(stored: StoredKey, trust: tuple[Path, ...]) -> Assertion:
    found = owners(trust).get(stored.public.key_id)
    if found is None:
        raise UsageError(f"cannot export key {stored.name!r}: no account-key in your folders of trust has it",
                         hint="name the folder that holds it with --trust")
    return found.assertion


def _deliver(content: bytes, output: Path | None, *, mode: int) -> None:
    """To the file, or to stdout past the log."""
    if output is not None:
        write_atomic(output, content, mode=mode)
        say(f"wrote {output}")
        return
    click.echo(content, nl=False)
