"""What a kernel says it is for, in every form that we take."""

from __future__ import annotations

import pytest

from imagekit.packages.kernel_image import HEAD, kernel_architecture
from imagekit.testing.images import EFI_AMD64, EFI_ARM64, kernel_image


@pytest.mark.parametrize(("head", "architecture"), [
    (bytes(0x38) + b"ARM\x64" + bytes(100), "arm64"), (bytes(0x24) + b"\x18\x28\x6f\x01" + bytes(100), "armhf"),
    (kernel_image(1 << 20, machine=EFI_AMD64)[:HEAD], "amd64"),
    (kernel_image(1 << 20, machine=EFI_ARM64)[:HEAD], "arm64"),
    (b"", None), (b"MZ", None), (b"\x7fELF" + bytes(200), None), (bytes(HEAD), None),
])
def test_architecture_is_told_or_unknown(head: bytes, architecture: str | None) -> None:
    assert kernel_architecture(head) == architecture
