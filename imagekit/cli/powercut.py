"""`imagekit powercut`: cut the power at every write of a real update, and tell whether the device would still boot."""

from __future__ import annotations

import json
import os
import random
import re
import tempfile
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.boot import complete_machine, expectation_of
from imagekit.cli.emulators import tools_for
from imagekit.cli.options import json_option, trust_option
from imagekit.cli.output import detail, emit_json, say, table, write
from imagekit.cli.progress import progress
from imagekit.digests import sha256
from imagekit.disk.writelog import Kind, LogEntry
from imagekit.errors import TargetError, UsageError
from imagekit.host.cache import default_cache_folder
from imagekit.host.files import write_atomic
from imagekit.powercut.disk import CutDisk
from imagekit.powercut.examine import Examiner, Verdict, check_seed
from imagekit.powercut.rebuild import check_log, open_recording, write_state
from imagekit.powercut.report import Booted, document, is_sound
from imagekit.powercut.sweep import DRAWN, LOST_MOST, TREE_MOST, Found, Limits, Medium, State, Sweep
from imagekit.qemu.device import Device
from imagekit.qemu.machine import SD_CARD, machine_folders, machine_of
from imagekit.qemu.record import image_digest, manifest_of
from imagekit.qemu.recording import boot_files_on, record_update
from imagekit.qemu.session import Wish, choose
from imagekit.qemu.stick import make_stick
from imagekit.qemu.workbench import copy_sparse, disk_size

if TYPE_CHECKING:
    from imagekit.host.ports import Progress, Tools
    from imagekit.qemu.judge import Expectation
    from imagekit.qemu.machine import Accelerator, Machine

