"""The oracle's library and program: snapd's sources as locked Debian parts, compiled with ours into one program each.

Decides where the sources come from (the lock in `parts/`, through imagekit's cache), when the program is built anew
(its sources, the library or the compiler changed) and what is said where no compiler is. What is asked of the program
stands in `program/main.go`; asking is `tests.oracle.ask`'s business.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from imagekit.build.parts import Parts, Policy
from imagekit.build.project import load_lock
from imagekit.build.recipes import load_recipe
from imagekit.errors import HostError
from imagekit.host.cache import Cache
from imagekit.host.folders import default_cache_folder
from imagekit.host.ports import Progress
from imagekit.packages.lockfile import digest_of

HERE = Path(__file__).parent
PROGRAM = HERE / "program"
PARTS = HERE / "parts"
LOCK = PARTS / "parts.lock"
SUITES = ("bookworm", "trixie")
NEEDED = "go-libraries"
LIBRARY = "golang-github-snapcore-snapd-dev"
HINT = "as root: apt-get install golang-go"


def version(suite: str) -> str:
    """The version of snapd in the lock, as in `2.57.6`."""
    part = next(part for part in load_lock(LOCK).sections[f"snapd-{suite}"].parts if part.name == LIBRARY)
    return part.version.partition("-")[0]


def compiler() -> str:
    """The version of Go here. Raises: HostError: there is none."""
    if (found := shutil.which("go")) is None:
        raise HostError("cannot build the oracle: no Go compiler is installed", hint=HINT)
    return subprocess.run([found, "version"], capture_output=True, text=True, check=True).stdout.strip()


def build(suite: str, *, progress: Progress) -> Path:
    """The oracle over the snapd of `suite`; compiled only when something of it changed.

    Raises:
        HostError: no compiler, no network for parts that are not cached, or the compiler refuses.
    """
    cache = Cache(default_cache_folder(os.environ))
    parts = Parts(cache, load_lock(LOCK), policy=Policy(), environment=os.environ, progress=progress)
    recipes = [load_recipe(str(PARTS / f"{name}.yaml")).recipe for name in (f"snapd-{suite}", NEEDED)]
    inputs = hashlib.sha256(compiler().encode())
    for path in sorted(PROGRAM.glob("*.go")):
        inputs.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    for recipe in recipes:
        inputs.update(digest_of(parts.section(recipe)).encode())
    target = cache.entry("oracle", f"{suite}-{inputs.hexdigest()[:32]}")
    with cache.lock("oracle", told=progress):
        if not (target / "oracle").is_file():
            sources = [parts.unpacked(recipe) / "usr/share/gocode" for recipe in recipes]
            progress.step(f"compile the oracle over snapd {version(suite)}")
            with cache.scratch() as scratch:
                _compile(suite, sources, scratch, objects=cache.entry("oracle", "objects"))
                cache.adopt(scratch / "made", "oracle", target.name)
    return target / "oracle"


def _compile(suite: str, sources: Sequence[Path], scratch: Path, *, objects: Path) -> None:
    """GOPATH mode, as Debian builds Go: everything comes from `sources`, nothing from a network.

    `objects` keeps what both programs share, the compiler's own library above all.
    """
    (scratch / "made").mkdir()
    settings = {"GO111MODULE": "off", "GOPATH": ":".join(map(str, sources)), "GOFLAGS": "", "CGO_ENABLED": "0",
                "GOPROXY": "off", "GOTOOLCHAIN": "local", "GOCACHE": str(objects), "HOME": str(scratch),
                "PATH": os.environ.get("PATH", "/usr/bin:/bin")}
    done = subprocess.run(["go", "build", "-tags", suite, "-o", str(scratch / "made/oracle"), "."],
                          cwd=PROGRAM, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HostError(f"cannot build the oracle over snapd {version(suite)}: the compiler refuses",
                        details=tuple(done.stderr.splitlines()[-20:]))
