"""Attacks on what is installed, each with a twin: the same attack, its defence removed, succeeds.

A device made of files (tests/tools/update_rig.py) is offered a folder. The attack is refused, and the disk is as it
was; then the device still boots what it ran, and a true update still arrives. What dm-verity would stop at the boot is
said by the oracle: the twin of an attack that only dm-verity stands behind ends in `Unverified`.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import pkgutil
import random
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit import device
from imagekit.assertions import Assertion, encode_stream, snap_id
from imagekit.assertions.signing import sign_account_key
from imagekit.device import install_steps
from imagekit.device.cli import main
from imagekit.device.install import what_runs
from imagekit.device.machine import Machine
from imagekit.device.medium import DiskMedium
from imagekit.device.offers import FolderShelf, Offer
from imagekit.disk.verity import HashTree, TreeBuilder, tree_size, verify
from imagekit.errors import ExitCode, ImagekitError, PlanError, TargetError, TrustError
from imagekit.packages.erofs import Erofs
from imagekit.testing.documents import SINCE, signing_key
from imagekit.units import BLOCK
from tests.attacks.whatever import Whatever
from tests.tools.test_update_attacks import flip, forged
from tests.tools.update_oracle import DiskState, Unverified, boot_until_healthy
from tests.tools.update_rig import LOADERS, SYSTEMD_BOOT, Maker, Rig, make, root_of

pytestmark = pytest.mark.tools
PACKAGE, PROOF, KERNEL = "debian-13_2.snap", "debian-13_2.assert", "pc-kernel_2.snap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shop:
    """Two brands of makers: one whose model names a validation set, one whose model names none."""

    free: Maker
    pinned: Maker


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    free, pinned = (make(tmp_path_factory.mktemp(name), SYSTEMD_BOOT) for name in ("free", "pinned"))
    free.build()
    pinned.base(2)
    (pinned.workshop.packages / "tested.validation-set").write_bytes(pair_set(pinned, base=2, kernel=1).encode())
    pinned.build(validation_sets=({"account-id": "acme", "name": "tested", "mode": "enforce"},))
    free.base(2)
    for maker in (free, pinned):
        maker.kernel(2)
    return Shop(free=free, pinned=pinned)


def pair_set(maker: Maker, *, base: int, kernel: int, sequence: int = 1) -> Assertion:
    snaps = tuple({"name": name, "id": snap_id("acme", name), "presence": "required", "revision": str(number)}
                  for name, number in (("debian-13", base), ("pc-kernel", kernel)))
    return maker.workshop.brand.sign({
        "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
        "sequence": str(sequence), "timestamp": "2026-01-01T00:00:00Z", "snaps": snaps})


# ---- what is removed

def reading(patch: pytest.MonkeyPatch) -> None:
    """All that looks at the bytes of a package: before writing, while writing, and when they are read back."""
    patch.setattr("imagekit.device.offer_checks.check_bytes", lambda offer, part: None)
    writing(patch)


def writing(patch: pytest.MonkeyPatch) -> None:
    """What looks at the bytes while they are written, and when they are read back."""
    class Blind(TreeBuilder):
        def finish(self) -> HashTree:
            made = super().finish()
            return replace(made, root_hash=Whatever(made.root_hash))

    patch.setattr(install_steps, "TreeBuilder", Blind)
    patch.setattr(install_steps, "verify", lambda stream, size, root_hash: None)


def identity(patch: pytest.MonkeyPatch) -> None:
    """The check that a package is of this name, type and architecture."""
    patch.setattr("imagekit.device.offer_checks.check_identity", lambda resolved, info, model: None)


def older(patch: pytest.MonkeyPatch) -> None:
    """The check that nothing older than what runs is installed."""
    patch.setattr("imagekit.plan.update._refuse_older", lambda package, held, past: None)


def floor_of_time(patch: pytest.MonkeyPatch) -> None:
    """That what is signed proves its time to be past, whatever the clock says."""
    patch.setattr("imagekit.device.install.what_runs", lambda anchors, report, memory, *, now: (
        what_runs(anchors, report, memory, now=now)[0], now))


def keys_kept(patch: pytest.MonkeyPatch) -> None:
    """The memory of keys that were ended."""
    patch.setattr("imagekit.device.install.kept_keys", lambda machine: ())


def all_or_nothing(patch: pytest.MonkeyPatch) -> None:
    """Reading every package to its end before the first byte is written."""
    patch.setattr("imagekit.device.install.check_offers", lambda *args: None)


def links(patch: pytest.MonkeyPatch) -> None:
    """Leaving links alone."""
    patch.setattr(FolderShelf, "names", lambda self: tuple(sorted(path.name for path in self.folder.iterdir())))
    patch.setattr(FolderShelf, "size", lambda self, name: (self.folder / name).stat().st_size)
    patch.setattr(FolderShelf, "open", lambda self, name: (self.folder / name).open("rb"))


def room(patch: pytest.MonkeyPatch) -> None:
    """Looking for room on the ESP before anything is written."""
    patch.setattr("imagekit.device.offer_checks._check_room", lambda machine, plan, image: None)


# ---- the attacks

@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A device and what it is offered."""

    rig: Rig
    maker: Maker
    folder: Path
    patch: pytest.MonkeyPatch
    before: DiskState

    def runs(self, package: str) -> bool:
        name = package.partition("_")[0]
        part = "kernel" if name == "pc-kernel" else "base"
        return self.rig.roots[part] == root_of(self.maker, self.maker.workshop.packages / package)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """`do` changes the folder or the device. `won` looks at the device behind the attack and a boot."""

    do: Callable[[Scene], object]
    removed: Callable[[pytest.MonkeyPatch], None]
    won: Callable[[Scene], bool]
    error: type[ImagekitError] | None  # None: nothing newer is seen in it
    match: str = ""
    untouched: bool = True
    pinned: bool = False
    packages: tuple[str, ...] = (PACKAGE,)


