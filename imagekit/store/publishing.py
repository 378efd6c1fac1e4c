"""Packages, validation sets, models and the address of the store itself come into a store; packages are released.

The order of a publish is: everything is checked and planned (`imagekit.plan.releases`), files are laid down under names
that nothing mentions yet, then the publisher's metadata is signed and the change becomes visible at once
(`imagekit.store.commit`). A package's bytes are hashed again while they are taken over: what goes out is what was
signed, whatever became of the file in between.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import zstandard

from imagekit.assertions import (
    Chain,
    SnapDeclaration,
    ValidationSet,
    decode_stream,
    encode_stream,
    parse_model,
    parse_snap_declaration,
    parse_snap_revision,
    parse_store,
    parse_validation_set,
)
from imagekit.digests import CHUNK, b64url, chunks, short
from imagekit.errors import HostError, PlanError, TrustError
from imagekit.host.files import reason
from imagekit.packages.forward import PACKED_WINDOW
from imagekit.packages.package import PackageFormat, format_of
from imagekit.packages.snapyaml import SnapInfo
from imagekit.plan.channelmap import (
    ChannelMap,
    Compression,
    Revision,
    UpdateClass,
    encode_channel_map,
    encode_for_devices,
)
from imagekit.plan.channels import Channel
from imagekit.plan.demands import refuse_unbuildable
from imagekit.plan.model_update import check_change, name_of
from imagekit.plan.releases import Terms, check_set, released, with_revision
from imagekit.plan.storepaths import (
    assertions_path,
    channels_path,
    fits,
    model_path,
    package_path,
    patterns_of,
    role_of,
    set_path,
    store_path,
)
from imagekit.store.commit import CLOCKS_APART, Draft, Outcome
from imagekit.store.metadata import target_bytes
from imagekit.store.repository import Store

LEVEL = 10  # zstd, one thread, as a package's twin for the seed is made: more would give other bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A package file, what it says of itself, and the proof of its signature."""

    path: Path
    info: SnapInfo
    chain: Chain

    @property
    def declaration(self) -> SnapDeclaration:
        """The declaration that the proof rests on. Raises: TrustError: it rests on none."""
        found = next((item for item in self.chain.evidence if item.type == "snap-declaration"), None)
        if found is None:
            raise TrustError(f"cannot publish {self.path}: no snap-declaration says whose it is")
        return parse_snap_declaration(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """How packages are published. `channel` is None where they are only taken in."""

    channel: Channel | None
    terms: Terms
    update_class: UpdateClass
    advisory: str


def publish(store: Store, offers: Sequence[Offer], wanted: Wanted) -> Outcome:
    """Publish packages, all in one change.

    Raises:
        TrustError: a package is another publisher's, or its bytes are not what was signed.
        PlanError: a revision goes backwards, has other bytes, may not go to the channel, or was signed in the future;
            no device could read what would be published of it.
    """
    draft = store.draft()
    maps: dict[str, ChannelMap] = {}
    planned = []
    for offer in offers:
        name, declaration = offer.info.name, offer.declaration
        _check_publisher(store, name, declaration)
        before = maps.get(name) or store.channels(name) or ChannelMap(name=name, snap_id=declaration.snap_id)
        if before.snap_id != declaration.snap_id:
            raise TrustError(f"cannot publish {offer.path}: this store has {name!r} with the id {before.snap_id}, the"
                             f" package is signed with {declaration.snap_id}")
        revision = _revision(store, offer, wanted)
        maps[name] = _planned(store, with_revision(before, revision), revision, wanted)
        planned.append((offer, revision, role_of(declaration.publisher_id)))
    documents = {name: encode_for_devices(item) for name, item in maps.items()}
    for offer, revision, role in planned:
        _lay_down(store, draft, offer, revision, role)
    for offer, _, role in planned:
        name = offer.info.name
        store.put(draft.publisher(role), channels_path(name), documents[name])
    return store.commit(draft)


def _planned(store: Store, channels: ChannelMap, revision: Revision, wanted: Wanted) -> ChannelMap:
    if wanted.channel is None:
        return channels
    return released(channels, revision.revision, wanted.channel, wanted.terms, sets=store.sets())


def _check_publisher(store: Store, name: str, declaration: SnapDeclaration) -> None:
    """Raises: TrustError: the name is not the publisher's in this store."""
    role, delegations = role_of(declaration.publisher_id), store.published.targets.signed.delegations
    entry = (delegations.roles or {}).get(role) if delegations else None
    if entry is None or not any(fits(name, pattern) for pattern in patterns_of(entry.paths or [])):
        why = "may not publish it here" if entry else "is no publisher of this store"
        raise TrustError(f"cannot publish {name!r}: it belongs to {declaration.publisher_id!r}, which {why}",
                         hint=f"imagekit store publisher add {declaration.publisher_id} --package {name} --key KEY")


def _revision(store: Store, offer: Offer, wanted: Wanted) -> Revision:
    signed = parse_snap_revision(offer.chain.links[-1].assertion)
    _check_time(store, offer.path, signed.timestamp)
    try:
        with offer.path.open("rb") as stream:
            squashfs = format_of(stream) is PackageFormat.SQUASHFS
    except OSError as error:
        raise HostError(f"cannot read {offer.path}: {reason(error)}") from error
    return Revision(
        revision=signed.snap_revision, architectures=tuple(sorted(offer.info.architectures)), type=offer.info.type,
        version=offer.info.version, sha3_384=signed.snap_sha3_384, size=signed.snap_size,
        compression=Compression.NONE if squashfs else Compression.ZSTD, update_class=wanted.update_class,
        advisory=wanted.advisory, published=store.now.replace(microsecond=0))


def _check_time(store: Store, path: Path, timestamp: datetime) -> None:
    """Raises: PlanError: it is still to come."""
    if timestamp > store.now + CLOCKS_APART:
        raise PlanError(f"cannot publish {path}: it was signed at {timestamp:%Y-%m-%dT%H:%M:%SZ}, which is still to"
                        " come: a device that went by it would take that for past, and every store for expired",
                        hint="set the clock of the machine that signs, and sign it again")


def _lay_down(store: Store, draft: Draft, offer: Offer, revision: Revision, role: str) -> None:
    name, number, targets = offer.info.name, revision.revision, draft.publisher(role)
    path = package_path(name, number, revision.compression)
    if path not in targets.targets:
        store.adopt(targets, path, _writer(offer.path, revision))
    store.put(targets, assertions_path(name, number), encode_stream(offer.chain.assertions))


def _writer(path: Path, revision: Revision) -> Callable[[Path], None]:
    """Writes the package as the store keeps it: its twin for the seed if that is one, else compressed here."""
    def write(target: Path) -> None:
        twin = path.with_name(path.name + ".zst")
        try:
            if revision.compression is Compression.NONE:
                _take(path, target, revision, compress=False)
            elif twin.is_file() and _is_twin(twin, target, revision):
                return
            else:
                _take(path, target, revision, compress=True)
        except OSError as error:
            raise HostError(f"cannot publish {path}: {reason(error)}") from error
    return write


def _is_twin(twin: Path, target: Path, revision: Revision) -> bool:
    """Copy a compressed package; whether a device can unpack it, and gets the signed one."""
    digest, left = hashlib.sha3_384(), revision.size
    unpacker = zstandard.ZstdDecompressor(max_window_size=PACKED_WINDOW).decompressobj()
    with twin.open("rb") as source, target.open("wb") as copy:
        for chunk in chunks(source):
            copy.write(chunk)
            try:
                content = unpacker.decompress(chunk)
            except zstandard.ZstdError:
                return False
            digest.update(content)
            left -= len(content)
            if left < 0 or unpacker.unused_data:
                return False
    return left == 0 and unpacker.eof and b64url(digest.digest()) == revision.sha3_384


def _take(path: Path, target: Path, revision: Revision, *, compress: bool) -> None:
    digest = hashlib.sha3_384()
    packer = zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, write_checksum=True).compressobj(
        size=revision.size)
    size = 0
    with path.open("rb") as source, target.open("wb") as copy:
        for chunk in chunks(source, CHUNK):
            digest.update(chunk)
            size += len(chunk)
            if size > revision.size:
                break
            copy.write(packer.compress(chunk) if compress else chunk)
        if size == revision.size and compress:
            copy.write(packer.flush())
    found = b64url(digest.digest())
    if size != revision.size or found != revision.sha3_384:
        raise TrustError(f"cannot publish {path}: its SHA3-384 is {short(found)}, signed is"
                         f" {short(revision.sha3_384)}", hint="it changed while it was read: sign it again")