DEADLINE_S = 900.0
LOG, RECORDING = "writes.log", "recording.json"
UPDATE_FILES = (".snap", ".snap.zst", ".assert")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What everything below works on. `machine` boots `image`, `folder` holds the recording."""

    image: Path
    folder: Path
    machine: Machine
    expectation: Expectation
    tools: Tools
    accelerator: Accelerator
    deadline_s: float


def parse_shard(_ctx: click.Context, _param: click.Parameter, value: str) -> tuple[int, int]:
    """`2/4` as (1, 4)."""
    match = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", value)
    if match is None or int(match[1]) > int(match[2]):
        raise click.BadParameter(f"{value!r} is no shard, as 2/4 is")
    return int(match[1]) - 1, int(match[2])


@click.command()
@click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path))
@click.option("--update", metavar="PATH", multiple=True, required=True, type=click.Path(path_type=Path, exists=True),
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
              help="Boot N prefixes drawn from all, too.")
@click.option("--machine", "machine_name", metavar="NAME", shell_complete=complete_machine,
              help="As for `imagekit boot`.")
@click.option("--deadline", metavar="SECONDS", type=click.FloatRange(min=1, max=86400), default=DEADLINE_S,
              show_default=True, help="For each of the boots.")
@click.option("--accel", type=click.Choice([wish.value for wish in Wish]), default=Wish.AUTO.value, show_default=True,
              envvar="IMAGEKIT_ACCEL", show_envvar=True, help="auto: KVM where a tiny guest proved it, else TCG.")
@trust_option
@json_option
def powercut(image: Path, update: tuple[Path, ...], output: Path | None, medium: str | None, no_torn: bool, tree: int,
             seed: int, shard: tuple[int, int], lost: int, boots: int, drawn: int, machine_name: str | None,
             deadline: float, accel: str, trust: tuple[Path, ...], as_json: bool) -> None:
    """Cut the power at every write of an update of IMAGE.

    The image boots in QEMU and takes the update; every write to its disk is recorded, from the first power-on to the
    healthy verdict of the new slot. Then each state in which a cut may leave the disk is judged by the models of loader
    and initrd, and by every byte of each slot that could be started. Exit 0 when all of them boot a whole slot,
    otherwise 7. The image is not changed.
    """
    expectation = expectation_of(image, trust)
    machine = machine_of(machine_name, machine_folders(), gadget=expectation.gadget,
                         architecture=expectation.architecture)
    with ExitStack() as stack:
        folder = output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imagekit-powercut-")))
        told = stack.enter_context(progress())
        tools = tools_for(machine, told=told)
        acceleration = choose(tools, machine, Wish(accel), cache=default_cache_folder(os.environ))
        detail(f"{acceleration.accelerator.value}: {acceleration.reason}")
        job = Job(image=image, folder=folder, machine=machine, expectation=expectation, tools=tools,
                  accelerator=acceleration.accelerator, deadline_s=deadline)
        recording = recorded(job, update, told)
        limits = Limits(medium=Medium(medium or (Medium.IN_ORDER if machine.disk == SD_CARD else Medium.EPOCHS)),
                        torn=not no_torn, tree=tree, drawn=DRAWN, seed=seed, shard=shard, lost=lost)
        with opened(job) as (disk, log):
            found = sweep(Examiner(disk, brought=recording["brought"]), disk, log, limits, told)
        with opened(job) as (disk, log):
            booted = boot_states(job, Examiner(disk, brought=recording["brought"]), found, log, disk,
                                 boots=boots, drawn=drawn, seed=seed, told=told)
    whole = {"version": 1, **recording, **document(found, limits, booted)}
    if as_json:
        emit_json(whole)
    else:
        tell(recording, found, limits, booted)
    if not is_sound(found, booted):
        raise failed(image, found, booted)


def recorded(job: Job, update: tuple[Path, ...], told: Progress) -> dict[str, Any]:
    """The recording of this update, made or found; what is known of it.

    Raises:
        TargetError: the device does not take the update.
        DocumentError: the log does not lead to the disk that was written.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    told.step("digests")
    files = update_files(update)
    known = {"image": digest_of(job.image), "machine": job.machine.name,
             "update": {path.name: digest_of(path) for path in files}}
    kept = job.folder / RECORDING
    if kept.is_file():
        there: dict[str, Any] = json.loads(kept.read_bytes())
        if {key: there.get(key) for key in known} == known and "brought" in there:
            say(f"the recording in {job.folder} is of this update: it is not made again")
            return there
    with tempfile.TemporaryDirectory(prefix="imagekit-stick-") as scratch:
        whole = len(files) == 1 and not files[0].name.endswith(UPDATE_FILES)
        stick = files[0] if whole else make_stick(Path(scratch) / "stick.img", files)
        told.step("record the update")
        with Device(job.image, tools=job.tools, machine=job.machine, accelerator=job.accelerator,
                    expectation=job.expectation, deadline_s=job.deadline_s,
                    transcript=job.folder / "console.log") as device:
            came = record_update(device, stick, job.folder / LOG)
            told.step("hold the log to the disk")
            with opened(job) as (disk, log), device.disk_path.open("rb") as written:
                check_log(disk, log, written)
        brought = boot_files_on(stick, job.image)
    emulator = job.tools.run(job.machine.emulator, "--version").stdout.decode("utf-8", "replace").splitlines()[0]
    made = {**known, "brought": brought, "emulator": emulator, "accelerator": job.accelerator.value,
            "recorded": asdict(came)}
    write_atomic(kept, json.dumps(made, indent=1).encode() + b"\n")
    return made


def update_files(update: tuple[Path, ...]) -> list[Path]:
    """The files of an update, folders opened. Raises: UsageError: there are none, or two of one name."""
    files = [item for path in update for item in (sorted(path.iterdir()) if path.is_dir() else [path])
             if not path.is_dir() or item.name.endswith(UPDATE_FILES)]
    if not files:
        raise UsageError(f"cannot use {update[0]}: no package lies there")
    if len({path.name for path in files}) < len(files):
        raise UsageError("cannot make a stick of the update: two files have the same name")
    return files


def digest_of(path: Path) -> str:
    """An image's digest as in its manifest, or of any other file its SHA-256."""
    manifest = manifest_of(path)
    if manifest is not None:
        return image_digest(path, manifest)
    with path.open("rb") as stream:
        return sha256(stream)


def opened(job: Job) -> AbstractContextManager[tuple[CutDisk, tuple[LogEntry, ...]]]:
    """The disk before the first write, and the log."""
    return open_recording(job.image, job.folder / LOG, size=disk_size(job.machine, job.image.stat().st_size))


def sweep(examine: Examiner, disk: CutDisk, log: tuple[LogEntry, ...], limits: Limits, told: Progress) -> Found:
    """Judge every state."""
    check_seed(disk, log)
    told.step("judge every state", total=len(log), unit="requests")
    return Sweep(disk, log, examine, limits).run(told.advance)


