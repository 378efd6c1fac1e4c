"""`imagekit build` without its terminal: is there anything to do, and if so, plan it and make it.

Decides when a build is up to date. Everything costly is imported only once there is something to do, since a build with
nothing changed must be over at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from imagekit.build.unchanged import NOTE, Watched, encode_note, identities, is_unchanged, rested

if TYPE_CHECKING:
    from imagekit.build.inputs import Inputs
    from imagekit.host.cache import Cache
    from imagekit.host.ports import Progress, Tools
    from imagekit.plan.image import ImagePlan
    from imagekit.plan.manifest import Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for; folders in the order in which they count. `settings` are what else may change bytes,
    `extras` the words of `--snap`.
    """

    model: Path
    packages: tuple[Path, ...]
    trust: tuple[Path, ...]
    epoch: int | None
    now: datetime
    settings: tuple[tuple[str, str], ...] = ()
    files: tuple[Path, ...] = ()  # further inputs, such as the lock of the tools
    extras: tuple[str, ...] = ()

    @property
    def watched(self) -> Watched:
        given = [Path(word).absolute() for word in self.extras if is_path(word)]
        beside = [path.with_suffix(suffix) for path in given for suffix in (".snap", ".snap.zst", ".assert")]
        return Watched(files=(self.model.absolute(), *self.files, *beside),
                       folders=tuple(folder.absolute() for folder in (*self.packages, *self.trust)),
                       settings={"epoch": str(self.epoch), "snaps": "\n".join(map(placed, self.extras)),
                                 **dict(self.settings)})

    @property
    def instant(self) -> str:
        """`now` as the note of a build has times."""
        return self.now.astimezone(UTC).isoformat()


def is_path(word: str) -> bool:
    """Whether a word of `--snap` is a file and no name."""
    return "/" in word or word.endswith(".snap")


def placed(word: str) -> str:
    """A word of `--snap` as it reads from any folder."""
    return str(Path(word).absolute()) if is_path(word) else word


def load_inputs(request: Request) -> Inputs:
    """The request with the roots of trust read in."""
    from imagekit.build.inputs import Inputs
    from imagekit.host.trust import load_trust

    return Inputs(model=request.model, packages=request.packages, trusted=load_trust(request.trust), now=request.now,
                  epoch=request.epoch, extras=request.extras)


def up_to_date(request: Request, folder: Path) -> Manifest | None:
    """The manifest of the image in `folder`, if nothing that it is made of has changed since."""
    return is_unchanged(folder, request.watched, now=request.instant)


def plan(request: Request) -> ImagePlan:
    """Plan only. Raises: what `make_plan` raises."""
    from imagekit.build.inputs import make_plan

    return make_plan(load_inputs(request))


def build(request: Request, folder: Path, *, tools: Callable[[], Tools], cache: Cache, progress: Progress) -> Manifest:
    """Build into `folder`, whatever is there already.

    Raises:
        ImagekitError: whatever `make_plan` and `build_into` raise.
    """
    from imagekit.build.image import build_into, names_for

    before = identities(request.watched)
    began = time.time_ns()
    planned = plan(request)
    names = names_for(planned.model.model)
    outputs = [folder / name for name in names.in_order if name != names.manifest]

    def note(manifest: Manifest) -> tuple[str, bytes] | None:
        if not rested(before, began) or identities(request.watched) != before:
            return NOTE, b"{}\n"
        return NOTE, encode_note(before, request.watched, outputs, manifest=manifest, valid_until=valid_until(planned))

    return build_into(folder, planned, tools=tools, cache=cache, progress=progress, note=note)


def valid_until(planned: ImagePlan) -> str | None:
    """When the first of the keys that vouch for the image expires, in UTC."""
    end = planned.resolution.valid_until
    return None if end is None else end.astimezone(UTC).isoformat()
