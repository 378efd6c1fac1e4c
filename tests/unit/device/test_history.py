"""What a verdict makes of an update that is under way, and what a device remembers of it."""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from imagekit.device.health import judge
from imagekit.device.history import (
    CHANGES_MOST,
    STATE,
    Change,
    Failed,
    History,
    Pending,
    Waiting,
    after_verdict,
    as_json,
    edit_history,
    folder_of,
    load_history,
    moment,
    save_history,
)
from imagekit.device.rhythm import silence
from imagekit.errors import TargetError
from tests.unit.device.conftest import BASE_ROOT, KERNEL_ROOT, Device

PAIR = (("debian-13", 2), ("pc-kernel", 1))
ROOTS = (BASE_ROOT, KERNEL_ROOT)
UNDER_WAY = Pending(slot="b", packages=PAIR, base_root=BASE_ROOT, kernel_root=KERNEL_ROOT, trial=True, time="t0")
TIME = "2026-06-01T00:00:00Z"


def test_change_of_one_is_not_lost_in_that_of_another(device: Device) -> None:
    """Many at once, each of whom reads before it writes."""
    def one_more(memory: History) -> History:
        return replace(memory, waiting=memory.waiting + 1)

    threads = [threading.Thread(target=lambda: [edit_history(device.machine, one_more) for _ in range(5)])
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load_history(device.machine).waiting == 40


def verdict(history: History, slot: str = "b", *, healthy: bool = True, roots: tuple[str, str] = ROOTS,
            reasons: tuple[str, ...] = ()) -> History:
    return after_verdict(history, slot=slot, roots=roots, healthy=healthy, reasons=reasons, now=TIME)


def test_healthy_trial_is_done_and_raises_the_floor() -> None:
    found = verdict(History(pending=UNDER_WAY, floors={"debian-13": 1, "pc-kernel": 4, "other": 1}))
    assert found.pending is None
    assert found.floors == {"debian-13": 2, "pc-kernel": 4, "other": 1}
    assert found.changes == (Change(time=TIME, what="install", packages=PAIR, outcome="done"),)


def test_healthy_trial_is_forgiven_its_earlier_failure() -> None:
    found = verdict(History(pending=UNDER_WAY, failed=(Failed(packages=PAIR, reason="x", time="t"),)))
    assert found.failed == ()


def test_sick_trial_stays_under_way_with_its_reasons() -> None:
    found = verdict(History(pending=replace(UNDER_WAY, trial=False)), healthy=False, reasons=("hooks: dry",))
    assert found.pending == replace(UNDER_WAY, reasons=("hooks: dry",))


@pytest.mark.parametrize(("reasons", "told"), [
    (("hooks: dry", "units: x"), "hooks: dry; units: x"), ((), "it never came as far as its health check")])
def test_old_slot_healthy_after_a_trial_is_a_failure(reasons: tuple[str, ...], told: str) -> None:
    found = verdict(History(pending=replace(UNDER_WAY, reasons=reasons)), "a")
    assert found.pending is None
    assert found.failed == (Failed(packages=PAIR, reason=told, time=TIME),)
    assert found.changes[-1].outcome == "failed"


def test_old_slot_healthy_before_the_loader_was_told_is_an_interruption() -> None:
    found = verdict(History(pending=replace(UNDER_WAY, trial=False)), "a")
    assert (found.pending, found.failed, found.changes[-1].outcome) == (None, (), "interrupted")


def test_old_slot_sick_decides_nothing() -> None:
    history = History(pending=UNDER_WAY)
    assert verdict(history, "a", healthy=False) == history


def test_other_content_in_the_trial_slot_is_not_the_update() -> None:
    assert verdict(History(pending=UNDER_WAY), roots=("0" * 64, KERNEL_ROOT)).failed


def test_nothing_under_way_changes_nothing() -> None:
    assert verdict(History()) == History()


def test_history_is_kept_whole(device: Device) -> None:
    kept = History(floors={"a": 1}, failed=(Failed(packages=PAIR, reason="x", time="t"),), hold_until=TIME, latest=TIME,
                   pending=replace(UNDER_WAY, reasons=("y",)),
                   changes=(Change(time="t", what="revert", packages=(), outcome="done", reason="z"),))
    save_history(device.machine, kept)
    assert load_history(device.machine) == kept


DAMAGES = (None, [], {}, "x", -1, True, float("inf"), [1], [["a"]], {"a": None}, "2026-06-01T00:00:00")


def places(document: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value of a document."""
    yield above
    for key in document if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ():
        yield from places(document[key], (*above, key))


def test_no_damaged_value_ends_whoever_reads_it(device: Device) -> None:
    """The judge reads it before it confirms: what it dies of takes both slots along."""
    kept = History(floors={"a": 1}, failed=(Failed(packages=PAIR, reason="x", time="t"),), hold_until=TIME, latest=TIME,
                   pending=UNDER_WAY, changes=(Change(time="t", what="revert", packages=PAIR, outcome="done"),),
                   waits=Waiting(packages=PAIR, update_class="urgent", since="t", why="held"), answered=TIME)
    whole = json.loads(json.dumps(as_json(kept)))
    folder_of(device.machine).mkdir(parents=True)
    for place in places(whole):
        for damage in DAMAGES:
            document = {"it": copy.deepcopy(whole)}
            inner: Any = document
            *above, last = ("it", *place)
            for key in above:
                inner = inner[key]
            inner[last] = damage
            (folder_of(device.machine) / STATE).write_text(json.dumps(document["it"]))
            found = load_history(device.machine)
            assert isinstance(silence(found, now=datetime(2027, 1, 1, tzinfo=UTC)), str)
            assert (latest := moment(found.latest)) is None or latest.tzinfo is not None


def endless(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 43)


@pytest.mark.parametrize("make", [endless, os.mkfifo, Path.mkdir, lambda path: path.symlink_to("/dev/zero")],
                         ids=["endless", "pipe", "folder", "link"])
def test_what_a_damaged_disk_has_made_of_the_memory_ends_no_judge_and_no_update(
        device: Device, make: Callable[[Path], object]) -> None:
    """The judge of either slot reads it: dead or waiting for ever, each would be left for the other."""
    path = folder_of(device.machine) / STATE
    path.parent.mkdir(parents=True)
    make(path)
    judged: list[bool] = []
    thread = threading.Thread(target=lambda: judged.append(judge(device.machine, lambda line: None, wait_s=1).healthy),
                              daemon=True)
    thread.start()
    thread.join(60)
    assert judged == [True]
    save_history(device.machine, History(latest=TIME))
    assert load_history(device.machine).latest == TIME


def test_pipe_in_the_place_of_the_new_file_is_not_waited_for(device: Device) -> None:
    save_history(device.machine, History())
    os.mkfifo(folder_of(device.machine) / f"{STATE}.new")
    save_history(device.machine, History(latest=TIME))
    assert load_history(device.machine).latest == TIME


def test_history_does_not_grow_for_ever() -> None:
    history = History()
    for number in range(2 * CHANGES_MOST):
        history = history.with_change(Change(time=str(number), what="install", packages=(), outcome="done"))
    assert len(history.changes) == CHANGES_MOST
    assert history.changes[-1].time == str(2 * CHANGES_MOST - 1)


def test_history_that_cannot_be_written_leaves_the_old_one(device: Device) -> None:
    save_history(device.machine, History(latest=TIME))
    folder = device.folder / "var/lib/imagekit/updates"
    (folder / "state.json.new").symlink_to("/dev/full")
    with pytest.raises(TargetError, match=r"cannot write .*state\.json: No space left"):
        save_history(device.machine, History())
    assert load_history(device.machine).latest == TIME


def test_history_that_was_not_flushed_takes_no_place(device: Device) -> None:
    """A null device takes every write, and no flush."""
    save_history(device.machine, History(latest=TIME))
    (folder_of(device.machine) / f"{STATE}.new").symlink_to("/dev/null")
    with pytest.raises(TargetError, match=r"cannot write .*state\.json: Invalid argument"):
        save_history(device.machine, History())
    assert load_history(device.machine).latest == TIME


def test_health_check_tells_the_update_that_it_is_done(device: Device) -> None:
    device.on_trial()
    save_history(device.machine, History(pending=UNDER_WAY))
    assert judge(device.machine, lambda line: None, wait_s=1).healthy
    found = load_history(device.machine)
    assert found.pending is None
    assert found.floors == dict(PAIR)


def test_health_check_tells_the_update_why_it_is_sick(device: Device) -> None:
    device.on_trial()
    device.hook("10-pump", "echo dry >&2; exit 4")
    save_history(device.machine, History(pending=UNDER_WAY))
    assert not judge(device.machine, lambda line: None, wait_s=1).healthy
    pending = load_history(device.machine).pending
    assert pending is not None
    assert pending.reasons[0].endswith("10-pump ended with status 4: dry")


def test_full_disk_does_not_spoil_a_verdict(device: Device) -> None:
    device.on_trial()
    save_history(device.machine, History(pending=UNDER_WAY))
    (device.folder / "var/lib/imagekit/updates/state.json.new").symlink_to("/dev/full")
    assert judge(device.machine, lambda line: None, wait_s=1).healthy
    assert load_history(device.machine).pending is not None