def change(scene: Scene) -> None:
    flip(scene.folder / PACKAGE, 600_000)


def other_bytes(scene: Scene) -> None:
    shutil.copyfile(scene.maker.workshop.packages / KERNEL, scene.folder / PACKAGE)


def foreign_architecture(scene: Scene) -> None:
    other = make(scene.rig.folder.parent / "other", SYSTEMD_BOOT)
    shutil.rmtree(scene.folder)
    other.stick(scene.folder, other.base(2, architecture="arm64"))


def old_pinned(scene: Scene) -> None:
    (scene.folder / "more.assert").write_bytes(encode_stream([pair_set(scene.maker, base=1, kernel=1, sequence=2)]))


def ended_key(scene: Scene) -> None:
    """The end of a key was seen; then a package comes, signed with that key, and without the end."""
    brand, second = scene.maker.workshop.brand, signing_key("store")

    def account_key(revision: int, until: datetime | None) -> Assertion:
        return sign_account_key(second.public, account_id="acme", authority_id="acme", name="second", since=SINCE,
                                until=until, revision=revision, key=brand.key)

    ends = scene.rig.folder.parent / "ends"
    ends.mkdir()
    (ends / "key.account-key").write_bytes(account_key(1, datetime(2026, 2, 1, tzinfo=UTC)).encode())
    assert scene.rig.install(ends).plan is None
    (scene.folder / PROOF).write_bytes(encode_stream([
        forged(scene.folder / PACKAGE, key="store"), account_key(0, None), brand.declaration("debian-13")]))


def half_bundle(scene: Scene) -> None:
    """The kernel is whole; of the base the end is missing, and the file has its size all the same."""
    path = scene.folder / PACKAGE
    path.write_bytes(path.read_bytes()[:-8192] + bytes(8192))


def linked(scene: Scene) -> None:
    target = scene.folder.with_name("elsewhere")
    shutil.move(scene.folder, target)
    scene.folder.mkdir()
    for path in target.iterdir():
        (scene.folder / path.name).symlink_to(path)


def second_look(scene: Scene) -> None:
    """A stick that gives the true bytes while they are checked, and others while they are written."""
    checked, calls = Offer.open, []

    def open_changed(self: Offer, *, most: int):  # type: ignore[no-untyped-def]
        calls.append(self.file)
        if len(calls) == 3:
            flip(scene.folder / self.file, 700_000)
        return checked(self, most=most)

    scene.patch.setattr(Offer, "open", open_changed)


