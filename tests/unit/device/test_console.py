"""The verdict over the console's UART; a pseudo terminal stands for it."""

from __future__ import annotations

import os
import termios
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from imagekit.boot.frames import Joiner, decode_frame, encode_frames
from imagekit.boot.health import Challenge, Hello, Message, Receipt, Verdict, decode_message, encode_message
from imagekit.device.console import HELLOS, open_console
from imagekit.device.health import judge
from imagekit.device.machine import LocalPrograms
from tests.patience import patience
from tests.unit.device.conftest import Device, FakePrograms

NONCE = "5e" * 32


class Programs(FakePrograms):
    """stty is the real one."""

    def run(self, *command: str) -> str:
        return LocalPrograms().run(*command) if command[0] == "stty" else super().run(*command)


@dataclass(kw_only=True)
class Listener:
    """The host's end: keeps every line, and answers messages as it is told."""

    handle: int
    challenges: list[bytes] = field(default_factory=lambda: [encode_frames(encode_message(Challenge(nonce=NONCE)))])
    receipts: list[bytes] = field(default_factory=lambda: [encode_frames(encode_message(Receipt(nonce=NONCE)))])
    lines: list[bytes] = field(default_factory=list)
    heard: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._joiner = Joiner()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        received = b""
        while True:
            try:
                received += os.read(self.handle, 4096)
            except OSError:
                return
            *lines, received = received.split(b"\n")
            for line in lines:
                self.lines.append(line.rstrip(b"\r"))
                frame = decode_frame(self.lines[-1])
                if frame and (whole := self._joiner.add(frame)):
                    self.heard.append(decode_message(whole))
                    answers = self.challenges if isinstance(self.heard[-1], Hello) else self.receipts
                    if answers:
                        os.write(self.handle, answers.pop(0))


@pytest.fixture
def uart(device: Device) -> Iterator[int]:
    """The host's end of the console; the device's is ttyS1, behind a screen that is no UART."""
    host, guest = os.openpty()
    device.programs = Programs()
    for name, kind in (("tty0", ""), ("ttyS1", "4\n")):
        (device.folder / "sys/class/tty" / name).mkdir(parents=True)
        if kind:
            (device.folder / "sys/class/tty" / name / "type").write_text(kind)
    (device.folder / "sys/class/tty/console").mkdir()
    (device.folder / "sys/class/tty/console/active").write_text("tty0 ttyS1\n")
    (device.folder / "dev/ttyS1").symlink_to(os.ttyname(guest))
    yield host
    os.close(host)
    os.close(guest)


def run(device: Device) -> Verdict:
    with patience(waits=True):
        return judge(device.machine, lambda line: None)


def test_verdict_over_the_console_echoes_the_nonce(device: Device, uart: int) -> None:
    host = Listener(handle=uart)
    verdict = run(device)
    assert verdict.nonce == NONCE
    assert host.heard == [Hello(boot_id="b00t"), verdict]


def test_line_is_left_as_it_was_found(device: Device, uart: int) -> None:
    Listener(handle=uart)
    guest = os.open(device.folder / "dev/ttyS1", os.O_RDWR | os.O_NOCTTY)
    before = termios.tcgetattr(guest)
    assert before[3] & termios.ECHO
    run(device)
    assert termios.tcgetattr(guest) == before
    os.close(guest)


def test_lost_challenge_is_asked_for_again(device: Device, uart: int) -> None:
    good = encode_frames(encode_message(Challenge(nonce=NONCE)))
    host = Listener(handle=uart, challenges=[good[:30] + b"?" + good[31:], good])
    verdict = run(device)
    assert verdict.nonce == NONCE
    assert [type(message) for message in host.heard] == [Hello, Hello, Verdict]


def test_verdict_is_said_again_until_its_own_receipt_comes(device: Device, uart: int) -> None:
    receipts = [encode_frames(encode_message(Receipt(nonce=nonce))) for nonce in ("ac" * 32, NONCE)]
    host = Listener(handle=uart, receipts=receipts)
    verdict = run(device)
    assert host.heard[1:] == [verdict, verdict]


def test_device_without_a_host_says_no_verdict(device: Device, uart: int) -> None:
    host = Listener(handle=uart, challenges=[])
    verdict = run(device)
    assert verdict.healthy
    assert verdict.nonce == ""
    assert {type(message) for message in host.heard} == {Hello}
    assert len(host.heard) <= HELLOS


def test_nothing_but_a_framed_challenge_has_an_effect(device: Device, uart: int) -> None:
    """The attack: whoever has the line types commands, control characters and messages of other kinds."""
    noise = (b"\x03\x1a\x04\nreboot\n" + encode_message(Challenge(nonce="ac" * 32))
             + encode_frames(encode_message(Receipt(nonce=NONCE))) + encode_frames(b"{}") + b"x" * 200_000 + b"\n")
    host = Listener(handle=uart, challenges=[noise + encode_frames(encode_message(Challenge(nonce=NONCE)))])
    verdict = run(device)
    assert verdict.nonce == NONCE
    assert verdict.healthy
    assert host.heard[-1] == verdict
    assert [command[0] for command in device.programs.ran] == ["systemctl", "systemctl"]


def test_challenge_after_the_verdict_is_heard_by_nobody(device: Device, uart: int) -> None:
    host = Listener(handle=uart)
    run(device)
    before = list(host.heard)
    late = Challenge(nonce="ac" * 32)
    os.write(uart, encode_frames(encode_message(late)))
    time.sleep(0.3)
    assert [message for message in host.heard if message != late] == before, "the line itself may echo it"


@pytest.mark.parametrize(("active", "kind"), [("tty0\n", "4\n"), ("ttyS1 tty0\n", "4\n"), ("ttyS1\n", "0\n"),
                                              ("\n", "4\n")])
def test_console_that_is_no_uart_is_left_alone(device: Device, uart: int, active: str, kind: str) -> None:
    (device.folder / "sys/class/tty/console/active").write_text(active)
    (device.folder / "sys/class/tty/ttyS1/type").write_text(kind)
    at = device.machine
    assert open_console(sys=at.sys, dev=at.dev, programs=at.programs) is None


def test_port_is_preferred_where_there_is_one(device: Device, uart: int) -> None:
    host = Listener(handle=uart)
    port, guest = os.openpty()
    (device.folder / "dev/vport1p1").symlink_to(os.ttyname(guest))
    (device.folder / "sys/class/virtio-ports/vport1p1").mkdir()
    (device.folder / "sys/class/virtio-ports/vport1p1/name").write_text("org.imagekit.health\n")
    judge(device.machine, lambda line: None, wait_s=0.1)
    assert host.lines == []
    os.close(port)
    os.close(guest)
