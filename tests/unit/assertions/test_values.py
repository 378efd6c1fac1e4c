"""What the values of each type say, read from the sound documents."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from imagekit.assertions import (
    PARSERS,
    Enforcement,
    Generation,
    Grade,
    GradeAllowance,
    Model,
    ModelSet,
    SetPresence,
    SnapType,
    StorageSafety,
    allowed,
    decode_one,
    decode_stream,
    parse_account_key,
    parse_model,
    parse_preseed,
    parse_serial,
    parse_serial_request,
    parse_snap_declaration,
    parse_snap_developer,
    parse_snap_revision,
    parse_store,
    parse_system_user,
    parse_validation_set,
)
from imagekit.assertions.careful import least_format
from imagekit.assertions.devices import year_after
from imagekit.assertions.headers import Header
from imagekit.assertions.wire import Assertion
from imagekit.plan.demands import demands_of
from imagekit.schema import DocumentProblems
from tests.documents.assertions import ID, KEY, OTHER_ID, SAMPLES, SNAPS, TIME, wire


def sample(name: str, /, **changes: Header) -> Assertion:
    return decode_one(wire(name, **changes).encode(), name="x")


def model(name: str = "model", /, **changes: Header) -> Model:
    return parse_model(sample(name, **changes))


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_read_by_the_rules_of_its_type(name: str) -> None:
    assertion = sample(name)
    if assertion.type in PARSERS:
        assert PARSERS[assertion.type](assertion).assertion is assertion


def test_model_says_its_generation_and_kind() -> None:
    kinds = {name: (model(name).generation, model(name).classic, model(name).hybrid)
             for name in ("model", "model-uc16", "model-classic", "model-hybrid", "model-secured")}
    assert kinds == {"model": (Generation.UC20, False, False), "model-uc16": (Generation.UC16, False, False),
                     "model-classic": (Generation.UC16, True, False), "model-hybrid": (Generation.UC20, True, True),
                     "model-secured": (Generation.UC20, False, False)}


def test_model_before_uc20_has_tracks_and_no_grade() -> None:
    old = model("model-uc16")
    assert (old.grade, old.storage_safety, old.base) == (Grade.UNSET, StorageSafety.UNSET, "core18")
    assert [(snap.name, snap.type, snap.default_channel) for snap in old.snaps] == [
        ("pc", SnapType.GADGET, "18/stable"), ("pc-kernel", SnapType.KERNEL, "18/stable"),
        ("app-one", SnapType.APP, "latest/stable")]
    assert model("model-uc16", gadget="pc=", base=()).base == "core"
    assert model("model-classic").base == ""


def test_grade_says_what_a_builder_may_do() -> None:
    free = GradeAllowance(unasserted_snaps=True, extra_snaps=True, other_channels=True, unencrypted=True)
    bound = GradeAllowance(unasserted_snaps=False, extra_snaps=False, other_channels=False, unencrypted=True)
    assert allowed(Grade.DANGEROUS) == allowed(Grade.UNSET) == free
    assert allowed(Grade.SIGNED) == bound
    assert not allowed(Grade.SECURED).unencrypted and not allowed(Grade.SECURED).extra_snaps


def test_grades_have_the_numbers_that_are_measured() -> None:
    assert [grade.code for grade in (Grade.UNSET, Grade.DANGEROUS, Grade.SIGNED, Grade.SECURED)] == [
        0, 0x10000, 0x80000, 0x100000]


@pytest.mark.parametrize(("grade", "safety"), [
    (Grade.SECURED, StorageSafety.ENCRYPTED), (Grade.SIGNED, StorageSafety.PREFER_ENCRYPTED),
    (Grade.DANGEROUS, StorageSafety.PREFER_ENCRYPTED)])
def test_storage_is_as_safe_as_the_grade_unless_said_otherwise(grade: Grade, safety: StorageSafety) -> None:
    assert model(grade=grade.value).storage_safety == safety
    assert model(grade="signed", storage_safety="prefer-unencrypted").storage_safety == "prefer-unencrypted"


def test_brand_may_always_sign_for_its_model_and_others_as_it_says() -> None:
    secured, plain = model("model-secured"), model()
    assert secured.serial_authority == ("acme", "generic") and plain.serial_authority == ("acme",)
    assert secured.may_sign_serial("generic") and not plain.may_sign_serial("generic")
    assert secured.may_sign_system_user("anybody") and not plain.may_sign_system_user("anybody")
    assert plain.may_sign_preseed("acme") and not plain.may_sign_preseed("generic")
    assert model(serial_authority=("generic", "acme")).serial_authority == ("generic", "acme")


def test_model_names_validation_sets() -> None:
    sets = ({"name": "a", "mode": "prefer-enforce", "sequence": "3"},
            {"name": "a", "mode": "enforce", "account-id": "b"})
    assert model(validation_sets=sets).validation_sets == (
        ModelSet(account_id="acme", name="a", sequence=3, mode=Enforcement.PREFER_ENFORCE),
        ModelSet(account_id="b", name="a", sequence=None, mode=Enforcement.ENFORCE))


def test_component_has_the_modes_of_its_snap_or_some_of_them() -> None:
    app = {"name": "app-one", "id": "d" * 32, "modes": ("run", "recover"),
           "components": {"extra": "optional", "more": {"presence": "required", "modes": ("recover",)}}}
    found = model(snaps=(*SNAPS, app)).snaps[3].components
    assert [(part.name, part.presence.value, part.modes) for part in found] == [
        ("extra", "optional", ("run", "recover")), ("more", "required", ("recover",))]


def test_other_series_is_read_and_not_built() -> None:
    assert any("series: '18'" in reason for reason in demands_of(model(series="18")).not_built)


def test_key_is_in_force_until_just_before_its_end() -> None:
    key = parse_account_key(sample("account-key"))
    assert key.valid_at(key.since) and key.until is not None and not key.valid_at(key.until)
    ended = parse_account_key(sample("account-key", until=TIME))
    assert not ended.valid_at(ended.since)


def test_validation_set_says_what_must_be_there() -> None:
    found = parse_validation_set(sample("validation-set"))
    assert (found.key, found.sequence) == ("acme/base-set", 1)
    assert [(snap.name, snap.presence, snap.revision) for snap in found.snaps] == [
        ("pc", SetPresence.REQUIRED, 3), ("app-one", SetPresence.INVALID, None)]
    assert [(part.name, part.revision) for part in found.snaps[0].components] == [("extra", 2)]


def test_device_is_known_by_its_key() -> None:
    serial, request = parse_serial(sample("serial")), parse_serial_request(sample("serial-request"))
    assert serial.device_key == request.device_key == KEY
    assert (serial.brand_id, serial.model, serial.serial, request.serial) == ("acme", "pc", "7", "")


def test_system_user_goes_away_when_it_says_so() -> None:
    user = parse_system_user(sample("system-user"))
    assert user.expires == user.until and user.force_password_change and user.valid_at(user.since)
    assert not user.valid_at(user.until)
    assert parse_system_user(sample("system-user", user_presence=())).expires is None


@pytest.mark.parametrize("password", ["$6$salt$hash", "$6$rounds=5000$s$h", "$7$s./$h", "$10$s$h", "$6$x$s$h", ""])
def test_password_hashed_well_enough_is_taken(password: str) -> None:
    assert parse_system_user(sample("system-user", password=password, force_password_change=())).password == password


@pytest.mark.parametrize("password", ["$6$rounds=5000$s", "$5$s$h", "$x$s$h", "$6$s!$h", "$6$s$", "$6$rounds=$s$h",
                                      "$$$"])
def test_other_passwords_are_refused_and_never_shown(password: str) -> None:
    with pytest.raises(DocumentProblems) as caught:
        parse_system_user(sample("system-user", password=password))
    assert password not in caught.value.message


def test_a_year_ends_on_the_same_day() -> None:
    assert year_after(datetime(2027, 5, 1, tzinfo=UTC)) == datetime(2028, 5, 1, tzinfo=UTC)
    assert year_after(datetime(2028, 2, 29, tzinfo=UTC)) == datetime(2029, 3, 1, tzinfo=UTC)
    assert year_after(datetime(9999, 5, 1, tzinfo=UTC)).year == 9999


def test_declaration_says_who_may_sign_revisions() -> None:
    authority = parse_snap_declaration(sample("snap-declaration", revision_authority=(
        {"account-id": "acme", "provenance": ("ours",), "min-revision": "3", "max-revision": "5",
         "on-model": ("acme/pc",)},))).revision_authorities[0]
    assert [revision for revision in range(1, 8) if authority.permits("acme", "ours", revision)] == [3, 4, 5]
    assert not authority.permits("umbrella", "ours", 4) and not authority.permits("acme", "theirs", 4)
    assert authority.scope is not None and authority.scope.models == ("acme/pc",)


def test_rest_of_a_declaration_is_kept() -> None:
    found = parse_snap_declaration(sample("snap-declaration", refresh_control=(ID,), auto_aliases=("one",)))
    assert (found.aliases, found.auto_aliases, found.refresh_control) == ((("one", "run"),), ("one",), (ID,))
    assert found.rules.plugs == {"content"} and found.rules.slots == frozenset()


@pytest.mark.parametrize(("rule", "least"), [
    ("true", 1), ({"allow-installation": "false"}, 1),
    ({"allow-connection": {"plug-attributes": {"a": "b"}}}, 1),
    ({"allow-connection": {"plug-attributes": {"a": "$MISSING"}}}, 2),
    ({"allow-connection": {"slot-attributes": {"a": "$PLUG(a)"}}}, 2),
    ({"deny-installation": {"on-store": ("shop",)}}, 3),
    ({"allow-connection": {"plug-names": ("$INTERFACE", "a.*")}}, 4),
    ({"allow-connection": {"plug-attributes": {"a": ("b", "c")}}}, 5),
    ({"allow-connection": ({"plug-attributes": {"a": "b"}}, {"slot-attributes": {"a": "$PLUG_PUBLISHER_ID"}})}, 6),
])
def test_rule_of_an_interface_needs_a_format(rule: Header, least: int) -> None:
    assertion = sample("snap-declaration", plugs={"network": rule})
    assert parse_snap_declaration(assertion).rules.least_format == least == least_format(assertion)


def test_installation_rule_without_known_constraints_is_taken_as_the_field_takes_it() -> None:
    parse_snap_declaration(sample("snap-declaration", slots={"network": {"allow-installation": {"other": "x"}}}))


def test_preseed_names_the_snaps_that_are_inside() -> None:
    found = parse_preseed(sample("preseed"))
    assert [(snap.name, snap.snap_id, snap.revision, snap.components) for snap in found.snaps] == [
        ("pc", ID, 3, (("extra", 2),)), ("local", None, None, ())]


def test_revision_has_its_hash_tree_and_provenance() -> None:
    found = parse_snap_revision(sample("snap-revision"))
    assert (found.provenance, found.integrity[0].digest, found.verity_root) == ("global-upload", "0f" * 32, None)


def test_store_without_an_address_is_taken() -> None:
    assert parse_store(sample("store", url=())).url == ""


def test_developer_is_revoked_by_an_empty_period() -> None:
    both = ({"developer-id": "smith", "since": TIME, "until": TIME}, {"developer-id": "jones", "since": TIME})
    assert [item.revoked for item in parse_snap_developer(sample("snap-developer", developers=both)).developers] == [
        True, False]


def test_problem_of_a_stream_is_told_at_its_line_in_the_file() -> None:
    raw = (wire("model") + "\n" + wire("validation-set", name="X")).encode()
    second = decode_stream(raw, name="both.assert")[1]
    with pytest.raises(DocumentProblems) as caught:
        parse_validation_set(second)
    line = caught.value.problems[0].line
    assert raw.decode().split("\n")[line - 1] == "name: X"
    assert caught.value.message.startswith(f"both.assert:{line}: name: 'X' is not")


def test_snap_ids_of_two_snaps_differ() -> None:
    with pytest.raises(DocumentProblems, match="named twice"):
        parse_validation_set(sample("validation-set", snaps=(
            {"name": "a1", "id": OTHER_ID}, {"name": "a2", "id": OTHER_ID})))
