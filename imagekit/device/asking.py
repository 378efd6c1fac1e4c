"""Ask this device's store what is meant for it: for each part of a slot, and the gadget, the revision, and why.

Decides what is believed of the answer. The store's address (`imagekit.device.addresses`) and its first TUF root are in
the model's `store` assertion, which the builder puts into the seed: signed by a root of this device, named by the
signed model. From there TUF says what is current, `imagekit.plan.rollout` what of it is this device's. Nothing is
fetched but metadata, channel maps, where the store is, and the accounts, sets and model that bear on the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from tuf.api.metadata import TargetFile

from imagekit.assertions import Assertion, Model, ModelSnap, decode_stream, parse_model, parse_snap_revision
from imagekit.assertions.fields import format_time
from imagekit.device.addresses import find_stores, learn, reach
from imagekit.device.history import ADVISORIES_MOST, ADVISORY_MOST, Advisory, Packages
from imagekit.device.identity import identify
from imagekit.device.install import Known
from imagekit.device.machine import Machine
from imagekit.device.newmodel import NewModel, meet, newest
from imagekit.device.offers import ASSERTIONS_LIMIT
from imagekit.errors import DocumentError, TrustError
from imagekit.host.storeclient import Client, Ended
from imagekit.plan.channelmap import LIMIT, ChannelMap, UpdateClass, parse_channel_map
from imagekit.plan.channels import parse_channel
from imagekit.plan.rollout import Asking, Choice, Why, choose
from imagekit.plan.sets import SetRules, combine, find_sets
from imagekit.plan.storepaths import account_path, channels_path, model_path, set_path, store_path
from imagekit.plan.update import BASE, PARTS, Held
from imagekit.plan.update_gadget import GADGET

NOTHING = Choice(why=Why.CLOSED)  # the store says nothing of a part


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the store says of one part. `wanted` is None where what runs shall stay; `note` says why, if need be.

    `ended`: it says nothing that is believed, as its publisher signed nothing anew.
    """

    part: str
    held: Held
    choice: Choice
    wanted: int | None
    note: str = ""
    ended: Ended | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What it says of all, and the assertions that came with it. `url` is where it was asked.

    All of it is by the newest model that it has and that may be taken, which is not kept yet.
    """

    url: str
    client: Client
    model: NewModel
    parts: tuple[Answer, ...]
    assertions: tuple[Assertion, ...]

    @property
    def news(self) -> tuple[Answer, ...]:
        return tuple(item for item in self.parts if item.wanted is not None)

    @property
    def ended(self) -> str:
        """Of which parts it says nothing that is believed; empty: of none."""
        return "; ".join(item.note for item in self.parts if item.ended is not None)

    @property
    def pair(self) -> Packages:
        """What would run; with the gadget, where that is a new one."""
        return tuple((item.held.name, item.wanted or item.held.revision or 0) for item in self.parts
                     if item.part in PARTS or item.wanted is not None)

    @property
    def gadget(self) -> Answer | None:
        """A new one."""
        return next((item for item in self.news if item.part == GADGET), None)

    @property
    def gadget_alone(self) -> Packages:
        """What would run if of the news the gadget alone came; empty where there is no new one."""
        running = tuple((item.held.name, item.held.revision or 0) for item in self.parts if item.part in PARTS)
        return (*running, (self.gadget.held.name, self.gadget.wanted or 0)) if self.gadget is not None else ()

    def without(self, part: str) -> Answers:
        """The same, but that of this part what is there stays."""
        return replace(self, parts=tuple(replace(item, wanted=None) if item.part == part else item
                                         for item in self.parts))

    @property
    def advisories(self) -> tuple[Advisory, ...]:
        """What is kept of those of all revisions on the way, the newest first."""
        return tuple(Advisory(name=item.held.name, revision=number, update_class=kind.value, text=text[:ADVISORY_MOST])
                     for item in self.news for number, kind, text in item.choice.advisories)[:ADVISORIES_MOST]

    @property
    def update_class(self) -> UpdateClass:
        """The most pressing one."""
        return max((item.choice.update_class for item in self.news), key=lambda item: item.rank,
                   default=UpdateClass.FEATURE)


def ask(machine: Machine, known: Known, say: Callable[[str], None], *, model_waits: str = "") -> Answers:
    """What the store means for this device; `model_waits`: why it goes by no newer model yet.

    A publisher that signs nothing any more keeps no update of the others away.

    Raises: HostError: the store cannot be reached. TrustError, DocumentError: it is not believed. TargetError.
    """
    anchors = known.anchors
    stores = find_stores(machine, anchors, known.now)
    url, client = reach(machine, stores, say, now=known.now, wanted=tuple(_wanted(known)))
    assertions = tuple(_further(client, known, since=stores[0].assertion.revision))
    anchors.add(assertions)
    if moved := learn(machine, anchors, since=stores[0].assertion.revision, now=known.now):
        say(f"update: the store says that it is at {moved.url} from now on")
    found = newest(known, assertions)
    assertions += tuple(_sets(client, anchors.model, *(found[:1] if found is not None else ())))
    known, new = meet(machine, known, assertions, write=False, waits=model_waits)
    anchors = known.anchors
    rules = combine(find_sets(anchors.model, anchors.database, now=known.now))
    snaps = {part: anchors.model.base_snap if part == BASE else anchors.model.kernel for part in PARTS}
    parts = [_answer(machine, known, client, known.running[part], part=part, snap=snaps[part], rules=rules)
             for part in PARTS]
    if known.gadget.revision is not None:
        held = Held(name=known.gadget.name, revision=known.gadget.revision, root="")
        gadget = _answer(machine, known, client, held, part=GADGET, snap=anchors.model.gadget, rules=rules)
        if gadget.choice is not NOTHING or gadget.ended is not None:
            parts.append(gadget)
    if all(item.ended is not None for item in parts if item.part in PARTS):
        raise next(item.ended for item in parts if item.ended is not None)
    return Answers(url=url, client=client, model=new, parts=tuple(parts), assertions=assertions)


def _wanted(known: Known) -> Iterator[str]:
    """What is looked up whatever else is found: one for each publisher that has a say."""
    model = known.anchors.model
    snaps = (model.base_snap, model.kernel, *((model.gadget,) if known.gadget.revision is not None else ()))
    yield from (channels_path(snap.name) for snap in snaps)
    yield from (set_path(item.account_id, item.name, item.sequence) for item in model.validation_sets)


def _further(client: Client, known: Known, *, since: int) -> Iterator[Assertion]:
    """Accounts with keys that may have been ended, the newest model, and where the store is, if it moved.

    That is left alone unless its revision is above `since`: of one revision there is one.
    """
    model = known.anchors.model
    accounts = {model.brand_id, *(root.account_id for root in known.anchors.database.roots)}
    for path in (store_path(model.store or ""), *map(account_path, sorted(accounts)),
                 model_path(model.brand_id, model.model)):
        for item in _stream(client, path):
            check_past(client, item)
            if item.type != "store" or item.revision > since:
                yield item


def _sets(client: Client, *models: Model) -> Iterator[Assertion]:
    """The validation sets of these models."""
    for path in dict.fromkeys(set_path(item.account_id, item.name, item.sequence)
                              for model in models for item in model.validation_sets):
        yield from _stream(client, path)


def _stream(client: Client, path: str) -> tuple[Assertion, ...]:
    """The assertions of a target; none, where there is no such target."""
    target = client.find(path)
    return () if target is None else decode_stream(fetch_small(client, target).read_bytes(), name=path)


def check_past(client: Client, item: Assertion) -> None:
    """Hold the time of what becomes a floor below this device's clock against the store's word, which came later.

    Raises: TrustError: it is still to come, and whatever any store says would count as expired until then.
    """
    if item.type not in ("model", "snap-revision"):
        return
    with suppress(DocumentError):  # what is none counts for nothing
        when = parse_model(item).timestamp if item.type == "model" else parse_snap_revision(item).timestamp
        if when <= client.ends:
            return
        raise TrustError(f"cannot use {item.label}: it was signed on {format_time(when)}, and the store's word that it"
                         f" is current ends on {format_time(client.ends)}",
                         hint="the clock of the machine that signed it was wrong: sign it again under a new revision")


def fetch_small(client: Client, target: TargetFile, *, most: int = ASSERTIONS_LIMIT) -> Path:
    """A target for which no room is looked for, as it needs next to none. Raises: TrustError: more is signed; nothing
    of it is fetched."""
    if target.length > most:
        raise TrustError(f"cannot use {target.path} of the store: it has {target.length} bytes, at most {most} are"
                         " taken")
    return client.fetch(target)


def _answer(machine: Machine, known: Known, client: Client, held: Held, *, part: str, snap: ModelSnap,
            rules: SetRules) -> Answer:
    model = known.anchors.model
    rule = rules.of(snap)
    try:
        channels = read_channels(client, snap)
    except Ended as error:
        return Answer(part=part, held=held, choice=NOTHING, wanted=None, ended=error,
                      note=f"{held.text} stays: what its publisher signed has ended")
    if channels is None:
        return Answer(part=part, held=held, choice=NOTHING, wanted=None, note=f"the store has nothing of {held.name}")
    floor = max(known.history.floors.get(held.name, 0), held.revision or 0)
    pinned = rule.revision if rule is not None else None
    choice = choose(channels, Asking(
        device=identify(machine, known.anchors), architecture=model.architecture,
        channel=parse_channel(snap.default_channel), current=held.revision,
        floor=known.history.floors.get(held.name, 0),
        pinned=pinned))
    found = choice.revision
    if found is None:
        return Answer(part=part, held=held, choice=choice, wanted=None, note=_stranded(held, pinned)
                      if choice.why is Why.STRANDED else "")
    if found.revision < floor:
        return Answer(part=part, held=held, choice=choice, wanted=None,
                      note=f"{held.name} {found.revision} is meant for this device ({choice.why}), which takes nothing"
                           f" older than {floor}")
    return Answer(part=part, held=held, choice=choice, wanted=found.revision)


def _stranded(held: Held, pinned: int | None) -> str:
    """Why a device stays where it should not be, or cannot come to where it should."""
    if pinned is not None and pinned != held.revision:
        return f"{held.name} {pinned} is pinned by a validation set and may not be installed: {held.text} stays"
    why = "nothing newer is there" if pinned is None else "a validation set pins it"
    return f"{held.text} is revoked, and {why}"


def read_channels(client: Client, snap: ModelSnap) -> ChannelMap | None:
    """A package's channel map. Raises: TrustError: it is another package's. DocumentError: it is none."""
    path = channels_path(snap.name)
    target = client.find(path)
    if target is None:
        return None
    found = parse_channel_map(fetch_small(client, target, most=LIMIT).read_bytes(), name=path)
    if (found.name, found.snap_id) != (snap.name, snap.snap_id):
        raise TrustError(f"cannot use {path} of the store: it is about {found.name} with the id {found.snap_id}, the"
                         f" model's has {snap.snap_id}")
    return found
