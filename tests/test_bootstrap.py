"""The way in, on machines that lack something: what it says, and that it changes nothing then."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from imagekit.cli.doctor import FOR_TESTS, NEEDED
from imagekit.host.tools import DEBIAN_PACKAGES

ROOT = Path(__file__).parent.parent


def sections() -> dict[str, list[str]]:
    """The names of packages/host.txt by section."""
    found: dict[str, list[str]] = {}
    for raw in (ROOT / "packages/host.txt").read_text().splitlines():
        line = raw.partition("#")[0].strip()
        if line.startswith("["):
            names = found[line.strip("[]")] = []
        elif line:
            names.append(line.split()[0])
    return found


SECTIONS = sections()
PACKAGES = [name for names in SECTIONS.values() for name in names]


def program(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A copy of what bootstrap reads, and a folder `bin` of programs that answer as a machine would."""
    (tmp_path / "packages").mkdir()
    for name in ("bootstrap", "requirements.lock", "pyproject.toml", "packages/host.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    tools = tmp_path / "bin"
    tools.mkdir()
    listed = "\\n".join(f"installed {name.partition('|')[0]}" for name in PACKAGES)
    program(tools, "dpkg-query", f"printf '{listed}\\nconfig-files gone\\n'")
    program(tools, "id", "echo 1000")
    program(tools, "apt-get", "echo apt-get was called >&2; exit 99")
    program(tools, "apt-cache", '[ "$2" = second ]')
    program(tools, "python3", "echo nothing shall be made >&2; exit 1")
    return tmp_path


def installed() -> tuple[dict[str, set[str]], set[str]]:
    """What each installed package depends on, alternatives and virtual packages included; and those that always are."""
    shown = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package}\t${Essential}\t${Priority}\t${Pre-Depends}, ${Depends}\t${Provides}\n"],
        capture_output=True, text=True, check=True).stdout
    needs: dict[str, set[str]] = {}
    always = set()
    for line in shown.splitlines():
        name, essential, priority, depends, provides = line.split("\t")
        needs.setdefault(name, set()).update(re.findall(r"(?:^|[,|]) *([a-z0-9][a-z0-9+.-]*)", depends))
        for virtual in re.findall(r"(?:^|,) *([a-z0-9][a-z0-9+.-]*)", provides):
            needs.setdefault(virtual, set()).add(name)
        if essential == "yes" or priority == "required":
            always.add(name)
    return needs, always


def owners(path: str) -> set[str]:
    """The packages that a program came with."""
    places = {path, os.path.realpath(path)}
    places |= {place.removeprefix("/usr") for place in places}
    done = subprocess.run(["dpkg-query", "-S", *places], capture_output=True, text=True, check=False)
    return {line.partition(":")[0] for line in done.stdout.splitlines()}


@pytest.mark.skipif(shutil.which("dpkg-query") is None, reason="dpkg says which package a program came with")
def test_every_program_that_a_test_asks_for_comes_with_a_package_of_the_list() -> None:
    needs, listed = installed()
    waiting = [*listed, "git", "python3", *(one for name in PACKAGES for one in name.split("|"))]
    while waiting:
        listed.add(name := waiting.pop())
        waiting += needs.get(name, set()) - listed
    asked = {name for path in (ROOT / "tests").rglob("test_*.py")
             for name in re.findall(r'\b(?:program|run_tool|require)\("([\w.-]+)"', path.read_text())}
    search = os.pathsep.join((os.environ["PATH"], "/usr/sbin", "/sbin"))
    found = {name: owners(path) for name in sorted(asked) if (path := shutil.which(name, path=search))}
    assert {name for name, packages in found.items() if packages} > {"sgdisk", "mcopy", "veritysetup"}
    assert {name: packages for name, packages in found.items() if packages and not packages & listed} == {}


