"""Hypothesis strategies for gadget.yaml: sound documents, nearly sound ones, and text that is hardly YAML.

`gadgets()` gives documents that every rule accepts, as plain trees, `documents()` the same as text in any style.
`trees()` gives maps with the format's keys over values of any kind; `texts()` pieces of YAML in any order. For the
tests of parsers, and for fuzzing.
"""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

MIB = 1 << 20
GUIDS = ("C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
         "21686148-6449-6e6f-744e-656564454649")
WORDS = ("bare", "mbr", "gpt", "emmc", "vfat", "ext4", "vfat-16", "none", "system-seed", "system-data", "system-boot",
         "system-save", "system-seed-null", "system-boot-state", "bootimg", "1M", "1G", "0C", "83", "EF", "grub",
         "u-boot", "piboot", "mbr+92", "92", "yes", "~", "a", "b", "base", "state", "boot0", "size", "schema",
         "structure", "ubuntu-seed", "ubuntu-data", "system:x", "$kernel:a/b", *GUIDS)
KEYS = ("volumes", "structure", "name", "type", "role", "size", "min-size", "offset", "offset-write", "filesystem",
        "filesystem-label", "id", "content", "update", "edition", "preserve", "source", "target", "image", "unpack",
        "schema", "bootloader", "partial", "defaults", "system", "connections", "plug", "slot", "kernel-cmdline",
        "append", "allow", "remove", "volume-assignments", "assignment", "assignment-name", "device",
        "x-imagekit", "structures", "part", "cmdline", "gpt-entries", "pc", "<<", "on", "1")

sizes = st.integers(1, 4096).map(lambda number: number * MIB) | st.integers(1, 64).map(lambda number: f"{number}M")
names = st.from_regex(r"[a-z][a-z0-9-]{0,20}[a-z0-9]", fullmatch=True)
paths = st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,10}", fullmatch=True).filter(lambda part: ".." not in part),
                 min_size=1, max_size=3).map("/".join)
leaves = (st.none() | st.booleans() | st.integers(-10, 1 << 65) | st.floats() | st.text(max_size=12)
          | st.sampled_from(WORDS))


def trees(*, leaves: st.SearchStrategy[Any] = leaves) -> st.SearchStrategy[Any]:
    """Maps and lists with the format's keys over anything."""
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(KEYS) | st.text(max_size=6), inner, max_size=7), max_leaves=30)


@st.composite
def contents(draw: st.DrawFn, *, has_filesystem: bool) -> list[dict[str, Any]]:
    if has_filesystem:
        return draw(st.lists(st.fixed_dictionaries(
            {"source": paths | st.just("$kernel:dtbs/all/"), "target": paths | st.just("/")}), max_size=3))
    image = st.fixed_dictionaries({"image": paths}, optional={"offset": sizes, "size": sizes})
    return draw(st.lists(image, max_size=3))


@st.composite
def structures(draw: st.DrawFn, *, name: str, schema: str) -> dict[str, Any]:
    """A structure without a role that any volume of `schema` may have."""
    filesystem = draw(st.sampled_from(("ext4", "vfat", "vfat-16", "vfat-32", "none", None)))
    guid = draw(st.sampled_from(GUIDS))
    kind = draw(st.sampled_from(("bare", guid if schema == "gpt" else "0C", f"EF,{guid}")))
    made: dict[str, Any] = {"name": name, "type": kind, "size": draw(sizes)}
    if filesystem is not None:
        made["filesystem"] = filesystem
    has_filesystem = filesystem not in (None, "none")
    if draw(st.booleans()):
        made["content"] = draw(contents(has_filesystem=has_filesystem))
    if draw(st.booleans()):
        made["update"] = {"edition": draw(st.integers(0, (1 << 32) - 1))}
        if has_filesystem:
            made["update"]["preserve"] = draw(st.lists(paths, unique=True, max_size=3))
    return made


def _role(role: str, name: str, schema: str, filesystem: str, size: str) -> dict[str, Any]:
    return {"name": name, "role": role, "filesystem": filesystem, "size": size,
            "type": GUIDS[1] if schema == "gpt" else "83" if filesystem == "ext4" else "0C"}


@st.composite
def gadgets(draw: st.DrawFn) -> dict[str, Any]:
    """A document that is accepted under the rules that its contents ask for."""
    schema = draw(st.sampled_from(("gpt", "mbr")))
    modes = draw(st.booleans())
    roles = [_role("system-boot", "boot", schema, "vfat", "100M"), _role("system-data", "data", schema, "ext4", "1G")]
    if modes:
        roles += [_role("system-seed", "seed", schema, "vfat", "1200M"),
                  _role("system-save", "save", schema, "ext4", "32M")]
    free = names.filter(lambda name: name not in {"boot", "data", "seed", "save"})
    others = draw(st.lists(free, unique=True, max_size=4))
    listed = draw(st.permutations(roles + [draw(structures(name=name, schema=schema)) for name in others]))
    bootloader = draw(st.sampled_from(("grub", "u-boot", "lk", "android-boot")))
    volume = {"schema": schema, "bootloader": bootloader, "structure": listed}
    made: dict[str, Any] = {"volumes": {draw(names): volume}}
    if draw(st.booleans()):
        values = st.booleans() | st.integers(0, 9) | names
        made["defaults"] = {"system": draw(st.dictionaries(names, values, max_size=3))}
    if draw(st.booleans()):
        made["connections"] = [{"plug": f"system:{draw(names)}"}]
    if draw(st.booleans()):
        made["kernel-cmdline"] = {"append": ["console=ttyS0,115200", 'x="a b"'], "allow": ["quiet", "log=*"]}
    return made


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A sound document as text, with block or flow style, CRLF or a byte order mark."""
    text = yaml.safe_dump(draw(gadgets()), sort_keys=False, allow_unicode=True,
                          width=draw(st.sampled_from((20, 80, 1000))),
                          default_flow_style=draw(st.sampled_from((None, True, False))))
    if draw(st.booleans()):
        text = text.replace("\n", "\r\n")
    return ("\ufeff" if draw(st.booleans()) else "") + text


PIECES = ("\n", "\n  ", "\n    - ", ": ", "- ", "? ", "{", "}", "[", "]", ", ", "&a ", "*a", "<<: *a", "!!str ", "!x ",
          "| \n", "> \n", "'", '"', "#", "---\n", "...\n", "\t", "\0", "\ufeff", "\r\n", "%YAML 1.1\n", "\\",
          "@", "\ud800")


def texts() -> st.SearchStrategy[str]:
    """Pieces of YAML and of the format in any order."""
    return st.lists(st.sampled_from(PIECES + KEYS + WORDS) | st.text(max_size=3), max_size=40).map("".join)


__all__ = ["contents", "documents", "gadgets", "leaves", "structures", "texts", "trees"]
