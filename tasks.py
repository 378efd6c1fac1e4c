"""What one does with this project: `./bootstrap TASK`, or `.venv/bin/invoke TASK` once .venv is there.

Every task prints the command lines that it runs, so that they can be run by hand.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from invoke import Context, Exit, task

ROOT = Path(__file__).parent
BUILD = ROOT / "build"
BIN = Path(sys.executable).parent
SCRIPTS = ("bootstrap", ".ci/run")

DEMO = BUILD / "demo"
DEMO_RECIPES = ("packages/pc-kernel.yaml", "packages/debian-13.yaml", "gadgets/pc/recipe.yaml")
DEMO_SECTIONS = ("tools", "initrd", "pc-kernel", "debian-13", "pc")
DEMO_MODEL = "models/pc-demo.yaml"
DEMO_BRAND, DEMO_STORE = "demo", "demo-store"
DEMO_UPDATE = "docs/examples/test_store_update.py"
DEMO_BREAKS = "usr/lib/systemd/systemd-networkd"  # a base without it starts, and its health check says no
# Two cores; once known, the last run's own time is told.
GUESS_S = {"packages": 30, "base": 45, "rest": 55, "update": 480}
GUESS_BYTES_PER_S = 5_000_000
NEEDS_GIB = {False: 2, True: 3}  # build/demo (1.4 after an update), the demo's share of the cache, and room to pack

DEVICE_SEES = "10.0.2.2"  # where QEMU's own network has this host

PHASES = ("firmware", "loader", "kernel", "initrd", "systemd", "health")  # in the order of a boot

SUITES = {"bookworm": "12", "trixie": "13"}


def show(*argv: str | Path) -> list[str]:
    """Print a command line the way one would type it in the project's folder, and give it back so."""
    words = [os.path.relpath(word, ROOT) if str(word).startswith(f"{ROOT}/") else str(word) for word in argv]
    print(f"\n$ {shlex.join(words)}", flush=True)
    return words


def words_after_dashes() -> list[str]:
    """What stands after `--` on the command line; invoke's own copy of it has lost the quoting."""
    return sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else []


def call(*argv: str | Path, env: Mapping[str, str] | None = None, capture: bool = False, silent: bool = False) -> str:
    """Run a program in the project's folder; end the task with its exit code when it fails.

    `silent`: it cannot ask anything, as it has no terminal to read from.
    """
    done = subprocess.run(show(*argv), cwd=ROOT, env={**os.environ, **(env or {})}, check=False, text=True,
                          stdin=subprocess.DEVNULL if silent else None, stdout=subprocess.PIPE if capture else None)
    if done.returncode:
        print(done.stdout or "", end="")
        raise Exit(f"{Path(argv[0]).name} ended with {done.returncode}", code=done.returncode)
    return done.stdout or ""


# ---- the demo

def missing_parts() -> tuple[int, int, bool]:
    """How many parts of the demo are not in the cache yet, their bytes, and whether a base was ever made here."""
    from imagekit.host.cache import Cache
    from imagekit.host.folders import default_cache_folder
    from imagekit.packages.lockfile import parse_lock

    path = ROOT / "packages/parts.lock"
    lock = parse_lock(path.read_bytes(), name=str(path))
    cache = Cache(default_cache_folder(os.environ))
    parts = {part.sha256: part.size for name in DEMO_SECTIONS if name in lock.sections
             for part in lock.sections[name].parts}
    sizes = [size for sha256, size in parts.items() if not cache.has(sha256)]
    return len(sizes), sum(sizes), any((cache.root / "roots").glob("*"))


def announce(update: bool = False) -> bool:
    """The first line: how long, how much. Whether everything is in the cache."""
    from imagekit.units import iec

    count, size, has_base = missing_parts()
    last = DEMO / "times.json"
    if not count and last.exists():
        seconds = float(json.loads(last.read_text())["cached_s"])
    else:
        seconds = GUESS_S["rest"] + GUESS_S["packages"] + (0 if has_base else GUESS_S["base"])
        seconds += size / GUESS_BYTES_PER_S
    seconds += GUESS_S["update"] if update else 0
    what = f"downloads {iec(size)} ({count} Debian packages)" if count else "downloads nothing (all is in the cache)"
    shown = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    print(f"This takes about {shown} on two cores, {what} and needs {NEEDS_GIB[update]} GiB of disk.", flush=True)
    return count == 0 and has_base


