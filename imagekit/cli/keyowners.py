"""`imagekit key vouch`, `renew`, `expire` and `export`: whose a key is, until when, and how others get to know."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from imagekit.assertions.fields import format_time
from imagekit.assertions.types import AccountKey
from imagekit.assertions.wire import Assertion
from imagekit.build.accountkeys import make_root, revise, vouch
from imagekit.build.sign import Authority, authority_for
from imagekit.cli.chain import validity
from imagekit.cli.keyring import (
    checked_account,
    complete_key,
    described,
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
from imagekit.host.files import write_atomic
from imagekit.host.folders import default_trust_dir
from imagekit.host.keyring import StoredKey, encode_public_pem
from imagekit.host.trust import replace_account_key, signing_time, store_root


@click.command(name="vouch")
@click.argument("name", shell_complete=complete_key)
@click.option("--brand", metavar="ACCOUNT_ID", help="Whose key it is.  [default: NAME, or that of --by]")
@click.option("--by", "by", metavar="KEY", shell_complete=complete_key,
              help="The root that vouches for it.  [default: itself]")
@time_option("--since", "From when it is in force.  [default: SOURCE_DATE_EPOCH, or now]")
@time_option("--until", "When it ends.  [default: never]")
@passphrase_option
@trust_option
@json_option
def vouch_key(name: str, brand: str | None, by: str | None, since: datetime | None, until: datetime | None,
              passphrase_file: Path | None, trust: tuple[Path, ...], as_json: bool) -> None:
    """Say whose a key is that was imported or added.

    Your own folder of trust gets its account-key, and the account if nobody has said who that is: signed by the key
    itself, which makes it a root of trust, or with --by by a root that you have.
    """
    clock = SystemClock()
    stored = keyring().stored(name)
    if (owner := owners(trust).get(stored.public.key_id)) is not None:
        raise UsageError(f"cannot vouch for key {name!r}: an account-key says already that it is {owner.account_id}'s",
                         hint=f"to change its end: imagekit key renew {name}")
    start = since or signing_time(clock)
    if by is None:
        account_id = checked_account(brand or name)
        key = keyring().load(name, passphrase=passphrase_from(passphrase_file, name=name))
        made = make_root(key, account_id=account_id, name=name, since=start, until=until)
    else:
        root = open_authority(by, passphrase_file, trust)
        account_id = checked_account(brand or root.account_id)
        made = vouch(stored.public, root, account_id=account_id, name=name, since=start, until=until, now=clock.now())
    written = store_root(default_trust_dir(), account=made.account, account_key=made.account_key.assertion)
    _tell(stored, made.account_key, written[-1], as_json=as_json)


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

    It is signed by the key that vouched for it before, which must be among your keys.
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
    stored = keyring().stored(name)
    current = owners(trust).get(stored.public.key_id)
    if current is None:
        raise TrustError(f"cannot change the end of key {name!r}: no account-key in your folders of trust has it",
                         hint=f"say whose it is with `imagekit key vouch {name}`, or name its folder with --trust")
    by = _voucher(current, passphrase_file, trust)
    revised = revise(current, by, until=until, created=signing_time(clock), now=clock.now())
    if output is None:
        path = replace_account_key(default_trust_dir(), revised.assertion)
    else:
        path = output / f"{name}.account-key" if output.is_dir() else output
        write_atomic(path, revised.assertion.encode())
    _tell(stored, revised, path, as_json=as_json)
    if until is not None and not as_json:
        say(f"from {format_time(until)} on, nothing that key {name} has signed is believed by whoever has this file")


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


def _tell(stored: StoredKey, owner: AccountKey, path: Path, *, as_json: bool) -> None:
    if as_json:
        emit_json({**described(stored, owner), "result": str(path)})
        return
    write(str(path))
    revision = f", revision {owner.assertion.revision}" if owner.assertion.revision else ""
    say(f"key {stored.name} is {owner.account_id}'s, {validity(owner)}{revision}: {short_path(path)}")


@click.command()
@click.argument("name", shell_complete=complete_key)
@click.option("--public", is_flag=True, help="Print the public key in PEM instead.")
@click.option("--private", is_flag=True, help="Print the private key instead, as it is stored.")
@click.option("--yes", is_flag=True, help="Do not ask before the private key is printed.")
@trust_option
@output_option
def export(name: str, public: bool, private: bool, yes: bool, trust: tuple[Path, ...], output: Path | None) -> None:
    """Print the account-key assertion of a key: its public part, signed."""
    keys = keyring()
    if public and private:
        raise UsageError("cannot export both parts at once", hint="name one of --public and --private")
    stored = keys.stored(name)
    if private:
        pem = keys.export_private(name)
        warn(f"this is the private key {name}{'' if stored.encrypted else ', without a passphrase'}:"
             " whoever has it signs in your name")
        if not yes and sys.stdin.isatty():
            click.confirm("Print it?", abort=True, err=True)
        _deliver(pem, output, mode=0o600)
    elif public:
        _deliver(encode_public_pem(stored.public), output, mode=0o644)
    else:
        _deliver(_account_key(stored, trust).encode(), output, mode=0o644)


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
