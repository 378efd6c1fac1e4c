"""From a model to exact packages: grades, validation sets, delegated revisions, and a brand that is no root."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest

from imagekit.assertions import (
    Assertion,
    Database,
    Disbelief,
    Header,
    Model,
    decode_one,
    decode_stream,
    parse_model,
    snap_id,
)
from imagekit.errors import PlanError, TrustError
from imagekit.plan.image import as_json, plan_image
from imagekit.plan.resolve import Measured, PackageFile, Resolution, resolve, unsigned_files
from imagekit.plan.seed import OPTIONS, seed_files
from imagekit.schema import load_yaml
from imagekit.testing.documents import NOW, Brand, VouchedBrand, holding
from imagekit.testing.plans import ROOTS, SIZES, available, brand_with, digest, insides
from imagekit.units import MIB

KINDS = {"pc": "gadget", "pc-kernel": "kernel", "debian-13": "base"}
Snap = Mapping[str, Header]


def demanded(name: str, **more: Header) -> Snap:
    """An entry of a validation set."""
    return {"name": name, "id": snap_id("acme", name), **more}


def a_set(brand: Brand, *snaps: Snap, name: str = "tested", sequence: int = 1) -> Assertion:
    return brand.sign({"type": "validation-set", "authority-id": brand.name, "series": "16", "account-id": brand.name,
                       "name": name, "sequence": str(sequence), "timestamp": "2026-01-01T00:00:00Z", "snaps": snaps})


def named(name: str = "tested", mode: str = "enforce", **more: Header) -> Snap:
    """An entry of a model's validation-sets."""
    return {"name": name, "mode": mode, **more}


def with_sets(brand: Brand, *sets: Snap, **headers: Header) -> Model:
    return parse_model(brand.model(validation_sets=sets, **headers))


def numbers(resolution: Resolution) -> dict[str, int]:
    return {package.name: package.number for package in resolution.packages}


# --- validation sets


@pytest.mark.parametrize("mode", ["enforce", "prefer-enforce"])
def test_set_pins_the_revision_that_is_taken(mode: str) -> None:
    brand = brand_with(("pc", 1), ("pc", 2), ("pc-kernel", 1), ("debian-13", 1))
    a_set(brand, demanded("pc", revision="1"), demanded("pc-kernel"))
    files = available(("pc", 1), ("pc", 2), ("pc", 3), ("pc-kernel", 1), ("debian-13", 1))
    found = resolve(with_sets(brand, named(mode=mode)), brand.database(), files, now=NOW)
    assert numbers(found) == {"pc": 1, "pc-kernel": 1, "debian-13": 1}
    assert [(item.name, item.pinned) for item in found.sets] == [("acme/tested=1", False)]


def test_sets_go_into_the_seed_and_the_plan() -> None:
    brand = brand_with()
    kept = a_set(brand, demanded("pc"))
    found = resolve(with_sets(brand, named(sequence="1")), brand.database(), available(), now=NOW)
    raw = seed_files(found)["systems/20260101/assertions/model-etc"]
    assert isinstance(raw, bytes) and kept in decode_stream(raw, name="model-etc")
    plan = plan_image(found, insides(), timestamp=found.model.timestamp)
    assert as_json(plan)["validation-sets"] == [
        {"account-id": "acme", "name": "tested", "sequence": 1, "pinned": True}]


def test_newest_sequence_at_hand_counts_and_a_pinned_one_stays() -> None:
    brand = brand_with(("pc", 1), ("pc", 2), ("pc-kernel", 1), ("debian-13", 1))
    a_set(brand, demanded("pc", revision="1"))
    a_set(brand, demanded("pc", revision="2"), sequence=10)
    a_set(brand, demanded("pc", revision="1"), sequence=9)
    files = available(("pc", 1), ("pc", 2), ("pc-kernel", 1), ("debian-13", 1))
    assert numbers(resolve(with_sets(brand, named()), brand.database(), files, now=NOW))["pc"] == 2
    assert numbers(resolve(with_sets(brand, named(sequence="9")), brand.database(), files, now=NOW))["pc"] == 1


