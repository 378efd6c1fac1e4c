"""The station's page as a browser shows it: every port a tile, nothing cut off, its colours there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from imagekit.flash.page import Page
from imagekit.plan.factory_job import Port
from imagekit.plan.factory_page import encode_page, page_state
from imagekit.plan.factory_tiles import State, Tile, begun, moved
from imagekit.plan.flash_events import Phase
from tests.patience import WALL_S

BROWSERS = ("chromium-headless-shell", "chromium")
MEASURE = """<script>
const cut = [...document.querySelectorAll("article p, article span, header *")].filter(item => {
  const text = document.createRange();
  text.selectNodeContents(item);
  const box = text.getBoundingClientRect(), own = item.getBoundingClientRect();
  const around = (item.closest("article") || document.body).getBoundingClientRect();
  const lowest = item.className === "low" ? own.bottom : around.bottom;
  const out = box.right > around.right + 1 || box.bottom > lowest + 1 || box.left < around.left;
  return item.id !== "image" && item.textContent && out;
});
document.documentElement.dataset.cut = cut.map(item => item.className + ":" + item.textContent).join("|");
document.documentElement.dataset.least = Math.min(...[...document.querySelectorAll(".big, .port")].map(
  item => parseFloat(getComputedStyle(item).fontSize)));
</script></body>"""

OVERLAPS = """<script>
const shown = item => {
  const text = document.createRange(), own = item.getBoundingClientRect();
  text.selectNodeContents(item);
  const box = text.getBoundingClientRect();
  const right = Math.min(box.right, own.right), bottom = Math.min(box.bottom, own.bottom);
  return {left: box.left, right: right, top: box.top, bottom: bottom};
};
const found = [];
for (const tile of document.querySelectorAll("article")) {
  const parts = [...tile.querySelectorAll(".port, .tally, .word, .low")].filter(item => item.textContent);
  parts.forEach((one, index) => parts.slice(index + 1).forEach(other => {
    const a = shown(one), b = shown(other);
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 1 && high > 2)
      found.push(tile.className + " " + one.className + "/" + other.className);
  }));
}
for (const count of document.querySelectorAll(".count"))
  if (count.getBoundingClientRect().right > innerWidth + 1) found.push(count.id);
