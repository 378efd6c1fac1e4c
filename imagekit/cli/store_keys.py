"""`imagekit store key`, `publisher`, `sign`, `apply`: who signs what in a store."""

from __future__ import annotations

import sys
from pathlib import Path

import click
from securesystemslib.signer import Key

from imagekit.assertions import Assertion, Database
from imagekit.cli.keyring import new_passphrase, passphrase_from, passphrase_option, trusted
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, table, warn, write
from imagekit.cli.store_options import complete_store_key, open_store, store_keyring, store_option, tell
from imagekit.digests import short
from imagekit.errors import UsageError
from imagekit.host.files import read_file, write_atomic
from imagekit.host.storekeys import KINDS, StoreKey, encode_public
from imagekit.host.trust import MAX_FILE
from imagekit.store.offline import apply as apply_signatures
from imagekit.store.offline import discard as discard_pending
from imagekit.store.offline import read_statement, sign_statement
from imagekit.store.repository import Store
from imagekit.store.roles import (
    RoleKeys,
    add_key,
    checked_role,
    lost_names,
    remove_key,
    remove_publisher,
    set_publisher,
    threshold_of,
)

NAME = click.argument("name", shell_complete=complete_store_key)
ROLE = click.option("--role", "roles", metavar="ROLE", required=True, multiple=True,
                    help="root, targets, snapshot or timestamp. Given again, all of it is one change.")
THRESHOLD = click.option("--threshold", type=click.IntRange(1), metavar="N",
                         help="How many keys have to sign.  [default: as many as now; 1 of a new publisher]")


@click.group(no_args_is_help=True)
def key() -> None:
    """The keys that sign what a store says.

    They lie in a folder of their own, apart from the keys of brands.
    """


