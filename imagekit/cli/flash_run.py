"""Wire flashing together: the image, the media that are held, the question, the records, the end.

Decides the order in which a person is asked and told. What is refused is the plan's, what is written the executor's.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from imagekit import __version__
from imagekit.cli.flash_proof import prove
from imagekit.cli.flash_show import JsonLines, painter, show_outcome, show_plan
from imagekit.cli.output import say, talk_of, warn
from imagekit.cli.progress import progress
from imagekit.errors import HostError, TargetError, UsageError
from imagekit.flash.emmc import boot_from
from imagekit.flash.job import How
from imagekit.flash.journal import Journals, write_record
from imagekit.flash.look import look, make_plan
from imagekit.flash.run import Outcome, flash
from imagekit.flash.source import Source, opened
from imagekit.host.block import file_identity
from imagekit.host.clock import SystemClock
from imagekit.host.devices import SystemInventory
from imagekit.host.files import require_space
from imagekit.host.folders import default_cache_folder, log_folder
from imagekit.host.ports import BlockTarget, Inventory
from imagekit.host.tools import LocalTools
from imagekit.plan.flash import FlashPlan, ImageFacts, as_json, device_json
from imagekit.plan.flash_device import Allowed, Code, Device, Kind, Refusal, RefusedError, bind_again, judge
from imagekit.plan.flash_events import Ended, Listener, Result
from imagekit.plan.manifest import ranges_digest
from imagekit.units import SECTOR

RECORD_VERSION = 1
FINAL = ("not-whole-disk", "too-small")  # what stands in the way of reading too


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the command line asks for; `found` are targets that were found already, by something else than their names.
    """

    image: Path
    targets: tuple[Path, ...]
    allowed: Allowed
    trust: tuple[Path, ...]
    foreign: bool = False
    confirm: str | None = None
    resume: bool = False
    boot_from_it: bool = False
    how: How = field(default_factory=How)
    as_json: bool = False
    found: tuple[Device, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """An image that was looked into, and what it is in words; `model` is empty where it is none of ours."""

    source: Source
    facts: ImageFacts
    about: str
    model: str


@contextlib.contextmanager
def looked_into(request: Request) -> Iterator[Looked]:
    """The image, opened and judged. Raises: as `opened`, `look` and `prove`."""
    scratch = default_cache_folder(os.environ) / "work"
    with opened(request.image, scratch) as source:
        facts = look(request.image, source)
        with progress() as told:
            about, model = prove(request.image, source, facts, trust=request.trust, foreign=request.foreign,
                                 progress=told)
        yield Looked(source=source, facts=facts, about=about, model=model)


def find_targets(request: Request, inventory: Inventory) -> list[Device]:
    """The devices that are named, or those that the list allows.

    Raises:
        UsageError: one is named twice, or nothing is named and nothing listed.
        TargetError: nothing on the list is plugged in; two devices have the same serial number or port.
        RefusedError: where one was found there is another one now.
    """
    if not request.targets and not request.found:
        return _listed(request.allowed, inventory)
    devices = [inventory.device(path) for path in request.targets]
    devices += [bind_again(item, inventory.device(Path(item.path))) for item in request.found]
    paths = [os.path.realpath(item.path) for item in devices]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise UsageError(f"cannot write {twice}: it is named twice")
    image = {os.path.realpath(request.image), file_identity(request.image.stat()).backing}
    for item, path in zip(devices, paths, strict=True):
        if image & {path, item.identity.backing}:
            raise UsageError(f"cannot write {item.path}: the image itself is there")
    return devices


def _listed(allowed: Allowed, inventory: Inventory) -> list[Device]:
    if not allowed:
        raise UsageError("cannot flash: no target is named", hint="imagekit flash list shows what there is")
    found = [item for item in inventory.devices() if item.kind is Kind.DISK and item.identity.size
             and allowed.names(item)]
    if not found:
        raise TargetError("cannot flash: nothing on the list is plugged in",
                          hint="imagekit flash list shows serial numbers and ports")
    serials = [item.identity.serial for item in found if item.identity.serial in allowed.serials]
    if len(set(serials)) < len(serials):
        raise TargetError("cannot flash: two media have the same serial number, and the list means one",
                          hint="name them by --port")
    ports = [item.port for item in found if item.port in allowed.ports]
    twice = next((port for port in ports if ports.count(port) > 1), None)
    if twice is not None:
        at = ", ".join(item.path for item in found if item.port == twice)
        raise TargetError(f"cannot flash: at port {twice} are {at}, and the list means one",
                          hint="of a reader with several slots, use one; or name the media that are meant")
    return found


def refuse(plan: FlashPlan) -> None:
    """Raises: RefusedError: of one target; TargetError: of several, with every reason."""
    refused = [item for item in plan.targets if item.refusals]
    if len(refused) == 1:
        raise RefusedError(refused[0].device.path, refused[0].refusals)
    if refused:
        raise TargetError(f"cannot write {len(refused)} of {len(plan.targets)} targets", hint="nothing was written",
                          details=tuple(f"{item.device.path}: {one.code}: {one.reason}" for item in refused
                                        for one in item.refusals))


def require_room(devices: Sequence[Device], image: ImageFacts) -> None:
    """What is written to files fits on their disks: a file's holes take no room, and what it has now is given back.

    Raises:
        HostError: with the numbers of the first disk that is too full.
    """
    needed: dict[int, int] = {}
    folders: dict[int, Path] = {}
    for path in (Path(os.path.realpath(item.path)) for item in devices if item.kind is Kind.FILE):
        disk = path.parent.stat().st_dev
        folders.setdefault(disk, path.parent)
        has = path.stat().st_blocks * SECTOR if path.exists() else 0
        needed[disk] = needed.get(disk, 0) + image.amount - has
    for disk, size in needed.items():
        require_space(folders[disk], size, what="write the image")


def hold_all(devices: Sequence[Device], inventory: Inventory, stack: contextlib.ExitStack, *,
             writable: bool) -> tuple[list[Device], list[BlockTarget], contextlib.ExitStack]:
    """Hold every device; a file that was just made is now a thing with an identity.

    Such files are in the third value, and go again with `stack` unless that is told otherwise before.
    """
    held, known = [], []
    made = stack.enter_context(contextlib.ExitStack())
    for device in devices:
        target = inventory.open(device, writable=writable)
        stack.callback(target.close)
        held.append(target)
        known.append(device if device.exists else replace(device, identity=target.identity()))
        if not device.exists:
            made.callback(Path(device.path).unlink, missing_ok=True)
    return known, held, made


def confirm(plan: FlashPlan, request: Request) -> None:
    """Ask, unless the list or the token has answered already.

    Raises:
        UsageError: there is nobody to ask.
        RefusedError: the token is another plan's: image or medium is not the one that was planned.
    """
    if request.confirm is not None:
        if request.confirm != plan.token:
            raise RefusedError(plan.targets[0].device.path, (Refusal(
                code=Code.IDENTITY_CHANGED, reason=f"this plan is {plan.token}, confirmed is {request.confirm}: image"
                " or medium is not what it was", allow="look at the plan again: imagekit flash plan"),))
        return
    asked = [item.device for item in plan.targets if item.device.exists and not request.allowed.names(item.device)]
    if not asked:
        return
    names = [item.path for item in asked]
    if not sys.stdin.isatty():
        raise UsageError(f"cannot erase {', '.join(names)}: there is no terminal to ask on",
                         hint=f"--confirm {plan.token}, or a list: --serial, --port")
    type_to_go_on(f"erase {asked[0].name}" if len(asked) == 1 else f"erase {len(asked)}")


def type_to_go_on(word: str) -> None:
    """Raises: UsageError: something else was typed."""
    typed = click.prompt(f"type '{word}' to go on", default="", show_default=False, err=True)
    if typed.strip() != word:
        raise UsageError("cannot go on: it was not confirmed; nothing was written")


def show_and_plan(request: Request) -> tuple[FlashPlan, str]:
    """The plan, without holding anything."""
    with looked_into(request) as image:
        devices = find_targets(request, SystemInventory())
        return make_plan(image.facts, image.source, devices, request.allowed), image.about


def write(request: Request) -> None:
    """`imagekit flash write`."""
    lines = JsonLines(talk_of())
    with told(request, lines), looked_into(request) as image, contextlib.ExitStack() as stack:
        _write(request, image, stack, lines)


@contextlib.contextmanager
def told(request: Request, lines: JsonLines) -> Iterator[None]:
    """The first JSON line; an error is the last one."""
    if request.as_json:
        lines.line({"event": "begin", "version": RECORD_VERSION, "tool": __version__, "image": str(request.image)})
    with lines.ended(wanted=request.as_json):
        yield


def _write(request: Request, image: Looked, stack: contextlib.ExitStack, lines: JsonLines) -> None:
    inventory = SystemInventory()
    devices = find_targets(request, inventory)
    planned = make_plan(image.facts, image.source, devices, request.allowed)
    refuse(planned)
    require_room(devices, image.facts)
    if request.boot_from_it and any(item.kind is not Kind.EMMC_BOOT for item in devices):
        raise UsageError("cannot take --boot-from-it: not every target is a boot partition of an eMMC")
    known, held, made = hold_all(devices, inventory, stack, writable=True)
    plan = make_plan(image.facts, image.source, known, request.allowed)
    if request.as_json:
        lines.line({"event": "plan", **as_json(plan)})
    else:
        show_plan(planned, about=image.about, update=request.how.update)
    confirm(planned, request)
    journals = Journals(log_folder().parent / "flash" / "journals", image.facts, warn=warn)
    records = Records(plan, image.about)
    made.pop_all()  # from here on they are not empty any more
    resume = {item.path: journals.ranges(item) for item in known} if request.resume else {}
    for path, count in resume.items():
        say(f"{path}: goes on after {count} of {len(image.facts.ranges)} ranges, which are looked at" if count else
            f"{path}: nothing to go on with; begins from the start")
    by_path = {item.path: item for item in known}
    listener: Listener = lines if request.as_json else stack.enter_context(painter())
    outcome = flash(plan, image.source, held, how=replace(request.how, resume=resume), clock=SystemClock(),
                    listener=listener, reopen=lambda: reopened(image.source),
                    reached=lambda path, count: journals.reached(by_path[path], count))
    _end(request, plan, outcome, journals, records, lines)


def reopened(source: Source) -> Source:
    """The same image, once more."""
    from imagekit.flash.source import open_source

    again = open_source(source.path)
    if again is None:
        raise HostError(f"cannot read {source.path}: it has changed while it was read")
    return again


def _end(request: Request, plan: FlashPlan, outcome: Outcome, journals: Journals, records: Records,
         lines: JsonLines) -> None:
    """Records, the last line, and the error if there is one."""
    for item, ended in zip(plan.targets, outcome.ended, strict=True):
        if ended.result is Result.DONE:
            journals.forget(item.device)
    with contextlib.ExitStack() as chips:  # each of them, whatever fails with the records or another chip
        for item, ended in zip(plan.targets, outcome.ended, strict=True):
            if request.boot_from_it and ended.result is Result.DONE:
                chips.callback(boot_from, LocalTools(), item.device)
        written = records.end(outcome)
    if request.as_json:
        lines.line({"event": "result", "ok": all(item.result is Result.DONE for item in outcome.ended),
                    "records": [str(path) for path in written]})
    else:
        show_outcome(outcome.ended)
    raise_for(outcome)


def raise_for(outcome: Outcome) -> None:
    """Raises: what was interrupted, what is wrong with the image, or which media failed."""
    if outcome.interrupt is not None:
        raise outcome.interrupt
    if outcome.source_error is not None:
        raise outcome.source_error
    failed = [item for item in outcome.ended if item.result is not Result.DONE]
    if len(failed) == 1 and failed[0].refusals:
        raise RefusedError(failed[0].target, failed[0].refusals)
    if len(failed) == 1:
        raise TargetError(failed[0].problem, hint=_hint(failed[0]))
    if failed:
        raise TargetError(f"cannot flash {len(failed)} of {len(outcome.ended)} media",
                          details=tuple(item.problem for item in failed))


def _hint(ended: Ended) -> str | None:
    if ended.damage is not None:
        return "do not use this medium; try another one, or another reader"
    if Path(ended.target).is_file():
        return "the file lies on a disk of this machine: look there, make room, then --resume"
    return "try another reader, port or cable, then --resume; if it fails again, the medium is broken"


class Records:
    """One JSON file for each medium, begun before its first byte is written."""

    def __init__(self, plan: FlashPlan, about: str) -> None:
        began = SystemClock().now()
        folder = log_folder().parent / "flash"
        self._plan = plan
        self._records: list[tuple[Path, dict[str, Any]]] = []
        for number, item in enumerate(plan.targets):
            path = folder / f"{began:%Y%m%dT%H%M%SZ}-{item.device.name}-{os.getpid()}-{number}.json"
            record = {"version": RECORD_VERSION, "tool": __version__, "began": began.isoformat(timespec="seconds"),
                      "ended": None, "image": {"path": str(Path(plan.image.path).absolute()), "size": plan.image.size,
                                               "digest": plan.image.digest, "about": about},
                      "device": device_json(item.device), "result": "begun"}
            write_record(path, record)
            self._records.append((path, record))

    def end(self, outcome: Outcome) -> tuple[Path, ...]:
        """Write how it went. Raises: HostError: a record cannot be written; the media are as they were told to be."""
        ranges = [replace(item, sha256=outcome.digests.get(index, item.sha256))
                  for index, item in enumerate(self._plan.image.ranges)]
        digest = ranges_digest(ranges) if all(item.sha256 for item in ranges) else None
        for (path, record), ended in zip(self._records, outcome.ended, strict=True):
            record["ended"] = SystemClock().now().isoformat(timespec="seconds")
            record["image"]["digest"] = digest or record["image"]["digest"]
            record |= {"result": ended.result.value, "state": ended.state.value, "written": ended.written,
                       "verified": ended.verified, "problem": ended.problem or None,
                       "seconds": round(ended.seconds, 2), "damage": ended.damage and {
                           "first": ended.damage.first, "blocks": ended.damage.blocks,
                           "pattern": ended.damage.pattern.value, "distance": ended.damage.distance,
                           "least": ended.damage.least}}
            write_record(path, record)
        return tuple(path for path, _ in self._records)


def verify(request: Request) -> None:
    """`imagekit flash verify`."""
    lines = JsonLines(talk_of())
    with told(request, lines), looked_into(request) as image, contextlib.ExitStack() as stack:
        _verify(request, image, stack, lines)


def _verify(request: Request, image: Looked, stack: contextlib.ExitStack, lines: JsonLines) -> None:
    inventory = SystemInventory()
    devices = find_targets(request, inventory)
    for device in devices:
        if not device.exists:
            raise HostError(f"cannot verify {device.path}: there is no such file")
        final = tuple(item for item in judge(device, image.facts.demand, Allowed()) if item.code.value in FINAL)
        if final:
            raise RefusedError(device.path, final)
    known, held, _ = hold_all(devices, inventory, stack, writable=False)
    plan = make_plan(image.facts, image.source, known, request.allowed)
    listener: Listener = lines if request.as_json else stack.enter_context(painter())
    outcome = flash(plan, image.source, held, how=How(only_verify=True), clock=SystemClock(), listener=listener,
                    reopen=lambda: reopened(image.source))
    if request.as_json:
        lines.line({"event": "result", "ok": all(item.result is Result.DONE for item in outcome.ended), "records": []})
    else:
        show_outcome(outcome.ended)
    raise_for(outcome)
