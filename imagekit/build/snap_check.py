"""Check what a package says of itself: meta/snap.yaml, and meta/kernel.yaml of a kernel.

Asks `imagekit.packages` what is wrong; decides no rule itself. `imagekit.build.package_tree` reads the files. A
document by itself is a kernel.yaml if it is called so, or has the keys of one and no name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagekit.build.package_tree import FoundTree, Kind, find_tree
from imagekit.errors import DocumentError
from imagekit.packages.kernelyaml import KERNEL_YAML, examine_kernel_yaml
from imagekit.packages.package import HOOKS, SNAP_YAML
from imagekit.packages.snapyaml import examine_snap_yaml
from imagekit.schema import DocumentProblems, Problem, Problems, Source, load_yaml

KERNEL_KEYS = {"assets", "dynamic-modules"}
OTHERS = {  # a key that only another format has -> what to do with a document of it
    "volumes": "it is a gadget.yaml: check it with `imagekit gadget check`",
    "parts": "it is a snapcraft.yaml, of which snapcraft makes a snap.yaml: check that one, in prime/meta",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedDocument:
    """What a check found. `format` is the name of the document's format, None where it could not be read so far."""

    found: FoundTree
    format: str | None
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_package(path: Path) -> tuple[CheckedDocument, ...]:
    """Check the documents of a package or folder, or a document by itself.

    Raises:
        DocumentError: it is a package or folder without meta/snap.yaml, or a damaged package.
        HostError: it cannot be read.
    """
    found = find_tree(path, SNAP_YAML)
    if found.text is None:
        hint = None if found.kind is Kind.PACKAGE else ("`snapcraft` writes it into the folder prime; name that, or the"
                                                        " file itself")
        raise DocumentError(f"cannot read {path}: it has no {SNAP_YAML}", hint=hint)
    if found.kind is Kind.DOCUMENT:
        return (_checked(found),)
    beside = find_tree(path, KERNEL_YAML)
    return (_checked(found), *([_checked(beside, kernel=True)] if beside.text is not None else []))


def _checked(found: FoundTree, *, kernel: bool = False) -> CheckedDocument:
    try:
        source = load_yaml(found.text or b"", name=found.name, repeated_keys=True)
    except DocumentProblems as error:
        return CheckedDocument(found=found, format=None, problems=error.problems, warnings=())
    keys = set(source.value) if isinstance(source.value, dict) else set()
    if found.kind is Kind.DOCUMENT and (other := next((text for key, text in OTHERS.items() if key in keys), None)):
        problem = Problem(name=found.name, line=1, path=(), text=other)
        return CheckedDocument(found=found, format=None, problems=(problem,), warnings=())
    kernel = kernel or (found.kind is Kind.DOCUMENT and _is_kernel(found, keys))
    problems = _examined(source, found, kernel=kernel)
    return CheckedDocument(found=found, format="kernel.yaml" if kernel else "snap.yaml",
                           problems=_in_order(problems.found), warnings=_in_order(problems.warnings))


def _is_kernel(found: FoundTree, keys: set[str]) -> bool:
    return found.path.name == "kernel.yaml" or (bool(keys & KERNEL_KEYS) and "name" not in keys)


def _examined(source: Source, found: FoundTree, *, kernel: bool) -> Problems:
    if kernel:
        return examine_kernel_yaml(source)[1]
    hooks = tuple(path.removeprefix(HOOKS) for path in found.files or () if path.startswith(HOOKS))
    return examine_snap_yaml(source, hook_files=hooks)[1]


def _in_order(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    """As they stand in the document, each once."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))
