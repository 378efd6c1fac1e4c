"""Install an update from files: what is believed, what is planned, what is checked, and then the steps.

Decides the order of the whole and when the device reboots. A newer model comes first, and what that allows counts.
Everything that was offered is verified before the first byte of the idle slot changes: signatures lead to this device's
own roots, digest and size are the signed ones, name, type and architecture are the model's. No option turns any of it
off. The running slot is never written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from imagekit.assertions import Assertion, decode_stream, encode_stream
from imagekit.device import history as past
from imagekit.device.addresses import last_revision, learn
from imagekit.device.anchors import Anchors, load_anchors, trusted_now
from imagekit.device.gadget import (
    HeldGadget,
    gadget_record,
    held_gadget,
    installed_document,
    open_medium,
    proofs_of,
    read_offered,
    state_name,
)
from imagekit.device.history import Advisory, Change, History, Pending, edit_history, load_history
from imagekit.device.install_steps import Job, execute
from imagekit.device.machine import Machine
from imagekit.device.newmodel import NewModel, meet
from imagekit.device.offer_checks import check_offers
from imagekit.device.offers import Offers, open_offers
from imagekit.device.partitions import Partition, find_partitions, partition
from imagekit.device.report import PIBOOT, BootReport, load_report
from imagekit.device.survey import held, holds, name_of, slot_proof, survey
from imagekit.device.wishes import in_force
from imagekit.disk.fat_read import read_fat
from imagekit.errors import DocumentError, PlanError, TargetError, TrustError
from imagekit.plan.resolve import PackageFile, Resolution, resolve
from imagekit.plan.schedule import is_held
from imagekit.plan.update import (
    BASE,
    KERNEL,
    PARTS,
    Failure,
    Held,
    PartPlan,
    Past,
    Source,
    UpdatePlan,
    check_loader,
    plan_update,
)
from imagekit.plan.update_gadget import GADGET, GadgetPlan, boot_partition, plan_gadget, plan_slot_gadget

REBOOT = "reboot"  # in /run/imagekit: an update was installed, and a reboot into it asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`unattended`: nobody watches; then a hold counts, and an update that could not be remembered is not begun."""

    check: bool = False
    again: bool = False
    reboot: bool = True
    unattended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it. `plan` None: no newer package was offered. `notes` say what of the offer was left out.

    `model` is what came of the models that were offered.
    """

    plan: UpdatePlan | None
    installed: bool
    rebooting: bool
    notes: tuple[str, ...]
    model: NewModel = field(default_factory=NewModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The device before anything is offered to it. `now` is the time to verify at."""

    report: BootReport
    partitions: dict[str, Partition]
    anchors: Anchors
    running: dict[str, Held]
    gadget: HeldGadget
    history: History
    now: datetime


class GadgetRefused(PlanError):
    """A gadget cannot come to this device, and nothing that came with it is wanted, or allowed, without it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The device and an offer, resolved, planned, and read from its first byte to its last. `plan` None: all runs.

    `update_class` and `advisories` are what a store says of it. `refused` is why a gadget was left out.
    """

    known: Known
    offers: Offers
    resolution: Resolution
    plan: UpdatePlan | None
    notes: tuple[str, ...]
    refused: str = ""
    update_class: str = ""
    advisories: tuple[Advisory, ...] = ()


