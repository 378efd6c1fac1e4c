"""The seed: what a device is installed from, and all the signatures that it needs to believe it.

Decides which files lie in it and what they hold; where in the file system they come to lie is `imagekit.plan.contents`'
business. The model's stream holds all that leads from a root to the model and its validation sets, the packages' stream
all that leads to their revisions; a reader needs no more than the root. A package that nobody signed, or that is beside
the model's, lies in the system's own folder and is named in `options.yaml`. Source: the seed of snapd's recovery
systems (docs/reference/disk-formats.md).
"""

from __future__ import annotations

from collections.abc import Iterable

from imagekit.assertions import Assertion, encode_stream
from imagekit.errors import PlanError
from imagekit.plan.resolve import Resolution, ResolvedPackage
from imagekit.plan.writes import SeedFile

OPTIONS = "options.yaml"


def seed_files(resolution: Resolution) -> dict[str, bytes | SeedFile]:
    """The model with its chain and sets, and every package with its own; UC20 layout."""
    system = f"systems/{resolution.model.timestamp:%Y%m%d}"
    named = (resolution.chain, *(item.chain for item in resolution.sets),
             *((resolution.store,) if resolution.store is not None else ()))
    files: dict[str, bytes | SeedFile] = {
        f"{system}/model": resolution.model.assertion.encode(),
        f"{system}/assertions/model-etc": encode_stream(_ordered(
            (item for proof in named for item in proof.assertions), without=resolution.model.assertion)),
    }
    for name, extra in (("snaps", False), ("extra-snaps", True)):
        proofs = [item for package in resolution.packages if package.extra is extra for proof in package.proofs
                  for item in proof.assertions]
        if proofs:
            files[f"{system}/assertions/{name}"] = encode_stream(_ordered(proofs))
    for package in resolution.packages:
        if package.file.seed_size is None:
            raise PlanError(f"cannot put {package.file_name} into the seed: {package.file.seed_path} is missing",
                            hint="pack it again; imagekit pack writes both")
        folder = f"{system}/snaps" if optional(package) else "snaps"
        files[f"{folder}/{package.seed_name}"] = SeedFile(package=package.file_name, size=package.file.seed_size,
                                                          compressed=not package.file.squashfs)
    if any(map(optional, resolution.packages)):
        files[f"{system}/{OPTIONS}"] = encode_options(resolution)
    return files


def optional(package: ResolvedPackage) -> bool:
    """Whether only grade dangerous lets the package in, so that `options.yaml` names it."""
    return package.extra or not package.asserted


def encode_options(resolution: Resolution) -> bytes:
    """`options.yaml`, as snapd's seeds have it; our key adds what a package holds that nobody signed.

    A signed package beside the model's has a channel; the id of one that nobody signed refers to the model's entry.
    """
    lines = ["snaps:"]
    for package in filter(optional, resolution.packages):
        lines.append(f"  - name: {package.name}")
        if package.snap.snap_id is not None and (package.asserted or not package.extra):
            lines.append(f"    id: {package.snap.snap_id}")
        if package.asserted:
            lines.append(f"    channel: {package.snap.default_channel}")
            continue
        lines += [f"    unasserted: {package.seed_name}", "    x-imagekit:", f'      sha3-384: "{package.sha3_384}"']
        lines += [f'      verity-root: "{package.verity_root}"'] if package.verity_root is not None else []
    return ("\n".join(lines) + "\n").encode()


def _ordered(assertions: Iterable[Assertion], *, without: Assertion | None = None) -> list[Assertion]:
    """Each assertion once, by type and primary key."""
    unique = {(item.type, item.primary_key): item for item in assertions if item != without}
    return [unique[key] for key in sorted(unique)]
