"""Cases made on purpose, so that every entry of the list has one that no seed decides about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.oracle.mutate import Path, get, thawed

DROP = object()
OTHER_KEY = "QlqR0uAWEAWF5Nwnzj5kqmmwFslYPu1IL16MKtLKhwhv0kpBv5wKZ_axf_nf_2cL"

# name -> base document, place, value
GADGETS: Mapping[str, tuple[str, Path, Any]] = {
    "filesystem of FAT16": ("valid/gadget-minimal-uc20", ("volumes", "pc", "structure", 0, "filesystem"), "vfat-16"),
    "name that is no text": ("valid/gadget-minimal-uc20", ("volumes", "pc", "name"), ["a"]),
    "partial that is no list": ("valid/gadget-minimal-uc20", ("volumes", "pc", "partial"), "size"),
}
SUCCESSORS: Mapping[str, tuple[str, Path, Any]] = {
    "edition raised, no content": ("valid/gadget-minimal-uc20", ("volumes", "pc", "structure", 1, "update"),
                                   {"edition": 1}),
}
HEADERS: Mapping[str, tuple[str, Path, Any]] = {
    "preseed by another": ("preseed", ("authority-id",), "other"),
    "hour of one digit": ("snap-declaration", ("timestamp",), "2026-01-01T1:00:00Z"),
    "revision with a sign": ("snap-revision", ("snap-revision",), "+1"),
    "request by another key": ("account-key-request", ("sign-key-sha3-384",), OTHER_KEY),
    "model-hybrid without a kernel": ("model-hybrid", ("snaps", 1), DROP),
}
SNAPS: Mapping[str, tuple[str, Path, Any]] = {
    "layout over everything": ("valid/snap-kernel", ("layout",), {"/": {"type": "tmpfs"}}),
    "source beside $SNAP": ("valid/snap-kernel", ("layout",), {"/etc/hello.conf": {"bind-file": "$SNAP%x"}}),
    "type of a tilde": ("sound/base", ("type",), "~"),
    "exit status without daemon": ("sound/full", ("apps", "hello", "success-exit-status"), [""]),
}
KERNELS: Mapping[str, tuple[str, Path, Any]] = {
    "path that is no string": ("sound/two", ("assets", "dtbs", "content", 0), True),
}


def altered(tree: Any, path: Path, value: Any) -> Any:
    """A copy of `tree` with one value set, or dropped."""
    changed = thawed(tree)
    parent = get(changed, path[:-1])
    if value is DROP:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed
