"""Attacks on the offline update, each named: refused, nothing that runs is touched, and a true update still arrives.

A package is what its signatures say, or it is nothing. Where an attack is refused before the first write, the whole
disk is as it was; where it is found while the idle slot is written, that slot stays closed.
"""

from __future__ import annotations

import io
import os
import resource
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from imagekit.assertions import Assertion, encode_stream, snap_id
from imagekit.assertions.signing import sign, sign_account_key, sign_revision
from imagekit.device import history
from imagekit.device.offers import ASSERTIONS_LIMIT
from imagekit.digests import sha3_384
from imagekit.disk.verity import build_tree, salt_for, uuid_for
from imagekit.errors import DocumentError, ImagekitError, PlanError, TargetError, TrustError, UsageError
from imagekit.packages.forward import Rewound, unpacked
from imagekit.testing.documents import SIGNED, SINCE, Brand, signing_key
from tests.tools.update_rig import SYSTEMD_BOOT, Maker, Rig, make, root_of

pytestmark = pytest.mark.tools


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("attacks"), SYSTEMD_BOOT)
    made.build()
    made.base(2)
    made.kernel(2)
    return made


@pytest.fixture
def rig(maker: Maker, tmp_path: Path) -> Rig:
    return Rig(tmp_path / "device", maker.image, maker.loader)


@pytest.fixture
def true_stick(maker: Maker, tmp_path: Path) -> Path:
    return maker.stick(tmp_path / "true", maker.workshop.packages / "debian-13_2.snap")


Error = type[ImagekitError]


def withstand(rig: Rig, attack: Path, true_stick: Path, maker: Maker, error: Error, match: str, *,
              untouched: bool = True) -> None:
    before, ran = rig.disk_state(), rig.runs
    with pytest.raises(error, match=match):
        rig.install(attack)
    if untouched:
        assert rig.disk_state() == before
    assert not rig.rebooted
    rig.up()
    assert rig.runs == ran
    assert rig.install(true_stick).installed
    rig.up()
    assert rig.roots["base"] == root_of(maker, maker.workshop.packages / "debian-13_2.snap")


def forged(path: Path, *, key: str, authority: str = "acme", number: int = 2, root: str | None = None,
           owner: str = "acme") -> Assertion:
    """The snap-revision of a file as somebody else would sign it."""
    raw = path.read_bytes()
    digest = sha3_384(io.BytesIO(raw))
    tree = build_tree(io.BytesIO(raw), len(raw), salt=salt_for(digest), uuid=uuid_for(digest)).root_hash
    name = path.name.partition("_")[0]
    return sign({"type": "snap-revision", "authority-id": authority, "snap-sha3-384": digest,
                 "snap-id": snap_id(owner, name), "snap-size": str(len(raw)), "snap-revision": str(number),
                 "developer-id": authority, "verity-root": root or tree, "timestamp": "2026-01-01T00:00:00Z"},
                key=signing_key(key), created=SIGNED)


@pytest.fixture
def attack(maker: Maker, tmp_path: Path) -> Callable[..., Path]:
    """A stick with the true base 2, changed by `change`."""
    def made(change: Callable[[Path], object]) -> Path:
        folder = maker.stick(tmp_path / "attack", maker.workshop.packages / "debian-13_2.snap")
        change(folder)
        return folder

    return made


Attack = Callable[[Callable[[Path], object]], Path]
PACKAGE, PROOF = "debian-13_2.snap", "debian-13_2.assert"


