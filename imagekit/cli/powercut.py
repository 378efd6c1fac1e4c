"""`imagekit powercut`: cut the power at every write of a real device, and tell whether it would still boot."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.boot import complete_machine, expectation_of
from imagekit.cli.emulators import tools_for
from imagekit.cli.options import json_option, trust_option
from imagekit.cli.output import detail, emit_json, say, table, write
from imagekit.cli.powercut_record import LOG, During, Job, opened, record_again, recorded
from imagekit.cli.progress import progress
from imagekit.disk import gpt
from imagekit.disk.writelog import LogEntry
from imagekit.errors import DocumentError, TargetError, UsageError
from imagekit.host.cache import default_cache_folder
from imagekit.powercut.disk import CutDisk, span_of
from imagekit.powercut.examine import Examiner, Verdict, check_seed
from imagekit.powercut.filesystem import Kept, check_states, kept_on
from imagekit.powercut.rebuild import write_state
from imagekit.powercut.report import Booted, Checked, Outcome, document
from imagekit.powercut.sweep import (
    DRAWN,
    LOST_MOST,
    TREE_MOST,
    Found,
    Limits,
    Medium,
    State,
    Sweep,
    drawn_losses,
)
from imagekit.qemu.machine import SD_CARD, machine_folders, machine_of
from imagekit.qemu.recording import SECRET
from imagekit.qemu.session import Wish, choose
from imagekit.qemu.workbench import copy_sparse

if TYPE_CHECKING:
    from imagekit.host.ports import Progress
    from imagekit.qemu.judge import Expectation

DEADLINE_S = 900.0
DATA_STATES = 20
SLOT_PACKAGES = ("base-", "kernel-")  # names of partitions begin so
BROKEN_TRIES = 60  # states that are looked at for one whose boots can be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How many states are tried for real: classes and drawn ones that are booted, ones of a disk that never flushes
    which are unbootable by the oracle, drawn ones whose data are looked into, classes whose next boot is recorded too.
    """

    boots: int
    drawn: int
    broken: int
    data: int
    again: int


