"""`meta/snap.yaml`: what a package says of itself, and how packages are named as files.

Decides whether the document is right as a whole; the parts are read by `snapapps`, `snapplugs`, `snaphooks`,
`snaplayout` and `snaplinks`, and what ties them together by `snaprelations`. Source: snapd `snap/info_snap_yaml.go` and
`snap/validate.go`; differences are in docs/reference/snap-yaml.md. Unknown keys are left alone, as snapd leaves them.
"""

from __future__ import annotations

import json
import re

from imagekit.errors import DocumentError
from imagekit.nodes import Node
from imagekit.packages.epoch import parse_epoch
from imagekit.packages.rulebook import SnapRules
from imagekit.packages.snapapps import parse_app, parse_environment
from imagekit.packages.snaphooks import SNAP_NAME, SUMMARY_LIMIT, check_description, parse_components, parse_hooks
from imagekit.packages.snaplayout import parse_layouts
from imagekit.packages.snaplinks import parse_links
from imagekit.packages.snapplugs import add_named, check_distinct, parse_interfaces, parse_usernames
from imagekit.packages.snaprelations import check_relations
from imagekit.packages.snapvalues import App, Component, Confinement, Hook, SnapInfo
from imagekit.packages.spdx import check_expression
from imagekit.schema import Path, Problem, Problems, Source, load_yaml, near

__all__ = ["NAME_PATTERN", "TYPES", "VERSION_PATTERN", "SnapInfo", "check_snap_yaml", "encode_snap_yaml",
           "examine_snap_yaml", "file_name", "parse_file_name", "parse_snap_yaml", "read_snap_yaml"]

TYPES = ("app", "base", "gadget", "kernel", "os", "snapd")
NAME_PATTERN = r"^(?=.{2,40}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z"
VERSION_PATTERN = r"^[a-zA-Z0-9](?:[a-zA-Z0-9:.+~-]{0,30}[a-zA-Z0-9+~])?\Z"
KEYS = ("name", "version", "type", "architectures", "assumes", "title", "summary", "description", "provenance",
        "license", "epoch", "base", "confinement", "grade", "environment", "plugs", "slots", "apps", "hooks", "layout",
        "system-usernames", "links", "components")

TITLE_LIMIT = 40
MAX_UNKNOWN = 50  # keys that are looked at for being mistyped, which takes its time
DEFAULT_PROVENANCE = "global-upload"
GRADES = ("stable", "devel")

_FILE = re.compile(r"(?P<name>[a-z0-9]+(?:-[a-z0-9]+)*)_(?P<revision>[1-9][0-9]{0,9})\.snap\Z")
_PROVENANCE = re.compile(r"[a-zA-Z0-9](?:-?[a-zA-Z0-9])*\Z")
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_TYPE_WORDS = {**{item: item for item in TYPES}, "application": "app"}
_CONFINEMENTS = {item.value: item for item in Confinement}


def read_snap_yaml(content: bytes, *, name: str, hook_files: tuple[str, ...] = ()) -> SnapInfo:
    """As `parse_snap_yaml`, from the file's bytes; of repeated keys the last counts, as it does for snapd."""
    return parse_snap_yaml(load_yaml(content, name=name, repeated_keys=True), hook_files=hook_files)


def parse_snap_yaml(source: Source, *, hook_files: tuple[str, ...] = ()) -> SnapInfo:
    """Read `meta/snap.yaml`; `hook_files` are the names in the package's `meta/hooks`.

    Raises:
        DocumentError: with every problem, each at its line.
    """
    return check_snap_yaml(source, hook_files=hook_files)[0]


def check_snap_yaml(source: Source, *, hook_files: tuple[str, ...] = ()) -> tuple[SnapInfo, tuple[Problem, ...]]:
    """As `parse_snap_yaml`, with the warnings: what the format accepts and somebody will regret."""
    info, problems = examine_snap_yaml(source, hook_files=hook_files)
    problems.raise_if_any()
    return info, problems.warnings


def examine_snap_yaml(source: Source, *, hook_files: tuple[str, ...] = ()) -> tuple[SnapInfo, Problems]:
    """What is understood, with everything that is wrong; the value counts only if nothing is."""
    problems = Problems(source)
    top = Node(problems, (), source.value)
    name, kind = _name(top), _type(top)
    apps = tuple(parse_app(node, app, name) for app, node in top.maps("apps"))
    hooks = parse_hooks(top, hook_files)
    components = parse_components(top, kind)
    users: tuple[App | Hook, ...] = (*apps, *hooks)
    plugs = add_named(parse_interfaces(top, "plugs"), (*users, *_hooks_of(components)), "plugs", top)
    slots = add_named(parse_interfaces(top, "slots"), users, "slots", top)
    check_distinct(top, plugs, slots, is_core=(name, kind) == ("core", "os"))
    has_programs = bool(apps or hooks or hook_files)
    info = SnapInfo(
        name=name, version=_version(top), type=kind, architectures=_architectures(top),
        base=_base(top, kind, has_programs=has_programs), title=_title(top), summary=_summary(top),
        description=_description(top), assumes=top.texts("assumes"), provenance=_provenance(top),
        license=_license(top), epoch=parse_epoch(top), grade=_grade(top),
        confinement=top.word("confinement", _CONFINEMENTS, "confinement", SnapRules.CONFINEMENT) or Confinement.STRICT,
        environment=parse_environment(top), plugs=plugs, slots=slots, apps=apps, hooks=hooks, components=components,
        layouts=parse_layouts(top, name), system_usernames=parse_usernames(top), links=parse_links(top))
    check_relations(top, info)
    unknown = [key for key in top.names() if key not in KEYS and key != "layouts"]
    for key in unknown[:MAX_UNKNOWN]:
        if meant := near(key, KEYS):
            problems.warn((key,), f"nobody reads this key{meant}", SnapRules.KEY)
    return info, problems


