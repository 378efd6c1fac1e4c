"""A folder of identities, prepared and signed in advance; each is taken once.

    NAME.serial   a serial assertion, and perhaps those that prove it
    NAME.key      the private device key that it is about: PKCS#8 in PEM, mode 0600
    taken/        those that were taken

Decides that no identity is given twice, whatever is cut: it moves to `taken`, durably, before it is handed out. One
that was taken by a unit that was never finished is lost; a serial number is cheaper than two devices that share one.
Making them is here too, for the brand's machine: the brand's key signs there, and never comes to a station.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.assertions import Serial, decode_stream, encode_stream, parse_serial, sign
from imagekit.assertions.database import Database
from imagekit.assertions.fields import format_time
from imagekit.assertions.wire import Assertion, armor
from imagekit.disk.identity import DeviceIdentity, encode_identity
from imagekit.errors import DocumentError, HostError, TrustError, UsageError
from imagekit.host.files import FolderLock, flush_folder, no_space, read_file, write_atomic
from imagekit.host.keyring import decode_private_pem
from imagekit.host.privatefiles import create_private, read_private
from imagekit.keys import SIGNING_BITS, PublicKey, Signer

SERIAL, KEY, TAKEN = ".serial", ".key", "taken"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
MOST_ASSERTIONS = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One identity. `record` is what is written to a device."""

    name: str
    serial: Serial
    record: bytes


class PreparedFolder:
    """The identities of a folder, held by one station. `check` says whether a serial is believed, and the model's."""

    def __init__(self, folder: Path, *, check: Callable[[Assertion, tuple[Assertion, ...]], Serial]) -> None:
        """Read all of them, so that a wrong one is told before the first unit.

        Raises:
            HostError: another station takes from it; it cannot be read.
            DocumentError, TrustError: one of them is not what it should be.
        """
        if not folder.is_dir():
            raise HostError(f"cannot use {folder}: there is no such folder",
                            hint="imagekit factory prepare makes one, on the brand's machine")
        self.folder, self._lock = folder, threading.Lock()
        self._held = FolderLock(folder).__enter__()
        try:
            self._left = [self._read(path, check) for path in sorted(folder.glob(f"*{SERIAL}"))]
            names = [item.serial.serial for item in self._left]
            twice = next((name for name in names if names.count(name) > 1), None)
            if twice is not None:
                raise DocumentError(f"cannot use {folder}: two of its files are of serial {twice}")
        except BaseException:
            self.close()
            raise

    def _read(self, path: Path, check: Callable[[Assertion, tuple[Assertion, ...]], Serial]) -> Prepared:
        assertions = read_file(path, limit=MOST_ASSERTIONS)
        stream = decode_stream(assertions, name=str(path))
        if not stream or stream[0].type != "serial":
            raise DocumentError(f"cannot use {path}: it does not begin with a serial assertion")
        serial = check(stream[0], stream[1:])
        pem = read_private(path.with_suffix(KEY))
        if _device_key(pem, path.with_suffix(KEY)) != serial.device_key:
            raise TrustError(f"cannot use {path}: its device key is not the one in {path.with_suffix(KEY).name}")
        record = encode_identity(DeviceIdentity(assertions=assertions, key=pem))
        return Prepared(name=path.stem, serial=serial, record=record)

    @property
    def left(self) -> int:
        """How many have not been taken."""
        return len(self._left)

    def serials(self) -> frozenset[str]:
        """Those that have not been taken."""
        return frozenset(item.serial.serial for item in self._left)

    def take(self) -> Prepared | None:
        """The next one, which nobody will get again; None: there is none left.

        Raises:
            HostError: it cannot be moved.
        """
        with self._lock:
            if not self._left:
                return None
            item = self._left[0]
            taken = self.folder / TAKEN
            try:
                taken.mkdir(mode=0o700, exist_ok=True)
                for suffix in (SERIAL, KEY):  # the serial first: what has lost its serial is found by nobody
                    Path(self.folder / (item.name + suffix)).rename(taken / (item.name + suffix))
                flush_folder(taken)
                flush_folder(self.folder)
            except OSError as error:
                raise no_space(taken, error) from error
            return self._left.pop(0)

    def forget_key(self, item: Prepared) -> None:
        """The device has its key: the station does not keep it. Raises: HostError: it cannot be removed."""
        self._erase(self.folder / TAKEN / (item.name + KEY))

    def forget_made(self, serials: Collection[str]) -> None:
        """The same for units that were recorded just before a power cut. Raises: HostError: as `forget_key`."""
        for path in sorted((self.folder / TAKEN).glob(f"*{KEY}")):
            if path.stem in serials:
                self._erase(path)

    def _erase(self, path: Path) -> None:
        try:
            with path.open("r+b") as stream:
                stream.write(bytes(os.fstat(stream.fileno()).st_size))
                stream.flush()  # or nothing is there yet to be synchronised
                os.fsync(stream.fileno())
            path.unlink()
            flush_folder(path.parent)
        except OSError as error:
            raise no_space(path, error) from error

    def close(self) -> None:
        """Let go of the folder."""
        self._held.__exit__(None, None, None)