def flip(path: Path, offset: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[offset] ^= 1
    path.write_bytes(raw)


def append(path: Path, data: bytes) -> None:
    path.write_bytes(path.read_bytes() + data)


def test_payload_with_one_byte_changed(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    folder = attack(lambda folder: flip(folder / PACKAGE, 600_000))
    withstand(rig, folder, true_stick, maker, TrustError, "its SHA3-384 is .* signed as revision 2 is")


def test_payload_cut_short(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    folder = attack(lambda folder: (folder / PACKAGE).write_bytes((folder / PACKAGE).read_bytes()[:-4096]))
    withstand(rig, folder, true_stick, maker, TrustError, "the signed revision 2 has")


def test_payload_longer_than_signed(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    folder = attack(lambda folder: append(folder / PACKAGE, bytes(4096)))
    withstand(rig, folder, true_stick, maker, TrustError, "the signed revision 2 has")


def test_compressed_payload_that_never_ends(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    def bomb(folder: Path) -> None:
        raw = (folder / PACKAGE).read_bytes() + bytes(512 << 20)
        (folder / f"{PACKAGE}.zst").write_bytes(zstandard.ZstdCompressor(level=1).compress(raw))
        (folder / PACKAGE).unlink()

    withstand(rig, attack(bomb), true_stick, maker, TrustError, "it has more than .* bytes, the signed revision 2 has")


def test_compressed_payload_that_asks_for_all_memory(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    def greedy(folder: Path) -> None:
        parameters = zstandard.ZstdCompressionParameters(window_log=30)
        squeezed = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        raw = (folder / PACKAGE).read_bytes()
        (folder / f"{PACKAGE}.zst").write_bytes(squeezed.compress(raw) + squeezed.flush())
        (folder / PACKAGE).unlink()

    withstand(rig, attack(greedy), true_stick, maker, DocumentError, "not valid zstd")


def test_package_that_nobody_signed(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    withstand(rig, attack(lambda folder: (folder / PROOF).unlink()), true_stick, maker, TrustError,
              "newer than revision 1, the newest that is signed")


def test_signature_of_a_strangers_key(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    def resign(folder: Path) -> None:
        stranger = Brand("stranger")
        (folder / PROOF).write_bytes(encode_stream([forged(folder / PACKAGE, key="stranger"), *stranger.roots]))

    withstand(rig, attack(resign), true_stick, maker, ImagekitError, "cannot (verify|believe|use) ")


def test_package_of_another_brand(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    """Another brand, with a root of its own, signs everything for its own package of that name."""
    def other(folder: Path) -> None:
        stranger = Brand("stranger")
        signed = forged(folder / PACKAGE, key="stranger", authority="stranger", owner="stranger")
        (folder / PROOF).write_bytes(encode_stream([signed, stranger.declaration("debian-13"), *stranger.roots]))

    withstand(rig, attack(other), true_stick, maker, TrustError, "newer than revision 1")


def test_root_of_trust_brought_along_is_not_trusted(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    """A second root for the brand's own account, made by somebody else."""
    def second(folder: Path) -> None:
        mine = signing_key("stranger")
        root = sign_account_key(mine.public, account_id="acme", authority_id="acme", name="root", since=SINCE, key=mine)
        (folder / PROOF).write_bytes(encode_stream([forged(folder / PACKAGE, key="stranger"), root]))

    withstand(rig, attack(second), true_stick, maker, ImagekitError, "cannot (verify|believe|use) ")


def test_bytes_of_one_package_under_the_name_of_another(rig: Rig, attack: Attack, true_stick: Path,
                                                        maker: Maker) -> None:
    kernel = maker.workshop.packages / "pc-kernel_2.snap"
    withstand(rig, attack(lambda folder: shutil.copyfile(kernel, folder / PACKAGE)), true_stick, maker, TrustError,
              "the signed revision 2 has|its SHA3-384 is")


def test_revision_given_twice(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    """The brand's key signs other bytes under a number that it has given before."""
    def twin(folder: Path) -> None:
        other = maker.workshop.packages / "pc-kernel_2.snap"
        renamed = folder.parent / PACKAGE
        shutil.copyfile(other, renamed)
        (folder / "twin.assert").write_bytes(encode_stream([forged(renamed, key="brand")]))

    folder = attack(twin)
    before = rig.disk_state()
    with pytest.raises(TrustError, match="2 packages are signed as its revision 2"):
        rig.install(folder)
    assert rig.disk_state() == before


def test_older_revision_than_the_one_that_runs(rig: Rig, true_stick: Path, maker: Maker, tmp_path: Path) -> None:
    rig.install(true_stick)
    rig.up()
    older = maker.stick(tmp_path / "older", maker.workshop.packages / "debian-13_1.snap")
    outcome = rig.install(older)
    assert (outcome.plan, outcome.installed) == (None, False)
    assert rig.roots["base"] == root_of(maker, maker.workshop.packages / "debian-13_2.snap")


def test_older_revision_after_the_memory_was_wiped(rig: Rig, true_stick: Path, maker: Maker, tmp_path: Path) -> None:
    """The slot itself says which revision it runs: losing the data partition is no way down."""
    rig.install(true_stick)
    rig.up()
    shutil.rmtree(rig.folder / "var/lib/imagekit/updates")
    older = maker.stick(tmp_path / "older", maker.workshop.packages / "debian-13_1.snap")
    assert rig.install(older).plan is None


def test_older_revision_in_the_name_of_a_validation_set(tmp_path: Path) -> None:
    """The newest sequence of the model's set pins an old base: a set is no way down either."""
    made = make(tmp_path / "maker", SYSTEMD_BOOT)
    made.base(2)
    brand = made.workshop.brand

    def pinned(revision: int, sequence: int) -> Assertion:
        return brand.sign({"type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme",
                           "name": "tested", "sequence": str(sequence), "timestamp": "2026-01-01T00:00:00Z",
                           "snaps": ({"name": "debian-13", "id": snap_id("acme", "debian-13"),
                                      "presence": "required", "revision": str(revision)},)})

    first = pinned(2, 1)
    (made.workshop.packages / "tested.validation-set").write_bytes(first.encode())
    made.build(validation_sets=({"account-id": "acme", "name": "tested", "mode": "enforce"},))
    rig = Rig(tmp_path / "device", made.image, SYSTEMD_BOOT)
    assert rig.roots["base"] == root_of(made, made.workshop.packages / "debian-13_2.snap")
    folder = made.stick(tmp_path / "stick", made.workshop.packages / "debian-13_1.snap", more=(pinned(1, 2),))
    with pytest.raises(TargetError, match="cannot install debian-13 1: revision 2 runs"):
        rig.install(folder)


def test_pair_that_no_validation_set_allows(tmp_path: Path) -> None:
    """Mix-and-match: a new kernel, truly signed, with a base that it was never tested with."""
    made = make(tmp_path / "maker", SYSTEMD_BOOT)
    made.kernel(2)
    brand = made.workshop.brand
    snaps = tuple({"name": name, "id": snap_id("acme", name), "presence": "required", "revision": "1"}
                  for name in ("debian-13", "pc-kernel"))
    tested = brand.sign({"type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme",
                         "name": "tested", "sequence": "1", "timestamp": "2026-01-01T00:00:00Z", "snaps": snaps})
    (made.workshop.packages / "tested.validation-set").write_bytes(tested.encode())
    made.build(validation_sets=({"account-id": "acme", "name": "tested", "mode": "enforce"},))
    rig = Rig(tmp_path / "device", made.image, SYSTEMD_BOOT)
    assert rig.install(made.stick(tmp_path / "stick", made.workshop.packages / "pc-kernel_2.snap")).plan is None


def test_package_for_another_architecture(rig: Rig, true_stick: Path, maker: Maker, tmp_path: Path) -> None:
    other = make(tmp_path / "other", SYSTEMD_BOOT)
    folder = other.stick(tmp_path / "attack", other.base(2, architecture="arm64"))
    withstand(rig, folder, true_stick, maker, PlanError, "it is for arm64, model 'pc' is for amd64")


def test_package_of_another_type(rig: Rig, true_stick: Path, maker: Maker, tmp_path: Path) -> None:
    other = make(tmp_path / "other", SYSTEMD_BOOT)
    yaml = b"name: debian-13\nversion: '2'\ntype: app\narchitectures: [amd64]\n"
    made = other.workshop.package("debian-13", "base", {"meta/snap.yaml": yaml}, revision=2)
    withstand(rig, other.stick(tmp_path / "attack", made), true_stick, maker, PlanError,
              "its snap.yaml says type 'app'")


def test_kernel_without_an_image(rig: Rig, true_stick: Path, maker: Maker, tmp_path: Path) -> None:
    other = make(tmp_path / "other", SYSTEMD_BOOT)
    made = other.package("pc-kernel", "kernel", {"modules/6.12/a.ko": b"module"}, revision=2)
    withstand(rig, other.stick(tmp_path / "attack", made), true_stick, maker, PlanError,
              r"it has no kernel\.efi, which this device boots from")


def test_signed_verity_root_of_other_bytes(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    """Only whoever has the brand's key can sign this; the idle slot is closed by then, and stays so."""
    def resign(folder: Path) -> None:
        wrong = forged(folder / PACKAGE, key="brand", root="ab" * 32)
        (folder / PROOF).write_bytes(encode_stream([wrong, maker.workshop.brand.declaration("debian-13"),
                                                    *maker.workshop.brand.roots]))

    withstand(rig, attack(resign), true_stick, maker, TrustError, "has the verity root .* signed is abababababab",
              untouched=False)


def test_signed_revision_without_a_verity_root(rig: Rig, attack: Attack, true_stick: Path, maker: Maker) -> None:
    def resign(folder: Path) -> None:
        with (folder / PACKAGE).open("rb") as stream:
            digest = sha3_384(stream)
        bare = sign_revision("acme", "debian-13", 2, sha3_384=digest, size=(folder / PACKAGE).stat().st_size,
                             key=signing_key("brand"), timestamp=SIGNED, verity_root=None)
        (folder / PROOF).write_bytes(encode_stream([bare, maker.workshop.brand.declaration("debian-13"),
                                                    *maker.workshop.brand.roots]))

    withstand(rig, attack(resign), true_stick, maker, PlanError, "its signed revision has no verity-root")


def test_extra_package_that_the_model_does_not_name(rig: Rig, attack: Attack, maker: Maker) -> None:
    folder = attack(lambda folder: (folder / "backdoor_7.snap").write_bytes(b"anything"))
    outcome = rig.install(folder)
    assert outcome.notes == ("backdoor_7.snap is left out: it is no package of this model",)
    assert outcome.installed


def test_key_that_was_ended_stays_ended(rig: Rig, attack: Attack, true_stick: Path, maker: Maker,
                                        tmp_path: Path) -> None:
    """A stick brought the end of a key; a later one, without it, comes with a package of that key."""
    brand, second = maker.workshop.brand, signing_key("store")

    def account_key(revision: int, until: datetime | None) -> Assertion:
        return sign_account_key(second.public, account_id="acme", authority_id="acme", name="second", since=SINCE,
                                until=until, revision=revision, key=brand.key)

    ends = tmp_path / "ends"
    ends.mkdir()
    (ends / "key.account-key").write_bytes(account_key(1, datetime(2026, 2, 1, tzinfo=UTC)).encode())
    assert rig.install(ends).plan is None

    def resign(folder: Path) -> None:
        (folder / PROOF).write_bytes(encode_stream([
            forged(folder / PACKAGE, key="store"), account_key(0, None), brand.declaration("debian-13")]))

    withstand(rig, attack(resign), true_stick, maker, ImagekitError, "cannot (verify|believe|use) ")


@pytest.mark.parametrize("year", [1970, 2016])
def test_clock_that_stands_in_the_past(rig: Rig, true_stick: Path, year: int) -> None:
    """A dead clock locks nobody out: the model is proof that its own time is over."""
    rig.clock = datetime(year, 1, 1, tzinfo=UTC)
    assert rig.install(true_stick).installed


def test_clock_far_ahead_locks_nobody_out(rig: Rig, true_stick: Path) -> None:
    rig.clock = datetime(2039, 1, 1, tzinfo=UTC)
    assert rig.install(true_stick).installed
    rig.up()
    assert history.load_history(rig.machine).latest == "2026-01-01T00:00:00Z"  # what was signed, not the clock
    rig.clock = datetime(2026, 6, 2, tzinfo=UTC)
    assert rig.install(true_stick).plan is None


def test_link_in_the_place_of_a_package(rig: Rig, tmp_path: Path, true_stick: Path, maker: Maker) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / PACKAGE).symlink_to(true_stick / PACKAGE)
    (folder / PROOF).symlink_to("/etc/passwd")
    assert rig.install(folder).plan is None


def test_pipe_in_the_place_of_a_package(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "pipes"
    folder.mkdir()
    os.mkfifo(folder / PACKAGE)
    assert rig.install(folder).plan is None
    with pytest.raises(UsageError, match="it is neither a file nor a folder"):
        rig.install(folder / PACKAGE)


@pytest.mark.parametrize("name", ["../debian-13_2.snap", "debian-13_02.snap", "debian-13_2.snap.zst.zst",
                                  "Debian-13_2.snap", "debian-13_99999999999.snap", "debian-13_2.snap\n"])
def test_names_that_are_tricks_are_no_packages(name: str) -> None:
    from imagekit.device.offers import collect

    class Shelf:
        def names(self) -> tuple[str, ...]:
            return (name,)

        def size(self, name: str) -> int:
            return 1

        def open(self, name: str) -> io.BytesIO:
            raise AssertionError("it was opened")

    assert collect([Shelf()]).packages == {}  # type: ignore[list-item]


def test_a_million_files_and_endless_assertions(rig: Rig, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(1200):
        (many / f"{number}.txt").touch()
    with pytest.raises(DocumentError, match="1200 files, at most 1000 are taken"):
        rig.install(many)
    long = tmp_path / "long"
    long.mkdir()
    with (long / "x.assert").open("wb") as out:
        out.truncate(1 << 40)
    with pytest.raises(DocumentError, match="assertions have at most"):
        rig.install(long)


def test_assertions_in_a_thousand_files_that_would_take_all_memory(rig: Rig, tmp_path: Path) -> None:
    """On a FAT all of these files may be the same clusters: a stick of 2 MiB is enough."""
    folder = tmp_path / "many"
    folder.mkdir()
    account = Brand("acme").account
    number = ASSERTIONS_LIMIT // (len(encode_stream([account])) + 1)
    (folder / "0.assert").write_bytes(encode_stream([account] * number))
    for name in range(1, 999):
        (folder / f"{name}.assert").hardlink_to(folder / "0.assert")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DocumentError, match=r"more than 8 MiB of assertions"):
        rig.install(folder)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10  # KiB


def test_damaged_stick_is_an_error_and_no_traceback(rig: Rig, tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    folder.mkdir()
    (folder / "x.assert").write_bytes(b"type: snap-revision\n\nxx")
    with pytest.raises(DocumentError):
        rig.install(folder)


def test_lost_seed_believes_nobody(rig: Rig, true_stick: Path) -> None:
    rig.device("seed").write_bytes(bytes(1 << 20))
    with pytest.raises(TargetError, match="cannot believe anything on this device"):
        rig.install(true_stick)


def test_unpacking_seeks_backward_and_stays_within_its_limit() -> None:
    raw = bytes(range(256)) * 4096
    packed = io.BytesIO(zstandard.ZstdCompressor().compress(raw))
    reader = io.BufferedReader(Rewound(lambda: unpacked(packed), most=1000), 64)
    assert reader.read(10) == raw[:10]
    reader.seek(500)
    assert reader.read(10) == raw[500:510]
    reader.seek(3)
    assert reader.read(4) == raw[3:7]
    reader.seek(0, io.SEEK_END)
    assert reader.tell() == 1000
    assert reader.read() == b""


def test_memory_that_is_damaged_is_forgotten(rig: Rig, true_stick: Path) -> None:
    rig.install(true_stick)
    path = history.folder_of(rig.machine) / history.STATE
    for damage in (b"", b"[]", b"{}", b'{"imagekit": 2}', b"\0" * 100, path.read_bytes()[:50]):
        path.write_bytes(damage)
        assert history.load_history(rig.machine) == history.History()


