"""What an image is planned from, without a single file: packages that are only digests and sizes, and their gadget."""

from __future__ import annotations

from imagekit.gadget import Era, parse_gadget
from imagekit.plan.contents import Insides
from imagekit.plan.resolve import PackageFile
from imagekit.schema import load_yaml
from imagekit.testing.documents import Brand
from imagekit.testing.images import BOOT_ASSETS, GADGET
from imagekit.units import MIB

SIZES = {"pc": 40960, "pc-kernel": 2 * MIB, "debian-13": 4 * MIB}
ROOTS = {"pc-kernel": "ab" * 32, "debian-13": "cd" * 32}


def digest(name: str, number: int) -> str:
    """A digest in the spelling of assertions."""
    return (name + str(number)).replace("-", "_").ljust(64, "x")


def brand_with(*revisions: tuple[str, int]) -> Brand:
    brand = Brand("acme")
    for name, number in revisions or [(name, 1) for name in SIZES]:
        brand.revision(name, number, sha3=digest(name, number), size=SIZES[name], verity_root=ROOTS.get(name))
    return brand


def available(*packages: tuple[str, int]) -> dict[tuple[str, int], PackageFile]:
    return {(name, number): PackageFile(path=f"packages/{name}_{number}.snap", size=SIZES[name],
                                        seed_size=SIZES[name] // 3)
            for name, number in packages or [(name, 1) for name in SIZES]}


def insides(gadget: str = GADGET, *, kernel: int = MIB) -> Insides:
    return Insides(gadget=parse_gadget(load_yaml(gadget, name="gadget.yaml"), era=Era.UC20), files=BOOT_ASSETS,
                   kernel_image_size=kernel)
