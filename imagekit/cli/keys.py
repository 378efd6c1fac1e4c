"""`imagekit key`: make keys, take them over, look at them. Whose they are is said in `imagekit.cli.keyowners`.

Private keys go to stdout only when asked for by `key export --private`, past everything that keeps a log.
"""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click

from imagekit.build.accountkeys import Vouched, check_period, make_root, vouch
from imagekit.cli.chain import validity
from imagekit.cli.keyowners import expire, export, renew, vouch_key
from imagekit.cli.keyring import (
    checked_account,
    complete_key,
    described,
    keyring,
    new_passphrase,
    open_authority,
    owners,
    passphrase_from,
    passphrase_option,
    time_option,
)
from imagekit.cli.options import json_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, table, write
from imagekit.digests import short
from imagekit.errors import DocumentError, ImagekitError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.files import read_file, uninterrupted
from imagekit.host.folders import default_trust_dir
from imagekit.host.keyring import StoredKey
from imagekit.host.signer import TIMEOUT_S, program_from
from imagekit.host.trust import MAX_FILE, read_public_key, signing_time, store_root
from imagekit.keys import Signer, sign_content


@click.group(no_args_is_help=True)
def key() -> None:
    """Create and keep signing keys."""


for _command in (vouch_key, renew, expire, export):
    key.add_command(_command)


@key.command()
@click.argument("name")
@click.option("--brand", metavar="ACCOUNT_ID", help="Whose key it is.  [default: NAME, or that of --by]")
@click.option("--by", "by", metavar="KEY", shell_complete=complete_key,
              help="The root that vouches for it.  [default: itself]")