def _hooks_of(components: tuple[Component, ...]) -> tuple[Hook, ...]:
    return tuple(hook for component in components for hook in component.hooks)


def _name(top: Node) -> str:
    name = top.text("name")
    if not SNAP_NAME.match(name):
        came = f"{name!r} is no name" if "name" in top else "a name is needed"
        top.problem("name", f"{came}: 2 to 40 of a-z, 0-9 and single inner hyphens are allowed, with a"
                    " letter", SnapRules.NAME)
    return name


def _version(top: Node) -> str:
    version = top.text("version")
    if not re.match(VERSION_PATTERN, version):
        came = f"{version!r} is no version" if "version" in top else "a version is needed"
        top.problem("version", f"{came}: at most 32 letters, digits and . : + ~ - are allowed, a"
                    " letter or digit first, and one of these or + or ~ last", SnapRules.VERSION)
    return version


def _type(top: Node) -> str:
    kind: str | None = top.word("type", _TYPE_WORDS, "type", SnapRules.TYPE)
    return "snapd" if top.text("name") == "snapd" else kind or "app"


def _architectures(top: Node) -> tuple[str, ...]:
    value = top.raw("architectures")
    maps: list[Path] = [("architectures",)] if isinstance(value, dict) else []
    if isinstance(value, list):
        maps = [("architectures", index) for index, item in enumerate(value) if isinstance(item, dict)]
    for path in maps:
        top.problems.add(path, "a name such as amd64 is needed, not a map: build-on and run-on belong to the recipe",
                         SnapRules.ARCHITECTURES)
    return (() if maps else top.texts("architectures")) or ("all",)


def _title(top: Node) -> str:
    title = top.text("title")
    if len(title) > TITLE_LIMIT:
        top.problem("title", f"{len(title)} characters, at most {TITLE_LIMIT} are allowed", SnapRules.TITLE)
    return title


def _summary(top: Node) -> str:
    summary = top.text("summary")
    if len(summary) > SUMMARY_LIMIT:
        top.problems.warn(("summary",), f"{len(summary)} characters, stores take at most {SUMMARY_LIMIT}",
                          SnapRules.SUMMARY)
    return summary


def _description(top: Node) -> str:
    description = top.text("description")
    check_description(top, description)
    return description


def _provenance(top: Node) -> str:
    text = top.text("provenance")
    if text == DEFAULT_PROVENANCE:
        top.problem("provenance", f"{text!r} is the default: leave it out", SnapRules.PROVENANCE)
    elif text and not _PROVENANCE.match(text):
        top.problem("provenance", f"{text!r} is not a provenance: letters, digits and single inner hyphens are allowed",
                    SnapRules.PROVENANCE)
    return text


def _license(top: Node) -> str:
    text = top.text("license")
    try:
        if text:
            check_expression(text)
    except DocumentError as error:
        top.problem("license", f"{text!r} is not an SPDX expression: {error.message}", SnapRules.LICENSE)
    return text


def _grade(top: Node) -> str:
    grade = top.problems.source.text(("grade",), top.raw("grade")) or ""  # snapd does not read it
    if grade and grade not in GRADES:
        top.problems.warn(("grade",), f"{grade!r} is not a grade: stores take {' and '.join(GRADES)}", SnapRules.GRADE)
    return grade


def _base(top: Node, kind: str, *, has_programs: bool) -> str | None:
    base = top.text("base")
    if base and base != "none":
        if kind in ("base", "os"):
            top.problem("base", f"a package of type {kind} stands on no base", SnapRules.BASE_OF_BASE)
        elif not SNAP_NAME.match(base):
            top.problem("base", f"{base!r} is not the name of a package", SnapRules.BASE_NAME)
    if base == "none" and has_programs:
        top.problem("base", "a package with base none has no apps and no hooks", SnapRules.BASE_NONE)
    return base or None


def encode_snap_yaml(info: SnapInfo) -> bytes:
    """The bytes of a package's identity, without apps and the like."""
    lines = [f"name: {info.name}", f"version: {_quoted(info.version)}"]
    if info.summary:
        lines.append(f"summary: {_quoted(info.summary)}")
    if info.description:
        lines.append(f"description: {_quoted(info.description)}")
    lines += [f"type: {info.type}", f"architectures: [{', '.join(map(_quoted, info.architectures))}]"]
    if info.base is not None:
        lines.append(f"base: {info.base}")
    if info.type not in ("kernel", "base", "gadget"):
        lines.append("confinement: strict")
    return ("\n".join(lines) + "\n").encode()


def _quoted(text: str) -> str:
    """A YAML string: JSON's, but for what JSON leaves as it is and YAML does not take (YAML 1.1, 5.1)."""
    return _UNPRINTABLE.sub(lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 0x100
                            else f"\\u{ord(match[0]):04x}", json.dumps(text, ensure_ascii=False))


def file_name(name: str, revision: int) -> str:
    """`NAME_REVISION.snap`."""
    return f"{name}_{revision}.snap"


def parse_file_name(text: str) -> tuple[str, int]:
    """Name and revision of `NAME_REVISION.snap`. Raises: DocumentError: not such a name."""
    match = _FILE.match(text)
    if match is None:
        raise DocumentError(f"cannot use {text}: not a package name: NAME_REVISION.snap is, as in pc-kernel_12.snap")
    return match["name"], int(match["revision"])