def publish_set(store: Store, chain: Chain, path: Path) -> Outcome:
    """Publish a validation set.

    Raises:
        TrustError: its account is no publisher here.
        PlanError: its sequence goes backwards or was published with other content, or no device could follow it.
        DocumentError: it is none.
    """
    value = parse_validation_set(chain.links[-1].assertion)
    role, draft = role_of(value.account_id), store.draft()
    delegations = store.published.targets.signed.delegations
    if delegations is None or role not in (delegations.roles or {}):
        raise TrustError(f"cannot publish {path}: {value.account_id!r} is no publisher of this store")
    _check_sequence(store, value)
    check_set(value, store.channels)
    targets, content = draft.publisher(role), encode_stream(chain.assertions)
    for name in (set_path(value.account_id, value.name, value.sequence), set_path(value.account_id, value.name)):
        store.put(targets, name, content)
    return store.commit(draft)


def publish_address(store: Store, chain: Chain, path: Path) -> Outcome:
    """Publish where the store is from now on: its `store` assertion, in a later revision than devices had.

    Raises:
        PlanError: it names no address, or one of its name was published that is no older.
    """
    value = parse_store(chain.links[-1].assertion)
    if not value.url:
        raise PlanError(f"cannot publish {path}: it has no url", hint="make it with imagekit store describe")
    name, draft = store_path(value.store), store.draft()
    before = store.published.targets.signed.targets.get(name)
    if before is not None:
        content = target_bytes(store.public, before)
        known = max((item.revision for item in decode_stream(content, name=name) if item.type == "store"), default=0)
        if known >= value.assertion.revision:
            raise PlanError(f"cannot publish {path}: it is revision {value.assertion.revision}, and revision {known} is"
                            " published", hint="imagekit store describe --revision: devices take later ones only")
    store.put(draft.targets(), name, encode_stream(chain.assertions))
    return store.commit(draft)


