"""Signing files: what is written, when, and what is refused before."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagekit.assertions import (
    Database,
    decode_stream,
    parse_account_key,
    parse_model,
    parse_snap_declaration,
    parse_snap_revision,
    snap_id,
)
from imagekit.assertions.signing import sign_account, sign_account_key
from imagekit.build.sign import Authority, authority_for, sign_file
from imagekit.digests import sha3_384
from imagekit.disk.verity import salt_for, uuid_for
from imagekit.errors import DocumentError, PlanError, TrustError, UsageError
from imagekit.keys import PublicKey, Signer
from imagekit.testing.documents import MODEL_DRAFT, NOW, SIGNED, SINCE, Brand, signing_key
from imagekit.testing.squashfs import write_squashfs

KERNEL = Path(__file__).parent / "packages" / "small-kernel.erofs"
APP = Path(__file__).parent.parent / "packages" / "erofs" / "flat.erofs"  # its snap.yaml: name small, an app


@pytest.fixture
def signer() -> Authority:
    brand = Brand()
    return authority_for(brand.key, brand.roots, name="acme")


def package(folder: Path, source: Path = KERNEL, name: str = "small_3.snap") -> Path:
    return shutil.copyfile(source, folder / name)


def run(path: Path, signer: Authority, *, output: Path | None = None, timestamp: datetime = SIGNED,
        now: datetime = NOW) -> Path:
    return sign_file(path, signer, output=output, timestamp=timestamp, now=now).path


def test_signed_model_stands_alone_against_its_root(tmp_path: Path, signer: Authority) -> None:
    path = tmp_path / "pc-demo.yaml"
    path.write_text(MODEL_DRAFT)
    result = run(path, signer)
    assert result == tmp_path / "pc-demo.model"
    found = decode_stream(result.read_bytes(), name="x")
    assert [item.type for item in found] == ["model", "account", "account-key"]
    model = parse_model(found[0])
    assert model.timestamp == SIGNED and model.kernel.snap_id == snap_id("acme", "small")
    database = Database([Brand().account_key])
    for item in found[1:]:
        database.add(item)
    database.verify(found[0], now=NOW)


def test_signing_a_model_twice_gives_equal_bytes(tmp_path: Path, signer: Authority) -> None:
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT)
    first = run(path, signer, output=tmp_path / "one").read_bytes()
    assert run(path, signer, output=tmp_path / "two").read_bytes() == first


def test_signed_model_is_not_signed_again(tmp_path: Path, signer: Authority) -> None:
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT)
    with pytest.raises(DocumentError, match="it is signed already, a model of acme"):
        run(run(path, signer), signer)


def test_other_types_are_written_alone_under_their_type(tmp_path: Path) -> None:
    brand = Brand("store")
    path = tmp_path / "acme.yaml"
    path.write_text("type: account\naccount-id: acme\ndisplay-name: ACME\nvalidation: verified\n")
    result = run(path, authority_for(brand.key, brand.roots, name="store"))
    assert result.name == "acme.account"
    assert [item.label for item in decode_stream(result.read_bytes(), name="x")] == ["account acme"]


def test_output_may_be_a_folder(tmp_path: Path, signer: Authority) -> None:
    (tmp_path / "out").mkdir()
    assert run(package(tmp_path), signer, output=tmp_path / "out") == tmp_path / "out" / "small_3.assert"


@pytest.mark.parametrize("name", ["pc.yaml", "small_3.snap"])
def test_result_never_takes_the_place_of_what_is_signed(tmp_path: Path, signer: Authority, name: str) -> None:
    path = package(tmp_path) if name.endswith(".snap") else tmp_path / name
    if not path.exists():
        path.write_text(MODEL_DRAFT)
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(path)
    for output in (path, tmp_path / "link"):
        with pytest.raises(UsageError, match="would take its place"):
            run(path, signer, output=output)
    assert path.read_bytes() == before


def test_kernel_package_gets_its_digest_and_hash_tree_signed(tmp_path: Path, signer: Authority) -> None:
    path = package(tmp_path)
    result = run(path, signer)
    assert result == tmp_path / "small_3.assert"
    found = decode_stream(result.read_bytes(), name="x")
    assert [item.type for item in found] == ["account", "account-key", "snap-declaration", "snap-revision"]
    revision = parse_snap_revision(found[3])
    with path.open("rb") as stream:
        assert revision.snap_sha3_384 == sha3_384(stream)
    assert (revision.snap_revision, revision.snap_size) == (3, 8192)
    assert revision.verity_root is not None and len(revision.verity_root) == 64
    assert parse_snap_declaration(found[2]).snap_name == "small"
    database = Database([Brand().account_key])
    for item in found:
        database.add(item)
    for item in found:
        database.verify(item, now=NOW)


@pytest.mark.tools
def test_signed_root_is_what_veritysetup_computes(tmp_path: Path, signer: Authority,
                                                  program: Callable[[str], str]) -> None:
    veritysetup = program("veritysetup")
    path = package(tmp_path)
    revision = parse_snap_revision(decode_stream(run(path, signer).read_bytes(), name="x")[3])
    digest = revision.snap_sha3_384
    done = subprocess.run([veritysetup, "format", path, tmp_path / "tree", f"--salt={salt_for(digest).hex()}",
                           f"--uuid={uuid_for(digest)}"], capture_output=True, text=True, check=True)
    assert f"Root hash:      \t{revision.verity_root}" in done.stdout


def test_package_that_runs_from_no_slot_has_no_root(tmp_path: Path, signer: Authority) -> None:
    found = decode_stream(run(package(tmp_path, APP), signer).read_bytes(), name="x")
    assert parse_snap_revision(found[3]).verity_root is None


def test_squashfs_package_has_no_root_whatever_its_type(tmp_path: Path, signer: Authority,
                                                        program: Callable[[str], str]) -> None:
    program("unsquashfs")
    path = write_squashfs(tmp_path / "hello_1.snap", {"meta/snap.yaml": b"name: hello\nversion: 1\ntype: kernel\n"})
    revision = parse_snap_revision(decode_stream(run(path, signer).read_bytes(), name="x")[3])
    assert (revision.snap_size, revision.verity_root) == (path.stat().st_size, None)


def test_squashfs_package_of_another_name_is_refused(tmp_path: Path, signer: Authority,
                                                     program: Callable[[str], str]) -> None:
    program("unsquashfs")
    path = write_squashfs(tmp_path / "hello_1.snap", {"meta/snap.yaml": b"name: other\nversion: 1\n"})
    with pytest.raises(DocumentError, match="says that it is 'other'"):
        run(path, signer)


def test_signing_an_unchanged_package_later_keeps_its_signature(tmp_path: Path, signer: Authority) -> None:
    path = package(tmp_path)
    before = run(path, signer).read_bytes()
    later = sign_file(path, signer, output=None, timestamp=SIGNED + timedelta(days=1), now=NOW)
    assert later.unchanged and later.path.read_bytes() == before


def test_damaged_signature_of_an_unchanged_package_is_replaced(tmp_path: Path, signer: Authority) -> None:
    path = package(tmp_path)
    good = run(path, signer).read_bytes()
    (tmp_path / "small_3.assert").write_bytes(good[:-20] + b"AAAA" + good[-16:])
    assert run(path, signer).read_bytes() == good
    (tmp_path / "small_3.assert").write_bytes(b"rubbish")
    assert run(path, signer).read_bytes() == good


def test_two_revisions_of_a_package_share_one_declaration(tmp_path: Path, signer: Authority) -> None:
    one = decode_stream(run(package(tmp_path), signer).read_bytes(), name="x")
    two = decode_stream(run(package(tmp_path, APP, "small_4.snap"), signer, timestamp=NOW).read_bytes(), name="x")
    assert one[2] == two[2]
    database = Database(Brand().roots)
    for item in (*one, *two):
        database.add(item)


@pytest.mark.parametrize(("name", "reason"), [
    ("small.snap", "not a package name"),
    ("small_0.snap", "not a package name"),
    ("small_x.snap", "not a package name"),
    ("large_1.snap", "says that it is 'small'"),
])
def test_package_of_another_name_is_refused(tmp_path: Path, signer: Authority, name: str, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        run(package(tmp_path, name=name), signer)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_package_cut_short_or_grown_is_refused(tmp_path: Path, signer: Authority) -> None:
    path = package(tmp_path)
    whole = path.read_bytes()
    for content in (whole[:4096], whole + bytes(4096), b"", b"no file system" * 1000):
        path.write_bytes(content)
        with pytest.raises(DocumentError):
            run(path, signer)
    assert [item.name for item in tmp_path.iterdir()] == ["small_3.snap"]


def test_model_dated_before_the_key_is_refused_with_the_remedy(tmp_path: Path, signer: Authority) -> None:
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT + "timestamp: 2024-01-01T00:00:00Z\n")
    with pytest.raises(TrustError, match="which begins 2025-01-01T00:00:00Z") as caught:
        run(path, signer)
    assert caught.value.hint is not None and "--since" in caught.value.hint
    assert not path.with_suffix(".model").exists()


def test_wrong_model_is_told_by_line_and_nothing_is_written(tmp_path: Path, signer: Authority) -> None:
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT.replace("type: kernel", "type: kernle"))
    with pytest.raises(DocumentError) as caught:
        run(path, signer)
    assert any(line.startswith(f"{path}:7: snaps[1].type: 'kernle'") for line in caught.value.details)
    assert [item.name for item in tmp_path.iterdir()] == ["pc.yaml"]


def test_expired_key_does_not_sign(tmp_path: Path) -> None:
    brand = Brand(until=SIGNED + timedelta(days=1))
    with pytest.raises(TrustError, match="expired"):
        run(package(tmp_path), authority_for(brand.key, brand.roots, name="acme"))
    assert not (tmp_path / "small_3.assert").exists()


def test_key_that_nobody_vouches_for_does_not_sign() -> None:
    with pytest.raises(TrustError, match="no account-key in your folders of trust says whose it is"):
        authority_for(signing_key("stranger"), Brand().roots, name="mine")


def test_brand_under_a_store_signs_models_with_the_whole_chain_but_no_packages(tmp_path: Path) -> None:
    store, key = Brand("store"), signing_key("brand")
    trusted = (*store.roots,
               sign_account("acme", authority_id="store", key=store.key, timestamp=SINCE),
               sign_account_key(key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                key=store.key))
    signer = authority_for(key, trusted, name="acme")
    assert signer.account_key == parse_account_key(trusted[3])
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT)
    found = decode_stream(run(path, signer).read_bytes(), name="x")
    assert [item.type for item in found] == ["model", "account", "account", "account-key", "account-key"]
    with pytest.raises(TrustError, match="no root of trust"):
        run(package(tmp_path), signer)


def test_proof_has_the_accounts_of_all_who_are_named_and_what_proves_these(tmp_path: Path) -> None:
    """The brand's key and its account may be vouched for by two roots; a reader needs both."""
    store, registrar, key = Brand("store"), Brand("stranger"), signing_key("brand")
    trusted = (*store.roots, *registrar.roots,
               sign_account("acme", authority_id="stranger", key=registrar.key, timestamp=SINCE),
               sign_account_key(key.public, account_id="acme", authority_id="store", name="acme", since=SINCE,
                                key=store.key))
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT)
    found = decode_stream(run(path, authority_for(key, trusted, name="acme")).read_bytes(), name="x")
    assert sorted(item.text("account-id") for item in found if item.type == "account") == ["acme", "store", "stranger"]
    assert len([item for item in found if item.type == "account-key"]) == 3
    database = Database([store.account_key, registrar.account_key])
    for item in found[1:]:
        database.add(item)
    database.verify(found[0], now=NOW)