def parse_shard(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    """`2/4` as (1, 4)."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", value)
    if match is None or int(match[1]) > int(match[2]):
        raise click.BadParameter(f"{value!r} is no shard, as 2/4 is")
    return int(match[1]) - 1, int(match[2])


@click.command()
@click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path))
@click.option("--during", type=click.Choice([kind.value for kind in During]), default=During.UPDATE.value,
              show_default=True, help="first-boot: on a disk larger than the image; factory-reset: after one boot.")
@click.option("--update", metavar="PATH", multiple=True, type=click.Path(path_type=Path, exists=True),
              help="What the device is updated with: packages and their assertions, a folder of them, or the image of"
              " a stick. Repeatable.")
@click.option("-o", "--output", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Keep the recording there, and take the one that is there if it is of the same image and update.")
@click.option("--medium", type=click.Choice([medium.value for medium in Medium]), default=None,
              help="epochs: what is not flushed may be there in any part; in-order: sector after sector."
              "  [default: in-order on a card slot, else epochs]")
@click.option("--no-torn", is_flag=True, help="Leave out states with a torn sector.")
@click.option("--tree", metavar="N", type=click.IntRange(min=1), default=TREE_MOST, show_default=True,
              help="Verdicts that all subsets of one epoch may cost; larger epochs are sampled.")
@click.option("--seed", metavar="N", type=int, default=0, show_default=True, help="For whatever is drawn.")
@click.option("--shard", metavar="I/N", default="1/1", callback=parse_shard,
              help="Judge only this shard of the epochs: 2/4.")
@click.option("--lost", metavar="N", type=click.IntRange(min=1), default=LOST_MOST, show_default=True,
              help="Stop after so many unbootable states.")
@click.option("--boot", "boots", metavar="N", type=click.IntRange(min=0), default=0, show_default=True,
              help="Boot one state of each of the N rarest classes in QEMU.")
@click.option("--random", "drawn", metavar="N", type=click.IntRange(min=0), default=0, show_default=True,
              help="Boot N drawn states, too, of each class as many as of any other.")
@click.option("--broken", metavar="N", type=click.IntRange(min=0), default=0, show_default=True,
              help="Boot N states, too, that only a disk leaves which never flushes, and that are unbootable by the"
              " models: the device has to go back as they say. Of an update.")
@click.option("--data", metavar="N", type=click.IntRange(min=0), default=DATA_STATES, show_default=True,
              help="Put the data partition in order in one state of each class and in N drawn ones, and look into it;"
              " not for an update, which may lose it.")
@click.option("--again", metavar="N", type=click.IntRange(min=0), default=0, show_default=True,
              help="Record the boot that recovers, too, from one state of each of the N rarest classes, and cut the"
              " power at every write of that.")
@click.option("--machine", "machine_name", metavar="NAME", shell_complete=complete_machine,
              help="As for `imagekit boot`.")
@click.option("--deadline", metavar="SECONDS", type=click.FloatRange(min=1, max=86400), default=DEADLINE_S,
              show_default=True, help="For each of the boots.")
@click.option("--accel", type=click.Choice([wish.value for wish in Wish]), default=Wish.AUTO.value, show_default=True,
              envvar="IMAGEKIT_ACCEL", show_envvar=True, help="auto: KVM where a tiny guest proved it, else TCG.")
@trust_option
@json_option
def powercut(image: Path, during: str, update: tuple[Path, ...], output: Path | None, medium: str | None, no_torn: bool,
             tree: int, seed: int, shard: tuple[int, int], lost: int, boots: int, drawn: int, broken: int, data: int,
             again: int, machine_name: str | None, deadline: float, accel: str, trust: tuple[Path, ...],
             as_json: bool) -> None:
    """Cut the power at every write of an update, the first boot or a factory reset of IMAGE.

    The image boots in QEMU, and every write to its disk is recorded, from the power-on to the healthy verdict; of an
    update that is the new slot's. Then each state in which a cut may leave the disk is judged by the models of loader
    and initrd, and by every byte of each slot that could be started. Exit 0 when all of them boot a whole slot and have
    their data, otherwise 7. The image is not changed.
    """
    kind = During(during)
    if bool(update) is not (kind is During.UPDATE):
        raise UsageError(f"cannot cut the power during {kind.value} {'with' if update else 'without'} --update",
                         hint="--update goes with --during update, which is the default")
    if broken and kind is not During.UPDATE:
        raise UsageError(f"cannot break slots during {kind.value}: nothing is written to one",
                         hint="--broken goes with --during update")
    expectation = expectation_of(image, trust)
    machine = machine_of(machine_name, machine_folders(), gadget=expectation.gadget,
                         architecture=expectation.architecture)
    asked = Asked(boots=boots, drawn=drawn, broken=broken, data=data, again=again)
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagekit-powercut-")))
        told = stack.enter_context(progress())
        tools = tools_for(machine, told=told)
        acceleration = choose(tools, machine, Wish(accel), cache=default_cache_folder(os.environ))
        detail(f"{acceleration.accelerator.value}: {acceleration.reason}")
        job = Job(image=image, folder=folder, during=kind, machine=machine, expectation=expectation, tools=tools,
                  accelerator=acceleration.accelerator, deadline_s=deadline)
        recording = recorded(job, update, told)
        limits = Limits(medium=Medium(medium or (Medium.IN_ORDER if machine.disk == SD_CARD else Medium.EPOCHS)),
                        torn=not no_torn, tree=tree, drawn=DRAWN, seed=seed, shard=shard, lost=lost,
                        keeps=max(drawn, data if kind is not During.UPDATE else 0))
        outcome, recoveries = judge(job, job.before, folder / LOG, recording["brought"], limits, asked, told)
        later = [(state, judge_again(job, disk, verdict, recording["brought"], limits, asked, told))
                 for state, disk, verdict in recoveries]
    outcomes = [outcome, *(item for _, item in later)]
    if as_json:
        emit_json({"version": 1, **recording, **document(outcome, limits),
                   "again": [{"state": state.told, **document(item, limits)} for state, item in later]})
    else:
        tell(recording, outcome, limits)
        for state, item in later:
            write(f"the boot after {state.told}:")
            tell_states(item, limits.medium)
    if not all(item.is_sound for item in outcomes):
        raise failed(image, kind, outcomes)


def judge(job: Job, before: Path, log_file: Path, brought: Mapping[str, str], limits: Limits, asked: Asked,
          told: Progress) -> tuple[Outcome, list[tuple[State, Path, Verdict]]]:
    """Judge every state of a recording, and try some; the disks of those from which another boot is recorded."""
    with opened(job, before, log_file) as (disk, log), tempfile.TemporaryDirectory(prefix="imagekit-powercut-") as name:
        scratch = Path(name)
        check_seed(disk, log)
        data = job.during is not During.UPDATE
        examine = Examiner(disk, brought=brought, data=data)
        kept = kept_on(job.tools, disk, scratch, goes=(SECRET,) * (job.during is During.RESET)) if data else Kept()
        if job.during is During.RESET and before == job.before and not kept.goes:
            raise DocumentError(f"cannot judge the reset: {before} has no file {SECRET!r} that it could take away",
                                hint="record it again")
        told.step("judge every state", total=len(log), unit="requests")
        found = Sweep(disk, log, examine, limits).run(told.advance)
        checked = Checked()
        if data:
            told.step("look into data partitions")
            states = [*(item.first for item in found.classes if not item.verdict.problem),
                      *found.spread(asked.data)]
            checked = Checked(states=len(states),
                              problems=check_states(job.tools, disk, log, states, kept, scratch))
        booted = boot_states(job, before, examine, found, log, disk, asked=asked, seed=limits.seed, told=told)
        recoveries = []
        rarest = [item for item in reversed(found.classes) if not item.verdict.problem][:asked.again]
        for number, item in enumerate(rarest):
            target = put_state(before, disk, log, item.first, job.folder / f"again-{number}.img")
            recoveries.append((item.first, target, item.verdict))
    return Outcome(found=found, checked=checked, booted=booted), recoveries


def judge_again(job: Job, disk: Path, verdict: Verdict, brought: Mapping[str, str], limits: Limits, asked: Asked,
                told: Progress) -> Outcome:
    """Record the boot from a state, and judge every state of that."""
    told.step(f"record the boot of {disk.name}")
    log = disk.with_suffix(".log")
    record_again(job, disk, log, expectation=expected_of(job, verdict))
    return judge(job, disk, log, brought, limits, replace(asked, boots=0, drawn=0, broken=0, again=0), told)[0]


def put_state(before: Path, disk: CutDisk, log: tuple[LogEntry, ...], state: State, target: Path) -> Path:
    """The disk of a state as a file."""
    target.unlink(missing_ok=True)
    copy_sparse(before, target)
    os.truncate(target, disk.size)
    with target.open("r+b") as out:
        write_state(out, disk, log, state)
    return target


def boot_states(job: Job, before: Path, examine: Examiner, found: Found, log: tuple[LogEntry, ...], disk: CutDisk, *,
                asked: Asked, seed: int, told: Progress) -> tuple[Booted, ...]:
    """Boot states for real: the first one of the rarest classes, drawn ones of all, and unbootable ones."""
    chosen = [(item.first, False) for item in reversed(found.classes)][:asked.boots]
    chosen += [(state, True) for state in found.spread(asked.drawn)]
    tried = []
    for state, is_drawn in chosen:
        with disk.as_written(log, state.entries, state.sectors, state.chosen):
            tried.append((state, examine(), is_drawn))
    if asked.broken:
        told.step("look for unbootable states of a disk that never flushes")
        tried += [(state, verdict, True) for state, verdict in broken_states(examine, log, disk, before, asked.broken,
                                                                             seed=seed)]
    booted = []
    for number, (state, verdict, is_drawn) in enumerate(tried):
        told.step(f"boot state {number + 1} of {len(tried)}")
        with tempfile.TemporaryDirectory(prefix="imagekit-powercut-") as scratch:
            slot, boots = boot_one(job, put_state(before, disk, log, state, Path(scratch) / "state.img"), verdict)
        booted.append(Booted(state=state, verdict=verdict, drawn=is_drawn, slot=slot, boots=boots))
    return tuple(booted)


def broken_states(examine: Examiner, log: tuple[LogEntry, ...], disk: CutDisk, before: Path, count: int, *,
                  seed: int) -> list[tuple[State, Verdict]]:
    """So many states that are unbootable, and how a device gets back from each.

    Raises: DocumentError: the log has not so many.
    """
    with before.open("rb") as stream:
        parts = [item for item in gpt.decode(stream).partitions if item.name.startswith(SLOT_PACKAGES)]
    spans = [span for span in (span_of(item.start, item.end) for item in parts)
             if any(entry.meets(*span) for entry in log)]
    found: list[tuple[State, Verdict]] = []
    if spans:
        for state in islice(drawn_losses(log, spans, seed=f"broken {seed}"), BROKEN_TRIES * count):
            with disk.as_written(log, state.entries, state.sectors, state.chosen):
                verdict = examine.going_back()
            if verdict is not None:
                found.append((state, verdict))
            if len(found) == count:
                return found
    raise DocumentError(f"cannot boot {count} unbootable states: {len(found)} were found",
                        hint="--broken with a smaller number")


def expected_of(job: Job, verdict: Verdict) -> Expectation:
    """What a healthy boot with this verdict shows."""
    expected = job.expectation
    if not verdict.slot:
        return expected
    base, kernel = verdict.roots
    return replace(expected, base=replace(expected.base, root=base), kernel=replace(expected.kernel, root=kernel))


def boot_one(job: Job, disk: Path, verdict: Verdict) -> tuple[str, int]:
    """Boot a disk; the slot that is healthy with the roots that the oracle named, empty where none is, and how many
    boots there were."""
    with job.device(disk, expectation=expected_of(job, verdict)) as device:
        try:
            boot = device.boot(slot=None)
        except TargetError as error:
            detail(error.message)
            return "", len(device.boots)
        assert boot.verdict is not None
        return boot.verdict.slot, boot.number


def tell(recording: dict[str, Any], outcome: Outcome, limits: Limits) -> None:
    """A sweep, for people."""
    came, found = recording["recorded"], outcome.found
    write(f"recorded on machine {recording['machine']}: {came['boots']} boot{'s' * (came['boots'] != 1)}, healthy"
          f" in slot {' then '.join(came['slots'])}; {found.entries:,} requests, {found.written:,} sectors,"
          f" {found.flushes:,} flushes")
    tell_states(outcome, limits.medium)
    if found.stopped:
        say(f"stopped after {limits.lost:,} unbootable states: --lost N for more")
    if limits.shard != (0, 1):
        say(f"this is shard {limits.shard[0] + 1} of {limits.shard[1]}")


def tell_states(outcome: Outcome, medium: Medium) -> None:
    """How many states of each kind, and what came of them."""
    found = outcome.found
    subsets = (f"for every subset of {found.epochs - found.sampled:,} epochs" if medium is Medium.EPOCHS
               else "this medium keeps the order of its writes")
    rows = [("prefixes", f"{found.prefixes:,}", "every sector that was written, one after the other"),
            ("torn", f"{found.torn:,}", "the same, the last sector half written"),
            ("reorderings", f"{found.reorderings:,}",
             subsets + (f", and drawn ones of {found.sampled:,}" if found.sampled else "")),
            ("unbootable", f"{found.unbootable:,}", f"{found.judged:,} verdicts worked out, the rest follows")]
    if outcome.checked.states:
        rows.append(("data lost", f"{len(outcome.checked.problems):,}",
                     f"of {outcome.checked.states:,} states whose data partition was put in order and looked into"))
    table(("states", "number", ""), rows, right=("number",))
    table(("states", "boots", "record", "data"),
          [(f"{item.count:,}", item.verdict.problem or "; ".join(item.verdict.way), item.verdict.record,
            item.verdict.data) for item in found.classes], right=("states",), title=f"{len(found.classes)} classes")
    for boot in outcome.booted:
        write(f"booted {boot.state.told}: {came_of(boot)}, {'as' if boot.agrees else 'NOT as'} the oracle says:"
              f" {wanted_of(boot)}")


def came_of(boot: Booted) -> str:
    """What a state did when it was booted."""
    return f"slot {boot.slot}, boot {boot.boots}" if boot.slot else "nothing"


def wanted_of(boot: Booted) -> str:
    """What the oracle says of a state."""
    verdict = boot.verdict
    if not verdict.slot:
        return "nothing"
    return f"slot {verdict.slot}, boot {len(verdict.way)}" + (f", for {verdict.problem}" if verdict.problem else "")


def failed(image: Path, during: During, outcomes: list[Outcome]) -> TargetError:
    """The states that are lost, as far as they are told."""
    details, lost, data, contradict = [], 0, 0, 0
    for outcome in outcomes:
        wrong = [item for item in outcome.booted if not item.agrees]
        details += [f"{state.told}: {problem}" for state, problem in (*outcome.found.problems,
                                                                      *outcome.checked.problems)]
        details += [f"{item.state.told}: the oracle says {wanted_of(item)}, {came_of(item)} came up" for item in wrong]
        lost, data = lost + outcome.found.unbootable, data + len(outcome.checked.problems)
        contradict += len(wrong)
    return TargetError(f"cannot call the {during.value} of {image} safe: {lost:,} states of a power cut do not boot"
                       f" a whole slot, {data} have lost data, {contradict} boots contradict the oracle",
                       details=tuple(details), hint="the first states are the ones to look at")
