"""What an owner wants, as it is kept."""

from __future__ import annotations

import pytest

from imagekit.device.cli import main
from imagekit.device.history import History, folder_of
from imagekit.device.wishes import WISHES, Owner, held_until, load_owner, save_owner, waiting_text
from imagekit.errors import TargetError
from imagekit.plan.schedule import Urgent, Wishes
from imagekit.plan.windows import parse_windows
from tests.unit.device.conftest import Device

SAID = Owner(wishes=Wishes(automatic=False, windows=parse_windows("Mon 02:00-04:00"), urgent=Urgent.WAIT),
             held_until="2026-07-01T00:00:00Z")


@pytest.mark.parametrize("owner", [Owner(), SAID, Owner(wishes=Wishes(windows=()), held_until="")])
def test_what_was_said_is_read_back(device: Device, owner: Owner) -> None:
    save_owner(device.machine, owner)
    assert load_owner(device.machine) == owner


@pytest.mark.parametrize("text", ["", "{}", '{"imagekit": 2}', "[]", "[" * 100_000,
                                  '{"imagekit": 1, "automatic": null}',
                                  '{"imagekit": 1, "automatic": null, "windows": "at night", "urgent": null,'
                                  ' "held_until": null}'])
def test_damaged_file_says_nothing(device: Device, text: str) -> None:
    save_owner(device.machine, SAID)
    (folder_of(device.machine) / WISHES).write_text(text)
    assert load_owner(device.machine) == Owner()


def test_file_that_cannot_be_written_leaves_the_old_one(device: Device) -> None:
    save_owner(device.machine, SAID)
    (folder_of(device.machine) / f"{WISHES}.new").symlink_to("/dev/full")
    with pytest.raises(TargetError, match=r"cannot write .*wishes\.json"):
        save_owner(device.machine, Owner())
    assert load_owner(device.machine) == SAID


def test_postponing_of_an_older_base_counts_until_something_is_said() -> None:
    memory = History(hold_until="2026-07-01T00:00:00Z")
    assert held_until(Owner(), memory) == "2026-07-01T00:00:00Z"
    assert held_until(Owner(held_until=""), memory) == ""


@pytest.mark.parametrize("words", [["windows", "at night"], ["windows", "02:00-04:00", "--clear"],
                                   ["windows", "--urgent", "soon"], ["automatic", "maybe"],
                                   ["automatic", "on", "--clear"], ["hold", "91"]])
def test_wrong_words_are_a_matter_of_usage(device: Device, words: list[str]) -> None:
    assert main(words, machine=device.machine) == 2


@pytest.mark.parametrize(("why", "until", "told"), [
    ("held", "T", "updates are held until T;"), ("outside-window", "T", "its window is shut until T;"),
    ("opted-out", "", "updates are not automatic here;"), ("waits-for-clock", "", "so that no window is;")])
def test_what_waits_is_told_with_its_reason(why: str, until: str, told: str) -> None:
    assert told in waiting_text({"packages": [("debian-13", 2)], "update_class": "urgent", "since": "T0", "why": why,
                                 "until": until})
