"""Bring what is published to where devices fetch it, in the order that `imagekit.plan.upload` states.

Only what the current timestamp leads to is uploaded, so that what a power cut left behind never gets there. Metadata is
compared by its bytes; targets have their digest in their names, there the size is enough. What is there already is left
alone: an upload that was cut short goes on when it is run again.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from tuf.api.exceptions import RepositoryError, UnsignedMetadataError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from imagekit.errors import HostError, TargetError
from imagekit.host.places import Place
from imagekit.host.ports import Progress
from imagekit.plan.storepaths import METADATA, TARGETS, stored_name
from imagekit.plan.upload import TIMESTAMP, UploadPlan, plan_upload
from imagekit.store.check import metadata_files
from imagekit.store.metadata import Published
from imagekit.store.repository import Store

FIRST_ROOT = f"{METADATA}/1.root.json"


def files_of(store: Store) -> dict[str, int]:
    """Every public file that a client may ask for now, with its size. Raises: HostError: one is missing."""
    files = {}
    targets = (f"{TARGETS}/{stored_name(target.path, target.hashes['sha256'])}"
               for _, target in store.published.listed())
    for name in (*targets, *metadata_files(store.published)):
        path = store.public / name
        if not path.is_file():
            raise HostError(f"cannot upload the store: {path} is missing",
                            hint="imagekit store check tells what else is")
        files[name] = path.stat().st_size
    return files


def plan(store: Store, place: Place) -> UploadPlan:
    """What would be uploaded.

    Raises:
        HostError: the place cannot be read.
        TargetError: it has a newer state than this store, which devices would then refuse, or another store.
    """
    files = files_of(store)
    there = place.sizes(files)
    same: set[str] = set()
    changed: set[str] = set()
    for name, size in there.items():
        alike = size == files[name] and (not name.startswith(f"{METADATA}/")
                                         or place.read(name) == (store.public / name).read_bytes())
        (same if alike else changed).add(name)
    _refuse_other(place, changed)
    _refuse_newer(store, place, changed)
    return plan_upload(files, same, changed, late_roots=_late_roots(store.published, same))


def _refuse_other(place: Place, changed: set[str]) -> None:
    """Raises: TargetError: another store is there. A first root never changes, by which devices know their own."""
    found = place.read(FIRST_ROOT) if FIRST_ROOT in changed else None
    with suppress(RepositoryError, DeserializationError):
        if found is not None and isinstance(Metadata.from_bytes(found).signed, Root):
            raise TargetError("cannot upload the store: another store is there, with another first root",
                              hint="name another place: devices of that store would believe nothing there any more")


def _refuse_newer(store: Store, place: Place, changed: set[str]) -> None:
    """Raises: TargetError: what is there is not a past of this store."""
    found = place.read(TIMESTAMP) if TIMESTAMP in changed else None
    if found is None:
        return
    try:
        version = Metadata.from_bytes(found).signed.version
    except (DeserializationError, RepositoryError) as error:
        raise TargetError(f"cannot upload the store: {TIMESTAMP} there is no metadata: {error}",
                          hint="if it is the wrong place, name another; else take that file away") from error
    ours = store.published.timestamp.signed.version
    if version >= ours:
        raise TargetError(f"cannot upload the store: version {version} of its timestamp is there, and ours is {ours}",
                          hint="this is an old copy of the store: take the newest, or devices would refuse it")


def _late_roots(published: Published, same: set[str]) -> set[str]:
    """The roots that go up after the timestamp: those that come after one whose keys it satisfies."""
    names = [f"{METADATA}/{root.signed.version}.root.json" for root in published.roots]
    new = [index for index, name in enumerate(names) if name not in same]
    if not new or not new[0]:
        return set()
    return {names[index] for index in new} if _believed(published, published.roots[new[0] - 1]) else set()


def _believed(published: Published, root: Metadata[Root]) -> bool:
    try:
        root.verify_delegate("timestamp", published.timestamp)
        root.verify_delegate("snapshot", published.snapshot)
        root.verify_delegate("targets", published.targets)
    except UnsignedMetadataError:
        return False
    return True


def carry_out(store: Store, place: Place, planned: UploadPlan, progress: Progress) -> None:
    """Upload, in the order of the plan. Raises: HostError: something could not be put; run it again to go on."""
    progress.step("uploading", total=planned.size)
    for item in planned.uploads:
        place.put(item, store.public / item.name)
        progress.advance(item.size)


def is_first(planned: UploadPlan) -> bool:
    """Whether the place has no upload of this store yet, so that whatever lies there is somebody else's."""
    return any(item.name == FIRST_ROOT for item in planned.uploads)


def surplus(place: Place, kept: set[str]) -> tuple[str, ...] | None:
    """What lies at the place and is not in `kept`; None where the place cannot tell what lies there."""
    there = place.listing()
    return None if there is None else tuple(name for name in there if name not in kept)


def public_files(public: Path) -> set[str]:
    """Every file of the public folder."""
    return {str(path.relative_to(public)) for path in public.rglob("*")
            if path.is_file() and not path.name.startswith(".")}
