"""`imagekit key`: make keys, look at them, carry them elsewhere.

A passphrase comes from a prompt that shows nothing, or from a file; never from the command line. Private keys go to
stdout only when asked for by `--private`, past everything that keeps a log.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from imagekit.assertions.database import Database
from imagekit.assertions.fields import ACCOUNT_ID, format_time, parse_time
from imagekit.assertions.types import AccountKey, parse_account_key
from imagekit.assertions.wire import Assertion
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, table, warn, write
from imagekit.digests import short
from imagekit.errors import HostError, ImagekitError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.files import read_file, write_atomic
from imagekit.host.folders import default_keys_dir, default_trust_dir
from imagekit.host.keyring import Keyring, StoredKey
from imagekit.host.trust import MAX_FILE, load_trust, signing_time, store_root

F = TypeVar("F", bound=Callable[..., Any])
MAX_PASSPHRASE = 1000


def passphrase_option(function: F) -> F:
    """`--passphrase-file FILE`, passed as `passphrase_file: Path | None`."""
    return click.option("--passphrase-file", metavar="FILE", envvar="IMAGEKIT_PASSPHRASE_FILE", show_envvar=True,
                        type=click.Path(path_type=Path, exists=True, dir_okay=False),
                        help="Take the key's passphrase from the first line of FILE.")(function)


def keyring() -> Keyring:
    """The user's keys."""
    return Keyring(default_keys_dir(), SystemClock())


def complete_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The names of keys, for the shell; none where they may not be read."""
    with contextlib.suppress(ImagekitError, OSError):
        return [name for name in keyring().names() if name.startswith(incomplete)]
    return []


def trusted(more: tuple[Path, ...]) -> tuple[Assertion, ...]:
    """What the user trusts: the own folder, and those named on the command line."""
    return load_trust((default_trust_dir(), *more))


def passphrase_from(file: Path | None, *, name: str) -> Callable[[], bytes]:
    """Asks for the passphrase of an existing key when it is needed.

    Raises (when called):
        UsageError: there is neither a file nor a terminal to ask at.
    """
    def ask() -> bytes:
        if file is not None:
            return _first_line(file)
        if not sys.stdin.isatty():
            raise UsageError(f"cannot open key {name!r}: it has a passphrase, and there is no terminal to ask for it",
                             hint="name a file that holds it with --passphrase-file")
        return str(click.prompt(f"Passphrase of key {name}", hide_input=True, err=True)).encode()
    return ask


def _new_passphrase(file: Path | None, *, name: str) -> bytes | None:
    """The passphrase for a new key: from the file, else asked for at a terminal, else none."""
    if file is not None:
        return _first_line(file)
    if not sys.stdin.isatty():
        return None
    text = click.prompt(f"Passphrase for key {name} (empty for none)", hide_input=True, err=True, default="",
                        show_default=False, confirmation_prompt=True)
    return str(text).encode() or None


def _first_line(path: Path) -> bytes:
    line = read_file(path, limit=MAX_FILE).partition(b"\n")[0].removesuffix(b"\r")
    if not 0 < len(line) <= MAX_PASSPHRASE:
        raise UsageError(f"cannot use {path}: its first line must hold a passphrase of 1 to {MAX_PASSPHRASE} bytes")
    return line


def _time(_ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """An option's value as a point in time."""
    try:
        return parse_time(value) if value is not None else None
    except ValueError as error:
        raise UsageError(f"cannot use --{param.name}: {error}") from error


@click.group(no_args_is_help=True)
def key() -> None:
    """Create and keep signing keys."""


@key.command()
@click.argument("name")
@click.option("--brand", metavar="ACCOUNT_ID", help="Whose key it is.  [default: NAME]")
@click.option("--since", metavar="TIME", callback=_time,
              help="From when it is in force, as 2026-01-31T00:00:00Z.  [default: SOURCE_DATE_EPOCH, or now]")
@click.option("--until", metavar="TIME", callback=_time, help="When it ends.  [default: never]")
@passphrase_option
@json_option
def create(name: str, brand: str | None, since: datetime | None, until: datetime | None,
           passphrase_file: Path | None, as_json: bool) -> None:
    """Make an RSA key of 4096 bits and trust it.

    Your own folder of trust gets the brand's account and account-key, both signed by the key: it is its own root.
    """
    brand = brand or name
    if not ACCOUNT_ID.match(brand):
        raise UsageError(f"cannot use {brand!r} as an account id: 2 to 28 of a-z, 0-9 and hyphen are allowed,"
                         " or 32 letters and digits", hint="name it with --brand")
    keys, start = keyring(), since or signing_time(SystemClock())
    if until is not None and until <= start:
        raise UsageError(f"cannot make a key that ends {format_time(until)}: it begins {format_time(start)}")
    made = keys.create(name, account_id=brand, passphrase=_new_passphrase(passphrase_file, name=name), since=start,
                       until=until)
    try:
        written = store_root(default_trust_dir(), account=made.account, account_key=made.account_key)
    except (UsageError, HostError):
        keys.remove(name)
        raise
    stored = keys.stored(name)
    if as_json:
        emit_json(_described(stored, (parse_account_key(made.account_key),)))
        return
    write(stored.public.key_id)
    say(f"key {name} of {brand}: {short_path(stored.path)}" + ("" if stored.encrypted else " (no passphrase)"))
    for path in written:
        say(f"trusted: {short_path(path)}")


