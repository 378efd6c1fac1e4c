"""The judge behind a console: the same verdicts and the same controls as over the port, and what only a line can do."""

from __future__ import annotations

import json

import pytest

from imagekit.boot.frames import Joiner, decode_frame, encode_frames
from imagekit.boot.health import Challenge, Message, Receipt, decode_message
from imagekit.qemu.inband import InBand
from imagekit.qemu.judge import HELLOS_MAX, Dialogue
from tests.unit.qemu.test_judge import EXPECTED, HELLO, Nonces, line


def fresh() -> tuple[InBand, Dialogue]:
    dialogue = Dialogue(EXPECTED, Nonces())
    return InBand(dialogue), dialogue


def hear(in_band: InBand, message: bytes) -> bytes:
    answers = [in_band.hear(each) for each in encode_frames(message).splitlines()]
    assert None not in answers
    return b"".join(answer or b"" for answer in answers)


def read(answer: bytes) -> Message:
    """The one message of an answer."""
    joiner = Joiner()
    frames = [frame for each in answer.splitlines() if (frame := decode_frame(each))]
    (whole,) = [found for frame in frames if (found := joiner.add(frame))]
    return decode_message(whole)


def nonce_of(answer: bytes) -> str:
    message = read(answer)
    assert isinstance(message, Challenge)
    return message.nonce


def test_from_hello_to_a_healthy_verdict_and_its_receipt() -> None:
    in_band, dialogue = fresh()
    nonce = nonce_of(hear(in_band, HELLO))
    assert read(hear(in_band, line(nonce=nonce))) == Receipt(nonce=nonce)
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy


def test_ordinary_line_is_not_taken_and_not_answered() -> None:
    in_band, dialogue = fresh()
    assert in_band.hear(b"imagekit: phase health") is None
    assert in_band.hear(line(nonce="00" * 32)) is None, "a verdict without a frame is only text"
    assert dialogue.judgement is None


def test_hello_that_is_said_again_gets_the_same_challenge() -> None:
    in_band, dialogue = fresh()
    answers = {hear(in_band, HELLO) for _ in range(3 * HELLOS_MAX)}
    assert len(answers) == 1
    nonce = nonce_of(answers.pop())
    hear(in_band, line(nonce=nonce))
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy


def test_verdict_that_is_said_again_is_confirmed_again_and_counts_once() -> None:
    in_band, dialogue = fresh()
    said = line(nonce=nonce_of(hear(in_band, HELLO)))
    assert hear(in_band, said) == hear(in_band, said) != b""
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy


def test_mangled_verdict_is_not_judged_until_it_is_said_again() -> None:
    in_band, dialogue = fresh()
    lines = encode_frames(line(nonce=nonce_of(hear(in_band, HELLO)))).splitlines()
    for each in (lines[0][:40] + b"[   1.0] kernel speaks", lines[0][40:]):
        assert in_band.hear(each) is None
    for each in lines[1:]:
        assert in_band.hear(each) == b""
    assert dialogue.judgement is None
    assert read(in_band.hear(lines[0]) or b"")
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy


@pytest.mark.parametrize("changes", [{"nonce": "ac" * 32}, {"nonce": ""}, {"slot": "b"}, {"healthy": False},
                                     {"kernel_root": "44" * 32}])
def test_verdict_that_is_wrong_in_one_thing_is_refused(changes: dict[str, object]) -> None:
    in_band, dialogue = fresh()
    hear(in_band, line(**{"nonce": nonce_of(hear(in_band, HELLO)), **changes}))
    assert dialogue.judgement is not None
    assert not dialogue.judgement.healthy


def test_replayed_console_is_refused() -> None:
    nonces = Nonces()
    first = InBand(Dialogue(EXPECTED, nonces))
    recorded = [HELLO, line(nonce=nonce_of(hear(first, HELLO)))]
    again = Dialogue(EXPECTED, nonces)
    second = InBand(again)
    for message in recorded:
        hear(second, message)
    assert again.judgement is not None
    assert not again.judgement.healthy


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_two_different_verdicts_in_one_boot_are_refused(order: tuple[bool, bool]) -> None:
    in_band, dialogue = fresh()
    nonce = nonce_of(hear(in_band, HELLO))
    for healthy in order:
        hear(in_band, line(nonce=nonce, healthy=healthy))
    assert dialogue.judgement is not None
    assert not dialogue.judgement.healthy
    assert "spoke again" in dialogue.judgement.reasons[0]


def test_framed_garbage_is_refused_and_gets_no_receipt() -> None:
    in_band, dialogue = fresh()
    hear(in_band, HELLO)
    assert hear(in_band, json.dumps({"imagekit": 1, "type": "verdict"}).encode()) == b""
    assert dialogue.judgement is not None
    assert not dialogue.judgement.healthy


def test_echo_of_what_the_host_said_is_nobodys_word() -> None:
    in_band, dialogue = fresh()
    challenge = hear(in_band, HELLO)
    receipt = hear(in_band, line(nonce=nonce_of(challenge)))
    assert [in_band.hear(each) for each in (challenge + receipt).splitlines()] == [b""] * 2
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy
