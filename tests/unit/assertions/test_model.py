"""The rules of models."""

from __future__ import annotations

from typing import Any

import pytest

from imagekit.assertions import Grade, ModelSnap, SnapType, parse_model, snap_id
from imagekit.assertions.model_reader import channel_problem
from imagekit.errors import DocumentError
from imagekit.schema import DocumentProblems, dotted
from imagekit.testing.documents import Brand, real

ID = "a" * 32


def snap(name: str, kind: str = "app", **more: Any) -> dict[str, Any]:
    return Brand("acme").snap(name, kind) | more


CORE = (snap("pc", "gadget"), snap("pc-kernel", "kernel"), snap("debian-13", "base"))


def test_own_model_says_what_it_wants() -> None:
    model = parse_model(Brand().model(revision="3"))
    assert (model.brand_id, model.model, model.base, model.grade) == ("acme", "pc", "debian-13", Grade.SIGNED)
    assert model.revision == 3 and not model.classic
    assert model.kernel.name == "pc-kernel" and model.gadget.name == "pc" and model.base_snap.type == SnapType.BASE
    assert model.kernel.snap_id == snap_id("acme", "pc-kernel")
    assert model.kernel.modes == ("run", "ephemeral")


def test_real_model_with_snaps_is_read() -> None:
    model = parse_model(real("valid-for-testing-pc-20.model")[0])
    assert model.grade == Grade.DANGEROUS
    assert [item.name for item in model.snaps] == ["pc", "pc-kernel", "core20", "snapd"]
    assert model.base_snap.snap_id == "DLqre5XGLbDqg9jPtiAhRRjDuPVa5X1q"
    assert model.kernel.default_channel == "20/edge"


def test_real_model_of_the_older_kind_is_read() -> None:
    model = parse_model(real("valid-for-testing-pc-18.model")[0])
    assert model.grade == Grade.UNSET
    assert (model.kernel.name, model.kernel.default_channel, model.kernel.snap_id) == ("pc-kernel", "18/stable", None)
    assert model.base_snap.name == "core18"


def test_defaults_of_an_entry() -> None:
    model = parse_model(Brand().model(snaps=(*CORE, {"name": "app", "id": ID})))
    assert model.snaps[-1] == ModelSnap(name="app", snap_id=ID, type=SnapType.APP, default_channel="latest/stable",
                                        presence=model.snaps[-1].presence, modes=("run",))
    assert model.snaps[-1].presence == "required"


def test_well_known_base_may_be_left_out() -> None:
    model = parse_model(Brand().model(base="core20", snaps=CORE[:2]))
    assert model.base_snap.snap_id == "DLqre5XGLbDqg9jPtiAhRRjDuPVa5X1q"


def test_dangerous_model_may_leave_out_ids_and_any_base() -> None:
    model = parse_model(Brand().model(grade="dangerous", snaps=({"name": "pc", "type": "gadget"}, CORE[1])))
    assert model.gadget.snap_id is None and model.base_snap.snap_id is None


def test_classic_model_needs_neither_kernel_nor_gadget_but_says_so_when_asked() -> None:
    model = parse_model(Brand().model(classic="true", distribution="debian", snaps=(CORE[2],)))
    assert model.classic
    with pytest.raises(DocumentError, match="names no kernel"):
        _ = model.kernel


GOOD: list[dict[str, Any]] = [
    {"snaps": (*CORE, snap("app", modes=("run", "recover"), presence="optional"))},
    {"snaps": (*CORE, snap("app", components={"aa": "optional", "bb": {"presence": "required", "modes": ("run",)}}))},
    {"grade": "secured", "storage-safety": "encrypted"},
    {"serial-authority": ("generic",), "system-user-authority": "*", "preseed-authority": ("acme",)},
    {"validation-sets": ({"name": "base-set", "mode": "enforce", "sequence": "1"},
                         {"name": "base-set", "mode": "prefer-enforce", "account-id": "other"})},
    {"classic": "true", "distribution": "debian", "snaps": (*CORE, snap("app", classic="true"))},
    {"unknown-header": "kept"},
]


