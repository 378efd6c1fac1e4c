"""`imagekit factory` where it refuses, and the words of a station for people."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.cli.factory_run import Wanted, _end
from imagekit.cli.factory_show import Teller, cells, in_words
from imagekit.cli.flash_show import JsonLines
from imagekit.cli.output import talk_of
from imagekit.errors import ImagekitError
from imagekit.flash.station import Wishes
from imagekit.plan.factory_job import Port
from imagekit.plan.factory_log import Kind, decode_log
from imagekit.plan.factory_tiles import Tile, begun, moved
from imagekit.plan.flash_events import Phase
from tests.unit.flash.factory_bench import USED, Floor

from .conftest import Run

JOB = "factory-job: 1\nstation: line-1\nkey: line-1\nimage: pc.img\nports:\n  - {path: left.img}\n"


def test_job_that_is_wrong_tells_everything_at_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB.replace("left.img", "/dev/sdb") + "page: 70000\nsize: {least: 1K}\n")
    done = run("factory", "plan", "job.yaml", code=3)
    assert "job.yaml:7: page: 70000 is greater than the maximum of 65535" in done.stderr
    (tmp_path / "job.yaml").write_text(JOB.replace("left.img", "/dev/sdb") + "size: {least: 1K}\n")
    done = run("factory", "run", "job.yaml", code=3)
    assert "2 problems" in done.stderr
    assert "job.yaml:6: ports[0].path: /dev/sdb is a name that another disk may get" in done.stderr


def test_port_that_is_the_image_or_the_log_is_refused(run: Run, tmp_path: Path) -> None:
    for name in ("pc.img", "factory.log"):
        (tmp_path / "job.yaml").write_text(JOB.replace("left.img", f"./{name}"))
        done = run("factory", "run", "job.yaml", "--once", code=2)
        assert "is the job's" in done.stderr


def test_station_without_its_key_says_how_it_gets_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    done = run("factory", "run", "job.yaml", "--json", code=2)
    assert "imagekit key create line-1 --no-account" in done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "error"


def test_key_of_a_station_is_trusted_for_nothing(run: Run, home: Path, tmp_path: Path) -> None:
    """Else whoever takes the station over could sign images that it believes."""
    (tmp_path / "job.yaml").write_text(JOB)
    run("key", "create", "line-1")
    key_id = json.loads(run("key", "show", "line-1", "--json").stdout)["key_id"]
    done = run("factory", "run", "job.yaml", "--once", "--no-page", code=4)
    assert "it is trusted here as one of line-1" in done.stderr
    assert f"imagekit trust remove {key_id}" in done.stderr
    run("trust", "remove", key_id)
    assert "pc.img" in run("factory", "run", "job.yaml", "--once", "--no-page", code=3).stderr  # which is not there

    run("key", "create", "line-2", "--brand", "acme", "--no-account", code=2)
    made = run("key", "create", "line-2", "--no-account", "--json")
    assert json.loads(made.stdout)["account_keys"] == []
    assert "vouch" not in made.stderr
    assert not list((home / "trust").iterdir())
    (tmp_path / "job.yaml").write_text(JOB.replace("key: line-1", "key: line-2"))
    assert "pc.img" in run("factory", "run", "job.yaml", "--once", "--no-page", code=3).stderr


def test_log_of_nobody_known_is_not_believed(run: Run, tmp_path: Path) -> None:
    from imagekit.host.clock import SystemClock
    from imagekit.host.factorylog import FactoryLog
    from imagekit.testing.documents import signing_key

    log = FactoryLog(tmp_path / "factory.log", station="line-1", key=signing_key("stranger"), clock=SystemClock())
    log.append(Kind.STOP, {"why": "a test", "done": 0, "failed": 0})
    log.close()
    done = run("factory", "check", "factory.log", code=4)
    assert "no key of your keyring" in done.stderr
    assert "--key" in done.stderr


@pytest.mark.parametrize("writable", [True, False])
def test_report_is_named_where_it_was_written_and_what_ended_the_station_is_the_error(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], writable: bool) -> None:
    floor = Floor(folder=tmp_path, ports=1, personal=False)
    floor.medium(0).touch()
    with floor.image.open("r+b") as image:
        image.seek(USED[0][0])
        image.write(b"changed")
    station, log = floor.run(wishes=Wishes()), floor.open_log()
    station.bench = replace(station.bench, log=log)
    report = tmp_path / "factory.html"
    if not writable:
        report.mkdir()
    with pytest.raises(ImagekitError, match="its block map says"):
        _end(station, replace(floor.job(), report=str(report)), Wanted(trust=()), JsonLines(talk_of()))
    log.close()
    assert capsys.readouterr().out == (f"{report}\n" if writable else "")
    assert decode_log(floor.log.read_bytes(), name="log").records[-1].kind is Kind.STOP


def test_label_of_a_finished_unit_is_printed_once_more_by_the_log(run: Run, acme: str, tmp_path: Path) -> None:
    from imagekit.host.clock import SystemClock
    from imagekit.host.factorylog import FactoryLog
    from imagekit.testing.documents import signing_key

    job = JOB.replace("key: line-1", f"key: {acme}")
    log = FactoryLog(tmp_path / "factory.log", station="line-1", key=signing_key("brand"), clock=SystemClock())
    for image, serial, result in (("old.img", "A0001", "done"), ("new.img", "A0002", "failed"),
                                  ("new.img", "A0003", "done")):
        log.append(Kind.START, {"image": {"file": image}})
        log.append(Kind.UNIT, {"identity": {"serial": serial, "model": "pc"}, "began": "2026-06-01T08:30:00+00:00",
                               "result": result})

    (tmp_path / "job.yaml").write_text(job)
    assert "the job has no `label`" in run("factory", "label", "job.yaml", "A0001", code=2).stderr
    job += "personalise: {list: units}\nlabel: {text: '{model} {serial} {image} {date}', command: [%s]}\n"
    (tmp_path / "job.yaml").write_text(job % "cp, '{file}', printed")
    assert "no unit is named" in run("factory", "label", "job.yaml", code=2).stderr
    done = run("factory", "label", "job.yaml", "A0001", "A0002", "--record", 5, "--record", 4, code=2)
    assert "has no good unit with serial A0002, record 4" in done.stderr
    assert not (tmp_path / "labels").exists()

    for number in (1, 2):  # and again; the log is held by its station meanwhile
        done = run("factory", "label", "job.yaml", "A0001")
        assert done.stdout.startswith("labels/000001-"), number
        assert ">pc A0001 old.img 2026-06-01</text>" in (tmp_path / "printed").read_text()
        (tmp_path / "printed").unlink()
    found = json.loads(run("factory", "label", "job.yaml", "--record", 5, "--json").stdout)["labels"]
    assert [(item["number"], item["serial"], item["problem"]) for item in found] == [(5, "A0003", None)]
    assert Path(found[0]["file"]).read_text() == (tmp_path / "printed").read_text()
    (tmp_path / "job.yaml").write_text(job % "'false'")
    done = run("factory", "label", "job.yaml", "A0001", "A0003", code=6)
    assert "cannot print 2 of 2 labels" in done.stderr
    log.close()


def test_empty_log_is_not_said_to_hold(run: Run, tmp_path: Path) -> None:
    (tmp_path / "factory.log").write_bytes(b"")
    done = run("factory", "check", "factory.log")
    assert "the log is empty" in done.stderr
    assert "every signature" not in done.stderr


def test_serials_that_cannot_be_counted_are_refused_before_a_key_is_made(run: Run, acme: str, tmp_path: Path) -> None:
    for first, why in (("A9", "1 digits do not suffice"), ("../A01", "cannot count from serial"), ("AB", "digits")):
        done = run("factory", "prepare", "acme/pc", "--first", first, "--count", 5, "-k", "acme", "-o", "u", code=2)
        assert why in done.stderr
    assert "acme/pc" in run("factory", "prepare", "pc", "--first", "A1", "--count", 1, "-k", "acme", "-o", "u",
                            code=2).stderr
    assert not (tmp_path / "u").exists()


def test_signing_service_that_would_speak_in_the_clear_or_not_know_its_stations_does_not_start(
        run: Run, acme: str, tmp_path: Path) -> None:
    words = ("factory", "serve", "acme/pc", "--first", "A01", "--count", 5, "-k", acme)
    assert "--token" in run(*words, code=2).stderr
    done = run(*words, "--token", "a.token", "--host", "0.0.0.0", code=2)
    assert "cannot serve at 0.0.0.0 without TLS" in done.stderr
    assert (tmp_path / "a.token").stat().st_mode & 0o777 == 0o600
    done = run(*words, "--token", "a.token", "--token", "x/a.token", code=2)
    assert "two of the tokens are called a" in done.stderr
    (tmp_path / "a.token").write_text("short")
    assert "a token is one line" in run(*words, "--token", "a.token", code=3).stderr


def test_people_are_told_what_is_news_and_nothing_else() -> None:
    heard: list[str] = []
    teller = Teller(None)
    teller.say = heard.append
    teller.told("A", "progress", {"durable": 5})
    teller.told("A", "recorded", {"result": "done", "number": 7, "serial": "A0001", "problem": None})
    teller.told("B", "refused", {"problem": "cannot write /dev/sdx: in-use: it is mounted", "hint": "umount /dev/sdx"})
    teller.told("", "ending", {"at_once": False, "running": 2})
    assert heard == ["A: unit A0001 done, record 7",
                     "B: cannot write /dev/sdx: in-use: it is mounted; umount /dev/sdx",
                     "no further unit is taken; 2 in work are finished; Ctrl-C once more ends them at once"]
    assert in_words("A", "label", {"problem": None}) == ""
    assert "unit A0001, record 7: its label" in in_words("", "label-again", {"number": 7, "serial": "A0001",
                                                                             "problem": None})
    assert in_words("", "label-again", {"number": 7, "serial": None, "problem": "no paper"}) == "record 7: no paper"


def test_line_of_the_live_table_has_state_share_speed_and_time() -> None:
    tile = begun(Tile(port=Port(name="A", usb="1-1"), serial="A0001"), device="Ultra Fit", amount=4 << 20)
    tile = moved(moved(tile, Phase.WRITE, 0, 4 << 20, now_s=0), Phase.WRITE, 2 << 20, 4 << 20, now_s=2)
    assert cells(tile) == ("A", "writing", "━" * 6 + "╌" * 18, "25%", "1 MiB/s", "0:06", "0", "0", "A0001", "Ultra Fit")
