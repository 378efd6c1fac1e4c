"""A newer revision of its own model reaches a device on a stick: taken, refused, attacked, cut off, and lost again."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagekit.assertions import Assertion, Header, decode_stream, encode_stream
from imagekit.assertions.signing import sign_account_key
from imagekit.device import history
from imagekit.device.anchors import own_anchors
from imagekit.device.cli import main
from imagekit.errors import ImagekitError, PlanError, TrustError
from imagekit.testing.documents import SINCE, Brand, signing_key
from tests.tools.update_rig import ARCHITECTURES, SYSTEMD_BOOT, Maker, Rig, make, root_of

pytestmark = pytest.mark.tools

BY_HAND: dict[str, Header] = {"x-imagekit": {"updates": {"automatic": "false"}}}


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("models"), SYSTEMD_BOOT)
    made.build(revision="1")
    made.base(2)
    return made


@pytest.fixture
def rig(maker: Maker, tmp_path: Path) -> Rig:
    return Rig(tmp_path / "device", maker.image, maker.loader)


def revised(revision: int, *, brand: Brand | None = None, **headers: Header) -> Assertion:
    """The device's model as its brand signs it now."""
    return (brand or Brand("acme")).model(**{"architecture": ARCHITECTURES[SYSTEMD_BOOT], "revision": str(revision)}
                                          | headers)


def stick(folder: Path, *assertions: Assertion) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "pc.model"
    path.write_bytes(encode_stream(assertions))
    return path


def take(rig: Rig, revision: int, **headers: Header) -> None:
    assert rig.install(stick(rig.folder / f"stick-{revision}", revised(revision, **headers))).model.model is not None


def governs(rig: Rig) -> int:
    return own_anchors(rig.machine).model.revision


def kept(rig: Rig, name: str = history.MODEL) -> Path:
    return history.folder_of(rig.machine) / name


def memory(rig: Rig) -> history.History:
    return history.load_history(rig.machine)


def changes(rig: Rig) -> list[tuple[str, str]]:
    return [(item.outcome, item.reason) for item in memory(rig).changes if item.what == "model"]


def told(rig: Rig, capsys: pytest.CaptureFixture[str], word: str) -> tuple[dict[str, Any], str]:
    capsys.readouterr()
    assert main([word, "--json"], machine=rig.machine) == main([word], machine=rig.machine) == 0
    document, end = json.JSONDecoder().raw_decode(text := capsys.readouterr().out)
    return document, text[end:].lstrip("\n")


def base_2(maker: Maker, folder: Path, *more: Assertion) -> Path:
    return maker.stick(folder, maker.workshop.packages / "debian-13_2.snap", more=more)


# ---- taken

