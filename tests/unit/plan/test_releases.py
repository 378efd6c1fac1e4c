"""How a channel map changes, and what may not happen to it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from imagekit.errors import PlanError
from imagekit.plan.channelmap import ChannelMap, Compression, Revision, UpdateClass
from imagekit.plan.channels import parse_channel
from imagekit.plan.releases import (
    Terms,
    changed,
    closed,
    floored,
    pruned,
    released,
    revoked,
    top_of,
    with_revision,
)

TIME = datetime(2026, 11, 27, tzinfo=UTC)
EMPTY = ChannelMap(name="debian-13", snap_id="A" * 32)
STABLE, EDGE = parse_channel("stable"), parse_channel("edge")


def revision(number: int, *architectures: str, digest: str = "a",
             update_class: UpdateClass = UpdateClass.FEATURE) -> Revision:
    return Revision(revision=number, architectures=architectures or ("amd64",), type="base", version="1",
                    sha3_384=digest * 64, size=1, compression=Compression.ZSTD, update_class=update_class, advisory="",
                    published=TIME)


def with_all(*numbers: int) -> ChannelMap:
    found = EMPTY
    for number in numbers:
        found = with_revision(found, revision(number))
    return found


def shown(found: ChannelMap, channel: str = "stable") -> list[tuple[int, int]]:
    entry = found.entry(parse_channel(channel), "amd64")
    return [(item.revision, item.share) for item in entry.releases] if entry else []


def test_revisions_of_architectures_count_apart() -> None:
    found = with_revision(with_all(5), revision(4, "arm64"))
    assert {item.revision for item in found.revisions} == {4, 5}
    with pytest.raises(PlanError, match="only go up"):
        with_revision(found, revision(3, "arm64"))


def test_same_revision_may_become_more_pressing_and_never_less() -> None:
    found = with_revision(with_all(1), replace(revision(1), update_class=UpdateClass.SECURITY, advisory="CVE"))
    again = with_revision(found, revision(1))
    assert (again.revisions[0].update_class, again.revisions[0].advisory) == (UpdateClass.SECURITY, "CVE")


def test_advisory_has_an_end() -> None:
    with pytest.raises(PlanError, match="4001 characters"):
        with_revision(EMPTY, replace(revision(1), advisory="x" * 4001))


@pytest.mark.parametrize("text", ["a\x1b[2J", "a\x9b2J", "a\rb", "a\u202eb"])
def test_words_for_owners_do_nothing_to_their_terminals(text: str) -> None:
    with pytest.raises(PlanError, match="its advisory has a character that is not for reading"):
        with_revision(EMPTY, replace(revision(1), advisory=text))
    with pytest.raises(PlanError, match="the reason has a character that is not for reading"):
        revoked(with_all(1), 1, reason=text, now=TIME)


def test_words_for_owners_may_have_lines_and_letters_of_all_kinds() -> None:
    text = "openssl:\n\tCVE-2026-0001, für alle\u00a0Geräte"
    assert with_revision(EMPTY, replace(revision(1), advisory=text)).revisions[0].advisory == text


def test_progressive_release_stands_before_what_all_have() -> None:
    found = released(with_all(1, 2, 3), 1, STABLE, Terms())
    found = released(found, 2, STABLE, Terms(share=1000))
    found = released(found, 3, STABLE, Terms(share=100))
    assert shown(found) == [(3, 100), (2, 1000), (1, 10000)]
    found = changed(found, 2, STABLE, lambda item: replace(item, share=10000))
    assert shown(found) == [(3, 100), (2, 10000), (1, 10000)]
    assert shown(released(found, 3, STABLE, Terms())) == [(3, 10000), (2, 10000)]


def test_who_leaves_a_revoked_revision_goes_to_the_one_before() -> None:
    found = with_all(1, 2, 3)
    for number in (1, 2, 3):
        found = released(found, number, STABLE, Terms())
    assert shown(found) == [(3, 10000), (2, 10000)]
    assert shown(revoked(found, 3, reason="bad", now=TIME)) == [(2, 10000)]


def test_a_release_with_a_step_before_it_keeps_the_step() -> None:
    found = released(with_all(1, 2), 1, STABLE, Terms())
    assert shown(released(found, 2, STABLE, Terms(least=1))) == [(2, 10000), (1, 10000)]


def test_a_channel_does_not_go_backwards() -> None:
    found = released(with_all(1, 2), 2, STABLE, Terms())
    with pytest.raises(PlanError, match="does not go backwards"):
        released(found, 1, STABLE, Terms())


def test_what_is_not_published_is_not_released() -> None:
    with pytest.raises(PlanError, match="not published; there is 1, 2"):
        released(with_all(1, 2), 3, STABLE, Terms())


def test_change_of_what_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match="not released there"):
        changed(with_all(1), 1, STABLE, lambda item: item)


def test_revoking_takes_a_revision_out_of_every_channel() -> None:
    found = released(released(with_all(1, 2), 1, STABLE, Terms()), 2, STABLE, Terms(share=500))
    found = released(found, 2, EDGE, Terms())
    found = revoked(found, 2, reason="bad", now=TIME)
    assert shown(found) == [(1, 10000)] and found.entry(EDGE, "amd64") is None
    for act in (lambda: released(found, 2, STABLE, Terms()), lambda: revoked(found, 2, reason="x", now=TIME),
                lambda: with_revision(found, revision(2))):
        with pytest.raises(PlanError, match="revoked: bad"):
            act()


def test_floor_only_rises_and_leaves_no_channel_empty() -> None:
    found = released(released(with_all(1, 2, 3), 1, EDGE, Terms()), 3, STABLE, Terms())
    with pytest.raises(PlanError, match="latest/edge has nothing from there on"):
        floored(found, 2, ["amd64"])
    found = floored(closed(found, EDGE), 2, ["amd64"])
    assert found.floor("amd64") == 2
    with pytest.raises(PlanError, match="cannot lower the floor"):
        floored(found, 1, ["amd64"])
    with pytest.raises(PlanError, match="nothing below 2"):
        released(found, 1, EDGE, Terms())
    with pytest.raises(PlanError, match="no revision from there on"):
        floored(found, 9, ["amd64"])


def test_top_of_a_channel_is_its_newest() -> None:
    found = released(released(with_all(1, 2), 1, STABLE, Terms()), 2, STABLE, Terms(share=1))
    assert top_of(found, STABLE) == (2,)
    with pytest.raises(PlanError, match="nothing is released there"):
        top_of(found, EDGE)
    with pytest.raises(PlanError, match="no such channel"):
        closed(found, EDGE)


def numbers(found: ChannelMap) -> list[int]:
    return sorted(item.revision for item in found.revisions)


def test_pruning_keeps_what_may_be_needed() -> None:
    found = released(with_all(*range(1, 13)), 6, STABLE, Terms())
    assert numbers(pruned(found, now=TIME)) == [3, 4, 5, 6, 10, 11, 12]
    assert numbers(pruned(found, now=TIME, pinned=[1])) == [1, 3, 4, 5, 6, 10, 11, 12]


def test_pruning_keeps_security_fixes_for_ten_years() -> None:
    found = with_revision(EMPTY, revision(1, update_class=UpdateClass.SECURITY))
    for number in range(2, 9):
        found = with_revision(found, revision(number))
    assert numbers(pruned(found, now=TIME + timedelta(days=3600))) == [1, 6, 7, 8]
    assert numbers(pruned(found, now=TIME + timedelta(days=3700))) == [6, 7, 8]


def test_pruning_keeps_the_mark_of_what_was_revoked() -> None:
    found = revoked(with_all(*range(1, 9)), 1, reason="bad", now=TIME)
    assert 1 in numbers(pruned(found, now=TIME))


def test_what_is_held_is_not_resumed_by_who_promotes_it_once_more() -> None:
    """Somebody has stopped it, and whoever releases it again, a script maybe, does not know."""
    begun = released(with_all(1, 2), 2, STABLE, Terms(share=100))
    held = changed(begun, 2, STABLE, lambda item: replace(item, held=True))
    with pytest.raises(PlanError, match="it is held there") as caught:
        released(held, 2, STABLE, Terms())
    assert caught.value.hint is not None and "--resume" in caught.value.hint
    assert released(held, 2, STABLE, Terms(share=100, held=True)) == held
