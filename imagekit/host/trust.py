"""The folders that say whom the user trusts.

Every assertion file in such a folder counts; the self-signed account-keys among them are the roots
(`imagekit.assertions.database`). One's own roots lie in the user's data folder, where `imagekit key create` puts them;
`--trust` and IMAGEKIT_TRUST name more. A folder that everybody may write to is refused; a file that `ls` does not show
is none of the user's roots.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from imagekit.assertions.wire import Assertion, decode_stream
from imagekit.errors import HostError, TrustError, UsageError
from imagekit.host.files import read_file, reason, write_atomic
from imagekit.host.folders import default_trust_dir, source_date_epoch
from imagekit.host.ports import Clock

__all__ = ["MAX_FILE", "SUFFIXES", "default_trust_dir", "load_trust", "signing_time", "store_root"]

SUFFIXES = (".account", ".account-key", ".assert", ".assertion", ".assertions")
MAX_FILE = 16 << 20


def signing_time(clock: Clock, environ: Mapping[str, str] = os.environ) -> datetime:
    """SOURCE_DATE_EPOCH if it is set, else now; whole seconds. Raises: UsageError: it is no time."""
    epoch = source_date_epoch(environ)
    return clock.now().replace(microsecond=0) if epoch is None else datetime.fromtimestamp(epoch, UTC)


def load_trust(dirs: Sequence[Path]) -> tuple[Assertion, ...]:
    """All assertions in the folders, by folder and file name. The default folder may be absent, others may not.

    Raises:
        HostError: a folder or file cannot be read.
        TrustError: a folder or file may be written by everybody.
        DocumentError: a file with the name of an assertion holds none.
    """
    found: list[Assertion] = []
    for folder in dirs:
        if folder == default_trust_dir() and not folder.exists():
            continue
        try:
            _refuse_writable(folder)
            paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES
                           and not path.name.startswith(".") and path.is_file())
            for path in paths:
                _refuse_writable(path)
                found += decode_stream(read_file(path, limit=MAX_FILE), name=str(path))
        except OSError as error:
            raise HostError(f"cannot read trust folder {folder}: {reason(error)}",
                            hint="name a folder that holds account-key assertions") from error
    return tuple(found)


def store_root(folder: Path, *, account: Assertion, account_key: Assertion) -> tuple[Path, ...]:
    """Make a brand's account-key a root of trust; its account is written if there is none yet. The files written.

    Raises:
        UsageError: the folder holds a root of that name.
        HostError: it cannot be written.
    """
    key_path = folder / f"{account_key.text('name')}.account-key"
    if key_path.exists():
        raise UsageError(f"cannot write {key_path}: there is such a root of trust already",
                         hint="take another name; or, if its key is lost, take that file away")
    account_path = folder / f"{account.text('account-id')}.account"
    written = [key_path] if account_path.exists() else [account_path, key_path]
    for path in written:
        write_atomic(path, (account_key if path == key_path else account).encode())
    return tuple(written)


def _refuse_writable(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        raise TrustError(f"cannot trust {path}: everybody may write to it (mode {stat.S_IMODE(mode):04o})",
                         hint=f"chmod o-w {path}, after a look at what is in it")
