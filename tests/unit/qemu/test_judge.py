"""The judge: one good verdict, and a control for everything in it that may be wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from imagekit.boot.health import LINE_MAX
from imagekit.qemu.judge import HELLOS_MAX, Dialogue, Expectation, Package, judge

NONCE = "ab" * 32
KERNEL = Package(name="pc-kernel", revision=3, root="11" * 32)
BASE = Package(name="debian-13", revision=5, root="22" * 32)
OLD_BASE = Package(name="debian-13", revision=4, root="33" * 32)
EXPECTED = Expectation(model="acme/pc-demo", kernel=KERNEL, base=BASE, known=(KERNEL, BASE, OLD_BASE))
GOOD: dict[str, Any] = {
    "imagekit": 1, "type": "verdict", "nonce": NONCE, "healthy": True, "slot": "a", "base_root": BASE.root,
    "kernel_root": KERNEL.root, "confirmed": True, "reasons": [], "checks": [], "phases": {}, "degraded": False,
}
HELLO = b'{"imagekit":1,"type":"hello","boot_id":"5d0c"}\n'


def line(**changes: Any) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


def test_verdict_that_is_right_in_everything_is_healthy() -> None:
    assert judge(NONCE, line(), EXPECTED).healthy


@pytest.mark.parametrize(("changes", "reason"), [
    ({"nonce": "ac" * 32}, "does not repeat the nonce"),
    ({"nonce": ""}, "does not repeat the nonce"),
    ({"healthy": False, "reasons": ["unit x failed"]}, "not healthy: unit x failed"),
    ({"slot": "b"}, "slot b came up, slot a is expected"),
    ({"slot": ""}, "slot unknown came up"),
    ({"kernel_root": "44" * 32}, "the kernel that runs is root 4444"),
    ({"kernel_root": ""}, "the kernel that runs is root ?"),
    ({"base_root": OLD_BASE.root}, "the base that runs is debian-13 revision 4, the model asks for debian-13 rev"),
    ({"base_root": KERNEL.root, "kernel_root": BASE.root}, "the base that runs is pc-kernel revision 3"),
    ({"healthy": "true"}, "healthy: str instead of bool"),
    ({"healthy": 1}, "healthy: int instead of bool"),
    ({"imagekit": 2}, "protocol 2"),
    ({"type": "hello", "boot_id": "x"}, "a hello where a verdict belongs"),
    ({"type": "challenge"}, "a challenge where a verdict belongs"),
    ({"base_root": "AB" * 32}, "base_root"),
])
def test_verdict_that_is_wrong_in_one_thing_is_refused_for_it(changes: dict[str, Any], reason: str) -> None:
    judgement = judge(NONCE, line(**changes), EXPECTED)
    assert not judgement.healthy
    assert reason in "; ".join(judgement.reasons)


@pytest.mark.parametrize("raw", [
    b"", b"{", b"[]", b"null", b"\xff\xfe", line()[:-1], line() + b"}", b"[" * 5000, b'{"imagekit":1,"type":"verdict"}',
    b"x" * (LINE_MAX + 1), line(reasons=["y" * LINE_MAX]),
])
def test_line_that_is_no_verdict_is_refused(raw: bytes) -> None:
    assert not judge(NONCE, raw, EXPECTED).healthy


def test_verdict_before_any_challenge_is_refused() -> None:
    assert not judge(None, line(nonce=""), EXPECTED).healthy


def test_each_missing_field_is_refused() -> None:
    for name in GOOD:
        less = {key: value for key, value in GOOD.items() if key != name}
        assert not judge(NONCE, json.dumps(less).encode(), EXPECTED).healthy, name


def test_either_slot_will_do_when_none_is_expected() -> None:
    assert judge(NONCE, line(slot="b"), replace(EXPECTED, slot=None)).healthy


def test_words_of_the_device_reach_people_without_escapes() -> None:
    judgement = judge(NONCE, line(healthy=False, reasons=["\x1b[2Jowned\u202e"]), EXPECTED)
    assert "".join(judgement.reasons).isprintable()


class Nonces:
    def __init__(self) -> None:
        self.given: list[str] = []

    def __call__(self) -> str:
        self.given.append(f"{len(self.given) + 1:064x}")
        return self.given[-1]


def test_dialogue_from_hello_to_a_healthy_verdict() -> None:
    nonces = Nonces()
    dialogue = Dialogue(EXPECTED, nonces)
    answer = dialogue.hear(HELLO)
    assert json.loads(answer) == {"imagekit": 1, "type": "challenge", "nonce": nonces.given[0]}
    assert dialogue.judgement is None
    assert dialogue.hear(line(nonce=nonces.given[0]) + b"\n") == b""
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy
    assert dialogue.boot_id == "5d0c"


def test_replayed_transcript_is_refused() -> None:
    nonces = Nonces()
    first = Dialogue(EXPECTED, nonces)
    first.hear(HELLO)
    recorded = HELLO + line(nonce=nonces.given[0]) + b"\n"
    second = Dialogue(EXPECTED, nonces)
    second.hear(recorded)
    assert second.judgement is not None
    assert not second.judgement.healthy


@pytest.mark.parametrize("order", [(True, False), (False, True), (True, True)])
def test_two_verdicts_in_one_boot_are_refused(order: tuple[bool, bool]) -> None:
    nonces = Nonces()
    dialogue = Dialogue(EXPECTED, nonces)
    dialogue.hear(HELLO)
    for healthy in order:
        dialogue.hear(line(nonce=nonces.given[0], healthy=healthy) + b"\n")
    assert dialogue.judgement is not None
    assert not dialogue.judgement.healthy
    assert "spoke again" in dialogue.judgement.reasons[0]


def test_line_over_the_limit_is_refused_before_it_ends() -> None:
    dialogue = Dialogue(EXPECTED, Nonces())
    for _ in range(3):
        dialogue.hear(b"x" * 32768)
    assert dialogue.judgement is not None
    assert "more than 65536 bytes" in dialogue.judgement.reasons[0]


def test_health_service_that_starts_again_gets_a_new_nonce_but_not_for_ever() -> None:
    nonces = Nonces()
    dialogue = Dialogue(EXPECTED, nonces)
    for _ in range(HELLOS_MAX):
        assert dialogue.hear(HELLO)
    dialogue.hear(line(nonce=nonces.given[0]) + b"\n")
    assert dialogue.judgement is not None
    assert not dialogue.judgement.healthy
    flood = Dialogue(EXPECTED, Nonces())
    flood.hear(HELLO * (HELLOS_MAX + 1))
    assert flood.judgement is not None
    assert not flood.judgement.healthy


def test_verdict_in_pieces_is_put_together() -> None:
    nonces = Nonces()
    dialogue = Dialogue(EXPECTED, nonces)
    for byte in HELLO:
        dialogue.hear(bytes([byte]))
    for byte in line(nonce=nonces.given[0]) + b"\n":
        dialogue.hear(bytes([byte]))
    assert dialogue.judgement is not None
    assert dialogue.judgement.healthy
