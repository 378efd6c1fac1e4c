"""A station: units of plain files at its ports, many at once, each recorded; what is refused; where it is cut."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from imagekit.assertions import decode_stream, parse_serial
from imagekit.flash.station import Wishes
from imagekit.plan.factory_label import Unit
from imagekit.plan.factory_log import Kind, Log, decode_log, totals
from imagekit.plan.factory_tiles import State

from .factory_bench import USED, Floor, write_identity


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    made = Floor(folder=tmp_path)
    for serial in ("A0001", "A0002", "A0003"):
        write_identity(made.units, serial, brand=made.brand)
    return made


def log_of(floor: Floor) -> Log:
    return decode_log(floor.log.read_bytes(), name="log")


def test_two_media_become_two_recorded_units_with_identities_of_their_own(floor: Floor) -> None:
    for number in range(2):
        floor.medium(number).touch()
    station = floor.run()
    assert [tile.state for tile in station.tiles] == [State.DONE, State.DONE]
    assert sorted(totals(log_of(floor)).serials) == ["A0001", "A0002"]
    content = floor.image.read_bytes()
    for number, tile in enumerate(station.tiles):
        medium = floor.medium(number).read_bytes()
        assert all(medium[start:end] == content[start:end] for start, end in USED)
        found = floor.identity_on(floor.medium(number))
        assert found is not None
        serial = parse_serial(decode_stream(found.assertions, name="card")[0])
        assert serial.serial == tile.serial
    assert sorted(path.name for path in floor.units.glob("*.serial")) == ["A0003.serial"]
    assert sorted(path.name for path in (floor.units / "taken").iterdir()) == ["A0001.serial", "A0002.serial"]


def test_what_is_put_in_while_others_are_written_is_made_too(floor: Floor) -> None:
    def put_in(port: str, event: str) -> None:
        if event == "begun":
            floor.medium(1).touch()

    floor.medium(0).touch()
    floor.also = put_in
    station = floor.run(wishes=Wishes(units=2))
    assert (station.why, totals(log_of(floor)).done) == ("all units are made", 2)


def test_medium_is_made_once_and_the_next_one_at_the_same_port_too(floor: Floor) -> None:
    floor.ports = 1

    def change(port: str, event: str) -> None:
        if event == "recorded":
            floor.medium(0).rename(floor.folder / f"made-{len(list(floor.folder.glob('made-*')))}.img")
        if event == "gone":
            floor.medium(0).touch()

    floor.medium(0).touch()
    floor.also = change
    station = floor.run(wishes=Wishes(units=2))
    assert len(list(floor.folder.glob("made-*"))) == 2
    assert [event for _, event, _ in floor.events if event in ("begun", "recorded", "gone")][:4] == [
        "begun", "recorded", "gone", "begun"]
    assert (station.tiles[0].good, station.tiles[0].bad) == (2, 0)


def test_station_without_identities_left_ends_and_takes_nothing(floor: Floor) -> None:
    floor.ports = 4
    for number in range(4):
        floor.medium(number).touch()
    station = floor.run(wishes=Wishes())
    assert (station.why, totals(log_of(floor)).done) == ("no identity is left", 3)
    assert sorted(floor.medium(number).stat().st_size > 0 for number in range(4)) == [False, True, True, True]


def test_unit_that_is_done_is_not_made_again_by_a_station_that_starts_anew(floor: Floor) -> None:
    floor.ports = 1
    floor.medium(0).touch()
    floor.run()
    before = floor.medium(0).read_bytes()
    station = floor.run()
    assert station.tiles[0].state is State.REFUSED
    assert "it is unit A0001 of this log, and done" in station.tiles[0].problem
    assert floor.medium(0).read_bytes() == before


def test_medium_that_another_station_holds_is_refused_and_named(floor: Floor) -> None:
    import fcntl

    floor.ports = 1
    with floor.medium(0).open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        station = floor.run()
    assert station.tiles[0].state is State.REFUSED
    assert [(more["refusals"], "a second imagekit" in more["problem"]) for _, event, more in floor.events
            if event == "refused"] == [(["in-use"], True)]
    assert totals(log_of(floor)).done == 0


def test_record_says_what_was_written_where_and_to_what(floor: Floor) -> None:
    floor.ports = 1
    floor.medium(0).touch()
    floor.run()
    said = next(log_of(floor).of(Kind.UNIT)).said
    assert (said["result"], said["state"], said["problem"], said["port"]) == ("done", "verified", None, "0")
    assert said["identity"]["serial"] == "A0001"
    assert said["verified"] == said["written"] > USED[0][1] - USED[0][0]
    assert said["device"]["path"] == str(floor.medium(0))
    assert "PRIVATE" not in floor.log.read_text()


def test_ctrl_c_lets_the_unit_in_work_be_finished_and_takes_no_other(floor: Floor) -> None:
    sent: list[int] = []

    def press(port: str, event: str) -> None:
        if event == "begun" and not sent:
            sent.append(1)
            os.kill(os.getpid(), signal.SIGINT)

    for number in range(floor.ports):
        floor.medium(number).touch()
    floor.ports = 1
    floor.also = press
    station = floor.run(wishes=Wishes())
    assert station.why == "interrupted"
    assert isinstance(station.interrupt, KeyboardInterrupt)
    assert [record.said["result"] for record in log_of(floor).of(Kind.UNIT)] == ["done"]


class Broken:
    """`Labels` that print nothing."""

    def has(self, unit: Unit) -> bool:
        return False

    def __call__(self, unit: Unit) -> str:
        return f"its label: record {unit.number}, {unit.serial}"


def test_medium_of_the_wrong_size_is_refused_and_a_label_that_fails_is_a_note(floor: Floor) -> None:
    from dataclasses import replace

    floor.ports = 1
    floor.medium(0).write_bytes(b"small")
    station = floor.run(job=replace(floor.job(), least=1 << 20))
    assert (station.tiles[0].state, "at least 1 MiB" in station.tiles[0].problem) == (State.REFUSED, True)
    assert floor.medium(0).read_bytes() == b"small"
    station = floor.run(labels=Broken())
    assert (station.tiles[0].state, station.tiles[0].note) == (State.DONE, "its label: record 2, A0001")
    assert station.unlabelled == (2,)


def test_image_that_changed_after_it_was_looked_at_ends_the_station(floor: Floor) -> None:
    floor.ports = 1
    floor.medium(0).touch()
    with floor.image.open("r+b") as image:
        image.seek(USED[0][0] + 5)
        image.write(b"changed")
    station = floor.run(wishes=Wishes())
    assert station.error is not None
    assert "its block map says" in station.error.message
    assert next(log_of(floor).of(Kind.UNIT)).said["result"] == "failed"
    assert (floor.units / "A0001.serial").exists()
