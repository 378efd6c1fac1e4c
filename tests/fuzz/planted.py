"""Targets with a bug of each kind, to prove that each is caught: `C` crashes, `H` hangs, `M` takes memory."""

from __future__ import annotations

import targets

from imagekit.errors import DocumentError


def planted(raw: bytes) -> None:
    kind = raw[:1]
    if kind == b"C":
        raise KeyError("planted")
    if kind == b"H":
        while True:
            pass
    if kind == b"R":
        import re

        re.match(r"(a+)+\Z", "a" * 60 + "b")  # one call that never comes back to the interpreter's loop
    if kind == b"M":
        bytearray(300 << 20)
    raise DocumentError("cannot read planted: nothing is planted here")


def plant() -> None:
    """Add them to the targets."""
    targets.TARGETS["planted"] = targets.Target("planted", "planted", max_len=64)
