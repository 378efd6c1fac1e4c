"""Send a file by YMODEM, to U-Boot's `loady` and to other receivers.

Decides what is sent when, and what an answer means. Block 1 follows the header's acknowledgement at once: U-Boot asks a
second time only when it has waited in vain. What was heard before a block left belongs to earlier ones and is thrown
away. A block that is refused again and again follows one that never arrived, whose acknowledgement was a ghost: one
block back is always right, since a receiver that has it just says so again. Whether a file arrived whole is for its
receiver to tell, by a checksum over all of it: noise can look like an acknowledgement.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imagekit.boot.ymodem import ACK, CAN, CRC_MODE, EOT, LARGE, NAK, Header, encode_block, encode_header
from imagekit.errors import TargetError
from imagekit.host.ports import Clock, SerialLine

BACK_AFTER = 3  # refusals
ABORT = CAN * 8
ENDS = 5
CANCELLED = "cannot send: the receiver has cancelled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long is waited, in seconds, beside the time that a block takes on the line; and how often.

    `answer_s` is more than the two seconds after which U-Boot complains of a block that stopped in its middle.
    """

    start_s: float = 60.0
    answer_s: float = 3.0
    end_s: float = 5.0
    quiet_s: float = 0.3
    tries: int = 20


class TransferError(TargetError):
    """A file did not get through."""


class _Sender:
    def __init__(self, line: SerialLine, clock: Clock, waits: Waits) -> None:
        self.line, self.clock, self.waits = line, clock, waits
        self._ahead = bytearray()

    def forget(self) -> None:
        """Throw away what was heard until now. Raises: TransferError: it was a cancellation."""
        while got := self.line.read(0):
            self._ahead += got
        if CAN * 2 in self._ahead:
            raise TransferError(CANCELLED)
        self._ahead.clear()

    def answer(self, timeout_s: float, *wanted: bytes) -> bytes:
        """The first of `wanted` that is heard; nothing in time: empty. Raises: TransferError: it was cancelled."""
        end, cancels = self.clock.monotonic_s() + timeout_s, 0
        while True:
            while self._ahead:
                byte = bytes([self._ahead.pop(0)])
                cancels = cancels + 1 if byte == CAN else 0
                if cancels == 2:
                    raise TransferError(CANCELLED)
                if byte in wanted:
                    return byte
            left = end - self.clock.monotonic_s()
            if left <= 0:
                return b""
            self._ahead += self.line.read(left)

    def block(self, frame: bytes, *refusals: bytes) -> bool:
        """Send a block until it is taken; False: it was refused so often that the one before it may be missing."""
        limit = self.waits.answer_s + len(frame) * 10 / self.line.baud
        for again in range(BACK_AFTER):
            self.forget()
            self.line.write(frame)
            if self.answer(limit, ACK, *refusals) == ACK:
                if again:  # what was sent twice may be acknowledged twice
                    self.answer(self.waits.quiet_s)
                return True
        return False


def send(line: SerialLine, name: str, content: bytes, clock: Clock, *, waits: Waits | None = None,
         asked: bool = False, sent: Callable[[int], None] = lambda _: None) -> None:
    """Send one file to a receiver that waits for it, or will. `asked`: it was heard to ask already.

    `sent` is told how many bytes more were taken.

    Raises:
        TransferError: nobody asks for it, it was cancelled, or it does not get through.
    """
    sender = _Sender(line, clock, waits or Waits())
    try:
        if not asked and not sender.answer(sender.waits.start_s, CRC_MODE):
            raise TransferError(f"cannot send: nobody asked for it within {sender.waits.start_s:g} s")
        _send(sender, encode_header(Header(name=name, size=len(content))), content, sent)
    except BaseException:
        line.write(ABORT)  # a receiver that still waits is let go
        raise


def _send(sender: _Sender, header: bytes, content: bytes, sent: Callable[[int], None]) -> None:
    frames = -(-len(content) // LARGE)
    number = furthest = refused = 0
    while number <= frames:
        start = (number - 1) * LARGE
        frame = encode_block(number, content[start:start + LARGE]) if number else header
        if sender.block(frame, *((NAK, CRC_MODE) if number > 1 else (NAK,))):  # a late C is no refusal
            if number == furthest:
                sent(min(LARGE, len(content) - start) if number else 0)
                furthest, refused = furthest + 1, 0
            number += 1
            continue
        refused += BACK_AFTER
        if refused >= sender.waits.tries:
            raise TransferError(f"cannot send: block {furthest} of {frames} was refused {refused} times")
        number = max(furthest - 1, 0)
    _finish(sender)


def _finish(sender: _Sender) -> None:
    """The end, and that no other file comes. All has been taken by now: a receiver that has gone is no failure."""
    for _ in range(ENDS):
        sender.forget()
        sender.line.write(EOT)
        if sender.answer(sender.waits.answer_s, ACK, NAK, CRC_MODE) == ACK:
            if sender.answer(sender.waits.end_s, CRC_MODE):
                sender.block(encode_header(Header(name="", size=0)))
            return
