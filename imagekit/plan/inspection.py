"""What somebody who looked into an image found there, as values.

Decides nothing: `imagekit.build.inspect_image` reads, `imagekit.plan.verdicts` judges. Whatever could not be read has
its reason in `problem`, in words; the values beside it are then those of nothing found.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from imagekit.assertions import Model, ModelSnap, SnapType
from imagekit.boot.entries import LoaderEntry
from imagekit.boot.next_boot import NextBoot, RecordCopy
from imagekit.boot.slotstate import Slot, SlotState
from imagekit.disk.ext4 import Condition
from imagekit.disk.probe import Content, DiskImage
from imagekit.packages.uki import Loader

PARTS = ("base", "kernel")


class Level(StrEnum):
    """How much a verdict matters: nothing, nothing today, exit 3, exit 4."""

    GOOD = "good"
    NOTE = "note"
    WRONG = "wrong"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One line of the report. `check` names the kind of check, `about` what it was made of."""

    check: str
    about: str
    level: Level
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EfiProgram:
    """An EFI program on the ESP; `loader` is what it says of itself."""

    path: str
    architecture: str | None
    loader: Loader | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFound:
    """A file of `loader/entries`; `slot` None: none of ours. `tries` are those left, None: it is not counted."""

    file_name: str
    slot: Slot | None
    tries: int | None
    entry: LoaderEntry | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EspFound:
    """What the firmware and the loader would see. `offered` are kernels that the loader would list by itself."""

    problem: str
    loaders: tuple[EfiProgram, ...]
    entries: tuple[EntryFound, ...]
    raw_entries: Mapping[str, bytes]
    programs: frozenset[str]
    offered: tuple[str, ...]
    settings: Mapping[str, str]  # of loader.conf
    uboot: bool = False  # U-Boot's script starts a slot, not systemd-boot
    piboot: bool = False  # the Pi's own firmware does
    sound: frozenset[Slot] = frozenset()  # slots that the script would take; under piboot those as they were written


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """The ELF files of a package by architecture, and the first of another than the model's."""

    counts: Mapping[str, int]
    foreign: tuple[str, str] | None  # path, architecture


class Tree(StrEnum):
    """What is known of a hash tree and what it covers."""

    UNREAD = "unread"
    WHOLE = "whole"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class PartFound:
    """The partition of one package of one slot. `root` is what its tree claims; `against` what it was held to.

    `broken` says which block is wrong, and whose it is.
    """

    slot: Slot
    part: str
    partition: str
    content: Content | None  # None: there is no such partition
    size: int
    root: str | None
    against: str | None
    tree: Tree
    broken: str
    programs: Programs | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFound:
    """The kernel image that a slot's entry starts. `equal`: to that in the slot's kernel package; None: not known."""

    slot: Slot
    path: str
    architecture: str | None
    version: str | None
    equal: bool | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A revision that the seed knows, by its root. `asserted`: signed, and not only measured; `believed` by a root.

    `snap_id` is of a signed one: several roots may be trusted, and each may have a package of that name.
    """

    root: str
    name: str
    revision: int
    asserted: bool
    believed: bool
    snap_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFile:
    """A package in the seed. `digest` is of what it unpacks to, None: not read; `stated` what the seed says of it."""

    name: str
    revision: int
    path: str
    stated: str | None
    believed: bool
    digest: str | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One reason that some assertions of the seed share; `cause` None: they are believed."""

    state: str
    cause: str | None
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SetsFound:
    """The validation sets of the seed's model: their names, why they are not believed, packages that break them."""

    names: tuple[str, ...] = ()
    problem: str = ""
    broken: tuple[tuple[str, str], ...] = ()  # a package, and what it breaks


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedFound:
    """The seed: its model and how far that is believed, what else is signed, the packages."""

    problem: str
    model: Model | None
    model_state: str
    model_cause: str | None
    signatures: tuple[Signature, ...]
    known: tuple[Named, ...]
    files: tuple[SeedFile, ...]
    sets: SetsFound = SetsFound()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFound:
    """The data partition: how its file system was left."""

    content: Content | None
    room: int
    condition: Condition | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideFound:
    """A file beside the image that speaks of it: what it is, and where the two differ."""

    file: str
    what: str
    differences: tuple[str, ...]
    checked: bool  # False: not held against the image's bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """Everything that was found in an image, and what is to be said of it."""

    path: str
    image: DiskImage
    esp: EspFound
    copies: tuple[RecordCopy, ...]
    record: SlotState | None
    next_boot: NextBoot
    parts: tuple[PartFound, ...]
    kernels: tuple[KernelFound, ...]
    seed: SeedFound
    data: DataFound
    beside: tuple[BesideFound, ...]
    quick: bool
    verdicts: tuple[Verdict, ...]

    def part(self, slot: Slot, part: str) -> PartFound:
        """The partition of one package of one slot."""
        return next(item for item in self.parts if (item.slot, item.part) == (slot, part))

    def named(self, item: PartFound) -> Named | None:
        """Which revision a partition holds, by what its tree claims."""
        return name_of(item.root, self.seed.known, meant_by(self.seed.model, item.part))

    @property
    def worst(self) -> Level:
        """The gravest level of all verdicts."""
        order = tuple(Level)
        return max((verdict.level for verdict in self.verdicts), key=order.index, default=Level.GOOD)


def meant_by(model: Model | None, part: str) -> ModelSnap | None:
    """The package that a model means by `base` or `kernel`; None: there is no model, or it names no kernel."""
    if model is None or part == "base":
        return None if model is None else model.base_snap
    return next((snap for snap in model.snaps if snap.type is SnapType.KERNEL), None)


def name_of(root: str | None, known: tuple[Named, ...], meant: ModelSnap | None = None) -> Named | None:
    """The revision with this root; one that is believed before one that is not, and of the id that is meant."""
    fitting = [item for item in known if item.root == root]
    return max(fitting, default=None, key=lambda item: (
        item.believed, meant is not None and item.snap_id == meant.snap_id))