@time_option("--since", "From when it is in force, as 2026-01-31T00:00:00Z.  [default: SOURCE_DATE_EPOCH, or now]")
@time_option("--until", "When it ends.  [default: never]")
@click.option("--no-account", is_flag=True, help="Make a key that is nobody's, and believed of nothing: a station's.")
@passphrase_option
@click.option("--by-passphrase-file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="Take the passphrase of the root from the first line of FILE.")
@trust_option
@json_option
def create(name: str, brand: str | None, by: str | None, since: datetime | None, until: datetime | None,
           no_account: bool, passphrase_file: Path | None, by_passphrase_file: Path | None, trust: tuple[Path, ...],
           as_json: bool) -> None:
    """Make an RSA key of 4096 bits, and say whose it is.

    Your own folder of trust gets the brand's account and account-key. Both are signed by the key, which makes it a root
    of trust; or with --by they are signed by a root that you have, whose passphrase is asked for too. With --no-account
    it is a key without any trust, as a factory station signs its log with.
    """
    if no_account:
        if brand or by or since or until:
            raise UsageError("cannot make a key without an account: --brand, --by, --since and --until are of one")
        keyring().create(name, passphrase=new_passphrase(passphrase_file, name=name))
        _tell(keyring().stored(name), None, as_json=as_json, nobodys=True)
        return
    clock = SystemClock()
    start = since or signing_time(clock)
    root = open_authority(by, by_passphrase_file, trust) if by is not None else None
    account_id = checked_account(brand or (root.account_id if root else name))
    check_period(start, until)
    keys = keyring()
    private = keys.create(name, passphrase=new_passphrase(passphrase_file, name=name))
    try:
        if root is None:
            made = make_root(private, account_id=account_id, name=name, since=start, until=until)
        else:
            made = vouch(private.public, root, account_id=account_id, name=name, since=start, until=until,
                         now=clock.now())
    except BaseException:  # Ctrl-C too, where the root's program asks for its PIN
        keys.remove(name)
        raise
    with uninterrupted():  # the key and what says whose it is are there together, or neither
        try:
            store_root(default_trust_dir(), account=made.account, account_key=made.account_key.assertion)
        except ImagekitError:
            keys.remove(name)
            raise
    _tell(keys.stored(name), made, as_json=as_json)


def _tell(stored: StoredKey, made: Vouched | None, *, as_json: bool, nobodys: bool = False) -> None:
    owner = made.account_key if made else owners(()).get(stored.public.key_id)
    if as_json:
        emit_json(described(stored, owner))
        return
    write(stored.public.key_id)
    whose = f" of {owner.account_id}" if owner else ""
    how = "a program has it" if stored.program else "" if stored.encrypted else "no passphrase"
    say(f"key {stored.name}{whose}: {short_path(stored.path)}" + (f" ({how})" if how else ""))
    if owner is None and not nobodys:
        say(f"nothing at hand says whose it is; say it with `imagekit key vouch {stored.name}`, or put its account-key"
            f" into {short_path(default_trust_dir())}")


@key.command()
@click.argument("name")
@click.option("--signer", "command", metavar="COMMAND", required=True,
              help="The program that signs, with its arguments: 'sign-pkcs11 --slot 1'.")
@click.option("--public", "public_file", metavar="FILE", required=True,
              type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Its public key, PEM or DER.")
@click.option("--timeout", "timeout_s", metavar="SECONDS", type=float, default=TIMEOUT_S, show_default=True,
              help="How long the program may take.")
@json_option
def add(name: str, command: str, public_file: Path, timeout_s: float, as_json: bool) -> None:
    """Add a key that a program has: a PKCS#11 token, an HSM, a KMS.

    The program is handed the digest of what is signed and gives a signature back, which is verified before it is used
    (docs/reference/keys.md). Its private part never comes here.
    """
    stored = keyring().add_external(name, read_public_key(public_file), program_from(command, timeout_s=timeout_s))
    _tell(stored, None, as_json=as_json)


@key.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--name", metavar="NAME", help="Its name here.  [default: the file's]")
@click.option("--key-id", metavar="ID", help="Which key of an export: its fingerprint, its name, or its key id.")
@passphrase_option
@json_option
def import_key(file: Path, name: str | None, key_id: str | None, passphrase_file: Path | None,
               as_json: bool) -> None:
    """Take over a private key that was made elsewhere; - for stdin.

    Read are PEM (PKCS#8, PKCS#1), and what `gpg --export-secret-keys` writes, as for the keys that `snap create-key`
    made. It keeps its passphrase.
    """
    piped = file == Path("-")
    if piped and name is None:
        raise UsageError("cannot import a key from stdin: it needs a name", hint="name it with --name")
    name = name or file.stem
    raw = sys.stdin.buffer.read(MAX_FILE + 1) if piped else read_file(file, limit=MAX_FILE)
    if len(raw) > MAX_FILE:
        raise DocumentError("cannot import a key from stdin: it is too large for one")
    if raw.startswith(b"type:"):
        raise UsageError(f"cannot import {file}: it is an assertion, not a private key",
                         hint=f"to trust it, put it into {default_trust_dir()}, or into a folder named with --trust")
    ask = passphrase_from(passphrase_file, name=name, piped=piped)
    _tell(keyring().add(name, raw, passphrase=ask, key_id=key_id), None, as_json=as_json)


@key.command(name="list")
@trust_option
@json_option
def list_keys(trust: tuple[Path, ...], as_json: bool) -> None:
    """List your keys."""
    keys = keyring()
    known = owners(trust)
    found = [keys.stored(name) for name in keys.names()]
    if as_json:
        emit_json({"keys": [described(stored, known.get(stored.public.key_id)) for stored in found]})
        return
    if not found:
        say(f"no keys in {short_path(keys.folder)}; make one with `imagekit key create NAME`")
        return
    table(("name", "brand", "kind", "bits", "passphrase", "key id"),
          [(stored.name, owner.account_id if (owner := known.get(stored.public.key_id)) else "-", stored.kind.value,
            stored.public.bits, "-" if stored.program else "yes" if stored.encrypted else "no",
            short(stored.public.key_id)) for stored in found],
          right=("bits",))


@key.command()
@click.argument("name", shell_complete=complete_key)
@trust_option
@json_option
def show(name: str, trust: tuple[Path, ...], as_json: bool) -> None:
    """Show what is known of one key."""
    stored = keyring().stored(name)
    owner = owners(trust).get(stored.public.key_id)
    if as_json:
        emit_json(described(stored, owner))
        return
    write(f"name: {stored.name}\nkind: {stored.kind.value}\nkey-id: {stored.public.key_id}\nbits: {stored.public.bits}")
    if stored.program:
        write(f"program: {' '.join(stored.program.argv)}\ntimeout: {stored.program.timeout_s:g} s")
    else:
        write(f"passphrase: {'yes' if stored.encrypted else 'no'}")
    write(f"file: {stored.path}")
    if owner is not None:
        by = "a root of trust" if owner.self_signed else f"vouched for by key {short(owner.assertion.key_id)}"
        revision = f", revision {owner.assertion.revision}" if owner.assertion.revision else ""
        write(f"brand: {owner.account_id}, {validity(owner)}{revision}, {by}")


@key.command()
@click.argument("name", shell_complete=complete_key)
@passphrase_option
@json_option
def check(name: str, passphrase_file: Path | None, as_json: bool) -> None:
    """Sign a harmless text with a key, to see that it signs."""
    keys = keyring()
    signer: Signer = keys.load(name, passphrase=passphrase_from(passphrase_file, name=name))
    sign_content(signer, b"imagekit key check\n", created=SystemClock().now(), what="a test text")
    if as_json:
        emit_json({"name": name, "key_id": signer.public.key_id, "signs": True})
        return
    say(f"key {name} signs")
