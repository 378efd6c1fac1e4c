"""Packages for other architectures made on this machine: the quick way gives what the slow way gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from imagekit.build.foreign import native_architecture, prepare
from imagekit.build.pack import pack
from imagekit.build.pack_base import bootstrap
from imagekit.build.parts import Parts, Policy
from imagekit.build.project import load_lock
from imagekit.build.recipes import load_recipe
from imagekit.build.tree import FILE, Entry, Tree, content_of, read_tar
from imagekit.errors import HostError
from imagekit.host.cache import Cache, default_cache_folder
from imagekit.host.tools import LocalTools
from imagekit.packages.erofs import Erofs
from imagekit.testing.fakes import RecordedProgress

pytestmark = pytest.mark.tools

BASES = ("debian-13-arm64", "debian-13-armhf")  # by QEMU alone each takes minutes: both where IMAGEKIT_BOARDS is all


@pytest.fixture
def parts() -> Parts:
    """The shared cache's parts; no network skips at home and fails in CI."""
    made = Parts(Cache(default_cache_folder(os.environ)), load_lock(), policy=Policy(), environment=os.environ,
                 progress=RecordedProgress())
    try:
        for name in ("tools", "foreign", "debian-13-arm64", "initrd-arm64", "arm64-kernel"):
            made.section(load_recipe(name).recipe)
    except HostError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(error.message)
    return made


def tree_of(tar: Path) -> Tree:
    with tar.open("rb") as stream:
        return read_tar(stream, path=tar)


def comparable(entry: Entry | None) -> Entry | None:
    return replace(entry, content=content_of(entry)) if entry is not None and entry.kind == FILE else entry


@pytest.mark.parametrize("base", BASES if os.environ.get("IMAGEKIT_BOARDS") == "all" else BASES[:1])
def test_base_made_with_twins_equals_one_made_by_qemu_alone(base: str, parts: Parts, tmp_path: Path) -> None:
    recipe = load_recipe(base).recipe
    assert native_architecture() != recipe.architecture
    section, native = parts.section(recipe), parts.section(load_recipe("foreign").recipe)
    tools = parts.tools(load_recipe("tools").recipe)
    for name in ("quick", "slow"):
        bootstrap(recipe, section, tmp_path / name, native=native, parts=parts, tools=tools, emulate=name == "slow")
    quick, slow = tree_of(tmp_path / "quick"), tree_of(tmp_path / "slow")
    quick.remove("etc/apt/sources.list")  # it has the path of the repository, another one each time
    slow.remove("etc/apt/sources.list")
    assert len(quick.paths()) > 4000
    assert quick.paths() == slow.paths()
    assert [path for path in slow.paths() if comparable(quick.get(path)) != comparable(slow.get(path))] == []


def binfmt_of(*prefix: str) -> dict[str, dict[str, str]]:
    """What the doctor says of other architectures, by name of the check."""
    done = subprocess.run([*prefix, sys.executable, "-m", "imagekit.cli", "doctor", "--json"], stdout=subprocess.PIPE,
                          check=False)
    return {check["name"]: check for check in json.loads(done.stdout)["checks"] if check["name"].startswith("binfmt ")}


def test_doctor_tells_whether_this_machine_can_make_foreign_bases(parts: Parts, tmp_path: Path) -> None:
    recipe = load_recipe("debian-13-arm64").recipe
    section, native = parts.section(recipe), parts.section(load_recipe("foreign").recipe)
    made = prepare(recipe.architecture, section, native, parts=parts, scratch=tmp_path, tools=LocalTools())
    found = binfmt_of()["binfmt arm64"]
    assert (found["state"], "namespace" in found["found"]) == ("ok", bool(made.prefix))


def test_doctor_tells_what_denies_the_namespace() -> None:
    """In a namespace that may have no others below it, nor sees what the host has registered."""
    inside = ('echo 0 > /proc/sys/user/max_user_namespaces && mount -t tmpfs hidden /proc/sys/fs/binfmt_misc &&'
              ' exec "$@"')
    for name, check in binfmt_of("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, "sh").items():
        assert check["state"] == "denied", check
        assert "unshare" in check["found"]
        assert f"for bases of {name.removeprefix('binfmt ')} (unshare" in check["remedy"]


def test_sections_of_the_arm64_kernel_image_lie_apart(parts: Parts, tmp_path: Path) -> None:
    import pefile

    made = pack(load_recipe("arm64-kernel"), parts=parts, cache=Cache(default_cache_folder(os.environ)), out=tmp_path,
                progress=RecordedProgress())
    with made.path.open("rb") as stream:
        image = pefile.PE(data=Erofs(stream).read("kernel.efi", limit=1 << 27))
    assert image.FILE_HEADER.Machine == pefile.MACHINE_TYPE["IMAGE_FILE_MACHINE_ARM64"]
    extents = sorted((item.VirtualAddress, item.VirtualAddress + item.Misc_VirtualSize) for item in image.sections)
    assert all(end <= start for (_, end), (start, _) in pairwise(extents))
    assert extents[-1][1] <= image.OPTIONAL_HEADER.SizeOfImage
    names = [item.Name.rstrip(b"\0") for item in image.sections]
    assert names[-2:] == [b".linux", b".initrd"]
    linux = image.sections[-2]
    assert linux.Misc_VirtualSize > 16 << 20  # more than fits between the addresses that were usual once
    assert linux.get_data()[:2] == b"MZ"
