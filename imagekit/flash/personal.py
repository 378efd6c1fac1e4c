"""Write what one device alone has onto a medium that was written and verified: a second, small write.

The image stays the same for all units, and so does its digest. Decides where: at the start of a structure of the
image's table that has this name, in which the image itself has nothing.
"""

from __future__ import annotations

from imagekit.disk.identity import MOST
from imagekit.errors import PlanError, TargetError
from imagekit.flash.buffers import Buffer
from imagekit.flash.medium import Medium
from imagekit.plan.flash import ImageFacts
from imagekit.units import BLOCK, align_up, iec


def place_of(image: ImageFacts, structure: str) -> int:
    """The byte where the structure begins.

    Raises:
        PlanError: the image has no such structure, or it is too small, or the image has content there.
    """
    partitions = image.table.partitions if image.table else ()
    found = next((item for item in partitions if item.name == structure), None)
    if found is None:
        names = ", ".join(item.name for item in partitions) or "none at all"
        raise PlanError(f"cannot personalise units of {image.path}: it has no structure {structure!r}, but {names}",
                        hint="give the gadget one of 1M without content (docs/how-to/run-a-factory-station.md)")
    if found.size < MOST:
        raise PlanError(f"cannot personalise units of {image.path}: structure {structure!r} has"
                        f" {iec(found.size)}, needed are {iec(MOST)}")
    if any(item.start < found.end and found.start < item.end for item in image.ranges):
        raise PlanError(f"cannot personalise units of {image.path}: structure {structure!r} has content already",
                        hint="name one that the image leaves empty; an image without a block map leaves nothing so")
    return found.start


def write_record(medium: Medium, offset: int, record: bytes) -> None:
    """Write the record, and read it back from the medium.

    Raises:
        TargetError: it cannot be written, or something else is read.
    """
    view = Buffer(align_up(len(record), BLOCK)).take(len(record))
    view[:] = record
    medium.write(offset, view)
    medium.flush()
    medium.target.forget()
    view[:] = bytes(len(record))
    medium.read(offset, view)
    if bytes(view) != record:
        raise TargetError(f"cannot verify {medium.path}: something else than the identity is read at byte {offset}",
                          hint="do not use this medium; try another one, or another reader")
