"""What the commands about a store share: which store, its keys, and how an outcome is told."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click
from securesystemslib.signer import Signer

from imagekit.cli.keyring import passphrase_from
from imagekit.cli.output import emit_json, say, short_path, warn
from imagekit.errors import DocumentError, ImagekitError, UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.files import read_file
from imagekit.host.storekeys import StoreKeyring, default_store_keys_dir
from imagekit.plan.channelmap import MAX_ADVISORY, WHOLE
from imagekit.plan.channels import Channel, parse_channel
from imagekit.store.commit import Outcome
from imagekit.store.metadata import ONLINE
from imagekit.store.repository import Store, opened

F = TypeVar("F", bound=Callable[..., Any])


def store_option(function: F) -> F:
    """`-s/--store DIR`, passed as `store: Path`."""
    return click.option("-s", "--store", metavar="DIR", envvar="IMAGEKIT_STORE", show_envvar=True, default="store",
                        show_default=True, type=click.Path(path_type=Path, file_okay=False),
                        help="The folder of the store.")(function)


class Channels(click.ParamType[Channel]):
    """A channel on the command line."""

    name = "channel"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Channel:
        try:
            return value if isinstance(value, Channel) else parse_channel(value)
        except DocumentError as error:
            raise UsageError(error.message) from error


class Percent(click.ParamType[int]):
    """Percent of all devices, as ten-thousandths."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        whole, _, part = str(value).partition(".")
        if not (whole.isascii() and whole.isdecimal() and len(part) <= 2 and (not part or part.isdecimal())
                and (share := int(whole) * 100 + int(part.ljust(2, "0") if part else 0)) <= WHOLE):
            raise UsageError(f"cannot use {value!r} as percent: 0 to 100 is allowed, with two digits behind the point")
        return share


def shown_percent(share: int) -> str:
    return f"{share / 100:g} %"


class KeysAtHand:
    """The user's store keys; each is opened once, and its passphrase asked for only when it has to sign."""

    def __init__(self, keyring: StoreKeyring, passphrase_file: Path | None) -> None:
        self.keyring = keyring
        self._file = passphrase_file
        self._opened: dict[str, Signer] = {}

    def signer(self, key_id: str) -> Signer | None:
        if key_id not in self._opened:
            stored = self.keyring.named(key_id)
            if stored is None or not stored.has_private:
                return None
            ask = passphrase_from(self._file, name=stored.name)
            self._opened[key_id] = self.keyring.signer(stored.name, passphrase=ask)
        return self._opened[key_id]


    def has(self, key_id: str) -> bool:
        """Whether a key can sign without somebody being asked who may not be there."""
        stored = self.keyring.named(key_id)
        return stored is not None and stored.has_private and (
            not stored.encrypted or self._file is not None or sys.stdin.isatty())


def store_keyring() -> StoreKeyring:
    """The user's store keys."""
    return StoreKeyring(default_store_keys_dir())


def complete_store_key(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The names of store keys, for the shell."""
    with suppress(ImagekitError, OSError):
        return [name for name in store_keyring().names() if name.startswith(incomplete)]
    return []


@contextmanager
def open_store(folder: Path, passphrase_file: Path | None = None) -> Iterator[Store]:
    """The store, held until the block ends."""
    with opened(folder, KeysAtHand(store_keyring(), passphrase_file), now=SystemClock().now(),
                told=lambda: say(f"waiting: another imagekit changes {short_path(folder)}")) as store:
        yield store


def text_of(value: str | None, file: Path | None, *, option: str) -> str:
    """A text from the command line or from a file; empty for neither."""
    if value is not None and file is not None:
        raise UsageError(f"cannot use --{option} and --{option}-file together")
    if file is not None:
        try:
            return read_file(file, limit=4 * MAX_ADVISORY).decode().replace("\r\n", "\n").strip()
        except UnicodeDecodeError as error:
            raise DocumentError(f"cannot read {file}: it is not UTF-8") from error
    return (value or "").strip()


def tell(outcome: Outcome | None, store: Path, *, as_json: bool, **more: object) -> None:
    """What became of a change, to people or programs."""
    if outcome is None:
        if as_json:
            emit_json({"changed": False, "published": True, "abrupt": False, "versions": {}, "lacks": [], "pending": [],
                       "ended": [], **more})
        else:
            say("nothing changes: it is so already")
        return
    if outcome.ended:
        warn(f"{', '.join(outcome.ended)} ended: no device believes that until it is renewed: imagekit store renew")
    if as_json:
        emit_json({"changed": True, "published": outcome.published, "versions": dict(outcome.versions),
                   "abrupt": outcome.abrupt, "pending": [str(path) for path in outcome.pending],
                   "ended": list(outcome.ended), **more, "lacks": [
                       {"role": lack.role, "missing": lack.missing, "key_ids": list(lack.key_ids)}
                       for lack in outcome.lacks]})
        return
    if outcome.published:
        say("published: " + ", ".join(f"{role} {version}" for role, version in sorted(outcome.versions.items())))
        if outcome.abrupt:
            say("a replaced key was not at hand to sign once more: devices that come at this moment try again later")
        return
    keyring = store_keyring()
    say("not published yet: signatures are missing")
    for lack in dict.fromkeys(outcome.lacks):  # a root that keeps its keys lacks the same by the old and the new one
        names = [key.name if (key := keyring.named(key_id)) else key_id[:12] for key_id in lack.key_ids]
        say(f"  {lack.role}: {lack.missing} more of {', '.join(names)}")
    lacking = {lack.role for lack in outcome.lacks}
    if lacking <= set(ONLINE):
        say(f"what waits is signed; where the keys of {' and '.join(sorted(lacking))} are: imagekit store apply --store"
            f" {short_path(store)}")
        return
    for path in outcome.pending:
        if path.stem in lacking:
            say(f"sign where the keys are: imagekit store sign {short_path(path)} -k KEY")
    say(f"then here: imagekit store apply FILE... --store {short_path(store)}")
