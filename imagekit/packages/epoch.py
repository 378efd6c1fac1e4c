"""Epochs: which formats of a package's data it reads, and which it writes.

Source: snapd `snap/epoch.go`. `N` reads and writes N; `N*` reads N - 1 too; a map has the lists `read` and `write`,
where `read` is `write` if left out and `write` is the last of `read`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from imagekit.errors import DocumentError
from imagekit.nodes import Node, kind
from imagekit.packages.rulebook import SnapRules

MAX_EPOCHS = 10

_NUMBER = re.compile(r"(0|[1-9][0-9]*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Each tuple ascends, and they have a number in common."""

    read: tuple[int, ...] = (0,)
    write: tuple[int, ...] = (0,)

    def __str__(self) -> str:
        if len(self.write) == 1 and self.read == self.write:
            return str(self.write[0])
        if len(self.write) == 1 and self.read == (self.write[0] - 1, self.write[0]):
            return f"{self.write[0]}*"
        return f"reads {', '.join(map(str, self.read))}, writes {', '.join(map(str, self.write))}"


EPOCH_ZERO = Epoch()  # of a package that says nothing


def parse_epoch(top: Node) -> Epoch:
    """The field `epoch` of a snap.yaml."""
    value = top.raw("epoch")
    if isinstance(value, dict):
        return _lists(top.map("epoch"))
    if isinstance(value, list):
        top.problem("epoch", f"a number or a map with read and write is needed, not {kind(value)}", SnapRules.EPOCH)
        return EPOCH_ZERO
    text = top.text("epoch")
    if text in ("", "0"):
        return EPOCH_ZERO
    if text == "0*":
        top.problem("epoch", "0* is no epoch: there is none before 0", SnapRules.EPOCH_ZERO)
        return EPOCH_ZERO
    try:
        number = _number(text.removesuffix("*"))
    except DocumentError as error:
        top.problem("epoch", error.message, SnapRules.EPOCH_NUMBER)
        return EPOCH_ZERO
    return Epoch(read=(number - 1, number) if text.endswith("*") else (number,), write=(number,))


def _lists(node: Node) -> Epoch:
    read, write = _list(node, "read"), _list(node, "write")
    if read is None and write is None:
        return EPOCH_ZERO
    epoch = Epoch(read=read or write or (0,), write=write or (read or (0,))[-1:])
    if read != () and write != () and not set(epoch.read) & set(epoch.write):
        node.problem(None, f"reads {_joined(epoch.read)} and writes {_joined(epoch.write)}: they need one in common",
                     SnapRules.EPOCH_COMMON)
    return epoch


def _list(node: Node, key: str) -> tuple[int, ...] | None:
    """The numbers; None where the list is left out, empty where it is wrong."""
    if key not in node:
        return None
    if not isinstance(node.raw(key), list):
        node.problem(key, f"a list of epochs is needed, not {kind(node.raw(key))}", SnapRules.EPOCH)
        return ()
    try:
        numbers = tuple(_number(text) for text in node.texts(key))
    except DocumentError as error:
        node.problem(key, error.message, SnapRules.EPOCH_NUMBER)
        return ()
    if not 0 < len(numbers) <= MAX_EPOCHS:
        node.problem(key, f"{len(numbers)} epochs, 1 to {MAX_EPOCHS} are allowed", SnapRules.EPOCH_LIST)
        return ()
    if any(one >= other for one, other in pairwise(numbers)):
        node.problem(key, f"{_joined(numbers)} do not ascend", SnapRules.EPOCH_LIST)
        return ()
    return numbers


def _number(text: str) -> int:
    if not _NUMBER.match(text) or len(text) > 10 or int(text) >= 1 << 32:
        raise DocumentError(f"{text[:40]!r} is not the number of an epoch: below 2^32, without leading zeros")
    return int(text)


def _joined(numbers: tuple[int, ...]) -> str:
    return ", ".join(map(str, numbers))
