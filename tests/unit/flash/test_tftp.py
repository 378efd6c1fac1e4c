"""The TFTP server, asked by a client that is written out here, and by curl."""

from __future__ import annotations

import errno
import os
import random
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import SimpleNamespace
from typing import Any, cast

import pytest

from imagekit.boot.tftp import Read, agree, decode_request
from imagekit.errors import HostError, TargetError
from imagekit.flash.roads import NetworkRoad
from imagekit.flash.tftp import TftpServer
from tests.patience import patience

CONTENT = random.Random(4).randbytes(70_000)


@pytest.fixture
def server() -> Iterator[TftpServer]:
    with patience(waits=True), TftpServer("127.0.0.1", port=0) as found:
        found.files = {"piece-1": CONTENT, "even": b"x" * 1024, "empty": b""}
        yield found


@pytest.fixture
def client() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.settimeout(60)
        yield own


def asked(client: socket.socket, server: TftpServer, packet: bytes) -> tuple[bytes, tuple[str, int]]:
    client.sendto(packet, (server.address, server.port))
    answer: tuple[bytes, tuple[str, int]] = client.recvfrom(65536)
    return answer


def fetched(client: socket.socket, answer: bytes, peer: tuple[str, int], *, blksize: int = 512,
            deaf: int = 0) -> bytes:
    """All blocks, from the first on; the block numbered `deaf` is not acknowledged the first time."""
    got = bytearray()
    number = 1
    while True:
        if answer[:4] == struct.pack(">HH", 3, number & 0xFFFF):
            if number == deaf:
                deaf = 0
            else:
                got += answer[4:]
                client.sendto(struct.pack(">HH", 4, number & 0xFFFF), peer)
                if len(answer) < blksize + 4:
                    return bytes(got)
                number += 1
        answer, _ = client.recvfrom(65536)


@pytest.mark.parametrize("name", ["piece-1", "even", "empty"])
def test_file_comes_in_blocks_of_512_where_nothing_else_is_asked(server: TftpServer, client: socket.socket,
                                                                 name: str) -> None:
    answer, peer = asked(client, server, b"\0\1" + name.encode() + b"\0octet\0")
    assert peer[1] != server.port
    assert fetched(client, answer, peer) == server.files[name]


def test_options_are_acknowledged_and_kept(server: TftpServer, client: socket.socket) -> None:
    answer, peer = asked(client, server, b"\0\1piece-1\0octet\0tsize\x000\0blksize\x001468\0windowsize\x004\0")
    assert answer == b"\0\6tsize\x0070000\0blksize\x001468\0"
    client.sendto(b"\0\4\0\0", peer)
    assert fetched(client, client.recvfrom(65536)[0], peer, blksize=1468) == CONTENT


def test_block_that_is_not_acknowledged_is_sent_again(server: TftpServer, client: socket.socket) -> None:
    answer, peer = asked(client, server, b"\0\1even\0octet\0")
    assert fetched(client, answer, peer, deaf=2) == b"x" * 1024


@pytest.mark.parametrize(("packet", "code"), [
    (b"\0\1/etc/passwd\0octet\0", 1), (b"\0\1../piece-1\0octet\0", 1), (b"\0\1even\0netascii\0", 4),
    (b"\0\2even\0octet\0", 2), (b"\0\1even\0octet", 4), (b"\0\1even\0", 4), (b"\0\1\xff\0octet\0", 4), (b"", 4)])
def test_what_is_not_offered_is_refused(server: TftpServer, client: socket.socket, packet: bytes, code: int) -> None:
    answer, _ = asked(client, server, packet)
    assert struct.unpack(">HH", answer[:4]) == (5, code)