def publish_model(store: Store, chain: Chain, path: Path) -> Outcome:
    """Publish a newer revision of a model, which its devices go by from then on.

    Raises:
        PlanError: one of its name was published that is no older; no device would follow it; it is of the future.
        DocumentError: its policy of updates is none.
    """
    model = parse_model(chain.links[-1].assertion)
    refuse_unbuildable(model)
    _check_time(store, path, model.timestamp)
    before = next((item for item in store.models() if name_of(item) == name_of(model)), None)
    if before is not None:
        if before.revision >= model.revision:
            raise PlanError(f"cannot publish {path}: it is revision {model.revision}, and revision {before.revision} is"
                            " published", hint="raise its revision: devices take later ones only")
        check_change(before, model)
    draft = store.draft()
    store.put(draft.targets(), model_path(model.brand_id, model.model), encode_stream(chain.assertions))
    return store.commit(draft)


def _check_sequence(store: Store, value: ValidationSet) -> None:
    for other in store.sets():
        if other.key != value.key:
            continue
        if other.sequence > value.sequence:
            raise PlanError(f"cannot publish validation set {value.key}={value.sequence}: sequence {other.sequence} is"
                            " published, and sequences only go up")
        if other.sequence == value.sequence and (other.assertion.content != value.assertion.content
                                                 and other.assertion.revision >= value.assertion.revision):
            raise PlanError(f"cannot publish validation set {value.key}={value.sequence}: it was published with other"
                            " content", hint="give it the next sequence")


def change(store: Store, name: str, change: Callable[[ChannelMap], ChannelMap]) -> Outcome | None:
    """Change the channel map of a package; None where the change changes nothing.

    Raises:
        PlanError: nothing is published under that name, the change is refused, or no device could read what it makes.
    """
    role = store.publisher_of(name)
    before = store.channels(name)
    if before is None:
        raise PlanError(f"cannot change {name!r}: nothing of that name is published")
    draft = store.draft()
    new, old = encode_for_devices(change(before)), encode_channel_map(before)
    if new == old:
        return None
    store.put(draft.publisher(role), channels_path(name), new)
    return store.commit(draft)