def test_key_of_a_set_or_of_the_store_ends_what_a_build_found_too() -> None:
    brand, ends = brand_with(), NOW + timedelta(days=9)
    tester = VouchedBrand("tester", store=brand, key="stranger", until=ends)
    kept = a_set(tester, demanded("pc"))
    model = with_sets(brand, named(**{"account-id": "tester"}))
    found = resolve(model, brand.database(*tester.vouched, kept), available(), now=NOW)
    assert found.valid_until == ends
    assert replace(found, sets=()).valid_until is None
    assert replace(found, sets=(), store=found.sets[0].chain).valid_until == ends


def test_set_that_is_not_at_hand_is_told_with_the_remedy() -> None:
    brand = brand_with()
    a_set(brand, demanded("pc"), sequence=2)
    for entry, text in ((named("other"), "acme/other"), (named(sequence="3"), "acme/tested=3")):
        with pytest.raises(PlanError, match=f"validation set {text}, which is not at hand") as caught:
            resolve(with_sets(brand, entry), brand.database(), available(), now=NOW)
        assert "NAME.validation-set" in str(caught.value.hint)


def test_sequence_of_a_set_rolled_back_by_a_broken_newer_one() -> None:
    brand = brand_with()
    a_set(brand, demanded("pc"))
    newer = a_set(brand, demanded("pc", presence="invalid"), sequence=2)
    broken = decode_one(newer.encode().replace(b"presence: invalid", b"presence: optional"), name="broken")
    brand.signed.remove(newer)
    with pytest.raises(TrustError, match="changed after it was signed"):
        resolve(with_sets(brand, named()), brand.database(broken), available(), now=NOW)


def test_set_by_a_stranger_in_the_brands_name() -> None:
    brand, stranger = brand_with(), Brand("acme", key="stranger")
    forged = a_set(stranger, demanded("pc"))
    with pytest.raises(TrustError):
        resolve(with_sets(brand, named()), brand.database(forged), available(), now=NOW)


def test_required_snap_that_the_model_does_not_name_and_forbidden_ones_that_it_does() -> None:
    brand = brand_with()
    a_set(brand, demanded("pc", presence="invalid"), demanded("app"), demanded("other", presence="optional"))
    with pytest.raises(PlanError, match="validation sets do not allow it") as caught:
        resolve(with_sets(brand, named()), brand.database(), available(), now=NOW)
    assert caught.value.details == (
        "pc: the model requires it, validation set acme/tested=1 forbids it",
        "app: validation set acme/tested=1 requires it, the model does not name it")


def test_revision_that_a_set_pins_and_nobody_has() -> None:
    brand = brand_with()
    a_set(brand, demanded("pc", revision="7"))
    with pytest.raises(PlanError, match=r"pc: files of revision 1, signed is 1, .*acme/tested=1 pins revision 7"):
        resolve(with_sets(brand, named()), brand.database(), available(), now=NOW)


@pytest.mark.parametrize(("first", "second"), [
    ({"revision": "1"}, {"revision": "2"}), ({}, {"presence": "invalid"}),
    ({"revision": "1"}, {"presence": "optional", "revision": "2"}),
])
def test_conflicting_sets_are_told_with_what_each_demands(first: Snap, second: Snap) -> None:
    brand = brand_with()
    a_set(brand, demanded("pc", **first))
    a_set(brand, demanded("pc", **second), name="second")
    with pytest.raises(PlanError, match=r"are in conflict: snap 'pc': acme/tested=1 has it required.*acme/second=1"):
        resolve(with_sets(brand, named(), named("second")), brand.database(), available(), now=NOW)


def test_optional_at_two_revisions_forbids_an_optional_snap() -> None:
    brand = brand_with()
    brand.revision("app", 1, sha3=digest("app", 1), size=4096)
    snaps = tuple(brand.snap(name, kind) for name, kind in KINDS.items())
    app = brand.snap("app", "app", presence="optional")
    files = {**available(), ("app", 1): PackageFile(path="app_1.snap", size=4096, seed_size=10)}
    model = with_sets(brand, named(), named("second"), snaps=(*snaps, app))
    a_set(brand, demanded("app", presence="optional", revision="1"))
    a_set(brand, demanded("app", presence="optional", revision="2"), name="second")
    assert "app" not in numbers(resolve(model, brand.database(), files, now=NOW))
    without = parse_model(brand.model(model="free", snaps=(*snaps, app)))
    assert "app" in numbers(resolve(without, brand.database(), files, now=NOW))


