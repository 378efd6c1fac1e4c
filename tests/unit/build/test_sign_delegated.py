"""A brand that is no root signs revisions of its packages, as far as the store lets it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import Assertion, Database, decode_stream, encode_stream, parse_snap_revision, snap_id
from imagekit.assertions.headers import Header
from imagekit.build.sign import Authority, authority_for, sign_file
from imagekit.build.verify import examine
from imagekit.errors import TrustError
from imagekit.testing.documents import NOW, SIGNED, Brand, VouchedBrand
from imagekit.testing.squashfs import write_squashfs

TEXT = "name: hello\nversion: '1'\nbase: none\nprovenance: built-here\n"


class World:
    """A store, a brand under it, and a package of the brand's in `folder`."""

    def __init__(self, folder: Path, text: str = TEXT) -> None:
        self.store = Brand("store")
        self.brand = VouchedBrand("acme", store=self.store)
        self.path = write_squashfs(folder / "hello_3.snap", {"meta/snap.yaml": text.encode()})

    @property
    def signer(self) -> Authority:
        return authority_for(self.brand.key, (*self.store.roots, *self.brand.vouched), name="acme")

    def declare(self, **limits: Header) -> Assertion:
        """The store's word on the package, as it comes to the brand."""
        authority: dict[str, Header] = {"account-id": "acme", "provenance": ("built-here",), **limits}
        made = self.store.sign({
            "type": "snap-declaration", "authority-id": "store", "series": "16", "snap-id": snap_id("store", "hello"),
            "snap-name": "hello", "publisher-id": "acme", "timestamp": "2026-01-01T00:00:00Z",
            "revision-authority": (authority,)})
        self.path.with_name("hello.snap-declaration").write_bytes(
            encode_stream([made, self.store.account, *self.brand.vouched]))
        return made

    def sign(self) -> Path:
        return sign_file(self.path, self.signer, output=None, timestamp=SIGNED, now=NOW).path


@pytest.fixture
def world(tmp_path: Path, program: Callable[[str], str]) -> World:
    program("mksquashfs")
    return World(tmp_path)


def test_delegated_revision_is_signed_and_stands_on_the_stores_root_alone(world: World) -> None:
    declared = world.declare()
    found = decode_stream(world.sign().read_bytes(), name="x")
    assert declared in found
    revision = parse_snap_revision(found[-1])
    assert (revision.assertion.authority_id, revision.developer_id, revision.provenance, revision.snap_revision) == (
        "acme", "acme", "built-here", 3)
    assert revision.snap_id == declared.text("snap-id")
    database = Database([world.store.account_key])
    for item in found:
        database.add(item)
    database.verify(found[-1], now=NOW)
    assert examine([world.path], (world.store.account_key,), now=NOW).verified


def test_package_that_has_not_changed_keeps_its_signature(world: World) -> None:
    world.declare()
    first = world.sign().read_bytes()
    again = sign_file(world.path, world.signer, output=None, timestamp=NOW, now=NOW)
    assert again.unchanged and again.path.read_bytes() == first


@pytest.mark.parametrize("limits", [{"account-id": "other"}, {"provenance": ("elsewhere",)},
                                    {"min-revision": "4"}, {"max-revision": "2"}])
def test_revision_beyond_what_the_store_lets_sign_is_refused(world: World, limits: dict[str, Header]) -> None:
    world.declare(**limits)
    with pytest.raises(TrustError, match="does not let 'acme' sign revision 3") as caught:
        world.sign()
    assert "it lets sign: " in str(caught.value.hint)
    assert not world.path.with_suffix(".assert").exists()


def test_missing_declaration_is_told_with_the_remedy(world: World) -> None:
    with pytest.raises(TrustError, match=r"provenance 'built-here', .* there is no hello\.snap-declaration") as caught:
        world.sign()
    assert "the declaration that the store signed" in str(caught.value.hint)


def test_declaration_that_the_brand_made_for_itself_is_refused(world: World) -> None:
    headers = {name: value for name, value in world.declare().headers.items() if name != "sign-key-sha3-384"}
    forged = world.brand.sign({**headers, "authority-id": "acme"})
    world.path.with_name("hello.snap-declaration").write_bytes(encode_stream([forged, *world.brand.vouched]))
    with pytest.raises(TrustError):
        world.sign()


def test_brand_that_is_no_root_is_told_how_packages_without_provenance_come_to_be_signed(
        tmp_path: Path, program: Callable[[str], str]) -> None:
    program("mksquashfs")
    world = World(tmp_path, TEXT.replace("provenance: built-here\n", ""))
    with pytest.raises(TrustError) as caught:
        world.sign()
    assert "'acme' is no root of trust" in caught.value.message
    assert "revision-authority for 'acme'" in str(caught.value.hint)
