"""YMODEM over a pty that loses, doubles, changes and holds back bytes, in both directions."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagekit.boot.ymodem import CRC_MODE, NAK, Header
from imagekit.flash.ymodem import TransferError, Waits, send
from imagekit.host.clock import SystemClock
from imagekit.host.ports import SerialLine
from imagekit.testing.ymodem import FaultyLine, Kind, Manner, Receiver
from tests.patience import patience
from tests.unit.flash.ptys import line_of_its_own

QUICK = Waits(start_s=30, answer_s=0.12, end_s=0.5, quiet_s=0.02, tries=60)
MANNER = Manner(byte_s=0.05)
SLOW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
# One fault in a block at most: two might make a checksum that holds.
FAULTS = st.lists(st.tuples(st.integers(1100, 3000), st.sampled_from(Kind)), max_size=4)
FEW = st.lists(st.tuples(st.integers(1, 6), st.sampled_from([Kind.LOSE, Kind.DOUBLE, Kind.STALL])), max_size=3)


def placed(steps: list[tuple[int, Kind]]) -> dict[int, Kind]:
    at, found = -1000, {}
    for step, kind in steps:
        at += step
        found[at] = kind
    return found


def sent(content: bytes, manner: Manner = MANNER, *, ours: Callable[[SerialLine], SerialLine] = lambda line: line,
         theirs: Callable[[SerialLine], SerialLine] = lambda line: line) -> tuple[Header, bytes] | None:
    """Send over a pty; what the receiver has."""
    got: list[tuple[Header, bytes] | None] = []
    with patience(waits=True), line_of_its_own() as (near, far):
        receiver = Receiver(theirs(far), manner)
        thread = threading.Thread(target=lambda: got.append(receiver.receive()))
        thread.start()
        try:
            send(ours(near), "u-boot.bin", content, SystemClock(), waits=QUICK)
        finally:
            thread.join()
    return got[0]


@pytest.mark.parametrize("manner", [
    MANNER, Manner(byte_s=0.05, asks_again=True), Manner(byte_s=0.05, refuses_first_end=True, refusal=NAK),
    Manner(byte_s=0.05, asks_again=True, refuses_first_end=True)])
@pytest.mark.parametrize("size", [0, 1, 128, 1024, 1025, 300_000])
def test_every_receiver_has_the_file_as_it_was(size: int, manner: Manner) -> None:
    content = (bytes(range(251)) * (size // 251 + 1))[:size]
    assert sent(content, manner) == (Header(name="u-boot.bin", size=size), content)


def test_padding_bytes_at_the_end_are_content() -> None:
    content = b"text" + b"\x1a" * 40
    assert sent(content) == (Header(name="u-boot.bin", size=44), content)


@given(there=FAULTS, back=FEW, content=st.binary(min_size=1, max_size=6000), refusal=st.sampled_from([NAK, CRC_MODE]))
@SLOW
def test_what_a_bad_line_delivers_is_the_file(there: list[tuple[int, Kind]], back: list[tuple[int, Kind]],
                                              content: bytes, refusal: bytes) -> None:
    received = sent(content, Manner(byte_s=0.05, refusal=refusal),
                    ours=lambda line: FaultyLine(under=line, written=placed(there)),
                    theirs=lambda line: FaultyLine(under=line, written={at + 1000: kind for at, kind
                                                                        in placed(back).items()}))
    assert received == (Header(name="u-boot.bin", size=len(content)), content)


def test_answer_that_noise_made_up_is_found_out() -> None:
    """The third answer, a refusal, arrives as an acknowledgement: the block before is sent again."""
    content = bytes(range(256)) * 20
    manner = Manner(byte_s=0.05, refusal=NAK)

    class Liar(FaultyLine):
        def write(self, content: bytes) -> None:
            self.under.write(content.replace(NAK, b"\x06") if self.sent < 5 else content)
            self.sent += len(content)

    assert sent(content, manner, ours=lambda line: FaultyLine(under=line, written={2500: Kind.CHANGE}),
                theirs=lambda line: Liar(under=line)) == (Header(name="u-boot.bin", size=len(content)), content)


def test_nobody_who_asks_is_told() -> None:
    with (line_of_its_own() as (near, _), pytest.raises(TransferError, match=r"nobody asked for it within 0\.1 s")):
        send(near, "x", b"x", SystemClock(), waits=Waits(start_s=0.1))


def test_receiver_that_cancels_ends_it() -> None:
    with line_of_its_own() as (near, far):
        far.write(b"C\x18\x18\x18")
        with pytest.raises(TransferError, match="the receiver has cancelled"):
            send(near, "x", b"x", SystemClock(), waits=Waits(start_s=5))