document.documentElement.dataset.cut = found.join("|");
</script></body>"""


def tiles() -> list[Tile]:
    """Eight ports, one in each state."""
    ports = [Tile(port=Port(name=str(number), usb=f"1-1.{number}"), good=10) for number in range(1, 9)]
    ports[0] = moved(moved(begun(ports[0], device="card", amount=1 << 30), Phase.WRITE, 1 << 28, 1 << 30, now_s=0),
                     Phase.WRITE, 1 << 29, 1 << 30, now_s=8)
    ports[1] = replace(ports[0], port=ports[1].port, state=State.VERIFYING)
    ports[2] = replace(ports[2], state=State.DONE, serial="26-0000000041")
    ports[3] = replace(ports[3], state=State.FAILED, bad=1, problem="cannot verify /dev/sdd: from byte 12582912 on, 40"
                       " blocks: zeros are read: nothing arrived there")
    ports[4] = replace(ports[4], state=State.REFUSED, problem="cannot write /dev/sdf: in-use: /dev/sdf1 is mounted at"
                       " /media/stick")
    ports[5] = replace(ports[5], state=State.PERSONALISING)
    ports[6] = replace(ports[6], state=State.RECORDING)
    return ports


@pytest.fixture
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{' or '.join(BROWSERS)} is not installed")
    return found


@pytest.fixture
def page() -> Iterator[Page]:
    def state() -> dict[str, Any]:
        return page_state(tiles(), station="line-1", image="pc-demo.img: acme/pc-demo revision 3", left=158, why="")

    made = Page(state, port=0)
    yield made
    made.close()


def looked(browser: str, url: str, folder: Path, *words: str) -> str:
    done = subprocess.run([browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                           "--force-device-scale-factor=1", f"--user-data-dir={folder}/profile",
                           "--virtual-time-budget=1200", *words, url], capture_output=True, text=True, check=True,
                          timeout=WALL_S, cwd=folder)
    return done.stdout


def pixels(path: Path) -> tuple[int, int, Counter[tuple[int, int, int]]]:
    """Width, height and colours of a PNG of eight bits without interlace (ISO/IEC 15948)."""
    raw, at, packed = path.read_bytes(), 8, b""
    width = height = depth = 0
    while at < len(raw):
        length, kind = int.from_bytes(raw[at:at + 4], "big"), raw[at + 4:at + 8]
        body = raw[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
            depth = {2: 3, 6: 4}[body[9]]
            assert (body[8], body[12]) == (8, 0)
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    flat, before, counts = zlib.decompress(packed), bytearray(width * depth), Counter[tuple[int, int, int]]()
    for row in range(height):
        start = row * (width * depth + 1)
        line = bytearray(flat[start + 1:start + 1 + width * depth])
        for index in range(len(line)):
            left, above = (line[index - depth] if index >= depth else 0), before[index]
            corner = before[index - depth] if index >= depth else 0
            line[index] = (line[index] + _predicted(flat[start], left, above, corner)) & 255
        before = line
        if row % 8 == 0:
            counts.update(zip(line[::depth], line[1::depth], line[2::depth], strict=True))
    return width, height, counts


def _predicted(kind: int, left: int, above: int, corner: int) -> int:
    if kind == 4:
        guess = left + above - corner
        return min((left, above, corner), key=lambda value: abs(guess - value))
    return (0, left, above, (left + above) // 2)[kind]


def test_browser_draws_a_tile_for_each_port_in_its_state(browser: str, page: Page, tmp_path: Path) -> None:
    drawn = looked(browser, page.url, tmp_path, "--window-size=1280,720", "--dump-dom")
    assert re.findall(r'<article class="(\w+)"', drawn) == [tile.state.value for tile in tiles()]
    for word in ("25 %", "75 %", "26-0000000041", "32.0 MiB/s", "158 ", "zeros are read", "line-1"):
        assert word in drawn.partition("<template")[0], word
    assert 'class="dead"' not in drawn


@pytest.mark.parametrize("size", ["1920,1080", "800,1200"])
def test_longest_names_and_reasons_lie_over_nothing(browser: str, tmp_path: Path, size: str) -> None:
    """As long as a job may have them, and a reason with paths; how many have failed is seen all the same."""
    reason = ("cannot write /dev/disk/by-path/pci-0000:00:14.0-usb-0:1.3:1.0-scsi-0:0:0:0: in-use: it is mounted at"
              " /media/user/pictures of the summer, and held by another program")
    long = [replace(tile, port=Port(name=f"upper row, left port {number:02}", usb=f"1-1.{number}"), good=1234, bad=56,
                    problem=tile.problem and reason) for number, tile in enumerate(tiles())]
    state = page_state(long, station="the second station of line 1 in the hall beside the river", left=100_000, why="",
                       image="pc-demo.img: acme/pc-demo revision 3")
    content = encode_page(state).decode().replace("setTimeout(ask, 500);\n</script>", "</script>")
    (tmp_path / "page.html").write_text(content.replace("</body>", OVERLAPS))
    drawn = looked(browser, (tmp_path / "page.html").as_uri(), tmp_path, f"--window-size={size}", "--dump-dom")
    assert 'data-cut=""' in drawn[:400], drawn[:400]


@pytest.mark.parametrize("size", ["1920,1080", "800,1200"])
def test_nothing_on_the_page_is_cut_off_or_small(browser: str, page: Page, tmp_path: Path, size: str) -> None:
    import urllib.request

    with urllib.request.urlopen(page.url) as answer:  # the page itself lets no other script run
        content = answer.read().decode().replace("setTimeout(ask, 500);\n</script>", "</script>")
    (tmp_path / "page.html").write_text(content.replace("</body>", MEASURE))
    drawn = looked(browser, (tmp_path / "page.html").as_uri(), tmp_path, f"--window-size={size}", "--dump-dom")
    root = re.match(r"<!DOCTYPE html>\s*<html([^>]*)>", drawn)
    assert root is not None
    assert 'data-cut=""' in root[1], root[1]
    least = re.search(r'data-least="([\d.]+)"', root[1])
    assert least is not None
    assert float(least[1]) >= 40  # of 1080 lines; read from three metres on a screen of 24 inches


def test_picture_has_the_colours_of_the_states(browser: str, page: Page, tmp_path: Path) -> None:
    looked(browser, page.url, tmp_path, "--window-size=640,360", f"--screenshot={tmp_path}/page.png")
    width, height, counts = pixels(tmp_path / "page.png")
    assert (width, height) == (640, 360)
    tile = 640 * 360 / 8 / 8  # every eighth row is counted
    for color in ((0x00, 0x80, 0x5c), (0xb3, 0x4a, 0x00), (0x7a, 0x5c, 0x00), (0x5b, 0x3f, 0x8f), (0x00, 0x72, 0xb2)):
        assert counts[color] > tile / 8, color
    assert len(counts) > 50  # letters have edges