def _device_key(pem: bytes, path: Path) -> PublicKey:
    return decode_private_pem(pem, what=str(path), passphrase=lambda: b"").public


def check_serial(database: Database, *, brand: str, model: str,
                 now: datetime) -> Callable[[Assertion, tuple[Assertion, ...]], Serial]:
    """Whether a serial assertion is believed, and of this model."""
    def check(assertion: Assertion, more: tuple[Assertion, ...]) -> Serial:
        for item in more:
            database.add(item)
        serial = parse_serial(assertion)
        if (serial.brand_id, serial.model) != (brand, model):
            raise DocumentError(f"cannot use serial {serial.serial}: it is of {serial.brand_id}/{serial.model}, the"
                                f" image of {brand}/{model}")
        database.verify(assertion, now=now)
        return serial
    return check


def serial_names(first: str, count: int) -> Iterator[str]:
    """So many serial numbers from the first on, the digits at its end counted up.

    Raises:
        UsageError: it has no digits at its end, or too few; it cannot be a file's name.
    """
    digits = re.search(r"[0-9]+\Z", first)
    if digits is None or not NAME.match(first):
        raise UsageError(f"cannot count from serial {first!r}: letters, digits, dot, hyphen and underscore are allowed,"
                         " with digits at the end", hint="A0001, for example")
    width = len(digits[0])
    if len(str(int(digits[0]) + count - 1)) > width:
        raise UsageError(f"cannot count {count} serials from {first}: {width} digits do not suffice",
                         hint="begin with more zeros")
    for number in range(int(digits[0]), int(digits[0]) + count):
        yield f"{first[:digits.start()]}{number:0{width}}"


def prepare(folder: Path, serial: str, *, authority: str, brand: str, model: str, key: Signer, now: datetime,
            proof: tuple[Assertion, ...] = ()) -> None:
    """Make a device key and sign a serial assertion about it.

    Raises:
        UsageError: the folder has one of this serial, or gave it away.
        HostError: it cannot be written.
        DocumentError, TrustError: it cannot be signed.
    """
    if any(os.path.lexists(place / (serial + SERIAL)) for place in (folder, folder / TAKEN)):
        raise UsageError(f"cannot prepare serial {serial}: {folder} has it, or had it before",
                         hint="of a run that was cut off: go on with --first at the first serial that it lacks")
    left = folder / (serial + KEY)
    if os.path.lexists(left):
        raise UsageError(f"cannot prepare serial {serial}: {left} was left by a run that was cut off",
                         hint="without its serial it is of no use: remove it, and go on with --first at this one")
    private = rsa.generate_private_key(public_exponent=65537, key_size=SIGNING_BITS)
    numbers = private.public_key().public_numbers()
    device = PublicKey(n=numbers.n, e=numbers.e)
    made = sign({"type": "serial", "authority-id": authority, "brand-id": brand, "model": model, "serial": serial,
                 "device-key": armor(device.encode()).decode(), "device-key-sha3-384": device.key_id,
                 "timestamp": format_time(now)}, key=key, created=now)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise no_space(folder, error) from error
    create_private(folder / (serial + KEY), private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_atomic(folder / (serial + SERIAL), encode_stream([made, *proof]))
