"""Measure building against doing it by hand and against genimage, and boot: `invoke bench`.

All ways of one table make an image of the same content, from packages and an image that `./bootstrap demo` left in
build/demo. They run interleaved, so that a busy minute of the machine hits all of them; the record keeps every round.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from inputs import Inputs, write_inputs  # type: ignore[import-not-found]
from measure import Cost, measure  # type: ignore[import-not-found]
from record import TOP, machine, output, save  # type: ignore[import-not-found]

DEMO = TOP / "build" / "demo"
FLOOR = Path(__file__).parent / "floor.sh"
LABELS = {
    "floor": "(a) floor: by hand, with sfdisk, mtools, dd, veritysetup, mke2fs",
    "genimage": "(b) genimage, handed finished slot files that veritysetup and cat made before it",
    "genimage-folders": "(b) genimage, from folders; mkfs.erofs and veritysetup run by it",
    "packages": "(c) imagekit, from packages",
    "unchanged": "(d) imagekit, nothing changed",
    "one-changed": "(e) imagekit, one package changed",
}


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--boots", type=int, default=5)
    options = words.parse_args()
    if not (DEMO / "out" / "manifest.json").exists():
        print("cannot measure: build/demo is missing; run ./bootstrap demo first", file=sys.stderr)
        return 6
    stamp = datetime.now(UTC)
    with tempfile.TemporaryDirectory(prefix="imagekit-bench-", dir=TOP / "build") as name:
        rows = build_rounds(Path(name), options.rounds)
        boots = boot_rounds(Path(name), options.boots)
    common = {"date": f"{stamp:%Y-%m-%d}", "commit": output("git", "rev-parse", "--short=12", "HEAD"),
              "image_sha256": json.loads((DEMO / "out" / "manifest.json").read_text())["image"]["digest"],
              "machine": machine()}
    save("build", {**common, "kind": "build", "title": "Building `pc-demo`",
                   "command": f"./bootstrap bench --rounds={options.rounds}", "rows": rows})
    save("boot", {**common, "kind": "boot", "title": "Booting `pc-demo` in QEMU (TCG)",
                  "command": f"./bootstrap bench --boots={options.boots}", "rounds": boots})
    return subprocess.call([sys.executable, Path(__file__).parent / "table.py"])


def environment() -> dict[str, str]:
    return {**os.environ, "XDG_DATA_HOME": str(DEMO / "data")}


def build_rounds(folder: Path, rounds: int) -> dict[str, Any]:
    hand = folder / "hand"
    hand.mkdir()
    inputs = write_inputs(DEMO / "out" / "manifest.json", DEMO / "packages", hand)
    changed = changed_packages(folder)
    ways: dict[str, Callable[[Path], Cost]] = {
        "floor": lambda scratch: by_hand(inputs, scratch),
        "genimage": lambda scratch: by_genimage(inputs, scratch),
        "genimage-folders": lambda scratch: by_genimage_from_folders(inputs, scratch),
        "packages": lambda scratch: by_imagekit(DEMO / "packages", scratch / "out", scratch),
        "unchanged": lambda scratch: by_imagekit(DEMO / "packages", folder / "kept", scratch),
        "one-changed": lambda scratch: after_a_change(changed, folder / "kept", scratch),
    }
    by_imagekit(DEMO / "packages", folder / "kept", folder)
    rows: dict[str, Any] = {way: {"label": LABELS[way], "rounds": []} for way in ways}
    for number in range(rounds):
        for way, run in ways.items():
            scratch = folder / f"{way}-{number}"
            scratch.mkdir()
            cost = run(scratch)
            rows[way]["rounds"].append(cost.as_json())
            print(f"round {number + 1}/{rounds} {way}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} s CPU", flush=True)
            shutil.rmtree(scratch)
            if way == "one-changed":
                by_imagekit(DEMO / "packages", folder / "kept", folder)
    return rows


def by_hand(inputs: Inputs, scratch: Path) -> Cost:
    return measure(["sh", FLOOR, inputs.variables, scratch / "disk.img", scratch],
                   env={**os.environ, "MTOOLS_SKIP_CHECK": "1"}, log=scratch / "log")


def by_genimage(inputs: Inputs, scratch: Path) -> Cost:
    config = scratch / "genimage.cfg"
    config.write_text(inputs.genimage_config.read_text().replace("@SCRATCH@", str(scratch)))
    command = (f"sh {inputs.genimage_prepare} {scratch} && genimage --config {config}"
               f" --rootpath {inputs.genimage_input} --inputpath {inputs.genimage_input}"
               f" --tmppath {scratch}/tmp --outputpath {scratch}/out")
    return measure(["sh", "-c", command], env=os.environ, log=scratch / "log")


def by_genimage_from_folders(inputs: Inputs, scratch: Path) -> Cost:
    return measure(["genimage", "--config", inputs.folders_config, "--rootpath", inputs.folders, "--inputpath",
                    inputs.genimage_input, "--tmppath", scratch / "tmp", "--outputpath", scratch / "out"],
                   env=os.environ, log=scratch / "log")


def by_imagekit(packages: Path, out: Path, scratch: Path) -> Cost:
    return measure([Path(sys.executable).parent / "imagekit", "build", DEMO / "pc-demo.model", "--packages", packages,
                    "-o", out], env=environment(), log=scratch / "log")


def changed_packages(folder: Path) -> Path:
    """The demo's packages with the gadget at its next revision: one line of its loader.conf differs."""
    recipe, packages = folder / "gadget", folder / "packages"
    shutil.copytree(TOP / "gadgets" / "pc", recipe)
    shutil.copytree(DEMO / "packages", packages, copy_function=os.link)
    text = (recipe / "recipe.yaml").read_text()
    revision = int(next(line.split(":")[1] for line in text.splitlines() if line.startswith("revision:")))
    (recipe / "recipe.yaml").write_text(text.replace(f"revision: {revision}", f"revision: {revision + 1}"))
    with (recipe / "loader.conf").open("a") as stream:
        stream.write("# another revision\n")
    program = Path(sys.executable).parent / "imagekit"
    subprocess.run([program, "pack", recipe / "recipe.yaml", "-o", packages], check=True, env=environment())
    package = packages / f"pc_{revision + 1}.snap"
    brand = json.loads((DEMO / "out" / "manifest.json").read_text())["model"]["brand"]
    subprocess.run([program, "sign", package, "-k", brand], check=True, env=environment())
    return packages


def after_a_change(packages: Path, out: Path, scratch: Path) -> Cost:
    return by_imagekit(packages, out, scratch)


def boot_rounds(folder: Path, rounds: int) -> list[dict[str, float]]:
    found = []
    for number in range(rounds):
        raw = subprocess.run([Path(sys.executable).parent / "imagekit", "boot", DEMO / "out" / "pc-demo.img", "--json",
                              "--accel", "tcg"], check=True, env=environment(), stdout=subprocess.PIPE).stdout
        verdict = json.loads(raw)
        found.append({"wall_s": float(verdict["seconds"]), **{name: float(value)
                                                            for name, value in verdict["phases"].items()}})
        print(f"boot {number + 1}/{rounds}: {found[-1]['wall_s']:.1f} s", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
