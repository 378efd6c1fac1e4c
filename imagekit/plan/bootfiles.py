"""Which files of a boot partition a gadget may not bring, neither into an image nor to a running device.

What boots is imagekit's to say: a file that the loader takes for an entry, or a setting that comes before every
decision about slots, would undo it. Sources: UAPI.1 Boot Loader Specification; loader.conf(5).
"""

from __future__ import annotations

from imagekit.boot.entries import fields

LOADERS_OWN = ("loader/entries/", "efi/linux/")  # whatever lies there is an entry (Boot Loader Specification)
LOADER_CONF = "loader/loader.conf"


def not_a_gadgets(path: str, content: bytes | None) -> str | None:
    """Why a gadget's file may not lie at this path; `content` None: of another's package."""
    if path.lower().startswith(LOADERS_OWN):
        return f"the gadget's {path!r} would be offered by the loader beside the slots"
    if path.lower() == LOADER_CONF and content is not None and "default" in fields(content):
        return f"the gadget's {path!r} has a default, which comes before every decision about slots"
    return None
