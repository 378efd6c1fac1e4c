"""Wire a station together: the job, the image, the log and its key, identities, labels, the page, the end.

Decides the order in which things are opened and told. What happens at a port is the station's business.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from imagekit import __version__
from imagekit.assertions.database import Database
from imagekit.cli.factory_show import LiveTable, Teller, show_ports
from imagekit.cli.flash_run import Looked, Request, looked_into, reopened
from imagekit.cli.flash_show import JsonLines
from imagekit.cli.keyring import keyring, owners, passphrase_from, trusted
from imagekit.cli.output import emit_json, say, short_path, talk_of, write
from imagekit.cli.progress import progress
from imagekit.errors import ImagekitError, PlanError, TargetError, TrustError, UsageError
from imagekit.flash.labels import LabelPrinter
from imagekit.flash.page import Page
from imagekit.flash.personal import place_of
from imagekit.flash.source import plain_name
from imagekit.flash.station import Bench, Station, Wishes
from imagekit.host.clock import SystemClock
from imagekit.host.devices import SystemInventory
from imagekit.host.factorylog import FactoryLog
from imagekit.host.files import read_file, uninterrupted, write_atomic
from imagekit.host.mediaports import SystemPorts
from imagekit.host.ports import Identities
from imagekit.host.prepared import SERIAL, PreparedFolder, check_serial
from imagekit.host.serialservice import SerialService, read_token
from imagekit.host.tools import LocalTools
from imagekit.keys import Signer
from imagekit.plan.factory_job import Job, Port, in_range, parse_job
from imagekit.plan.factory_log import Kind, decode_log, totals
from imagekit.plan.factory_page import page_state
from imagekit.plan.factory_report import encode_report
from imagekit.plan.factory_tiles import State, counted
from imagekit.plan.flash import device_json, refusals_json
from imagekit.plan.flash_device import Allowed, Code, Refusal, judge
from imagekit.schema import MAX_DOCUMENT, load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the command line asks for."""

    trust: tuple[Path, ...]
    once: bool = False
    units: int | None = None
    page: bool = True
    passphrase_file: Path | None = None
    as_json: bool = False


def read_job(path: Path) -> tuple[Job, str]:
    """A job with its paths made whole, and the SHA-256 of its file.

    Raises:
        DocumentError: with everything that is wrong with it.
        UsageError: one of its ports is its image, its log or its report.
    """
    raw = read_file(path, limit=MAX_DOCUMENT)
    job, folder = parse_job(load_yaml(raw, name=str(path))), path.absolute().parent
    job = replace(job, image=str(folder / job.image), log=str(folder / job.log), report=str(folder / job.report))
    ports = tuple(_placed(port, folder) for port in job.ports)
    for port in ports:
        for name, own in (("image", job.image), ("log", job.log), ("report", job.report)):
            if port.path and os.path.realpath(port.path) == os.path.realpath(own):
                raise UsageError(f"cannot use port {port.name} of {path}: {port.path} is the job's {name}")
    personal = job.personal
    if personal is not None:
        personal = replace(personal, **{name: str(folder / getattr(personal, name)) for name in ("list", "token", "ca")
                                        if getattr(personal, name)})
    return replace(job, ports=ports, personal=personal), hashlib.sha256(raw).hexdigest()


def _placed(port: Port, folder: Path) -> Port:
    return replace(port, path=str(folder / port.path)) if port.path else port


