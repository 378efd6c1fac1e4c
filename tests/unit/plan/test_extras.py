"""Packages beside the model: which grades take them, what they may be, and where they come to lie."""

from __future__ import annotations

import pytest

from imagekit.assertions import Database, Model, ModelSnap, SnapType, decode_stream, parse_model, snap_id
from imagekit.errors import PlanError, TrustError
from imagekit.plan.extras import extra_snap
from imagekit.plan.image import as_json, plan_image
from imagekit.plan.resolve import Measured, PackageFile, Resolution, resolve, unsigned_files
from imagekit.plan.seed import OPTIONS, seed_files
from imagekit.schema import load_yaml
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.plans import available, brand_with, digest, insides

SIZE = 4096
SYSTEM = "systems/20260101"


def at_hand(name: str, number: int = 1, *, measured: bool = False) -> dict[tuple[str, int], PackageFile]:
    found = Measured(sha3_384=digest(name, number), verity_root=None) if measured else None
    return {(name, number): PackageFile(path=f"packages/{name}_{number}.snap", size=SIZE, seed_size=100,
                                        measured=found)}


def with_app(*numbers: int) -> Brand:
    """A brand that has signed the usual packages, and `app` in these revisions."""
    brand = brand_with()
    for number in numbers:
        brand.revision("app", number, sha3=digest("app", number), size=SIZE)
    return brand


def dangerous(brand: Brand) -> Model:
    return parse_model(brand.model(grade="dangerous"))


def resolved(model: Model, database: Database, *names: str, files: dict[tuple[str, int], PackageFile],
             kind: SnapType = SnapType.APP) -> Resolution:
    extras = tuple(extra_snap(name, kind, model, database) for name in names)
    return resolve(model, database, {**available(), **files}, now=NOW, extras=extras)


def test_signed_package_beside_the_model_lies_in_the_systems_folder_with_its_own_stream() -> None:
    brand = with_app(1)
    model = dangerous(brand)
    found = resolved(model, brand.database(), "app", files=at_hand("app"))
    assert [(item.name, item.extra, item.asserted) for item in found.packages] == [
        ("pc", False, True), ("pc-kernel", False, True), ("debian-13", False, True), ("app", True, True)]
    seed = seed_files(found)
    assert {path for path in seed if path.endswith(".zst")} == {
        "snaps/pc_1.snap.zst", "snaps/pc-kernel_1.snap.zst", "snaps/debian-13_1.snap.zst",
        f"{SYSTEM}/snaps/app_1.snap.zst"}
    own, models, options = (seed[f"{SYSTEM}/{name}"]
                            for name in ("assertions/extra-snaps", "assertions/snaps", OPTIONS))
    assert isinstance(own, bytes) and isinstance(models, bytes) and isinstance(options, bytes)
    assert [item.text("snap-id") for item in decode_stream(own, name="own") if item.type == "snap-revision"] == [
        snap_id("acme", "app")]
    assert not any(item.text("snap-id") == snap_id("acme", "app") for item in decode_stream(models, name="models")
                   if item.type == "snap-revision")
    assert load_yaml(options, name=OPTIONS).value == {
        "snaps": [{"name": "app", "id": snap_id("acme", "app"), "channel": "latest/stable"}]}


def test_package_beside_the_model_that_nobody_signed_is_named_with_its_digest_and_without_an_id() -> None:
    brand = brand_with()
    model = dangerous(brand)
    database = brand.database()
    extras = (extra_snap("app", SnapType.APP, model, database),)
    assert unsigned_files(model, database, {**available(), **at_hand("app", 7)}, extras=extras) == (("app", 7),)
    found = resolved(model, database, "app", files=at_hand("app", 7, measured=True))
    seed = seed_files(found)
    options = seed[f"{SYSTEM}/{OPTIONS}"]
    assert isinstance(options, bytes)
    assert load_yaml(options, name=OPTIONS).value == {"snaps": [
        {"name": "app", "unasserted": "app_7.snap.zst", "x-imagekit": {"sha3-384": digest("app", 7)}}]}
    assert f"{SYSTEM}/assertions/extra-snaps" not in seed
    told = as_json(plan_image(found, insides(), timestamp=model.timestamp))["packages"][-1]
    assert (told["name"], told["extra"], told["asserted"]) == ("app", True, False)


