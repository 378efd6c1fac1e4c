"""Measure writing an image to media: `invoke bench --flash`, as root, on loop devices of its own.

The image has 2 GiB, of which 160 runs of 2.5 MiB mean something; half of their bytes compress away. All ways write the
same bytes to the same loop device, interleaved. The floor writes as many zeros, directly, and flushes once; it knows no
image, checks nothing and reads nothing. Every row of imagekit's checks the image's digests while it reads.

All that is done twice: at the speed of a card (its class V30 promises 30 MB/s written, its bus SDR104 carries 104 MB/s:
SD Physical Layer Simplified Specification), and as fast as the disk below takes it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

TOP = Path(__file__).parents[2]
sys.path[:0] = [str(Path(__file__).parent), str(TOP)]

from measure import measure  # type: ignore[import-not-found]  # noqa: E402
from pace import can_pace, paced  # type: ignore[import-not-found]  # noqa: E402
from record import machine, output, save  # type: ignore[import-not-found]  # noqa: E402

from imagekit.disk.bmap import digest_ranges, encode_bmap  # noqa: E402
from imagekit.units import GIB, KIB, MIB  # noqa: E402
from tests.loops import looped  # noqa: E402

SIZE, RUNS, RUN = 2 * GIB, 160, 2560 * KIB
MAPPED = RUNS * RUN
TARGETS = 8
CARD_WRITE, CARD_READ = 30_000_000, 104_000_000  # bytes per second
CHANGED = RUNS // 20  # 5 %
LABELS = {
    "floor": "(a) floor: as many zeros, by dd, direct, one flush",
    "floor-read": "(a) floor: as many bytes read, by dd, direct",
    "dd": "(b) dd of the whole image, bs=4M conv=fsync",
    "bmaptool": "(b) bmaptool copy",
    "raw": "(c) imagekit, plain image, not read back",
    "zst": "(d) imagekit, .zst of many frames, not read back",
    "verified": "(e) imagekit, plain image, read back",
    "update": "(f) imagekit --update, 5 % of the runs differ, not read back",
    "eight": "(g) imagekit, plain image to 8 media at once, not read back",
}


def extents(number: int = RUNS) -> list[tuple[int, int]]:
    step = SIZE // RUNS // MIB * MIB
    return [(index * step, index * step + RUN) for index in range(number)]


def write_image(path: Path, *, changed: int = 0) -> None:
    """The image and its block map; with `changed`, so many of its runs hold something else."""
    generator = random.Random(6)
    with path.open("wb") as out:
        out.truncate(SIZE)
        for index, (start, end) in enumerate(extents()):
            noise = generator.randbytes((end - start) // 2).hex().encode()
            out.seek(start)
            out.write(noise if index % (RUNS // CHANGED) or not changed else noise[::-1])
    with path.open("rb") as stream:
        path.with_name(path.name + ".bmap").write_bytes(encode_bmap(SIZE, digest_ranges(stream, extents())))


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=5)
    options = words.parse_args()
    if os.geteuid():
        print("cannot measure flashing: loop devices need root", file=sys.stderr)
        return 6
    if not can_pace():
        print("cannot measure flashing: nothing holds a device to a card's speed here (tests/bench/pace.py says what"
              " does)", file=sys.stderr)
        return 6
    stamp = datetime.now(UTC)
    (TOP / "build").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="imagekit-bench-", dir=TOP / "build") as name:
        media = measured(Path(name), options.rounds)
    save("flash", {"date": f"{stamp:%Y-%m-%d}", "commit": output("git", "rev-parse", "--short=12", "HEAD"),
                   "machine": machine(), "kind": "flash", "title": "Flashing",
                   "command": f"./bootstrap bench --flash --rounds={options.rounds}", "media": media,
                   "mapped": MAPPED, "targets": TARGETS, "card": {"write": CARD_WRITE, "read": CARD_READ}})
    return subprocess.call([sys.executable, TOP / "tests" / "bench" / "table.py"])


def program(*args: str | Path) -> list[str | Path]:
    return [Path(sys.executable).parent / "imagekit", "flash", *args, "--foreign"]


def measured(folder: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Medium -> every way's rounds."""
    env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "IMAGEKIT_CACHE": str(folder / "cache")}
    image, other = folder / "image.img", folder / "changed.img"
    write_image(image)
    write_image(other, changed=CHANGED)
    subprocess.run([*program("compress", image)[:-1]], check=True, env=env)
    with ExitStack() as stack:
        loops = [stack.enter_context(looped(folder / f"card-{index}", size=SIZE)).path for index in range(TARGETS)]
        ways = commands(image, other, loops, env)
        for argv in ways.values():  # makes room on the disk below
            subprocess.run(argv, check=True, env=env, capture_output=True)
        disk = interleaved("disk", ways, rounds, env, folder / "log")
        del ways["dd"]  # 2 GiB at a card's speed, to learn what 2 GiB take
        with paced(loops, write=CARD_WRITE, read=CARD_READ):
            return {"card": interleaved("card", ways, rounds, env, folder / "log"), "disk": disk}


def interleaved(medium: str, ways: dict[str, list[str | Path]], rounds: int, env: dict[str, str],
                log: Path) -> dict[str, Any]:
    """Every way, its rounds between those of the others."""
    rows: dict[str, Any] = {way: {"label": LABELS[way], "rounds": []} for way in ways}
    before = {"update": ways["raw"]}  # the medium holds the image; the other one is then written over it
    for number in range(rounds):
        for way, argv in ways.items():
            if way in before:
                subprocess.run(before[way], check=True, env=env, capture_output=True)
            subprocess.run(["sync"], check=True)
            cost = measure(argv, env=env, log=log)
            rows[way]["rounds"].append(cost.as_json())
            print(f"{medium}, round {number + 1}/{rounds} {way}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} s CPU",
                  flush=True)
    return rows


def commands(image: Path, other: Path, loops: Sequence[Path], env: dict[str, str]) -> dict[str, list[str | Path]]:
    """The command line of every way."""
    one, count = loops[0], MAPPED // (4 * MIB)
    packed = image.with_name(image.name + ".zst")

    def write(source: Path, targets: Sequence[Path], *options: str) -> list[str | Path]:
        plan = subprocess.run(program("plan", source, *targets, "--json"), check=True, env=env, capture_output=True)
        return program("write", source, *targets, "--confirm", json.loads(plan.stdout)["token"], "-q", *options)

    quick = "--no-verify"
    return {
        "floor": ["dd", "if=/dev/zero", f"of={one}", "bs=4M", f"count={count}", "oflag=direct", "conv=fsync,notrunc"],
        "floor-read": ["dd", f"if={one}", "of=/dev/null", "bs=4M", f"count={count}", "iflag=direct"],
        "dd": ["dd", f"if={image}", f"of={one}", "bs=4M", "conv=fsync,notrunc"],
        "bmaptool": ["bmaptool", "copy", "--bmap", image.with_name(image.name + ".bmap"), image, one],
        "raw": write(image, [one], quick),
        "zst": write(packed, [one], quick),
        "verified": write(image, [one]),
        "update": write(other, [one], quick, "--update"),
        "eight": write(image, loops, quick),
    }


if __name__ == "__main__":
    if shutil.which("bmaptool") is None:
        sys.exit("cannot measure flashing: bmaptool is missing: apt-get install bmap-tools")
    sys.exit(main())
