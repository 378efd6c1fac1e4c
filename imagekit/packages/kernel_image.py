"""Which architecture a kernel is for, by what it says at its very beginning.

Sources: Linux Documentation/arch/arm64/booting.rst (`Image`) and arch/arm/boot/compressed/head.S (`zImage`); every
other form that we take is an EFI program (`imagekit.packages.uki`).
"""

from __future__ import annotations

from imagekit.errors import DocumentError
from imagekit.packages.uki import efi_architecture

HEAD = 4096  # bytes that tell
_ARM64 = (0x38, b"ARM\x64")
_ARMHF = (0x24, (0x016F2818).to_bytes(4, "little"))


def kernel_architecture(head: bytes) -> str | None:
    """Debian's name of it, from the first `HEAD` bytes; None: they do not say."""
    for name, (at, magic) in (("arm64", _ARM64), ("armhf", _ARMHF)):
        if head[at:at + len(magic)] == magic:
            return name
    try:
        return efi_architecture(head, name="kernel")
    except DocumentError:
        return None
