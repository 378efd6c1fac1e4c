"""Where the project's own recipes and gadgets lie, and the lock beside them."""

from __future__ import annotations

from pathlib import Path

import imagekit
from imagekit.errors import HostError
from imagekit.host.files import reason
from imagekit.packages.lockfile import EMPTY, Lock, parse_lock

PROJECT = Path(imagekit.__file__).parent.parent
RECIPES = PROJECT / "packages"
GADGETS = PROJECT / "gadgets"
LOCK = RECIPES / "parts.lock"


def load_lock(path: Path = LOCK) -> Lock:
    """The lock; an empty one when there is no file yet."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return EMPTY
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error
    return parse_lock(content, name=str(path))