def test_optional_snap_of_the_model_that_a_set_requires_must_be_there() -> None:
    brand = brand_with()
    a_set(brand, demanded("app"))
    snaps = (*(brand.snap(name, kind) for name, kind in KINDS.items()), brand.snap("app", "app", presence="optional"))
    with pytest.raises(PlanError, match=r"app: neither a file app_REVISION\.snap nor a signed revision"):
        resolve(with_sets(brand, named(), snaps=snaps), brand.database(), available(), now=NOW)


def test_component_that_a_set_requires_cannot_be_kept() -> None:
    brand = brand_with()
    a_set(brand, demanded("pc-kernel", components={"wifi": "required"}))
    with pytest.raises(PlanError, match="requires its component 'wifi', and components are not put into images"):
        resolve(with_sets(brand, named()), brand.database(), available(), now=NOW)


# --- grades


def loose(name: str, number: int = 2) -> dict[tuple[str, int], PackageFile]:
    measured = Measured(sha3_384=digest(name, number), verity_root=ROOTS.get(name))
    return {(name, number): PackageFile(path=f"packages/{name}_{number}.snap", size=SIZES[name], seed_size=100,
                                        measured=measured)}


def test_dangerous_model_takes_a_newer_file_that_nobody_signed_and_marks_it() -> None:
    brand = brand_with()
    model = parse_model(brand.model(grade="dangerous"))
    files = {**available(), **loose("pc-kernel")}
    assert unsigned_files(model, brand.database(), files) == (("pc-kernel", 2),)
    found = resolve(model, brand.database(), files, now=NOW)
    kernel = found.of(model.kernel)
    assert (kernel.number, kernel.asserted, kernel.verity_root) == (2, False, ROOTS["pc-kernel"])
    seed = seed_files(found)
    assert {path for path in seed if path.endswith(".zst")} == {
        "snaps/pc_1.snap.zst", "snaps/debian-13_1.snap.zst", "systems/20260101/snaps/pc-kernel_2.snap.zst"}
    raw = seed[f"systems/20260101/{OPTIONS}"]
    assert isinstance(raw, bytes)
    assert load_yaml(raw, name=OPTIONS).value == {"snaps": [{
        "name": "pc-kernel", "id": snap_id("acme", "pc-kernel"), "unasserted": "pc-kernel_2.snap.zst",
        "x-imagekit": {"sha3-384": digest("pc-kernel", 2), "verity-root": ROOTS["pc-kernel"]}}]}
    packages = as_json(plan_image(found, insides(), timestamp=model.timestamp))["packages"]
    assert {item["name"]: item["asserted"] for item in packages} == {"pc": True, "pc-kernel": False, "debian-13": True}


def test_dangerous_model_may_leave_out_ids_and_every_signature() -> None:
    brand = Brand("acme")
    snaps = tuple({"name": name, "type": kind} for name, kind in KINDS.items())
    model = parse_model(brand.model(grade="dangerous", snaps=snaps))
    files = {**loose("pc"), **loose("pc-kernel"), **loose("debian-13")}
    found = resolve(model, brand.database(), files, now=NOW)
    assert not any(package.asserted for package in found.packages)
    assert "systems/20260101/assertions/snaps" not in seed_files(found)


def test_remedy_for_a_missing_package_is_not_to_sign_another_one() -> None:
    brand = Brand("acme")
    model = parse_model(brand.model(grade="dangerous"))
    with pytest.raises(PlanError, match="debian-13: neither a file") as caught:
        resolve(model, brand.database(), {**loose("pc"), **loose("pc-kernel")}, now=NOW)
    assert "--packages DIR" in str(caught.value.hint)


def test_signed_revision_wins_over_an_older_file_that_nobody_signed() -> None:
    brand = brand_with(("pc", 2), ("pc-kernel", 1), ("debian-13", 1))
    model = parse_model(brand.model(grade="dangerous"))
    files = {**available(("pc", 2), ("pc-kernel", 1), ("debian-13", 1)), **loose("pc", 1)}
    assert resolve(model, brand.database(), files, now=NOW).of(model.gadget).asserted
    assert unsigned_files(model, brand.database(), files) == ()