def test_account_that_nobody_proves_is_not_passed_on(tmp_path: Path) -> None:
    brand, stranger = Brand(), Brand("stranger")
    account = sign_account("acme", authority_id="stranger", key=stranger.key, timestamp=SINCE)
    path = tmp_path / "pc.yaml"
    path.write_text(MODEL_DRAFT)
    authority = authority_for(brand.key, (brand.account_key, account), name="acme")
    assert [item.type for item in decode_stream(run(path, authority).read_bytes(), name="x")] == [
        "model", "account-key"]


class Counting:
    """A key that counts how often it is asked, as somebody does who types a PIN."""

    def __init__(self, key: Signer) -> None:
        self.key, self.asked = key, list[str]()

    @property
    def public(self) -> PublicKey:
        return self.key.public

    def sign_digest(self, digest: bytes, *, what: str) -> bytes:
        self.asked.append(what)
        return self.key.sign_digest(digest, what=what)


def test_signer_is_asked_for_nothing_that_it_has_signed_before(tmp_path: Path) -> None:
    brand = Brand()
    key = Counting(brand.key)
    authority = authority_for(key, brand.roots, name="acme")
    run(package(tmp_path), authority)
    assert [what.split()[0] for what in key.asked] == ["snap-declaration", "snap-revision"]
    assert sign_file(tmp_path / "small_3.snap", authority, output=None, timestamp=NOW, now=NOW).unchanged
    assert len(key.asked) == 2