@key.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="Ed25519, or RSA of 4096.")
@passphrase_option
@json_option
def create(name: str, kind: str, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a key. It signs for nothing until a store says so."""
    stored = store_keyring().create(name, kind=kind, passphrase=new_passphrase(passphrase_file, name=name))
    _tell_key(stored, as_json=as_json)


@key.command(name="import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", metavar="NAME", help="Its name here.  [default: the file's]")
@passphrase_option
@json_option
def import_key(file: Path, name: str | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Take over a private key in PEM, or the public one of a key that is elsewhere (`key export`)."""
    name = name or file.stem
    stored = store_keyring().add(name, read_file(file, limit=MAX_FILE),
                                 passphrase=passphrase_from(passphrase_file, name=name))
    _tell_key(stored, as_json=as_json)


@key.command()
@NAME
@output_option
def export(name: str, output: Path | None) -> None:
    """Print the public key, for the machine with the store; with -o into a file."""
    content = encode_public(store_keyring().stored(name).public)
    if output is None:
        sys.stdout.write(content.decode())
    else:
        write_atomic(output, content)
        say(f"written to {short_path(output)}")


@key.command(name="list")
@json_option
def list_keys(as_json: bool) -> None:
    """List your store keys."""
    found = store_keyring().all()
    if as_json:
        emit_json({"keys": [_key_json(item) for item in found]})
    elif not found:
        say("no store keys; make one with `imagekit store key create NAME`, or with `imagekit store init`")
    else:
        table(("name", "kind", "passphrase", "key id"),
              [(item.name, item.kind, "-" if not item.has_private else "yes" if item.encrypted else "no",
                short(item.key_id)) for item in found])


@key.command()
@NAME
@ROLE
@THRESHOLD
@store_option
@passphrase_option
@json_option
def add(name: str, roles: tuple[str, ...], threshold: int | None, store: Path, passphrase_file: Path | None,
        as_json: bool) -> None:
    """Let a key sign for a role of the store; also to change only the threshold.

    An online key that is lost is replaced in both its roles at once: alone, each of them waits for it.
    """
    stored = store_keyring().stored(name)
    with open_store(store, passphrase_file) as held:
        draft = held.draft()
        for role in map(checked_role, dict.fromkeys(roles)):
            add_key(draft, role, stored.public, threshold=threshold)
        tell(held.commit(draft), store, as_json=as_json)


@key.command()
@click.argument("name", metavar="NAME|KEY-ID", shell_complete=complete_store_key)
@ROLE
@THRESHOLD
@store_option
@passphrase_option
@json_option
def remove(name: str, roles: tuple[str, ...], threshold: int | None, store: Path, passphrase_file: Path | None,
           as_json: bool) -> None:
    """Believe a key no longer for a role of the store. Private keys are not touched."""
    with open_store(store, passphrase_file) as held:
        draft = held.draft()
        for role in map(checked_role, dict.fromkeys(roles)):
            remove_key(draft, role, _key_id(held, role, name), threshold=threshold)
        tell(held.commit(draft), store, as_json=as_json)


def _key_id(store: Store, role: str, name: str) -> str:
    keyring = store_keyring()
    if name in keyring.names():
        return keyring.stored(name).key_id
    found = [key_id for key_id in store.published.root.signed.roles[role].keyids if key_id.startswith(name)]
    if len(found) != 1 or len(name) < 8:
        raise UsageError(f"cannot find key {name!r} of {role}: name it by its name here, or by at least 8 characters"
                         " of its id")
    return str(found[0])


def _tell_key(stored: StoreKey, *, as_json: bool) -> None:
    if as_json:
        emit_json(_key_json(stored))
        return
    write(stored.key_id)
    how = "" if stored.encrypted else " (no passphrase)" if stored.has_private else " (public part only)"
    say(f"store key {stored.name}: {short_path(stored.path)}{how}")


def _key_json(stored: StoreKey) -> dict[str, object]:
    return {"name": stored.name, "key_id": stored.key_id, "kind": stored.kind, "private": stored.has_private,
            "encrypted": stored.encrypted, "file": str(stored.path)}


@click.group(no_args_is_help=True)
def publisher() -> None:
    """Who may publish which packages in a store."""


@publisher.command(name="add")
@click.argument("account")
@click.option("--package", "packages", metavar="NAME", multiple=True,
              help="A package name, or the beginning of names with a * behind it. Replaces what was given before.")
@click.option("--key", "-k", "keys", metavar="KEY", multiple=True, shell_complete=complete_store_key,
              help="A store key that signs for the account. Replaces those it had.")
@THRESHOLD
@store_option
@trust_option
@passphrase_option
@json_option
def add_publisher(account: str, packages: tuple[str, ...], keys: tuple[str, ...], threshold: int | None, store: Path,
                  trust: tuple[Path, ...], passphrase_file: Path | None, as_json: bool) -> None:
    """Let an account publish packages, or change what it may. The store's targets key signs it.

    Run it again when the account has new keys: what your folders of trust say of it travels to devices.
    """
    found: list[Key] = [store_keyring().stored(name).public for name in dict.fromkeys(keys)]
    if not found and threshold is not None:
        raise UsageError("cannot change the threshold alone: name the publisher's keys with --key too")
    with open_store(store, passphrase_file) as held:
        given = RoleKeys(keys=tuple(found), threshold=threshold or threshold_of(held, account)) if found else None
        draft = held.draft()
        set_publisher(held, draft, account, given, patterns=packages, assertions=_about(account, trust))
        if lost := lost_names(held, draft, account):
            warn(f"no device finds {', '.join(lost)} any more: what --package names replaces what was given before")
        tell(held.commit(draft), store, as_json=as_json, account=account)


def _about(account: str, trust: tuple[Path, ...]) -> tuple[Assertion, ...]:
    """The account and all its keys, the newest revision of each, out of the folders of trust."""
    database = Database(trusted(trust))
    found = [item for kind in ("account", "account-key") for item in database.all(kind)
             if item.text("account-id") == account]
    if not found:
        raise UsageError(f"cannot add publisher {account!r}: nothing in your folders of trust is about that account",
                         hint="put its account and account-key there (`imagekit trust add FILE`), or name a folder with"
                              " --trust")
    return tuple(found)


@publisher.command(name="remove")
@click.argument("account")
@store_option
@passphrase_option
@json_option
def drop_publisher(account: str, store: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Believe nothing of an account any more. Devices keep what they run, and get nothing new of it."""
    with open_store(store, passphrase_file) as held:
        draft = held.draft()
        remove_publisher(draft, account)
        tell(held.commit(draft), store, as_json=as_json, account=account)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-k", "--key", "keys", metavar="KEY", multiple=True, required=True, shell_complete=complete_store_key,
              help="The store key to sign with.")
@output_option
@passphrase_option
@json_option
def sign(file: Path, keys: tuple[str, ...], output: Path | None, passphrase_file: Path | None, as_json: bool) -> None:
    """Sign what waits in a store's folder pending, where the key is. No store is needed for that.

    What the file says is told first. It is written back to FILE, or to --output.
    """
    statement, keyring = read_statement(file), store_keyring()
    if not as_json:
        say(f"{file.name}: {statement.role_type} version {statement.version}, valid until {statement.expires}")
        for line in statement.lines:
            say(f"  {line}")
    signers = [keyring.signer(name, passphrase=passphrase_from(passphrase_file, name=name)) for name in keys]
    count = sign_statement(statement, signers, output or file)
    if as_json:
        emit_json({"file": str(output or file), "type": statement.role_type, "version": statement.version,
                   "expires": statement.expires, "says": list(statement.lines), "signatures": count})
    else:
        say(f"signed: {count} signature{'s' if count != 1 else ''} in {short_path(output or file)}")


@click.command()
@click.argument("files", nargs=-1, metavar="[FILE]...", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--discard", is_flag=True, help="Give up the change that waits.")
@store_option
@passphrase_option
@json_option
def apply(files: tuple[Path, ...], discard: bool, store: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Bring signatures back, and publish the change that waited for them."""
    with open_store(store, passphrase_file) as held:
        if discard:
            gone = discard_pending(held)
            if as_json:
                emit_json({"discarded": list(gone)})
            else:
                say(f"given up: {', '.join(gone) or 'nothing was waiting'}")
            return
        tell(apply_signatures(held, files), store, as_json=as_json)
