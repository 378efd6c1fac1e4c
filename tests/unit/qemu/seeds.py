"""A small disk image with a signed seed, made in memory, of which tests change one thing."""

from __future__ import annotations

import io
import uuid

from imagekit.assertions import Assertion, encode_stream
from imagekit.disk import gpt
from imagekit.disk.fat_write import FatFile, plan_fat
from imagekit.qemu.expectation import read_expectation
from imagekit.qemu.judge import Expectation
from imagekit.testing.documents import NOW, SIGNED, Brand
from imagekit.units import MIB

KERNEL_ROOT, BASE_ROOT, OTHER_ROOT = "11" * 32, "22" * 32, "33" * 32
SNAPS = ("pc_1.snap.zst", "pc-kernel_7.snap.zst", "debian-13_2.snap.zst")


def sha3(name: str) -> str:
    return (name.encode().hex() + "A" * 64)[:64]


class Seed:
    """A disk with a slot-state partition and a seed; tests take away or change one thing."""

    def __init__(self, brand: Brand) -> None:
        self.brand = brand
        self.model = brand.model()
        self.revisions = [
            brand.revision("pc-kernel", 7, sha3=sha3("kernel7"), size=4096, verity_root=KERNEL_ROOT),
            brand.revision("debian-13", 2, sha3=sha3("base2"), size=4096, verity_root=BASE_ROOT),
            brand.revision("debian-13", 1, sha3=sha3("base1"), size=4096, verity_root=OTHER_ROOT),
        ]
        self.snaps: tuple[str, ...] = SNAPS
        self.models: list[Assertion] = [self.model]
        self.systems = ("20260101",)
        self.name = "seed"

    def image(self) -> io.BytesIO:
        files = [FatFile(path=f"snaps/{name}", source=b"package") for name in self.snaps]
        declarations = [self.brand.declaration(name) for name in ("pc-kernel", "debian-13")]
        for system in self.systems:
            files += [
                FatFile(path=f"systems/{system}/model", source=encode_stream(self.models) if self.models else b""),
                FatFile(path=f"systems/{system}/assertions/model-etc", source=encode_stream(self.brand.roots)),
                FatFile(path=f"systems/{system}/assertions/snaps",
                        source=encode_stream([*declarations, *self.revisions])),
            ]
        plan = plan_fat(16 * MIB, "ubuntu-seed", 1, files, time=SIGNED)
        table = gpt.Table(disk_guid=uuid.UUID(int=1), disk_size=20 * MIB, partitions=(
            gpt.Partition(index=1, name="slot-state", type_guid=uuid.UUID(int=2), unique_guid=uuid.UUID(int=3),
                          start=MIB, end=2 * MIB),
            gpt.Partition(index=2, name=self.name, type_guid=uuid.UUID(int=4), unique_guid=uuid.UUID(int=5),
                          start=2 * MIB, end=18 * MIB)))
        stream = io.BytesIO(b"\0" * 20 * MIB)
        for offset, content in gpt.encode(table):
            stream.seek(offset)
            stream.write(content)
        for offset, source in plan.extents:
            assert isinstance(source, bytes)
            stream.seek(2 * MIB + offset)
            stream.write(source)
        return stream

    def read(self, trusted: Brand | None = None) -> Expectation:
        return read_expectation(self.image(), name="pc.img", trusted=(trusted or self.brand).roots, now=NOW)
