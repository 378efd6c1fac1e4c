"""How many boots in a row were begun without a healthy verdict, whichever slot they were of.

Decides the bytes of that count and when the data partition is left out of a boot. The slot-state record begins anew at
each hand-over, so it cannot tell two bad slots from one bad data partition: there the slots would take turns for ever.
After `IN_VAIN` boots in vain, three in each slot, the next one runs without the data partition, degraded, with the
updater alive; so does every one after as many again. The initrd raises the count before it opens anything
(`imagekit/build/initrd/init` does the same in shell), the health check clears it.

It is a number of `imagekit.boot.numbers`. One copy is enough: one that is torn or was never written counts as nothing
begun, which only puts off the last resort.
"""

from __future__ import annotations

from imagekit.boot.numbers import LEDGER, NUMBER_SIZE

LEDGER_OFFSET = LEDGER.offset
LEDGER_SIZE = NUMBER_SIZE
IN_VAIN = 6


def encode_ledger(begun: int) -> bytes:
    """The sector for this many boots."""
    return LEDGER.encode(begun)


def decode_ledger(raw: bytes) -> int:
    """The count; 0 where there is none that can be believed."""
    return LEDGER.decode(raw)


def leaves_data_out(begun: int) -> bool:
    """Whether the boot that is the `begun`th without a healthy verdict runs without the data partition."""
    return begun > 0 and begun % (IN_VAIN + 1) == 0
