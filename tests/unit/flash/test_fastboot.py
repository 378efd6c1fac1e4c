"""The fastboot client against a board that is pretended strictly, over TCP."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
from collections.abc import Iterator

import pytest

from imagekit.boot.fastboot import TcpAddress
from imagekit.disk.sparse import encode_sparse
from imagekit.errors import HostError, TargetError
from imagekit.flash.fastboot import Fastboot, RefusedCommandError, Shell, find_shell
from imagekit.host.fastboot_tcp import connect
from imagekit.packages.board import UBoot
from imagekit.testing.fastboot import FastbootBoard, FastbootServer
from imagekit.units import BLOCK, MIB
from tests.patience import patience

NOISE = random.Random(6).randbytes(MIB)
PROFILE = UBoot(prompt="=> ", interrupt="x", key=" ", baud=115200, address=0x4000000, room=1 << 20, disk="mmc 0")


@contextlib.contextmanager
def spoken_with(board: FastbootBoard) -> Iterator[Fastboot]:
    with (patience(waits=True), FastbootServer(board) as server,
          contextlib.closing(connect(TcpAddress(host="127.0.0.1", port=server.port))) as link):
        yield Fastboot(link)


def test_variables_are_asked_for() -> None:
    with spoken_with(FastbootBoard(disk=bytearray(MIB))) as fastboot:
        assert fastboot.getvar("version") == "0.4"
        assert fastboot.getvar("none") is None
        assert fastboot.number("max-download-size") == 4 << 20
        assert fastboot.number("product") is None


def test_file_is_sent_in_many_packets_and_written() -> None:
    board = FastbootBoard(disk=bytearray(4 * MIB), partitions={"all": (0, 4 * MIB)})
    told: list[int] = []
    with spoken_with(board) as fastboot:
        fastboot.download(encode_sparse(4 * MIB, BLOCK, [(BLOCK, NOISE), (2 * MIB, NOISE)]), told.append)
        fastboot.flash("all", 2 * MIB)
    assert board.disk == bytes(BLOCK) + NOISE + bytes(MIB - BLOCK) + NOISE + bytes(MIB)
    assert len(told) == 3
    assert sum(told) == len(board.files[0])


def test_what_it_says_meanwhile_is_told() -> None:
    board = FastbootBoard(disk=bytearray(MIB), partitions={"all": (0, MIB)})
    heard: list[str] = []
    with spoken_with(board) as fastboot:
        other = Fastboot(fastboot.link, told=heard.append)
        other.download(encode_sparse(MIB, BLOCK, []))
        other.flash("all", 0)
    assert heard == ["writing"]


def test_refusals_are_told_in_its_words() -> None:
    with spoken_with(FastbootBoard(disk=bytearray(MIB), most=1000)) as fastboot:
        with pytest.raises(RefusedCommandError, match="do 'download:000003e9': it says data too large"):
            fastboot.download(bytes(1001))
        fastboot.download(bytes(1000))
        with pytest.raises(RefusedCommandError, match="do 'flash:none': it says cannot find partition"):
            fastboot.flash("none", 0)
        with pytest.raises(RefusedCommandError, match="it says unrecognized command"):
            fastboot.command("oem format")
        with pytest.raises(ValueError, match="a command of 65 bytes"):
            fastboot.command("x" * 65)


def answering(*packets: bytes, handshake: bytes = b"FB01") -> Iterator[TcpAddress]:
    """Somebody who says this, whatever is asked."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listening.accept()
                with connection:
                    connection.sendall(handshake + b"".join(packets))
                    while connection.recv(1000):
                        pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield TcpAddress(host="127.0.0.1", port=listening.getsockname()[1])
        thread.join()


def packed(content: bytes) -> bytes:
    return len(content).to_bytes(8, "big") + content


@pytest.mark.parametrize(("packets", "why"), [
    ([packed(b"HELO")], "it answers 'getvar:version' with b'HELO'"),
    ([packed(b"DATA00000004")], "it answers 'getvar:version' with DATA00000004"),
    ([b"\xff" * 8], "an answer of 18446744073709551615 bytes"),
])
def test_somebody_who_speaks_otherwise_is_not_believed(packets: list[bytes], why: str) -> None:
    with patience(waits=True), contextlib.contextmanager(answering)(*packets) as address:
        link = connect(address)
        with contextlib.closing(link), pytest.raises(TargetError, match="cannot understand") as caught:
            Fastboot(link).getvar("version")
        assert why in caught.value.message