def install(machine: Machine, paths: Sequence[Path], options: Options, say: Callable[[str], None], *,
            clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> Outcome:
    """Go by a newer model that lies under `paths`, bring the packages there into the idle slot, and reboot into it.

    Raises:
        TrustError, DocumentError, PlanError: what was offered is not for this device.
        TargetError: the device refuses or fails; the running slot is as it was.
    """
    with past.alone(machine), open_offers(paths) as offers:
        known = know(machine, now=clock())
        until = in_force(machine, known.anchors.model, known.history).held_until
        if options.unattended and until is not None and is_held(until, known.now):
            raise TargetError(f"cannot install: updates are held until {stamp(until)}",
                              hint="imagekit-device hold --off")
        known, new = meet(machine, known, offers.assertions, write=not options.check)
        if new.text:
            say(f"update: {new.text}")
        if new.model is not None and not offers.packages:
            return Outcome(plan=None, installed=False, rebooting=False, notes=new.notes, model=new)
        came = bring(machine, prepare(machine, known, offers, again=options.again), options, say)
        if came.plan is None and new.refused:
            raise PlanError(new.refused)
        return replace(came, notes=(*new.notes, *came.notes), model=new)


def stamp(time: datetime) -> str:
    """Seconds, UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def know(machine: Machine, *, now: datetime) -> Known:
    """Gather what is known of this device. Raises: TargetError."""
    report = load_report(machine.run)
    partitions = find_partitions(machine, report.disk)
    anchors = load_anchors(machine, partition(partitions, "seed"))
    memory = load_history(machine)
    for part in PARTS:
        anchors.hear(slot_proof(partition(partitions, f"{part}-{report.slot.value}")))
    anchors.hear(kept_keys(machine))
    record = gadget_record(report)
    anchors.hear(proofs_of(record))
    running, now = what_runs(anchors, report, memory, now=now)
    return Known(report=report, partitions=partitions, anchors=anchors, running=running, history=memory, now=now,
                 gadget=held_gadget(anchors, record, report))


def prepare(machine: Machine, known: Known, offers: Offers, *, again: bool = False) -> Ready:
    """Find the packages of the model in what is offered, plan, and read all that will be written. Raises: `install`."""
    anchors = known.anchors
    since = last_revision(machine, anchors, known.now)
    anchors.add(offers.assertions)
    learn(machine, anchors, since=since, now=known.now)
    available, notes = _available(anchors, known, offers)
    resolution = resolve(anchors.model, anchors.database, available, now=known.now)
    keep_keys(machine, anchors, now=known.now)
    refused = ""
    try:
        gadget = new_gadget(known, resolution, offers)
    except PlanError as error:
        whole = GadgetRefused(error.message, hint=error.hint, details=error.details)
        if not news(known, resolution):
            raise whole from error
        # A gadget that cannot come keeps no fix of base or kernel away, if the pair is allowed with the present one.
        package = resolution.of(resolution.model.gadget)
        del available[package.name, package.number]
        try:
            resolution = resolve(anchors.model, anchors.database, available, now=known.now)
        except PlanError:
            raise whole from error
        refused = "; ".join((error.message, *error.details))
        gadget, notes = None, (*notes, f"{package.file.path} is left out: {refused}")
    plan = plan_with_spare(machine, known, resolution, again=again, gadget=gadget)
    if plan is not None:
        check_offers(machine, plan, resolution, offers, known.partitions)
    return Ready(known=known, offers=offers, resolution=resolution, plan=plan, notes=notes, refused=refused)


def bring(machine: Machine, ready: Ready, options: Options, say: Callable[[str], None]) -> Outcome:
    """Carry the plan out, if there is one and it shall be, and reboot. Raises: as `install`."""
    plan = ready.plan
    if plan is None or options.check:
        return Outcome(plan=plan, installed=False, rebooting=False, notes=ready.notes)
    carry_out(machine, plan, ready, options, say)
    if options.reboot:
        reboot(machine, say)
    return Outcome(plan=plan, installed=True, rebooting=options.reboot, notes=ready.notes)


def reboot(machine: Machine, say: Callable[[str], None]) -> None:
    """Reboot into what was installed. Raises: TargetError: nobody does; the next refresh asks again."""
    with suppress(OSError):
        (machine.run / REBOOT).touch()
    say("update: rebooting")
    machine.programs.run("systemctl", "--no-block", "reboot")


def wants_reboot(machine: Machine) -> bool:
    """Whether a reboot was asked for in this boot, and has not come."""
    return (machine.run / REBOOT).exists()


def what_runs(anchors: Anchors, report: BootReport, memory: History, *, now: datetime
              ) -> tuple[dict[str, Held], datetime]:
    """The packages of the running slot, and the time to verify at, which no wrong clock takes behind them."""
    latest = past.moment(memory.latest)
    models = (anchors.seed_model.timestamp, anchors.model.timestamp)
    now = trusted_now(now, *models, *([latest] if latest is not None else []))
    roots = {BASE: report.base_root, KERNEL: report.kernel_root}
    running = {part: held(anchors, part, roots[part], now=now) for part in PARTS}
    for part in PARTS:
        signed = anchors.with_root(name_of(anchors, part), roots[part], now=now)
        now = max(now, signed.timestamp) if signed is not None else now
    return running, now


def news(known: Known, resolution: Resolution) -> bool:
    """Whether base or kernel are others than those that run."""
    wanted = {BASE: resolution.model.base_snap, KERNEL: resolution.model.kernel}
    return any(resolution.of(wanted[part]).verity_root != known.running[part].root for part in PARTS)


def new_gadget(known: Known, resolution: Resolution, offers: Offers) -> GadgetPlan | None:
    """What a newer gadget brings, if one was offered. Raises: as `install`, of what the gadget holds."""
    package = resolution.of(resolution.model.gadget)
    offer = offers.packages.get((package.name, package.number))
    if offer is None or package.number <= (known.gadget.revision or 0):
        return None
    check_loader(known.report.loader)
    new = read_offered(offer, resolution)
    old = installed_document(known.gadget, partition(known.partitions, "seed"))
    if known.report.loader == PIBOOT:
        return plan_slot_gadget(old, new, resolution, f"boot-{known.report.slot.other.value}")
    boot = partition(known.partitions, boot_partition(old))
    try:
        with boot.device.open("rb") as stream:
            return plan_gadget(old, new, resolution, read_fat(stream, name=boot.name))
    except OSError as error:
        raise TargetError(f"cannot read {boot.device}: {error.strerror}") from error


def _available(anchors: Anchors, known: Known, offers: Offers
               ) -> tuple[dict[tuple[str, int], PackageFile], tuple[str, ...]]:
    """Every package that may count: what runs, what was offered, and of the seed what lies in no slot."""
    running, gadget = known.running, known.gadget
    names = {item.name for item in running.values()}
    available = {key: file for key, file in anchors.packages.items() if key[0] not in names}
    if gadget.known is not None:
        available |= {(gadget.name, item.snap_revision): PackageFile(path="the boot partition", size=item.snap_size,
                                                                     seed_size=None)
                      for item in anchors.revisions(gadget.name) if item.snap_revision == gadget.revision}
    notes = []
    for (name, number), offer in offers.packages.items():
        if name not in (*names, gadget.name):
            ours = name in {snap.name for snap in anchors.model.snaps}
            why = "only kernel, base and gadget are updated yet" if ours else "it is no package of this model"
            notes.append(f"{offer.file} is left out: {why}")
            continue
        signed = next((item.snap_size for item in anchors.revisions(name) if item.snap_revision == number), offer.size)
        available[name, number] = PackageFile(path=offer.file, size=signed if offer.packed else offer.size,
                                              seed_size=None)
    for item in running.values():
        if item.revision is None:
            if not any(name == item.name for name, _ in available):
                raise TargetError(f"cannot update this device: nobody that it believes signed the {item.name} that"
                                  " runs, so nothing can be called newer")
            continue
        loose = anchors.packages.get((item.name, item.revision))
        size = next((found.snap_size for found in anchors.revisions(item.name)
                     if found.verity_root == item.root), 0)
        available[item.name, item.revision] = loose if loose is not None else PackageFile(
            path="the running slot", size=size, seed_size=None)
    return available, tuple(notes)


def plan_with_spare(machine: Machine, known: Known, resolution: Resolution, *, again: bool,
                    gadget: GadgetPlan | None) -> UpdatePlan | None:
    """The plan, once the idle slot was looked at. Raises: TargetError, PlanError: see `plan_update`."""
    held = {**known.running, GADGET: Held(name=known.gadget.name, revision=known.gadget.revision, root="")}
    state = replace(survey(machine, known.report, known.partitions, held, named_tree=lambda: _named_tree(known)),
                    gadget_record=known.gadget.record, state_partition=state_name(known.report, known.partitions))
    model = resolution.model
    spare = known.report.slot.other.value
    wanted = {BASE: resolution.of(model.base_snap).verity_root, KERNEL: resolution.of(model.kernel).verity_root}
    if gadget is None and all(wanted[part] == known.running[part].root for part in PARTS):
        spare_roots = {}  # nothing to write: do not read a slot for nothing
    else:
        spare_roots = {part: root for part, root in wanted.items() if root is not None
                       and holds(partition(known.partitions, f"{part}-{spare}"), root)}
    failed = tuple(Failure(packages=item.packages, reason=item.reason, time=item.time)
                   for item in known.history.failed)
    return plan_update(replace(state, spare_roots=spare_roots), resolution,
                       Past(floors=known.history.floors, failed=failed), again=again, gadget=gadget)


def _named_tree(known: Known) -> str | None:
    extension = installed_document(known.gadget, partition(known.partitions, "seed")).extension
    return extension.device_tree if extension is not None else None


def carry_out(machine: Machine, plan: UpdatePlan, ready: Ready, options: Options, say: Callable[[str], None]) -> None:
    """Do it, and remember it: as begun before the first byte, as on trial once the loader was told."""
    known = ready.known
    pending = Pending(slot=plan.slot.value, packages=plan.pair, base_root=plan.part(BASE).root,
                      kernel_root=plan.part(KERNEL).root, trial=False, time=stamp(known.now),
                      update_class=ready.update_class, advisories=ready.advisories)
    signed = [stamp(item.revision.timestamp) for item in ready.resolution.packages if item.revision is not None]

    def begun(memory: History) -> History:
        return replace(memory, pending=pending, latest=max(memory.latest, *signed))

    def on_trial(memory: History) -> History:
        return replace(begun(memory), pending=replace(pending, trial=True)).with_change(
            Change(time=stamp(known.now), what="install", packages=plan.pair, outcome="on trial",
                   update_class=ready.update_class, advisories=ready.advisories))

    _remember(machine, begun, options, say)

    def open_part(part: PartPlan) -> AbstractContextManager[BinaryIO]:
        if part.source is Source.PACKAGE:
            return ready.offers.packages[part.name, part.revision].open(most=part.size)
        return running(machine, part.part, root=part.root)

    with open_medium(machine, known.report, known.partitions) as medium:
        execute(Job(plan=plan, medium=medium, open_part=open_part, say=say))
    _remember(machine, on_trial, options, say, begun=True)


def _remember(machine: Machine, change: Callable[[History], History], options: Options, say: Callable[[str], None], *,
              begun: bool = False) -> None:
    """What was said by others meanwhile, as by a check of the store, stays."""
    try:
        edit_history(machine, change)
    except TargetError as error:
        if options.unattended and not begun:
            raise
        say(f"update: {error.message}: what comes of it will not be remembered")


@contextmanager
def running(machine: Machine, part: str, *, root: str) -> Iterator[BinaryIO]:
    """The package in the running slot, through its verity device: the kernel checks every block."""
    device = machine.verity(machine.base if part == BASE else machine.kernel)
    if device.root != root:
        raise TargetError(f"cannot read the {part} that runs: what is mounted has another verity root")
    try:
        with device.path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise TargetError(f"cannot read {device.path}: {error.strerror}") from error


def kept_keys(machine: Machine) -> tuple[Assertion, ...]:
    """Account-keys that came with earlier updates: one that was ended stays ended. Nothing where there are none."""
    with suppress(OSError, DocumentError):
        return decode_stream(past.read_kept(machine, past.KEYS), name=past.KEYS)
    return ()


def keep_keys(machine: Machine, anchors: Anchors, *, now: datetime) -> None:
    """Keep every account-key that is believed, if there is a new one; a full disk forgets."""
    believed = []
    for item in anchors.database.all("account-key"):
        with suppress(TrustError, DocumentError):
            chain = anchors.database.believed("account-key", *item.primary_key, now=now)
            if chain is not None:
                believed.append(chain.links[-1].assertion)
    with suppress(TargetError):
        if set(map(_name, believed)) - set(map(_name, kept_keys(machine))):
            past.save(machine, past.KEYS, encode_stream(believed))


def _name(assertion: Assertion) -> tuple[object, ...]:
    return (*assertion.primary_key, assertion.revision)
