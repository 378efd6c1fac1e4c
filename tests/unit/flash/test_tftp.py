"""The TFTP server, asked by a client that is written out here, and by curl."""

from __future__ import annotations

import random
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator

import pytest

from imagekit.boot.tftp import Read, agree, decode_request
from imagekit.errors import HostError
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
