"""The initial RAM disk of a kernel package: small, generic, the same for every base.

Decides where things lie in it: busybox, dmsetup with its loader and libraries, our `/init` (`initrd/init`), the kernel
modules that `initrd/modules.txt` names, with those they need, and `/modules.load`, which lists them in the order of
loading. What `/init` does with them is decided there. zstd at level 19: Debian's kernels read it, and decompress it in
a blink.

    modules.txt  = ( "[" group "]" | name ["?"] parameter* | "#" comment )*     "?": the kernel may not have it
    modules.load = ( "[" group "]" | path parameter* )*                         each after those it needs
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import zstandard

from imagekit.errors import DocumentError, PlanError
from imagekit.packages.cpio import CHARACTER, DIRECTORY, LINK, CpioEntry, encode_cpio
from imagekit.packages.elf import decode_needs

HERE = Path(__file__).parent / "initrd"
LIBRARY_FOLDERS = ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib/arm-linux-gnueabihf", "usr/lib64",
                   "usr/lib")
FOLDERS = ("dev", "proc", "run", "sys", "sysroot")
LEVEL = 19


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModule:
    """A line of modules.txt."""

    name: str  # as the kernel spells it, with underscores
    optional: bool
    parameters: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleLine:
    """A line of modules.load: a module's path below the kernel's module folder, and its parameters."""

    path: str
    parameters: tuple[str, ...]


Groups = tuple[tuple[str, tuple[ListedModule, ...]], ...]
LoadPlan = tuple[tuple[str, tuple[ModuleLine, ...]], ...]


def encode_initrd(root: Path, modules: Path, plan: LoadPlan, *, init: bytes) -> bytes:
    """The compressed archive. `root` is the tree of the unpacked parts, `modules` the kernel's module folder.

    Raises:
        PlanError: the parts lack busybox, dmsetup or one of its libraries.
    """
    paths = sorted({line.path for _, lines in plan for line in lines})
    entries = [
        *(CpioEntry(path=path, kind=DIRECTORY, mode=0o755) for path in FOLDERS),
        CpioEntry(path="init", mode=0o755, content=init),
        CpioEntry(path="dev/console", kind=CHARACTER, mode=0o600, device=(5, 1)),
        CpioEntry(path="dev/null", kind=CHARACTER, mode=0o666, device=(1, 3)),
        CpioEntry(path="bin/busybox", mode=0o755, content=_read(root, "usr/bin/busybox")),
        CpioEntry(path="bin/sh", kind=LINK, mode=0o777, content=b"busybox"),
        *_program(root, "usr/sbin/dmsetup"),
        *(CpioEntry(path=place(path), content=(modules / path).read_bytes()) for path in paths),
        CpioEntry(path="modules.load", content=encode_load_list(plan)),
    ]
    archive = encode_cpio(sorted(entries, key=lambda entry: entry.path.split("/")))
    return zstandard.ZstdCompressor(level=LEVEL, write_content_size=True, threads=0).compress(archive)


def place(path: str) -> str:
    """Where the module at `path` lies in the initrd."""
    return f"modules/{PurePosixPath(path).name}"


def encode_load_list(plan: LoadPlan) -> bytes:
    """`/modules.load`."""
    lines = []
    for group, members in plan:
        lines.append(f"[{group}]")
        lines += [" ".join((f"/{place(line.path)}", *line.parameters)) for line in members]
    return ("\n".join(lines) + "\n").encode()


def _read(root: Path, path: str) -> bytes:
    try:
        return (root / path).read_bytes()
    except OSError as error:
        raise PlanError(f"cannot make the initrd: its parts have no {path}",
                        hint="packages/initrd.yaml names the parts") from error


def _program(root: Path, path: str) -> list[CpioEntry]:
    """A program where it is in the parts, its loader where it looks for that, its libraries in the loader's `/lib`."""
    needs = decode_needs(content := _read(root, path), name=path)
    entries = {path: CpioEntry(path=path, mode=0o755, content=content)}
    if needs.interpreter is not None:
        loader = needs.interpreter.lstrip("/")
        entries[loader] = CpioEntry(path=loader, mode=0o755, content=_read(root, loader))
    have = {PurePosixPath(known).name for known in entries}
    waiting = list(needs.libraries)
    while waiting:
        name = waiting.pop()
        if name in have:
            continue
        have.add(name)
        library = _library(root, name)
        entries[f"lib/{name}"] = CpioEntry(path=f"lib/{name}", mode=0o755, content=library)
        waiting += decode_needs(library, name=name).libraries
    return list(entries.values())