def demo_steps(program: Path) -> Iterator[tuple[str, list[list[str | Path]]]]:
    """The demo as a user would type it: the name of each phase and its command lines."""
    packages, out, model = DEMO / "packages", DEMO / "out", DEMO / "pc-demo.model"
    if not any((DEMO / "data/imagekit/keys").glob("*")):
        yield "key", [[program, "key", "create", DEMO_BRAND]]
    shutil.rmtree(packages, ignore_errors=True)  # a changed recipe or source gives other bytes under the same revision
    yield "packages", [[program, "pack", *DEMO_RECIPES, "-o", packages]]
    lines: list[list[str | Path]] = [[program, "sign", *sorted(packages.glob("*.snap")), "-k", DEMO_BRAND]]
    if not model.exists() or model.stat().st_mtime < (ROOT / DEMO_MODEL).stat().st_mtime:
        lines.append([program, "sign", DEMO_MODEL, "-k", DEMO_BRAND, "-o", model])  # with the time of signing in it
    yield "signatures", lines
    yield "image", [[program, "build", model, "--packages", packages, "-o", out]]


def update_steps(program: Path, port: int) -> Iterator[tuple[str, list[list[str | Path]]]]:
    """A store, an image of the demo's packages whose device asks it, a newer base in the store, and a broken one."""
    folder = DEMO / "with-store"
    packages = folder / "packages"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(DEMO / "data/imagekit/store-keys", ignore_errors=True)
    shutil.copytree(DEMO / "packages", packages, copy_function=os.link)
    store, draft, model = folder / "store", folder / "pc-demo.yaml", folder / "pc-demo.model"
    draft.write_text((ROOT / DEMO_MODEL).read_text() + f"store: {DEMO_STORE}\n")
    both = sorted(path for path in packages.glob("*.snap") if not path.name.startswith("pc_"))
    yield "store", [
        [program, "store", "init", store, "--name", DEMO_STORE],
        [program, "store", "key", "create", f"{DEMO_STORE}-publisher"],
        [program, "store", "publisher", "add", DEMO_BRAND, "--package", "pc-kernel", "--package", "debian-13",
         "--key", f"{DEMO_STORE}-publisher", "-s", store],
        [program, "store", "publish", *both, "--channel", "stable", "-s", store],
        [program, "store", "describe", f"http://{DEVICE_SEES}:{port}/", "-s", store, "-o", folder / "store.yaml"],
        [program, "sign", folder / "store.yaml", "-k", DEMO_BRAND, "-o", packages / "demo-store.store"]]
    yield "its image", [[program, "sign", draft, "-k", DEMO_BRAND, "-o", model],
                        [program, "build", model, "--packages", packages, "-o", folder / "out"]]
    yield "newer base", [*newer_base(program, 2), *publishing(program, 2)]
    yield "broken base", newer_base(program, 3, f"drop:\n  - {DEMO_BREAKS}\n")


def newer_base(program: Path, revision: int, drop: str = "drop:\n") -> list[list[str | Path]]:
    """Pack and sign a revision of the demo's base; `drop` is how its recipe's list of what is left out begins."""
    folder = DEMO / "with-store"
    recipe = folder / f"debian-13-{revision}.yaml"
    recipe.write_text((ROOT / "packages/debian-13.yaml").read_text().replace(
        "revision: 1\n", f"revision: {revision}\n").replace("drop:\n", drop))
    return [[program, "pack", recipe, "-o", folder],
            [program, "sign", folder / f"debian-13_{revision}.snap", "-k", DEMO_BRAND]]


