"""Check a gadget as it lies on this machine, with its files where they are known.

Asks `imagekit.gadget` what is wrong; decides no rule itself. `imagekit.build.package_tree` reads it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from imagekit.build.package_tree import FoundTree
from imagekit.gadget.content_check import check_contents, check_references
from imagekit.gadget.parse import Examined, examine_gadget
from imagekit.gadget.values import Era
from imagekit.packages.kernelyaml import KernelContents
from imagekit.schema import DocumentProblems, Problem, load_yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedGadget:
    """What a check found. `era` is None where the document could not be read far enough to tell its rules."""

    found: FoundTree
    era: Era | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_gadget_tree(found: FoundTree, *, era: Era | None, kernel: KernelContents | None = None) -> CheckedGadget:
    """Everything that is wrong with a gadget, and everything that will hurt; with a `kernel` its references, too."""
    try:
        source = load_yaml(found.text or b"", name=found.name, repeated_keys=True)
    except DocumentProblems as error:
        return CheckedGadget(found=found, era=era, problems=error.problems, warnings=())
    examined = examine_gadget(source, era=era)
    if not any("content" in problem.path for problem in examined.problems.found):
        _check_files(examined, found, kernel)
    return CheckedGadget(found=found, era=examined.era, problems=_in_order(examined.problems.found),
                         warnings=_in_order(examined.problems.warnings))


def _check_files(examined: Examined, found: FoundTree, kernel: KernelContents | None) -> None:
    """Content against files; only where every content could be read, or the wrong ones would be missed."""
    if found.files is not None:
        check_contents(examined.problems, examined.understood, found.files, kernel=kernel)
    else:
        check_references(examined.problems, examined.understood, kernel=kernel)


def _in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """As they stand in the document, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))
