"""Packages that the user adds beside the model: from words of the command line to files.

A word is the name of a package, of which the newest in the folders counts, or the path of a package file, which counts
alone. Whether the model's grade takes it is for `imagekit.plan.extras`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagekit.assertions import SnapType
from imagekit.build.run import is_path
from imagekit.build.unsquash import open_package
from imagekit.errors import DocumentError, UsageError
from imagekit.host.tools import LocalTools
from imagekit.packages.package import read_info
from imagekit.packages.snaphooks import SNAP_NAME
from imagekit.packages.snapyaml import parse_file_name
from imagekit.plan.resolve import PackageFile

SUFFIX = ".snap"


@dataclass(frozen=True, slots=True, kw_only=True)
class Extra:
    """A package that was asked for; without a `file` the newest of that name."""

    name: str
    file: Path | None = None


def parse_extras(words: Sequence[str]) -> tuple[Extra, ...]:
    """The words of `--snap`, each package once.

    Raises:
        UsageError: a word is neither the name of a package nor a file of one, or two are of one package.
    """
    found: dict[str, Extra] = {}
    for word in words:
        extra = _extra(word)
        if found.setdefault(extra.name, extra) != extra:
            raise UsageError(f"cannot add package {extra.name!r}: it is asked for twice, as"
                             f" {found[extra.name].file or extra.name} and as {extra.file or extra.name}")
    return tuple(found.values())


def _extra(word: str) -> Extra:
    if is_path(word):
        path = Path(word)
        if not path.is_file():
            raise UsageError(f"cannot add package {word}: "
                             + ("it is a folder" if path.is_dir() else "there is no such file"),
                             hint="name a package file, NAME_REVISION.snap")
        try:
            return Extra(name=parse_file_name(path.name)[0], file=path)
        except DocumentError as error:
            name = path.name.partition("_")[0].removesuffix(SUFFIX)
            example = f"{name if SNAP_NAME.match(name) else 'NAME'}_1.snap"
            raise UsageError(f"cannot add package {word}: its file must be named NAME_REVISION.snap",
                             hint=f"cp {word} {path.with_name(example)}; a revision is a number of your own,"
                                  " higher for every other content") from error
    if not SNAP_NAME.match(word):
        raise UsageError(f"cannot add package {word!r}: it is neither the name of a package nor a file of one",
                         hint="--snap NAME takes the newest NAME_REVISION.snap in the folders of --packages; --snap"
                              " ./NAME_REVISION.snap takes that file")
    return Extra(name=word)


def type_of(extra: Extra, available: Mapping[tuple[str, int], PackageFile]) -> SnapType:
    """What the newest file of the package says that it is; an app where there is no file, which is told later.

    Raises:
        DocumentError, HostError: it cannot be read.
    """
    newest = max((number for name, number in available if name == extra.name), default=None)
    if newest is None:
        return SnapType.APP
    path = Path(available[extra.name, newest].path)
    with open_package(path, name=path.name, tools=LocalTools()) as package:
        return SnapType(read_info(package).model_type)