def test_signed_model_takes_no_file_that_nobody_signed_even_if_it_was_measured() -> None:
    brand = brand_with()
    model = parse_model(brand.model())
    files = {**available(), **loose("pc-kernel")}
    assert unsigned_files(model, brand.database(), files) == ()
    with pytest.raises(TrustError, match=r"pc-kernel_2\.snap is newer than revision 1"):
        resolve(model, brand.database(), files, now=NOW)


def test_revision_that_a_set_pins_is_not_replaced_by_an_unsigned_file() -> None:
    brand = brand_with()
    a_set(brand, demanded("pc-kernel", revision="1"))
    files = {**available(), **loose("pc-kernel")}
    found = resolve(with_sets(brand, named(), grade="dangerous"), brand.database(), files, now=NOW)
    assert numbers(found)["pc-kernel"] == 1


def test_secured_model_is_refused_with_what_the_grade_demands() -> None:
    brand = brand_with()
    with pytest.raises(PlanError, match=r"'secured' demands .* encrypted .* TPM; images are not encrypted yet"):
        resolve(parse_model(brand.model(grade="secured")), brand.database(), available(), now=NOW)


# --- generations


def older(brand: Brand, **headers: Header) -> Model:
    """A model of UC18."""
    base: dict[str, Header] = {
        "type": "model", "authority-id": "acme", "series": "16", "brand-id": "acme", "model": "pc-18",
        "architecture": "amd64", "base": "core18", "gadget": "pc=18", "kernel": "pc-kernel=18",
        "required-snaps": ("app",), "timestamp": "2026-01-01T00:00:00Z"}
    made = base | headers
    return parse_model(brand.sign({name: value for name, value in made.items() if value != ()}))


def test_model_of_uc18_is_refused_with_what_would_and_would_not_be_built() -> None:
    brand = brand_with()
    with pytest.raises(PlanError, match="a model of UC16 or UC18 gives no ids and no grade") as caught:
        resolve(older(brand), brand.database(), available(), now=NOW)
    assert caught.value.details == ("could be built: snaps: gadget pc, kernel pc-kernel, app app",)
    with pytest.raises(PlanError, match="core: a reserved header") as caught:
        resolve(older(brand, core="x"), brand.database(), available(), now=NOW)
    assert [line.partition(":")[0] for line in caught.value.details] == ["not built", "could be built"]


def test_classic_models_are_refused_each_with_its_reason() -> None:
    brand = brand_with()
    plain = older(brand, classic="true", kernel=(), base=(), gadget=(), **{"required-snaps": ("app",)})
    with pytest.raises(PlanError, match="no kernel and no base of its own, so there is no disk to make"):
        resolve(plain, brand.database(), available(), now=NOW)
    hybrid = parse_model(brand.model(classic="true", distribution="debian"))
    with pytest.raises(PlanError, match="a hybrid system boots a classic root file system"):
        resolve(hybrid, brand.database(), available(), now=NOW)


# --- a root, and a brand under it


def under_a_store() -> tuple[VouchedBrand, Model, Database]:
    """A brand whose account and key a store vouches for, and whose packages the store signs."""
    store = Brand("store")
    brand = VouchedBrand("acme", store=store)
    for name in SIZES:
        store.sign({"type": "snap-declaration", "authority-id": "store", "series": "16",
                    "snap-id": snap_id("acme", name), "snap-name": name, "publisher-id": "acme",
                    "timestamp": "2026-01-01T00:00:00Z"})
        headers: dict[str, Header] = {
            "type": "snap-revision", "authority-id": "store", "snap-sha3-384": digest(name, 1),
            "snap-id": snap_id("acme", name), "snap-revision": "1", "snap-size": str(SIZES[name]),
            "developer-id": "acme", "timestamp": "2026-01-01T00:00:00Z"}
        store.sign(headers | ({"verity-root": ROOTS[name]} if name in ROOTS else {}))
    model = parse_model(brand.model())
    return brand, model, brand.database(*store.signed)


def test_brand_under_a_store_builds_a_plan_and_its_seed_needs_the_root_alone() -> None:
    brand, model, database = under_a_store()
    found = resolve(model, database, available(), now=NOW)
    assert plan_image(found, insides(), timestamp=model.timestamp).disk_size > 64 * MIB
    seed = seed_files(found)
    streams = [seed[f"systems/20260101/{path}"] for path in ("model", "assertions/model-etc", "assertions/snaps")]
    carried = [item for raw in streams if isinstance(raw, bytes) for item in decode_stream(raw, name="seed")]
    fresh = holding([brand.store.account_key], *carried)
    for item in carried:
        fresh.verify(item, now=NOW)
    assert {item.type for item in carried} == {"model", "account", "account-key", "snap-declaration", "snap-revision"}


