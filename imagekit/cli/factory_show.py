"""What a station says: a live table on a terminal, a line for each thing that happened, JSON lines for programs."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.output import LOG, drawn, table, talk_of, write
from imagekit.plan.factory_tiles import BUSY, WORDS, State, Tile, clock_text, counted
from imagekit.plan.flash import encode_line
from imagekit.units import iec

if TYPE_CHECKING:
    from collections.abc import Callable

    from imagekit.cli.flash_show import JsonLines
    from imagekit.flash.station import Station

COLORS = {State.EMPTY: "dim", State.DONE: "bold green", State.FAILED: "bold red", State.REFUSED: "bold yellow"}
LENGTH = 24  # of a bar


def show_ports(rows: Sequence[Mapping[str, Any]]) -> None:
    """The ports of a plan."""
    table(("port", "place", "medium", "size", "refused"), [
        (row["port"], row["place"], _medium(row["device"]), iec(row["device"]["size"]) if row["device"] else "-",
         ", ".join(item["code"] or "no" for item in row["refusals"]) or "-") for row in rows], right=("size",))
    lines = [f"{row['port']}: {item['reason']}" + (f"; {item['allow']}" if item["allow"] else "")
             for row in rows for item in row["refusals"]]
    if lines:
        write("\n" + "\n".join(lines))


def _medium(device: Mapping[str, Any] | None) -> str:
    if device is None:
        return "-"
    return " ".join(word for word in (device["model"], device["serial"]) if word) or str(device["path"])


class Teller:
    """Is told by the station, and tells: `lines` get every event, people what matters to them."""

    def __init__(self, lines: JsonLines | None) -> None:
        self._lines = lines
        self.say: Callable[[str], None] = lambda text: click.echo(text, err=True)
        self._quiet = talk_of().verbosity < 0

    def told(self, port: str, event: str, more: Mapping[str, Any]) -> None:
        """One thing that happened; from any thread."""
        said = {"event": event, **({"port": port} if port else {}), **more}
        LOG.debug("factory: %s", encode_line(said))
        if self._lines is not None:
            self._lines.event(said)
        elif (text := in_words(port, event, more)) and (not self._quiet or event in ("refused", "ending")):
            LOG.info("%s", text)
            with contextlib.suppress(OSError):  # a unit is made and recorded, whoever still listens
                self.say(text)


def in_words(port: str, event: str, more: Mapping[str, Any]) -> str:
    """What a person is told; nothing of what is no news."""
    if event == "begun":
        return f"{port}: {_medium(more['device'])} is written"
    if event == "refused":
        return f"{port}: {more['problem']}" + (f"; {more['hint']}" if more["hint"] else "")
    if event == "recorded":
        serial = f" {more['serial']}" if more["serial"] else ""
        how = "done" if not more["problem"] else f"failed: {more['problem']}"
        return f"{port}: unit{serial} {how}, record {more['number']}"
    if event == "identity-delayed":
        return f"{port}: {more['problem']}; asked again in {more['seconds']:g} s"
    if event == "label" and more["problem"]:
        return f"{port}: {more['problem']}"
    if event == "label-again":
        unit = f"unit {more['serial']}, record {more['number']}" if more["serial"] else f"record {more['number']}"
        return f"{unit}: " + (more["problem"] or "its label was not seen to be printed, and is made again: if there are"
                              " two, throw one away")
    if event == "stalled":
        return f"{port}: nothing has moved for {more['seconds']:.0f} s: the medium, its reader or the cable hangs"
    if event == "ending":
        how = "ended at once" if more["at_once"] else "finished; Ctrl-C once more ends them at once"
        return "no further unit is taken" + (f"; {more['running']} in work are {how}" if more["running"] else "")
    return ""


class LiveTable:
    """On a terminal: every port's line, drawn anew four times a second. Elsewhere nothing."""

    def __init__(self, station: Station, teller: Teller, *, as_json: bool) -> None:
        self._station, self._teller = station, teller
        self._live: Any = None
        if drawn(sys.stderr) and not as_json and talk_of().verbosity >= 0:
            from rich.live import Live

            from imagekit.cli.output import console

            self._live = Live(console=console(stderr=True), get_renderable=self._draw, refresh_per_second=4,
                              transient=True)

    def __enter__(self) -> LiveTable:
        if self._live is not None:
            self._live.start()
            self._teller.say = lambda text: self._live.console.print(text, markup=False, soft_wrap=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def _draw(self) -> Any:
        from rich.table import Table
        from rich.text import Text

        tiles = self._station.tiles
        good, bad = counted(tiles)
        drawing = Table(box=None, pad_edge=False, header_style="bold", caption_justify="left",
                        caption=f"{good} good, {bad} failed; Ctrl-C ends when the units in work are finished")
        for name in ("port", "state", "", "", "speed", "left", "good", "failed", "last", "about"):
            drawing.add_column(name, justify="right" if name in ("speed", "left", "good", "failed") else "left",
                               no_wrap=name != "about", overflow="fold" if name == "about" else "ellipsis")
        for tile in tiles:
            drawing.add_row(*(Text(cell, style=COLORS.get(tile.state, "") if index in (0, 1) else "")
                              for index, cell in enumerate(cells(tile))))
        return drawing


def cells(tile: Tile) -> tuple[str, ...]:
    """A tile as cells of a line."""
    busy = tile.state in BUSY
    full = round(tile.share * LENGTH)
    return (tile.port.name, WORDS[tile.state], "━" * full + "╌" * (LENGTH - full) if busy else "",
            f"{tile.share:.0%}" if busy else "", f"{iec(round(tile.speed))}/s" if tile.speed else "",
            clock_text(tile.left_s) if tile.left_s is not None else "", str(tile.good), str(tile.bad), tile.serial,
            tile.problem or tile.note or tile.device)
