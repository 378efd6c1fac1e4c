"""Make a store: its first root, targets that delegate to nobody, snapshot and timestamp."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from imagekit.errors import UsageError
from imagekit.host.files import FolderLock, flush_folder, write_atomic
from imagekit.store.commit import Draft, Keys, Outcome, commit
from imagekit.store.disk import Disk, FolderDisk
from imagekit.store.metadata import CONFIG, PUBLIC, Config, encode_config
from imagekit.store.roles import RoleKeys, first_roles


def create(folder: Path, config: Config, roles: Mapping[str, RoleKeys], keys: Keys, *, now: datetime,
           disk: Disk | None = None) -> Outcome:
    """Make the store in `folder`. What says that it is there is written last.

    Raises:
        UsageError: there is one.
        TrustError: not enough of its keys are on this machine.
        HostError: it cannot be written.
    """
    with FolderLock(folder, wait=True):
        if (folder / CONFIG).exists():
            raise UsageError(f"cannot make store {folder}: there is one",
                             hint=f"look at it with `imagekit store status --store {folder}`")
        draft = Draft(config=config, now=now, published=None)
        first_roles(draft, roles)
        outcome = commit(folder, draft, keys, disk or FolderDisk(folder / PUBLIC))
        write_atomic(folder / CONFIG, encode_config(config))
        flush_folder(folder)
    return outcome