def test_brand_under_a_store_without_its_account_does_not_build() -> None:
    brand, model, _ = under_a_store()
    database = holding(brand.roots, brand.account_key, *brand.signed, *brand.store.signed)
    with pytest.raises(Disbelief, match="nothing at hand says who 'acme' is"):
        resolve(model, database, available(), now=NOW)


def delegated(scope: Snap) -> tuple[Model, Database]:
    """The gadget's revision is signed by the brand, to which the store delegates it."""
    brand, _, _ = under_a_store()
    store = brand.store
    declared = next(item for item in store.signed if item.type == "snap-declaration" and item.text("snap-name") == "pc")
    signed = next(item for item in store.signed if item.type == "snap-revision" and item.text("snap-id")
                  == snap_id("acme", "pc"))
    for item in (declared, signed):
        store.signed.remove(item)
    store.sign({**unsigned(declared), "revision-authority": (
        {"account-id": "acme", "provenance": ("built-here",), **scope},)})
    brand.sign({**unsigned(signed), "authority-id": "acme", "provenance": "built-here"})
    model = parse_model(brand.model())
    return model, brand.database(*store.signed)


def unsigned(assertion: Assertion) -> dict[str, Header]:
    return {name: value for name, value in assertion.headers.items() if name != "sign-key-sha3-384"}


@pytest.mark.parametrize("scope", [{}, {"on-brand": ("acme",)}, {"on-model": ("acme/pc",)},
                                   {"on-brand": ("acme",), "on-model": ("acme/pc", "acme/other")}])
def test_delegated_revision_is_built_for_the_models_that_it_is_for(scope: Snap) -> None:
    model, database = delegated(scope)
    found = resolve(model, database, available(), now=NOW).of(model.gadget).revision
    assert found is not None and found.provenance == "built-here"


@pytest.mark.parametrize("scope", [{"on-brand": ("other",)}, {"on-model": ("acme/other",)}, {"on-store": ("x",)}])
def test_delegated_revision_meant_for_other_models_is_refused(scope: Snap) -> None:
    model, database = delegated(scope)
    with pytest.raises(TrustError, match="of provenance 'built-here', but not for model acme/pc"):
        resolve(model, database, available(), now=NOW)


# --- attacks


def test_higher_revision_forged_for_a_file_at_hand_stops_the_build() -> None:
    brand = brand_with()
    forged = Brand("acme", key="stranger").revision("pc", 2, sha3=digest("pc", 2), size=SIZES["pc"])
    model = parse_model(brand.model())
    files = {**available(), ("pc", 2): replace(available()["pc", 1], path="packages/pc_2.snap")}
    with pytest.raises(TrustError):
        resolve(model, brand.database(forged), files, now=NOW)


def test_forged_revision_of_the_same_number_does_not_stop_the_build() -> None:
    brand = brand_with()
    forged = Brand("acme", key="stranger").revision("pc", 1, sha3="f" * 64, size=SIZES["pc"])
    model = parse_model(brand.model())
    assert numbers(resolve(model, brand.database(forged), available(), now=NOW))["pc"] == 1


def test_declaration_that_gives_the_id_another_name_is_refused() -> None:
    brand = brand_with()
    declared = next(item for item in brand.signed if item.type == "snap-declaration" and item.text("snap-name") == "pc")
    renamed = brand.sign({**unsigned(declared), "snap-name": "other", "revision": "1"})
    model = parse_model(brand.model())
    with pytest.raises(TrustError, match="its snap-declaration names it 'other'"):
        resolve(model, brand.database(renamed), available(), now=NOW)


def test_model_with_one_changed_byte_builds_nothing() -> None:
    brand = brand_with()
    broken = decode_one(brand.model().encode().replace(b"grade: signed", b"grade: dangerous"), name="broken")
    with pytest.raises(TrustError, match="changed after it was signed"):
        resolve(parse_model(broken), brand.database(), available(), now=NOW)