def test_newer_model_counts_from_then_on_and_is_told(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    before, ran = rig.disk_state(), rig.runs
    came = rig.install(stick(rig.folder / "stick", revised(2, **BY_HAND)))
    assert (came.plan, came.installed, came.rebooting) == (None, False, False)
    assert came.model.text == "model revision 2 takes the place of 1 (x-imagekit)"
    assert rig.disk_state() == before
    assert not rig.rebooted
    rig.up()
    assert rig.runs == ran
    counts = {"brand": "acme", "model": "pc", "revision": 2, "seed_revision": 1, "lost": None}
    document, text = told(rig, capsys, "status")
    assert document["model"] == counts
    assert document["policy"]["automatic"] is False
    assert "model:  acme/pc, revision 2 (the seed has 1)\n" in text
    document, text = told(rig, capsys, "model")
    assert document.items() >= counts.items()
    assert text.startswith("acme/pc, revision 2 (the seed has 1), amd64, grade signed\n")
    document, text = told(rig, capsys, "changes")
    assert document["changes"][-1]["outcome"] == "taken"
    assert "  model: taken: model revision 2 takes the place of 1 (x-imagekit)\n" in text
    assert memory(rig).model is not None


def test_check_takes_nothing(rig: Rig) -> None:
    came = rig.install(stick(rig.folder / "stick", revised(2)), check=True)
    assert came.model.text == "model revision 2 takes the place of 1 (it says the same)"
    assert (governs(rig), kept(rig).exists(), changes(rig)) == (1, False, [])


def test_same_model_again_changes_nothing(rig: Rig) -> None:
    take(rig, 2)
    before = kept(rig, history.STATE).read_bytes()
    assert rig.install(stick(rig.folder / "again", revised(2))).model.model is None
    assert kept(rig, history.STATE).read_bytes() == before


def test_model_that_forbids_what_comes_with_it_counts_at_once(rig: Rig, maker: Maker) -> None:
    """Its validation set pins the base that runs, so that the newer one beside it is left."""
    pin: dict[str, Header] = {"name": "debian-13", "id": Brand("acme").snap("debian-13", "base")["id"],
                              "presence": "required", "revision": "1"}
    tested = Brand("acme").sign({
        "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
        "sequence": "1", "snaps": (pin,), "timestamp": "2026-01-01T00:00:00Z"})
    newer = revised(2, **{"validation-sets": ({"account-id": "acme", "name": "tested", "sequence": "1",
                                               "mode": "enforce"},)})
    with pytest.raises(PlanError, match="validation set acme/tested=1, which is not at hand"):
        rig.install(stick(rig.folder / "alone", newer))
    assert governs(rig) == 1
    assert rig.install(base_2(maker, rig.folder / "whole", newer, tested)).plan is None
    assert governs(rig) == 2
    assert rig.install(base_2(maker, rig.folder / "later")).plan is None, "the set is kept with its model"


WITHOUT = {
    "package": ("extra", "app", {}, "extra: validation set acme/tested=1 requires it, and this device has none"),
    "component": ("pc-kernel", "kernel", {"components": {"firmware": {"presence": "required"}}},
                  "pc-kernel: validation set acme/tested=1 requires its component firmware, and a device has none"),
}


@pytest.mark.parametrize(("name", "kind", "more", "why"), WITHOUT.values(), ids=WITHOUT)
def test_model_whose_set_requires_what_this_device_never_gets_is_refused(
        rig: Rig, maker: Maker, name: str, kind: str, more: dict[str, Header], why: str) -> None:
    """Gone by, it would keep every update away."""
    brand = Brand("acme")
    snaps = (*(brand.snap(*item) for item in (("pc", "gadget"), ("pc-kernel", "kernel"), ("debian-13", "base"))),
             brand.snap("extra", "app", presence="optional"))
    tested = brand.sign({
        "type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme", "name": "tested",
        "sequence": "1", "timestamp": "2026-01-01T00:00:00Z",
        "snaps": ({"name": name, "id": brand.snap(name, kind)["id"], "presence": "required", **more},)})
    newer = revised(2, snaps=snaps, **{"validation-sets": (
        {"account-id": "acme", "name": "tested", "sequence": "1", "mode": "enforce"},)})
    assert rig.install(base_2(maker, rig.folder / "stick", newer, tested)).installed
    assert (governs(rig), changes(rig)) == (
        1, [("refused", f"cannot take revision 2 of model acme/pc: {why}")])


def test_slot_that_ran_under_the_older_model_stays_the_way_back(rig: Rig, maker: Maker) -> None:
    rig.install(base_2(maker, rig.folder / "stick", revised(2)))
    rig.up()
    assert rig.roots["base"] == root_of(maker, maker.workshop.packages / "debian-13_2.snap")
    assert main(["revert"], machine=rig.machine) == 0
    rig.up()
    assert rig.roots["base"] == root_of(maker, maker.workshop.packages / "debian-13_1.snap")
    assert governs(rig) == 2


def test_base_that_cannot_come_leaves_the_model_taken(rig: Rig, maker: Maker) -> None:
    folder = base_2(maker, rig.folder / "stick", revised(2))
    (folder / "debian-13_2.snap").write_bytes(b"other bytes")
    with pytest.raises(TrustError):
        rig.install(folder)
    assert governs(rig) == 2


def test_key_that_ended_since_does_not_make_the_model_unknown(rig: Rig) -> None:
    take(rig, 2)
    rig.pass_days(4000)
    assert governs(rig) == 2


# ---- refused

def refused(rig: Rig, maker: Maker, error: type[ImagekitError], match: str, *assertions: Assertion) -> None:
    """Nothing is taken; the device goes on as it was, and takes a newer one that is true."""
    before, ran, counted = rig.disk_state(), rig.runs, governs(rig)
    with pytest.raises(error, match=match):
        rig.install(stick(rig.folder / "attack", *assertions))
    assert (rig.disk_state(), governs(rig)) == (before, counted)
    rig.up()
    assert (rig.runs, governs(rig)) == (ran, counted)
    take(rig, 9)
    assert rig.install(base_2(maker, rig.folder / "true")).installed


REFUSED: dict[str, tuple[dict[str, Header], str]] = {
    "architecture": ({"architecture": "arm64"}, "architecture: it changes from amd64 to arm64"),
    "grade": ({"grade": "dangerous"}, "grade: it falls from signed to dangerous"),
    "store": ({"store": "acme-store"}, "store: it changes from none to acme-store"),
    "policy": ({"x-imagekit": {"updates": {"urgent": "never"}}}, r"x-imagekit: updates\.urgent"),
}


@pytest.mark.parametrize(("headers", "match"), REFUSED.values(), ids=REFUSED)
def test_model_that_this_device_cannot_be_is_refused_and_told_once(rig: Rig, maker: Maker, headers: dict[str, Header],
                                                                   match: str) -> None:
    for _ in range(2):
        with pytest.raises(PlanError, match=match):
            rig.install(stick(rig.folder / "stick", revised(2, **headers)))
    assert [outcome for outcome, _ in changes(rig)] == ["refused"]
    assert rig.install(base_2(maker, rig.folder / "beside", revised(2, **headers))).installed, "no fix is kept away"
    assert governs(rig) == 1


# ---- attacks

def test_older_model_replayed(rig: Rig) -> None:
    take(rig, 3, **BY_HAND)
    before = kept(rig).read_bytes()
    came = rig.install(stick(rig.folder / "old", revised(2), revised(1)))
    assert came.model.notes == ("revision 2 of the model is left out: this device goes by revision 3",
                                "revision 1 of the model is left out: this device goes by revision 3")
    assert (governs(rig), kept(rig).read_bytes()) == (3, before)


def test_other_bytes_under_the_revision_that_counts(rig: Rig, maker: Maker) -> None:
    refused(rig, maker, PlanError, "this device goes by another one of that number", revised(1, **BY_HAND))


def test_model_signed_by_a_strangers_key(rig: Rig, maker: Maker) -> None:
    refused(rig, maker, TrustError, "cannot verify", revised(2, brand=Brand("acme", key="stranger")))


def test_root_of_trust_brought_along(rig: Rig, maker: Maker) -> None:
    mine = signing_key("stranger")
    root = sign_account_key(mine.public, account_id="acme", authority_id="acme", name="root", since=SINCE, key=mine)
    refused(rig, maker, TrustError, "cannot (verify|believe)", revised(2, brand=Brand("acme", key="stranger")), root)


def test_header_changed_after_it_was_signed(rig: Rig, maker: Maker) -> None:
    signed = revised(2)
    content = signed.content.replace(b"revision: 2", b"revision: 3")
    forged = encode_stream((signed,)).replace(signed.content, content)
    refused(rig, maker, TrustError, "cannot verify", *decode_stream(forged, name="forged"))


def test_model_of_another_brand_and_of_another_name(rig: Rig) -> None:
    stranger = Brand("stranger")
    came = rig.install(stick(rig.folder / "stick", revised(7, brand=stranger), revised(8, model="pi"), *stranger.roots))
    assert came.model.notes == ("a model is left out: it is stranger/pc, this device is acme/pc",
                                "a model is left out: it is acme/pi, this device is acme/pc")
    assert (governs(rig), kept(rig).exists()) == (1, False)


KEYS = {"expired": (SINCE, datetime(2026, 3, 1, tzinfo=UTC), "expired at 2026-03-01"),
        "not yet valid": (datetime(2026, 9, 1, tzinfo=UTC), None, "is valid from 2026-09-01"),
        "in force later than it signed": (datetime(2026, 5, 1, tzinfo=UTC), None, "lies outside the validity")}


@pytest.mark.parametrize(("since", "until", "match"), KEYS.values(), ids=[name.replace(" ", "-") for name in KEYS])
def test_key_of_the_brand_that_is_not_in_force(rig: Rig, maker: Maker, since: datetime, until: datetime | None,
                                               match: str) -> None:
    """The root vouches for a second key of its own account."""
    second = signing_key("store")
    vouched = sign_account_key(second.public, account_id="acme", authority_id="acme", name="second", since=since,
                               until=until, key=signing_key("brand"))
    brand = Brand("acme", key="store")
    refused(rig, maker, TrustError, match, revised(2, brand=brand), vouched)


def test_newer_key_of_the_brand_signs_a_model_that_counts(rig: Rig) -> None:
    second = signing_key("store")
    vouched = sign_account_key(second.public, account_id="acme", authority_id="acme", name="second", since=SINCE,
                               key=signing_key("brand"))
    rig.install(stick(rig.folder / "stick", revised(2, brand=Brand("acme", key="store")), vouched))
    rig.up()
    assert governs(rig) == 2


# ---- lost, and put back

def test_lost_model_keeps_older_ones_and_updates_away_until_it_is_back(rig: Rig, maker: Maker,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    take(rig, 3)
    kept(rig).unlink()
    assert governs(rig) == 1
    assert told(rig, capsys, "status")[0]["model"]["lost"] == 3
    lost = "it went by revision 3 of model acme/pc, which is lost here"
    with pytest.raises(TrustError, match=lost):
        rig.install(base_2(maker, rig.folder / "base"))
    for number, headers in ((2, {}), (3, BY_HAND)):
        with pytest.raises(TrustError, match=lost):
            rig.install(stick(rig.folder / "other", revised(number, **headers)))
        assert changes(rig)[-1][0] == "refused"
        assert governs(rig) == 1
    take(rig, 3)
    assert (governs(rig), told(rig, capsys, "status")[0]["model"]["lost"]) == (3, None)
    assert rig.install(base_2(maker, rig.folder / "base")).installed


def test_older_model_put_back_on_the_disk_counts_for_no_update(rig: Rig, maker: Maker) -> None:
    take(rig, 2)
    older = kept(rig).read_bytes()
    take(rig, 3)
    kept(rig).write_bytes(older)
    with pytest.raises(TrustError, match="it went by revision 3"):
        rig.install(base_2(maker, rig.folder / "base"))


@pytest.mark.parametrize("content", [b"", b"\0" * 700, b"type: model\n"], ids=["empty", "zeros", "half"])
def test_damaged_model_is_a_lost_one(rig: Rig, maker: Maker, content: bytes) -> None:
    take(rig, 2)
    kept(rig).write_bytes(content)
    assert governs(rig) == 1
    with pytest.raises(TrustError, match="it went by revision 2"):
        rig.install(base_2(maker, rig.folder / "base"))


@pytest.mark.parametrize("headers", [{"architecture": "arm64"}, {"grade": "dangerous"}], ids=["architecture", "grade"])
def test_signed_model_that_would_be_refused_does_not_count_on_the_disk_either(rig: Rig, headers: dict[str, Header]
                                                                              ) -> None:
    kept(rig).parent.mkdir(parents=True, exist_ok=True)
    kept(rig).write_bytes(encode_stream((revised(2, **headers), *Brand("acme").roots)))
    assert governs(rig) == 1


def test_strangers_model_on_the_disk_does_not_count(rig: Rig) -> None:
    kept(rig).parent.mkdir(parents=True, exist_ok=True)
    kept(rig).write_bytes(encode_stream((revised(2, brand=Brand("acme", key="stranger")), *Brand("acme").roots)))
    assert governs(rig) == 1


def test_lost_memory_goes_by_the_model_that_is_there_and_remembers_it(rig: Rig) -> None:
    take(rig, 2)
    kept(rig, history.STATE).unlink()
    assert (governs(rig), memory(rig).model) == (2, None)
    rig.install(stick(rig.folder / "again", revised(2)))
    assert memory(rig).model is not None
    assert changes(rig) == []


def test_lost_data_goes_by_the_seeds_model(rig: Rig, maker: Maker) -> None:
    take(rig, 2)
    shutil.rmtree(history.folder_of(rig.machine))
    assert governs(rig) == 1
    assert rig.install(base_2(maker, rig.folder / "base")).installed


# ---- cut

CHANGING = frozenset(("open", "write", "fsync", "rename", "mkdir", "unlink", "flock", "close"))


def cut_before(call: int, rig: Rig, path: Path, *, torn: bool) -> bool:
    """Offer a model to a process that ends without a word before its so-many-th call that may change the disk.

    With `torn`, half of what it wrote last and did not flush is gone. Whether it came to its end before.
    """
    child = os.fork()
    if child == 0:
        seen, flushed = 0, True

        def count(_: object, event: str, called: object) -> None:
            nonlocal seen, flushed
            name = getattr(called, "__name__", "")
            if event != "c_call" or name not in CHANGING:
                return
            seen += 1
            if seen == call:
                sys.setprofile(None)
                if torn and not flushed:
                    last = max(history.folder_of(rig.machine).iterdir(), key=lambda item: item.stat().st_mtime_ns)
                    os.truncate(last, last.stat().st_size // 2)
                os.kill(os.getpid(), signal.SIGKILL)
            flushed = name == "fsync" or (flushed and name != "write")

        sys.setprofile(count)
        rig.install(path)
        sys.setprofile(None)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("torn", [False, True], ids=["killed", "torn"])
def test_power_cut_at_every_write_leaves_the_old_model_or_the_new_one(rig: Rig, tmp_path: Path, torn: bool) -> None:
    take(rig, 2)
    path = stick(tmp_path / "stick", revised(3, **BY_HAND))
    folder, before = history.folder_of(rig.machine), tmp_path / "before"
    shutil.copytree(folder, before)
    seen, call, done = [], 0, False
    while not done:
        call += 1
        shutil.rmtree(folder)
        shutil.copytree(before, folder)
        done = cut_before(call, rig, path, torn=torn)
        seen.append(governs(rig))
        floor = memory(rig).model
        assert floor is not None and 2 <= floor.revision <= seen[-1], "never lost, and never above what counts"
        assert rig.install(path).model.model is None or seen[-1] == 2
        assert governs(rig) == 3
        assert memory(rig).model == history.ModelFloor(revision=3, sha3_384=memory(rig).model.sha3_384)
    assert seen == sorted(seen)
    assert set(seen) == {2, 3}
    assert call > 20
