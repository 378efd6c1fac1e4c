"""How many boots in a row were begun without a healthy verdict, whichever slot they were of.

Decides the bytes of that count and when the data partition is left out of a boot. The slot-state record begins anew at
each hand-over, so it cannot tell two bad slots from one bad data partition: there the slots would take turns for ever.
After `IN_VAIN` boots in vain, three in each slot, the next one runs without the data partition, degraded, with the
updater alive; so does every one after as many again. The initrd raises the count before it opens anything
(`imagekit/build/initrd/init` does the same in shell), the health check clears it.

Beside it lies the generation of the slot-state record that this boot left: where the next one finds no newer record,
its loader did not count (`slotstate.counted_boot`).

They are the numbers of one sector of `imagekit.boot.numbers`. One copy is enough: one that is torn or was never written
counts as nothing begun and nothing seen, which only puts off the last resort, or a boot that nobody counted.
"""

from __future__ import annotations

from imagekit.boot.numbers import LEDGER, NUMBER_SIZE

LEDGER_OFFSET = LEDGER.offset
LEDGER_SIZE = NUMBER_SIZE
IN_VAIN = 6


def encode_ledger(begun: int, seen: int = 0) -> bytes:
    """The sector for this many boots, the last of which left the record of generation `seen` (0: none)."""
    return LEDGER.encode(begun, seen)


def decode_ledger(raw: bytes) -> int:
    """The count; 0 where there is none that can be believed."""
    return LEDGER.decode(raw)


def decode_seen(raw: bytes) -> int:
    """The generation that the last boot left; 0 where nothing says so."""
    return LEDGER.decode_both(raw)[1]


def leaves_data_out(begun: int) -> bool:
    """Whether the boot that is the `begun`th without a healthy verdict runs without the data partition."""
    return begun > 0 and begun % (IN_VAIN + 1) == 0
