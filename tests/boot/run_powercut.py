"""`invoke powercut`: cut the power at every write of a board's update, first boot or reset, and keep what came of it.

Packages, image and recording go to build/powercut; counts to docs/powercut/BOARD.json, or BOARD-DURING.json for what is
no update, by the digest of the image, and from there into docs/reliability.md. A new image begins a new record;
`--resume` leaves out a shard that has one of the same image by the same command. Exit 0: nothing is unbootable, no data
are lost and no boot contradicts its oracle, 7: something is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imagekit.cli.powercut_record import During
from imagekit.errors import ExitCode, HostError
from tests.boot.boards import ARM64_UBOOT, PC, PI_TRYBOOT, ROOT, Board
from tests.boot.faults import commit
from tests.boot.powercut_page import PAGE, RECORDS, read_records, with_records
from tests.boot.stock import Stock, imagekit, make_stock, sign_revision

FOLDER = ROOT / "build" / "powercut"
BOARDS = (PC, ARM64_UBOOT, PI_TRYBOOT)
KEPT = ("recorded", "machine", "emulator", "accelerator", "update")
COUNTS = ("medium", "seed", "requests", "sectors", "flushes", "epochs", "sampled", "prefixes", "torn", "reorderings",
          "judged", "unbootable", "stopped", "classes", "problems", "booted", "checked", "lost")
AGAIN = ("state", "requests", "prefixes", "torn", "reorderings", "unbootable", "checked", "lost")


def main() -> int:
    """Make the records that are asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--board", action="append", default=[], choices=[str(board) for board in BOARDS])
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--boot", default="0")
    parser.add_argument("--random", default="0")
    parser.add_argument("--broken", default="0")
    parser.add_argument("--during", default=During.UPDATE, type=During, choices=[*During])
    parser.add_argument("--again", default="0")
    asked = parser.parse_args()
    wrong = False
    for board in BOARDS:
        if not asked.board or str(board) in asked.board:
            try:
                stock = stock_of(board)
            except HostError as error:
                sys.exit(f"{board}: {error.message}")
            wrong |= not one(stock, asked.during, asked.shard, resume=asked.resume, more={
                "boot": asked.boot, "random": asked.random, "broken": asked.broken, "again": asked.again})
    PAGE.write_text(with_records(PAGE.read_text(), read_records()))
    return ExitCode.TARGET if wrong else ExitCode.DONE


def stock_of(board: Board) -> Stock:
    """The board's packages and image, made anew; a recording that is there stays."""
    folder = FOLDER / board.name
    for made in ("data", "trust", "packages", "out", "revision-2"):
        shutil.rmtree(folder / made, ignore_errors=True)
    for path in [*folder.glob("*.snap"), *folder.glob("*.model")]:
        path.unlink()
    return make_stock(board, folder)


def name_of(board: Board, during: During) -> str:
    """Of a record."""
    return str(board) if during is During.UPDATE else f"{board}-{during.value}"


def one(stock: Stock, during: During, shard: str, *, more: dict[str, str], resume: bool) -> bool:
    """One shard of one board; whether it is as it should be."""
    name = name_of(stock.board, during)
    options = [word for key, value in more.items() if value != "0" for word in (f"--{key}", value)]
    command = " ".join(["invoke powercut --board", str(stock.board), "--shard", shard,
                        *(["--during", during.value] if during is not During.UPDATE else []), *options])
    there = read(name)
    if resume and there.get("image") == stock.digest and there["shards"].get(shard, {}).get("command") == command:
        print(f"{name} {shard}: has a record of this image", flush=True)
        return is_sound(there["shards"][shard])
    update = ["--update", sign_revision(stock, stock.other_base, 2).parent] if during is During.UPDATE else []
    ended = imagekit("powercut", stock.image, "--during", during.value, *update, "--trust", stock.trust,
                     "-o", stock.folder / f"recording-{during.value}", "--json", "--shard", shard, *options,
                     data=stock.data)
    if ended.returncode not in (ExitCode.DONE, ExitCode.TARGET) or not ended.stdout.startswith("{"):
        sys.exit(f"{name}: {ended.stderr.strip()}")
    told: dict[str, Any] = json.loads(ended.stdout)
    if "error" in told:
        sys.exit(f"{name}: {told['error']['message']}")
    put(name, stock.digest, told, shard, command)
    ok = ended.returncode == ExitCode.DONE
    print(f"{name} {shard}: {'' if ok else 'FAILED: '}{told['prefixes']} prefixes, {told['reorderings']} reorderings,"
          f" {len(told['classes'])} classes, {len(told['booted'])} booted, {told['unbootable']} unbootable,"
          f" {len(told['again'])} recoveries recorded", flush=True)
    return ok


def is_sound(shard: dict[str, Any]) -> bool:
    """Whether nothing in a shard's record, or in the boots that recover, is unbootable or lost, or contradicts."""
    return (not any(item["unbootable"] or item["lost"] for item in (shard, *shard["again"]))
            and all(boot["agrees"] for boot in shard["booted"]))


def read(board: str, folder: Path = RECORDS) -> dict[str, Any]:
    """A board's record; empty where there is none."""
    path = folder / f"{board}.json"
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.is_file() else {}
    return found


def put(board: str, image: str, told: dict[str, Any], shard: str, command: str, folder: Path = RECORDS) -> None:
    """Keep a shard. Those of another image, or of another number of shards, are forgotten."""
    there = read(board, folder)
    others = there["shards"] if there.get("image") == image else {}
    shards = {name: kept for name, kept in others.items() if name.partition("/")[2] == shard.partition("/")[2]}
    shards[shard] = {"commit": commit(), "command": command, "time": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
                     **{key: told[key] for key in COUNTS},
                     "again": [{key: item[key] for key in AGAIN} for item in told["again"]]}
    document = {"version": 1, "board": board, "image": image, **{key: told.get(key) for key in KEPT}, "shards": shards}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{board}.json").write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
