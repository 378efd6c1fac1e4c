"""The files of a slot that the Pi's firmware boots: command line and sums, forth and back."""

from __future__ import annotations

import pytest

from imagekit.boot.entries import LoaderEntry
from imagekit.boot.pislot import (
    CMDLINE_MOST,
    SUMS_NAME,
    Measure,
    decode_sums,
    encode_cmdline,
    encode_sums,
    is_whole,
    parse_cmdline,
)
from imagekit.boot.slotstate import Slot
from imagekit.errors import DocumentError, PlanError

ENTRY = LoaderEntry(slot=Slot.B, version=0, base_root="ab" * 32, kernel_root="cd" * 32,
                    state_partuuid="00000000-0000-4000-8000-000000000000", cmdline="panic=10 quiet")
FILES = {"Image": b"kernel", "initrd": b"", "config.txt": b"kernel=Image\n", "cmdline.txt": b"x\n", "a.dtb": b"\1"}


def whole(slot: Slot = Slot.A, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    sums = encode_sums(slot, {name: Measure.of(content) for name, content in files.items()})
    return {**files, SUMS_NAME: sums}


def test_command_line_is_one_line_and_comes_back() -> None:
    raw = encode_cmdline(ENTRY)
    assert raw.count(b"\n") == 1
    assert raw.endswith(b" imagekit.loader=piboot panic=10 quiet\n")
    assert parse_cmdline(raw, name="cmdline.txt") == ENTRY


@pytest.mark.parametrize("words", ["imagekit.slot=a", "quiet imagekit.loader=u-boot", "caf\xe9", "a\nb"])
def test_words_that_are_not_the_gadgets_to_say_are_refused(words: str) -> None:
    with pytest.raises(DocumentError, match=r"cannot encode cmdline\.txt"):
        encode_cmdline(LoaderEntry(slot=Slot.A, version=0, base_root="", kernel_root="", state_partuuid="",
                                   cmdline=words))


def test_command_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(PlanError, match=f"at most {CMDLINE_MOST}"):
        encode_cmdline(LoaderEntry(slot=Slot.A, version=0, base_root="", kernel_root="", state_partuuid="",
                                   cmdline="x" * CMDLINE_MOST))


@pytest.mark.parametrize(("text", "reason"), [
    (b"", "imagekit.slot is missing"), (b"imagekit.slot=a imagekit.slot=b", "imagekit.slot is given twice"),
    (b"imagekit.slot=c imagekit.base=0 imagekit.kernel=0 imagekit.state=0", "neither a nor b"),
])
def test_command_line_of_no_slot_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_cmdline(text, name="boot-a/cmdline.txt")


def test_sums_come_back_and_a_changed_byte_anywhere_is_seen() -> None:
    raw = whole()[SUMS_NAME]
    assert decode_sums(raw) == (Slot.A, {name: Measure.of(content) for name, content in FILES.items()})
    for at in range(len(raw)):
        with pytest.raises(DocumentError):
            decode_sums(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1:])
        with pytest.raises(DocumentError):
            decode_sums(raw[:at])


def test_slot_is_whole_only_as_it_was_measured() -> None:
    assert is_whole(whole(), Slot.A)
    assert not is_whole(whole(), Slot.B)
    assert not is_whole({}, Slot.A)
    assert not is_whole({**whole(), "other": b""}, Slot.A)
    for name in FILES:
        assert not is_whole({**whole(), name: FILES[name] + b"\0"}, Slot.A)
        assert not is_whole({key: content for key, content in whole().items() if key != name}, Slot.A)
    without = {name: content for name, content in FILES.items() if name != "initrd"}
    assert not is_whole(whole(files=without), Slot.A), "measured, but nothing boots without it"


@pytest.mark.parametrize("name", ["", "a b", "a\nb", "\u00e9", SUMS_NAME])
def test_name_that_sums_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(DocumentError, match=r"cannot encode slot\.sum"):
        encode_sums(Slot.A, {name: Measure.of(b"")})
