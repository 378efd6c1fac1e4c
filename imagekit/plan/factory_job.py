"""A station's job: what is written to which ports, what each unit is given, where that is recorded.

Decides which jobs make sense: every port is named once and by a name that stays its own, so never as `/dev/sdb`, which
another disk may get. Paths in a job are taken from the folder of its file; whether anything is there is not asked here.
Documented in docs/reference/factory.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from imagekit.errors import DocumentError
from imagekit.plan.factory_label import PLACES, Label, wrong_places
from imagekit.schema import Path, Problems, Source, check_shape
from imagekit.units import iec, parse_size

VERSION = 1
USB_PORT = re.compile(r"[0-9]+-[0-9]+(\.[0-9]+)*\Z")
BY_PATH = PurePath("/dev/disk/by-path")
DEFAULT_LOG, MOST_PORTS = "factory.log", 64

_TEXT = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": r"^[^\x00-\x1f\x7f]+$"}
_SIZE = {"type": ["integer", "string"]}
_PORT = {"type": "object", "additionalProperties": False, "maxProperties": 2,
         "properties": {"name": {**_TEXT, "maxLength": 24}, "usb": _TEXT, "path": _TEXT},
         "oneOf": [{"required": ["usb"]}, {"required": ["path"]}]}

SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False,
    "required": ["factory-job", "station", "key", "image", "ports"],
    "properties": {
        "factory-job": {"const": VERSION}, "station": {**_TEXT, "maxLength": 60}, "operator": _TEXT, "key": _TEXT,
        "image": _TEXT, "log": _TEXT, "report": _TEXT,
        "ports": {"type": "array", "minItems": 1, "maxItems": MOST_PORTS, "items": _PORT},
        "size": {"type": "object", "additionalProperties": False, "properties": {"least": _SIZE, "most": _SIZE}},
        "personalise": {"type": "object", "additionalProperties": False,
                        "oneOf": [{"required": ["list"]}, {"required": ["service"]}],
                        "properties": {"structure": {**_TEXT, "maxLength": 36}, "list": _TEXT, "service": _TEXT,
                                       "token": _TEXT, "ca": _TEXT}},
        "label": {"type": "object", "additionalProperties": False, "required": ["text"],
                  "properties": {"text": {"type": "string", "minLength": 1, "maxLength": 400}, "code": _TEXT,
                                 "folder": _TEXT,
                                 "command": {"type": "array", "minItems": 1, "maxItems": 32, "items": _TEXT}}},
        "page": {"type": "integer", "minimum": 0, "maximum": 65535},
    },
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A place where media are put in: a port of a USB hub by its topology, or a path that media come and go at."""

    name: str
    usb: str = ""
    path: str = ""

    @property
    def place(self) -> str:
        return self.usb or self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Personal:
    """Units are given an identity into the structure of this name: from the folder `list`, or by a `service`.

    `token` is the file that shows the service who asks, `ca` the one with the certificates that prove the service.
    """

    structure: str
    list: str = ""
    service: str = ""
    token: str = ""
    ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A station's job. `least` and `most` bytes is what its media have; `page` None leaves the number to the system."""

    station: str
    operator: str
    key: str
    image: str
    log: str
    report: str
    ports: tuple[Port, ...]
    least: int
    most: int
    personal: Personal | None
    label: Label | None
    page: int


def parse_job(source: Source) -> Job:
    """Raises: DocumentError: with everything that is wrong at once."""
    check_shape(source, SCHEMA)
    value = source.value
    problems = Problems(source)
    ports = tuple(_port(item, index, problems) for index, item in enumerate(value["ports"]))
    _check_repeated(ports, problems)
    least, most = _sizes(value.get("size", {}), problems)
    label = _label(value.get("label"), problems)
    if label is not None and "{serial}" in label.text + label.code and "personalise" not in value:
        problems.add(("label",), "it shows {serial}, and no unit gets one: there is no personalise")
    log = value.get("log", DEFAULT_LOG)
    report = value.get("report", f"{PurePath(log).with_suffix('.html')}")
    if PurePath(report) == PurePath(log):
        problems.add(("report",), f"{report} is the log")
    personal = value.get("personalise")
    for key in ("token", "ca"):
        if personal and "list" in personal and key in personal:
            problems.add(("personalise", key), "it is for a service, and there is a list")
    problems.raise_if_any()
    return Job(station=value["station"], operator=value.get("operator", ""), key=value["key"], image=value["image"],
               log=log, report=report, ports=ports, least=least, most=most, label=label, page=value.get("page", 0),
               personal=Personal(structure=personal.get("structure", "identity"),
                                 list=personal.get("list", ""), service=personal.get("service", ""),
                                 token=personal.get("token", ""), ca=personal.get("ca", ""))
               if personal else None)


def _port(value: Mapping[str, str], index: int, problems: Problems) -> Port:
    usb, path = value.get("usb", ""), value.get("path", "")
    if usb and not USB_PORT.match(usb):
        problems.add(("ports", index, "usb"), f"{usb!r} is no USB port, as 1-1.4 is: imagekit flash list shows them")
    if path.startswith("/dev/") and not PurePath(path).is_relative_to(BY_PATH):
        problems.add(("ports", index, "path"), f"{path} is a name that another disk may get tomorrow: name its USB port"
                     f" with usb, or a path below {BY_PATH}")
    return Port(name=value.get("name", usb or path), usb=usb, path=path)


def _check_repeated(ports: tuple[Port, ...], problems: Problems) -> None:
    for kind, words in (("name", [port.name for port in ports]), ("place", [port.place for port in ports])):
        for index, word in enumerate(words):
            if word in words[:index]:
                problems.add(("ports", index), f"{word} is the {kind} of ports[{words.index(word)}] too")


def _sizes(value: Mapping[str, int | str], problems: Problems) -> tuple[int, int]:
    found = {"least": 0, "most": 0}
    for key, given in value.items():
        path: Path = ("size", key)
        try:
            found[key] = parse_size(given, where=problems.source.where(path))
        except DocumentError as error:
            problems.add(path, error.message.partition(": ")[2].partition(": ")[2] or error.message)
    if found["most"] and found["most"] < found["least"]:
        problems.add(("size",), f"most ({iec(found['most'])}) is below least ({iec(found['least'])})")
    return found["least"], found["most"]


def _label(value: Mapping[str, Any] | None, problems: Problems) -> Label | None:
    if value is None:
        return None
    for key in ("text", "code"):
        for wrong in wrong_places(value.get(key, "")):
            problems.add(("label", key), f"{{{wrong}}} stands for nothing: there is {', '.join(sorted(PLACES))}")
    return Label(text=value["text"], code=value.get("code", ""), folder=value.get("folder", "labels"),
                 command=tuple(value.get("command", ())))


def in_range(size: int, job: Job) -> str:
    """Why a medium of this size is none of the job's; empty: it is one."""
    if size < job.least:
        return f"it has {iec(size)}, the job's media at least {iec(job.least)}"
    if job.most and size > job.most:
        return f"it has {iec(size)}, the job's media at most {iec(job.most)}"
    return ""
