"""Another architecture's programs: how the kernel is told, who stands in for whom, what is said when it cannot be."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.build.foreign import handler, prepare, registered, twins
from imagekit.build.pack_base import python_of
from imagekit.build.parts import Parts, Policy
from imagekit.build.recipes import load_recipe
from imagekit.errors import ExitCode, HostError, PlanError
from imagekit.host.cache import Cache
from imagekit.packages.lockfile import EMPTY, Part, Section
from imagekit.testing.debs import build_deb, offer, regular
from imagekit.testing.fakes import FakeTools, RecordedProgress

ELF = b"\x7fELF"
STATUS = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\nmagic 7f454c46\n"


class Box:
    """A cache with the native parts: QEMU, busybox, coreutils and two that nobody needs here."""

    def __init__(self, folder: Path) -> None:
        self.cache = Cache(folder / "cache")
        self.parts = Parts(self.cache, EMPTY, policy=Policy(), environment={}, progress=RecordedProgress(),
                           host=FakeTools())
        files = {"qemu-user": ["usr/bin/qemu-aarch64", "usr/bin/qemu-arm"], "busybox-static": ["usr/bin/busybox"],
                 "coreutils": ["usr/bin/cp", "usr/bin/uname"],
                 "newer": ["usr/bin/newer", "usr/lib/x86_64-linux-gnu/libnewer.so.1"]}
        self.native = self.section(*(self.put(folder, name, paths) for name, paths in files.items()))
        newer = replace(self.native.part("newer"), source_version="0.9-1")
        self.section_of_base = self.section(self.native.part("coreutils"), newer)

    @staticmethod
    def section(*parts: Part) -> Section:
        return Section(suite="trixie", wants=(), parts=parts)

    def put(self, folder: Path, name: str, paths: list[str]) -> Part:
        content = build_deb([regular(f"./{path}", ELF, mode=0o755) for path in paths], name=name)
        part = offer(folder / "mirror", content, name=name)
        self.cache.put(folder / "mirror" / part.filename, sha256=part.sha256, sha512=None, name=name)
        return part


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


def test_handler_names_machine_and_width_of_the_elf_header() -> None:
    magic = [handler(name, "/q", "P").split(":")[4] for name in ("arm64", "armhf")]
    assert magic[0].startswith(r"\x7fELF\x02\x01\x01\x00") and magic[0].endswith(r"\x02\x00\xb7\x00")
    assert magic[1].startswith(r"\x7fELF\x01\x01\x01\x00") and magic[1].endswith(r"\x02\x00\x28\x00")
    for text in magic:  # 20 bytes, as many as the mask has
        assert len(text.replace("ELF", r"\x45\x4c\x46")) // 4 == 20
    assert handler("arm64", "/q", "P").count("xff") + handler("arm64", "/q", "P").count("xfe") == 19


def test_twin_has_name_source_and_version_of_the_original(box: Box) -> None:
    assert [part.name for part in twins(box.section_of_base, box.native)] == ["coreutils"]


def test_box_has_qemu_and_the_programs_that_may_stand_in(box: Box, tmp_path: Path) -> None:
    way = prepare("arm64", box.section_of_base, box.native, parts=box.parts, scratch=tmp_path,
                  tools=FakeTools(sh=b""), registrations=tmp_path)
    inside = tmp_path / "box"
    assert sorted(path.name for path in inside.iterdir()) == ["busybox", "dispatch", "qemu", "twins"]
    programs = sorted(path.name for path in (inside / "twins/usr/bin").iterdir())
    assert programs == ["cp"]  # uname tells the architecture, newer is another version
    assert (inside / "twins/usr/lib/x86_64-linux-gnu/libnewer.so.1").is_file()
    assert (tmp_path / "handler").read_text().endswith(":/.imagekit/dispatch:P")
    assert way.prefix[0] == "sh"
    assert any(word.startswith("--extract-hook=") for word in way.arguments)


def test_without_twins_qemu_is_kept_open_and_no_hook_runs(box: Box, tmp_path: Path) -> None:
    way = prepare("arm64", box.section_of_base, box.native, parts=box.parts, scratch=tmp_path,
                  tools=FakeTools(sh=b""), emulate=True, registrations=tmp_path)
    assert (tmp_path / "handler").read_text().endswith("/box/qemu:POCF")
    assert way.arguments == ("--skip=check/qemu",)


def test_host_that_has_qemu_registered_for_everybody_needs_no_namespace(box: Box, tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text(STATUS)
    refused = HostError("cannot run sh: it failed with exit status 113")
    way = prepare("arm64", box.section_of_base, box.native, parts=box.parts, scratch=tmp_path,
                  tools=FakeTools(sh=refused), registrations=tmp_path)
    assert (way.prefix, way.arguments) == ((), ("--skip=check/qemu",))


def test_host_that_cannot_run_foreign_programs_is_told_what_to_do(box: Box, tmp_path: Path) -> None:
    refused = HostError("cannot run sh: it failed with exit status 113", details=("mount: permission denied",))
    with pytest.raises(HostError, match="cannot run the scripts of arm64 packages") as caught:
        prepare("arm64", box.section_of_base, box.native, parts=box.parts, scratch=tmp_path,
                tools=FakeTools(sh=refused), registrations=tmp_path)
    assert caught.value.exit_code is ExitCode.HOST
    assert caught.value.details == ("mount: permission denied",)
    assert "Linux 6.7" in str(caught.value.hint) and "qemu-user-static" in str(caught.value.hint)


@pytest.mark.parametrize("status", ["disabled\n" + STATUS.partition("\n")[2], STATUS.replace("OCF", "OC"), ""])
def test_registration_that_is_off_or_not_kept_open_does_not_count(status: str, tmp_path: Path) -> None:
    (tmp_path / "qemu-aarch64").write_text(status)
    assert not registered("arm64", tmp_path)
    assert not registered("armhf", tmp_path)


def test_modules_are_compiled_by_the_same_version_of_python_or_not_at_all(box: Box) -> None:
    ours = replace(box.native.part("coreutils"), name="python3.13-minimal", source_version="3.13.5-2")
    native, recipe = box.section(ours), load_recipe("debian-13-arm64").recipe
    assert python_of(native, box.section(replace(ours, architecture="arm64")), recipe) is native
    with pytest.raises(PlanError, match=r"it has Python 3\.13\.4-1, and 3\.13\.5-2 would compile"):
        python_of(native, box.section(replace(ours, source_version="3.13.4-1")), recipe)
