"""Uploading a store: to a folder, to nginx by WebDAV, to an S3; cut short anywhere, a device believes what it sees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from imagekit.errors import HostError, TargetError, UsageError
from imagekit.host.places import DavPlace, FolderPlace, Place, S3Place, place_of
from imagekit.host.storeclient import connected
from imagekit.plan.channelmap import parse_channel_map
from imagekit.plan.storepaths import channels_path
from imagekit.plan.upload import FOREVER, SHORT, TIMESTAMP, Upload
from imagekit.store import prune as pruning
from imagekit.store import sync
from imagekit.store.roles import add_key, remove_key
from imagekit.testing.fakes import RecordedProgress
from imagekit.testing.stores import StoreRig
from tests.tools.store_server import nginx

pytestmark = pytest.mark.tools


class Broken(Exception):
    """The line is dead."""


class CutPlace:
    """A place whose line dies after `left` files."""

    def __init__(self, place: Place, left: int) -> None:
        self.place, self.left = place, left

    def __getattr__(self, name: str) -> Any:
        return getattr(self.place, name)

    def put(self, upload: Upload, source: Path) -> None:
        if not self.left:
            raise Broken
        self.left -= 1
        self.place.put(upload, source)


@pytest.fixture
def rig(tmp_path: Path) -> StoreRig:
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create()
    rig.add_publisher()
    rig.publish(rig.package(1), channel="stable")
    return rig


def upload(rig: StoreRig, place: Any) -> int:
    """How many files went up."""
    with rig.open() as store:
        planned = sync.plan(store, place)
        sync.carry_out(store, place, planned, RecordedProgress())
    return len(planned.uploads)


def revisions(source: str | Path, root: bytes) -> list[int]:
    with connected(source, root) as client:
        target = client.find(channels_path("small"))
        assert target is not None
        channels = parse_channel_map(client.fetch(target).read_bytes(), name="small")
        for item in channels.revisions:
            packed = client.find(f"packages/small/small_{item.revision}.snap.zst")
            assert packed is not None and client.fetch(packed).exists()
        return [item.revision for item in channels.revisions]


@contextmanager
def s3() -> Iterator[str]:
    pytest.importorskip("boto3")
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        requests.post(f"http://{host}:{port}/moto-api/reset", timeout=10).raise_for_status()  # one state for all
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@pytest.fixture(params=["folder", "dav", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path, program: Callable[[str], str],
          monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Callable[[], Place], str | Path]]:
    """Makes a connection to the place, as a new run of the program does; and where a device reads."""
    folder = tmp_path / "place"
    folder.mkdir()
    if request.param == "folder":
        yield lambda: FolderPlace(folder), folder
    elif request.param == "dav":
        with nginx(program("nginx"), folder, tmp_path / "nginx", dav=True) as url:
            yield lambda: place_of(f"{url}/sub"), f"{url}/sub"
    else:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        with s3() as endpoint:
            import boto3

            client = boto3.client("s3", endpoint_url=endpoint)
            client.create_bucket(Bucket="updates", ACL="public-read")
            yield lambda: place_of("s3://updates/fleet", endpoint=endpoint), f"{endpoint}/updates/fleet"


def test_device_reads_what_was_uploaded(rig: StoreRig, place: tuple[Callable[[], Place], str | Path]) -> None:
    connect, source = place
    assert upload(rig, connect()) > 8
    assert revisions(source, rig.first_root) == [1]
    assert upload(rig, connect()) == 0


def test_line_that_dies_after_any_file_leaves_a_store_that_devices_believe(
        rig: StoreRig, place: tuple[Callable[[], Place], str | Path]) -> None:
    connect, source = place
    upload(rig, connect())
    rig.publish(rig.package(2), channel="stable")
    cuts = 0
    while True:
        with rig.open() as store:
            expected = len(sync.plan(store, connect()).uploads)
        if not expected:
            break
        try:
            upload(rig, CutPlace(connect(), 1))  # one more file each time: it goes on where it stopped
        except Broken:
            cuts += 1
            assert revisions(source, rig.first_root) == [1]
    assert cuts == 5 and revisions(source, rig.first_root) == [1, 2]


def test_old_copy_of_the_store_is_not_uploaded_over_a_newer_one(
        rig: StoreRig, place: tuple[Callable[[], Place], str | Path], tmp_path: Path) -> None:
    connect, source = place
    shutil.copytree(rig.folder, tmp_path / "old")
    rig.publish(rig.package(2), channel="stable")
    upload(rig, connect())
    old = StoreRig(folder=tmp_path / "old", packages=rig.packages, keys=rig.keys)
    with pytest.raises(TargetError, match="version 4 of its timestamp is there, and ours is 3"):
        upload(old, connect())
    assert revisions(source, rig.first_root) == [1, 2]


def test_s3_objects_have_their_cache_headers(rig: StoreRig, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with s3() as endpoint:
        import boto3

        client = boto3.client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="updates")
        upload(rig, S3Place("updates", "", endpoint=endpoint))
        keys = [item["Key"] for item in client.list_objects_v2(Bucket="updates")["Contents"]]
        heads = {key: client.head_object(Bucket="updates", Key=key) for key in keys}
    assert heads[TIMESTAMP]["CacheControl"] == SHORT and heads[TIMESTAMP]["ContentType"] == "application/json"
    assert {head["CacheControl"] for key, head in heads.items() if key != TIMESTAMP} == {FOREVER}
    assert next(head for key, head in heads.items() if key.endswith(".zst"))["ContentType"] == "application/zstd"


def test_key_change_goes_up_behind_the_timestamp_that_both_roots_accept(rig: StoreRig, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    upload(rig, place)
    with rig.open() as store:
        draft = store.draft()
        for role in ("snapshot", "timestamp"):
            add_key(draft, role, rig.keys.by_name["online-2"].public_key, threshold=None)
            remove_key(draft, role, rig.keys.by_name["online"].public_key.keyid, threshold=None)
        store.commit(draft)
        names = [item.name for item in sync.plan(store, place).uploads]
        assert names[-2:] == [TIMESTAMP, "metadata/2.root.json"]
        for count in range(1, len(names)):
            with pytest.raises(Broken):
                sync.carry_out(store, CutPlace(FolderPlace(tmp_path / "place"), 1), sync.plan(store, place),
                               RecordedProgress())
            assert revisions(tmp_path / "place", rig.first_root) == [1], count
    upload(rig, place)
    rig.publish(rig.package(2), channel="stable")  # signed by the new key alone
    upload(rig, place)
    assert revisions(tmp_path / "place", rig.first_root) == [1, 2]


def test_what_a_power_cut_left_behind_is_never_uploaded(rig: StoreRig, tmp_path: Path) -> None:
    (rig.public / "metadata/99.snapshot.json").write_text("{}")
    place = FolderPlace(tmp_path / "place")
    upload(rig, place)
    assert "metadata/99.snapshot.json" not in (place.listing() or ())


def test_pruned_files_are_taken_away_there_too(rig: StoreRig, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    for number in range(2, 8):
        rig.publish(rig.package(number), channel="stable")
    upload(rig, place)
    with rig.open() as store:
        planned = pruning.plan(store)
        assert planned.revisions == {"small": (1, 2)}
        pruning.carry_out(store, planned)
    rig.now += timedelta(days=31)
    with rig.open() as store:
        store.commit(store.draft_online())
        later = pruning.plan(store)
        assert any("small_1.snap.zst" in name for name in later.files)
        pruning.carry_out(store, later)
        sync.carry_out(store, place, sync.plan(store, place), RecordedProgress())
        gone = sync.surplus(place, sync.public_files(store.public))
        assert gone is not None and any("small_1.snap.zst" in name for name in gone)


def test_place_that_had_no_upload_of_this_store_is_told_from_one_that_had(rig: StoreRig, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    with rig.open() as store:
        assert sync.is_first(sync.plan(store, place))
    upload(rig, place)
    rig.publish(rig.package(9))
    with rig.open() as store:
        assert not sync.is_first(sync.plan(store, place))


def test_credentials_in_a_url_are_refused() -> None:
    with pytest.raises(UsageError, match="others would see them"):
        place_of("https://me:secret@example.com/updates")


def test_server_that_refuses_says_so(rig: StoreRig, tmp_path: Path, program: Callable[[str], str]) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    with nginx(program("nginx"), folder, tmp_path / "nginx") as url, pytest.raises(HostError, match="405"):
        upload(rig, DavPlace(url))


def test_dead_server_is_an_error_of_the_host(rig: StoreRig) -> None:
    with pytest.raises(HostError, match="cannot reach"):
        upload(rig, DavPlace("http://127.0.0.1:9"))


def test_timestamp_there_is_newer_only_if_it_says_so(rig: StoreRig, tmp_path: Path) -> None:
    place = FolderPlace(tmp_path / "place")
    upload(rig, place)
    (tmp_path / "place" / TIMESTAMP).write_text(json.dumps({"signed": 1}))
    with pytest.raises(TargetError, match="is no metadata"):
        upload(rig, place)


def test_another_store_is_not_uploaded_over_the_one_that_is_there(rig: StoreRig, tmp_path: Path) -> None:
    """Devices of that one would believe nothing there any more."""
    other = StoreRig(folder=tmp_path / "other", packages=tmp_path / "other-packages")
    other.create()
    place = FolderPlace(tmp_path / "place")
    upload(other, place)
    before = {name: place.read(name) for name in place.listing() or ()}
    with pytest.raises(TargetError, match="another store is there"):
        upload(rig, place)
    assert {name: place.read(name) for name in place.listing() or ()} == before
    (tmp_path / "place/metadata/1.root.json").write_bytes(rig.first_root[:100])  # cut short, by whatever put it there
    (tmp_path / "place" / TIMESTAMP).unlink()
    upload(rig, place)
    assert revisions(tmp_path / "place", rig.first_root) == [1]
