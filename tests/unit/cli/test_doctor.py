"""What the doctor sees on machines of our making."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.cli.doctor import (
    ARCHIVE_KEYS,
    FIRMWARE,
    FOR_TESTS,
    NEEDED,
    Check,
    Machine,
    examine,
    install_line,
)
from imagekit.cli.main import main


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine that has everything."""
    for program in (*NEEDED, *FOR_TESTS, "newuidmap"):
        path = tmp_path / "usr/sbin" / program
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
    for name in (*FIRMWARE, ARCHIVE_KEYS, "etc/apt/sources.list.d/debian.sources"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("Types: deb\nURIs: file:/mirror\n")
    return Machine(root=tmp_path, environ={"PATH": ""}, uid=1000, python=(3, 11))


def seen(machine: Machine) -> dict[str, Check]:
    return {check.name: check for check in examine(machine, cache=machine.root / "cache", here=machine.root)}


def test_complete_machine_has_nothing_fatal_and_no_line(machine: Machine) -> None:
    checks = seen(machine)
    assert [check for check in checks.values() if check.fatal and not check.name.startswith("free space")] == []
    assert install_line(checks.values(), uid=0) is None
    assert checks["kvm"].state == "none"


def test_missing_programs_give_one_line_with_their_packages(machine: Machine) -> None:
    for program in ("qemu-img", "mcopy"):
        (machine.root / "usr/sbin" / program).unlink()
    checks = seen(machine)
    assert checks["qemu-img"].fatal and not checks["mcopy"].fatal
    line = "apt-get install --no-install-recommends mtools qemu-utils"
    assert install_line(checks.values(), uid=0) == line
    assert install_line(checks.values(), uid=1000) == f"sudo {line}"


def test_missing_firmware_is_fatal(machine: Machine) -> None:
    (machine.root / FIRMWARE[0]).unlink()
    assert seen(machine)["OVMF_CODE_4M.fd"].fatal


def test_machine_without_apt_sources_is_told_so(machine: Machine) -> None:
    (machine.root / "etc/apt/sources.list.d/debian.sources").unlink()
    assert seen(machine)["apt sources"].fatal


def test_old_python_is_fatal(machine: Machine) -> None:
    old = Machine(root=machine.root, environ=machine.environ, uid=0, python=(3, 9))
    assert seen(old)["python"].fatal


def test_forbidden_user_namespaces_are_denied_not_missing(machine: Machine) -> None:
    switch = machine.root / "proc/sys/kernel/unprivileged_userns_clone"
    switch.parent.mkdir(parents=True)
    switch.write_text("0\n")
    assert seen(machine)["user namespaces"].state == "denied"


def test_root_needs_no_user_namespaces(machine: Machine) -> None:
    root = Machine(root=machine.root, environ=machine.environ, uid=0, python=(3, 11))
    assert "newuidmap" not in seen(root)


def test_kvm_that_may_not_be_opened_is_denied(machine: Machine) -> None:
    (machine.root / "dev").mkdir()
    (machine.root / "dev/kvm").touch()
    assert seen(replace(machine, access=lambda path, mode: False))["kvm"].state == "denied"


def test_size_of_the_cache_counts_its_files(machine: Machine) -> None:
    (machine.root / "cache/parts").mkdir(parents=True)
    (machine.root / "cache/parts/blob").write_bytes(b"x" * 2048)
    assert seen(machine)["cache"].found.endswith("2 KiB")


def test_json_says_the_same_as_the_exit_code() -> None:
    result = CliRunner().invoke(main, ["doctor", "--json"])
    document = json.loads(result.stdout)
    assert document["version"] == 1
    assert result.exit_code == (0 if document["ok"] else 6)
    assert {"name", "state", "found", "needed", "package", "remedy"} == set(document["checks"][0])


def test_machine_that_lacks_something_needed_exits_6(monkeypatch: pytest.MonkeyPatch, machine: Machine) -> None:
    (machine.root / "usr/sbin/qemu-system-x86_64").unlink()
    monkeypatch.setattr("imagekit.cli.doctor.this_machine", lambda: machine)
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 6
    assert "hint: sudo apt-get install --no-install-recommends qemu-system-x86" in result.stderr
    line = CliRunner().invoke(main, ["doctor", "--install-line"])
    assert line.stdout == "sudo apt-get install --no-install-recommends qemu-system-x86\n"
