"""The user's folders, and the day that the environment may set: asked before anything costly is imported.

Decides where things lie by the XDG Base Directory Specification 0.8 (a relative value does not count); what lies there
is for those who ask.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from imagekit.errors import UsageError

LAST_SECOND = (1 << 32) - 1  # in February 2106: the last that a signature can hold, and the first of the formats to end


def user_folder(variable: str, default: str, environ: Mapping[str, str] = os.environ) -> Path:
    """`$VARIABLE/imagekit`, else `imagekit` in the folder `default` of the home."""
    base, home = Path(environ.get(variable, "")), Path(environ.get("HOME", ""))
    if not base.is_absolute():
        base = (home if home.is_absolute() else Path.home()) / default
    return base / "imagekit"


def data_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """What is the user's own: keys and roots of trust."""
    return user_folder("XDG_DATA_HOME", ".local/share", environ)


def default_trust_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where one's own roots of trust lie."""
    return data_folder(environ) / "trust"


def default_keys_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """Where one's own private keys lie."""
    return data_folder(environ) / "keys"


def default_cache_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """`$IMAGEKIT_CACHE`, else the user's cache folder."""
    named = environ.get("IMAGEKIT_CACHE")
    return Path(named) if named else user_folder("XDG_CACHE_HOME", ".cache", environ)


def log_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the log of every run lies."""
    return user_folder("XDG_STATE_HOME", ".local/state", environ) / "logs"


def source_date_epoch(environ: Mapping[str, str] = os.environ) -> int | None:
    """SOURCE_DATE_EPOCH (reproducible-builds.org), seconds since 1970; None where it is not set.

    Raises:
        UsageError: it is no such number, or one that no format of ours can hold.
    """
    text = environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 12 and int(text) <= LAST_SECOND):
        raise UsageError(f"cannot use SOURCE_DATE_EPOCH {text!r}: it must be a number of seconds since 1970,"
                         f" at most {LAST_SECOND}")
    return int(text)
