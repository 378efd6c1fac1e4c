"""Programs beside us: their last words are kept, and they do not outlive us."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.children import STDERR_LINES, start
from imagekit.host.tools import LocalTools


def test_last_words_and_status_of_a_program_are_kept() -> None:
    async def run() -> tuple[int, tuple[str, ...]]:
        child = await start(LocalTools(), "sh", ["-c", "for i in $(seq 100); do echo line $i >&2; done; exit 3"])
        status = await child.wait()
        return status, child.said

    status, said = asyncio.run(run())
    assert status == 3
    assert said[-1] == "line 100"
    assert len(said) == STDERR_LINES


def test_running_program_is_ended_and_ending_it_twice_is_harmless() -> None:
    async def run() -> int | None:
        child = await start(LocalTools(), "sleep", ["60"])
        assert child.status is None
        await child.kill()
        await child.kill()
        return child.status

    assert asyncio.run(run()) == -9


def test_program_that_is_not_installed_is_the_hosts_fault() -> None:
    with pytest.raises(HostError):
        asyncio.run(start(LocalTools(), "no-such-program", []))


def test_program_dies_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    code = ("import asyncio\nfrom pathlib import Path\nfrom imagekit.host.children import start\n"
            "from imagekit.host.tools import LocalTools\n"
            "async def run():\n"
            "    child = await start(LocalTools(), 'sleep', ['60'])\n"
            f"    Path({str(tmp_path / 'pid')!r}).write_text(str(child.pid) + '\\n')\n"
            "    await child.wait()\n"
            "asyncio.run(run())\n")
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().endswith("\n"):
        time.sleep(0.02)
    status = Path(f"/proc/{(tmp_path / 'pid').read_text().strip()}/stat")
    time.sleep(0.2)  # until setpriv has become the program
    assert status.exists()
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("it outlived us")
