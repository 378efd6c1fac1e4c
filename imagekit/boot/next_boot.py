"""Which slot runs next, and why: the loader's decision and the initrd's, one after the other.

Decides nothing itself: `imagekit.boot.systemd_boot`, `uboot` or `piboot` says what the loader takes,
`imagekit.boot.slotstate` whether the initrd of that slot hands over to the other. Here both are asked and the answer is
put into words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagekit.boot import piboot
from imagekit.boot.piboot import BOARDS, WALK_SINCE, Board, Card, Choice, Rules
from imagekit.boot.slotstate import COPY_OFFSETS, LIMIT, Slot, SlotState, begin_boot, decode_record, newest
from imagekit.boot.systemd_boot import Candidate, candidates, choose, slot_of
from imagekit.boot.uboot import decide
from imagekit.errors import DocumentError

PI_BOARD = "raspi4b"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordCopy:
    """One of the two copies: the record, or why there is none. An empty copy was never written."""

    offset: int
    record: SlotState | None
    empty: bool
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NextBoot:
    """What the next boot does. `entry` None: the loader has nothing to start; `slot` None: what it starts is no slot.

    `hand_over`: the initrd of that slot only sends the device on to `slot`. `reasons` are sentences, first cause first.
    """

    entry: str | None
    slot: Slot | None
    hand_over: bool
    reasons: tuple[str, ...]


def read_copies(copies: tuple[bytes, bytes]) -> tuple[tuple[RecordCopy, ...], SlotState | None]:
    """Both copies of the slot-state record, and the one that counts."""
    found = []
    for offset, raw in zip(COPY_OFFSETS, copies, strict=True):
        try:
            found.append(RecordCopy(offset=offset, record=decode_record(raw), empty=False, problem=""))
        except DocumentError as error:
            found.append(RecordCopy(offset=offset, record=None, empty=not any(raw), problem=error.message))
    return tuple(found), newest(copies)[0]


def plan_next_boot(entries: Mapping[str, bytes], programs: frozenset[str], record: SlotState | None) -> NextBoot:
    """The next boot of a disk with these files in `loader/entries`, these paths on its ESP, and this record."""
    menu, choice = candidates(entries, programs), choose(entries, programs)
    left_out = tuple(_left_out(entries, menu))
    if choice is None:
        return NextBoot(entry=None, slot=None, hand_over=False, reasons=(
            *left_out, "the loader has no entry to start: the firmware goes on to its next option"))
    first = choice.entry
    reasons = [*left_out, _chosen(menu)]
    if choice.renamed_to != first.file_name:
        reasons.append(f"it is on trial: the loader renames it to {choice.renamed_to}")
    slot = slot_of(first.file_name)
    if slot is None:
        return NextBoot(entry=first.file_name, slot=None, hand_over=False,
                        reasons=(*reasons, "it is the entry of no slot"))
    boot = begin_boot(record, slot)
    reasons.append(_remembered(record, slot, hand_over=boot.hand_over))
    return NextBoot(entry=first.file_name, slot=boot.record.slot, hand_over=boot.hand_over, reasons=tuple(reasons))


def plan_next_uboot(copies: tuple[bytes, bytes], sound: frozenset[Slot]) -> NextBoot:
    """The next boot where U-Boot's script chooses: by the record, among the slots whose files are sound."""
    state, decision = newest(copies)[0], decide(copies, sound)
    unsound = tuple(f"the boot files of slot {slot.value} are missing or not sound"
                    for slot in Slot if slot not in sound)
    if decision.slot is None:
        return NextBoot(entry=None, slot=None, hand_over=False,
                        reasons=(*unsound, "the script starts the machine over"))
    slot = decision.slot
    if state is None:
        why = f"no slot-state record is valid: slot {slot.value} is the first that is sound"
    elif state.slot is slot:
        why = f"the record is about slot {slot.value}, begun {state.unhealthy} times since it was last healthy"
    else:
        why = f"slot {state.slot.value} of the record gives way: it has had its chances, or is not sound"
    return NextBoot(entry=f"boot-{slot.value}", slot=slot, hand_over=False, reasons=(*unsound, why))


