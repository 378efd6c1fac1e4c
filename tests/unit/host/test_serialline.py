"""Serial lines: a device, a socket, and what is said when there is none."""

from __future__ import annotations

import os
import pty
import socket
import threading
import tty
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from imagekit.errors import HostError, TargetError
from imagekit.host.serialline import open_line
from tests.networkline import UNSET, NetworkLine, served
from tests.patience import patience
from tests.unit.flash.ptys import exactly

# pyserial 3.5 of 2020
pytestmark = pytest.mark.filterwarnings("ignore:set(Daemon|Name)\\(\\) is deprecated:DeprecationWarning:serial")


def test_line_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"cannot open serial line .*ttyNONE: there is no such device") as caught:
        open_line(str(tmp_path / "ttyNONE"), baud=115200)
    assert caught.value.hint


def test_url_that_pyserial_does_not_know_is_told_with_those_it_does() -> None:
    with pytest.raises(HostError, match="cannot open serial line telnet://x") as caught:
        open_line("telnet://x:1", baud=115200)
    assert "socket://HOST:PORT" in str(caught.value.hint)


def test_line_that_another_program_holds_is_told() -> None:
    far, near = pty.openpty()
    try:
        with (closing(open_line(os.ttyname(near), baud=115200)),
              pytest.raises(HostError, match="another program has it open")):
            open_line(os.ttyname(near), baud=115200)
    finally:
        os.close(far)
        os.close(near)


def test_every_byte_passes_a_device_as_it_is() -> None:
    far, near = pty.openpty()
    try:
        with closing(open_line(os.ttyname(near), baud=115200)) as line:
            everything = bytes(range(256))
            line.write(everything)
            assert exactly(far, 256) == everything
            os.write(far, everything)
            got = b""
            while len(got) < 256:
                got += line.read(60)
            assert (got, line.read(0)) == (everything, b"")
            line.set_baud(9600)
            assert line.baud == 9600
    finally:
        os.close(far)
        os.close(near)


def test_socket_that_is_closed_is_a_line_that_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve() -> None:
            peer, _ = listening.accept()
            peer.recv(1)  # what comes before, a line that is being opened may throw away
            peer.sendall(b"hello")
            peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        with closing(open_line(f"socket://127.0.0.1:{listening.getsockname()[1]}", baud=115200)) as line:
            line.write(b"?")
            thread.join()
            got = b""
            while len(got) < 5:
                got += line.read(60)
            assert got == b"hello"
            with pytest.raises(TargetError, match="it is gone"):
                line.read(60)


@pytest.fixture(params=["rfc2217", "socket"])
def remote(request: pytest.FixtureRequest) -> Iterator[tuple[NetworkLine, int]]:
    """A server before a pty, and the pty's far end."""
    far, near = pty.openpty()
    tty.setraw(near)
    try:
        with patience(waits=True), served(os.ttyname(near), bare=request.param == "socket") as server:
            yield server, far
    finally:
        os.close(far)
        os.close(near)


def test_every_byte_passes_a_network_as_it_is(remote: tuple[NetworkLine, int]) -> None:
    server, far = remote
    everything = bytes(range(256)) * 3 + b"\xff\xff\xfb\x01"  # 255 begins a command of telnet
    with closing(open_line(server.url, baud=115200)) as line:
        line.write(everything)
        assert exactly(far, len(everything)) == everything
        os.write(far, everything)
        got = b""
        while len(got) < len(everything):
            got += line.read(60)
        assert (got, line.read(0)) == (everything, b"")


def test_rate_is_set_at_the_other_machine(remote: tuple[NetworkLine, int]) -> None:
    server, far = remote
    with closing(open_line(server.url, baud=57600)) as line:
        line.set_baud(9600)
        line.write(b"?")
        assert exactly(far, 1) == b"?"
    assert server.rates == ([UNSET] if server.url.startswith("socket:") else [UNSET, 57600, 9600])


def test_connection_that_is_lost_is_a_line_that_is_gone_and_can_be_opened_again(
        remote: tuple[NetworkLine, int]) -> None:
    server, far = remote
    with closing(open_line(server.url, baud=115200)) as line:
        line.write(b"?")
        assert exactly(far, 1) == b"?"
        server.cut()
        with pytest.raises(TargetError, match=r"cannot use serial line .*: it is gone"):
            while True:
                line.read(60)
        with pytest.raises(TargetError, match="it is gone"):
            while True:
                line.write(b"x")
    with closing(open_line(server.url, baud=115200)) as line:
        line.write(b"!")
        while exactly(far, 1) != b"!":
            pass


def test_server_that_is_not_up_is_told_with_what_a_url_is() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    for scheme in ("rfc2217", "socket"):
        with pytest.raises(HostError, match=f"cannot open serial line {scheme}://") as caught:
            open_line(f"{scheme}://127.0.0.1:{port}", baud=115200)
        assert "is the server up?" in str(caught.value.hint)


def test_server_of_bare_tcp_is_told_from_one_of_rfc2217() -> None:
    """Whoever writes rfc2217:// for a port of ser2net that is raw."""
    far, near = pty.openpty()
    tty.setraw(near)
    try:
        with patience(waits=True), served(os.ttyname(near), bare=True) as server:
            url = server.url.replace("socket://", "rfc2217://") + "?timeout=0.3"
            with pytest.raises(HostError, match="does not seem to support RFC2217"):
                open_line(url, baud=115200)
    finally:
        os.close(far)
        os.close(near)
