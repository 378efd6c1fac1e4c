"""What a device makes of a channel map."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from imagekit.plan.channelmap import (
    ChannelEntry,
    ChannelMap,
    Compression,
    Release,
    Revision,
    Revoked,
    UpdateClass,
)
from imagekit.plan.channels import parse_channel
from imagekit.plan.rollout import Asking, Choice, DeviceId, Why, bucket, choose

TIME = datetime(2026, 11, 27, tzinfo=UTC)
DEVICE = DeviceId(brand="acme", model="pc", serial="0001")
CLASSES = {3: UpdateClass.SECURITY, 5: UpdateClass.URGENT}


def revision(number: int, architecture: str = "amd64", *, revoked: bool = False) -> Revision:
    return Revision(revision=number, architectures=(architecture,), type="base", version="1", sha3_384="a" * 64,
                    size=1, compression=Compression.ZSTD, update_class=CLASSES.get(number, UpdateClass.FEATURE),
                    advisory=f"about {number}", published=TIME,
                    revoked=Revoked(time=TIME, reason="bad") if revoked else None)


def channels(*releases: Release, revoked: tuple[int, ...] = (), channel: str = "stable", architecture: str = "amd64",
             floors: dict[str, int] | None = None) -> ChannelMap:
    return ChannelMap(
        name="debian-13", snap_id="A" * 32, floors=floors or {},
        revisions=tuple(revision(number, architecture, revoked=number in revoked) for number in range(1, 7)),
        channels=(ChannelEntry(channel=parse_channel(channel), architecture=architecture, releases=releases),))


def ask(found: ChannelMap, current: int | None = 2, **more: object) -> Choice:
    asking = Asking(device=DEVICE, architecture="amd64", channel=parse_channel("stable"), current=current)
    return choose(found, replace(asking, **more))  # type: ignore[arg-type]


def told(choice: Choice) -> tuple[Why, int | None]:
    return choice.why, choice.revision.revision if choice.revision else None


ALL4 = Release(revision=4)


def test_a_newer_release_is_taken() -> None:
    assert told(ask(channels(ALL4))) == (Why.NEWER, 4)


def test_what_a_device_has_is_left_alone() -> None:
    assert told(ask(channels(ALL4), 4)) == (Why.CURRENT, None)


def test_nothing_released_is_nothing_to_do() -> None:
    assert told(ask(channels())) == (Why.CLOSED, None)


def test_a_device_never_goes_back_by_itself() -> None:
    assert told(ask(channels(ALL4), 5)) == (Why.CURRENT, None)


def test_an_owner_who_chose_another_channel_goes_back() -> None:
    assert told(ask(channels(ALL4), 5, downward=True)) == (Why.CHOSEN, 4)


def test_a_revoked_revision_is_left_for_an_older_one_at_once() -> None:
    choice = ask(channels(ALL4, revoked=(5,)), 5)
    assert told(choice) == (Why.REVOKED, 4)
    assert choice.update_class is UpdateClass.URGENT


def test_a_revoked_revision_with_nothing_else_is_told() -> None:
    assert told(ask(channels(revoked=(5,)), 5)) == (Why.STRANDED, None)


def test_a_revoked_revision_is_never_taken() -> None:
    assert told(ask(channels(ALL4, Release(revision=3), revoked=(4,)))) == (Why.NEWER, 3)


def test_nothing_below_the_floor_of_the_store_or_of_the_device() -> None:
    assert told(ask(channels(ALL4, floors={"amd64": 5}))) == (Why.WAITING, None)
    assert told(ask(channels(ALL4), floor=5)) == (Why.WAITING, None)
    assert told(ask(channels(ALL4, revoked=(5,)), 5, floor=5)) == (Why.STRANDED, None)


def test_held_back_is_for_those_who_do_not_have_it() -> None:
    found = channels(Release(revision=4, held=True), Release(revision=3))
    assert told(ask(found)) == (Why.NEWER, 3)
    assert told(ask(found, 4)) == (Why.CURRENT, None)


def test_a_stepping_stone_comes_first() -> None:
    found = channels(Release(revision=6, least=4), ALL4)
    assert told(ask(found, 2)) == (Why.NEWER, 4)
    assert told(ask(found, 4)) == (Why.NEWER, 6)
    assert told(ask(found, None)) == (Why.NEWER, 6)


def test_share_takes_the_devices_below_it() -> None:
    mine = bucket(DEVICE, "debian-13", 4)
    assert told(ask(channels(Release(revision=4, share=mine + 1)))) == (Why.NEWER, 4)
    assert told(ask(channels(Release(revision=4, share=mine)))) == (Why.WAITING, None)
    assert told(ask(channels(Release(revision=4, share=mine), Release(revision=3)), 3)) == (Why.WAITING, None)


def test_who_was_in_stays_in_when_the_share_grows() -> None:
    devices = [replace(DEVICE, serial=str(number)) for number in range(500)]
    before: set[str] = set()
    for share in (0, 100, 1000, 5000, 9999, 10000):
        now = {item.serial for item in devices
               if ask(channels(Release(revision=4, share=share)), device=item).why is Why.NEWER}
        assert before <= now
        before = now
    assert len(before) == 500


def test_shares_hold_and_each_revision_asks_others_first() -> None:
    devices = [replace(DEVICE, serial=str(number)) for number in range(20_000)]
    first = {item.serial for item in devices if bucket(item, "debian-13", 4) < 1000}
    second = {item.serial for item in devices if bucket(item, "debian-13", 5) < 1000}
    assert 1800 < len(first) < 2200
    assert 100 < len(first & second) < 300  # a tenth of a tenth, were they strangers to each other


@pytest.mark.parametrize(("serial", "number", "place"), [("0001", 4, 4271), ("0001", 5, 8077), ("0002", 4, 9878)])
def test_the_bucket_never_changes(serial: str, number: int, place: int) -> None:
    assert bucket(replace(DEVICE, serial=serial), "debian-13", number) == place


def test_the_most_pressing_class_on_the_way_counts() -> None:
    choice = ask(channels(ALL4))
    assert choice.update_class is UpdateClass.SECURITY
    assert choice.advisories == ((4, UpdateClass.FEATURE, "about 4"), (3, UpdateClass.SECURITY, "about 3"))
    assert ask(channels(Release(revision=6))).update_class is UpdateClass.URGENT
    assert ask(channels(Release(revision=6)), 5).update_class is UpdateClass.FEATURE


def test_a_first_install_has_the_class_of_its_own_revision() -> None:
    assert ask(channels(ALL4), None).update_class is UpdateClass.FEATURE


def test_a_validation_set_goes_before_the_channel() -> None:
    assert told(ask(channels(Release(revision=6)), pinned=3)) == (Why.PINNED, 3)
    assert told(ask(channels(Release(revision=6)), 3, pinned=3)) == (Why.CURRENT, None)
    assert told(ask(channels(Release(revision=6), revoked=(3,)), pinned=3)) == (Why.STRANDED, None)
    assert told(ask(channels(Release(revision=6)), pinned=3, floor=4)) == (Why.STRANDED, None)
    assert told(ask(channels(Release(revision=6), revoked=(3,)), 3, pinned=3)) == (Why.STRANDED, None)


def test_a_closed_channel_follows_the_next_steadier_one() -> None:
    choice = ask(channels(ALL4), channel=parse_channel("beta"))
    assert told(choice) == (Why.NEWER, 4) and str(choice.channel) == "latest/stable"
    assert told(ask(channels(ALL4, channel="edge"))) == (Why.CLOSED, None)


def test_what_runs_everywhere_is_taken_and_another_architecture_is_not() -> None:
    assert told(ask(channels(ALL4, architecture="all"))) == (Why.NEWER, 4)
    assert told(ask(channels(ALL4, architecture="arm64"))) == (Why.CLOSED, None)
