"""Draw a disk as SVG: a thin strip true to scale, and under it one box per structure, wide enough to be read.

Pure text out of values, equal for equal input; no scripts, no remote fonts, light and dark by the viewer's preference,
a title for each box. Colours are apart for colour-blind eyes (Okabe and Ito's palette).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imagekit.units import iec

WIDTH = 1200
MARGIN = 24
STRIP_TOP, STRIP_HEIGHT = 74, 14
BOX_TOP, BOX_HEIGHT = 124, 132
BOX_LEAST = 92
GAP = 6
LETTER = 6.1  # width of a small letter, for wrapping

STYLE = """
  text { font-family: system-ui, "DejaVu Sans", sans-serif; fill: #1b1f24 }
  .big { font-size: 20px; font-weight: 600 } .name { font-size: 13px; font-weight: 600 }
  .small { font-size: 11px; fill: #57606a } .share { font-size: 11px; font-weight: 600 }
  .paper { fill: #ffffff } .box { fill: #f6f8fa; stroke: #d0d7de } .link { fill: #d0d7de; opacity: .35 }
  .boot { fill: #0072b2 } .seed { fill: #cc79a7 } .data { fill: #e69f00 } .a { fill: #009e73 } .b { fill: #56b4e9 }
  .state { fill: #d55e00 } .other { fill: #8c959f }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .paper { fill: #0d1117 }
    .box { fill: #161b22; stroke: #3d444d } .link { fill: #3d444d }
  }
"""

ROLES = {"system-boot": "boot", "system-seed": "seed", "system-data": "data"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """One structure to draw; `used` bytes of it are filled."""

    name: str
    start: int
    size: int
    used: int
    role: str | None
    slot: str | None
    part: str | None
    content: str

    @property
    def style(self) -> str:
        """The class that colours it."""
        if self.part == "state":
            return "state"
        return self.slot or ROLES.get(self.role or "", "other")


def draw_layout(title: str, subtitle: str, disk_size: int, structures: Sequence[Drawn]) -> bytes:
    """The picture of a disk."""
    widths = box_widths([item.size for item in structures])
    height = BOX_TOP + BOX_HEIGHT + 64
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
        ' role="img" aria-labelledby="title desc">',
        f'<title id="title">{escape(title)}</title>',
        f'<desc id="desc">{escape(_describe(disk_size, structures))}</desc>',
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{height}" class="paper"/>',
        f'<text class="big" x="{MARGIN}" y="36">{escape(title)}</text>',
        f'<text class="small" x="{MARGIN}" y="56">{escape(subtitle)}</text>',
        f'<rect class="box" x="{MARGIN}" y="{STRIP_TOP}" width="{WIDTH - 2 * MARGIN}" height="{STRIP_HEIGHT}"/>',
    ]
    scale = (WIDTH - 2 * MARGIN) / disk_size
    left = float(MARGIN)
    for item, width in zip(structures, widths, strict=True):
        lines += _structure(item, left, width, scale)
        left += width + GAP
    lines += [*_legend(height - 22), "</svg>", ""]
    return "\n".join(lines).encode()


def box_widths(sizes: Sequence[int]) -> list[float]:
    """A width for every box: never below the least, the rest shared by size."""
    room = WIDTH - 2 * MARGIN - GAP * max(len(sizes) - 1, 0)
    least = min(BOX_LEAST, room / max(len(sizes), 1))
    spare = room - least * len(sizes)
    total = sum(sizes)
    return [round(least + spare * size / total, 1) for size in sizes]


def _structure(item: Drawn, left: float, width: float, scale: float) -> list[str]:
    """The stripe, the box, and what joins them."""
    x1 = round(MARGIN + item.start * scale, 1)
    x2 = max(round(MARGIN + (item.start + item.size) * scale, 1), x1 + 0.5)
    right = round(left + width, 1)
    left = round(left, 1)
    share = item.used / item.size
    filled = round(share * BOX_HEIGHT, 1) if not item.used else max(round(share * BOX_HEIGHT, 1), 2.0)
    below = BOX_TOP + BOX_HEIGHT
    tip = f"{item.name}: {item.content}; {item.size} bytes at {item.start}, {item.used} used"
    lines = [
        f"<g><title>{escape(tip)}</title>",
        f'<rect class="{item.style}" x="{x1}" y="{STRIP_TOP}" width="{round(x2 - x1, 1)}" height="{STRIP_HEIGHT}"/>',
        f'<path class="link" d="M{x1} {STRIP_TOP + STRIP_HEIGHT + 2}H{x2}L{right} {BOX_TOP - 2}H{left}Z"/>',
        f'<rect class="box" x="{left}" y="{BOX_TOP}" width="{width}" height="{BOX_HEIGHT}" rx="3"/>',
        f'<rect class="{item.style}" x="{left}" y="{round(below - filled, 1)}" width="{width}" height="{filled}"'
        ' opacity=".45"/>',
        f'<rect class="{item.style}" x="{left}" y="{BOX_TOP}" width="{width}" height="4"/>',
        _text("name", left + 8, BOX_TOP + 24, item.name),
        _text("small", left + 8, BOX_TOP + 41, iec(item.size)),
    ]
    room = max(int((width - 14) / LETTER), 8)
    for number, line in enumerate(wrap(item.content, room)[:4]):
        lines.append(_text("small", left + 8, BOX_TOP + 62 + 14 * number, line))
    label = "empty" if not item.used else f"{100 * share:.0f} % · {iec(item.used)}" if share >= 0.01 else iec(item.used)
    lines += [_text("share", left + 8, below + 18, label), "</g>"]
    return lines


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


def _legend(y: int) -> list[str]:
    lines = []
    left = float(MARGIN)
    for style, text in (("boot", "boot"), ("state", "slot state"), ("a", "slot a"), ("b", "slot b"), ("seed", "seed"),
                        ("data", "data")):
        lines += [f'<rect class="{style}" x="{left}" y="{y - 9}" width="10" height="10"/>',
                  _text("small", left + 15, y, text)]
        left += 40 + LETTER * len(text)
    lines.append(f'<text class="small" x="{WIDTH - MARGIN}" y="{y}" text-anchor="end">strip true to scale, boxes'
                 " widened to be read; the fill is the share in use</text>")
    return lines


def _describe(disk_size: int, structures: Sequence[Drawn]) -> str:
    parts = (f"{item.name} {iec(item.size)} ({item.content})" for item in structures)
    return f"Disk of {iec(disk_size)}: " + ", ".join(parts)