def show_plan(path: Path, *, trust: tuple[Path, ...], as_json: bool) -> None:
    """`imagekit factory plan`."""
    job, _ = read_job(path)
    with looked_into(_request(job, trust)) as image:
        if job.personal is not None:
            place_of(image.facts, job.personal.structure)
        ports, rows = SystemPorts(SystemInventory()), []
        for port in job.ports:
            found: dict[str, Any] = {"port": port.name, "place": port.place, "device": None, "refusals": []}
            if ports.seen(port):
                try:
                    device = ports.device(port)
                    refusals = judge(device, image.facts.demand, _allowed(device.port))
                    wrong = in_range(device.identity.size, job)
                    more = (Refusal(code=Code.NOT_ALLOWED, reason=wrong),) if wrong else ()
                    found |= {"device": device_json(device), "refusals": refusals_json((*refusals, *more))}
                except ImagekitError as error:
                    found["refusals"] = [{"code": None, "reason": error.message, "allow": error.hint}]
            rows.append(found)
        log = decode_log(read_file(Path(job.log), limit=1 << 30), name=job.log) if Path(job.log).exists() else None
        counts = totals(log) if log else None
        left = len(list(Path(job.personal.list).glob(f"*{SERIAL}"))) if job.personal and job.personal.list else None
        if as_json:
            emit_json({"station": job.station, "image": {"path": job.image, "digest": image.facts.digest,
                                                         "size": image.facts.size, "about": image.about},
                       "ports": rows, "identities": left, "log": job.log, "records": len(log.records) if log else 0,
                       "done": counts.done if counts else 0})
            return
        write(f"station: {job.station}\nimage:   {short_path(job.image)}: {image.about}")
        write(f"log:     {short_path(job.log)}: {len(log.records) if log else 0} records,"
              f" {counts.done if counts else 0} good units")
        if left is not None:
            write(f"units:   {left} identities are left")
        write("")
        show_ports(rows)


def _allowed(port: str) -> Allowed:
    return Allowed(ports=frozenset({port})) if port else Allowed()


def _request(job: Job, trust: tuple[Path, ...]) -> Request:
    return Request(image=Path(job.image), targets=(), allowed=Allowed(), trust=trust)


def run(path: Path, wanted: Wanted) -> None:
    """`imagekit factory run`."""
    lines = JsonLines(talk_of())
    with lines.ended(wanted=wanted.as_json):
        _run(path, wanted, lines)


def station_key(name: str, wanted: Wanted) -> Signer:
    """The key that signs the log, and nothing that this station believes.

    Raises:
        UsageError: there is no such key.
        TrustError: what it signs would be believed here as a brand's; or it cannot be opened.
    """
    ring, make = keyring(), f"imagekit key create {name} --no-account"
    if name not in ring.names():
        raise UsageError(f"cannot find key {name!r} in {ring.folder}", hint=f"make it: {make}")
    owner = owners(wanted.trust).get(ring.stored(name).public.key_id)
    if owner is not None:
        raise TrustError(f"cannot sign the log with key {name!r}: it is trusted here as one of {owner.account_id}, so"
                         " whoever takes this station over could sign images that it flashes",
                         hint=f"imagekit trust remove {owner.key_id}, if it is the station's own; or {make}, with"
                              " another name")
    return ring.load(name, passphrase=passphrase_from(wanted.passphrase_file, name=name))


def _run(path: Path, wanted: Wanted, lines: JsonLines) -> None:
    job, job_digest = read_job(path)
    key = station_key(job.key, wanted)
    with looked_into(_request(job, wanted.trust)) as image, contextlib.ExitStack() as stack:
        at = place_of(image.facts, job.personal.structure) if job.personal else 0
        prepared = _prepared(job, image, wanted.trust, stack)
        log = FactoryLog(Path(job.log), station=job.station, key=key, clock=SystemClock())
        stack.callback(log.close)
        teller = Teller(lines if wanted.as_json else None)
        labels = LabelPrinter(job.label, path.absolute().parent, tools=LocalTools()) if job.label else None
        start = _start(job, job_digest, image)
        station = Station(Bench(
            job=job, image=image.facts, source=image.source, reopen=lambda: reopened(image.source), log=log, run=start,
            ports=SystemPorts(SystemInventory()), clock=SystemClock(), told=teller.told, prepared=prepared,
            identity_at=at, labels=labels, wishes=Wishes(units=wanted.units, once=wanted.once)))
        log.append(Kind.START, start)
        page = _page(station, image, wanted, stack)
        if wanted.as_json:
            lines.line({"event": "begin", "version": 1, "tool": __version__, "station": job.station,
                        "image": job.image, "log": job.log, "page": page and page.url})
        elif page is not None:
            say(f"page: {page.url}")
        with LiveTable(station, teller, as_json=wanted.as_json):
            station.run()
        with uninterrupted():
            _end(station, job, wanted, lines)