def test_signed_model_takes_no_package_beside_it_even_a_signed_one() -> None:
    brand = with_app(1)
    model = parse_model(brand.model())
    with pytest.raises(TrustError, match=r"add package 'app' to model 'pc': its grade is signed") as caught:
        resolved(model, brand.database(), "app", files=at_hand("app"))
    assert "grade dangerous" in str(caught.value.hint)


@pytest.mark.parametrize("kind", [SnapType.KERNEL, SnapType.GADGET])
def test_second_kernel_or_gadget_is_refused(kind: SnapType) -> None:
    brand = brand_with()
    with pytest.raises(PlanError, match=f"it is a {kind.value}, and an image has none but the model's"):
        resolved(dangerous(brand), brand.database(), "app", files=at_hand("app", measured=True), kind=kind)


def test_package_that_the_model_names_is_not_beside_it() -> None:
    brand = brand_with()
    with pytest.raises(PlanError, match="'pc-kernel' to model 'pc': the model names it"):
        resolved(dangerous(brand), brand.database(), "pc-kernel", files={})


def test_declaration_that_gives_the_id_of_the_models_package_another_name_is_refused() -> None:
    brand = brand_with()
    brand.sign({"type": "snap-declaration", "authority-id": "acme", "series": "16", "snap-id": snap_id("acme", "pc"),
                "snap-name": "app", "publisher-id": "acme", "timestamp": "2026-01-01T00:00:00Z", "revision": "9"})
    with pytest.raises(PlanError, match=r"its snap-id .* is that of 'pc' in the model"):
        resolved(dangerous(brand), brand.database(), "app", files=at_hand("app"))


def test_two_declarations_of_one_name_are_no_choice_of_ours() -> None:
    brand, stranger = with_app(1), Brand("stranger")
    stranger.revision("app", 1, sha3=digest("app", 1), size=SIZE)
    with pytest.raises(TrustError, match="2 snaps are declared with that name") as caught:
        extra_snap("app", SnapType.APP, dangerous(brand), brand.database(*stranger.signed))
    assert set(caught.value.details) == {snap_id("acme", "app"), snap_id("stranger", "app")}


def test_revision_that_a_stranger_signed_stops_the_build_and_is_not_taken_for_unsigned() -> None:
    brand, stranger = brand_with(), Brand("acme", key="stranger")
    stranger.revision("app", 1, sha3=digest("app", 1), size=SIZE)
    database = brand.database(*stranger.signed, stranger.account_key)
    model = dangerous(brand)
    extras = (extra_snap("app", SnapType.APP, model, database),)
    assert unsigned_files(model, database, {**available(), **at_hand("app")}, extras=extras) == ()
    with pytest.raises(TrustError):
        resolved(model, database, "app", files=at_hand("app"))


def test_package_beside_the_model_that_is_not_at_hand_is_told_with_the_remedy() -> None:
    brand = brand_with()
    with pytest.raises(PlanError, match=r"app: neither a file app_REVISION\.snap nor a signed revision") as caught:
        resolved(dangerous(brand), brand.database(), "app", files={})
    assert "--packages" in str(caught.value.hint)


def test_set_pins_and_forbids_packages_beside_the_model_and_is_content_with_them() -> None:
    brand = with_app(1, 2)
    for sequence, entry in enumerate(({"presence": "required", "revision": "1"}, {"presence": "invalid"}), start=1):
        brand.sign({"type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme",
                    "name": "tested", "sequence": str(sequence), "timestamp": "2026-01-01T00:00:00Z",
                    "snaps": ({"name": "app", "id": snap_id("acme", "app"), **entry},)})
    files = {**at_hand("app", 1), **at_hand("app", 2)}
    first, second = (parse_model(brand.model(grade="dangerous", validation_sets=(
        {"name": "tested", "mode": "enforce", "sequence": sequence},))) for sequence in ("1", "2"))
    assert resolved(first, brand.database(), "app", files=files).packages[-1].number == 1
    with pytest.raises(PlanError, match=r"app: it is asked for beside the model, .*acme/tested=2 forbids it"):
        resolved(second, brand.database(), "app", files=files)


def test_extra_has_the_modes_and_the_channel_of_snapd() -> None:
    brand = brand_with()
    made: ModelSnap = extra_snap("app", SnapType.BASE, dangerous(brand), brand.database())
    assert (made.snap_id, made.type, made.modes, made.default_channel) == (
        None, SnapType.BASE, ("run",), "latest/stable")
