"""Make the damaged copy of an image's partition table anew out of the whole one.

Decides nothing about what the table should say: it changes only where one copy is damaged, or differs from the primary
one that everybody reads first, and where the whole copy is, to the byte, what we would write.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from imagekit.disk import gpt
from imagekit.disk.gpt_move import Pieces
from imagekit.errors import DocumentError, HostError, PlanError
from imagekit.host.files import reason


def repair_table(path: Path) -> str | None:
    """Which copy was made anew, "primary" or "backup"; None where both are whole and equal.

    Raises:
        DocumentError: neither copy is whole, the image was cut short, or another program made the table.
        HostError: the image cannot be written.
    """
    try:
        with path.open("rb") as stream:
            table = gpt.decode(stream)
            damaged = next((copy for copy in gpt.COPIES if table.problem_of(copy)), None)
            if damaged is None:
                return None
            size = os.fstat(stream.fileno()).st_size
            if size < table.disk_size:
                raise DocumentError(f"cannot repair the partition table of {path}: it is for a disk of"
                                    f" {table.disk_size} bytes, this one has {size}",
                                    hint="the image was cut short: make or fetch it again")
            whole, anew = _pieces(table, damaged)
            if not anew or not all(_lies_there(stream, offset, content) for offset, content in whole):
                raise DocumentError(f"cannot repair the partition table of {path}: another program made it",
                                    hint="use that program, or sgdisk from Debian's gdisk")
        with path.open("r+b") as stream:
            for offset, content in anew:
                stream.seek(offset)
                stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise HostError(f"cannot repair the partition table of {path}: {reason(error)}") from error
    return damaged


def _pieces(table: gpt.Table, damaged: str) -> tuple[Pieces, Pieces]:
    """What we would have written of the whole copy, and of the damaged one; nothing of a table that we never write."""
    try:
        _, *primary, backup = gpt.encode(table)
    except PlanError:
        return (), ()
    return ((backup,), tuple(primary)) if damaged == "primary" else (tuple(primary), (backup,))


def _lies_there(stream: BinaryIO, offset: int, content: bytes) -> bool:
    stream.seek(offset)
    return stream.read(len(content)) == content
