"""Which device this is: by the serial assertion that a factory wrote onto it, or else by its machine-id.

Decides what is believed of a device's identity: a serial of this brand and model, signed by the brand or by whom the
seed's model lets sign serials, about the private key that lies beside it. It was signed once and for good, so it is
held against the time at which it was signed, which needs no clock, and no newer model takes it away. What is wrong with
one is told, and nothing ends by it: a device without a serial boots and is updated as any other.

The serial goes to the rules of a store that gives a revision to some before others, and to the device's own schedule;
it is sent to nobody. Without one it is a digest of the machine-id that the device made at its first boot
(machine-id(5) asks not to tell the id itself). A device whose data is lost makes another one, and counts as another
device; an identity stays.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from imagekit.assertions import Serial, decode_stream, parse_serial
from imagekit.device.machine import Machine
from imagekit.device.partitions import find_partitions
from imagekit.device.report import load_report
from imagekit.disk.identity import MOST, DeviceIdentity, decode_identity
from imagekit.errors import DocumentError, ImagekitError, TargetError, TrustError
from imagekit.plan.rollout import DeviceId

if TYPE_CHECKING:
    from imagekit.device.anchors import Anchors

STRUCTURE = "identity"
_LABEL = "imagekit-serial-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A serial that is believed, or why the one that is there is not. Neither: nobody has written one."""

    serial: Serial | None = None
    problem: str = ""


def read_identity(machine: Machine, anchors: Anchors) -> Identity:
    """What the structure `identity` of this device's disk says; whatever is wrong is in the answer."""
    try:
        place = find_partitions(machine, load_report(machine.run).disk).get(STRUCTURE)
        if place is None:
            return Identity()
        try:
            with place.device.open("rb") as stream:
                raw = stream.read(MOST)
        except OSError as error:
            raise TargetError(f"cannot read {place.device}: {error.strerror}") from error
        found = decode_identity(raw)
        return Identity() if found is None else Identity(serial=_believed(found, anchors))
    except ImagekitError as error:
        return Identity(problem=error.message)


def _believed(found: DeviceIdentity, anchors: Anchors) -> Serial:
    """Raises: DocumentError, TrustError: it is no serial of this device."""
    stream, model = decode_stream(found.assertions, name=STRUCTURE), anchors.seed_model
    serial = parse_serial(stream[0])
    if (serial.brand_id, serial.model) != (model.brand_id, model.model):
        raise TrustError(f"cannot use serial {serial.serial}: it is of {serial.brand_id}/{serial.model}, this device"
                         f" of {model.brand_id}/{model.model}")
    anchors.database.add(model.assertion)  # it says who may sign serials besides the brand
    anchors.add(stream[1:])
    anchors.database.verify(serial.assertion, now=serial.timestamp)
    if _numbers(found.key) != (serial.device_key.n, serial.device_key.e):
        raise TrustError(f"cannot use serial {serial.serial}: it is about another device key than the one beside it")
    return serial


def _numbers(pem: bytes) -> tuple[int, int]:
    """Modulus and exponent of a private key. Raises: DocumentError: it is none."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise DocumentError("cannot use this device's identity: its device key is no RSA key in PEM")
    numbers = key.public_key().public_numbers()
    return numbers.n, numbers.e


def identity_json(identity: Identity) -> dict[str, Any] | None:
    """As `status` and `model` have it (docs/reference/updates.md); None: nobody has written one."""
    serial = identity.serial
    if serial is None and not identity.problem:
        return None
    return {"serial": serial.serial if serial else None, "device_key": serial.device_key.key_id if serial else None,
            "authority": serial.assertion.authority_id if serial else None, "problem": identity.problem or None}


def identity_text(told: dict[str, Any]) -> str:
    """The same for people."""
    return f"not believed: {told['problem']}" if told["problem"] else f"{told['serial']}, signed by {told['authority']}"


def identify(machine: Machine, anchors: Anchors) -> DeviceId:
    """Raises: TargetError: there is neither an identity nor a machine-id."""
    model, found = anchors.model, read_identity(machine, anchors).serial
    serial = found.serial if found is not None else _from_machine_id(machine)
    return DeviceId(brand=model.brand_id, model=model.model, serial=serial)


def _from_machine_id(machine: Machine) -> str:
    try:
        own = machine.machine_id.read_text().strip()
    except OSError as error:
        raise TargetError(f"cannot read {machine.machine_id}: {error.strerror}") from error
    return hashlib.sha256(f"{_LABEL}\n{own}".encode()).hexdigest()[:32]
