"""The runner with a real machine and a pretend device that does what a real one should not."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.disk.writelog import Kind
from imagekit.errors import HostError
from imagekit.host.tools import LocalTools
from imagekit.powercut.rebuild import check_log, open_recording
from imagekit.qemu.machine import MACHINES, Accelerator, load_machine
from imagekit.qemu.phases import Phase
from imagekit.qemu.probe import run_guest
from imagekit.qemu.runner import Runner
from imagekit.qemu.session import Outcome, run_boot
from imagekit.qemu.transcript import Transcript
from imagekit.qemu.watch import Watch
from imagekit.qemu.workbench import Workbench, workbench
from tests.boot.pretend import EXPECTED, make_pretend
from tests.boot.stock import Stock

pytestmark = pytest.mark.boot

PC = load_machine("pc", [MACHINES])
WRITTEN = 128 * 8  # the sector that init.sh writes again and again, before the first partition


def play(stock: Stock, folder: Path, word: str, *, deadline_s: float = 60) -> tuple[Outcome, Watch]:
    """Boot the pretend device once."""
    disk = folder / "pretend.img"
    make_pretend(stock, disk, word)
    watch = Watch(expectation=EXPECTED, transcript=Transcript(), new_nonce=lambda: secrets.token_hex(32))
    with workbench(LocalTools(), PC, disk) as bench:
        outcome = asyncio.run(run_boot(tools=LocalTools(), machine=PC, bench=bench, accelerator=Accelerator.TCG,
                                       watch=watch, deadline_s=deadline_s))
    assert not bench.folder.exists()
    return outcome, watch


def reasons(watch: Watch) -> str:
    return "; ".join(watch.failure().reasons)


def test_probing_guest_runs_under_tcg(tmp_path: Path) -> None:
    assert run_guest(LocalTools(), PC.emulator, "tcg", "max", folder=tmp_path, deadline_s=30).usable


def test_device_that_answers_is_healthy_and_its_text_is_harmless(stock: Stock, tmp_path: Path) -> None:
    outcome, watch = play(stock, tmp_path, "escape")
    assert outcome.healthy
    assert "plain" in watch.transcript.text()
    assert all(line.text.isprintable() for line in watch.transcript.lines)
    assert "owned" not in watch.transcript.text()


@pytest.mark.parametrize(("word", "reason"), [
    ("sick", "not healthy"), ("twice", "spoke again"), ("stale", "nonce"), ("long", "more than 65536 bytes"),
])
def test_device_that_lies_or_babbles_is_refused(stock: Stock, tmp_path: Path, word: str, reason: str) -> None:
    outcome, watch = play(stock, tmp_path, word)
    assert not outcome.healthy
    assert reason in reasons(watch)


def test_device_that_says_nothing_fails_at_the_deadline_in_its_last_phase(stock: Stock, tmp_path: Path) -> None:
    outcome, watch = play(stock, tmp_path, "mute", deadline_s=40)
    assert outcome.timed_out
    assert watch.failure().phase is Phase.HEALTH
    assert "no verdict after 40 s" in reasons(watch)


def test_device_that_switches_itself_off_ends_the_run_at_once(stock: Stock, tmp_path: Path) -> None:
    outcome, watch = play(stock, tmp_path, "off", deadline_s=300)
    assert not outcome.healthy
    assert not outcome.timed_out
    assert "switched itself off" in reasons(watch)


def test_kernel_panics_are_counted_as_reboots(stock: Stock, tmp_path: Path) -> None:
    outcome, watch = play(stock, tmp_path, "panic", deadline_s=45)
    assert not outcome.healthy
    assert watch.reboots >= 1
    assert "Kernel panic" in watch.transcript.text()


def test_qemu_that_does_not_start_is_the_hosts_fault_with_its_own_words(stock: Stock, tmp_path: Path) -> None:
    disk = tmp_path / "pretend.img"
    make_pretend(stock, disk, "healthy")
    broken = replace(PC, devices=("no-such-device",))
    watch = Watch(expectation=EXPECTED, transcript=Transcript(), new_nonce=lambda: "")
    with workbench(LocalTools(), broken, disk) as bench, pytest.raises(HostError) as caught:
        asyncio.run(run_boot(tools=LocalTools(), machine=broken, bench=bench, accelerator=Accelerator.TCG,
                             watch=watch, deadline_s=30))
    assert any("no-such-device" in line for line in caught.value.details)


def test_log_of_writes_ends_where_the_disk_does_when_power_is_cut_while_the_guest_writes(
    stock: Stock, tmp_path: Path
) -> None:
    image, log = tmp_path / "pretend.img", tmp_path / "writes.log"
    make_pretend(stock, image, "write")
    watch = Watch(expectation=EXPECTED, transcript=Transcript(), new_nonce=lambda: "")

    async def record(bench: Workbench) -> None:
        async with Runner(tools=LocalTools(), machine=PC, bench=bench, accelerator=Accelerator.TCG,
                          watch=watch) as runner:
            runner.write_log = log
            await runner.start()
            assert await runner.until(lambda: "pretend: written" in watch.transcript.text(), deadline_s=90)
            await runner.power_cut()

    with workbench(LocalTools(), PC, image, copy=True) as bench:
        asyncio.run(record(bench))
        size = image.stat().st_size
        with open_recording(image, log, size=size) as (disk, requests), bench.disk.open("rb") as written:
            check_log(disk, requests, written)
    places = [(item.kind, item.first) for item in requests]
    assert places.count((Kind.WRITE, WRITTEN)) > 10
    guests = places.index((Kind.FLUSH, 0), places.index((Kind.WRITE, WRITTEN)))
    assert Kind.FLUSH not in {kind for kind, _ in places[guests + 1:-1]}, "the guest never asked for a second one"


def children_of(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


def program(stock: Stock, tmp_path: Path) -> subprocess.Popen[bytes]:
    """`imagekit boot` on its own, at the moment when QEMU runs."""
    temp = tmp_path / "temp"
    temp.mkdir()
    env = {**os.environ, "TMPDIR": str(temp), "XDG_DATA_HOME": str(stock.data)}
    started = subprocess.Popen(
        [sys.executable, "-m", "imagekit.cli", "boot", str(stock.image), "--trust", str(stock.trust), "--accel", "tcg",
         "--transcript", str(tmp_path / "transcript.log")],
        cwd=Path(__file__).parent.parent.parent, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    for _ in range(300):
        if (tmp_path / "transcript.log").exists() and "power on" in (tmp_path / "transcript.log").read_text():
            return started
        assert started.poll() is None, started.communicate()[1].decode()
        time.sleep(0.1)
    started.kill()
    raise AssertionError("QEMU did not start")


def gone(pid: int) -> bool:
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_boot_leaves_no_qemu_and_no_files(stock: Stock, tmp_path: Path, number: signal.Signals,
                                                      code: int) -> None:
    started = program(stock, tmp_path)
    qemu = children_of(started.pid)
    assert len(qemu) == 1
    started.send_signal(number)
    said = started.communicate(timeout=20)
    assert started.returncode == code, said
    assert gone(qemu[0])
    assert list((tmp_path / "temp").iterdir()) == []


def test_killed_program_takes_qemu_with_it(stock: Stock, tmp_path: Path) -> None:
    started = program(stock, tmp_path)
    qemu = children_of(started.pid)
    started.kill()
    started.communicate(timeout=20)
    assert gone(qemu[0])