def plan_next_piboot(card: Card, record: SlotState | None) -> NextBoot:
    """The next boot where a Raspberry Pi's firmware of today chooses, told for the board that most are about.

    A card is for several boards: where another would start something else, a reason says so.
    """
    rules = {board: Rules(tryboot_a_b=True, partition_walk=board.family in WALK_SINCE) for board in BOARDS.values()}
    found = {board: _chosen_by(card, board, rules[board]) for board in BOARDS.values()}
    board = BOARDS[PI_BOARD]
    choice = found[board]
    slot = _slot_of(choice)
    others = tuple(
        f"on {other.name} partition {seen.partition} is booted" if seen.load is not None and _slot_of(seen) is not slot
        else f"{other.name} starts nothing: {seen.reasons[-2] if len(seen.reasons) > 1 else seen.reasons[-1]}"
        for other, seen in found.items() if _slot_of(seen) is not slot)
    reasons = (*choice.reasons, *others)
    if choice.load is None:
        return NextBoot(entry=None, slot=None, hand_over=False, reasons=reasons)
    entry = f"partition {choice.load.partition}"
    if slot is None:
        return NextBoot(entry=entry, slot=None, hand_over=False, reasons=(*reasons, "its command line names no slot"))
    boot = begin_boot(record, slot)
    return NextBoot(entry=entry, slot=boot.record.slot, hand_over=boot.hand_over,
                    reasons=(*reasons, _remembered(record, slot, hand_over=boot.hand_over)))


def _chosen_by(card: Card, board: Board, rules: Rules) -> Choice:
    try:
        return piboot.choose(card, board=board, rules=rules)
    except DocumentError as error:
        return Choice(partition=None, load=None, reasons=(error.message,))


def _slot_of(choice: Choice) -> Slot | None:
    """The slot that the command line of what is loaded names."""
    words = choice.load.cmdline.split() if choice.load is not None else []
    return next((slot for slot in Slot if f"imagekit.slot={slot.value}" in words), None)


def _left_out(entries: Mapping[str, bytes], menu: tuple[Candidate, ...]) -> Iterator[str]:
    offered = {item.file_name for item in menu}
    for name in sorted(entries):
        if name.lower().endswith(".conf") and name not in offered:
            yield f"{name} is not in the menu: it names no program that is there"


def _chosen(menu: tuple[Candidate, ...]) -> str:
    """Why the first of the menu is the first."""
    first = menu[0]
    if len(menu) == 1:
        return f"{first.file_name} is the loader's only entry"
    second = menu[1]
    if first.name.left != 0 and second.name.left == 0:
        return f"{second.file_name} has no tries left, so {first.file_name} comes first"
    if first.name.left == 0:
        return f"no entry has tries left, and {first.file_name} comes first all the same"
    if first.version != second.version:
        return (f"{first.file_name} comes first: its version {first.version or 'none'} is above"
                f" {second.version or 'none'} of {second.file_name}")
    return f"{first.file_name} comes first by its name"


def _remembered(record: SlotState | None, booted: Slot, *, hand_over: bool) -> str:
    """What the record makes of the loader's choice."""
    if record is None:
        return f"no slot-state record is valid: slot {booted.value} runs, as if nothing was known of the other"
    here = record if record.slot is booted else None
    if hand_over:
        return (f"slot {booted.value} was begun {LIMIT} times without a healthy verdict, and the other slot was healthy"
                f" once: its initrd hands over to slot {booted.other.value}")
    if here is None:
        return f"the record is about slot {record.slot.value}; it begins anew with slot {booted.value}"
    if here.unhealthy >= LIMIT:
        return (f"slot {booted.value} was begun {here.unhealthy} times without a healthy verdict; the other slot was"
                " never healthy, so it is tried again")
    told = "has been healthy" if here.confirmed else "has not been healthy yet"
    return f"the record agrees: slot {booted.value} {told}, begun {here.unhealthy} times since"
