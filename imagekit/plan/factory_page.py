"""The page that a browser shows of a station: every port a tile, large enough for three metres.

One document without anything from elsewhere. It asks for `state.json` twice a second and draws that; when nobody
answers it says so, as an old state that looks like a new one is worse than none. Whatever comes from outside (a serial
number, a medium's name) is put in as text, never as markup. Colours are apart for colour-blind eyes (Okabe and Ito's
palette), and each state has a sign and a word besides.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from imagekit.plan.factory_tiles import Tile, counted, tile_json

STYLE = """
  * { box-sizing: border-box; margin: 0 }
  html, body { height: 100% }
  body { background: #0b0f14; color: #f2f5f8; font-family: system-ui, "DejaVu Sans", sans-serif;
         display: flex; flex-direction: column; gap: 1.2vmin; padding: 1.6vmin; overflow: hidden }
  header { display: flex; align-items: baseline; gap: 3vmin; white-space: nowrap }
  h1 { flex: 0 1 auto; min-width: 0; font-size: 4vmin; font-weight: 700; overflow: hidden; text-overflow: ellipsis }
  #image { flex: 1 1 0; font-size: 2.4vmin; color: #a7b3c0; overflow: hidden; text-overflow: ellipsis }
  .count { flex: none; font-size: 4vmin; font-weight: 700; font-variant-numeric: tabular-nums }
  .count small { font-size: 2.4vmin; font-weight: 400; color: #a7b3c0 }
  #good { color: #2fc99a } #bad { color: #ff8a4c }
  #notice { font-size: 3vmin; font-weight: 700; padding: 1.2vmin 2vmin; border-radius: 1.2vmin;
            background: #d55e00; color: #fff }
  #notice[hidden] { display: none }
  main { flex: 1; min-height: 0; display: grid; gap: 1.6vmin; grid-template-columns: repeat(var(--columns), 1fr);
         grid-auto-rows: 1fr }
  article { container-type: size; position: relative; overflow: hidden; min-width: 0; min-height: 0;
            border-radius: 1.6vmin; background: #1a222c }
  article > div { position: absolute; inset: 0; padding: 5cqmin 6cqmin; display: flex; flex-direction: column }
  .fill { right: auto !important; background: #0072b2; padding: 0 !important; transition: width .4s linear }
  .top { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; column-gap: 4cqmin }
  .port { max-width: 100%; font-size: min(15cqmin, 120cqw / var(--letters)); font-weight: 700; white-space: nowrap;
          overflow: hidden; text-overflow: ellipsis }
  .tally { font-size: 8cqmin; opacity: .85; white-space: nowrap; font-variant-numeric: tabular-nums }
  .middle { flex: 1 0 auto; display: flex; flex-direction: column; justify-content: center; gap: 1cqmin;
            font-weight: 800; line-height: 1 }
  .big { font-size: min(34cqmin, 26cqw, 34cqh); font-variant-numeric: tabular-nums; white-space: nowrap }
  .word { font-size: min(13cqmin, 10cqw) }
  .low { font-size: min(8cqmin, 5.5cqw); line-height: 1.25; flex: 0 1 auto; min-height: 2.5em; overflow: hidden;
         white-space: pre-line; overflow-wrap: anywhere; font-variant-numeric: tabular-nums }
  .empty { background: transparent; box-shadow: inset 0 0 0 .4vmin #3a4654; color: #8a97a5 }
  .writing, .verifying, .personalising, .recording { background: #123349 }
  .verifying .fill, .personalising .fill, .recording .fill { background: #5b3f8f }
  .failed .big, .refused .big { font-size: min(20cqmin, 20cqh) }
  .failed .low, .refused .low { font-size: min(6.5cqmin, 4.5cqw) }
  .done .low { font-size: min(9cqmin, 6cqw); font-weight: 700 }
  .done { background: #00805c } .failed { background: #b34a00 } .refused { background: #7a5c00 }
  .dead main { opacity: .35 }
"""

SCRIPT = """
"use strict";
const signs = {empty: "+", refused: "!", done: "\\u2713", failed: "\\u2717"};
const byId = id => document.getElementById(id);
function part(parent, name, text) {
  let found = parent.querySelector("." + name);
  if (found.textContent !== text) found.textContent = text;
}
function rate(bytes) {
  return bytes >= 1048576 ? (bytes / 1048576).toFixed(1) + " MiB/s" : Math.round(bytes / 1024) + " KiB/s";
}
function clock(s) {
  s = Math.round(s);
  const two = number => String(number).padStart(2, "0"), m = Math.floor(s / 60) % 60, h = Math.floor(s / 3600);
  return h ? h + ":" + two(m) + ":" + two(s % 60) : m + ":" + two(s % 60);
}
function low(t) {
  if (t.problem) return t.problem;
  const busy = t.speed ? rate(t.speed) + (t.left_s === null ? "" : ", " + clock(t.left_s) + " left") : "";
  const serial = t.serial && (t.state === "done" ? t.serial : "last: " + t.serial);
  return [busy, serial, t.note].filter(Boolean).join("\\n");
}
function draw(state) {
  const count = state.tiles.length, wide = innerWidth / innerHeight, main = document.querySelector("main");
  let columns = 1;
  for (let best = 0, tried = 1; tried <= count; tried++) {
    const edge = Math.min(wide / tried * 0.8, 1 / Math.ceil(count / tried));
    if (edge > best + 1e-9) { best = edge; columns = tried; }
  }
  main.style.setProperty("--columns", columns);
  while (main.children.length < count) main.append(byId("tile").content.cloneNode(true));
  state.tiles.forEach((t, index) => {
    const tile = main.children[index], percent = Math.floor(t.share * 100) + " %";
    tile.className = t.state;
    tile.querySelector(".fill").style.width = t.state in signs ? "0" : t.share * 100 + "%";
    part(tile, "port", t.port);
    tile.style.setProperty("--letters", t.port.length);
    part(tile, "tally", "\\u2713 " + t.good + "  \\u2717 " + t.bad);
    part(tile, "big", signs[t.state] || percent);
    part(tile, "word", t.word);
    part(tile, "low", low(t));
  });
  byId("station").textContent = state.station;
  byId("image").textContent = state.image;
  byId("good").firstChild.data = state.good + " ";
  byId("bad").firstChild.data = state.bad + " ";
  byId("left").hidden = state.left === null;
  if (state.left !== null) byId("left").firstChild.data = state.left + " ";
  byId("notice").hidden = !state.why;
  byId("notice").textContent = "the station ends: " + state.why;
  document.body.className = "";
}
async function ask() {
  try {
    const answer = await fetch("state.json", {cache: "no-store", signal: AbortSignal.timeout(3000)});
    draw(await answer.json());
  } catch (_) {
    document.body.className = "dead";
    byId("notice").hidden = false;
    byId("notice").textContent = "the station does not answer: it was stopped";
  }
  setTimeout(ask, 500);
}
draw(JSON.parse(byId("state").textContent));
setTimeout(ask, 500);
"""

BODY = """<header><h1 id="station"></h1><span id="image"></span>
<span class="count" id="good">0 <small>good</small></span><span class="count" id="bad">0 <small>failed</small></span>
<span class="count" id="left">0 <small>identities left</small></span></header>
<div id="notice" hidden></div>
<main></main>
<template id="tile"><article><div class="fill"></div><div>
<p class="top"><span class="port"></span><span class="tally"></span></p>
<p class="middle"><span class="big"></span><span class="word"></span></p>
<p class="low"></p></div></article></template>"""


def _source(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


# What a browser may do with the page: run this script, and ask the station.
POLICY = (f"default-src 'none'; style-src 'unsafe-inline'; script-src {_source(SCRIPT)}; connect-src 'self';"
          " frame-ancestors 'none'; base-uri 'none'; form-action 'none'")


def page_state(tiles: Iterable[Tile], *, station: str, image: str, left: int | None, why: str) -> dict[str, Any]:
    """What `state.json` holds (docs/reference/factory.md)."""
    all_tiles = tuple(tiles)
    good, bad = counted(all_tiles)
    return {"version": 1, "station": station, "image": image, "good": good, "bad": bad, "left": left,
            "why": why or None, "tiles": [tile_json(tile) for tile in all_tiles]}


def encode_page(state: Mapping[str, Any]) -> bytes:
    """The page, drawn as the state is now."""
    inside = json.dumps(state, sort_keys=True).replace("<", "\\u003c")  # it cannot end its element
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>imagekit station</title><style>{STYLE}</style>
<body>{BODY}
<script type="application/json" id="state">{inside}</script>
<script>{SCRIPT}</script></body></html>
""".encode()
