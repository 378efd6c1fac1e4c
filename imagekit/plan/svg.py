"""Draw disks as SVG: a thin strip true to scale, and under it one box per structure, wide enough to be read.

A box hangs on its stripe, however thin that is, so the smallest structure is named; a disk of many structures has
several rows of boxes, each under a strip of its own. What only the device knows has a box and no stripe. Pure text out
of values, equal for equal input; no scripts, no remote fonts, light and dark by the viewer's preference, a title for
each box. Colours are apart for colour-blind eyes (Okabe and Ito's palette).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagekit.units import iec

WIDTH = 1200
MARGIN = 24
HEAD = 74  # title and subtitle
STRIP_HEIGHT = 14
BOX_DOWN, BOX_HEIGHT = 50, 132  # below the strip's top
SHARE_ROOM = 28  # below the boxes
HEADING = 22  # of a volume, where there are several
FOOT = 36
BOX_LEAST = 92
ROW_MOST = 10  # boxes beside each other
GAP = 6
LETTER = 6.1  # width of a small letter, for wrapping
NAME_LETTER = 7.7

STYLE = """
  text { font-family: system-ui, "DejaVu Sans", sans-serif; fill: #1b1f24 }
  .big { font-size: 20px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 }
  .small { font-size: 11px; fill: #57606a } .share { font-size: 11px; font-weight: 600 }
  .paper { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d0d7de } .link { fill: #d0d7de; opacity: .35 }
  .boot { fill: #0072b2 } .seed { fill: #cc79a7 } .data { fill: #e69f00 } .a { fill: #009e73 } .b { fill: #56b4e9 }
  .state { fill: #d55e00 } .save { fill: #f0e442 } .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .paper { fill: #0d1117 }
    .box { fill: #161b22; stroke: #3d444d } .link { fill: #3d444d }
  }
"""

ROLES = {"system-boot": "boot", "system-seed": "seed", "system-seed-null": "seed", "system-data": "data",
         "system-save": "save", "system-boot-state": "state"}
LEGEND = {"boot": "boot", "state": "slot state", "a": "slot a", "b": "slot b", "seed": "seed", "save": "save",
          "data": "data"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One structure to draw; `used` bytes of it are filled, None where nobody knows.

    A structure without `start` has no stripe; `room` tells its size in words where that is no one number.
    """

    name: str
    start: int | None
    size: int
    used: int | None
    role: str | None
    slot: str | None
    part: str | None
    content: str
    room: str = ""

    @property
    def style(self) -> str:
        """The class that colours it."""
        if self.part == "state":
            return "state"
        return self.slot or ROLES.get(self.role or "", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnVolume:
    """One disk to draw; `heading` stands above it. Without `disk_size` it has no strip."""

    heading: str
    disk_size: int | None
    structures: tuple[Drawn, ...]


def draw_layout(title: str, subtitle: str, disk_size: int, structures: Sequence[Drawn]) -> bytes:
    """The picture of a disk."""
    return draw_volumes(title, subtitle, [DrawnVolume(heading="", disk_size=disk_size, structures=tuple(structures))])


def draw_volumes(title: str, subtitle: str, volumes: Sequence[DrawnVolume]) -> bytes:
    """The picture of all disks of a board, one below the other."""
    panels: list[str] = []
    top = HEAD
    for volume in volumes:
        if volume.heading:
            panels.append(f'<text class="name" x="{MARGIN}" y="{top + 8}">{escape(volume.heading)}</text>')
            top += HEADING
        for row in range(0, max(len(volume.structures), 1), ROW_MOST):
            panels += _row(volume, volume.structures[row:row + ROW_MOST], top)
            top += _down(volume) + BOX_HEIGHT + SHARE_ROOM
    height = top + FOOT
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(" ".join(map(_describe, volumes)))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" class="paper"/>',
        f'<text class="big" x="{MARGIN}" y="36">{escape(title)}</text>',
        f'<text class="small" x="{MARGIN}" y="56">{escape(subtitle)}</text>',
        *panels, *_legend(height - 22, volumes), "</svg>", "",
    ]
    return "\n".join(lines).encode()


def _down(volume: DrawnVolume) -> int:
    """From the top of a row to its boxes."""
    return BOX_DOWN if volume.disk_size is not None else GAP


def _row(volume: DrawnVolume, structures: Sequence[Drawn], top: int) -> list[str]:
    """A strip with some of the volume's structures, and their boxes."""
    lines, scale = [], None
    if volume.disk_size is not None:
        scale = (WIDTH - 2 * MARGIN) / volume.disk_size
        lines.append(f'<rect class="box" x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{STRIP_HEIGHT}"/>')
    left = float(MARGIN)
    for item, width in zip(structures, box_widths([item.size for item in structures]), strict=True):
        lines += _structure(item, left, width, top, top + _down(volume), scale)
        left += width + GAP
    return lines


def box_widths(sizes: Sequence[int]) -> list[float]:
    """A width for every box: never below the least, the rest shared by size."""
    room = WIDTH - 2 * MARGIN - GAP * max(len(sizes) - 1, 0)
    least = min(BOX_LEAST, room / max(len(sizes), 1))
    spare = room - least * len(sizes)
    total = sum(sizes)
    return [round(least + (spare * size / total if total else spare / len(sizes)), 1) for size in sizes]


def _structure(item: Drawn, left: float, width: float, top: int, box: int, scale: float | None) -> list[str]:
    """The stripe in the strip at `top`, the box at `box`, and what joins them."""
    right = round(left + width, 1)
    left = round(left, 1)
    below = box + BOX_HEIGHT
    lines = [f"<g><title>{escape(_tip(item))}</title>"]
    if scale is not None and item.start is not None:
        x1 = round(MARGIN + item.start * scale, 1)
        x2 = max(round(MARGIN + (item.start + item.size) * scale, 1), x1 + 0.5)
        lines += [
            f'<rect class="{item.style}" x="{x1}" y="{top}" width="{round(x2 - x1, 1)}" height="{STRIP_HEIGHT}"/>',
            f'<path class="link" d="M{x1} {top + STRIP_HEIGHT + 2}H{x2}L{right} {box - 2}H{left}Z"/>']
    lines.append(f'<rect class="box" x="{left}" y="{box}" width="{width}" height="{BOX_HEIGHT}" rx="3"/>')
    share = item.used / item.size if item.used and item.size else 0.0
    filled = max(round(share * BOX_HEIGHT, 1), 2.0) if share else 0.0
    if item.used is not None:
        lines.append(f'<rect class="{item.style}" x="{left}" y="{round(below - filled, 1)}" width="{width}"'
                     f' height="{filled}" opacity=".45"/>')
    lines.append(f'<rect class="{item.style}" x="{left}" y="{box}" width="{width}" height="4"/>')
    lines += _words(item, left, width, box)
    if item.used is not None:
        label = ("empty" if not item.used else f"{100 * share:.0f} % · {iec(item.used)}" if share >= 0.01
                 else iec(item.used))
        lines.append(_text("share", left + 8, below + 18, label))
    return [*lines, "</g>"]


def _words(item: Drawn, left: float, width: float, box: int) -> list[str]:
    """Name, size and content, as far as the box has room."""
    names = wrap(item.name, max(int((width - 14) / NAME_LETTER), 10))[:4]
    lines = [_text("name", left + 8, box + 24 + 15 * number, line) for number, line in enumerate(names)]
    down = box + 41 + 15 * (len(names) - 1)
    lines.append(_text("small", left + 8, down, item.room or iec(item.size)))
    room = max(int((width - 14) / LETTER), 8)
    words, most = wrap(item.content, room), 5 - len(names)
    if len(words) > most:
        words[most - 1] += " …"
    for number, line in enumerate(words[:most]):
        lines.append(_text("small", left + 8, down + 21 + 14 * number, line))
    return lines


def _tip(item: Drawn) -> str:
    where = f"{item.size} bytes at {item.start}" if item.start is not None else item.room
    return f"{item.name}: {item.content}; {where}" + (f", {item.used} used" if item.used is not None else "")


def escape(text: str) -> str:
    """Text as XML takes it between tags."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _text(style: str, x: float, y: float, text: str) -> str:
    return f'<text class="{style}" x="{round(x, 1)}" y="{y}">{escape(text)}</text>'


def wrap(text: str, room: int) -> list[str]:
    """Lines of at most `room` letters, broken at spaces, or inside a word behind `-` and `_`, or anywhere."""
    lines = [""]
    for word in text.split():
        while len(word) > room:
            cut = max(word.rfind("-", 1, room), word.rfind("_", 1, room)) + 1 or room
            lines += [word[:cut]] if lines[-1] else []
            if not lines[-1]:
                lines[-1] = word[:cut]
            word = word[cut:]
            lines.append("")
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) <= room:
            lines[-1] = joined
        else:
            lines.append(word)
    return [line for line in lines if line]


def _legend(y: int, volumes: Sequence[DrawnVolume]) -> list[str]:
    """The colours that occur."""
    present = {item.style for volume in volumes for item in volume.structures}
    lines = []
    left = float(MARGIN)
    for style, text in LEGEND.items():
        if style in present:
            lines += [f'<rect class="{style}" x="{left}" y="{y - 9}" width="10" height="10"/>',
                      _text("small", left + 15, y, text)]
            left += 40 + LETTER * len(text)
    known = any(item.used is not None for volume in volumes for item in volume.structures)
    lines.append(f'<text class="small" x="{WIDTH - MARGIN}" y="{y}" text-anchor="end">strip true to scale, boxes'
                 f' widened to be read{"; the fill is the share in use" if known else ""}</text>')
    return lines


def _describe(volume: DrawnVolume) -> str:
    parts = (f"{item.name} {item.room or iec(item.size)} ({item.content})" for item in volume.structures)
    what = f"Disk of {iec(volume.disk_size)}" if volume.disk_size is not None else volume.heading
    return f"{what}: " + ", ".join(parts)
