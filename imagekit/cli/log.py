"""The full log of every run, kept in the user's state folder so that nobody has to run again with more talk.

One file for each run, the newest fifty kept. A log that cannot be written never stops the work. Values of options that
carry secrets are left out.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from imagekit import __version__
from imagekit.host.folders import log_folder

KEPT = 50
SECRET_WORDS = ("pass", "secret", "token", "pin")
CREDENTIALS = re.compile(r"://[^/@\s]+@")


class LogFile(logging.FileHandler):
    """Takes what fits: a disk that is full ends the log, and nothing else."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            super().close()


def without_secrets(argv: Sequence[str]) -> str:
    """The command line as one would type it, with the values of secret options replaced by dots."""
    shown: list[str] = []
    hide_next = False
    for word in argv:
        name, equals, _ = word.partition("=")
        secret = name.startswith("--") and any(part in name for part in SECRET_WORDS)
        shown.append("..." if hide_next else f"{name}=..." if secret and equals else _without_inner(word))
        hide_next = secret and not equals
    return shlex.join(shown)


def _without_inner(word: str) -> str:
    """One word without the secrets in it: of an address with credentials, of a command line (`key add --signer`)."""
    word = CREDENTIALS.sub("://...@", word)
    with contextlib.suppress(ValueError):  # no command line
        inner = shlex.split(word)
        if len(inner) > 1 and (told := without_secrets(inner)) != shlex.join(inner):
            return told
    return word


def open_log(argv: Sequence[str], *, command: str, path: Path | None = None) -> Path | None:
    """Begin the log of this run; None when it cannot be written."""
    chosen = path or log_folder() / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{command}-{os.getpid()}.log"
    try:
        chosen.parent.mkdir(parents=True, exist_ok=True)
        handler = LogFile(chosen, encoding="utf-8", errors="backslashreplace", delay=False)
    except OSError:
        return None
    if path is None:
        _keep_newest(chosen.parent)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("imagekit")
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    root.info("imagekit %s, Python %s, %s", __version__, platform.python_version(), platform.platform())
    root.info("run: imagekit %s", without_secrets(argv))
    with contextlib.suppress(FileNotFoundError):  # a folder that was removed
        root.info("in: %s", Path.cwd())
    root.debug("by: %s", sys.executable)
    return chosen


def close_log() -> None:
    """End the log; a later run in the same process begins its own."""
    root = logging.getLogger("imagekit")
    for handler in list(root.handlers):
        if isinstance(handler, logging.FileHandler):
            root.removeHandler(handler)
            handler.close()


def _keep_newest(folder: Path) -> None:
    """Names begin with the time, so their order is their age."""
    for old in sorted(folder.glob("*.log"))[:-KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()