def _prepared(job: Job, image: Looked, trust: tuple[Path, ...], stack: contextlib.ExitStack) -> Identities | None:
    if job.personal is None:
        return None
    from imagekit.build.inspect_image import inspect_image

    roots = trusted(trust)
    with progress() as told, image.source.stream() as stream:
        found = inspect_image(plain_name(Path(job.image)), stream, trusted=roots, now=SystemClock().now(),
                              progress=told, quick=True)
    model = found.seed.model
    if model is None:
        raise PlanError(f"cannot personalise units of {job.image}: its model cannot be read")
    check = check_serial(Database(roots), brand=model.brand_id, model=model.model, now=SystemClock().now())
    prepared: Identities
    if job.personal.service:
        token, ca = job.personal.token, job.personal.ca
        prepared = SerialService(job.personal.service, brand=model.brand_id, model=model.model,
                                 now=SystemClock().now, check=check, token=read_token(Path(token)) if token else "",
                                 ca=Path(ca) if ca else None)
    else:
        prepared = PreparedFolder(Path(job.personal.list), check=check)
    stack.callback(prepared.close)
    return prepared


def _start(job: Job, job_digest: str, image: Looked) -> dict[str, Any]:
    """What is recorded of a run that begins."""
    return {"tool": __version__, "job": job_digest, "operator": job.operator or None,
            "image": {"file": Path(job.image).name, "size": image.facts.size, "digest": image.facts.digest,
                      "about": image.about, "model": image.model or None},
            "ports": [{"name": port.name, "place": port.place} for port in job.ports]}


def _stop(why: str, good: int, bad: int, unlabelled: tuple[int, ...]) -> dict[str, Any]:
    """What is recorded of a run that ended; `unlabelled` are records of units."""
    return {"why": why, "done": good, "failed": bad, "unlabelled": unlabelled}


def _page(station: Station, image: Looked, wanted: Wanted, stack: contextlib.ExitStack) -> Page | None:
    if not wanted.page:
        return None
    job, prepared = station.bench.job, station.bench.prepared

    def state() -> dict[str, Any]:
        return page_state(station.tiles, station=job.station, image=f"{Path(job.image).name}: {image.about}",
                          left=prepared.left if isinstance(prepared, PreparedFolder) else None, why=station.why)

    page = Page(state, port=job.page)
    stack.callback(page.close)
    return page


def _end(station: Station, job: Job, wanted: Wanted, lines: JsonLines) -> None:
    """The last record, the report, and what the station is to answer."""
    good, bad = counted(station.tiles)
    log, why = station.bench.log, station.why or "every port has had its turn"
    report = None
    with contextlib.suppress(ImagekitError) if station.error else contextlib.nullcontext():
        log.append(Kind.STOP, _stop(why, good, bad, station.unlabelled))
        whole = decode_log(read_file(Path(job.log), limit=1 << 30), name=job.log)
        write_atomic(Path(job.report), encode_report(whole, name=Path(job.log).name, key=f"{job.key},"
                                                     f" {whole.key.key_id if whole.key else ''}"))
        report = job.report
    if wanted.as_json:
        lines.line({"event": "result", "ok": not bad and station.error is None, "why": why, "done": good,
                    "failed": bad, "unlabelled": station.unlabelled, "head": log.head, "report": report})
    else:
        if report is not None:
            write(short_path(report))
        say(f"{why}: {good} good, {bad} failed; the last record is {log.head}")
        if station.unlabelled:
            say("labels of these records are not printed, and are when the station starts again:"
                f" {', '.join(map(str, station.unlabelled))}")
    if station.error is not None:
        raise station.error
    if station.interrupt is not None:
        raise station.interrupt
    refused = sum(tile.state is State.REFUSED for tile in station.tiles)
    if wanted.once and (bad or refused or not good):
        raise TargetError(f"cannot make every unit: {good} are good, {bad} failed, {refused} were refused",
                          details=tuple(f"{tile.port.name}: {tile.problem}" for tile in station.tiles if tile.problem),
                          hint=None if good + bad + refused else "there is a medium in none of the ports")

