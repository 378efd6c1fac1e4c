"""Documents spoilt in every systematic way: trees of YAML, their text, and the bytes of assertions.

All is drawn from a seeded generator: the same seed gives the same documents everywhere.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as Folder
from typing import Any

import yaml

Path = tuple[str | int, ...]

VALUES = Folder(__file__).parent / "values"


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What documents of one format are spoilt with: values for any key, more for single keys, and keys to add."""

    anything: tuple[Any, ...]
    by_key: Mapping[str, tuple[Any, ...]]
    added: tuple[str, ...]

    def draw(self, name: str, draw: random.Random) -> Any:
        """A value for the key `name`, twice as likely one of its own."""
        own = self.by_key.get(name, ())
        return copy.deepcopy(draw.choice((*own, *own, *self.anything)))


def load_values(name: str) -> Values:
    """The table in `values/NAME.yaml`."""
    table = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    return Values(anything=tuple(table["anything"]), added=tuple(table["added"]),
                  by_key={key: tuple(values) for key, values in table["by-key"].items()})


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A changed document and, in a few words, what was done."""

    what: str
    text: bytes


def draws(names: Iterable[str], count: int, seed: int) -> Iterator[tuple[str, random.Random]]:
    """`count` turns over the names, each with the same generator in all its turns.

    What is drawn for one name does not depend on the others, so that a new document changes no other case.
    """
    generators = {name: random.Random(f"{seed} {name}") for name in names}
    turn = 0
    while turn < count:
        for name, generator in generators.items():
            if turn < count:
                yield name, generator
            turn += 1


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


def places(tree: Any, kind: type) -> list[Path]:
    """Where the maps or lists of a tree lie that hold something."""
    return [path for path in paths(tree) if isinstance(get(tree, path), kind) and get(tree, path)]


def shown(path: Path) -> str:
    return ".".join(map(str, path)) or "document"


def dump(tree: Any) -> bytes:
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1000).encode()


def change(tree: Any, draw: random.Random, values: Values) -> tuple[str, Any]:
    """One change to one place of a tree: what was done, and a new tree. Tuples become lists."""
    changed = thawed(tree)
    way = draw.choice(("set", "set", "set", "set", "drop", "add", "add", "copy", "swap"))
    if way in ("copy", "swap") and places(changed, list):
        return rearrange(changed, draw, copying=way == "copy"), changed
    if way == "add":
        place, name = draw.choice(places(changed, dict)), draw.choice(values.added)
        value = get(changed, place)[name] = values.draw(name, draw)
        return f"add {shown((*place, name))} as {value!r}", changed
    path = draw.choice([path for path in paths(changed) if path])
    parent, key = get(changed, path[:-1]), path[-1]
    if way == "drop":
        del parent[key]
        return f"drop {shown(path)}", changed
    name = next((part for part in reversed(path) if isinstance(part, str)), "")
    value = parent[key] = values.draw(name, draw)
    return f"set {shown(path)} to {value!r}", changed


def rearrange(changed: Any, draw: random.Random, *, copying: bool) -> str:
    """Copy an item of a list, or swap two."""
    place = draw.choice(places(changed, list))
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


def mutate_yaml(tree: Any, draw: random.Random, values: Values) -> Mutant:
    what, changed = change(tree, draw, values)
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
