"""Judging files and packages."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import encode_stream, sign, snap_id
from imagekit.assertions.wire import armor
from imagekit.build.sign import authority_for, sign_file
from imagekit.build.verify import Report, State, examine
from imagekit.digests import sha3_384
from imagekit.errors import DocumentError, HostError, TrustError
from imagekit.host.trust import load_trust
from imagekit.testing.documents import NOW, REAL, SIGNED, Brand, VouchedBrand, real, signing_key
from imagekit.testing.squashfs import write_squashfs

KERNEL = Path(__file__).parent / "packages" / "small-kernel.erofs"


@pytest.fixture
def brand() -> Brand:
    return Brand()


@pytest.fixture
def package(tmp_path: Path, brand: Brand) -> Path:
    path = shutil.copyfile(KERNEL, tmp_path / "small_3.snap")
    sign_file(path, authority_for(brand.key, brand.roots, name="acme"), output=None, timestamp=SIGNED, now=NOW)
    return path


def model_file(folder: Path, brand: Brand, name: str = "pc.model", **headers: str) -> Path:
    path = folder / name
    path.write_bytes(encode_stream((brand.model(**headers), brand.account, brand.account_key)))
    return path


def states(report: Report) -> list[State]:
    return [finding.state for finding in report.findings]


def test_model_and_package_of_a_trusted_brand_are_verified(tmp_path: Path, brand: Brand, package: Path) -> None:
    report = examine([model_file(tmp_path, brand), package], brand.roots, now=NOW)
    assert states(report) == [State.VERIFIED] * 4 and report.verified
    assert report.findings[-1].subject == "package small_3.snap"
    report.raise_if_any()


def test_real_files_help_each_other_in_any_order() -> None:
    files = sorted(REAL.glob("*.model")) + sorted(REAL.glob("valid*.account*")) + sorted(REAL.glob("store*"))
    report = examine(files, load_trust([REAL]), now=NOW)
    assert report.verified and len(report.findings) == 7


def test_valid_signature_without_a_root_is_a_state_of_its_own(tmp_path: Path, brand: Brand) -> None:
    report = examine([model_file(tmp_path, brand)], (), now=NOW)
    assert states(report) == [State.UNPROVEN] * 3 and not report.verified
    with pytest.raises(TrustError, match="3 of 3 assertions and packages: its signature is valid") as caught:
        report.raise_if_any()
    assert caught.value.details == () and "imagekit trust add" in str(caught.value.hint)


def test_unknown_key_is_a_state_of_its_own(tmp_path: Path, brand: Brand) -> None:
    path = tmp_path / "pc.model"
    path.write_bytes(Brand(key="stranger").model().encode())
    report = examine([path], brand.roots, now=NOW)
    assert states(report) == [State.UNKNOWN_KEY]
    with pytest.raises(TrustError, match="no account-key at hand"):
        report.raise_if_any()


def test_changed_byte_is_refused(tmp_path: Path, brand: Brand) -> None:
    path = model_file(tmp_path, brand)
    path.write_bytes(path.read_bytes().replace(b"amd64", b"arm64"))
    report = examine([path], brand.roots, now=NOW)
    assert states(report) == [State.REFUSED, State.VERIFIED, State.VERIFIED]


def test_malformed_file_is_a_document_error_unless_trust_fails_too(tmp_path: Path, brand: Brand) -> None:
    broken = tmp_path / "broken.model"
    broken.write_bytes(b"type: model\n")
    with pytest.raises(DocumentError, match=r"broken\.model:1"):
        examine([broken], brand.roots, now=NOW).raise_if_any()
    report = examine([broken, model_file(tmp_path, brand)], (), now=NOW)
    assert states(report)[0] == State.MALFORMED
    with pytest.raises(TrustError, match="cannot verify 4 of 4"):
        report.raise_if_any()


def test_type_without_rules_is_malformed_not_verified(tmp_path: Path, brand: Brand) -> None:
    path = tmp_path / "x.assert"
    path.write_bytes(b"type: store\nauthority-id: acme\nstore: x\nsign-key-sha3-384: " + b"A" * 64 + b"\n\nAQ==\n")
    report = examine([path], brand.roots, now=NOW)
    assert states(report) == [State.MALFORMED]


def test_two_models_of_one_name_are_judged_each_by_itself(tmp_path: Path, brand: Brand) -> None:
    report = examine([model_file(tmp_path, brand), model_file(tmp_path, brand, "b.model", architecture="arm64")],
                     brand.roots, now=NOW)
    assert report.verified


def test_older_model_beside_its_successor_is_refused(tmp_path: Path, brand: Brand) -> None:
    report = examine([model_file(tmp_path, brand), model_file(tmp_path, brand, "b.model", revision="1")],
                     brand.roots, now=NOW)
    assert states(report)[0] == State.REFUSED and State.REFUSED not in states(report)[1:]


def test_one_flipped_bit_in_a_package(brand: Brand, package: Path) -> None:
    raw = bytearray(package.read_bytes())
    raw[5000] ^= 1
    package.write_bytes(raw)
    report = examine([package], brand.roots, now=NOW)
    assert states(report) == [State.REFUSED]
    with pytest.raises(TrustError, match="no snap-revision at hand has its digest"):
        report.raise_if_any()


def test_package_cut_short(brand: Brand, package: Path) -> None:
    package.write_bytes(package.read_bytes()[:4096])
    assert states(examine([package], brand.roots, now=NOW)) == [State.REFUSED]


@pytest.mark.parametrize("name", ["small_4.snap", "large_3.snap"])
def test_signed_package_under_another_name(brand: Brand, package: Path, name: str) -> None:
    renamed = package.rename(package.with_name(name))
    report = examine([renamed, package.with_suffix(".assert")], brand.roots, now=NOW)
    assert states(report)[0] == State.REFUSED
    with pytest.raises(TrustError, match="signed as revision 3 of 'small'"):
        report.raise_if_any()


def test_package_without_its_assertions(brand: Brand, package: Path) -> None:
    package.with_suffix(".assert").unlink()
    assert states(examine([package], brand.roots, now=NOW)) == [State.REFUSED]


def test_package_signed_by_a_stranger(tmp_path: Path, brand: Brand) -> None:
    stranger = Brand(key="stranger")
    path = shutil.copyfile(KERNEL, tmp_path / "small_3.snap")
    sign_file(path, authority_for(stranger.key, stranger.roots, name="x"), output=None, timestamp=SIGNED, now=NOW)
    assert states(examine([path], brand.roots, now=NOW)) == [State.UNPROVEN]


def test_broken_companion_is_reported_beside_the_package(brand: Brand, package: Path) -> None:
    package.with_suffix(".assert").write_bytes(b"rubbish")
    assert states(examine([package], brand.roots, now=NOW)) == [State.MALFORMED, State.REFUSED]


def test_file_that_came_along_cannot_change_a_root(tmp_path: Path, brand: Brand) -> None:
    path = tmp_path / "x.account-key"
    path.write_bytes(Brand(since=SIGNED).account_key.encode())
    report = examine([path], brand.roots, now=NOW)
    assert states(report) == [State.REFUSED]


@pytest.mark.parametrize("name", ["absent.model", "absent_1.snap"])
def test_missing_file_is_the_machines_fault_and_hides_no_other(tmp_path: Path, brand: Brand, name: str) -> None:
    report = examine([tmp_path / name, model_file(tmp_path, brand)], brand.roots, now=NOW)
    assert states(report) == [State.UNREADABLE, *[State.VERIFIED] * 3]
    with pytest.raises(HostError, match="no such file"):
        report.raise_if_any()


def test_one_cause_is_told_once_for_a_hundred_models(tmp_path: Path, brand: Brand) -> None:
    paths = [tmp_path / f"{number}.model" for number in range(100)]
    for number, path in enumerate(paths):
        path.write_bytes(brand.model(model=f"pc-{number}").encode())
    keys = tmp_path / "keys.assert"
    keys.write_bytes(encode_stream(brand.roots))
    report = examine([*paths, keys], (), now=NOW)
    assert [len(cause.findings) for cause in report.causes] == [102]
    with pytest.raises(TrustError) as caught:
        report.raise_if_any()
    assert caught.value.message.startswith("cannot verify 102 of 102") and not caught.value.details
    unknown = examine(paths, (), now=NOW)
    assert [cause.state for cause in unknown.causes] == [State.UNKNOWN_KEY]


def test_problems_of_several_files_are_all_told(tmp_path: Path, brand: Brand) -> None:
    broken, altered = tmp_path / "broken.model", model_file(tmp_path, brand, "altered.model")
    broken.write_bytes(b"type: model\n")
    altered.write_bytes(altered.read_bytes().replace(b"amd64", b"arm64"))
    stranger = tmp_path / "stranger.model"
    stranger.write_bytes(Brand(key="stranger").model().encode())
    with pytest.raises(TrustError, match="cannot verify 3 of 5") as caught:
        examine([broken, altered, stranger], brand.roots, now=NOW).raise_if_any()
    assert len(caught.value.details) == 3
    assert [part in line for part, line in zip(("before a blank line", "changed after", "no account-key at hand"),
                                               caught.value.details, strict=True)] == [True] * 3


def test_stdin_is_a_stream_among_the_files(tmp_path: Path, brand: Brand) -> None:
    path = tmp_path / "pc.model"
    path.write_bytes(brand.model().encode())
    report = examine([path, Path("-")], (), now=NOW, stdin=io.BytesIO(encode_stream(brand.roots)))
    assert [finding.file for finding in report.findings] == [path, Path("-"), Path("-")]
    with pytest.raises(DocumentError, match="stdin"):
        examine([Path("-")], (), now=NOW, stdin=io.BytesIO(b"rubbish")).raise_if_any()


def test_changed_copy_of_a_key_beside_the_real_one_is_the_only_one_refused(tmp_path: Path) -> None:
    files = [*sorted(REAL.glob("valid-for-testing*.[am]*")), REAL / "store-key-and-publisher.assertions"]
    forged = tmp_path / "forged.account-key"
    forged.write_bytes((REAL / "valid-for-testing.account-key").read_bytes().replace(b"phelps", b"phelpt"))
    report = examine([forged, *files], load_trust([REAL]), now=NOW)
    assert states(report)[0] == State.REFUSED and {*states(report)[1:]} == {State.VERIFIED}


def test_what_hangs_on_a_changed_key_says_so(tmp_path: Path) -> None:
    forged = tmp_path / "forged.account-key"
    forged.write_bytes((REAL / "valid-for-testing.account-key").read_bytes().replace(b"phelps", b"phelpt"))
    report = examine([REAL / "valid-for-testing-pc-20.model", forged, REAL / "valid-for-testing.account",
                      REAL / "store-key-and-publisher.assertions"], (*real("canonical-root.account-key"),), now=NOW)
    assert [cause.text.partition(": ")[0] for cause in report.causes] == [
        f"account-key {real('valid-for-testing.account-key')[0].primary_key[0][:12]}",
        "the content was changed after it was signed"]


def test_squashfs_package_is_verified_like_any_other(
        tmp_path: Path, brand: Brand, program: Callable[[str], str]) -> None:
    program("unsquashfs")
    path = write_squashfs(tmp_path / "hello_7.snap", {"meta/snap.yaml": b"name: hello\nversion: 1\n"})
    sign_file(path, authority_for(brand.key, brand.roots, name="acme"), output=None, timestamp=SIGNED, now=NOW)
    assert states(examine([path], brand.roots, now=NOW)) == [State.VERIFIED]
    write_squashfs(path, {"meta/snap.yaml": b"name: hello\nversion: 2\n"})
    assert states(examine([path], brand.roots, now=NOW)) == [State.REFUSED]


@pytest.mark.parametrize(("provenance", "state"), [("built-here", State.REFUSED), ("global-upload", State.VERIFIED)])
def test_package_signed_under_a_provenance_that_it_does_not_have(tmp_path: Path, provenance: str, state: State) -> None:
    store = Brand("store")
    brand = VouchedBrand("acme", store=store)
    path = shutil.copyfile(KERNEL, tmp_path / "small_3.snap")
    declared = store.sign({
        "type": "snap-declaration", "authority-id": "store", "series": "16", "snap-id": snap_id("acme", "small"),
        "snap-name": "small", "publisher-id": "acme", "timestamp": "2026-01-01T00:00:00Z",
        "revision-authority": ({"account-id": "acme", "provenance": ("built-here",)},)})
    with path.open("rb") as stream:
        digest = sha3_384(stream)
    signer = store if provenance == "global-upload" else brand
    signed = signer.sign({
        "type": "snap-revision", "authority-id": signer.name, "snap-sha3-384": digest, "provenance": provenance,
        "snap-id": snap_id("acme", "small"), "snap-revision": "3", "snap-size": str(path.stat().st_size),
        "developer-id": "acme", "timestamp": "2026-01-01T00:00:00Z"})
    path.with_suffix(".assert").write_bytes(encode_stream((*brand.vouched, declared, signed)))
    report = examine([path], store.roots, now=NOW)
    assert states(report) == [state]
    if state is State.REFUSED:
        assert "its snap.yaml says provenance 'global-upload'" in str(report.findings[0].cause)


def test_request_is_told_apart_from_what_is_vouched_for(tmp_path: Path, brand: Brand) -> None:
    public = signing_key("stranger").public
    made = sign({"type": "serial-request", "brand-id": "acme", "model": "pc", "request-id": "r1",
                 "device-key": armor(public.encode()).decode()}, key=signing_key("stranger"), created=SIGNED)
    path = tmp_path / "x.serial-request"
    path.write_bytes(made.encode())
    report = examine([path], brand.roots, now=NOW)
    assert states(report) == [State.SELF_SIGNED] and report.verified
    path.write_bytes(made.encode().replace(b"request-id: r1", b"request-id: r2"))
    assert states(examine([path], brand.roots, now=NOW)) == [State.REFUSED]