@key.command(name="list")
@trust_option
@json_option
def list_keys(trust: tuple[Path, ...], as_json: bool) -> None:
    """List your keys."""
    keys = keyring()
    owners = _owners(trust)
    found = [keys.stored(name) for name in keys.names()]
    if as_json:
        emit_json({"keys": [_described(stored, owners.get(stored.public.key_id, ())) for stored in found]})
        return
    if not found:
        say(f"no keys in {short_path(keys.folder)}; make one with `imagekit key create NAME`")
        return
    table(("name", "brand", "bits", "passphrase", "key id"),
          [(stored.name, ", ".join(owner.account_id for owner in owners.get(stored.public.key_id, ())) or "-",
            stored.public.bits, "yes" if stored.encrypted else "no", short(stored.public.key_id)) for stored in found],
          right=("bits",))


@key.command()
@click.argument("name", shell_complete=complete_key)
@trust_option
@json_option
def show(name: str, trust: tuple[Path, ...], as_json: bool) -> None:
    """Show what is known of one key."""
    stored = keyring().stored(name)
    owners = _owners(trust).get(stored.public.key_id, ())
    if as_json:
        emit_json(_described(stored, owners))
        return
    write(f"name: {stored.name}\nkey-id: {stored.public.key_id}\nbits: {stored.public.bits}")
    write(f"passphrase: {'yes' if stored.encrypted else 'no'}\nfile: {stored.path}")
    for owner in owners:
        until = f", until {format_time(owner.until)}" if owner.until else ""
        write(f"brand: {owner.account_id}, since {format_time(owner.since)}{until}"
              f"{', a root of trust' if owner.self_signed else ''}")


@key.command()
@click.argument("name", shell_complete=complete_key)
@click.option("--private", is_flag=True, help="Print the private key instead, as it is stored.")
@trust_option
@output_option
def export(name: str, private: bool, trust: tuple[Path, ...], output: Path | None) -> None:
    """Print the account-key assertion of a key: its public part, signed."""
    keys = keyring()
    if private:
        pem = keys.export_private(name)
        encrypted = keys.stored(name).encrypted
        warn(f"this is the private key {name}{'' if encrypted else ', without a passphrase'}:"
             " whoever has it signs in your name")
        _deliver(pem, output, mode=0o600)
        return
    key_id = keys.stored(name).public.key_id
    found = Database(trusted(trust)).find("account-key", **{"public-key-sha3-384": key_id})
    if found is None:
        raise UsageError(f"cannot export key {name!r}: no account-key in your folders of trust has it",
                         hint="name the folder that holds it with --trust")
    _deliver(found.encode(), output, mode=0o644)


@key.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="Its name here.  [default: the file's]")
@passphrase_option
@json_option
def import_key(file: Path, name: str | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Take over a private key (PEM) that was made or exported elsewhere.

    It keeps its passphrase. Whose key it is says an account-key assertion; import it with the key, into a folder that
    you name with --trust.
    """
    name = name or file.stem
    raw = read_file(file, limit=MAX_FILE)
    if raw.startswith(b"type:"):
        raise UsageError(f"cannot import {file}: it is an assertion, not a private key",
                         hint=f"to trust it, put it into {default_trust_dir()}, or into a folder named with --trust")
    stored = keyring().add(name, raw, passphrase=passphrase_from(passphrase_file, name=name))
    if as_json:
        emit_json(_described(stored, _owners(()).get(stored.public.key_id, ())))
        return
    write(stored.public.key_id)
    say(f"key {name}: {short_path(stored.path)}" + ("" if stored.encrypted else " (no passphrase)"))


def _deliver(content: bytes, output: Path | None, *, mode: int) -> None:
    """To the file, or to stdout past the log."""
    if output is not None:
        write_atomic(output, content, mode=mode)
        say(f"wrote {output}")
        return
    click.echo(content, nl=False)


def _owners(trust: tuple[Path, ...]) -> dict[str, tuple[AccountKey, ...]]:
    """The account-keys in the folders of trust, by key id."""
    found = (parse_account_key(item) for item in Database(trusted(trust)).all("account-key"))
    return {item.key_id: (item,) for item in found}


def _described(stored: StoredKey, owners: tuple[AccountKey, ...]) -> dict[str, object]:
    """The JSON form of a key (docs/reference/assertions.md)."""
    return {"name": stored.name, "key_id": stored.public.key_id, "bits": stored.public.bits,
            "passphrase": stored.encrypted, "file": str(stored.path),
            "account_keys": [{"account_id": owner.account_id, "name": owner.name, "since": format_time(owner.since),
                              "until": format_time(owner.until) if owner.until else None,
                              "self_signed": owner.self_signed} for owner in owners]}