def full_esp(scene: Scene) -> None:
    found = os.statvfs("/")
    full = os.statvfs_result((found.f_bsize, 4096, found.f_blocks, 10, 10, *tuple(found)[5:10]))
    def create(self: DiskMedium, path: str, content: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    scene.patch.setattr("imagekit.device.offer_checks.os.statvfs", lambda path: full)
    scene.patch.setattr(DiskMedium, "create", create)


def unsigned_runs(scene: Scene) -> bool:
    """Bytes that nobody signed are in a slot that the loader was told to start: dm-verity alone is left."""
    with pytest.raises(Unverified):
        scene.rig.up()
    return True


def runs(package: str) -> Callable[[Scene], bool]:
    return lambda scene: (scene.rig.up(), scene.runs(package))[1]


def touched(scene: Scene) -> bool:
    """The idle slot is spoilt, and with it the way back, for an update that cannot be completed."""
    return scene.rig.disk_state() != scene.before


def free(patch: pytest.MonkeyPatch) -> None:
    """The validation set: the twin's model names none."""


ATTACKS = {
    "payload-with-one-byte-changed": Attack(
        do=change, removed=reading, won=unsigned_runs, error=TrustError, match=r"its SHA3-384 is .* signed as"),
    "other-bytes-on-a-second-read": Attack(
        do=second_look, removed=writing, won=unsigned_runs, error=TrustError, untouched=False,
        match="what was written has the verity root"),
    "older-revision-in-the-name-of-a-validation-set": Attack(
        do=old_pinned, removed=older, won=runs("debian-13_1.snap"), error=TargetError, pinned=True,
        match="cannot install debian-13 1: revision 2 runs", packages=("debian-13_1.snap",)),
    "kernel-that-was-not-tested-with-the-base": Attack(
        do=lambda scene: None, removed=free, won=runs(KERNEL), error=None, pinned=True,
        packages=(KERNEL,)),
    "package-for-another-architecture": Attack(
        do=foreign_architecture, removed=identity, won=lambda scene: (scene.rig.up(), not scene.runs(
            "debian-13_1.snap"))[1], error=PlanError, match="it is for arm64"),
    "key-that-was-ended": Attack(
        do=ended_key, removed=keys_kept, won=runs(PACKAGE), error=ImagekitError,
        match="cannot (verify|believe|use) "),
    "half-of-a-bundle": Attack(
        do=half_bundle, removed=all_or_nothing, won=touched, error=TrustError,
        match=r"its SHA3-384 is .* signed as", packages=(PACKAGE, KERNEL)),
    "link-in-the-place-of-a-package": Attack(
        do=linked, removed=links, won=runs(PACKAGE), error=None),
    "full-esp": Attack(
        do=full_esp, removed=room, won=touched, error=TargetError, match="the ESP has room for",
        packages=(KERNEL,)),
}

def scene_of(shop: Shop, attack: Attack, folder: Path, patch: pytest.MonkeyPatch, *, pinned: bool) -> Scene:
    maker = shop.pinned if pinned else shop.free
    rig = Rig(folder / "device", maker.image, SYSTEMD_BOOT)
    offer = maker.stick(folder / "offer", *(maker.workshop.packages / item for item in attack.packages))
    return Scene(rig=rig, maker=maker, folder=offer, patch=patch, before=rig.disk_state())


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_is_refused(shop: Shop, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    attack = ATTACKS[name]
    with monkeypatch.context() as patch:
        scene = scene_of(shop, attack, tmp_path, patch, pinned=attack.pinned)
        rig, ran = scene.rig, scene.rig.runs
        attack.do(scene)
        if attack.error is None:
            assert rig.install(scene.folder).plan is None
        else:
            with pytest.raises(attack.error, match=attack.match):
                rig.install(scene.folder)
        assert not attack.untouched or rig.disk_state() == scene.before
    assert not rig.rebooted
    rig.up()
    assert rig.runs == ran
    true = (scene.maker.stick(tmp_path / "true", scene.maker.workshop.packages / KERNEL, more=(
        pair_set(scene.maker, base=2, kernel=2, sequence=3),)) if attack.pinned else
        scene.maker.stick(tmp_path / "true", scene.maker.workshop.packages / PACKAGE))
    assert rig.install(true).installed
    rig.up()
    assert scene.runs(KERNEL if attack.pinned else PACKAGE)


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_succeeds_without_its_defence(shop: Shop, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
                                             ) -> None:
    attack = ATTACKS[name]
    scene = scene_of(shop, attack, tmp_path, monkeypatch, pinned=attack.pinned and attack.removed is not free)
    attack.do(scene)
    attack.removed(monkeypatch)
    if attack.won is touched:
        with pytest.raises((ImagekitError, OSError)):
            scene.rig.install(scene.folder)
    else:
        assert scene.rig.install(scene.folder).installed
    assert attack.won(scene)


def test_true_update_arrives_with_a_clock_that_stands_in_the_past(shop: Shop, tmp_path: Path) -> None:
    """The attacker wins where a device locks itself out."""
    scene = scene_of(shop, ATTACKS["link-in-the-place-of-a-package"], tmp_path, pytest.MonkeyPatch(), pinned=False)
    scene.rig.clock = datetime(1970, 1, 1, tzinfo=UTC)
    assert scene.rig.install(scene.folder).installed


def test_true_update_is_refused_by_a_clock_in_the_past_without_its_floor(shop: Shop, tmp_path: Path,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    scene = scene_of(shop, ATTACKS["link-in-the-place-of-a-package"], tmp_path, monkeypatch, pinned=False)
    scene.rig.clock = datetime(1970, 1, 1, tzinfo=UTC)
    floor_of_time(monkeypatch)
    with pytest.raises(ImagekitError):
        scene.rig.install(scene.folder)


def test_whoever_has_the_brands_key_needs_no_trick(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of all attacks with a stranger's key: what they lack is the key, and nothing else."""
    scene = scene_of(shop, ATTACKS["payload-with-one-byte-changed"], tmp_path, monkeypatch, pinned=False)
    change(scene)
    brand = scene.maker.workshop.brand
    signed = forged(scene.folder / PACKAGE, key="brand")
    (scene.folder / PROOF).write_bytes(encode_stream([signed, brand.declaration("debian-13"), *brand.roots]))
    assert scene.rig.install(scene.folder).installed
    scene.rig.up()
    assert scene.rig.roots["base"] == signed.text("verity-root")


# ---- what lies on the disk

def test_any_flipped_bit_of_a_slot_is_found(shop: Shop, tmp_path: Path) -> None:
    """A thousand bits, drawn: of the package and of its hash tree."""
    rig = Rig(tmp_path / "device", shop.free.image, SYSTEMD_BOOT)
    raw = bytearray(rig.device("base-a").read_bytes())
    size = Erofs(io.BytesIO(raw)).size
    draw, root = random.Random(23), rig.roots["base"]
    verify(io.BytesIO(raw), size=size, root_hash=root)
    for _ in range(1000):
        inside = draw.randrange(size), size + BLOCK + draw.randrange(tree_size(size) - BLOCK)
        at, bit = draw.choice(inside), 1 << draw.randrange(8)
        raw[at] ^= bit
        with pytest.raises(TrustError):
            verify(io.BytesIO(raw), size=size, root_hash=root)
        raw[at] ^= bit


def test_flipped_bit_of_a_slot_is_read_as_if_nothing_were_without_its_tree(shop: Shop, tmp_path: Path) -> None:
    rig = Rig(tmp_path / "device", shop.free.image, SYSTEMD_BOOT)
    raw = bytearray(rig.device("base-a").read_bytes())
    before = Erofs(io.BytesIO(raw)).read("usr/bin/init")
    raw[raw.find(before[100_000:100_064])] ^= 1
    assert Erofs(io.BytesIO(raw)).read("usr/bin/init") != before


@pytest.mark.parametrize("loader", LOADERS)
def test_record_of_random_bytes_boots_a_whole_slot_all_the_same(loader: str, shop: Shop, tmp_path: Path) -> None:
    """Two hundred states of the partition that says which slot boots: noise, flipped bits, halves of two records."""
    image = shop.free.image if loader == SYSTEMD_BOOT else make(tmp_path / "maker", loader).build()
    start = Rig(tmp_path / "device", image, loader).disk_state()
    draw = random.Random(24)
    for _ in range(200):
        state = start.copy()
        raw = bytearray(state.partitions["slot-state"])
        kind = draw.randrange(3)
        if kind == 0:
            raw[:4096] = draw.randbytes(4096)
        elif kind == 1:
            for _ in range(draw.randrange(1, 40)):
                raw[draw.randrange(2048)] ^= 1 << draw.randrange(8)
        else:
            cut = draw.randrange(1, 512)
            raw[cut:512] = draw.randbytes(512 - cut)
        state.partitions["slot-state"] = bytes(raw)
        boot_until_healthy(state)


# ---- who may ask

NOBODY = 65534


def as_somebody(user: int, machine: Machine, folder: Path) -> int:
    """The exit status of an installation by a user, in a process of its own."""
    child = os.fork()
    if not child:
        code = 99
        try:
            for module in pkgutil.iter_modules(device.__path__, "imagekit.device."):
                importlib.import_module(module.name)  # now: the project may lie where nobody else may read
            os.setgroups([])
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            code = main(["install", str(folder)], machine=machine)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize(("user", "done"), [(NOBODY, False), (0, True)])
def test_user_without_rights_installs_nothing(shop: Shop, tmp_path_factory: pytest.TempPathFactory, user: int,
                                              done: bool) -> None:
    """The twin is root: the rights are the defence. The files of the device and of the offer may be read by all."""
    folder = Path(tempfile.mkdtemp(prefix="imagekit-nobody-"))
    try:
        rig = Rig(folder / "device", shop.free.image, SYSTEMD_BOOT)
        offer = shop.free.stick(folder / "offer", shop.free.workshop.packages / PACKAGE)
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
        before = rig.disk_state()
        code = as_somebody(user, rig.machine, offer)
        assert (code == 0) is done and (rig.disk_state() != before) is done
        assert done or code == ExitCode.TARGET
    finally:
        shutil.rmtree(folder)
