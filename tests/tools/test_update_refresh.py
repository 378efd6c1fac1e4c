"""A device made of files takes updates from a store that nginx serves: by delta, whole, cut, and lied to."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
import zstandard
from tuf.api.metadata import TargetFile

from imagekit.assertions import Assertion, Chain, Database, Header, decode_stream, encode_stream
from imagekit.assertions.proof import Link
from imagekit.boot.slotstate import Slot
from imagekit.device import history
from imagekit.device.addresses import find_stores
from imagekit.device.anchors import own_anchors
from imagekit.device.checks import check_store
from imagekit.device.cli import main
from imagekit.device.install import Options
from imagekit.device.offers import ASSERTIONS_LIMIT
from imagekit.device.refresh import Came, refresh
from imagekit.device.rhythm import load_rhythm, when_due
from imagekit.device.state import load_gadget_record
from imagekit.device.verity import VerityDevice
from imagekit.digests import sha3_384
from imagekit.errors import HostError, ImagekitError, PlanError, TargetError, TrustError
from imagekit.host.storeclient import open_client
from imagekit.plan.channelmap import UpdateClass
from imagekit.plan.releases import Terms, revoked
from imagekit.plan.schedule import ALARM_DAYS, ALARM_FEW_CHECKS, NARROW_S, PERIOD_S, TICK_S, UNKNOWN_CLOCK_CHECKS
from imagekit.plan.storepaths import delta_path, model_path, store_path, stored_name
from imagekit.store.deltas import publish_deltas
from imagekit.store.publishing import change, publish_address, publish_model, publish_set
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import Silent, noise
from imagekit.testing.stores import StoreRig
from tests.tools.conftest import ADMIN_PATH, require
from tests.tools.store_server import free_port, nginx
from tests.tools.update_rig import SYSTEMD_BOOT, Maker, Rig, gadget_files, make, root_of

pytestmark = pytest.mark.tools

STORE = "acme-store"


@dataclass(kw_only=True)
class World:
    """A brand with packages, its store as it was when the image was made, and where that is served."""

    maker: Maker
    store: StoreRig
    served: Path
    work: Path
    program: str
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def base(self, revision: int, *, alike: bool = True) -> Path:
        """A base; `alike`: all but a few bytes are those of revision 1."""
        return self.maker.package("debian-13", "base", {
            "usr/bin/init": noise("base 1" if alike else f"base {revision}", 1_200_000),
            "usr/lib/os-release": f"ID=debian\nVERSION={revision}\n".encode()}, revision=revision)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    require("nginx")
    folder = tmp_path_factory.mktemp("world")
    maker = make(folder / "maker", SYSTEMD_BOOT)
    store = StoreRig(folder=folder / "store", packages=maker.workshop.packages, brand=maker.workshop.brand)
    store.create()
    store.add_publisher("acme", patterns=("debian-13", "pc-kernel", "pc"))
    made = World(maker=maker, store=store, served=folder / "served", work=folder / "nginx",
                 program=shutil.which("nginx", path=ADMIN_PATH) or "")
    brand = maker.workshop.brand
    assertion = brand.sign({"type": "store", "authority-id": "acme", "store": STORE, "operator-id": "acme",
                            "url": made.url, "timestamp": "2026-01-01T00:00:00Z"}, body=store.first_root)
    maker.workshop.write_assertions(maker.workshop.packages / f"{STORE}.store", assertion)
    maker.build(store=STORE)  # before there is anything newer
    for revision in (2, 3):
        made.base(revision)
        maker.kernel(revision)
    made.base(4, alike=False)
    maker.gadget(2)
    maker.gadget(3, change=lambda text: text.replace("name: base-b", "name: base-c").replace("base-b:", "base-c:"))
    maker.gadget(4)
    publish(store, maker, "debian-13_1", "pc-kernel_1")
    return made


def publish(store: StoreRig, maker: Maker, *names: str, channel: str | None = "stable", terms: Terms | None = None,
            update_class: UpdateClass = UpdateClass.FEATURE, advisory: str = "") -> None:
    offers = []
    for name in names:
        path = maker.workshop.packages / f"{name}.snap"
        signed = next(item for item in decode_stream(path.with_suffix(".assert").read_bytes(), name=path.name)
                      if item.type == "snap-revision")
        offers.append(store.offer(path, signed))
    store.publish(*offers, channel=channel, terms=terms, update_class=update_class, advisory=advisory)


@dataclass(kw_only=True)
class Scene:
    """One test's store, served, and a device."""

    world: World
    store: StoreRig
    rig: Rig
    log: Path

    def publish(self, *names: str, delta: bool = False, channel: str | None = "stable", terms: Terms | None = None,
                update_class: UpdateClass = UpdateClass.FEATURE, advisory: str = "") -> None:
        publish(self.store, self.world.maker, *names, channel=channel, terms=terms, update_class=update_class,
                advisory=advisory)
        if delta:
            with self.store.open() as store:
                made, _ = publish_deltas(store, "debian-13", target=None, sources=(), progress=Silent())
            assert any(item.published for item in made)
        self.serve()

    def serve(self) -> None:
        shutil.rmtree(self.world.served, ignore_errors=True)
        shutil.copytree(self.store.public, self.world.served)

    def file(self, pattern: str) -> Path:
        found = sorted(self.world.served.glob(f"targets/{pattern}"))
        assert len(found) == 1, found
        return found[0]

    @property
    def requests(self) -> list[tuple[str, int, int]]:
        """What was asked for since the last look: target, status, bytes."""
        found = re.findall(r'"GET /targets/(\S+) [^"]*" (\d+) (\d+)', self.log.read_text())
        self.log.write_text("")
        return [(re.sub(r"[0-9a-f]{64}\.", "", path), int(status), int(size)) for path, status, size in found]

    @property
    def runs(self) -> tuple[str, int, int]:
        """Slot, revision of the base, revision of the kernel."""
        by_root = {root: number for (_, number), root in self.rig.revisions.items()}
        return self.rig.slot.value, by_root[self.rig.roots["base"]], by_root[self.rig.roots["kernel"]]

    def still_updates(self) -> None:
        """The device is as it was, boots, and takes an update from the honest store."""
        self.serve()
        self.rig.up()
        assert self.rig.refresh().came is Came.INSTALLED
        self.rig.up()
        assert self.rig.slot is Slot.B


@pytest.fixture
def scene(world: World, tmp_path: Path) -> Iterator[Scene]:
    shutil.copytree(world.store.folder, tmp_path / "store")
    rig = Rig(tmp_path / "device", world.maker.image, SYSTEMD_BOOT)
    rig.revisions = {(name, number): root_of(world.maker, world.maker.workshop.packages / f"{name}_{number}.snap")
                     for name, most in (("debian-13", 4), ("pc-kernel", 3)) for number in range(1, most + 1)}
    shutil.rmtree(world.served, ignore_errors=True)
    world.served.mkdir()
    made = Scene(world=world, store=replace(world.store, folder=tmp_path / "store"), rig=rig,
                 log=world.work / "access.log")
    made.serve()
    with nginx(world.program, world.served, world.work, port=world.port):
        made.log.write_text("")
        yield made


# ---- what arrives