def boot_states(job: Job, examine: Examiner, found: Found, log: tuple[LogEntry, ...], disk: CutDisk, *, boots: int,
                drawn: int, seed: int, told: Progress) -> tuple[Booted, ...]:
    """Boot states for real: the first one of the rarest classes, and drawn prefixes."""
    chosen = [(item.first, False) for item in reversed(found.classes)][:boots]
    draw = random.Random(f"boots {seed}")
    writes = [number for number, entry in enumerate(log) if entry.kind is not Kind.FLUSH]
    for number in sorted(draw.choices(writes, weights=[log[number].count for number in writes], k=drawn)):
        sectors = draw.randint(1, log[number].count)
        chosen.append((State(entries=number, sectors=sectors, told=f"request {number + 1} of {len(log)}, after sector"
                                                                   f" {sectors} of {log[number].count}"), True))
    if not chosen:
        return ()
    booted = []
    for number, (state, is_drawn) in enumerate(chosen):
        told.step(f"boot state {number + 1} of {len(chosen)}")
        with disk.as_written(log, state.entries, state.sectors, state.chosen):
            verdict = examine()
        with tempfile.TemporaryDirectory(prefix="imagekit-powercut-") as scratch:
            target = Path(scratch) / "state.img"
            copy_sparse(job.image, target)
            os.truncate(target, disk.size)
            with target.open("r+b") as out:
                write_state(out, disk, log, state)
            came = boot_one(job, target, verdict)
        booted.append(Booted(state=state, verdict=verdict, drawn=is_drawn, came=came or "nothing",
                             agrees=came == verdict.slot))
    return tuple(booted)


def boot_one(job: Job, disk: Path, verdict: Verdict) -> str:
    """Boot a disk; the slot that is healthy with the roots that the oracle named, empty where none is."""
    expected = job.expectation
    if verdict.slot:
        base, kernel = verdict.roots
        expected = replace(expected, base=replace(expected.base, root=base),
                           kernel=replace(expected.kernel, root=kernel))
    with Device(disk, tools=job.tools, machine=job.machine, accelerator=job.accelerator, expectation=expected,
                deadline_s=job.deadline_s) as device:
        try:
            boot = device.boot(slot=None)
        except TargetError as error:
            detail(error.message)
            return ""
        assert boot.verdict is not None
        return boot.verdict.slot


def tell(recording: dict[str, Any], found: Found, limits: Limits, booted: tuple[Booted, ...]) -> None:
    """A sweep, for people."""
    came = recording["recorded"]
    write(f"recorded on machine {recording['machine']}: {came['boots']} boots, healthy in slot"
          f" {' then '.join(came['slots'])}; {found.entries:,} requests, {found.written:,} sectors,"
          f" {found.flushes:,} flushes")
    subsets = f"for every subset of {found.epochs - found.sampled:,} epochs"
    rows = [("prefixes", f"{found.prefixes:,}", "every sector that was written, one after the other"),
            ("torn", f"{found.torn:,}", "the same, the last sector half written"),
            ("reorderings", f"{found.reorderings:,}",
             subsets + (f", and drawn ones of {found.sampled:,}" if found.sampled else "")),
            ("unbootable", f"{found.unbootable:,}", f"{found.judged:,} verdicts worked out, the rest follows")]
    table(("states", "number", ""), rows, right=("number",))
    table(("states", "boots", "record"),
          [(f"{item.count:,}", item.verdict.problem or "; ".join(item.verdict.way), item.verdict.record)
           for item in found.classes], right=("states",), title=f"{len(found.classes)} classes")
    for item in booted:
        wanted = f"slot {item.verdict.slot}" if item.verdict.slot else "nothing"
        write(f"booted {item.state.told}: {item.came}, {'as' if item.agrees else 'NOT as'} the oracle says: {wanted}")
    if found.stopped:
        say(f"stopped after {limits.lost:,} unbootable states: --lost N for more")
    if limits.shard != (0, 1):
        say(f"this is shard {limits.shard[0] + 1} of {limits.shard[1]}")


def failed(image: Path, found: Found, booted: tuple[Booted, ...]) -> TargetError:
    """The states that are lost, as far as they are told."""
    details = [*(f"{state.told}: {problem}" for state, problem in found.problems),
               *(f"{item.state.told}: the oracle says {item.verdict.slot or 'nothing'}, {item.came} came up"
                 for item in booted if not item.agrees)]
    return TargetError(f"cannot call the update of {image} safe: {found.unbootable:,} states of a power cut do not boot"
                       f" a whole slot, {sum(not item.agrees for item in booted)} boots contradict the oracle",
                       details=tuple(details), hint="the first states are the ones to look at")