@pytest.mark.parametrize("data", [b"00000063", b"hello", b"-0000064"])
def test_answer_that_asks_for_another_amount_is_refused(data: bytes) -> None:
    with patience(waits=True), contextlib.contextmanager(answering)(packed(b"DATA" + data)) as address:
        link = connect(address)
        with contextlib.closing(link), pytest.raises(TargetError, match="asked to take 100 bytes, it says DATA"):
            Fastboot(link).download(bytes(100))


@pytest.mark.parametrize("handshake", [b"HTTP", b"FBxx", b"FB00"])
def test_other_protocol_is_seen_at_the_greeting(handshake: bytes) -> None:
    with (patience(waits=True), contextlib.contextmanager(answering)(handshake=handshake) as address,
          pytest.raises(TargetError, match="it does not speak fastboot")):
        connect(address)


def test_nobody_there_is_told_with_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HostError, match=f"cannot reach tcp:127.0.0.1:{port}: connection refused") as caught:
        connect(TcpAddress(host="127.0.0.1", port=port))
    assert "fastboot tcp" in str(caught.value.hint)


def test_connection_that_breaks_is_told() -> None:
    with (spoken_with(FastbootBoard(disk=bytearray(MIB), drop_at="getvar:product")) as fastboot,
          pytest.raises(TargetError, match="the connection is gone")):
        fastboot.getvar("product")


def test_silence_is_not_waited_for_for_ever() -> None:
    with (spoken_with(FastbootBoard(disk=bytearray(MIB), mute_at="reboot")) as fastboot,
          pytest.raises(TargetError, match="it does not answer")):
        fastboot.command("reboot", timeout_s=0.2)


def test_slow_board_is_waited_for() -> None:
    with spoken_with(FastbootBoard(disk=bytearray(MIB), slow_s=0.3)) as fastboot:
        assert fastboot.getvar("version") == "0.4"


# ---- U-Boot behind it


@pytest.mark.parametrize("crc", ["big", "little", "verify"])
@pytest.mark.parametrize("runner", ["oem run", "UCmd"])
def test_disk_is_read_back_by_whatever_crc32_its_uboot_has(crc: str, runner: str) -> None:
    board = FastbootBoard(disk=bytearray(NOISE), crc=crc, runner=runner)
    with spoken_with(board) as fastboot:
        shell = find_shell(fastboot, PROFILE)
        assert shell is not None
        assert shell.compares
        assert shell.find_disk()
        assert shell.disk_size(MIB // 2) == MIB
        assert shell.disk_size(MIB) == MIB
        assert shell.disk_size(4 * MIB) == MIB
        assert shell.disk_holds(BLOCK, NOISE[BLOCK:5 * BLOCK])
        board.disk[BLOCK + 9] ^= 1
        assert not shell.disk_holds(BLOCK, NOISE[BLOCK:5 * BLOCK])
        with pytest.raises(TargetError, match="cannot read disk mmc 0 of the board: 4096 bytes at 1048576"):
            shell.disk_holds(MIB, bytes(BLOCK))
    assert all(len(command) <= 64 for command in board.commands)


def test_uboot_that_cannot_compare_is_not_asked_to() -> None:
    with spoken_with(FastbootBoard(disk=bytearray(NOISE), crc="none")) as fastboot:
        shell = find_shell(fastboot, PROFILE)
        assert shell is not None
        assert not shell.compares
        assert shell.disk_size(MIB) == MIB


@pytest.mark.parametrize("board", [FastbootBoard(disk=bytearray(MIB), runner=None),
                                   FastbootBoard(disk=bytearray(MIB), lies=True)], ids=["none", "lies"])
def test_board_that_runs_nothing_or_agrees_to_all_has_no_uboot(board: FastbootBoard) -> None:
    with spoken_with(board) as fastboot:
        assert find_shell(fastboot, PROFILE) is None


def test_comparison_that_always_agrees_is_not_believed() -> None:
    class Agreeing(Shell):
        def run(self, command: str, *, timeout_s: float = 30.0) -> bool:
            return command != "false"

    with spoken_with(FastbootBoard(disk=bytearray(MIB))) as fastboot:
        shell = Agreeing(fastboot, "oem run", PROFILE)
        shell.learn_to_compare()
        assert not shell.compares


def test_disk_that_uboot_does_not_see_is_none() -> None:
    with spoken_with(FastbootBoard(disk=bytearray(MIB))) as fastboot:
        shell = Shell(fastboot, "oem run", UBoot(prompt="", interrupt="", key="", baud=1, address=1, room=1,
                                                 disk="mmc 1"))
        assert not shell.find_disk()