def publishing(program: Path, revision: int) -> list[list[str | Path]]:
    folder = DEMO / "with-store"
    return [[program, "store", "publish", folder / f"debian-13_{revision}.snap", "--channel", "stable", "--class",
             "security", "-s", folder / "store"],
            [program, "store", "delta", "debian-13", "-s", folder / "store"]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def take_update(program: Path, port: int, env: Mapping[str, str]) -> None:
    """Serve the store, and watch a device of that image take what is new there, and go back from what is broken."""
    broken = "\n".join(shlex.join(map(str, line)) for line in publishing(program, 3))
    words = show(program, "store", "serve", "-s", DEMO / "with-store/store", "--port", str(port))
    image = DEMO / "with-store/out/pc-demo.img"
    with (DEMO / "store.log").open("w") as log, subprocess.Popen(
            words, cwd=ROOT, env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as server:
        try:
            call(BIN / "pytest", "-q", "-s", "--no-header", DEMO_UPDATE, "--imagekit-image", image,
                 env={**env, "PUBLISH": broken}, silent=True)
        except Exit as error:
            raise Exit("the device did not take the update, or did not come back from the broken one", code=7
                       ) from error
        finally:
            server.terminate()


def timed(steps: Iterator[tuple[str, list[list[str | Path]]]], env: Mapping[str, str]) -> dict[str, float]:
    """Run the command lines of each phase; how many seconds each took."""
    took: dict[str, float] = {}
    for phase, lines in steps:
        start = time.monotonic()
        for line in lines:
            call(*line, env=env, silent=True)
        took[phase] = time.monotonic() - start
    return took


@task(help={"update": "then publish a newer base, and a broken one, and watch a device take the one and go back from"
                      " the other: some minutes more"})
def demo(c: Context, update: bool = False) -> None:
    """Make, sign, build and boot an image, from nothing to a verdict."""
    had_all = announce(update)
    env = {"XDG_DATA_HOME": str(DEMO / "data")}  # a key of its own: your keyring stays as it is
    program, image = BIN / "imagekit", DEMO / "out" / "pc-demo.img"
    DEMO.mkdir(parents=True, exist_ok=True)
    print(f"The demo has a key of its own: XDG_DATA_HOME={env['XDG_DATA_HOME']} for each command line below.")
    began = time.monotonic()
    took = timed(demo_steps(program), env)
    start = time.monotonic()
    verdict = json.loads(call(program, "boot", image, "--json", env=env, capture=True, silent=True))
    took["boot"] = time.monotonic() - start
    if verdict.get("healthy") is not True:
        raise Exit("no verdict that says healthy", code=7)
    total = time.monotonic() - began
    if had_all:
        (DEMO / "times.json").write_text(json.dumps({"cached_s": round(total, 1)}) + "\n")
    if update:
        print("\nNow the same with a store, in which a newer base comes, and then a broken one:", flush=True)
        port = free_port()
        took |= timed(update_steps(program, port), env)
        start = time.monotonic()
        take_update(program, port, env)
        took["update"] = time.monotonic() - start
        total = time.monotonic() - began
    report(verdict, took, total, image)


def report(verdict: Mapping[str, Any], took: Mapping[str, float], total: float, image: Path) -> None:
    """The end of the demo: verdict, slot, times, path, what to try next."""
    print(f"\nVerdict: healthy, slot {verdict['slot']}, after {total:.0f} s")
    print("  " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items()))
    phases = verdict.get("phases") or {}
    print("  of the boot: " + ", ".join(f"{name} {float(phases[name]):.1f} s" for name in PHASES if name in phases))
    here = os.path.relpath(image, ROOT)
    print(f"  image: {here}\n\nTry next:")
    for line in (f".venv/bin/imagekit boot {here} --trust build/demo/data/imagekit/trust --console",
                 "xdg-open build/demo/out/layout.svg",
                 ".venv/bin/imagekit plan build/demo/pc-demo.model --packages build/demo/packages"
                 " --trust build/demo/data/imagekit/trust" if "update" in took else "./bootstrap demo --update"):
        print(f"  {line}")


# ---- equal bytes everywhere

REPRODUCE = BUILD / "reproduce"
REPRODUCE_EPOCH = "1767225600"  # 2026-01-01, the time of every signature


@task
def reproduce(c: Context) -> None:
    """Pack, sign with a test key and build at a fixed time; the digests are equal on every machine.

    `invoke fresh` compares them between Debian 12 and 13. The key is one of the published test keys.
    """
    from imagekit.testing.documents import Brand

    shutil.rmtree(REPRODUCE, ignore_errors=True)
    trust, packages, model = REPRODUCE / "trust", REPRODUCE / "packages", REPRODUCE / "pc-demo.model"
    trust.mkdir(parents=True)
    for assertion in Brand("acme").roots:
        (trust / f"acme.{assertion.type}").write_bytes(assertion.encode())
    env = {"XDG_DATA_HOME": str(REPRODUCE / "data"), "IMAGEKIT_TRUST": str(trust), "SOURCE_DATE_EPOCH": REPRODUCE_EPOCH}
    program = BIN / "imagekit"
    call(program, "key", "import", ROOT / "tests/keys/TEST-ONLY-brand.pem", "--name", "acme", env=env)
    call(program, "pack", *DEMO_RECIPES, "-o", packages, env=env)
    call(program, "sign", *sorted(packages.glob("*.snap")), "-k", "acme", env=env)
    call(program, "sign", DEMO_MODEL, "-k", "acme", "-o", model, env=env)
    call(program, "build", model, "--packages", packages, "-o", REPRODUCE / "out", "--twice", env=env)
    manifest = json.loads((REPRODUCE / "out/manifest.json").read_text())
    digests = {"image": manifest["image"]["digest"],
               **{package["name"]: package["sha3-384"] for package in manifest["packages"]}}
    (REPRODUCE / "digests.json").write_text(json.dumps(digests, indent=2, sort_keys=True) + "\n")
    print((REPRODUCE / "digests.json").read_text(), end="")


# ---- checks

@task
def test(c: Context) -> None:
    """Run all tests, two files at a time; words after `--` go to pytest instead: ./bootstrap test -- -k gpt"""
    two = ["-n2", "--dist=loadfile", "--no-loadscope-reorder"]  # in order: what boots comes early, and takes longest
    call(BIN / "python", "-m", "pytest", *(words_after_dashes() or [*two, "--durations=20"]))


@task
def lint(c: Context) -> None:
    """Style, types and shell scripts."""
    call(BIN / "ruff", "check", ".")
    call(BIN / "mypy")
    shell = [name for name in SCRIPTS if (ROOT / name).exists()]
    shell += [str(path.relative_to(ROOT)) for path in sorted((ROOT / "imagekit").rglob("*"))
              if path.is_file() and path.suffix != ".py" and path.read_bytes()[:10].startswith(b"#!/bin/sh")]
    if shutil.which("shellcheck"):
        call("shellcheck", *shell)
    elif os.environ.get("CI"):
        raise Exit("shellcheck is missing: apt-get install shellcheck", code=6)


@task
def faults(c: Context) -> None:
    """All faults of the fallback tests on every board, among them seeded bit errors (the plain test draws a few)."""
    call(BIN / "python", "-m", "pytest", "-m", "boot", "-k", "fault or two_broken or last_resort or console_health",
         *words_after_dashes(), env={"IMAGEKIT_FAULTS": "all"})


@task(iterable=["board", "row"], help={
    "board": "a board; all without it", "row": "a row of the page; all without it",
    "shard": "2/4: the second quarter of all that", "resume": "leave out what has a record of the same image"})
def boards(c: Context, board: list[str], row: list[str], shard: str = "1/1", resume: bool = False) -> None:
    """Boot every board, break it in every way, keep what came of it in docs/boards, write docs/boards.md."""
    call(BIN / "python", "-m", "tests.boot.run_boards", "--shard", shard, *(["--resume"] if resume else []),
         *(word for name in board for word in ("--board", name)), *(word for name in row for word in ("--row", name)))


@task(iterable=["board"], help={
    "board": "a board; all without it", "shard": "2/4: every fourth epoch, from the second on",
    "resume": "leave out what has a record of the same image", "boot": "boot one state of so many classes, the rarest",
    "random": "boot so many drawn states", "broken": "boot so many unbootable states of a disk that never flushes",
    "during": "update, first-boot or factory-reset",
    "again": "record and cut the boot that recovers, from one state of so many classes"})
def powercut(c: Context, board: list[str], during: str = "update", shard: str = "1/1", resume: bool = False,
             boot: int = 0, random: int = 0, broken: int = 0, again: int = 0) -> None:
    """Cut the power at every write of each board's update; docs/powercut, and a part of docs/reliability.md."""
    call(BIN / "python", "-m", "tests.boot.run_powercut", "--during", during, "--shard", shard,
         *(["--resume"] if resume else []), "--boot", str(boot), "--random", str(random), "--broken", str(broken),
         "--again", str(again),
         *(word for name in board for word in ("--board", name)))


@task(help={"cases": "changed documents of each kind to compare", "seed": "which ones",
            "suite": "bookworm or trixie; both without it",
            "relock": "write what the mirror has now into the oracle's lock",
            "page": "only write docs/reference/snapd-differences.md anew from the list"})
def oracle(c: Context, cases: int = 2000, seed: int = 1, suite: str = "", relock: bool = False,
           page: bool = False) -> None:
    """Compile the oracle over snapd's own library and compare its judgements with ours."""
    call(BIN / "python", "-m", "tests.oracle.run", f"--cases={cases}", f"--seed={seed}",
         *(["--suite", suite] if suite else []), *(["--relock"] if relock else []), *(["--page"] if page else []))


@task(help={"rounds": "how often each way is measured", "boots": "how often the image is booted",
            "documents": "measure reading documents, nothing else", "flash": "measure flashing, nothing else",
            "deltas": "measure deltas between Debian's point updates, nothing else",
            "store": "measure what a store serves, nothing else; for docs/reliability.md"})
def bench(c: Context, rounds: int = 5, boots: int = 5, documents: bool = False, flash: bool = False,
          deltas: bool = False, store: bool = False) -> None:
    """Measure building against doing it by hand and against genimage, boot, flashing; writes docs/benchmarks.md.

    Deltas are measured only where `--deltas` asks for it: the older packages have to be fetched and packed first.
    """
    if deltas:
        call(BIN / "python", "tests/bench/deltas.py", f"--rounds={rounds}")
        return
    if store:
        call(BIN / "python", "-m", "tests.scale.store_load", f"--rounds={rounds}", "--record")
        return
    if not flash:
        call(BIN / "python", "tests/bench/documents.py", f"--rounds={rounds}")
    if not documents and not flash:
        call(BIN / "python", "tests/bench/run.py", f"--rounds={rounds}", f"--boots={boots}")
    if not documents and (flash or os.geteuid() == 0):  # loop devices need root
        call(BIN / "python", "tests/bench/flash.py", f"--rounds={rounds}")


@task(help={"devices": "how many", "seed": "which fates they have",
            "record": "keep what came of it in docs/reliability, and write docs/reliability.md anew"})
def simulate(c: Context, devices: int = 1_000_000, seed: int = 1, record: bool = False) -> None:
    """A fleet's week with the schedule that devices run: who is updated within 8 hours, what the store has to bear."""
    call(BIN / "python", "-m", "tests.scale.run", f"--devices={devices}", f"--seed={seed}",
         *(["--record"] if record else []))


@task(iterable=["target"], help={"runs": "how often each target is executed", "target": "a target; all without it",
                                 "record": "keep what came of it in docs/fuzzing.json, and write docs/fuzzing.md anew"})
def fuzz(c: Context, target: list[str], runs: int = 1_000_000, record: bool = False) -> None:
    """Fuzz every parser of what others wrote; an input that breaks one is kept in build/fuzz."""
    keep = ["--record", "docs/fuzzing.json"] if record else []
    call(BIN / "python", "tests/fuzz/run.py", f"--runs={runs}", *keep, *target)


# ---- housekeeping

@task(help={"everything": "also .venv; the folders outside the project are named, not removed"})
def clean(c: Context, everything: bool = False) -> None:
    """Remove what was made here."""
    for name in ("build", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    if everything:
        shutil.rmtree(ROOT / ".venv", ignore_errors=True)
        print("Outside the project there may be ~/.cache/imagekit (parts), ~/.local/state/imagekit (logs) and"
              " ~/.local/share/imagekit (your keys: keep them).")


@task(help={"upgrade": "take the newest versions, not only what pyproject.toml now asks for"})
def relock(c: Context, upgrade: bool = False) -> None:
    """Write requirements.lock anew from pyproject.toml, for Python 3.11 and later on amd64 and arm64."""
    uv = BUILD / "uv"
    if not (uv / "bin/uv").exists():
        call(sys.executable, "-m", "venv", uv)
        call(uv / "bin/pip", "install", "-q", "uv")
    call(uv / "bin/uv", "pip", "compile", "-q", "--universal", "--generate-hashes", "--python-version", "3.11",
         "--all-extras", "--no-annotate", "--custom-compile-command", "invoke relock",
         *(["--upgrade"] if upgrade else []), "pyproject.toml", "-o", "requirements.lock")


# ---- a machine with nothing on it

CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")


@contextmanager
def bare_root(suite: str, folder: Path) -> Iterator[list[str]]:
    """A bare Debian root with git, python3 and a clone of HEAD; gives the words that enter it. Removed afterwards."""
    root, tar = folder / "root", folder / f"{suite}.tar"
    enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]
    if os.geteuid():
        enter += ["--user", "--map-auto", "--map-root-user"]
    folder.mkdir(parents=True, exist_ok=True)
    if not tar.exists():
        call("mmdebstrap", "--variant=minbase", "--format=tar", "--include=git,python3", suite, f"{tar}.new")
        Path(f"{tar}.new").rename(tar)
    if root.exists():
        call(*enter, "rm", "-rf", "--one-file-system", root)
    call(*enter, "sh", "-ec", f"mkdir -p {root} && tar -C {root} --exclude='./dev/*' -xf {tar}")
    call("git", "clone", "-q", "--no-hardlinks", ROOT, folder / "clone")
    bundle = next((os.environ[name] for name in CA_VARIABLES if os.environ.get(name)), "")
    try:
        call(*enter, "sh", "-ec", f"""
            cp -rL {folder}/clone {root}/root/imagekit
            cp -L /etc/resolv.conf /etc/hosts {root}/etc/
            [ -z "{bundle}" ] || cp -L {bundle or "/dev/null"} {root}/etc/host-ca.crt""")
        shutil.rmtree(folder / "clone")
        # Not a chroot, in which the kernel refuses user namespaces: the folder becomes the root of all.
        inner = (f"mount --bind {root} {root}; mount --rbind /dev {root}/dev; mount --rbind /sys {root}/sys;"
                 f' mount -t proc proc {root}/proc; cd {root}; mkdir -p old; pivot_root . old;'
                 " exec chroot . sh -ec 'umount -l /old; exec env -i \"$@\"' fresh \"$@\"")
        settings = ["HOME=/root", "TERM=dumb", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "CI=true",
                    "IMAGEKIT_TEST_DATA=/root/imagekit/tests/data"]
        settings += [f"{name}=/etc/host-ca.crt" for name in CA_VARIABLES if bundle]
        yield [*enter, "sh", "-ec", inner, "fresh", *settings]
    finally:
        call(*enter, "rm", "-rf", "--one-file-system", root)


@task(iterable=["suite"], help={"suite": "bookworm or trixie; both without it", "keep": "keep the bare roots' tars",
                                "words": "what to run, instead of demo, demo, test and reproduce"})
def fresh(c: Context, suite: list[str], words: str = "demo demo test reproduce", keep: bool = True) -> None:
    """Run the README's commands inside bare Debian 12 and 13 roots that have only git and python3.

    Both have to give the same digests of packages and image (`reproduce`).
    """
    records, digests = [], {}
    for name in suite or list(SUITES):
        with bare_root(name, BUILD / "fresh" / name) as enter:
            for word in words.split():
                began = time.monotonic()
                call(*enter, "sh", "-c", f"cd /root/imagekit && exec ./bootstrap {word}")
                records.append({"debian": SUITES[name], "command": f"./bootstrap {word}",
                                "seconds": round(time.monotonic() - began, 1)})
            if "reproduce" in words.split():
                digests[name] = json.loads(call(*enter, "cat", "/root/imagekit/build/reproduce/digests.json",
                                                capture=True))
        if not keep:
            (BUILD / "fresh" / name / f"{name}.tar").unlink()
    commit = call("git", "rev-parse", "HEAD", capture=True).strip()
    result = {"commit": commit, "runs": records, "digests": digests}
    (BUILD / "fresh/result.json").write_text(json.dumps(result, indent=2) + "\n")
    if any(one != other for one in digests.values() for other in digests.values()):
        raise Exit(f"the suites give different bytes: {json.dumps(digests, indent=2)}", code=7)
    print(f"\nFresh machines, commit {commit[:12]}:")
    for record in records:
        print(f"  Debian {record['debian']}: {record['command']}: {record['seconds']} s")