def test_stranger_cannot_end_a_transfer(server: TftpServer, client: socket.socket) -> None:
    answer, peer = asked(client, server, b"\0\1even\0octet\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.settimeout(60)
        stranger.sendto(b"\0\5\0\0enough\0", peer)
        assert stranger.recvfrom(100)[0][:4] == b"\0\5\0\5"
    assert fetched(client, answer, peer) == b"x" * 1024


class Odd(socket.socket):
    """A UDP socket on a machine, or a network, where something is `wrong`: once each. `denied`: nothing gets out."""

    def __init__(self, wrong: list[str], *, denied: bool) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.wrong, self.denied = wrong, denied

    def happens(self, what: str) -> bool:
        if what not in self.wrong:
            return False
        self.wrong.remove(what)
        return True

    def recvfrom(self, *size: Any) -> tuple[bytes, Any]:
        if self.happens("receive"):
            raise OSError(errno.ENETDOWN, os.strerror(errno.ENETDOWN))
        packet, (address, port) = super().recvfrom(*size)
        return packet, (address, 0 if self.happens("port 0") else port)

    def bind(self, address: Any) -> None:
        if self.happens("bind"):
            raise OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
        super().bind(address)

    def sendto(self, *what: Any) -> int:
        if self.denied or self.happens("send"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return super().sendto(*what)


@contextmanager
def odd(*wrong: str, denied: bool = False) -> Iterator[tuple[TftpServer, list[str]]]:
    """A server there, and what is wrong still; nothing is until it is bound."""
    left: list[str] = []
    with patience(waits=True), TftpServer("127.0.0.1", port=0, sockets=lambda: Odd(left, denied=denied)) as server:
        server.files = {"even": b"x" * 1024}
        left += wrong
        yield server, left


GIVEN, ABSENT, WRITTEN, NOISE = b"\0\1even\0octet\0", b"\0\1none\0octet\0", b"\0\2even\0octet\0", b"noise"


@pytest.mark.parametrize(("wrong", "packet"), [
    ("port 0", GIVEN), ("port 0", ABSENT), ("port 0", WRITTEN), ("port 0", NOISE), ("receive", NOISE), ("bind", GIVEN),
    ("send", ABSENT), ("send", WRITTEN), ("send", NOISE)])
def test_no_datagram_ends_the_server(client: socket.socket, wrong: str, packet: bytes) -> None:
    """One from port 0, where nobody can be answered, and one whose answer this machine does not let out."""
    with odd(wrong) as (server, left):
        client.sendto(packet, (server.address, server.port))
        client.settimeout(1)
        with suppress(TimeoutError):
            client.recvfrom(65536)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
            board.settimeout(60)
            answer, peer = asked(board, server, GIVEN)
            assert fetched(board, answer, peer) == b"x" * 1024
        assert left == []  # it happened
        assert bool(server.problem) is (wrong in ("receive", "bind"))  # nobody is owed what a stranger asks for


def test_packet_that_this_machine_does_not_let_out_once_is_sent_again(client: socket.socket) -> None:
    with odd("send") as (server, _):
        answer, peer = asked(client, server, b"\0\1even\0octet\0")
        assert fetched(client, answer, peer) == b"x" * 1024


@pytest.mark.parametrize("denied", [True, False])
def test_piece_that_does_not_arrive_is_told_with_what_this_machine_could_not_do(*, denied: bool) -> None:
    def fetch(_command: str, *, timeout_s: float) -> Any:
        """A U-Boot that asks, and hears nothing."""
        assert timeout_s
        if denied:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as board:
                board.sendto(b"\0\1" + next(iter(server.files)).encode() + b"\0octet\0", (server.address, server.port))
                while not server.problem:
                    time.sleep(0.01)
        return SimpleNamespace(text="T T T\r\nRetry count exceeded", status=1)

    with odd(denied=denied) as (server, _):
        uboot = SimpleNamespace(console=SimpleNamespace(run=fetch), board=SimpleNamespace(address=0x1000))
        told = (r"this machine cannot send to 127\.0\.0\.1 port \d+: operation not permitted" if denied
                else "it does not arrive")
        with pytest.raises(HostError if denied else TargetError, match=told) as caught:
            NetworkRoad(cast(Any, uboot), server).bring(b"x", lambda _: None)
        assert caught.value.details == ("board: T T T", "board: Retry count exceeded")


def test_curl_fetches_it(server: TftpServer, program: Callable[[str], str]) -> None:
    done = subprocess.run([program("curl"), "--silent", "--tftp-blksize", "1400",
                           f"tftp://{server.address}:{server.port}/piece-1"], capture_output=True, check=True)
    assert done.stdout == CONTENT


def test_address_of_another_machine_cannot_be_served() -> None:
    with pytest.raises(HostError, match=r"cannot serve TFTP on 192\.0\.2\.1 port 69"):
        TftpServer("192.0.2.1")


def test_odd_options_are_passed_over() -> None:
    request = decode_request(b"\0\1f\0OCTET\0BLKSIZE\x004\0timeout\x00999\0tsize\0\0")
    assert request == Read(name="f", mode="octet", options={"blksize": "4", "timeout": "999", "tsize": ""})
    assert agree(request.options, 7).answer == {"tsize": "7"}
