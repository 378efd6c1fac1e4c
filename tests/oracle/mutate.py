"""Documents spoilt in every systematic way: trees of YAML, their text, and the bytes of assertions.

All is drawn from a seeded generator: the same seed gives the same documents everywhere.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

Path = tuple[str | int, ...]

GUID = "44444444-4444-4444-4444-444444444444"

ANYTHING: tuple[Any, ...] = (
    None, "", " ", "a", "A", "a-b", "-", "a/b", "../a", "~", True, False, 0, 1, -1, 1.5, 446, 1 << 20, 1 << 63, 1 << 64,
    "0", "00", "1", "-1", "1.5", "1M", "1G", "1K", "1MiB", "1m", "0x10", "0o10", "1_000", "1e3", "yes", "no", "null", "ä",
    [], {}, [None], [""], [[]], [{}], ["a"], {"a": "b"}, {"": ""}, {"a": None},
)
BY_KEY: dict[str, tuple[Any, ...]] = {
    "size": (0, 1, 440, 446, 447, 512, "4096", "8192M", "4G", "5G", 1 << 40),
    "min-size": (0, 1, "1M", "2G", "10G"),
    "offset": (0, 1, 440, 446, 512, 4096, 17408, "1M", "2M", "4G", 1 << 40),
    "offset-write": (0, 92, 440, "92", "mbr+92", "mbr+442", "mbr+443", "mbr+", "+1", "x+1", "1+1", "4G", "5G", "mbr+1+2"),
    "type": ("bare", "mbr", "0C", "0c", "83", 83, "EF", "0FC63DAF-8483-4772-8E79-3D69D8477DE4", GUID, GUID.lower(),
             "EF,C12A7328-F81F-11D2-BA4B-00C04FC93EC9", "EF,ef", "EF,EF", f"{GUID},EF", "0xEF", "DA,", ",DA"),
    "role": ("mbr", "system-boot", "system-data", "system-seed", "system-seed-null", "system-save", "system-boot-state",
             "system-boot-image", "system-boot-select", "system-seed-image", "system-seed-select", "bootimg", "bootselect",
             "system-none"),
    "filesystem": ("ext4", "vfat", "vfat-16", "vfat-32", "fat16", "none", "btrfs", "EXT4", "xfs"),
    "filesystem-label": ("writable", "system-boot", "system-data", "ubuntu-seed", "ubuntu-boot", "ubuntu-data",
                         "ubuntu-save", "UBUNTU-SEED", "Writable", "label-that-is-rather-long-for-a-disk"),
    "id": (GUID, GUID.upper(), GUID[:-1], "00000000", "0xdeadbeef", "DEADBEEF", "x"),
    "schema": ("gpt", "mbr", "emmc", "GPT", "mbr,gpt", "none"),
    "bootloader": ("grub", "u-boot", "android-boot", "lk", "piboot", "GRUB", "none", "systemd-boot"),
    "edition": (0, 1, 2, (1 << 32) - 1, 1 << 32, "1", "x"),
    "preserve": (["a"], ["a", "a"], ["a", "b"], "a", ["/a"], [1]),
    "source": ("a", "a/", "/", "$kernel:a/b", "$kernel:a", "$kernel:/b", "$kernel:a/../b", "$kernel:", "$KERNEL:a/b", "../x"),
    "target": ("/", "a", "/a/", "a/../b"),
    "image": ("a.img", "../a.img", "$kernel:a/b", "/a.img"),
    "unpack": (True, False, "true", 1, "x"),
    "partial": (["size"], ["filesystem"], ["schema"], ["structure"], ["size", "size"], ["structure", "schema"],
                ["filesystem", "size", "schema", "structure"], ["id"], "size"),
    "defaults": ({"system": {}}, {"system": {"a": {"b": 1}}}, {"x": {}}, {"a" * 32: {"k": [1, None]}}, {"system": 1}),
    "connections": ([{"plug": "a" * 32 + ":p"}], [{"plug": "system:p", "slot": "system:s"}], [{"plug": ":p"}], [{}],
                    [{"slot": "system:s"}], [{"plug": "x:y:z"}], [{"plug": "nonsense"}]),
    "kernel-cmdline": ({"allow": ["a", "b=*"]}, {"append": ["a"]}, {"append": ["root=x"]}, {"append": ["a", "a"]},
                       {"remove": ["a"]}, {"allow": "a"}, {"append": ["snapd.debug=1"]}, {"append": ["snapd_x=1"]},
                       {"allow": ['a="b']}, {"allow": ["*"]}, {"append": ["a=*"]}, {"append": ["a b"]}),
    "volume-assignments": ([{"name": "x", "assignments": {}}], [{"assignments": {"pc": {"device": "/dev/disk/by-diskseq/1"}}}],
                           [{"name": "x", "assignments": {"nope": {"device": "/dev/sda"}}}]),
    "name": ("mbr", "ubuntu-seed", "x" * 36, "x" * 37, "boot0", "boot1", "boot2", "a b", "a+b"),
}
ADDED = ("volumes", "defaults", "connections", "kernel-cmdline", "volume-assignments", "device-tree", "format", "schema",
         "bootloader", "id", "partial", "name", "type", "role", "size", "min-size", "offset", "offset-write", "filesystem",
         "filesystem-label", "content", "update", "edition", "preserve", "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed document and, in a few words, what was done."""

    what: str
    text: bytes


