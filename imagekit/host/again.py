"""Run this program again, as somebody else would: another umask, time zone, language and hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import imagekit
from imagekit.errors import HostError

LAST_LINES = 20
ELSEWHERE = {"TZ": "Pacific/Kiritimati", "LANG": "tr_TR.UTF-8", "LC_ALL": "tr_TR.UTF-8", "PYTHONHASHSEED": "4711"}
UMASK = 0o077


def run_again(arguments: Sequence[str], *, env: Mapping[str, str]) -> None:
    """Run `imagekit` with these arguments; `env` comes on top of what makes the surroundings different.

    Raises:
        HostError: it failed, with its last lines.
    """
    argv = [sys.executable, "-P", "-m", "imagekit.cli", *arguments]  # -P: no module out of the current folder
    ours = str(Path(imagekit.__file__).parent.parent)
    path = ":".join((ours, *filter(None, [os.environ.get("PYTHONPATH")])))
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          umask=UMASK, env={**os.environ, "PYTHONPATH": path, **ELSEWHERE, **env}) as process:
        try:
            said, _ = process.communicate()
        except BaseException:
            process.terminate()
            raise
    if process.returncode:
        lines = said.decode("utf-8", "replace").splitlines()
        raise HostError(f"cannot build a second time: it failed with exit status {process.returncode}",
                        details=tuple(lines[-LAST_LINES:]))
