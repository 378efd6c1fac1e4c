"""The order in which a store goes up, and how long each file may be cached."""

from __future__ import annotations

from imagekit.plan.upload import FOREVER, SHORT, TIMESTAMP, plan_upload

FILES = {
    "metadata/timestamp.json": 1, "metadata/2.root.json": 2, "metadata/10.root.json": 2, "metadata/7.snapshot.json": 3,
    "metadata/3.targets.json": 4, "metadata/5.publisher-acme.json": 5, "targets/channels/aa.small.json": 6,
    "targets/packages/small/bb.small_1.snap.zst": 7,
}


def names(**more: object) -> list[str]:
    return [item.name for item in plan_upload(FILES, more.get("there", ()), (),  # type: ignore[arg-type]
                                              late_roots=more.get("late", ())).uploads]  # type: ignore[arg-type]


def test_targets_come_first_and_the_timestamp_last() -> None:
    order = names()
    assert order[:2] == ["targets/channels/aa.small.json", "targets/packages/small/bb.small_1.snap.zst"]
    assert order[2:5] == ["metadata/3.targets.json", "metadata/5.publisher-acme.json", "metadata/7.snapshot.json"]
    assert order[5:] == ["metadata/2.root.json", "metadata/10.root.json", TIMESTAMP]


def test_a_root_that_the_timestamp_does_not_need_comes_behind_it() -> None:
    assert names(late=("metadata/10.root.json",))[-3:] == ["metadata/2.root.json", TIMESTAMP, "metadata/10.root.json"]


def test_what_is_there_is_left_alone() -> None:
    plan = plan_upload(FILES, ["metadata/2.root.json", "targets/channels/aa.small.json"], [])
    assert plan.there == 2 and len(plan.uploads) == 6 and plan.size == 1 + 2 + 3 + 4 + 5 + 7


def test_only_the_timestamp_may_change_under_its_name() -> None:
    caches = {item.name: item.cache_control for item in plan_upload(FILES, [], [TIMESTAMP]).uploads}
    assert caches.pop(TIMESTAMP) == SHORT
    assert set(caches.values()) == {FOREVER}
