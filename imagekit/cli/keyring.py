"""What the commands about keys share: where keys and roots are, passphrases, and what is told of a key.

A passphrase comes from a prompt that shows nothing, or from a file; never from the command line.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import click

from imagekit.assertions import AccountKey, parse_account_key
from imagekit.assertions.database import Database
from imagekit.assertions.fields import ACCOUNT_ID, format_time, parse_time
from imagekit.assertions.wire import Assertion
from imagekit.build.sign import Authority, authority_for
from imagekit.errors import ImagekitError, UsageError
from imagekit.host.files import read_file
from imagekit.host.folders import default_keys_dir, default_trust_dir
from imagekit.host.keyring import Keyring, StoredKey
from imagekit.host.trust import MAX_FILE, load_trust

F = TypeVar("F", bound=Callable[..., Any])
MAX_PASSPHRASE = 1000


def passphrase_option(function: F) -> F:
    """`--passphrase-file FILE`, passed as `passphrase_file: Path | None`."""
    return click.option("--passphrase-file", metavar="FILE", envvar="IMAGEKIT_PASSPHRASE_FILE", show_envvar=True,
                        type=click.Path(path_type=Path, exists=True, dir_okay=False),
                        help="Take the key's passphrase from the first line of FILE; /dev/fd/N for a descriptor."
                        )(function)


def time_option(name: str, help_text: str, *, required: bool = False) -> Callable[[F], F]:
    """An option whose value is a point in time of RFC 3339, passed as `datetime | None`."""
    return click.option(name, metavar="TIME", callback=_time, required=required, help=help_text)


def _time(_ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    try:
        return parse_time(value) if value is not None else None
    except ValueError as error:
        raise UsageError(f"cannot use --{param.name}: {error}") from error


def keyring() -> Keyring:
    """The user's keys."""
    return Keyring(default_keys_dir())


def complete_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The names of keys, for the shell; none where they may not be read."""
    with contextlib.suppress(ImagekitError, OSError):
        return [name for name in keyring().names() if name.startswith(incomplete)]
    return []


def trusted(more: tuple[Path, ...]) -> tuple[Assertion, ...]:
    """What the user trusts: the own folder, and those named on the command line."""
    return load_trust((default_trust_dir(), *more))


def open_authority(name: str, passphrase_file: Path | None, trust: tuple[Path, ...]) -> Authority:
    """The key called `name`, opened, and whose it is."""
    key = keyring().load(name, passphrase=passphrase_from(passphrase_file, name=name))
    return authority_for(key, trusted(trust), name=name)


def checked_account(account_id: str) -> str:
    """Raises: UsageError: it is no account id."""
    if not ACCOUNT_ID.match(account_id):
        raise UsageError(f"cannot use {account_id!r} as an account id: 2 to 28 of a-z, 0-9 and hyphen are allowed,"
                         " or 32 letters and digits", hint="name it with --brand")
    return account_id


def passphrase_from(file: Path | None, *, name: str, piped: bool = False) -> Callable[[], bytes]:
    """Asks for the passphrase of an existing key when it is needed. `piped`: the key itself comes on stdin.

    Raises (when called):
        UsageError: there is neither a file nor a terminal to ask at.
    """
    def ask() -> bytes:
        if file is not None:
            return _first_line(file)
        watched = sys.stderr if piped else sys.stdin  # the prompt itself reads from the controlling terminal
        if not watched.isatty():
            raise UsageError(f"cannot open key {name!r}: it has a passphrase, and there is no terminal to ask for it",
                             hint="name a file that holds it with --passphrase-file")
        return str(click.prompt(f"Passphrase of key {name}", hide_input=True, err=True)).encode()
    return ask


def new_passphrase(file: Path | None, *, name: str) -> bytes | None:
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


def owners(trust: tuple[Path, ...]) -> dict[str, AccountKey]:
    """The account-keys in the folders of trust, the newest revision of each, by key id."""
    found = (parse_account_key(item) for item in Database(trusted(trust)).all("account-key"))
    return {item.key_id: item for item in found}


def described(stored: StoredKey, owner: AccountKey | None) -> dict[str, object]:
    """The JSON form of a key (docs/reference/keys.md)."""
    program = stored.program and {"argv": list(stored.program.argv), "timeout_s": stored.program.timeout_s}
    return {"name": stored.name, "kind": stored.kind.value, "key_id": stored.public.key_id,
            "bits": stored.public.bits, "passphrase": stored.encrypted, "file": str(stored.path), "program": program,
            "account_keys": [account_key_json(owner)] if owner else []}


def account_key_json(owner: AccountKey) -> dict[str, object]:
    """Whose a key is, in JSON (docs/reference/keys.md)."""
    return {"account_id": owner.account_id, "name": owner.name, "since": format_time(owner.since),
            "until": format_time(owner.until) if owner.until else None, "self_signed": owner.self_signed,
            "revision": owner.assertion.revision, "sign_key": owner.assertion.key_id}
