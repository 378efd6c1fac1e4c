"""Serial lines: a device, a socket, and what is said when there is none."""

from __future__ import annotations

import os
import pty
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest

from imagekit.errors import HostError, TargetError
from imagekit.host.serialline import open_line
from tests.unit.flash.ptys import exactly


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
