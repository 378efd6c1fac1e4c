"""The model: a brand's recipe of a device, and what it demands of an image.

Four kinds of device come out of two generations of headers: UC16 and UC18 name `gadget`, `kernel` and `required-snaps`;
from UC20 on a list `snaps` names everything and a grade says how much of it must be signed. Both generations have
classic models; a classic one with a kernel is hybrid: it boots as a core device does. Reading is in
`imagekit.assertions.model_reader`. It allows what building an image cannot keep; `imagekit.plan.demands` names that,
so that nothing is promised and left out. Source: snapd's asserts/model.go (docs/reference/assertions.md, "Models").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from imagekit.assertions.wire import Assertion
from imagekit.errors import DocumentError

RESERVED = ("core", "os", "class", "allowed-modes")
ARCHITECTURES = ("amd64", "arm64", "armhf", "i386", "powerpc", "ppc64el", "riscv64", "s390x")  # Debian's words
WELL_KNOWN_BASES: Mapping[str, str] = MappingProxyType({
    "core": "99T7MUlRhtI3U0QFgl5mXXESAiSwt776",
    "core18": "CSO04Jhav2yK0uz97cr0ipQRyqg0qQL6",
    "core20": "DLqre5XGLbDqg9jPtiAhRRjDuPVa5X1q",
    "core22": "amcUKQILKXHHTlmSa7NMdnXSx02dNeeT",
    "core24": "dwTAh7MZZ01zyriOZErqd1JynQLiOGvM",
    "snapd": "PMrrV4ml8uWuEUDBT8dSGnKUYbevVhc4",
})
ESSENTIAL_MODES = ("run", "ephemeral")


class Generation(StrEnum):
    """Which headers a model is written in."""

    UC16 = "uc16"  # and UC18: gadget, kernel, base, required-snaps
    UC20 = "uc20"  # and later: snaps


class Grade(StrEnum):
    """How much of a device's software must be signed. Models without a list of snaps have none."""

    UNSET = "unset"
    DANGEROUS = "dangerous"
    SIGNED = "signed"
    SECURED = "secured"

    @property
    def code(self) -> int:
        """The number that is measured into a TPM."""
        return {"dangerous": 0x10000, "signed": 0x80000, "secured": 0x100000}.get(self.value, 0)


class StorageSafety(StrEnum):
    """Whether a device's data is encrypted. Models without a list of snaps do not say."""

    UNSET = "unset"
    ENCRYPTED = "encrypted"
    PREFER_ENCRYPTED = "prefer-encrypted"
    PREFER_UNENCRYPTED = "prefer-unencrypted"


class SnapType(StrEnum):
    APP = "app"
    BASE = "base"
    GADGET = "gadget"
    KERNEL = "kernel"
    CORE = "core"
    SNAPD = "snapd"


class Presence(StrEnum):
    REQUIRED = "required"
    OPTIONAL = "optional"


class Enforcement(StrEnum):
    """What a model wants of a validation set: that nothing else is ever installed, or only from the factory."""

    ENFORCE = "enforce"
    PREFER_ENFORCE = "prefer-enforce"


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeAllowance:
    """What may go into an image of a grade."""

    unasserted_snaps: bool  # packages without a snap-revision
    extra_snaps: bool  # packages that the model does not name
    other_channels: bool  # than the model's
    unencrypted: bool


def allowed(grade: Grade) -> GradeAllowance:
    """What a model's grade lets a builder do. Models without grades (UC16, UC18) let them do as `dangerous` does."""
    free = grade in (Grade.UNSET, Grade.DANGEROUS)
    return GradeAllowance(unasserted_snaps=free, extra_snaps=free, other_channels=free,
                          unencrypted=grade != Grade.SECURED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelComponent:
    """A component of a package that a model names."""

    name: str
    presence: Presence
    modes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnap:
    """A package that a model names. `snap_id` is None where the model may leave it out and does."""

    name: str
    snap_id: str | None
    type: SnapType
    default_channel: str
    presence: Presence
    modes: tuple[str, ...]
    classic: bool = False
    components: tuple[ModelComponent, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSet:
    """A validation set that a model names; without `sequence` its newest version."""

    account_id: str
    name: str
    sequence: int | None
    mode: Enforcement

    @property
    def key(self) -> str:
        """`ACCOUNT/NAME`, whatever the sequence."""
        return f"{self.account_id}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """`revision` is the assertion's; `snaps` are in the model's order.

    Authorities are accounts that may sign for the model beside the brand, which always may; `system_user_authority` is
    None where anybody may.
    """

    series: str
    brand_id: str
    model: str
    display_name: str
    architecture: str
    base: str
    classic: bool
    distribution: str
    grade: Grade
    storage_safety: StorageSafety
    store: str
    revision: int
    timestamp: datetime
    snaps: tuple[ModelSnap, ...]
    validation_sets: tuple[ModelSet, ...]
    serial_authority: tuple[str, ...]
    preseed_authority: tuple[str, ...]
    system_user_authority: tuple[str, ...] | None
    assertion: Assertion

    @property
    def generation(self) -> Generation:
        return Generation.UC16 if self.grade == Grade.UNSET else Generation.UC20

    @property
    def hybrid(self) -> bool:
        """Classic in what it runs, core in how it boots."""
        return self.classic and any(snap.type == SnapType.KERNEL for snap in self.snaps)

    @property
    def kernel(self) -> ModelSnap:
        """Raises: DocumentError: the model names none."""
        return self._only(SnapType.KERNEL)

    @property
    def gadget(self) -> ModelSnap:
        """Raises: DocumentError: the model names none."""
        return self._only(SnapType.GADGET)

    @property
    def base_snap(self) -> ModelSnap:
        """The base that the device boots, in the list or by the header `base`."""
        named = [snap for snap in self.snaps if snap.name == self.base]
        return named[0] if named else ModelSnap(
            name=self.base, snap_id=WELL_KNOWN_BASES.get(self.base), type=SnapType.BASE,
            default_channel="latest/stable", presence=Presence.REQUIRED, modes=ESSENTIAL_MODES)

    def may_sign_serial(self, account_id: str) -> bool:
        return account_id in self.serial_authority

    def may_sign_preseed(self, account_id: str) -> bool:
        return account_id in self.preseed_authority

    def may_sign_system_user(self, account_id: str) -> bool:
        return self.system_user_authority is None or account_id in self.system_user_authority

    def _only(self, kind: SnapType) -> ModelSnap:
        found = [snap for snap in self.snaps if snap.type == kind]
        if not found:
            raise DocumentError(f"cannot use {self.assertion.label}: it names no {kind}")
        return found[0]