def test_what_runs_is_what_the_store_means(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    came = scene.rig.refresh()
    assert (came.came, came.plan) == (Came.CURRENT, None)
    assert history.load_history(scene.rig.machine).check == "nothing newer"
    assert not scene.rig.programs.ran
    assert main(["status"], machine=scene.rig.machine) == 0
    assert "store:  asked 2026-06-01T00:00:00Z: nothing newer\n" in capsys.readouterr().out


def test_new_base_arrives_as_a_delta(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    came = scene.rig.refresh()
    assert (came.came, came.fetched, came.rebooting) == (Came.INSTALLED, (("debian-13", "delta"),), True)
    fetched = {path: size for path, _, size in scene.requests}
    assert "deltas/debian-13/debian-13_1_2.delta" in fetched
    assert not [path for path in fetched if path.startswith("packages/")]
    assert scene.rig.rebooted
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)
    assert not list((history.folder_of(scene.rig.machine) / "downloads").rglob("*.delta"))
    assert scene.rig.refresh().came is Came.CURRENT


def test_new_pair_arrives_whole_where_there_is_no_delta(scene: Scene) -> None:
    scene.publish("debian-13_4", "pc-kernel_2")
    came = scene.rig.refresh()
    assert came.fetched == (("debian-13", "whole"), ("pc-kernel", "whole"))
    scene.rig.up()
    assert scene.runs == ("b", 4, 2)


def test_new_gadget_arrives_whole_with_what_comes_beside_it(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    scene.publish("pc_2")
    came = scene.rig.refresh()
    assert came.fetched == (("debian-13", "delta"), ("pc", "whole"))
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)
    found = load_gadget_record(scene.rig.device("slot-state"))
    assert found.installed is not None
    assert found.installed.revision == 2
    assert scene.rig.disk_state().assets()["startup.nsh"] == gadget_files(2)["startup.nsh"]
    assert scene.rig.refresh().came is Came.CURRENT


GADGET_3 = (("debian-13", 1), ("pc-kernel", 1), ("pc", 3))


def test_refused_gadget_is_told_once_and_waits_for_something_newer(scene: Scene, capsys: pytest.CaptureFixture[str]
                                                                   ) -> None:
    scene.publish("pc_3")
    with pytest.raises(PlanError, match="cannot update the gadget to pc 3"):
        scene.rig.refresh()
    assert [path for path, *_ in scene.requests if path.endswith("pc_3.snap.zst")]
    for _ in range(2):
        came = scene.rig.refresh()
        assert (came.came, came.plan) == (Came.FAILED_BEFORE, None)
        assert "its name changes from 'base-b' to 'base-c'" in came.notes[0]
        assert not [path for path, *_ in scene.requests if path.startswith("packages/")]
    memory = history.load_history(scene.rig.machine)
    assert [item.packages for item in memory.failed] == [GADGET_3]
    assert [(item.what, item.packages, item.outcome) for item in memory.changes] == [("install", GADGET_3, "refused")]
    assert main(["status"], machine=scene.rig.machine) == main(["changes"], machine=scene.rig.machine) == 0
    told = capsys.readouterr().out
    assert told.count("debian-13 1 with pc-kernel 1 with pc 3: cannot update the gadget to pc 3") == 1
    assert "install debian-13 1 with pc-kernel 1 with pc 3: refused: cannot update the gadget to pc 3" in told
    with pytest.raises(PlanError, match="cannot update the gadget to pc 3"):
        scene.rig.refresh(again=True)
    scene.publish("pc_4")
    assert scene.rig.refresh().came is Came.INSTALLED


def test_refused_gadget_is_left_out_of_later_updates_until_a_newer_base_has_looked(scene: Scene) -> None:
    scene.publish("debian-13_2", "pc_3")
    came = scene.rig.refresh()
    assert came.plan is not None
    assert came.plan.pair == (("debian-13", 2), ("pc-kernel", 1))
    assert "pc_3.snap.zst is left out: cannot update the gadget to pc 3" in came.notes[0]
    scene.log.write_text("")
    assert scene.rig.refresh().came is Came.PENDING, "it waits for its reboot, whatever became of the gadget"
    assert not [path for path, *_ in scene.requests if path.startswith("packages/")]
    scene.rig.up()
    with pytest.raises(PlanError, match="cannot update the gadget to pc 3"):
        scene.rig.refresh()
    assert scene.rig.refresh().came is Came.FAILED_BEFORE
    scene.publish("debian-13_3")
    scene.log.write_text("")
    came = scene.rig.refresh()
    assert (came.came, came.notes[0].partition(" with ")[0]) == (Came.INSTALLED, "left out: debian-13 2")
    assert not [path for path, *_ in scene.requests if "/pc_3" in path]
    scene.rig.up()
    assert scene.runs == ("a", 3, 1)


def test_second_update_is_a_delta_out_of_the_first_one(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    scene.rig.refresh()
    scene.rig.up()
    scene.publish("debian-13_3", delta=True)
    assert scene.rig.refresh().fetched == (("debian-13", "delta"),)
    scene.rig.up()
    assert scene.runs == ("a", 3, 1)


def test_check_tells_and_fetches_no_package(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.publish("debian-13_2", update_class=UpdateClass.SECURITY, advisory="openssl: CVE-2026-0001", delta=True)
    before = scene.rig.disk_state()
    assert main(["refresh", "--check", "--json"], machine=scene.rig.machine) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["class"]) == ("available", "security")
    assert found["packages"][0] == {
        "name": "debian-13", "running": 1, "offered": 2, "why": "newer", "channel": "latest/stable", "fetched": None,
        "advisories": [{"revision": 2, "class": "security", "text": "openssl: CVE-2026-0001"}]}
    assert main(["refresh", "--check"], machine=scene.rig.machine) == 0
    assert "  2: openssl: CVE-2026-0001\nto take it: imagekit-device refresh\n" in capsys.readouterr().out
    assert not [path for path, _, _ in scene.requests if path.startswith(("packages/", "deltas/"))]
    assert scene.rig.disk_state() == before


# ---- deltas that are of no use

def swapped(store: StoreRig, change: Callable[[bytes], bytes]) -> None:
    """The store itself signs for another delta."""
    with store.open() as held:
        draft = held.draft()
        targets = draft.publisher(held.publisher_of("debian-13"))
        path = delta_path("debian-13", 1, 2)
        old = targets.targets[path]
        raw = next(held.public.glob(f"targets/deltas/debian-13/{old.hashes['sha256']}.*")).read_bytes()
        held.put(targets, path, change(raw))
        held.commit(draft)


SPOILT = {
    "in its streams": lambda raw: raw[:-20] + bytes(20),
    "in its head": lambda raw: b"IKDELTA9" + raw[8:],
    "about its result": lambda raw: raw[:72] + bytes(48) + raw[120:],
    "altogether": lambda raw: b"",
}


@pytest.mark.parametrize("change_", SPOILT.values(), ids=[name.replace(" ", "-") for name in SPOILT])
def test_delta_that_is_wrong_is_replaced_by_the_whole_package(scene: Scene, change_: Callable[[bytes], bytes]) -> None:
    scene.publish("debian-13_2", delta=True)
    swapped(scene.store, change_)
    scene.serve()
    came = scene.rig.refresh()
    assert (came.came, came.fetched) == (Came.INSTALLED, (("debian-13", "whole"),))
    assert any("whole package" in line for line in scene.rig.said)
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


def test_delta_that_is_larger_than_the_whole_package_is_not_fetched(scene: Scene) -> None:
    """Our store publishes none; one by another program may have such a one."""
    scene.publish("debian-13_2", delta=True)
    swapped(scene.store, lambda raw: raw + bytes(2 << 20))
    scene.serve()
    assert scene.rig.refresh().fetched == (("debian-13", "whole"),)
    assert not [name for name, _, _ in scene.requests if name.startswith("deltas/")]


def test_delta_is_left_where_less_of_the_whole_package_is_to_come(scene: Scene) -> None:
    scene.publish("debian-13_2")
    path = scene.file("packages/debian-13/*.debian-13_2.snap.zst")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(HostError, match="it ended after"):
        scene.rig.refresh()
    scene.publish(delta=True)
    assert scene.rig.refresh().fetched == (("debian-13", "whole"),)
    assert [size for name, _, size in scene.requests if name.endswith("debian-13_2.snap.zst")][-1] == 10


@pytest.mark.parametrize("path", ["/proc/self/mem", "/proc/self/none"], ids=["a block", "the device"])
def test_delta_from_what_the_disk_does_not_give_back_is_replaced_by_the_whole_package(scene: Scene, path: str) -> None:
    """A medium that goes bad below the running system is when an update is wanted most."""
    scene.publish("debian-13_2", delta=True)
    true = scene.rig.machine

    def unreadable(mount_point: Path) -> VerityDevice:  # as the kernel has it: reading is an I/O error
        found = true.verity(mount_point)
        return replace(found, path=Path(path)) if mount_point == true.base else found

    came = refresh(replace(true, verity=unreadable), Options(), scene.rig.said.append, clock=lambda: scene.rig.clock)
    assert (came.came, came.fetched) == (Came.INSTALLED, (("debian-13", "whole"),))
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


def test_delta_that_makes_something_else_of_the_right_size_is_refused(scene: Scene) -> None:
    """Its head promises the right result and its streams make another: only the digest of the result tells."""
    scene.publish("debian-13_2", delta=True)

    def of_other_bytes(raw: bytes) -> bytes:
        start = 8 + 8 + 8 + 48 + 48
        ops, diff, extra = (int.from_bytes(raw[start + 8 * i:start + 8 * i + 8], "little") for i in range(3))
        head = start + 24
        stream = raw[head + ops + diff:]
        assert len(stream) == extra
        inner = bytearray(zstandard.ZstdDecompressor().decompressobj().decompress(stream))
        inner[len(inner) // 2] ^= 1
        packed = zstandard.ZstdCompressor(level=3).compress(bytes(inner))
        return raw[:start + 16] + len(packed).to_bytes(8, "little") + raw[head:head + ops + diff] + packed

    swapped(scene.store, of_other_bytes)
    scene.serve()
    assert scene.rig.refresh().fetched == (("debian-13", "whole"),)
    assert any("SHA3-384" in line and "instead of deltas" in line for line in scene.rig.said)
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


def test_delta_that_the_server_changed_is_replaced_by_the_whole_package(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    path = scene.file("deltas/debian-13/*.debian-13_1_2.delta")
    path.write_bytes(bytes(path.stat().st_size))
    assert scene.rig.refresh().fetched == (("debian-13", "whole"),)


def test_delta_that_the_server_lost_is_replaced_by_the_whole_package(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    scene.file("deltas/debian-13/*.debian-13_1_2.delta").unlink()
    assert scene.rig.refresh().fetched == (("debian-13", "whole"),)


# ---- stores that lie, or are gone

def refused(scene: Scene, error: type[ImagekitError], match: str) -> None:
    """The refresh fails so, and changes nothing; afterwards the honest store is followed."""
    before = scene.rig.disk_state()
    with pytest.raises(error, match=match):
        scene.rig.refresh()
    assert scene.rig.disk_state() == before
    memory = history.load_history(scene.rig.machine)
    assert memory.pending is None
    assert re.search(match, memory.check)
    scene.still_updates()


def test_package_that_the_server_changed_is_refused(scene: Scene) -> None:
    scene.publish("debian-13_2")
    path = scene.file("packages/debian-13/*.debian-13_2.snap.zst")
    path.write_bytes(path.read_bytes()[:-5] + b"12345")
    refused(scene, TrustError, "not what was signed")


def test_package_under_another_s_name_is_refused(scene: Scene) -> None:
    """The store signs that revision 2 is what revision 3 is; the brand did not."""
    scene.publish("debian-13_2", "debian-13_3")
    with scene.store.open() as held:
        draft = held.draft()
        targets = draft.publisher(held.publisher_of("debian-13"))
        targets.targets["packages/debian-13/debian-13_3.snap.zst"] = replace_path(
            targets.targets["packages/debian-13/debian-13_2.snap.zst"], "packages/debian-13/debian-13_3.snap.zst")
        held.commit(draft)
        two = next(held.public.glob("targets/packages/debian-13/*.debian-13_2.snap.zst"))
        shutil.copyfile(two, two.with_name(two.name.replace("_2.snap", "_3.snap")))
    scene.serve()
    before = scene.rig.disk_state()
    with pytest.raises(TrustError, match=r"debian-13_3\.snap\.zst: its SHA3-384 is"):
        scene.rig.refresh()
    assert scene.rig.disk_state() == before


def replace_path(target: TargetFile, path: str) -> TargetFile:
    return TargetFile(length=target.length, hashes=dict(target.hashes), path=path)


def test_older_state_of_the_store_is_refused(scene: Scene, tmp_path: Path) -> None:
    shutil.copytree(scene.store.public, tmp_path / "old")
    scene.publish("debian-13_2")
    assert scene.rig.refresh(check=True).came is Came.AVAILABLE
    shutil.rmtree(scene.world.served)
    shutil.copytree(tmp_path / "old", scene.world.served)
    refused(scene, TrustError, "cannot refresh")


def test_store_of_somebody_else_is_refused(scene: Scene, tmp_path: Path) -> None:
    scene.publish("debian-13_2")
    other = StoreRig(folder=tmp_path / "other", packages=tmp_path / "none")
    other.create()
    shutil.rmtree(scene.world.served)
    shutil.copytree(other.public, scene.world.served)
    refused(scene, TrustError, "cannot refresh")


def test_expired_store_is_told_and_nothing_is_taken(scene: Scene) -> None:
    scene.publish("debian-13_2")
    scene.rig.clock = scene.store.now + timedelta(days=20)
    with pytest.raises(TrustError, match="expired") as caught:
        scene.rig.refresh()
    assert caught.value.hint is not None and "clock" in caught.value.hint
    scene.rig.clock = NOW
    scene.still_updates()


def valid_days(scene: Scene, count: int) -> None:
    """What publishers sign from now on holds for so long."""
    path = scene.store.folder / "store.json"
    path.write_text(re.sub(r'"publisher": \d+', f'"publisher": {count}', path.read_text()))


@pytest.fixture
def lapsed(scene: Scene) -> Scene:
    """The kernel comes from a vendor who has signed nothing for longer than it holds; a newer base is there."""
    publish(scene.store, scene.world.maker, "pc-kernel_2")
    with scene.store.open() as held:
        theirs = {path: (scene.store.public / "targets" / stored_name(path, found.hashes["sha256"])).read_bytes()
                  for path, found in held.draft().publisher("publisher-acme").targets.items() if "pc-kernel" in path}
    valid_days(scene, 1)
    scene.store.add_publisher("acme", patterns=("debian-13", "pc"))
    scene.store.add_publisher("vendor", "beta", patterns=("pc-kernel",))
    with scene.store.open() as held:
        draft = held.draft()
        for path, content in theirs.items():
            held.put(draft.publisher("publisher-vendor"), path, content)
        held.commit(draft)
    valid_days(scene, 365)
    scene.publish("debian-13_2")
    scene.rig.clock = scene.store.now + timedelta(days=2)
    return scene


def test_publisher_that_signs_nothing_any_more_keeps_no_update_of_others_away(lapsed: Scene) -> None:
    came = lapsed.rig.refresh()
    stays = "pc-kernel 1 stays: what its publisher signed has ended"
    assert (came.came, came.notes) == (Came.INSTALLED, (stays,))
    lapsed.rig.up()
    assert lapsed.runs == ("b", 2, 1)
    assert lapsed.rig.refresh().came is Came.CURRENT
    memory = history.load_history(lapsed.rig.machine)
    assert (memory.check, memory.unanswered) == (f"nothing newer; {stays}", 1)
    with lapsed.store.open() as held:
        draft = held.draft()
        draft.publisher("publisher-vendor")
        held.commit(draft)
    lapsed.serve()
    lapsed.rig.refresh()
    lapsed.rig.up()
    assert lapsed.runs == ("a", 2, 2)
    assert lapsed.rig.refresh().came is Came.CURRENT
    assert history.load_history(lapsed.rig.machine).unanswered == 0


def test_store_of_which_each_publisher_has_ended_is_not_believed(scene: Scene) -> None:
    valid_days(scene, 1)
    scene.publish("debian-13_2", "pc-kernel_2")
    scene.rig.clock = scene.store.now + timedelta(days=2)
    with pytest.raises(TrustError, match="expired"):
        scene.rig.refresh()
    assert history.load_history(scene.rig.machine).unanswered == 1
    scene.rig.clock = NOW
    valid_days(scene, 365)
    scene.publish("pc-kernel_3")
    scene.still_updates()


def test_channel_map_of_another_package_is_refused(scene: Scene) -> None:
    scene.publish("debian-13_2")
    with scene.store.open() as held:
        draft = held.draft()
        targets = draft.publisher(held.publisher_of("debian-13"))
        wrong = next(held.public.glob("targets/channels/*.pc-kernel.json")).read_bytes()
        held.put(targets, "channels/debian-13.json", wrong)
        held.commit(draft)
    scene.serve()
    before = scene.rig.disk_state()
    with pytest.raises(TrustError, match="it is about pc-kernel"):
        scene.rig.refresh()
    assert scene.rig.disk_state() == before


def test_dead_network_is_no_matter_of_trust(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.publish("debian-13_2")
    shutil.rmtree(scene.world.served)
    refused(scene, HostError, "cannot refresh")


def test_nobody_at_the_address_is_told_with_a_code_of_its_own(world: World, tmp_path: Path,
                                                              capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig(tmp_path / "device", world.maker.image, SYSTEMD_BOOT)
    assert main(["refresh", "--json"], machine=rig.machine) == 6
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["message"].startswith(f"cannot refresh {world.url} as a device")
    assert "refused" in told["message"]


def test_download_that_is_cut_goes_on_where_it_ended(scene: Scene) -> None:
    scene.publish("debian-13_4")
    path = scene.file("packages/debian-13/*.debian-13_4.snap.zst")
    whole = path.read_bytes()
    path.write_bytes(whole[:700_000])
    with pytest.raises(HostError, match=r"it ended after 700000 of \d+ bytes"):
        scene.rig.refresh()
    path.write_bytes(whole)
    assert scene.requests
    assert scene.rig.refresh().came is Came.INSTALLED
    ranges = [(status, size) for name, status, size in scene.requests if name.startswith("packages/")]
    assert ranges == [(206, len(whole) - 700_000)]
    assert any("are here already" in line for line in scene.rig.said)
    scene.rig.up()
    assert scene.runs == ("b", 4, 1)


def test_download_that_nothing_wants_any_more_goes(scene: Scene) -> None:
    scene.publish("debian-13_4")
    path = scene.file("packages/debian-13/*.debian-13_4.snap.zst")
    path.write_bytes(path.read_bytes()[:700_000])
    with pytest.raises(HostError, match="it ended after 700000"):
        scene.rig.refresh()
    downloads = history.folder_of(scene.rig.machine) / "downloads/packages"
    assert [item.stat().st_size for item in downloads.rglob("*.part")] == [700_000]
    with scene.store.open() as held:
        change(held, "debian-13", lambda channels: revoked(channels, 4, reason="bad", now=scene.store.now))
    scene.serve()
    scene.rig.refresh(check=True)
    assert [*downloads.rglob("*.part")], "who only looks changes nothing"
    assert scene.rig.refresh().came is Came.CURRENT
    assert not [*downloads.rglob("*.part")]


def test_wrong_clock_stops_nothing(scene: Scene) -> None:
    """A dead clock says 1970: what is signed proves that it is later."""
    scene.publish("debian-13_2", delta=True)
    scene.rig.clock = scene.rig.clock.replace(year=1970)
    assert scene.rig.refresh().came is Came.INSTALLED
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


@pytest.fixture
def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishers whose program does not look at the time that they sign."""
    monkeypatch.setattr("imagekit.store.publishing._check_time", lambda *args: None)


@pytest.mark.usefixtures("careless")
def test_attack_package_signed_in_the_future_is_refused_before_its_time_counts(scene: Scene) -> None:
    """The time of what runs is a floor below the clock: from 2099 on, whatever a store says has long expired."""
    maker = scene.world.maker
    brand = Brand("acme")
    path = maker.workshop.packages / "debian-13_2.snap"
    with path.open("rb") as stream:
        signed = brand.revision("debian-13", 2, sha3=sha3_384(stream), size=path.stat().st_size,
                                verity_root=scene.rig.revisions["debian-13", 2],
                                timestamp=datetime(2099, 1, 1, tzinfo=UTC))
    scene.store.publish(scene.store.offer(path, signed, brand=brand), channel="stable")
    scene.serve()
    with pytest.raises(TrustError, match="it was signed on 2099-01-01T00:00:00Z, and the store's word that it is"):
        scene.rig.refresh()
    assert not [name for name, _, _ in scene.requests if name.startswith("packages/")]
    scene.publish("debian-13_3")
    assert scene.rig.refresh().came is Came.INSTALLED
    scene.rig.up()
    assert scene.rig.refresh().came is Came.CURRENT


@pytest.mark.usefixtures("careless")
def test_attack_model_signed_in_the_future_is_refused_before_its_time_counts(scene: Scene) -> None:
    publish_newer(scene, 1, timestamp="2099-01-01T00:00:00Z")
    with pytest.raises(TrustError, match="it was signed on 2099-01-01T00:00:00Z"):
        scene.rig.refresh()
    assert history.load_history(scene.rig.machine).model is None


def test_full_data_partition_is_told_before_anything_is_fetched(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.publish("debian-13_4")
    monkeypatch.setattr("imagekit.device.refresh.room_in", lambda folder: 1 << 20)
    with pytest.raises(HostError, match="0 B are free on the data partition"):
        scene.rig.refresh()
    assert not [name for name, _, _ in scene.requests if name.startswith("packages/")]


@pytest.mark.parametrize(("role", "path"), [("targets", "accounts/acme.assert"), ("targets", "models/acme/pc.assert"),
                                            ("publisher-acme", "assertions/debian-13/debian-13_2.assert")])
def test_attack_proof_that_fills_the_data_partition_is_not_fetched(scene: Scene, role: str, path: str) -> None:
    """Whoever has a key of the store, or a publisher's, signs for it."""
    scene.publish("debian-13_2")
    with scene.store.open() as held:
        draft = held.draft()
        held.put(draft.targets() if role == "targets" else draft.publisher(role), path, bytes(ASSERTIONS_LIMIT + 1))
        held.commit(draft)
    scene.serve()
    assert scene.requests is not None
    before = scene.rig.disk_state()
    with pytest.raises(TrustError, match=f"cannot use {path} of the store: it has {ASSERTIONS_LIMIT + 1} bytes"):
        scene.rig.refresh()
    assert path not in [name for name, _, _ in scene.requests]
    assert scene.rig.disk_state() == before


def test_device_without_a_store_says_so(tmp_path: Path) -> None:
    maker = make(tmp_path / "maker", SYSTEMD_BOOT)
    maker.build()
    rig = Rig(tmp_path / "device", maker.image, SYSTEMD_BOOT)
    with pytest.raises(TargetError, match="the model of this device names none"):
        rig.refresh()
    assert history.load_history(rig.machine).unanswered == 0  # nobody was asked


def test_model_may_fix_its_policy_and_then_the_owner_may_only_postpone(tmp_path: Path,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    maker = make(tmp_path / "maker", SYSTEMD_BOOT)
    maker.build(x_imagekit={"updates": {"windows": "Sun 02:00-04:00", "fixed": "it runs a lift"}})
    rig = Rig(tmp_path / "device", maker.image, SYSTEMD_BOOT)
    for words in (["windows", "always"], ["windows", "--urgent", "wait"], ["automatic", "off"]):
        assert main(words, machine=rig.machine) == 7
        assert "lets no owner decide that: it runs a lift\n" in capsys.readouterr().err
    assert main(["windows"], machine=rig.machine) == 0
    assert capsys.readouterr().out == ("updates: they come by themselves, Sun 02:00-04:00, urgent ones at once"
                                       " (the model's, for every owner: it runs a lift)\n")
    assert main(["hold", "3"], machine=rig.machine) == 0


# ---- what is remembered, and who decides

def test_sick_update_falls_back_and_is_not_fetched_again(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    scene.rig.refresh()
    scene.rig.up(sick=frozenset({("debian-13", 2)}))
    assert scene.runs == ("a", 1, 1)
    assert scene.requests
    came = scene.rig.refresh()
    assert came.came is Came.FAILED_BEFORE
    assert any("was tried on" in note and "pump is dry" in note for note in came.notes)
    assert not [path for path, _, _ in scene.requests if path.startswith(("packages/", "deltas/"))]
    scene.publish("debian-13_3", delta=True)
    assert scene.rig.refresh().came is Came.INSTALLED
    scene.rig.up()
    assert scene.runs == ("b", 3, 1)


def test_update_that_waits_for_its_reboot_is_left_alone(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    assert main(["refresh", "--no-reboot"], machine=scene.rig.machine) == 0
    before = scene.rig.disk_state()
    assert scene.rig.refresh().came is Came.PENDING
    assert scene.rig.disk_state() == before
    assert not scene.rig.rebooted
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


def test_held_device_asks_and_takes_nothing_by_itself(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    history.save_history(scene.rig.machine, history.History(hold_until="2026-07-01T00:00:00Z"))
    came = scene.rig.refresh()
    assert (came.came, came.start) == (Came.WAITING, "held")
    assert history.load_history(scene.rig.machine).waiting == 1
    assert scene.rig.refresh(unattended=False).came is Came.INSTALLED  # a person may


def test_update_waits_for_the_owners_window_and_is_announced(scene: Scene, capsys: pytest.CaptureFixture[str],
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    machine = scene.rig.machine
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert main(["windows", "Tue 02:00-04:00; Sun 00:00-24:00"], machine=machine) == 0  # the test begins on a Monday
    scene.publish("debian-13_2", update_class=UpdateClass.SECURITY, advisory="openssl: CVE-2026-0001\nsee its page")
    came = scene.rig.refresh()
    assert (came.came, came.start) == (Came.WAITING, "outside-window")
    assert not [name for name, _, _ in scene.requests if name.startswith("packages/")]
    phase = load_rhythm(machine).phase
    moment = scene.rig.clock.replace(day=2, hour=2) + timedelta(seconds=3600 * phase.window >> 64)  # in its first half
    told = ("debian-13 2 with pc-kernel 1 (security) waits since 2026-06-01T00:00:00Z: its window is shut until"
            f" {moment:%Y-%m-%dT%H:%M:%SZ}; to take it now: imagekit-device refresh, to postpone it: imagekit-device"
            " hold DAYS")
    assert f"update: {told}" in scene.rig.said
    capsys.readouterr()
    assert main(["status"], machine=machine) == 0
    assert (f"waits:  {told}\n        debian-13 2, security: openssl: CVE-2026-0001\n          see its page\n"
            in capsys.readouterr().out)
    scene.rig.pass_days(1)
    scene.rig.refresh()
    assert history.load_history(machine).waits == replace(came.waits, since="2026-06-01T00:00:00Z")  # type: ignore[type-var]
    scene.rig.clock += timedelta(hours=3)  # the second half of the window, so it is open whatever the device's phase
    assert scene.rig.refresh().came is Came.INSTALLED
    scene.rig.up()
    assert history.load_history(machine).waits is None
    capsys.readouterr()
    assert main(["changes"], machine=machine) == 0
    assert ("install debian-13 2 with pc-kernel 1: done (security)\n"
            "    debian-13 2, security: openssl: CVE-2026-0001\n      see its page\n") in capsys.readouterr().out


def waits_for_a_clock(scene: Scene, checks: int) -> None:
    """A dead clock, and so many checks that found the update to wait for its window."""
    assert main(["windows", "Tue 02:00-04:00"], machine=scene.rig.machine) == 0
    scene.rig.clock = scene.rig.clock.replace(year=1970)
    scene.publish("debian-13_4")
    assert scene.rig.refresh().start == "waits-for-clock"
    history.edit_history(scene.rig.machine, lambda memory: replace(memory, waiting=checks))


def test_check_in_vain_does_not_begin_the_wait_for_a_clock_anew(scene: Scene) -> None:
    """On a line that is down now and then, a device with a dead clock would never come to the end of it."""
    waits_for_a_clock(scene, UNKNOWN_CLOCK_CHECKS - 1)
    shutil.rmtree(scene.world.served)
    with pytest.raises(HostError):
        scene.rig.refresh()
    scene.serve()
    assert scene.rig.refresh().came is Came.WAITING
    assert scene.rig.refresh().start == "clock-unknown"
    scene.rig.up()
    assert scene.runs == ("b", 4, 1)
    assert scene.rig.refresh().came is Came.CURRENT
    assert history.load_history(scene.rig.machine).waiting == 0


def test_download_that_is_cut_does_not_begin_the_wait_for_a_clock_anew(scene: Scene) -> None:
    waits_for_a_clock(scene, UNKNOWN_CLOCK_CHECKS)
    path = scene.file("packages/debian-13/*.debian-13_4.snap.zst")
    path.write_bytes(path.read_bytes()[:700_000])
    with pytest.raises(HostError, match="it ended after 700000"):
        scene.rig.refresh()
    scene.serve()
    assert scene.rig.refresh().came is Came.INSTALLED


def test_who_only_looks_leaves_what_waits_and_since_when(scene: Scene) -> None:
    """Else a program that looks every hour would keep the next window, and the end of a wait, from ever coming."""
    assert main(["windows", "Tue 02:00-04:00"], machine=scene.rig.machine) == 0
    scene.publish("debian-13_2")
    scene.rig.refresh()
    before = history.load_history(scene.rig.machine)
    assert before.waits is not None
    assert scene.rig.refresh(check=True).came is Came.AVAILABLE
    after = history.load_history(scene.rig.machine)
    assert (after.waits, after.waiting) == (before.waits, before.waiting)


def test_urgent_update_waits_for_a_window_only_where_its_owner_says_so(scene: Scene) -> None:
    scene.publish("debian-13_2", update_class=UpdateClass.URGENT)
    assert main(["windows", "Tue 02:00-04:00", "--urgent", "wait"], machine=scene.rig.machine) == 0
    assert scene.rig.refresh().start == "outside-window"
    assert main(["windows", "--urgent", "at-once"], machine=scene.rig.machine) == 0
    came = scene.rig.refresh()
    assert (came.came, came.start) == (Came.INSTALLED, "urgent")


def test_owner_who_opted_out_is_told_and_takes_it_by_hand(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    machine = scene.rig.machine
    scene.publish("debian-13_2", update_class=UpdateClass.URGENT)
    assert main(["automatic", "off", "--json"], machine=machine) == 0
    assert json.loads(capsys.readouterr().out) == {
        "imagekit": 1, "automatic": False, "windows": "", "urgent": "at-once", "fixed": None,
        "owner": {"automatic": False, "windows": None, "urgent": None, "held_until": None}}
    assert scene.rig.refresh().start == "opted-out"
    assert main(["refresh"], machine=machine) == 0  # a person says so
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)
    assert main(["automatic", "--clear"], machine=machine) == 0
    assert "by themselves, at any time (the model's)\n" in capsys.readouterr().out


def test_hold_of_an_older_base_counts_until_something_newer_is_said(scene: Scene) -> None:
    machine = scene.rig.machine
    scene.publish("debian-13_2")
    history.save_history(machine, history.History(hold_until="2026-07-01T00:00:00Z"))
    assert scene.rig.refresh().start == "held"
    assert main(["hold", "--off"], machine=machine) == 0
    assert scene.rig.refresh().came is Came.INSTALLED


def test_reboot_that_did_not_come_is_asked_for_again(scene: Scene) -> None:
    """Else the device would wait for a power cut to get its update."""
    scene.publish("debian-13_2", delta=True)
    programs = scene.rig.programs

    class Busy:
        def run(self, *command: str) -> str:
            if command[0] == "systemctl":
                raise TargetError("cannot run systemctl: Transport endpoint is not connected")
            return programs.run(*command)

    scene.rig.programs = Busy()  # type: ignore[assignment]
    with pytest.raises(TargetError, match="Transport endpoint"):
        scene.rig.refresh()
    scene.rig.programs = programs
    assert scene.rig.refresh(check=True).came is Came.PENDING
    assert not scene.rig.rebooted
    came = scene.rig.refresh()
    assert (came.came, came.rebooting) == (Came.PENDING, True)
    assert scene.rig.rebooted
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


def test_stick_is_installed_while_the_store_is_slow(scene: Scene, tmp_path: Path) -> None:
    """What was fetched meanwhile does not go over the slot that the stick's update waits in."""
    scene.publish("debian-13_4")
    stick = scene.world.maker.stick(tmp_path / "stick", scene.world.maker.workshop.packages / "debian-13_2.snap")
    done: list[bool] = []

    def say(line: str) -> None:
        if line.startswith("update: fetching packages/debian-13") and not done:
            done.append(scene.rig.install(stick, reboot=False).installed)

    came = refresh(scene.rig.machine, Options(unattended=True), say, clock=lambda: scene.rig.clock)
    assert done == [True]
    assert (came.came, came.notes) == (Came.PENDING, ("another update was installed meanwhile",))
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)
    assert scene.rig.refresh().came is Came.INSTALLED  # and then the store's
    assert [size for name, _, size in scene.requests if name.endswith("debian-13_4.snap.zst")] != []


def test_only_one_refresh_at_a_time(scene: Scene) -> None:
    with history.alone(scene.rig.machine, name="refresh"), pytest.raises(TargetError, match="another refresh"):
        scene.rig.refresh()


def test_store_that_is_silent_for_days_is_an_alarm_until_it_answers(scene: Scene,
                                                                    capsys: pytest.CaptureFixture[str]) -> None:
    scene.rig.refresh()
    shutil.rmtree(scene.world.served)
    for _ in range(ALARM_FEW_CHECKS):
        with pytest.raises(HostError):
            scene.rig.refresh()
    assert not [line for line in scene.rig.said if "alarm" in line]
    scene.rig.pass_days(ALARM_DAYS)
    with pytest.raises(HostError):
        scene.rig.refresh()
    alarm = "no believed answer of the store since 2026-06-01T00:00:00Z, 4 checks in a row came to none"
    assert f"update: alarm: {alarm}" in scene.rig.said
    assert main(["status"], machine=scene.rig.machine) == 0
    assert f"ALARM:  {alarm}\n" in capsys.readouterr().out
    assert check_store(scene.rig.machine, now=scene.rig.clock).detail == f"alarm: {alarm}"
    scene.serve()
    scene.rig.refresh()
    assert check_store(scene.rig.machine, now=scene.rig.clock).detail == "answered 2026-06-08T00:00:00Z"


def test_release_to_nobody_yet_is_not_for_this_device(scene: Scene) -> None:
    scene.publish("debian-13_2", terms=Terms(share=0))
    came = scene.rig.refresh()
    assert came.came is Came.CURRENT
    assert came.answers.parts[0].choice.why == "waiting"


def test_revoked_revision_is_left_for_a_newer_one_only(scene: Scene) -> None:
    scene.publish("debian-13_2", delta=True)
    scene.rig.refresh()
    scene.rig.up()
    with scene.store.open() as held:
        change(held, "debian-13", lambda channels: revoked(channels, 2, reason="no network", now=scene.store.now))
    scene.serve()
    came = scene.rig.refresh()
    assert came.came is Came.CURRENT
    assert came.notes == ("debian-13 2 is revoked, and nothing newer is there",)
    scene.publish("debian-13_3")
    assert scene.rig.refresh().answers.update_class is UpdateClass.URGENT
    scene.rig.up()
    assert scene.runs == ("a", 3, 1)


# ---- when

def test_schedule_asks_once_in_its_period_and_after_a_failure_sooner(scene: Scene) -> None:
    options = Options(unattended=True)
    asked: list[int] = []
    now = 0

    def look() -> None:
        nonlocal now
        slept: list[float] = []
        came = when_due(scene.rig.machine, options, scene.rig.said.append, seconds=lambda: now + int(sum(slept)),
                        sleep=slept.append)
        if came is not None:
            asked.append(now + int(sum(slept)))

    for now in range(0, 2 * PERIOD_S + 1, TICK_S):  # noqa: B007  `look` reads it
        look()
    assert 0 < asked[0] <= NARROW_S  # it has just booted
    assert len(asked) in (2, 3)
    assert asked[-1] - asked[-2] <= PERIOD_S


@pytest.mark.parametrize("served", [True, False], ids=["", "the store is down then"])
def test_update_that_waits_is_begun_in_the_next_window(scene: Scene, monkeypatch: pytest.MonkeyPatch, served: bool
                                                       ) -> None:
    """Checks come every six hours, at the same four times of each day: most devices would never see their window."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    assert main(["windows", "02:00-02:30"], machine=scene.rig.machine) == 0
    scene.publish("debian-13_2")
    asked: list[tuple[datetime, Came | None]] = []
    for now in range(0, 36 * 3600, TICK_S):
        clock = scene.rig.clock + timedelta(seconds=now)
        if not served and clock.hour == 2:
            shutil.rmtree(scene.world.served, ignore_errors=True)
        with suppress(HostError):
            asked.append((clock, None))
            came = when_due(scene.rig.machine, Options(unattended=True), scene.rig.said.append, sleep=lambda _: None,
                            seconds=lambda: now, clock=lambda: clock)  # noqa: B023  called within the round
            asked.pop()
            if came is not None:
                asked.append((clock, came.came))
                if came.came is Came.INSTALLED:
                    break
        if not served and clock.hour == 3:
            scene.serve()
    opened = scene.rig.clock.replace(hour=2)
    before = [came for clock, came in asked if clock < opened]
    within = [came for clock, came in asked if opened <= clock < opened + timedelta(minutes=30)]
    assert (before, within) == ([Came.WAITING] * len(before), [Came.INSTALLED if served else None])
    assert 1 <= len(before) <= 2
    assert served or len(asked) < 20, "a store that is down is asked no more often than ever"


def test_boots_without_an_answer_are_counted_and_forgotten_with_one(scene: Scene) -> None:
    lost = []
    for _ in range(3):
        lost.append(load_rhythm(scene.rig.machine).checks.lost_boots)
    assert lost == [0, 1, 2]  # nothing was kept of this boot, as after each of three boots


# ---- a store that moves, and its mirrors

def described(scene: Scene, url: str, *, revision: int, brand: Brand | None = None, store: str = STORE,
              mirrors: tuple[str, ...] = ()) -> Assertion:
    signer = brand or scene.world.maker.workshop.brand
    more: dict[str, Header] = {"mirrors": mirrors} if mirrors else {}
    return signer.sign({"type": "store", "authority-id": signer.name, "revision": str(revision), "store": store,
                        "operator-id": signer.name, "url": url, "timestamp": "2026-01-01T00:00:00Z", **more},
                       body=scene.world.store.first_root)


def put_address(scene: Scene, *assertions: Assertion) -> None:
    """As whoever has the store's own keys can, whatever the program would say to it."""
    with scene.store.open() as store:
        draft = store.draft()
        store.put(draft.targets(), store_path(STORE), encode_stream(assertions))
        store.commit(draft)
    scene.serve()


@contextmanager
def elsewhere(scene: Scene, tmp_path: Path) -> Iterator[str]:
    """Another server, of the same files."""
    with nginx(scene.world.program, scene.world.served, tmp_path / "elsewhere") as url:
        yield url + "/"


def asked(rig: Rig) -> list[str]:
    found = [text.removeprefix("update: asking the store at ") for text in rig.said if "asking the store" in text]
    rig.said.clear()
    return found


def test_store_that_moves_is_asked_where_it_is_from_then_on(scene: Scene, tmp_path: Path) -> None:
    with elsewhere(scene, tmp_path) as url:
        brand = scene.world.maker.workshop.brand
        assertion = described(scene, url, revision=1)
        with scene.store.open() as store:
            publish_address(store, brand.database().verify(assertion, now=NOW), tmp_path / "acme.store")
        scene.serve()
        scene.rig.refresh()
        assert f"update: the store says that it is at {url} from now on" in scene.rig.said
        assert asked(scene.rig) == [scene.world.url]
        scene.publish("debian-13_2")
        assert scene.rig.refresh().came is Came.INSTALLED
        assert asked(scene.rig) == [url]
        scene.rig.up()
        assert scene.runs == ("b", 2, 1)
        with scene.store.open() as store, pytest.raises(PlanError, match="revision 1 is published"):
            publish_address(store, brand.database().verify(assertion, now=NOW), tmp_path / "acme.store")
    assert scene.rig.refresh().answers.url == scene.world.url, "where nobody answers, the one before is asked"
    assert asked(scene.rig) == [url, scene.world.url]


def test_stick_tells_where_the_store_is(scene: Scene, tmp_path: Path) -> None:
    with elsewhere(scene, tmp_path) as url:
        stick = scene.world.maker.stick(tmp_path / "stick", scene.world.maker.workshop.packages / "debian-13_2.snap",
                                        more=(described(scene, url, revision=1),))
        scene.rig.install(stick)
        scene.rig.up()
        scene.rig.refresh()
        assert asked(scene.rig) == [url]


FALSE = {"stranger": lambda scene, url: described(scene, url, revision=1, brand=Brand("stranger")),
         "earlier": lambda scene, url: described(scene, url, revision=0),
         "another store": lambda scene, url: described(scene, url, revision=1, store="other-store")}


@pytest.mark.parametrize("trick", FALSE)
def test_address_that_is_not_the_brands_later_word_is_not_taken(scene: Scene, tmp_path: Path, trick: str) -> None:
    with elsewhere(scene, tmp_path) as url:
        put_address(scene, FALSE[trick](scene, url))
        scene.rig.refresh()
        scene.rig.refresh()
        assert asked(scene.rig) == [scene.world.url] * 2
    scene.publish("debian-13_2")
    scene.still_updates()


def test_strangers_address_is_taken_without_the_proof(scene: Scene, tmp_path: Path,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    true = Database.believed

    def unproved(self: Database, kind: str, *key: str, now: datetime) -> Chain | None:
        if kind != "store":
            return true(self, kind, *key, now=now)
        return Chain(links=(Link(assertion=self._stored[kind, key][0], signer=None),), evidence=())

    with elsewhere(scene, tmp_path) as url:
        put_address(scene, FALSE["stranger"](scene, url))
        monkeypatch.setattr(Database, "believed", unproved)
        scene.rig.refresh()
        scene.rig.refresh()
        assert asked(scene.rig) == [scene.world.url, url]


def test_redirect_is_followed_and_not_remembered(scene: Scene, tmp_path: Path) -> None:
    """It says where these bytes are, now; nobody signed it."""
    onward = f"rewrite ^/(.*)$ {scene.world.url}$1 redirect;"
    with nginx(scene.world.program, scene.world.served, tmp_path / "elsewhere", more=onward) as url:
        put_address(scene, described(scene, url, revision=1))
        for _ in range(3):
            scene.rig.refresh()
        assert asked(scene.rig) == [scene.world.url, url, url]
        assert '"GET /metadata/timestamp.json HTTP/1.1" 302' in (tmp_path / "elsewhere/access.log").read_text()


def corrupt(root: Path, scene: Scene) -> None:
    shutil.copytree(scene.world.served, root)
    for path in [*root.glob("targets/packages/*/*"), *root.glob("targets/deltas/*/*")]:
        path.write_bytes(bytes(path.stat().st_size))


def true(root: Path, scene: Scene) -> None:
    shutil.copytree(scene.world.served, root)


TARGETS_ALONE = {  # what is wrong is seen when the first of them is fetched
    "corrupt": (corrupt, ""),
    "true, and sends on to a name with an empty label": (true, "location /targets/ { return 302 http://a..b/x; }"),
    "true, and sends on to a name that is too long": (
        true, f"location /targets/ {{ return 302 http://{'a' * 64}.example/x; }}"),
    "true, and sends on to half an address": (true, "location /targets/ { return 302 'http://[::1/x'; }"),
}
BAD: dict[str, tuple[Callable[[Path, Scene], object], str]] = {
    "not found": (lambda root, scene: root.mkdir(), ""),
    "out of order": (lambda root, scene: root.mkdir(), "return 503;"),
    "stale": (lambda root, scene: shutil.copytree(scene.world.store.public, root), ""),
    **TARGETS_ALONE,
    "without what publishers sign": (lambda root, scene: shutil.copytree(
        scene.world.served, root, ignore=shutil.ignore_patterns("*.publisher-*")), ""),
}


@pytest.mark.parametrize("others", [True, False], ids=["with a mirror", "without"])
@pytest.mark.parametrize("kind", BAD)
def test_good_mirror_wins_over_a_bad_one(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str,
                                         others: bool) -> None:
    """Without another address, the twin, the device gets nothing."""
    port, mirror = free_port(), scene.world.url.rstrip("/")
    bad = f"http://127.0.0.1:{port}/"
    put_address(scene, described(scene, bad, revision=1, mirrors=(mirror,)))
    scene.rig.refresh()
    scene.publish("debian-13_2")
    asked(scene.rig)
    prepare, more = BAD[kind]
    prepare(tmp_path / "bad", scene)
    if not others:
        monkeypatch.setattr("imagekit.device.asking.find_stores",
                            lambda *args: (replace(find_stores(*args)[0], mirrors=()),))
    with nginx(scene.world.program, tmp_path / "bad", tmp_path / "elsewhere", more=more, port=port):
        if not others:
            with pytest.raises((HostError, TrustError)):
                scene.rig.refresh()
            return
        assert scene.rig.refresh().came is Came.INSTALLED
    assert any("trying another address" in text for text in scene.rig.said)
    assert asked(scene.rig) == ([bad] if kind in TARGETS_ALONE else [bad, mirror])
    scene.rig.up()
    assert scene.runs == ("b", 2, 1)


def unforeseen(*args: object, **more: object) -> NoReturn:
    raise LookupError("nobody thought of it")


MISTAKE = "a mistake in imagekit itself: LookupError('nobody thought of it')"


def test_mistake_of_ours_in_the_answer_of_one_address_leaves_the_other(scene: Scene,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    bad, mirror = "http://127.0.0.1:9/", scene.world.url.rstrip("/")
    put_address(scene, described(scene, bad, revision=1, mirrors=(mirror,)))
    scene.rig.refresh()
    scene.publish("debian-13_2")
    scene.rig.said.clear()
    monkeypatch.setattr("imagekit.device.addresses.open_client", lambda url, *args, **more: (
        unforeseen if url == bad else open_client)(url, *args, **more))
    assert scene.rig.refresh().came is Came.INSTALLED
    assert f"update: {MISTAKE}: trying another address of it" in scene.rig.said


@pytest.mark.parametrize(("where", "unanswered"), [("addresses.open_client", 1), ("refresh._find", 0)])
def test_mistake_of_ours_is_what_the_check_came_to(scene: Scene, monkeypatch: pytest.MonkeyPatch, where: str,
                                                   unanswered: int) -> None:
    scene.publish("debian-13_2")
    with monkeypatch.context() as patch:
        patch.setattr(f"imagekit.device.{where}", unforeseen)
        with pytest.raises(LookupError):
            scene.rig.refresh()
    memory = history.load_history(scene.rig.machine)
    assert (memory.check, memory.unanswered) == (MISTAKE, unanswered)
    scene.still_updates()


# ---- a newer model

BY_HAND: dict[str, Header] = {"x-imagekit": {"updates": {"automatic": "false"}}}


def revised(revision: int, *, brand: Brand | None = None, **headers: Header) -> Assertion:
    """The devices' model as its brand signs it now; a brand that remembers no other revision of it."""
    return (brand or Brand("acme")).model(revision=str(revision), store=STORE, **headers)


def publish_newer(scene: Scene, revision: int, **headers: Header) -> None:
    brand = Brand("acme")
    chain = brand.database().verify(revised(revision, brand=brand, **headers), now=NOW)
    with scene.store.open() as store:
        publish_model(store, chain, Path("pc.model"))
    scene.serve()


def put_model(scene: Scene, *assertions: Assertion) -> None:
    """As whoever has the store's own keys can, whatever the program would say to it."""
    with scene.store.open() as store:
        draft = store.draft()
        store.put(draft.targets(), model_path("acme", "pc"), encode_stream(assertions))
        store.commit(draft)
    scene.serve()


def counts(scene: Scene) -> int:
    return own_anchors(scene.rig.machine).model.revision


def test_newer_model_of_the_store_counts_in_the_same_check(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    scene.publish("debian-13_2")
    publish_newer(scene, 1, **BY_HAND)
    assert scene.rig.refresh(check=True, unattended=False).answers.model.text
    assert counts(scene) == 0
    came = scene.rig.refresh()
    assert (came.came, came.start) == (Came.WAITING, "opted-out"), "by the policy of the new one"
    assert "update: model revision 1 takes the place of 0 (x-imagekit)" in scene.rig.said
    assert not scene.rig.rebooted
    scene.rig.up()
    assert counts(scene) == 1
    capsys.readouterr()
    assert main(["refresh", "--check", "--json"], machine=scene.rig.machine) == 0
    assert json.loads(capsys.readouterr().out)["model"] is None
    publish_newer(scene, 2)
    assert main(["refresh", "--json"], machine=scene.rig.machine) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["outcome"], found["model"]) == (
        "installed", {"revision": 2, "before": 1, "changed": ["x-imagekit"]})
    scene.rig.up()
    assert (counts(scene), scene.runs) == (2, ("b", 2, 1))


def test_newer_model_brings_its_channel_and_its_validation_set(scene: Scene) -> None:
    brand = Brand("acme")
    snaps = tuple(brand.snap(name, kind, **{"default-channel": "latest/edge"}) for name, kind in (
        ("pc", "gadget"), ("pc-kernel", "kernel"), ("debian-13", "base")))
    scene.publish("debian-13_2", channel="edge")
    scene.publish("debian-13_3", channel="edge")
    pin: dict[str, Header] = {"name": "debian-13", "id": brand.snap("debian-13", "base")["id"],
                              "presence": "required", "revision": "2"}
    tested = brand.sign({
        "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
        "sequence": "1", "snaps": (pin,), "timestamp": "2026-01-01T00:00:00Z"})
    newer: dict[str, Header] = {"snaps": snaps, "validation-sets": (
        {"account-id": "acme", "name": "tested", "sequence": "1", "mode": "enforce"},)}
    publish_newer(scene, 1, **newer)
    came = scene.rig.refresh()
    assert (came.came, counts(scene)) == (Came.CURRENT, 0), "its validation set is not there yet"
    assert "acme/tested=1, which is not at hand" in came.notes[0]
    with scene.store.open() as store:
        publish_set(store, brand.database().verify(tested, now=NOW), Path("tested.validation-set"))
    scene.serve()
    assert scene.rig.refresh().came is Came.INSTALLED
    scene.rig.up()
    assert (counts(scene), scene.runs) == (1, ("b", 2, 1))


@pytest.mark.parametrize(("pinned", "note"), [
    (1, "debian-13 1 is revoked, and a validation set pins it"),
    (2, "debian-13 2 is pinned by a validation set and may not be installed: debian-13 1 stays")])
def test_revoked_revision_that_a_validation_set_pins_is_told(scene: Scene, pinned: int, note: str) -> None:
    brand = Brand("acme")
    scene.publish("debian-13_2", channel="edge")
    pin: dict[str, Header] = {"name": "debian-13", "id": brand.snap("debian-13", "base")["id"],
                              "presence": "required", "revision": str(pinned)}
    tested = brand.sign({
        "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
        "sequence": "1", "snaps": (pin,), "timestamp": "2026-01-01T00:00:00Z"})
    publish_newer(scene, 1, **{"validation-sets": (
        {"account-id": "acme", "name": "tested", "sequence": "1", "mode": "enforce"},)})
    with scene.store.open() as store:
        publish_set(store, brand.database().verify(tested, now=NOW), Path("tested.validation-set"))
        change(store, "debian-13", lambda found: revoked(found, pinned, reason="no network", now=scene.store.now))
    scene.serve()
    came = scene.rig.refresh()
    assert (came.came, counts(scene)) == (Came.CURRENT, 1)
    assert note in came.notes


def test_validation_sets_that_come_into_conflict_are_remembered_and_an_alarm_in_the_end(scene: Scene) -> None:
    brand = Brand("acme")
    scene.publish("debian-13_2", channel="edge")

    def put_set(name: str, sequence: int, revision: int) -> None:
        pin: dict[str, Header] = {"name": "debian-13", "id": brand.snap("debian-13", "base")["id"],
                                  "presence": "required", "revision": str(revision)}
        signed = brand.sign({
            "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": name,
            "sequence": str(sequence), "snaps": (pin,), "timestamp": "2026-01-01T00:00:00Z"})
        with scene.store.open() as store:
            publish_set(store, brand.database().verify(signed, now=NOW), Path("a.validation-set"))
        scene.serve()

    for name in ("one", "other"):
        put_set(name, 1, 1)
    publish_newer(scene, 1, **{"validation-sets": tuple(
        {"account-id": "acme", "name": name, "mode": "enforce"} for name in ("one", "other"))})
    assert (scene.rig.refresh().came, counts(scene)) == (Came.CURRENT, 1)
    put_set("one", 2, 2)
    for number in range(1, 3):
        with pytest.raises(PlanError, match="in conflict"):
            scene.rig.refresh()
        memory = history.load_history(scene.rig.machine)
        assert ("in conflict" in memory.check, memory.unanswered) == (True, number)


@pytest.mark.parametrize("words", [("hold", "3"), ("automatic", "off")], ids=["held", "opted out"])
def test_newer_model_waits_for_its_owner(scene: Scene, words: tuple[str, ...]) -> None:
    assert main(words, machine=scene.rig.machine) == 0
    scene.rig.clock = datetime.now(NOW.tzinfo)
    publish_newer(scene, 1)
    assert scene.rig.refresh().notes[0].startswith("revision 1 of the model waits: updates are ")
    assert counts(scene) == 0
    scene.rig.refresh(unattended=False)
    assert counts(scene) == 1


def test_model_that_was_lost_comes_back_whoever_holds_updates(scene: Scene) -> None:
    publish_newer(scene, 1)
    scene.rig.refresh()
    (history.folder_of(scene.rig.machine) / history.MODEL).unlink()
    assert main(["automatic", "off"], machine=scene.rig.machine) == 0
    scene.rig.refresh()
    assert counts(scene) == 1


def test_floor_that_was_forgotten_is_remembered_by_the_next_check(scene: Scene) -> None:
    publish_newer(scene, 1)
    scene.rig.refresh()
    memory = history.load_history(scene.rig.machine)
    assert memory.model is not None
    history.save_history(scene.rig.machine, replace(memory, model=None))
    scene.rig.refresh()
    assert history.load_history(scene.rig.machine).model == memory.model


@pytest.mark.parametrize("check", [False, True], ids=["taken", "checked"])
def test_newer_model_waits_for_its_owner_where_the_floor_was_forgotten(scene: Scene, check: bool) -> None:
    """As after a boot of an older base, which drops the floor from the memory when it writes that."""
    publish_newer(scene, 1, **BY_HAND)
    scene.rig.refresh()
    history.save_history(scene.rig.machine, replace(history.load_history(scene.rig.machine), model=None))
    scene.publish("debian-13_2")
    publish_newer(scene, 2)
    assert scene.rig.refresh(check=check).start == "opted-out"
    assert counts(scene) == 1
    assert (history.load_history(scene.rig.machine).model is None) is check
    assert scene.rig.refresh(unattended=False).came is Came.INSTALLED
    assert counts(scene) == 2


def test_refused_model_keeps_no_update_away_and_is_told_once(scene: Scene) -> None:
    put_model(scene, revised(1, architecture="arm64"))
    for _ in range(2):
        came = scene.rig.refresh()
        assert (came.came, came.notes[0].partition(": ")[2]) == (
            Came.CURRENT, "architecture: it changes from amd64 to arm64")
    assert [item.outcome for item in history.load_history(scene.rig.machine).changes] == ["refused"]
    scene.publish("debian-13_2")
    scene.still_updates()
    assert counts(scene) == 0


def test_older_model_replayed_by_the_store_is_left(scene: Scene) -> None:
    publish_newer(scene, 3, **BY_HAND)
    scene.rig.refresh()
    put_model(scene, revised(2))
    came = scene.rig.refresh()
    assert came.notes[0] == "revision 2 of the model is left out: this device goes by revision 3"
    assert counts(scene) == 3


def test_model_by_a_stranger_in_the_store_ends_the_check(scene: Scene) -> None:
    scene.publish("debian-13_2")
    put_model(scene, revised(1, brand=Brand("acme", key="stranger")))
    with pytest.raises(TrustError, match="cannot verify"):
        scene.rig.refresh()
    assert (counts(scene), scene.rig.rebooted) == (0, False)
    put_model(scene, revised(1))
    scene.still_updates()
    assert counts(scene) == 1


@pytest.mark.parametrize(("headers", "match"), [({}, "is not what was signed"), (BY_HAND, "goes on behind the")],
                         ids=["of its length", "longer"])
def test_true_model_that_tuf_did_not_sign_is_not_taken(scene: Scene, headers: dict[str, Header], match: str) -> None:
    publish_newer(scene, 1)
    path = scene.file("models/acme/*.pc.assert")
    raw = path.read_bytes()
    path.write_bytes(raw.replace(revised(1).encode(), revised(2, **headers).encode()))
    assert path.read_bytes() != raw
    with pytest.raises((TrustError, HostError), match=match):
        scene.rig.refresh()
    assert counts(scene) == 0
    scene.serve()
    scene.rig.refresh()
    assert counts(scene) == 1


def test_model_of_a_stick_that_came_meanwhile_is_not_gone_back_from(scene: Scene, tmp_path: Path) -> None:
    publish_newer(scene, 1)
    stick = tmp_path / "pc.model"
    stick.write_bytes(encode_stream((revised(2),)))

    refresh(scene.rig.machine, Options(unattended=True), scene.rig.said.append, clock=lambda: scene.rig.clock,
            answered=lambda: scene.rig.install(stick))
    assert counts(scene) == 2
