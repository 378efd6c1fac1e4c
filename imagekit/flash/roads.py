"""The roads on which bytes come into a board's memory: its serial line, or its network.

Decides what the board is told and how long a road takes. That the bytes are right is seen in the board's memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from imagekit.boot.ymodem import seconds
from imagekit.errors import HostError, TargetError
from imagekit.flash.tftp import TftpServer
from imagekit.flash.uboot import UBoot

TURN_S = 0.016  # from a block to its answer: the wait of a common USB adapter
NETWORK = 1 << 20  # bytes a second that TFTP is thought to do, one block after another
FETCHES = 3
LEASE_S = 60.0


class Road(Protocol):
    """One way into the board's memory."""

    commands: tuple[str, ...]  # that U-Boot needs for it

    def bring(self, content: bytes, sent: Callable[[int], None]) -> None:
        """Put bytes where the board's memory is free, and see there that they are right.

        Raises:
            TargetError: they do not get through.
            HostError: this machine cannot send them.
        """

    def takes_s(self, size: int) -> float:
        """How long so many bytes take, in seconds, without the commands."""


class SerialRoad:
    """The serial line, by YMODEM."""

    commands: tuple[str, ...] = ("loady",)

    def __init__(self, uboot: UBoot) -> None:
        self._uboot = uboot

    def bring(self, content: bytes, sent: Callable[[int], None]) -> None:
        self._uboot.load(content, name="piece", sent=sent)

    def takes_s(self, size: int) -> float:
        return seconds(size, baud=self._uboot.console.line.baud, turn_s=TURN_S)


class NetworkRoad:
    """The network, by TFTP from this machine. `join` first."""

    commands: tuple[str, ...] = ("tftpboot",)

    def __init__(self, uboot: UBoot, server: TftpServer) -> None:
        self._uboot, self._server = uboot, server
        self._count = 0

    def join(self, own: str | None) -> None:
        """Give the board its address, `own` or one that it asks for (DHCP), and tell it who serves.

        Raises:
            TargetError: it has no network, or nobody gives it an address.
        """
        if own is None:
            answer = self._uboot.console.run("setenv autoload no; dhcp", timeout_s=LEASE_S)
            if answer.status:
                raise TargetError("cannot reach the board's network: nobody gives it an address",
                                  details=tuple(f"board: {line}" for line in answer.text.splitlines()[-8:]),
                                  hint="is the cable in? without a DHCP server: --board-address")
        else:
            self._uboot.console.must(f"setenv ipaddr {own}; setenv netmask 255.255.255.0")
        self._uboot.console.must(f"setenv serverip {self._server.address}; setenv netretry no")

    def bring(self, content: bytes, sent: Callable[[int], None]) -> None:
        self._count += 1
        name = f"piece-{self._count}"
        self._server.files = {name: content}
        said = self._server.problem = ""
        for _ in range(FETCHES):
            answer = self._uboot.console.run(f"tftpboot {self._uboot.board.address:x} {name}", timeout_s=120.0)
            said = answer.text
            if answer.status == 0 and self._uboot.holds(content):
                sent(len(content))
                return
        details = tuple(f"board: {line}" for line in re.split(r"[\r\n]+", said)[-8:])
        if self._server.problem:
            raise HostError(f"cannot bring a piece to the board by TFTP: this machine {self._server.problem}",
                            details=details, hint="does its own firewall forbid that? UDP must get out to the board")
        raise TargetError("cannot bring a piece to the board by TFTP: it does not arrive", details=details,
                          hint="does a firewall of this machine keep UDP port 69 shut?")

    def takes_s(self, size: int) -> float:
        return size / NETWORK
