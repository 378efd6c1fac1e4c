"""The process that fuzzes one target: `child.py TARGET ENGINE OUT [--planted] -- [options of the engine]`.

`atheris` mutates by coverage (libFuzzer); `plain`, for machines that it is not made for, mutates blindly, the same on
every run. An input that breaks something is written into the folder OUT, and the process ends with a status that is not
0; the last line of its standard error says what was done.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import resource
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

FAILED = 77  # as libFuzzer ends
SPLICES = 4


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("engine", choices=("atheris", "plain", "replay"))
    parser.add_argument("out", type=Path)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("inputs", nargs="*", type=Path)
    asked, rest = parser.parse_known_args()
    asked.inputs += [Path(word) for word in rest if not word.startswith("-")]  # those that stood behind options
    rest = [word for word in rest if word.startswith("-")]
    if asked.engine == "atheris":
        return with_atheris(asked, rest)
    return without(asked)


def guarded(asked: argparse.Namespace) -> tuple[Callable[[bytes], None], int]:
    """The target behind its limits, and the length of an input."""
    import targets
    from guard import Guard

    if asked.planted:
        from planted import plant

        plant()
    target = targets.TARGETS[asked.target]
    return Guard(target.load()), target.max_len


def with_atheris(asked: argparse.Namespace, rest: list[str]) -> int:
    import atheris

    with atheris.instrument_imports(include=["imagekit"]):
        call, max_len = guarded(asked)
    options = [f"-runs={asked.runs}", f"-seed={asked.seed}", f"-max_len={max_len}", "-timeout=20", "-rss_limit_mb=0",
               "-print_final_stats=1", f"-artifact_prefix={asked.out}/"]
    atheris.Setup([sys.argv[0], *options, *rest, *map(str, asked.inputs)], call)
    atheris.Fuzz()
    return 0


def without(asked: argparse.Namespace) -> int:
    """Blind mutation of the seeds, or with `replay` the files themselves."""
    call, max_len = guarded(asked)
    files = [path for place in asked.inputs
             for path in (sorted(place.iterdir()) if place.is_dir() else [place])]
    seeds = [path.read_bytes() for path in files]
    began, done = time.monotonic(), 0
    chance = random.Random(asked.seed)
    inputs = iter(seeds) if asked.engine == "replay" else (
        seeds[number] if number < len(seeds) else mutated(chance, seeds or [b""], max_len)
        for number in range(asked.runs))
    for number, raw in enumerate(inputs):
        try:
            call(raw)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            place = asked.out / f"crash-{hashlib.sha1(raw).hexdigest()}"
            place.write_bytes(raw)
            traceback.print_exc()
            print(f"input {number}: {files[number] if number < len(files) else place}", file=sys.stderr)
            return FAILED
        done += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(json.dumps({"executions": done, "seconds": time.monotonic() - began, "peak_rss_mb": peak}), file=sys.stderr)
    return 0


def mutated(chance: random.Random, seeds: list[bytes], max_len: int) -> bytes:
    """A seed with a few bytes changed, cut, doubled, or spliced with another."""
    raw = bytearray(chance.choice(seeds)[:max_len])
    for _ in range(chance.randint(1, SPLICES)):
        at = chance.randint(0, len(raw))
        length = chance.choice((1, 1, 2, 4, 8, 64))
        kind = chance.randrange(6)
        if kind == 0 and raw:
            raw[at % len(raw)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            raw[at:at + length] = chance.randbytes(length)
        elif kind == 2:
            del raw[at:at + length]
        elif kind == 3:
            raw[at:at] = raw[at:at + length]
        elif kind == 4:
            raw[at:at + length] = chance.choice((b"\0", b"\xff", b"\x7f")) * length
        else:
            other = chance.choice(seeds)
            start = chance.randint(0, len(other))
            raw[at:at] = other[start:start + 64]
    return bytes(raw[:max_len])


if __name__ == "__main__":
    sys.exit(main())