def _library(root: Path, name: str) -> bytes:
    for folder in LIBRARY_FOLDERS:
        if (root / folder / name).is_file():
            return (root / folder / name).read_bytes()
    raise PlanError(f"cannot make the initrd: its parts have no library {name}",
                    hint="add the Debian package that brings it to keep in packages/initrd.yaml")


_GROUP = re.compile(r"\[([a-z]+)\]\Z")
_MODULE = re.compile(r"([A-Za-z0-9_-]+)(\??)\Z")
_PARAMETER = re.compile(r"[A-Za-z0-9_]+=[^\s\"']*\Z")


def parse_module_list(text: str, *, name: str) -> Groups:
    """Read modules.txt.

    Raises:
        DocumentError: a line that is neither a group nor a module, or a module before the first group.
    """
    groups: list[tuple[str, list[ListedModule]]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) == 1 and (group := _GROUP.match(words[0])):
            groups.append((group[1], []))
            continue
        module = _MODULE.match(words[0])
        if module is None or not groups or not all(_PARAMETER.match(word) for word in words[1:]):
            raise DocumentError(f"{name}:{number}: {line.strip()!r} is neither [GROUP] nor NAME[?] [PARAMETER=VALUE]")
        groups[-1][1].append(ListedModule(name=normal(module[1]), optional=bool(module[2]),
                                          parameters=tuple(words[1:])))
    return tuple((group, tuple(members)) for group, members in groups)


def replace_groups(groups: Groups, others: Sequence[tuple[str, Sequence[str]]], *, name: str) -> Groups:
    """`groups` with those of `others`, given as lines, in their place; `name` is the recipe's.

    Raises:
        DocumentError: a line is not one of modules.txt, or `groups` has no such group.
    """
    text = "".join(f"[{group}]\n" + "".join(f"{line}\n" for line in lines) for group, lines in others)
    replaced = dict(parse_module_list(text, name=f"{name}: initrd"))
    if unknown := sorted(replaced.keys() - dict(groups).keys()):
        raise DocumentError(f"cannot make the initrd of {name}: its list of modules has no group {unknown[0]!r}")
    return tuple((group, replaced.get(group, members)) for group, members in groups)


def normal(name: str) -> str:
    """A module's name as the kernel spells it."""
    return name.replace("-", "_")


def module_name(path: str) -> str:
    """`kernel/fs/erofs/erofs.ko.xz` -> `erofs`."""
    return normal(PurePosixPath(path).name.partition(".ko")[0])


def parse_dependencies(text: str) -> dict[str, tuple[str, ...]]:
    """Module path -> paths of all modules it needs, nearest first, from `modules.dep` (depmod(8))."""
    found = {}
    for line in text.splitlines():
        path, _, needs = line.partition(":")
        found[path.strip()] = tuple(needs.split())
    return found


def plan_loading(groups: Groups, dependencies: Mapping[str, Sequence[str]], builtin: Iterable[str]) -> LoadPlan:
    """What `modules.load` lists: every module after those it needs, each once in a group.

    Raises:
        PlanError: the kernel has a module neither as a file nor built in.
    """
    by_name = {module_name(path): path for path in dependencies}
    inside = {module_name(path) for path in builtin}
    plan = []
    for group, members in groups:
        lines: dict[str, ModuleLine] = {}
        for member in members:
            path = by_name.get(member.name)
            if path is None:
                if member.name in inside or member.optional:
                    continue
                raise PlanError(f"cannot make the initrd: the kernel has no module {member.name}",
                                hint="the module list of the initrd may say NAME? where it can do without")
            for needed in reversed(dependencies[path]):
                lines.setdefault(needed, ModuleLine(path=needed, parameters=()))
            lines.setdefault(path, ModuleLine(path=path, parameters=member.parameters))
        plan.append((group, tuple(lines.values())))
    return tuple(plan)