@pytest.mark.parametrize("headers", GOOD)
def test_allowed_model_is_accepted(headers: dict[str, Any]) -> None:
    parse_model(Brand().model(**headers))


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"authority-id": "other"}, "authority-id", "is not the brand 'acme'"),
    ({"series": "18"}, "series", "the only series"),
    ({"model": "PC"}, "model", "not a model name"),
    ({"model": "pc--x"}, "model", "not a model name"),
    ({"architecture": ()}, "architecture", "missing"),
    ({"base": ()}, "base", "missing"),
    ({"timestamp": ()}, "timestamp", "missing"),
    ({"grade": "unset"}, "grade", "not one of"),
    ({"grade": "best"}, "grade", "not one of"),
    ({"storage-safety": "none"}, "storage-safety", "not one of"),
    ({"grade": "secured", "storage-safety": "prefer-encrypted"}, "storage-safety", "only 'encrypted'"),
    ({"classic": "yes"}, "classic", "not true or false"),
    ({"kernel": "pc-kernel"}, "kernel", "does not go with"),
    ({"gadget": "pc"}, "gadget", "does not go with"),
    ({"required-snaps": ("x",)}, "required-snaps", "does not go with"),
    ({"distribution": "debian"}, "distribution", "only with a classic model"),
    ({"classic": "true"}, "distribution", "missing"),
    ({"snaps": "pc"}, "snaps", "is not a list of maps"),
    ({"snaps": (*CORE, "app")}, "snaps[3]", "is not a map"),
    ({"snaps": CORE[1:]}, "snaps", "of type gadget"),
    ({"snaps": (CORE[0], CORE[2])}, "snaps", "of type kernel"),
    ({"snaps": CORE[:2]}, "snaps", "the base 'debian-13' is not among them"),
    ({"snaps": (*CORE, snap("pc2", "gadget"))}, "snaps", "2 of type gadget"),
    ({"snaps": (*CORE, snap("k2", "kernel"))}, "snaps", "2 of type kernel"),
    ({"snaps": (*CORE, snap("snapd", "snapd"), snap("snapd-2", "snapd"))}, "snaps", "2 of type snapd"),
    ({"snaps": (*CORE, snap("pc", "app", id=ID))}, "snaps[3].name", "named twice"),
    ({"snaps": (*CORE, snap("a1", id=ID), snap("a2", id=ID))}, "snaps[4].id", "named twice"),
    ({"snaps": (*CORE[:2], snap("debian-13", "app"))}, "snaps[2].type", "is the model's base"),
    ({"snaps": (*CORE, snap("x"))}, "snaps[3].name", "not a snap name"),
    ({"snaps": (*CORE, snap("app", id=()))}, "snaps[3].id", "missing"),
    ({"snaps": (*CORE, snap("app", id="../../etc"))}, "snaps[3].id", "not a snap id"),
    ({"snaps": (*CORE, snap("app", "wardrobe"))}, "snaps[3].type", "not one of app"),
    ({"snaps": (*CORE, snap("app", presence="maybe"))}, "snaps[3].presence", "not one of"),
    ({"snaps": (*CORE, snap("app", modes=("RUN",)))}, "snaps[3].modes[0]", "not a mode"),
    ({"snaps": (*CORE, snap("app", modes="run"))}, "snaps[3].modes", "is not a list of texts"),
    ({"snaps": (*CORE, snap("app", classic="true"))}, "snaps[3].classic", "classic model"),
    ({"snaps": (*CORE, snap("app", components="x"))}, "snaps[3].components", "is not a map"),
    ({"snaps": (*CORE, snap("app", components={"cc": "maybe"}))}, "snaps[3].components.cc.presence",
     "required, optional"),
    ({"snaps": (*CORE, snap("app", components={"cc": {"presence": "required", "modes": ("recover",)}}))},
     "snaps[3].components.cc.modes[0]", "not among the modes"),
    ({"snaps": (snap("pc", "gadget", modes=("run",)), *CORE[1:])}, "snaps[0].modes", "always and in every mode"),
    ({"snaps": (*CORE[:2], snap("debian-13", "base", presence="optional"))}, "snaps[2].presence", "always"),
    ({"snaps": (*CORE, snap("app", **{"default-channel": "stable"}))}, "snaps[3].default-channel", "names no track"),
    ({"serial-authority": "generic"}, "serial-authority", "is not a list of account ids"),
    ({"serial-authority": ("no such/id",)}, "serial-authority[0]", "not an account id"),
    ({"system-user-authority": "acme"}, "system-user-authority", "is not a list of account ids, or *"),
    ({"validation-sets": ({"name": "s", "mode": "monitor"},)}, "validation-sets[0].mode",
     "not one of enforce, prefer-enforce"),
    ({"validation-sets": ({"name": "s", "mode": "enforce", "sequence": "0"},)},
     "validation-sets[0].sequence", "least 1"),
    ({"validation-sets": ({"name": "s", "mode": "enforce"}, {"name": "s", "mode": "enforce"})},
     "validation-sets[1].name", "named twice"),
    ({"snaps": (), "grade": (), "kernel": "pc-kernel"}, "gadget", "missing"),
    ({"snaps": (), "kernel": "pc-kernel", "gadget": "pc=1/2"}, "gadget", "=TRACK"),
    ({"snaps": (), "kernel": "pc-kernel", "gadget": "pc"}, "grade", "needs the header 'snaps'"),
    ({"snaps": (), "grade": (), "classic": "true", "kernel": "pc-kernel"}, "kernel",
     "does not go with a classic model"),
    ({"snaps": (), "grade": (), "kernel": "k-k", "gadget": "pc", "required-snaps": ("x",)},
     "required-snaps[0]", "snap name"),
]


@pytest.mark.parametrize(("headers", "place", "reason"), BAD, ids=[f"{place}: {reason}" for _, place, reason in BAD])
def test_broken_rule_is_refused_at_its_place(headers: dict[str, Any], place: str, reason: str) -> None:
    with pytest.raises(DocumentProblems) as caught:
        parse_model(Brand().model(**headers))
    found = [(dotted(problem.path), problem.text) for problem in caught.value.problems]
    assert any(path == place and reason in text for path, text in found), found
    assert all(problem.rule and problem.line for problem in caught.value.problems)


@pytest.mark.parametrize("channel", ["latest/stable", "20/edge", "20", "1.2-x/beta/fix-17"])
def test_channel_with_a_track_is_allowed(channel: str) -> None:
    assert channel_problem(channel) is None


@pytest.mark.parametrize("channel", ["stable", "edge/fix", "", "20/", "20/fast", "20/edge/", "a/edge/b/c", "/edge"])
def test_other_channels_are_not(channel: str) -> None:
    assert channel_problem(channel) is not None


def test_another_type_is_no_model() -> None:
    with pytest.raises(DocumentError, match="expected model"):
        parse_model(Brand().account)
