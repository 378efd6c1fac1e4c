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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from imagekit.assertions.wire import Assertion, decode_stream, encode_stream, unarmor
from imagekit.digests import short
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.files import read_file, reason, write_atomic
from imagekit.host.folders import default_trust_dir, source_date_epoch
from imagekit.host.ports import Clock
from imagekit.keys import PublicKey, decode_public_key, public_key

__all__ = ["MAX_FILE", "SUFFIXES", "TrustFile", "default_trust_dir", "load_trust", "read_public_key",
           "replace_account_key", "signing_time", "store_root", "trust_files"]

SUFFIXES = (".account", ".account-key", ".assert", ".assertion", ".assertions")
MAX_FILE = 16 << 20
_DER, _BLOB = b"\x30", b"A"  # a sequence; the version byte 1 in base64


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
    return tuple(assertion for folder in dirs if folder != default_trust_dir() or folder.exists()
                 for file in trust_files(folder) for assertion in file.assertions)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFile:
    """One file of a folder of trust."""

    path: Path
    assertions: tuple[Assertion, ...]


def trust_files(folder: Path) -> tuple[TrustFile, ...]:
    """The assertion files of one folder, by name. Raises: as `load_trust`."""
    found: list[TrustFile] = []
    try:
        _refuse_writable(folder)
        paths = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES
                       and not path.name.startswith(".") and path.is_file())
        for path in paths:
            _refuse_writable(path)
            found.append(TrustFile(path=path, assertions=decode_stream(read_file(path, limit=MAX_FILE),
                                                                       name=str(path))))
    except OSError as error:
        raise HostError(f"cannot read trust folder {folder}: {reason(error)}",
                        hint="name a folder that holds account-key assertions") from error
    return tuple(found)


def store_root(folder: Path, *, account: Assertion | None, account_key: Assertion) -> tuple[Path, ...]:
    """Put an account-key into a folder of trust; its account is written if there is none yet. The files written.

    Raises:
        UsageError: the folder holds an account-key of that name.
        HostError: it cannot be written.
    """
    name = account_key.text("name") or short(account_key.text("public-key-sha3-384"))
    key_path = folder / f"{name}.account-key"
    if key_path.exists():
        raise UsageError(f"cannot write {key_path}: there is such a root of trust already",
                         hint="take another name; or, if its key is lost, take that file away")
    written = {key_path: account_key}
    if account is not None and not (account_path := folder / f"{account.text('account-id')}.account").exists():
        written = {account_path: account, **written}
    try:
        for path, assertion in written.items():
            write_atomic(path, assertion.encode())
    except BaseException:  # Ctrl-C too: an account of a key that nobody has would stay for good
        for path in written:
            path.unlink(missing_ok=True)
        raise
    return tuple(written)


def replace_account_key(folder: Path, revised: Assertion) -> Path:
    """Put a further revision of an account-key in the place of the one before it, or beside what the folder holds.

    Raises:
        UsageError: the folder holds another account-key of that name.
        HostError: it cannot be written.
    """
    for file in trust_files(folder) if folder.exists() else ():
        if any(_is_of(item, revised) for item in file.assertions):
            write_atomic(file.path, encode_stream(tuple(revised if _is_of(item, revised) else item
                                                        for item in file.assertions)))
            return file.path
    return store_root(folder, account=None, account_key=revised)[-1]


def _is_of(item: Assertion, revised: Assertion) -> bool:
    return item.type == revised.type and item.primary_key == revised.primary_key


def read_public_key(path: Path) -> PublicKey:
    """A public key by its numbers: `NAME.pub` as the keyring has it, or PEM or DER as others have it.

    Raises:
        HostError: it cannot be read.
        DocumentError: it is neither.
    """
    raw = read_file(path, limit=MAX_FILE)
    if raw.startswith(_BLOB):
        return decode_public_key(unarmor(raw.removesuffix(b"\n"), what=str(path)))
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    try:
        found = load_der_public_key(raw) if raw.startswith(_DER) else load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise DocumentError(f"cannot read {path}: not a public key in PEM or DER",
                            hint="of a private one: openssl pkey -in FILE -pubout") from error
    if not isinstance(found, RSAPublicKey):
        raise DocumentError(f"cannot read {path}: it is no RSA key, and only those sign assertions")
    numbers = found.public_numbers()
    return public_key(numbers.n, numbers.e, what=str(path))


def _refuse_writable(path: Path) -> None:
    mode = path.stat().st_mode
    if mode & stat.S_IWOTH:
        raise TrustError(f"cannot trust {path}: everybody may write to it (mode {stat.S_IMODE(mode):04o})",
                         hint=f"chmod o-w {path}, after a look at what is in it")
