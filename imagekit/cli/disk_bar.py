"""One line that shows a disk: a cell for each share, in the colours of layout.svg; plain letters off a terminal."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from imagekit.cli.output import colors_wanted, console, drawn, talk_of, write

if TYPE_CHECKING:
    from imagekit.plan.image import ImagePlan, Planned

WIDTH = 76
COLORS = {"boot": "#0072b2", "state": "#d55e00", "a": "#009e73", "b": "#56b4e9", "seed": "#cc79a7", "data": "#e69f00",
          "save": "#f0e442"}
ROLES = {"system-boot": "boot", "system-seed": "seed", "system-data": "data", "system-save": "save"}


def cells(sizes: Sequence[int], width: int, *, least: Sequence[int] = ()) -> list[int]:
    """How many of `width` cells each size gets: its `least`, or one, the rest by share, all used; more if need be."""
    total, lows = sum(sizes), least or [1] * len(sizes)
    result = [max(low, size * width // total) for size, low in zip(sizes, lows, strict=True)]
    while sum(result) > width and (large := [index for index, low in enumerate(lows) if result[index] > low]):
        result[max(large, key=result.__getitem__)] -= 1
    remainders = sorted(range(len(sizes)), key=lambda index: -(sizes[index] * width % total))
    for index in remainders[:max(width - sum(result), 0)]:
        result[index] += 1
    return result


@dataclass(frozen=True, slots=True, kw_only=True)
class BarPart:
    """One share of the bar; `used` bytes of it are filled, all of them where nobody knows; `style` names a colour.

    `number` is its number in the partition table, as the table beside the bar has it.
    """

    number: int | None
    title: str
    size: int
    used: int | None
    style: str


def style(item: Planned) -> str:
    """What a structure is, as a key of `COLORS`; empty for anything else."""
    if item.held is not None:
        return item.held.slot or "state"
    role = item.placement.structure.role
    return ROLES.get(role.value if role else "", "")


def draw_bar(plan: ImagePlan) -> None:
    """The bar of an image."""
    draw_parts([BarPart(number=item.entry.index if item.entry else None, title=item.placement.structure.title,
                        size=item.placement.size, used=item.used or 0,
                        style=style(item)) for item in plan.structures])


def draw_parts(parts: Sequence[BarPart]) -> None:
    """The bar and, where there are colours, which is which."""
    sizes = [item.size for item in parts]
    if not (drawn(sys.stdout) and colors_wanted(sys.stdout, talk=talk_of())):
        counts = cells(sizes, WIDTH, least=[len(label(item)) for item in parts])
        write("".join(cell(item, count) for item, count in zip(parts, counts, strict=True)))
        return
    from rich.text import Text

    screen = console()
    counts = cells(sizes, min(WIDTH, screen.width))
    bar, legend = Text(), Text()
    for item, count in zip(parts, counts, strict=True):
        color = COLORS.get(item.style, "#8c959f")
        used = filled(item, count)
        bar.append("█" * used + "░" * (count - used), style=color)
        legend.append(f" {item.number or '-'} ", style=f"bold #ffffff on {color}").append(f" {item.title}  ")
    screen.print(bar, soft_wrap=True)
    screen.print(legend)


def filled(item: BarPart, count: int) -> int:
    """How many of a share's cells are filled."""
    return count if item.used is None else min(count, -(-item.used * count // item.size))


def label(item: BarPart) -> str:
    """How a share begins where there are no colours."""
    return f"|{item.number or '-'}"


def cell(item: BarPart, count: int) -> str:
    """The structure's number and, in its width, `#` for what is used and `.` for the rest; `|` begins it."""
    used = filled(item, count)
    return label(item) + ("#" * used + "." * (count - used))[len(label(item)):]
