"""layout.svg: one reviewed picture, valid XML, nothing remote, names made harmless."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from imagekit.plan.svg import WIDTH, Drawn, box_widths, draw_layout, wrap
from imagekit.units import MIB

GOLDEN = Path(__file__).parent.parent.parent / "golden" / "layout.svg"


def drawn(name: str, start: int, size: int, *, used: int = 0, slot: str | None = None, part: str | None = None,
          role: str | None = None, content: str = "empty") -> Drawn:
    return Drawn(name=name, start=start * MIB, size=size * MIB, used=used, role=role, slot=slot, part=part,
                 content=content)


DISK = (
    drawn("esp", 1, 256, used=15 * MIB, role="system-boot", content="boot files of slot a"),
    drawn("slot-state", 257, 1, used=8192, part="state", content="slot-state record"),
    drawn("base-a", 258, 640, used=300 * MIB, slot="a", part="base", content="debian-13_1.snap + hash tree"),
    drawn("base-b", 898, 640, slot="b", part="base", content="empty, for slot b"),
    drawn("seed", 1538, 1200, used=60 * MIB, role="system-seed", content="model, assertions, 3 packages"),
    drawn("data", 2738, 256, used=12 * MIB, role="system-data", content="empty ext4"),
)


def test_picture_is_the_reviewed_one() -> None:
    assert draw_layout("acme / pc", "a disk", 2995 * MIB, DISK) == GOLDEN.read_bytes()


def test_picture_is_valid_and_asks_nobody_for_anything() -> None:
    raw = draw_layout("acme / pc", "a disk", 2995 * MIB, DISK)
    root = ElementTree.fromstring(raw)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert raw.count(b"http") == 1
    assert not {b"<script", b"<image", b"@import", b"url("} & {word for word in (b"<script", b"<image", b"url(")
                                                              if word in raw}
    assert len(raw) < 100_000


def test_names_cannot_break_the_picture() -> None:
    raw = draw_layout("<a>&</a>", "\"'", 300 * MIB, [drawn("<x&y>", 1, 200, content="</svg>")])
    text = "".join(ElementTree.fromstring(raw).itertext())
    assert "<x&y>" in text and "</svg>" in text


@given(st.lists(st.integers(1, 1 << 40), min_size=1, max_size=12))
def test_boxes_fill_the_width_and_none_is_too_narrow(sizes: list[int]) -> None:
    widths = box_widths(sizes)
    assert sum(widths) < WIDTH
    assert min(widths) > 60


@given(st.text(alphabet="ab-_ ", max_size=60), st.integers(4, 20))
def test_wrapped_lines_fit_and_lose_no_letter(text: str, room: int) -> None:
    lines = wrap(text, room)
    assert all(0 < len(line) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
