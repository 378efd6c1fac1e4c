"""docs/how-to/run-a-factory-station.md, followed to the letter: its job, its lines, and what they leave behind."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from imagekit.build.run import Request, build
from imagekit.disk.identity import decode_identity
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.plan.factory_log import decode_log
from imagekit.testing.documents import NOW, TESTS
from imagekit.testing.images import GADGET, Silent, Workshop
from tests.pages import desk, ended, page_blocks, page_lines, ran
from tests.patience import WALL_S
from tests.tools.conftest import require

PAGE = "run-a-factory-station.md"
LINES = page_lines(PAGE)
STRUCTURE, SERVICE, JOB = page_blocks(PAGE, "yaml")
ASKED = ("factory serve", "serials.log")  # what the page says of a signing service


@pytest.fixture(scope="module")
def station(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `out/pc-demo.img`, made with the page's structure, and two ports that are files."""
    require("mkfs.erofs", "mke2fs")
    folder = tmp_path_factory.mktemp("station")
    workshop = Workshop(folder=folder / "workshop", gadget=GADGET.replace("      - name: seed\n",
                                                                          f"{STRUCTURE}      - name: seed\n", 1))
    workshop.folder.mkdir()
    request = Request(model=workshop.usual(), packages=(workshop.packages,), trust=(workshop.trust,), epoch=None,
                      now=NOW)
    manifest = build(request, folder / "out", tools=LocalTools, cache=Cache(folder / "cache"), progress=Silent())
    for suffix in ("", ".bmap"):
        (folder / f"out/{manifest.image.file}{suffix}").rename(folder / f"out/pc-demo.img{suffix}")
    (folder / "out/manifest.json").unlink()
    (folder / "line-1.yaml").write_text(JOB.replace("usb: 1-1.3", "path: left.img")
                                        .replace("usb: 1-1.4", "path: right.img"))
    return folder


@pytest.fixture(scope="module")
def env(station: Path) -> dict[str, str]:
    return {**desk(station, trust=station / "workshop/trust"), "XDG_DATA_HOME": str(station / "data")}


def test_page_is_followed_from_its_first_line_to_its_last(station: Path, env: dict[str, str]) -> None:
    brand = ran(f"imagekit key import {TESTS}/keys/TEST-ONLY-brand.pem --name acme", env=env, cwd=station)
    assert brand[0] == 0, brand
    for line in LINES:
        if any(word in line for word in ASKED):
            continue
        command = line.replace("acme/pc-demo", "acme/pc").replace("--count 200", "--count 2")
        if " run " in line and "--once" not in line:
            command += " --units 1 --no-page"
            (station / "left.img").touch()
        elif " run " in line:
            (station / "left.img").rename(station / "A0001.img")
            (station / "right.img").touch()
        status, said = ran(command, env=env, cwd=station)
        assert status == 0, f"{command}: {said}"
    report = (station / "batch-17.html").read_text()
    assert "A0001" in report and "A0002" in report
    assert "A0002" in (station / "factory.html").read_text()
    assert len(list((station / "labels").glob("*.svg"))) == 2
    assert sorted(path.name for path in (station / "units/taken").iterdir()) == ["A0001.serial", "A0002.serial"]

    # what the page promises of a later day
    found: dict[str, Any] = json.loads(ended("imagekit factory check factory.log --json", env=env, cwd=station).stdout)
    assert (found["done"], found["serials"], found["torn_bytes"]) == (2, ["A0001", "A0002"], 0)
    assert ran(f"imagekit factory check factory.log --head {found['head']}", env=env, cwd=station)[0] == 0
    raw = (station / "factory.log").read_bytes()
    (station / "short.log").write_bytes(b"".join(raw.splitlines(keepends=True)[:-1]))
    assert ran(f"imagekit factory check short.log --head {found['head']}", env=env, cwd=station)[0] == 4
    assert ran("imagekit factory check factory.log --key data/imagekit/keys/line-1.pub", env=env, cwd=station)[0] == 0


def test_finished_unit_is_still_the_image_and_holds_its_identity(station: Path, env: dict[str, str]) -> None:
    if not (station / "A0001.img").exists():
        pytest.skip("the page was not followed before")
    for line in ("imagekit flash verify out/pc-demo.img A0001.img", "imagekit inspect A0001.img --json"):
        status, said = ran(line, env=env, cwd=station)
        assert status == 0, said
    from imagekit.disk import gpt

    with (station / "A0001.img").open("rb") as medium:
        place = gpt.decode(medium).find("identity")
        assert place is not None
        medium.seek(place.start)
        found = decode_identity(medium.read(64 * 1024))
    assert found is not None
    assert b"serial: A0001" in found.assertions
    assert found.key.startswith(b"-----BEGIN PRIVATE KEY-----")


def test_page_is_followed_with_a_service_that_signs(station: Path, env: dict[str, str]) -> None:
    if not (station / "A0001.img").exists():
        pytest.skip("the page was not followed before")
    serve, check = (line.replace("acme/pc-demo", "acme/pc") for line in LINES if any(word in line for word in ASKED))
    service = subprocess.Popen(["sh", "-c", f"exec {serve} --port 0"], env=env, cwd=station, stdout=subprocess.PIPE,
                               text=True)
    try:
        assert service.stdout is not None
        address = service.stdout.readline().strip()
        job = JOB.replace("personalise: {list: units}\n", SERVICE.replace("http://127.0.0.1:8124/v1", address))
        assert address.startswith("http://127.0.0.1:") and address in job
        (station / "asking.yaml").write_text(job.replace("usb: 1-1.3", "path: asked.img").replace(
            "usb: 1-1.4", "path: nothing.img") + '  command: ["false"]\nlog: asking.log\n')
        (station / "asked.img").touch()
        done = ended("imagekit factory run asking.yaml --once --no-page --json", env=env, cwd=station)
    finally:
        service.send_signal(signal.SIGINT)
        assert service.wait(WALL_S) == 130
    events = [json.loads(line) for line in done.stdout.splitlines()]
    recorded = next(item for item in events if item["event"] == "recorded")
    assert events[-1]["unlabelled"] == [recorded["number"]]  # a printer that took nothing; the next start knows it
    stop = decode_log((station / "asking.log").read_bytes(), name="log").records[-1].said
    assert (stop["kind"], stop["unlabelled"]) == ("stop", [recorded["number"]])
    assert (done.returncode, recorded["serial"], recorded["result"]) == (0, "B0001", "done"), done.stderr
    status, said = ran(check, env=env, cwd=station)
    assert status == 0 and "B0001" in said and "line-1" in said, said
    assert ran("imagekit factory report serials.log", env=env, cwd=station)[0] == 3


def test_station_that_has_nothing_left_to_give_says_so(station: Path, env: dict[str, str]) -> None:
    if not (station / "A0001.img").exists():
        pytest.skip("the page was not followed before")
    done = ended("imagekit factory run line-1.yaml --json --no-page", env=env, cwd=station)
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["event"], last["why"], last["done"]) == ("result", "no identity is left", 0)
    assert done.returncode == 0
