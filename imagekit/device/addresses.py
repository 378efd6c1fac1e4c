"""Where this device asks for updates: the addresses of its store, and how it learns of others.

Decides which addresses are asked, in which order, and what is kept of them. All of them are signed: the model's `store`
assertion in the seed names the first, a later revision of it the ones that take its place. That comes from the store
itself (`imagekit.plan.storepaths.store_path`) or beside packages, on a stick too, and is believed as everything else:
through the roots of the seed. Where a server sends a request on to, nobody keeps. An address says where, never what:
behind each of them TUF holds its files against the same first root and the same memory. So an address that answers
wrongly is told, and the next one is asked, even where the answer brings a mistake of this program to light; the ones of
before come last, for one that was mistyped loses nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime

from imagekit.assertions import Store, decode_stream, encode_stream, parse_store
from imagekit.device import history as past
from imagekit.device.anchors import Anchors
from imagekit.device.machine import Machine
from imagekit.errors import DocumentError, TargetError, TrustError, message_of
from imagekit.host.storeclient import Client, Ended, Local, Mirrors, open_client

METADATA, DOWNLOADS = "store", "downloads"  # folders beside the memory
KEPT = "store.assert"  # the assertion that moved the store, with its proof


def find_store(anchors: Anchors, now: datetime) -> Store:
    """The believed store of the model, by what is at hand.

    Raises:
        TargetError: the model names none, or it says too little to be asked.
        TrustError: nobody that is believed signed it.
    """
    name = anchors.model.store
    if not name:
        raise TargetError("cannot ask a store: the model of this device names none",
                          hint="updates come from sticks: imagekit-device install")
    chain = anchors.database.believed("store", name, now=now)
    if chain is None:
        raise TargetError(f"cannot ask store {name!r}: its assertion is not in this device's seed",
                          hint="lay NAME.store beside the packages when the image is built")
    store = parse_store(chain.links[-1].assertion)
    if not store.url or not store.assertion.body:
        raise TargetError(f"cannot ask store {name!r}: its assertion has no {'TUF root' if store.url else 'url'}",
                          hint="make it with imagekit store describe")
    return store


def find_stores(machine: Machine, anchors: Anchors, now: datetime) -> tuple[Store, ...]:
    """What is asked, the newest first: as it moved, if it has, and as the seed has it. Raises: as `find_store`."""
    first = find_store(anchors, now)
    with suppress(OSError, DocumentError, TrustError):
        for item in decode_stream(past.read_kept(machine, KEPT), name=KEPT):
            anchors.database.add(item)
    with suppress(TargetError, TrustError, DocumentError):
        newest = find_store(anchors, now)
        if newest.assertion.revision > first.assertion.revision:
            return newest, first
    return (first,)


def reach(machine: Machine, stores: tuple[Store, ...], say: Callable[[str], None], *, now: datetime,
          wanted: Iterable[str] = ()) -> tuple[str, Client]:
    """The first address whose answer is believed, and a client of it that fetches from the others too.

    `wanted` are targets that will be looked up: what their publishers sign belongs to the answer. If that has ended
    everywhere, the first address counts that has nothing else against it.

    Raises: HostError: none can be reached. TrustError: none is believed. The first one's error, foreseen or not.
    """
    urls = tuple(dict.fromkeys(url for store in stores for url in (store.url, *store.mirrors)))
    folder, seed = past.folder_of(machine), stores[-1]
    local = Local(state=folder / METADATA / seed.store, downloads=folder / DOWNLOADS, root=seed.assertion.body)
    failed: Exception | None = None
    ended: tuple[str, Client] | None = None
    for url in urls:
        say(f"update: asking the store at {url}")
        others = Mirrors(urls=tuple(other for other in urls if other != url), say=lambda text: say(f"update: {text}"))
        try:
            client = open_client(url, local, mirrors=others, now=now)
            if (lapsed := _ended(client, wanted)) is None:
                return url, client
            ended = ended or (url, client)
            raise lapsed
        except Exception as error:
            failed = failed or error
            if url != urls[-1]:
                say(f"update: {message_of(error)}: trying another address of it")
    if ended is not None:
        return ended
    assert failed is not None
    raise failed


def _ended(client: Client, wanted: Iterable[str]) -> Ended | None:
    """Whether of one of these the publisher's part has ended. Raises: as `Client.find` of the others."""
    found: Ended | None = None
    for path in wanted:
        try:
            client.find(path)
        except Ended as error:
            found = found or error
    return found


def last_revision(machine: Machine, anchors: Anchors, now: datetime) -> int:
    """Of the assertion that says where the store is; -1 where no store is known."""
    with suppress(TargetError, TrustError, DocumentError):
        return find_stores(machine, anchors, now)[0].assertion.revision
    return -1


def learn(machine: Machine, anchors: Anchors, *, since: int, now: datetime) -> Store | None:
    """Keep what moves the store, if what is at hand by now is of a later revision; a full disk forgets."""
    with suppress(TargetError, TrustError, DocumentError):
        newest = find_store(anchors, now)
        chain = anchors.database.believed("store", newest.store, now=now)
        if chain is not None and since >= 0 and newest.assertion.revision > since:
            past.save(machine, KEPT, encode_stream(chain.assertions))
            return newest
    return None