def test_going_over_to_another_key_signs_a_package_anew(tmp_path: Path) -> None:
    brand = Brand()
    run(package(tmp_path), authority_for(brand.key, brand.roots, name="acme"))
    second = signing_key("stranger")
    trusted = (*brand.roots, sign_account_key(second.public, account_id="acme", authority_id="acme", name="second",
                                              since=SIGNED, key=brand.key))
    done = sign_file(tmp_path / "small_3.snap", authority_for(second, trusted, name="second"), output=None,
                     timestamp=SIGNED, now=NOW)
    assert not done.unchanged
    assert {item.key_id for item in done.assertions if item.type.startswith("snap-")} == {second.public.key_id}
    database = Database([brand.account_key])
    for item in done.assertions:
        database.add(item)
    database.verify(done.assertions[-1], now=NOW)


def test_times_of_a_declaration_are_those_of_its_key(tmp_path: Path, signer: Authority) -> None:
    found = decode_stream(run(package(tmp_path), signer).read_bytes(), name="x")
    assert parse_snap_declaration(found[2]).timestamp == datetime(2025, 1, 1, tzinfo=UTC)
    assert parse_snap_revision(found[3]).timestamp == SIGNED


def test_user_whose_time_began_before_the_key_did_is_signed(tmp_path: Path, signer: Authority) -> None:
    draft = tmp_path / "user.yaml"
    draft.write_text("type: system-user\nemail: a@acme.example\nseries: ['16']\nname: A\nusername: a\nmodels: [pc]\n"
                     "password: $6$salt$hash\nsince: 2020-01-01T00:00:00Z\nuntil: 2030-01-01T00:00:00Z\n")
    (user,) = decode_stream(run(draft, signer).read_bytes(), name="x")
    database = Database(signer.trusted)
    assert database.verify(user, now=NOW).links


def test_other_bytes_under_a_signed_revision_are_refused(tmp_path: Path, signer: Authority) -> None:
    before = run(package(tmp_path), signer).read_bytes()
    changed = package(tmp_path, APP)
    with pytest.raises(PlanError, match="a revision never changes") as caught:
        run(changed, signer)
    assert "raise its revision" in (caught.value.hint or "")
    assert (tmp_path / "small_3.assert").read_bytes() == before


def test_what_a_stranger_signed_as_that_revision_does_not_stand_in_the_way(tmp_path: Path, signer: Authority) -> None:
    stranger = Brand(key="stranger")
    run(package(tmp_path), authority_for(stranger.key, stranger.roots, name="stranger"))
    assert run(package(tmp_path, APP), signer).is_file()
