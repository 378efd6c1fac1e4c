"""A line to a boot loader that speaks fastboot over TCP.

Decides how the line is opened, how packets are framed, and what is said when it breaks; what is spoken is its user's.
"""

from __future__ import annotations

import contextlib
import socket
import time

from imagekit.boot.fastboot import HANDSHAKE, LENGTH, MOST_ANSWER, TcpAddress, decode_length, encode_length
from imagekit.errors import HostError, TargetError
from imagekit.host.addresses import refuse_no_host
from imagekit.host.files import reason

CONNECT_S = 10.0
SEND_S = 60.0  # in which a part of a packet must be taken


class TcpLink:
    """`PacketLink` over TCP. Open it by `connect`."""

    def __init__(self, connection: socket.socket, *, name: str) -> None:
        self._socket, self.name = connection, name

    def greet(self) -> None:
        """Tell each other the protocol. Raises: TargetError: the other side speaks something else."""
        self._put(HANDSHAKE)
        found = self._exactly(len(HANDSHAKE), time.monotonic() + CONNECT_S)
        if found[:2] != HANDSHAKE[:2] or not found[2:].isdigit() or found[2:] == b"00":
            raise TargetError(f"cannot talk to {self.name}: it does not speak fastboot, it says {found!r}",
                              hint="is it the right port? fastboot's is 5554")

    def send(self, content: bytes | memoryview) -> None:
        self._put(encode_length(len(content)))
        self._put(content)

    def receive(self, timeout_s: float) -> bytes:
        deadline = time.monotonic() + timeout_s
        size = decode_length(self._exactly(LENGTH, deadline))
        if size > MOST_ANSWER:
            raise TargetError(f"cannot understand {self.name}: an answer of {size} bytes")
        return self._exactly(size, deadline)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.close()

    def _put(self, content: bytes | memoryview) -> None:
        self._socket.settimeout(SEND_S)
        try:
            self._socket.sendall(content)
        except TimeoutError as error:
            raise TargetError(f"cannot send to {self.name}: nothing was taken for {SEND_S:.0f} s") from error
        except OSError as error:
            raise self._gone(reason(error)) from error

    def _exactly(self, size: int, deadline: float) -> bytes:
        got = bytearray()
        while len(got) < size:
            left = deadline - time.monotonic()
            try:
                self._socket.settimeout(max(left, 0.001))
                more = self._socket.recv(size - len(got))
            except TimeoutError as error:
                raise TargetError(f"cannot hear {self.name}: it does not answer",
                                  hint="is it still in fastboot mode? reset it, and start fastboot there again"
                                  ) from error
            except OSError as error:
                raise self._gone(reason(error)) from error
            if not more:
                raise self._gone("it has closed the connection")
            got += more
        return bytes(got)

    def _gone(self, why: str) -> TargetError:
        return TargetError(f"cannot talk to {self.name}: the connection is gone: {why}",
                           hint="was the board reset, or the cable pulled?")


def connect(address: TcpAddress) -> TcpLink:
    """Open a line.

    Raises:
        HostError: nobody is there.
        TargetError: somebody is there who does not speak fastboot.
        UsageError: nobody can be asked by that name.
    """
    refuse_no_host(address.host)
    try:
        connection = socket.create_connection((address.host, address.port), timeout=CONNECT_S)
    except OSError as error:
        why = "no answer" if isinstance(error, TimeoutError) else reason(error)
        raise HostError(f"cannot reach {address}: {why}",
                        hint="at the board's prompt: fastboot tcp; it tells its address") from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    link = TcpLink(connection, name=str(address))
    try:
        link.greet()
    except BaseException:
        link.close()
        raise
    return link
