"""How Linux's vfat brings files onto a disk, in sectors: a FAT volume in memory with the kernel's page cache over it.

Made after what was measured on Linux 6.1 behind QEMU's blklogwrites. Directories and the FAT are changed at once in
memory, where they wait; size and first cluster of a file are not even there before the file's own flush. A flushed file
takes its data, its entry's sector and the FAT with it; a flushed folder its own sectors and the FAT, and of a file that
was renamed nothing but an empty entry under the new name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imagekit.disk.fat_boot import ENTRY, decode_boot_sector
from imagekit.disk.fat_names import (
    ATTR_ARCHIVE,
    ATTR_DIRECTORY,
    ATTR_LONG,
    encode_long,
    needs_long,
    plain_alias,
    tailed_alias,
)
from imagekit.units import SECTOR

Emit = Callable[[int, bytes], None]
FREED = 0xE5


class Vfat:
    """One mounted volume. `emit(sector, data)` is a write to the volume's disk; flushing is the caller's."""

    def __init__(self, content: bytes, emit: Emit) -> None:
        self.cache = bytearray(content)
        self._emit = emit
        self._g = decode_boot_sector(content[:SECTOR])
        self._dirty: dict[str, set[int]] = {}  # the FAT as "", folders as "NAME/", data of files as their path
        self._inodes: dict[str, tuple[int, int]] = {}  # first cluster and size, not in an entry yet

    # what programs do

    def create(self, path: str, data: bytes) -> None:
        folder, _, name = path.rpartition("/")
        for parent in _parents(folder):
            if self._find(parent) is None:
                self._make_folder(parent)
        if self._find(path) is not None:
            self.remove(path)
        self._add(folder, name)
        clusters = self._allocate(-(-len(data) // self._g.cluster))
        for cluster, at in zip(clusters, range(0, len(data), self._g.cluster), strict=True):
            self._write(path, self._g.position(cluster), data[at:at + self._g.cluster])
        self._inodes[path] = (clusters[0] if clusters else 0, len(data))

    def read(self, path: str) -> bytes:
        first, size = self._inodes.get(path) or self._inode(path)
        raw = b""
        while 2 <= first < self._end and len(raw) < size:
            raw += self.cache[self._g.position(first):self._g.position(first) + self._g.cluster]
            first = self._next(first)
        return raw[:size]

    def rename(self, old: str, new: str) -> None:
        assert self._find(new) is None, "no update renames over an existing name"
        inode = self._inodes.pop(old, None) or self._inode(old)
        self._add(new.rpartition("/")[0], new.rpartition("/")[2])
        self._inodes[new] = inode
        if old in self._dirty:
            self._dirty[new] = self._dirty.pop(old)
        self._free_entry(old)

    def remove(self, path: str) -> None:
        first, _ = self._inodes.pop(path, None) or self._inode(path)
        self._free_entry(path)
        self._dirty.pop(path, None)
        while first and first < self._end:
            following = self._next(first)
            self._set_next(first, 0)
            first = following

    def lose(self, count: int) -> None:
        """So many clusters are taken and reached by nothing, as a cut leaves them."""
        self._allocate(count)

    def sync_file(self, path: str) -> None:
        self._write_back(path)
        self._write_inode(path)
        self._write_back("")

    def sync_folder(self, path: str) -> None:
        self._write_back(f"{path}/")
        self._write_back("")

    def sync_all(self) -> None:
        for path in list(self._inodes):
            self._write_inode(path)
        for owner in list(self._dirty):
            self._write_back(owner)

    # sectors

    def _write(self, owner: str, position: int, data: bytes) -> None:
        self.cache[position:position + len(data)] = data
        self._dirty.setdefault(owner, set()).update(range(position // SECTOR, -(-(position + len(data)) // SECTOR)))

    def _write_back(self, owner: str) -> None:
        for sector in sorted(self._dirty.pop(owner, ())):
            self._emit(sector, bytes(self.cache[sector * SECTOR:(sector + 1) * SECTOR]))

    def _write_inode(self, path: str) -> None:
        if path not in self._inodes:
            return
        first, size = self._inodes.pop(path)
        found = self._find(path)
        assert found is not None
        at = found[-1]
        raw = self.cache[at:at + ENTRY]
        raw[20:22], raw[26:28] = (first >> 16).to_bytes(2, "little"), (first & 0xFFFF).to_bytes(2, "little")
        raw[28:32] = size.to_bytes(4, "little")
        self.cache[at:at + ENTRY] = raw
        sector = at // SECTOR
        self._emit(sector, bytes(self.cache[sector * SECTOR:(sector + 1) * SECTOR]))

    # the FAT

    @property
    def _end(self) -> int:
        return 0xFFF8 if self._g.bits == 16 else 0x0FFFFFF8

    def _next(self, cluster: int) -> int:
        width = self._g.bits // 8
        at = self._g.reserved + cluster * width
        return int.from_bytes(self.cache[at:at + width], "little")

    def _set_next(self, cluster: int, value: int) -> None:
        width = self._g.bits // 8
        for fat in range(self._g.fats):
            start = self._g.reserved + fat * self._g.fat_size
            self._write("", start + cluster * width, value.to_bytes(width, "little"))

    def _allocate(self, count: int) -> list[int]:
        free = (cluster for cluster in range(2, self._g.clusters + 2) if not self._next(cluster))
        found = [next(free) for _ in range(count)]
        for cluster, following in zip(found, [*found[1:], self._end + 7][:count], strict=True):
            self._set_next(cluster, following)
        return found

    # directories

    def _slots(self, folder: str) -> Iterator[int]:
        """Where the entries of a folder lie, one after the other."""
        if not folder and self._g.bits == 16:
            yield from range(self._g.root_start, self._g.root_start + self._g.root_size, ENTRY)
            return
        cluster = self._g.root_cluster if not folder else self._inode(folder)[0]
        while 2 <= cluster < self._end:
            yield from range(self._g.position(cluster), self._g.position(cluster) + self._g.cluster, ENTRY)
            cluster = self._next(cluster)

    def _find(self, path: str) -> list[int] | None:
        """The places of an entry: those of its long name, and its own at last."""
        folder, _, name = path.rpartition("/")
        places: list[int] = []
        units = b""
        for at in self._slots(folder):
            raw = self.cache[at:at + ENTRY]
            if raw[0] == 0:
                return None
            if raw[0] == FREED:
                places, units = [], b""
            elif raw[11] & 0x3F == ATTR_LONG:
                places.append(at)
                units = bytes(raw[1:11] + raw[14:26] + raw[28:32]) + units
            else:
                long = units.decode("utf-16-le").split("\0")[0]
                short = f"{raw[:8].decode().rstrip()}.{raw[8:11].decode().rstrip()}".rstrip(".")
                if (long or short).lower() == name.lower():
                    return [*places, at]
                places, units = [], b""
        return None

    def _inode(self, path: str) -> tuple[int, int]:
        found = self._find(path)
        assert found is not None, path
        raw = self.cache[found[-1]:found[-1] + ENTRY]
        high = int.from_bytes(raw[20:22], "little") if self._g.bits == 32 else 0
        return high << 16 | int.from_bytes(raw[26:28], "little"), int.from_bytes(raw[28:32], "little")

    def _make_folder(self, path: str) -> None:
        """A new folder is in its parent's entry at once, and its first sectors wait with the parent's."""
        parent, _, name = path.rpartition("/")
        (cluster,) = self._allocate(1)
        above = self._inode(parent)[0] if parent else 0
        own = b"".join(alias + bytes([ATTR_DIRECTORY]) + bytes(8) + (to >> 16).to_bytes(2, "little") + bytes(4)
                       + (to & 0xFFFF).to_bytes(2, "little") + bytes(4)
                       for alias, to in ((b".".ljust(11), cluster), (b"..".ljust(11), above)))
        self._write(f"{parent}/", self._g.position(cluster), own.ljust(self._g.cluster, b"\0"))
        self._add(parent, name, attributes=ATTR_DIRECTORY, cluster=cluster)

    def _add(self, folder: str, name: str, *, attributes: int = ATTR_ARCHIVE, cluster: int = 0) -> None:
        """An entry; a file's has neither size nor cluster yet."""
        slots = list(self._slots(folder))
        taken = {bytes(self.cache[at:at + 11]) for at in slots}
        plain = plain_alias(name)
        alias = plain if plain is not None and not needs_long(name) else plain or tailed_alias(name, taken)
        new = encode_long(name, alias) + alias + bytes([attributes]) + bytes(8) + (
            (cluster >> 16).to_bytes(2, "little") + bytes(4) + (cluster & 0xFFFF).to_bytes(2, "little") + bytes(4))
        wanted, run = len(new) // ENTRY, list[int]()
        for at in slots:
            run = [*run, at] if self.cache[at] in (0, FREED) else []
            if len(run) == wanted:
                for place, begin in zip(run, range(0, len(new), ENTRY), strict=True):
                    self._write(f"{folder}/", place, new[begin:begin + ENTRY])
                return
        raise AssertionError(f"no room for {name} in {folder}")

    def _free_entry(self, path: str) -> None:
        places = self._find(path)
        assert places is not None, path
        for at in places:
            self._write(f"{path.rpartition('/')[0]}/", at, bytes([FREED]))


def _parents(folder: str) -> list[str]:
    parts = folder.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1) if folder]
