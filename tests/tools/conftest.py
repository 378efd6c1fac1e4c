"""What tests with other people's programs share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from imagekit.assertions import Assertion, snap_id
from imagekit.build.run import Request, build, plan
from imagekit.host.cache import Cache
from imagekit.host.tools import LocalTools
from imagekit.plan.image import ImagePlan
from imagekit.plan.manifest import Manifest
from imagekit.testing.documents import NOW, Brand
from imagekit.testing.images import Silent, Workshop

RunTool = Callable[..., str]
Shell = Callable[..., str]

INIT = Path(__file__).parents[2] / "imagekit/build/initrd/init"

ADMIN_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A finished image, and what it was made from."""

    workshop: Workshop
    request: Request
    folder: Path
    plan: ImagePlan
    manifest: Manifest

    @property
    def image(self) -> Path:
        return self.folder / self.manifest.image.file

    def extract(self, structure: str, target: Path, image: Path | None = None) -> Path:
        """One structure as a file, sparse."""
        placement = self.plan.layout.named(structure)
        with (image or self.image).open("rb") as source, target.open("wb") as out:
            source.seek(placement.start)
            for offset in range(0, placement.size, 1 << 20):
                chunk = source.read(1 << 20)
                if any(chunk):
                    out.seek(offset)
                    out.write(chunk)
            out.truncate(placement.size)
        return target


@pytest.fixture
def run_tool(program: Callable[[str], str]) -> RunTool:
    """Runs a program and returns what it said; a missing program skips at home and fails in CI."""

    def run(name: str, *args: str | Path, status: int = 0) -> str:
        ended = subprocess.run([program(name), *map(str, args)], capture_output=True, text=True, check=False,
                               env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"})
        said = ended.stdout + ended.stderr
        assert ended.returncode == status, f"{name} ended with {ended.returncode}:\n{said}"
        return said

    return run


def require(*names: str) -> None:
    """Skip at home, fail in CI, if one of these programs is missing."""
    for name in names:
        if shutil.which(name, path=ADMIN_PATH) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Packages and a model of them, signed, for a test to spoil."""
    require("mkfs.erofs", "mke2fs")
    made = Workshop(folder=tmp_path / "workshop")
    made.folder.mkdir()
    made.usual()
    return made


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An image, built once for all tests that only read it."""
    require("mkfs.erofs", "mke2fs")
    folder = tmp_path_factory.mktemp("image")
    workshop = Workshop(folder=folder)
    model = workshop.usual()
    request = Request(model=model, packages=(workshop.packages,), trust=(workshop.trust,), epoch=None, now=NOW)
    out = folder / "out"
    manifest = build(request, out, tools=LocalTools, cache=Cache(folder / "cache"), progress=Silent())
    return Built(workshop=workshop, request=request, folder=out, plan=plan(request), manifest=manifest)


def kernel_set(brand: Brand, *, revision: str) -> Assertion:
    """A validation set of the brand acme that pins its kernel."""
    return brand.sign({"type": "validation-set", "authority-id": "acme", "series": "16", "account-id": "acme",
                       "name": "tested", "sequence": "1", "timestamp": "2026-01-01T00:00:00Z",
                       "snaps": ({"name": "pc-kernel", "id": snap_id("acme", "pc-kernel"), "revision": revision},)})


@pytest.fixture(scope="module")
def busybox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of busybox's own applets, and nothing else: what the initrd has."""
    program = shutil.which("busybox")
    if program is None:
        if os.environ.get("CI"):
            pytest.fail("busybox is not installed")
        pytest.skip("busybox is not installed")
    folder = tmp_path_factory.mktemp("applets")
    subprocess.run([program, "--install", "-s", str(folder)], check=True)
    return folder


@pytest.fixture(scope="module")
def shell(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """Runs a script after the initrd's functions; a failure of theirs is said instead of rebooting."""
    run = tmp_path_factory.mktemp("run")
    console = run / "dev"
    console.mkdir()

    def call(script: str, *words: str | Path, stdin: str = "", sys: Path = run, dev: Path = console) -> str:
        text = f'. {INIT}\nRUN={run} SYS={sys} DEV={dev}\ngive_up() {{ echo "refused: $*"; exit 9; }}\n{script}\n'
        done = subprocess.run([busybox / "sh", "-c", text, "init", *map(str, words)], input=stdin, text=True,
                              capture_output=True, check=False, env={"PATH": str(busybox)}, timeout=300)
        assert done.returncode in (0, 9), done.stderr
        assert not done.stderr, done.stderr
        return done.stdout

    return call
