"""A station that loses its power, its disk or its stick: no record is lost, and no serial is given twice."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.errors import HostError, TrustError
from imagekit.flash.labels import LabelPrinter
from imagekit.flash.station import Station, Wishes
from imagekit.host.factorylog import FactoryLog
from imagekit.host.prepared import Prepared
from imagekit.host.serialservice import NotNow, RequestRefused
from imagekit.host.tools import LocalTools
from imagekit.plan.factory_label import Label
from imagekit.plan.factory_log import Kind, decode_log, totals
from imagekit.plan.factory_tiles import State
from imagekit.plan.flash_device import Device
from imagekit.testing.blocks import MemoryTarget, card

from .factory_bench import SIZE, USED, Floor, write_identity

STEPS = ("begun", "phase", "ended", "identity-taken", "identity-written", "recorded", "label")
RECORDED = ("recorded", "label")
PRINTED = ("sh", "-c", 'cat "$1" >> printed', "print", "{file}")


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    made = Floor(folder=tmp_path, ports=1)
    for serial in ("A0001", "A0002"):
        write_identity(made.units, serial, brand=made.brand)
    made.medium(0).touch()
    return made


def printer(floor: Floor, *command: str) -> LabelPrinter:
    return LabelPrinter(Label(text="{model} {serial} {image}", code="", folder="labels", command=command),
                        floor.folder, tools=LocalTools())


def killed_at(floor: Floor, step: str, *command: str) -> None:
    """Run the station in a process of its own, and take its power away at a step."""
    child = os.fork()
    if child == 0:
        floor.also = lambda _, event: os.kill(os.getpid(), signal.SIGKILL) if event == step else None
        try:
            floor.run(labels=printer(floor, *(command or PRINTED)))
        finally:
            os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL, step


def printed(floor: Floor) -> list[str]:
    """The lines of the labels that came out of the printer."""
    path = floor.folder / "printed"
    return re.findall(r"<title>(.*)</title>", path.read_text()) if path.exists() else []


@pytest.mark.parametrize("step", STEPS)
def test_power_cut_at_a_step_loses_no_record_and_gives_no_serial_twice(floor: Floor, step: str) -> None:
    killed_at(floor, step)
    after_cut = decode_log(floor.log.read_bytes(), name="log")
    taken = step in ("identity-taken", "identity-written", *RECORDED)
    assert totals(after_cut).serials == (("A0001",) if step in RECORDED else ())
    assert (floor.units / "taken" / "A0001.serial").exists() is taken
    assert printed(floor) == (["pc A0001 disk.img"] if step == "label" else [])
    station = floor.run(labels=printer(floor, *PRINTED))
    serials = totals(decode_log(floor.log.read_bytes(), name="log")).serials
    assert printed(floor) == [f"pc {serial} disk.img" for serial in serials]
    assert [(port, more) for port, event, more in floor.events if event == "label-again"] == (
        [("", {"number": 1, "serial": "A0001", "problem": None})] if step == "recorded" else [])
    if step in RECORDED:
        assert (station.tiles[0].state, serials) == (State.REFUSED, ("A0001",))
        assert [path.name for path in (floor.units / "taken").iterdir()] == ["A0001.serial"]
    else:
        assert (station.tiles[0].state, serials) == (State.DONE, ("A0002",) if taken else ("A0001",))


def test_power_cut_while_a_label_is_printed_prints_it_again(floor: Floor) -> None:
    killed_at(floor, "the program below", "sh", "-c", "echo '<title>half' >> printed; kill -9 $PPID")
    assert printed(floor) == []
    killed_at(floor, "label-again")  # and another one just after it, before the unit in the port is looked at
    floor.run(labels=printer(floor, *PRINTED))
    assert printed(floor) == ["pc A0001 disk.img"]


def stopped(floor: Floor, *command: str) -> tuple[int, ...]:
    """Run the station, and end its log as the command does; the records whose labels it leaves."""
    left = floor.run(labels=printer(floor, *command)).unlabelled
    log = floor.open_log()
    log.append(Kind.STOP, {"why": "a test", "done": 1, "failed": 0, "unlabelled": left})
    log.close()
    return left


def test_label_that_the_printer_did_not_take_is_printed_by_the_next_run_that_can(floor: Floor) -> None:
    assert stopped(floor, "false") == (1,)
    floor.medium(0).unlink()
    assert stopped(floor, "false") == (1,)
    assert stopped(floor, *PRINTED) == ()
    assert printed(floor) == ["pc A0001 disk.img"]
    for path in (floor.folder / "labels").iterdir():
        path.unlink()  # someone tidies up: what was printed is not printed again
    assert stopped(floor, *PRINTED) == ()
    assert printed(floor) == ["pc A0001 disk.img"]


def test_printer_that_takes_nothing_is_asked_once_when_the_station_starts(floor: Floor) -> None:
    killed_at(floor, "recorded")
    floor.medium(0).unlink()
    floor.medium(0).touch()
    killed_at(floor, "recorded", "false")
    floor.medium(0).unlink()
    first = len(floor.events)
    assert stopped(floor, "false") == (1, 3)
    assert [more["number"] for _, event, more in floor.events[first:] if event == "label-again"] == [1]
    assert stopped(floor, *PRINTED) == ()
    assert printed(floor) == ["pc A0001 disk.img", "pc A0002 disk.img"]


def test_second_station_at_the_same_medium_is_refused_while_the_first_writes_it(floor: Floor, tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    second = Floor(folder=tmp_path / "second", ports=1)
    write_identity(second.units, "B0001", brand=second.brand)
    second.medium(0).symlink_to(floor.medium(0))
    states: list[tuple[State, str]] = []

    def also(_: str, event: str) -> None:
        if event in ("begun", "identity-written"):
            states.extend((tile.state, tile.problem) for tile in second.run().tiles)

    floor.also = also
    assert floor.run().tiles[0].state is State.DONE
    assert [state for state, _ in states] == [State.REFUSED, State.REFUSED]
    assert all("a second imagekit" in problem for _, problem in states)
    assert totals(decode_log(second.log.read_bytes(), name="log")).serials == ()
    assert (second.units / "B0001.serial").exists()


class OnePort:
    """`MediaPorts` with a medium in memory."""

    def __init__(self, target: MemoryTarget) -> None:
        self.known, self.target = card(size=target.size, port="1-1.4"), target

    def seen(self, port: object) -> str:
        return "sdx/7"

    def device(self, port: object) -> Device:
        return self.known

    def open(self, device: Device) -> MemoryTarget:
        return self.target


def test_medium_that_is_pulled_out_is_recorded_as_failed_and_takes_no_serial(floor: Floor) -> None:
    station = floor.run(ports=OnePort(MemoryTarget(size=SIZE, pulled_after=3 << 20)))
    said = next(decode_log(floor.log.read_bytes(), name="log").of(Kind.UNIT)).said
    assert (said["result"], said["state"], said["identity"]) == ("failed", "not-bootable", None)
    assert said["problem"].endswith("it was pulled out")
    assert (station.tiles[0].state, station.tiles[0].bad) == (State.FAILED, 1)
    assert (floor.units / "A0001.serial").exists()


@pytest.mark.parametrize(("event", "state", "serial"), [
    ("begun", "untouched", None), ("ended", "verified", None), ("identity-taken", "verified", "A0001")])
def test_card_that_is_changed_during_its_turn_gets_nothing_and_is_recorded_as_failed(
        floor: Floor, event: str, state: str, serial: str | None) -> None:
    target = MemoryTarget(size=SIZE)
    written = []

    def change(_: str, now: str) -> None:
        if now == event:
            target.seen = replace(target.identity(), diskseq=8)
            written.append(target.written)

    floor.also = change
    floor.run(ports=OnePort(target))
    said = next(decode_log(floor.log.read_bytes(), name="log").of(Kind.UNIT)).said
    assert (said["result"], said["state"]) == ("failed", state)
    assert "identity-changed: disk sequence was 7, is 8" in said["problem"]
    assert (said["identity"] and said["identity"]["serial"]) == serial
    assert (floor.units / "A0001.serial").exists() is not bool(serial)
    assert written == [target.written]


def test_fake_is_told_while_it_is_looked_at_and_recorded_as_one(floor: Floor) -> None:
    notes: list[str] = []
    stations: list[Station] = []
    floor.also = lambda _, event: notes.append(stations[0].tiles[0].note) if event == "phase" else None
    station = floor.run(ports=OnePort(MemoryTarget(size=SIZE, real=3 << 19)), opened=stations.append)
    said = next(decode_log(floor.log.read_bytes(), name="log").of(Kind.UNIT)).said
    assert (said["result"], said["state"]) == ("failed", "wrong")
    assert "it is a fake" in said["problem"]
    assert notes[-2:] == ["", "something else is read back; looking for what is wrong"]
    assert station.tiles[0].note == ""


def test_identity_that_does_not_arrive_makes_the_unit_fail_and_its_serial_is_lost(floor: Floor) -> None:
    from .factory_bench import IDENTITY

    station = floor.run(ports=OnePort(MemoryTarget(size=SIZE, lost=(IDENTITY[0], IDENTITY[0] + 1))))
    said = next(decode_log(floor.log.read_bytes(), name="log").of(Kind.UNIT)).said
    assert (said["result"], said["identity"]["serial"]) == ("failed", "A0001")
    assert "something else than the identity is read" in station.tiles[0].problem
    assert [path.name for path in floor.units.glob("*.serial")] == ["A0002.serial"]
    assert floor.run().tiles[0].state is State.DONE  # and it is no finished unit


class Twice:
    """`Identities` that give one serial again and again."""

    left = 9

    def __init__(self, item: Prepared) -> None:
        self.item = item

    def take(self) -> Prepared | None:
        return self.item

    def forget_key(self, item: Prepared) -> None: ...

    def forget_made(self, serials: object) -> None: ...

    def close(self) -> None: ...


def test_serial_that_is_given_twice_ends_the_station_and_is_recorded_once(floor: Floor) -> None:
    folder = floor.prepared()
    item = folder.take()
    folder.close()
    assert item is not None
    assert floor.run(identities=Twice(item)).tiles[0].state is State.DONE
    floor.medium(0).unlink()
    floor.medium(0).touch()
    station = floor.run(identities=Twice(item), wishes=Wishes())
    assert isinstance(station.error, TrustError)
    assert "a unit of this log has it already" in station.error.message
    log = decode_log(floor.log.read_bytes(), name="log")
    assert totals(log).serials == ("A0001",)
    assert [record.said["result"] for record in log.of(Kind.UNIT)] == ["done", "failed"]


@pytest.fixture
def item(floor: Floor) -> Prepared:
    folder = floor.prepared()
    found = folder.take()
    folder.close()
    assert found is not None
    return found


class AtOnce(Twice):
    """`Identities` that give one serial to two ports that ask at the same time."""

    def __init__(self, item: Prepared) -> None:
        super().__init__(item)
        self.both = threading.Barrier(2, timeout=60)

    def take(self) -> Prepared | None:
        self.both.wait()
        return self.item


def test_serial_that_is_given_to_two_ports_at_once_is_one_units(floor: Floor, item: Prepared) -> None:
    floor.ports = 2
    floor.medium(1).touch()
    station = floor.run(identities=AtOnce(item))
    assert isinstance(station.error, TrustError)
    assert sorted(tile.state for tile in station.tiles) == [State.DONE, State.FAILED]
    log = decode_log(floor.log.read_bytes(), name="log")
    assert (totals(log).done, totals(log).serials) == (1, ("A0001",))


def test_serial_of_a_unit_that_failed_is_not_given_to_another_so_that_the_log_is_believed(floor: Floor,
                                                                                          item: Prepared) -> None:
    from .factory_bench import IDENTITY

    failing = OnePort(MemoryTarget(size=SIZE, lost=(IDENTITY[0], IDENTITY[0] + 1)))
    assert floor.run(identities=Twice(item), ports=failing).tiles[0].state is State.FAILED
    station = floor.run(identities=Twice(item))
    assert isinstance(station.error, TrustError)
    assert totals(decode_log(floor.log.read_bytes(), name="log")).serials == ("A0001",)


class Refusing(Twice):
    """`Identities` of a service that first answers with these errors."""

    def __init__(self, item: Prepared, *errors: HostError) -> None:
        super().__init__(item)
        self.errors = list(errors)

    def take(self) -> Prepared | None:
        if self.errors:
            raise self.errors.pop(0)
        return self.item


def results(floor: Floor) -> list[str]:
    return [record.said["result"] for record in decode_log(floor.log.read_bytes(), name="log").of(Kind.UNIT)]


class KeepsKeys(Twice):
    """`Identities` that cannot remove a key."""

    def forget_key(self, item: Prepared) -> None:
        raise HostError("cannot write A0001.key: input/output error")


def test_key_that_cannot_be_removed_ends_the_station_and_the_good_unit_has_its_label(floor: Floor,
                                                                                     item: Prepared) -> None:
    station = floor.run(identities=KeepsKeys(item), labels=printer(floor, *PRINTED), wishes=Wishes())
    assert station.error is not None and "A0001.key" in station.error.message
    assert (results(floor), printed(floor), station.unlabelled) == (["done"], ["pc A0001 disk.img"], ())


def test_refusal_of_one_request_costs_one_unit_and_the_station_goes_on(floor: Floor, item: Prepared) -> None:
    def change(_: str, event: str) -> None:
        if event == "recorded":
            floor.medium(0).unlink()
        if event == "gone":
            floor.medium(0).touch()

    floor.also = change
    station = floor.run(identities=Refusing(item, RequestRefused("it answers 409")), wishes=Wishes(units=1))
    assert (results(floor), station.error) == (["failed", "done"], None)


def test_service_that_does_not_answer_is_asked_again_and_then_ends_the_station(floor: Floor, item: Prepared) -> None:
    wishes = Wishes(retry_s=(0.01, 0.02))
    station = floor.run(identities=Refusing(item, *[NotNow("it answers 503")] * 2), wishes=replace(wishes, units=1))
    assert (station.tiles[0].state, station.tiles[0].note, station.error) == (State.DONE, "", None)
    assert [more["seconds"] for _, event, more in floor.events if event == "identity-delayed"] == [0.01, 0.02]
    floor.medium(0).unlink()
    floor.medium(0).touch()
    station = floor.run(identities=Refusing(item, *[NotNow("it answers 503")] * 3), wishes=wishes)
    assert isinstance(station.error, NotNow)
    assert results(floor) == ["done", "failed"]


def test_service_that_refuses_the_station_ends_it_at_once(floor: Floor, item: Prepared) -> None:
    station = floor.run(identities=Refusing(item, HostError("it answers 401")), wishes=Wishes())
    assert station.why == "it answers 401"
    assert not [event for _, event, _ in floor.events if event == "identity-delayed"]


def test_second_ctrl_c_waits_for_no_service(floor: Floor, item: Prepared) -> None:
    def press(_: str, event: str) -> None:
        if event == "identity-delayed" or (event == "ending" and not floor.events[-1][2]["at_once"]):
            os.kill(os.getpid(), signal.SIGINT)

    floor.also = press
    station = floor.run(identities=Refusing(item, NotNow("it answers 503")), wishes=Wishes(retry_s=(3600.0,)))
    assert (station.why, station.error, results(floor)) == ("interrupted", None, ["failed"])


def test_full_disk_of_the_log_still_takes_the_record_of_the_unit_in_work_and_then_ends(
        floor: Floor, monkeypatch: pytest.MonkeyPatch) -> None:
    full, pwrite = [False], os.pwrite

    def filled(descriptor: int, content: bytes, at: int) -> int:
        reserve = floor.folder / "factory.log.reserve"
        if full[0] and reserve.exists() and Path(f"/proc/self/fd/{descriptor}").resolve() == floor.log:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return pwrite(descriptor, content, at)

    monkeypatch.setattr("imagekit.host.factorylog.os.pwrite", filled)
    floor.also = lambda _, event: full.__setitem__(0, True) if event == "ended" else None
    station = floor.run(wishes=Wishes())
    assert station.why == "the disk of the log is full"
    assert station.error is not None and "no space left on its disk" in station.error.message
    assert totals(decode_log(floor.log.read_bytes(), name="log")).serials == ("A0001",)


def test_disk_without_any_room_ends_the_station_before_it_takes_a_unit(floor: Floor,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[FactoryLog] = []
    before = floor.medium(0).stat().st_size

    def no_room(*_: object) -> None:
        if opened:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        opened.append(None)  # type: ignore[arg-type]  # the first is that of opening the log
    monkeypatch.setattr("imagekit.host.factorylog.os.posix_fallocate", no_room)
    station = floor.run(wishes=Wishes())
    assert isinstance(station.error, HostError)
    assert "no space left on its disk" in station.error.message
    assert floor.medium(0).stat().st_size == before


def test_second_ctrl_c_ends_the_unit_at_once_and_that_is_recorded(floor: Floor) -> None:
    target = MemoryTarget(size=SIZE, hangs_at=USED[0][0])
    target.on_write = lambda offset: os.kill(os.getpid(), signal.SIGINT) if offset == USED[0][0] else None

    def press(port: str, event: str) -> None:
        if event == "ending" and not floor.events[-1][2]["at_once"]:
            os.kill(os.getpid(), signal.SIGINT)
        elif event == "ending":
            threading.Timer(1.0, target.released.set).start()  # the piece that is on its way

    floor.also = press
    station = floor.run(ports=OnePort(target), wishes=Wishes())
    said = next(decode_log(floor.log.read_bytes(), name="log").of(Kind.UNIT)).said
    assert (station.why, said["result"], said["state"]) == ("interrupted", "interrupted", "not-bootable")
    assert (floor.units / "A0001.serial").exists()
