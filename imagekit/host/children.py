"""Long-running programs that must not outlive us.

`host.tools` runs programs to their end; this starts one that keeps running beside us. It gets its own session, so that
Ctrl-C reaches us alone and we end it in order, and PR_SET_PDEATHSIG (prctl(2)), so that it dies even when we are
killed; `setpriv` of util-linux sets that, because doing it between fork and exec from Python is unsafe beside threads.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import deque
from collections.abc import Sequence

from imagekit.errors import HostError
from imagekit.host.ports import Tools

STDERR_LINES = 20
LAST_WORDS_S = 1.0


class Child:
    """A running program; its standard error is kept, the last lines of it."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self.name = name
        self._said: deque[str] = deque(maxlen=STDERR_LINES)
        self._reader = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.returncode

    @property
    def said(self) -> tuple[str, ...]:
        """The last lines of its standard error."""
        return tuple(self._said)

    async def wait(self) -> int:
        """Wait for its end, and for its last words."""
        status = await self._process.wait()
        with contextlib.suppress(TimeoutError):  # whoever inherited its standard error may hold it open
            await asyncio.wait_for(asyncio.shield(self._reader), LAST_WORDS_S)
        return status

    async def kill(self) -> None:
        """End it at once; nothing to do if it has ended."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
        await self.wait()
        self._reader.cancel()

    async def _read(self) -> None:
        assert self._process.stderr is not None
        while chunk := await self._process.stderr.read(4096):
            for line in chunk.decode("utf-8", "replace").splitlines():
                self._said.append(line[:500])


async def start(tools: Tools, name: str, args: Sequence[str], *, pass_fds: Sequence[int] = ()) -> Child:
    """Start a program with nothing on its standard input and its standard output thrown away.

    Raises:
        HostError: it is not installed, or cannot be started.
    """
    argv = [*tools.find("setpriv"), "--pdeathsig", "KILL", "--", *tools.find(name), *args]
    try:
        process = await asyncio.create_subprocess_exec(
            *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE, pass_fds=tuple(pass_fds), start_new_session=True)
    except OSError as error:
        raise HostError(f"cannot start {name}: {error.strerror}") from error
    return Child(process, name)