def paths(value: Any, at: Path = ()) -> Iterator[Path]:
    """Every place in a tree, the root first."""
    yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*at, key))


def get(tree: Any, path: Path) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def shown(path: Path) -> str:
    return ".".join(map(str, path)) or "document"


def dump(tree: Any) -> bytes:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000).encode()


def change(tree: Any, draw: random.Random, *, by_key: Mapping[str, tuple[Any, ...]], anything: tuple[Any, ...],
           added: Sequence[str]) -> tuple[str, Any]:
    """One change to one place of a tree: what was done, and a new tree. Tuples become lists."""
    changed = thawed(tree)
    way = draw.choice(("set", "set", "set", "set", "drop", "add", "add", "copy", "swap"))
    if way in ("copy", "swap") and any(isinstance(get(changed, place), list) and get(changed, place) for place in paths(changed)):
        return rearrange(changed, draw, copying=way == "copy"), changed
    if way == "add":
        place = draw.choice([place for place in paths(changed) if isinstance(get(changed, place), dict)])
        name = draw.choice(added)
        value = draw.choice((*by_key.get(name, ()), *anything))
        get(changed, place)[name] = thawed(value)
        return f"add {shown((*place, name))} as {value!r}", changed
    path = draw.choice([path for path in paths(changed) if path])
    parent, key = get(changed, path[:-1]), path[-1]
    if way == "drop":
        del parent[key]
        return f"drop {shown(path)}", changed
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    value = draw.choice((*by_key.get(name, ()), *by_key.get(name, ()), *anything))
    parent[key] = thawed(value)
    return f"set {shown(path)} to {value!r}", changed


def rearrange(changed: Any, draw: random.Random, *, copying: bool) -> str:
    """Copy an item of a list, or swap two."""
    place = draw.choice([place for place in paths(changed) if isinstance(get(changed, place), list) and get(changed, place)])
    items = get(changed, place)
    first, second = draw.randrange(len(items)), draw.randrange(len(items))
    if copying:
        items.insert(second, copy.deepcopy(items[first]))
        return f"copy {shown((*place, first))} to {second}"
    items[first], items[second] = items[second], items[first]
    return f"swap {shown((*place, first))} and {second}"


def thawed(value: Any) -> Any:
    """A copy that may be changed: dicts and lists at every depth."""
    if isinstance(value, Mapping):
        return {key: thawed(item) for key, item in value.items()}
    return [thawed(item) for item in value] if isinstance(value, (list, tuple)) else value


def mutate_yaml(tree: Any, draw: random.Random, *, by_key: Mapping[str, tuple[Any, ...]], added: Sequence[str]) -> Mutant:
    what, changed = change(tree, draw, by_key=by_key, anything=ANYTHING, added=added)
    return Mutant(what=what, text=dump(changed))


def mutate_lines(text: bytes, draw: random.Random) -> Mutant:
    """One change to the lines of a text: what no tree can show, such as repeated keys."""
    lines = text.split(b"\n")
    first, second = draw.randrange(len(lines)), draw.randrange(len(lines))
    way = draw.choice(("repeat", "drop", "swap", "indent", "tab", "cut", "flip"))
    if way == "repeat":
        lines.insert(first, lines[first])
    elif way == "drop":
        del lines[first]
    elif way == "swap":
        lines[first], lines[second] = lines[second], lines[first]
    elif way == "indent":
        lines[first] = b"  " + lines[first]
    elif way == "tab":
        lines[first] = b"\t" + lines[first]
    elif way == "cut":
        lines = lines[:first]
    else:
        return flip(text, draw)
    return Mutant(what=f"{way} line {first + 1}" + (f" and {second + 1}" if way == "swap" else ""),
                  text=b"\n".join(lines))


def flip(text: bytes, draw: random.Random) -> Mutant:
    """One byte becomes another that means something to a format."""
    at = draw.randrange(len(text))
    new = draw.choice(b"\n\n  ::--\t#&*!|>'\"%@`{}[],?0aA\x00\x7f\xff/=+")
    return Mutant(what=f"byte {at} becomes {new:#04x}", text=text[:at] + bytes((new,)) + text[at + 1:])
