"""A TFTP server that reads no disk: it gives out the files it was handed, by their very names, and nothing else.

Decides who is answered: anybody who asks for a name that is offered, one transfer after another, since a boot loader
has one at a time. Whoever writes, or asks for another name, is refused. A transfer that nobody acknowledges ends. What
cannot be sent counts as lost, as on the network, and is remembered: no datagram, whoever sent it, ends the server.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType

from imagekit.boot.tftp import (
    ILLEGAL,
    NOT_FOUND,
    PORT,
    REFUSED,
    RRQ,
    Read,
    agree,
    decode_ack,
    decode_request,
    encode_data,
    encode_error,
    encode_oack,
    is_error,
)
from imagekit.errors import HostError
from imagekit.host.files import reason

TRIES = 6  # times that a block is sent
MOST = 65536
LOOK_S = 0.2


class TftpServer:
    """Serves on `address` while the block runs. `files` may be exchanged at any time. `sockets` makes those for UDP."""

    def __init__(self, address: str, *, port: int = PORT, sockets: Callable[[], socket.socket] | None = None) -> None:
        self.files: Mapping[str, bytes] = {}
        self.served = 0  # transfers that were acknowledged to their end
        self.problem = ""  # what this machine could not do last, when a file was asked for
        self._over = threading.Event()
        self._sockets = sockets or _udp
        self._socket = self._sockets()
        try:
            self._socket.bind((address, port))
        except OSError as error:
            self._socket.close()
            raise HostError(f"cannot serve TFTP on {address} port {port}: {reason(error)}",
                            hint=_hint(error)) from error
        self._socket.settimeout(LOOK_S)
        self.address, self.port = self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, name="tftp", daemon=True)

    def __enter__(self) -> TftpServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                packet, peer = self._socket.recvfrom(MOST)
            except TimeoutError:
                continue
            except OSError as error:
                self._missed(error)
                continue
            if peer[1]:  # nobody can be answered at port 0
                self._answer(packet, peer)

    def _missed(self, error: OSError, peer: tuple[str, int] | None = None) -> None:
        """Remember what could not be done, and do not do it again at once."""
        self.problem = f"cannot {f'send to {peer[0]} port {peer[1]}' if peer else 'receive'}: {reason(error)}"
        self._over.wait(LOOK_S)

    def _refuse(self, own: socket.socket, peer: tuple[str, int], code: int, text: str) -> None:
        """Say no. Whoever cannot be told asked for nothing that is given."""
        with contextlib.suppress(OSError):
            own.sendto(encode_error(code, text), peer)

    def _answer(self, packet: bytes, peer: tuple[str, int]) -> None:
        request = decode_request(packet)
        if request is None:
            if packet[:1] == b"\0" and packet[1:2] != bytes([RRQ]):
                self._refuse(self._socket, peer, REFUSED, "this server only gives")
            else:
                self._refuse(self._socket, peer, ILLEGAL, "no request")
            return
        content = self.files.get(request.name)
        if content is None or request.mode != "octet":
            code, text = (NOT_FOUND, "no such file") if content is None else (ILLEGAL, "only mode octet")
            self._refuse(self._socket, peer, code, text)
            return
        try:
            with self._sockets() as own:  # its port is the transfer's name, RFC 1350 4
                own.bind((self.address, 0))
                self._transfer(own, peer, request, content)
        except OSError as error:
            self._missed(error, peer)

    def _transfer(self, own: socket.socket, peer: tuple[str, int], request: Read, content: bytes) -> None:
        terms = agree(request.options, len(content))
        own.settimeout(min(terms.timeout_s, 1.0))
        if terms.answer and not self._sent(own, peer, encode_oack(terms.answer), 0):
            return
        for number, block in enumerate(_blocks(content, terms.blksize), start=1):
            if not self._sent(own, peer, encode_data(number, block), number & 0xFFFF):
                return
        self.served += 1

    def _sent(self, own: socket.socket, peer: tuple[str, int], packet: bytes, number: int) -> bool:
        """Send until it is acknowledged. An acknowledgement of an earlier block is not answered: RFC 1123 4.2.3.1."""
        for _ in range(TRIES):
            try:
                own.sendto(packet, peer)
            except OSError as error:
                self._missed(error, peer)
                continue
            with contextlib.suppress(TimeoutError):
                while not self._over.is_set():
                    answer, sender = own.recvfrom(MOST)
                    if sender != peer:
                        self._refuse(own, sender, 5, "unknown transfer")
                    elif is_error(answer):
                        return False
                    elif decode_ack(answer) == number:
                        return True
            if self._over.is_set():
                return False
        return False


def _udp() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _blocks(content: bytes, size: int) -> Iterator[bytes]:
    """Blocks of `size`; the last is shorter, perhaps empty: that ends a transfer."""
    for start in range(0, len(content) + 1, size):
        yield content[start:start + size]


def _hint(error: OSError) -> str | None:
    if isinstance(error, PermissionError):
        return "as root, or let users have that port: sysctl net.ipv4.ip_unprivileged_port_start=69"
    return "the address must be one of this machine, and no other TFTP server may run"