def run(machine: Path, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([machine / "bootstrap", *words], capture_output=True, text=True, check=False, timeout=60,
                          env={**os.environ, "PATH": f"{machine}/bin:{os.environ['PATH']}", **env})


def want(machine: Path, *lines: str, section: str = "demo") -> None:
    with (machine / "packages/host.txt").open("a") as stream:
        stream.write(f"[{section}]\n" + "\n".join(lines) + "\n")


def test_without_words_it_prints_its_usage_and_does_nothing(machine: Path) -> None:
    result = run(machine)
    assert result.returncode == 2 and result.stderr.startswith("usage: ./bootstrap TASK")
    assert not (machine / ".venv").exists()


def test_missing_packages_for_a_user_give_the_one_line_and_exit_6(machine: Path) -> None:
    want(machine, "absent  # why", "gone")
    result = run(machine, "demo")
    assert result.returncode == 6
    assert "  sudo apt-get install --no-install-recommends absent gone\n" in result.stderr
    assert "was called" not in result.stderr and not (machine / ".venv").exists()


def test_alternative_that_is_installed_is_enough(machine: Path) -> None:
    want(machine, f"absent|{PACKAGES[0]}", "absent|second")
    result = run(machine, "demo")
    assert "install --no-install-recommends second\n" in result.stderr


def test_file_that_has_to_be_there_is_looked_for_and_not_its_package(machine: Path) -> None:
    (machine / "there").write_bytes(bytes(9))
    want(machine, f"absent|second {machine}/there", f"{PACKAGES[0]} {machine}/gone  # why",
         f"none|second {machine}/gone")
    result = run(machine, "demo")
    assert f"install --no-install-recommends {PACKAGES[0]} second\n" in result.stderr


@pytest.mark.parametrize(("words", "asked"), [
    (["demo"], {"demo"}), (["--list"], {"demo"}), (["reproduce"], {"demo"}), (["test"], {"demo", "test"}),
    (["lint"], {"demo", "test"}), (["oracle"], {"demo", "test"}), (["bench"], {"demo", "test", "bench"})],
    ids=lambda value: value[0] if isinstance(value, list) else "")
def test_task_asks_only_for_the_packages_that_it_needs(machine: Path, words: list[str], asked: set[str]) -> None:
    for section in SECTIONS:
        want(machine, f"absent-{section}", section=section)
    result = run(machine, *words)
    line = next(line for line in result.stderr.splitlines() if "apt-get install" in line)
    assert set(line.split("--no-install-recommends")[1].split()) == {f"absent-{section}" for section in asked}


def test_root_installs_and_a_failure_of_apt_exits_6_with_the_line(machine: Path) -> None:
    want(machine, "absent")
    program(machine / "bin", "id", "echo 0")
    result = run(machine, "demo")
    assert result.returncode == 6
    assert "apt-get was called" in result.stderr
    assert "by hand: apt-get install --no-install-recommends absent" in result.stderr


def test_package_list_that_is_complete_needs_no_apt(machine: Path) -> None:
    result = run(machine, "--list", PYTHON=str(machine / "bin/python3"))
    assert "was called" not in result.stderr and "packages are missing" not in result.stderr


def test_interpreter_that_was_named_and_does_not_fit_is_not_replaced(machine: Path) -> None:
    result = run(machine, "--list", PYTHON=str(machine / "bin/python3"))
    assert result.returncode == 6 and "Python 3.11 or newer" in result.stderr
    assert not (machine / ".venv").exists()


def test_system_without_dpkg_is_told_so(machine: Path) -> None:
    (machine / "bin/dpkg-query").unlink()
    result = run(machine, "demo", PATH=f"{machine}/bin:{folder_of_basics(machine)}")
    assert result.returncode == 6 and "not a Debian system" in result.stderr


def folder_of_basics(machine: Path) -> Path:
    basics = machine / "basics"
    basics.mkdir()
    for name in ("dirname", "sh"):
        found = shutil.which(name)
        assert found
        (basics / name).symlink_to(found)
    return basics


def test_list_names_each_package_once_and_what_the_doctor_looks_for() -> None:
    assert list(SECTIONS) == ["demo", "test", "bench"]
    assert len(PACKAGES) == len(set(PACKAGES))
    needed = {DEBIAN_PACKAGES[program] for program in NEEDED} - {"dpkg"}
    assert needed | {"ovmf", "uidmap"} <= set(SECTIONS["demo"])
    assert {DEBIAN_PACKAGES[program] for program in FOR_TESTS} <= set(SECTIONS["demo"] + SECTIONS["test"])


def test_every_requirement_is_pinned_with_digests() -> None:
    text = (ROOT / "requirements.lock").read_text()
    names = re.findall(r"^([a-z0-9-]+)==[^ ]+ .*\\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
    lines = [line for line in text.splitlines() if line and line[0] not in " #"]
    assert len(names) == len(lines) > 20
    assert "setuptools" in names, "the project itself is installed without an isolated build"
    assert "://" not in text


@pytest.mark.tools
@pytest.mark.parametrize("script", ["bootstrap", ".ci/run"])
def test_shellcheck_has_no_complaint(script: str) -> None:
    checker = shutil.which("shellcheck")
    if checker is None:
        assert not os.environ.get("CI"), "shellcheck is missing"
        pytest.skip("shellcheck is missing")
    subprocess.run([checker, ROOT / script], check=True)


def test_bootstrap_keeps_to_posix_sh() -> None:
    dash = shutil.which("dash")
    assert dash, "dash is Debian's sh"
    subprocess.run([dash, "-n", ROOT / "bootstrap"], check=True)
