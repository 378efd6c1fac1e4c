"""A device's view of a store, kept from one time to the next."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import TargetFile

from imagekit.errors import HostError, TrustError
from imagekit.host.storeclient import Client, FolderTargets, Local, open_client
from imagekit.plan.storepaths import channels_path
from imagekit.testing.stores import StoreRig


@pytest.fixture
def rig(tmp_path: Path) -> StoreRig:
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create()
    rig.add_publisher()
    rig.publish(rig.package(1), channel="stable")
    return rig


def local(folder: Path, rig: StoreRig | None = None) -> Local:
    return Local(state=folder / "state", downloads=folder / "downloads", root=rig.first_root if rig else None)


def test_what_was_believed_once_is_not_taken_back(rig: StoreRig, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(rig.public, old)
    rig.publish(rig.package(2), channel="stable")
    client = open_client(rig.public, local(tmp_path, rig))
    target = client.find(channels_path("small"))
    assert target is not None and client.fetch(target) == tmp_path / "downloads" / channels_path("small")
    with pytest.raises(TrustError, match="as a device"):
        open_client(old, local(tmp_path))
    assert open_client(rig.public, local(tmp_path)).find(channels_path("small")) is not None


def test_a_state_without_a_root_needs_one(rig: StoreRig, tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="no root to begin with"):
        open_client(rig.public, local(tmp_path))


def test_a_store_that_is_not_there_is_no_matter_of_trust(rig: StoreRig, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="cannot refresh"):
        open_client(tmp_path / "nowhere", local(tmp_path, rig))


PACKAGE = "packages/small/small_1.snap.zst"


@pytest.fixture
def client(rig: StoreRig, tmp_path: Path) -> Client:
    return open_client(rig.public, local(tmp_path, rig))


class Cut(FolderTargets):
    """A connection that breaks after some bytes, once; `asked` is from where each read wanted to go on."""

    def __init__(self, root: Path, after: int) -> None:
        super().__init__(root)
        self.after: int | None = after
        self.asked: list[int] = []

    def read(self, name: str, start: int) -> tuple[int, Iterator[bytes]]:
        self.asked.append(start)
        begin, pieces = super().read(name, start)
        after, self.after = self.after, None
        return begin, pieces if after is None else iter([next(pieces)[:after]])


def test_a_broken_download_goes_on_where_it_ended(rig: StoreRig, client: Client, tmp_path: Path) -> None:
    targets = client._targets = Cut(rig.public, 1000)
    target = client.find(PACKAGE)
    assert target is not None
    with pytest.raises(HostError, match=r"it ended after 1000 of \d+ bytes"):
        client.fetch(target)
    assert not (tmp_path / "downloads" / PACKAGE).exists()
    assert client.fetch(target).stat().st_size == target.length
    assert targets.asked == [0, 1000]


def test_a_part_with_other_bytes_in_it_is_thrown_away(rig: StoreRig, client: Client, tmp_path: Path) -> None:
    targets = client._targets = Cut(rig.public, 1000)
    target = client.find(PACKAGE)
    assert target is not None
    with pytest.raises(HostError):
        client.fetch(target)
    part = next((tmp_path / "downloads").rglob("*.part"))
    part.write_bytes(bytes(1000))
    assert client.fetch(target).is_file()
    assert targets.asked == [0, 1000, 0]


def test_a_lying_server_gets_no_file_named(rig: StoreRig, client: Client, tmp_path: Path) -> None:
    target = client.find(PACKAGE)
    assert target is not None
    served = next(rig.public.glob("targets/packages/small/*.small_1.snap.zst"))
    honest = served.read_bytes()
    served.write_bytes(bytes(target.length))
    with pytest.raises(TrustError, match="not what was signed"):
        client.fetch(target)
    served.write_bytes(honest + b"and more")
    with pytest.raises(HostError, match=r"goes on behind the \d+ bytes that were signed"):
        client.fetch(target)
    assert not [path for path in (tmp_path / "downloads").rglob("*.zst") if path.is_file()]


def test_a_state_that_a_power_cut_has_damaged_begins_anew(rig: StoreRig, client: Client, tmp_path: Path) -> None:
    for path in (tmp_path / "state").glob("*.json"):
        path.write_bytes(b"")
    again = open_client(rig.public, local(tmp_path, rig))
    assert again.find(PACKAGE) is not None


def test_expiry_is_held_against_the_time_that_is_given(rig: StoreRig, tmp_path: Path) -> None:
    later = rig.now + timedelta(days=8)  # a timestamp is valid for 7
    with pytest.raises(TrustError, match="expired"):
        open_client(rig.public, local(tmp_path, rig), now=later)


def part_of(client: Client, target: TargetFile) -> Path:
    """Where it is kept until all of it is here."""
    _, part = client._places(target)
    part.parent.mkdir(parents=True)
    return part


def test_download_that_the_disk_does_not_give_back_is_fetched_anew(client: Client, tmp_path: Path) -> None:
    target = client.find(PACKAGE)
    assert target is not None
    path = client.fetch(target)
    path.unlink()
    path.symlink_to("/proc/self/mem")  # opens, and cannot be read at its beginning
    assert client.fetch(target).stat().st_size == target.length
    assert not path.is_symlink()


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("delegated", [False, True])
def test_state_that_cannot_be_written_is_told(rig: StoreRig, tmp_path: Path, delegated: bool) -> None:
    if not delegated:
        open_client(rig.public, local(tmp_path, rig))
        (tmp_path / "state/timestamp.json").unlink()
        with files_of_at_most(10), pytest.raises(HostError, match=r"cannot write .*: file too large"):
            open_client(rig.public, local(tmp_path, rig))
        return
    client = open_client(rig.public, local(tmp_path, rig))
    with files_of_at_most(10), pytest.raises(HostError, match="as a device: file too large"):
        client.find(PACKAGE)


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 43)


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, endless], ids=["folder", "pipe", "endless"])
def test_what_a_damaged_disk_has_made_of_files_is_taken_away(rig: StoreRig, tmp_path: Path,
                                                             make: Callable[[Path], object]) -> None:
    """Else nothing would be asked of the store any more, or nothing of this name be fetched, ever."""
    client = open_client(rig.public, local(tmp_path, rig))
    target = client.find(PACKAGE)
    assert target is not None
    places = [*(tmp_path / "state").iterdir(), client.fetch(target)]
    assert len(places) > 4
    for path in places:
        path.unlink()
        make(path)
        again = open_client(rig.public, local(tmp_path, rig))
        found = again.find(PACKAGE)
        assert found is not None
        part = again._places(found)[1]
        make(part)
        part.with_name("of something else").touch()
        assert again.fetch(found).stat().st_size == found.length
        assert path.is_file()
        assert path.stat().st_size < 1 << 20


def test_what_a_power_cut_left_beside_the_metadata_goes(rig: StoreRig, client: Client, tmp_path: Path) -> None:
    """Each cut leaves one, and the data partition is small."""
    usual = {path.name for path in (tmp_path / "state").iterdir()}
    (tmp_path / "state/tmpk2x3").write_bytes(b"{")
    open_client(rig.public, local(tmp_path, rig))
    assert {path.name for path in (tmp_path / "state").iterdir()} == usual


def test_disk_that_fills_up_is_told(client: Client) -> None:
    target = client.find(PACKAGE)
    assert target is not None
    part_of(client, target).symlink_to("/dev/full")
    with pytest.raises(HostError, match=r"cannot write \S+\.part: no space left on its disk") as caught:
        client.fetch(target)
    assert caught.value.hint is not None and caught.value.hint.startswith("make room: ")


def test_part_that_cannot_be_begun_is_told(client: Client, tmp_path: Path) -> None:
    target = client.find(PACKAGE)
    assert target is not None
    part_of(client, target).symlink_to(tmp_path / "nowhere/part")
    with pytest.raises(HostError, match=r"cannot write \S+\.part: no such file or directory"):
        client.fetch(target)
