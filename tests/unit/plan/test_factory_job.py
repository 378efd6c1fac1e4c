"""A station's job: what it says, and everything that is wrong with it, at once and with its line."""

from __future__ import annotations

import pytest

from imagekit.plan.factory_job import Job, Port, in_range, parse_job
from imagekit.schema import DocumentProblems, load_yaml
from imagekit.units import GIB

GOOD = """\
factory-job: 1
station: line-1
key: line-1
image: out/pc-demo.img
ports:
  - {name: left, usb: 1-1.3}
  - {usb: 1-1.4}
  - {name: file, path: bench/c.img}
size: {least: 4G, most: 64G}
personalise: {list: units}
label:
  text: "{model}\\n{serial}"
  code: "{serial}"
"""


def parsed(text: str) -> Job:
    return parse_job(load_yaml(text, name="job.yaml"))


def test_job_says_ports_sizes_and_what_units_get() -> None:
    job = parsed(GOOD)
    assert job.ports == (Port(name="left", usb="1-1.3"), Port(name="1-1.4", usb="1-1.4"),
                         Port(name="file", path="bench/c.img"))
    assert (job.least, job.most, job.log, job.report) == (4 * GIB, 64 * GIB, "factory.log", "factory.html")
    assert job.personal is not None
    assert (job.personal.structure, job.personal.list) == ("identity", "units")


@pytest.mark.parametrize(("old", "new", "problem"), [
    ("key: line-1\n", "", "job.yaml:1: document: 'key' is a required property"),
    ("station:", "statoin:", "there is no such key, did you mean 'station'?"),
    ("usb: 1-1.3", "usb: sdb", "job.yaml:6: ports[0].usb: 'sdb' is no USB port, as 1-1.4 is"),
    ("path: bench/c.img", "path: /dev/sdb", "job.yaml:8: ports[2].path: /dev/sdb is a name that another disk may get"),
    ("usb: 1-1.4", "usb: 1-1.3", "job.yaml:7: ports[1]: 1-1.3 is the place of ports[0] too"),
    ("name: file", "name: left", "job.yaml:8: ports[2]: left is the name of ports[0] too"),
    ("usb: 1-1.4", "size: 1", "job.yaml:7: ports[1]: exactly one of these keys is needed: usb, path"),
    ("least: 4G", "least: 4K", "job.yaml:9: size.least: '4K' is not a size"),
    ("least: 4G", "least: 128G", "job.yaml:9: size: most (64 GiB) is below least (128 GiB)"),
    ("personalise: {list: units}\n", "", "label: it shows {serial}, and no unit gets one"),
    ('code: "{serial}"', 'code: "{sreial}"', "label.code: {sreial} stands for nothing: there is date, image"),
    ("{list: units}", "{list: units, token: a.token}", "personalise.token: it is for a service, and there is a list"),
    ("{list: units}", "{list: units, service: 'https://x'}", "personalise"),
    ("key:", "report: factory.log\nkey:", "report: factory.log is the log"),
    (GOOD, "", "job.yaml:1: document: it is empty"),
])
def test_mistake_is_told_with_its_line(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    with pytest.raises(DocumentProblems) as caught:
        parsed(GOOD.replace(old, new, 1))
    assert any(problem in str(item) for item in caught.value.problems), caught.value.problems


def test_identities_come_from_a_list_or_a_service_and_not_from_both() -> None:
    job = parsed(GOOD.replace("{list: units}", "{service: 'https://serials.example.com', structure: id}"))
    assert job.personal is not None
    assert (job.personal.structure, job.personal.list, job.personal.service) == (
        "id", "", "https://serials.example.com")
    for wrong in ("{structure: id}", "{list: units, service: 'https://serials.example.com'}"):
        with pytest.raises(DocumentProblems):
            parsed(GOOD.replace("{list: units}", wrong))


def test_path_that_says_where_a_disk_is_plugged_in_is_taken() -> None:
    assert parsed(GOOD.replace("bench/c.img", "/dev/disk/by-path/pci-0-usb-0:1.3")).ports[2].path


def test_medium_of_another_size_is_none_of_the_job() -> None:
    job = parsed(GOOD)
    assert in_range(32 * GIB, job) == ""
    assert in_range(2 * GIB, job) == "it has 2 GiB, the job's media at least 4 GiB"
    assert in_range(1024 * GIB, job) == "it has 1024 GiB, the job's media at most 64 GiB"
