"""Change whom the user trusts: put roots into the user's own folder of trust, and take them out.

Decides what may go in: accounts and account-keys, self-signed or led back to a root by what is in the folder and in the
same file; nothing else would be believed for lying there. The roots that come with the program (`known_roots`) are not
believed before they are added.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from importlib import resources
from pathlib import Path

from imagekit.assertions import parse_account_key
from imagekit.assertions.database import Database
from imagekit.assertions.fields import ACCOUNT_ID
from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.digests import short
from imagekit.errors import HostError, TrustError, UsageError
from imagekit.host.files import reason, write_atomic
from imagekit.host.trust import TrustFile, trust_files

KNOWN_ROOTS = ("canonical",)
SHORTEST_ID = 8  # characters of a key id that name it


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """An assertion and the file that shall hold it; `known`: it does already."""

    assertion: Assertion
    path: Path
    root: bool
    known: bool = False


def known_root(name: str) -> tuple[Assertion, ...]:
    """The root account and account-key of that name that come with the program, unproved."""
    folder = resources.files("imagekit.host") / "known_roots"
    return tuple(assertion for suffix in ("account", "account-key")
                 for assertion in decode_stream((folder / f"{name}.{suffix}").read_bytes(), name=f"{name}.{suffix}"))


def own_files(folder: Path) -> tuple[TrustFile, ...]:
    """The files of one's own folder, which may be absent."""
    return trust_files(folder) if folder.exists() else ()


def plan_additions(folder: Path, offered: Iterable[Assertion], *, now: datetime) -> tuple[Addition, ...]:
    """What adding these to the folder would write.

    Raises:
        UsageError: they are not accounts and account-keys.
        TrustError: one is not in force, its signature does not hold, or it leads to no root.
    """
    present = own_files(folder)
    wanted = tuple(offered)
    for assertion in wanted:
        if assertion.type not in ("account", "account-key"):
            raise UsageError(f"cannot trust {assertion.label}: only an account-key and its account make a root",
                             hint="what they vouch for is verified anew each time, it need not be kept")
    kept = tuple(assertion for file in present for assertion in file.assertions)
    database = Database((*kept, *(item for item in wanted if is_root(item))))
    for assertion in wanted:
        database.add(assertion)
    for assertion in wanted:
        database.verify(assertion, now=now)
    return tuple(_place(folder, present, item) for item in wanted)


def _place(folder: Path, present: tuple[TrustFile, ...], assertion: Assertion) -> Addition:
    root = is_root(assertion)
    for file in present:
        for other in file.assertions:
            if (other.type, other.primary_key) != (assertion.type, assertion.primary_key):
                continue
            if other.content == assertion.content:
                return Addition(assertion=assertion, path=file.path, root=root, known=True)
            if other.revision >= assertion.revision:
                raise TrustError(f"cannot trust {assertion.label}: {file.path} holds its revision {other.revision},"
                                 " and they differ", hint="keep the right one of the two")
            if len(file.assertions) > 1:
                raise UsageError(f"cannot replace {assertion.label}: {file.path} holds others too",
                                 hint="put the new revision into that file by hand")
            return Addition(assertion=assertion, path=file.path, root=root)
    account = assertion.text("account-id")
    if not ACCOUNT_ID.pattern.match(account):
        raise UsageError(f"cannot trust {assertion.label}: {account!r} is not {ACCOUNT_ID.what}")
    name = f"{account}-{short(assertion.primary_key[0])}" if assertion.type == "account-key" else account
    return Addition(assertion=assertion, path=folder / f"{name}.{assertion.type}", root=root)


def is_root(assertion: Assertion) -> bool:
    """Whether it is an account-key that signed itself."""
    return assertion.type == "account-key" and assertion.key_id == assertion.text("public-key-sha3-384")


def write_additions(additions: Iterable[Addition]) -> None:
    """Carry the plan out, accounts first. Raises: HostError: a file cannot be written."""
    for item in sorted(additions, key=lambda item: item.assertion.type):
        if not item.known:
            write_atomic(item.path, item.assertion.encode())


def plan_removal(folder: Path, name: str) -> tuple[TrustFile, ...]:
    """The files of an account, or of the key with that id or beginning of one.

    Raises:
        UsageError: there are none, or one of them holds something else too.
    """
    files = own_files(folder)
    keys = [item for file in files for item in file.assertions if item.type == "account-key"]
    by_id = {item.primary_key[0] for item in keys if len(name) >= SHORTEST_ID
             and item.primary_key[0].lstrip("-").startswith(name.lstrip("-"))}
    if name in {item.text("account-id") for file in files for item in file.assertions}:
        named = {item.content for file in files for item in file.assertions if item.text("account-id") == name}
    else:
        named = {item.content for item in keys if item.primary_key[0] in by_id}
        owners = {item.text("account-id") for item in keys if item.content in named}
        left = {item.text("account-id") for item in keys if item.content not in named}
        named |= {item.content for file in files for item in file.assertions
                  if item.type == "account" and item.text("account-id") in owners - left}
    found = tuple(file for file in files if any(item.content in named for item in file.assertions))
    if not found:
        accounts = sorted({item.text("account-id") for item in keys})
        raise UsageError(f"cannot remove {name!r}: no account and no key in {folder} is called so",
                         hint=f"there is {', '.join(accounts)}" if accounts else "the folder is empty")
    for file in found:
        if others := [item.label for item in file.assertions if item.content not in named]:
            raise UsageError(f"cannot remove {name!r}: {file.path} holds {others[0]} too",
                             hint="take the file apart by hand")
    return found


def remove_files(files: Iterable[TrustFile]) -> None:
    """Raises: HostError: one cannot be removed."""
    for file in files:
        try:
            file.path.unlink(missing_ok=True)
        except OSError as error:
            raise HostError(f"cannot remove {file.path}: {reason(error)}") from error


def accounts_in(folder: Path) -> tuple[str, ...]:
    """The accounts that have a key in the folder."""
    return tuple(sorted({parse_account_key(item).account_id for file in own_files(folder)
                         for item in file.assertions if item.type == "account-key"}))
