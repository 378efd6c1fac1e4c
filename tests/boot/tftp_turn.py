"""UDP port 69 is one, and boards ask no other: the tests that serve them take turns, those of other runs too."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from imagekit.errors import HostError
from imagekit.flash.tftp import TftpServer
from tests.boot.stock import missing_tool

LOOK_S = 0.1
TURN_S = 900  # somebody else's turn may take so long on a busy machine


@contextmanager
def tftp_turn() -> Iterator[str]:
    """Yield what keeps this user from serving TFTP, empty for nothing, and keep other tests from it meanwhile.

    The turn is an abstract socket (unix(7)): it reaches as far as the port does, a network namespace, and the kernel
    ends it with the process.
    """
    over = time.monotonic() + TURN_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as turn:
        while True:
            try:
                turn.bind("\0imagekit-tests-udp-69")
                break
            except OSError:
                assert time.monotonic() < over, f"another test had UDP port 69 for {TURN_S} s"
                time.sleep(LOOK_S)
        yield _obstacle()


def no_tftp(obstacle: str) -> None:
    """Others than root may not have port 69; root may, in CI as well."""
    (missing_tool if os.geteuid() == 0 else pytest.skip)(obstacle)


def _obstacle() -> str:
    try:
        with TftpServer("127.0.0.1"):
            return ""
    except HostError as error:
        return error.message
