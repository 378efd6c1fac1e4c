"""What the doctor sees on machines of our making."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from imagekit.build.foreign import EMULATORS, REGISTERED, native_architecture
from imagekit.cli.doctor import (
    ARCHIVE_KEYS,
    FIRMWARE,
    FOR_TESTS,
    NEEDED,
    examine,
    install_line,
)
from imagekit.cli.doctor_boards import rom_ids, udev_rules
from imagekit.cli.doctor_check import Check, Machine
from imagekit.cli.main import main
from imagekit.errors import HostError
from imagekit.host.usbdevices import RULES
from imagekit.testing.fakes import FakeTools

FOREIGN = sorted({*EMULATORS} - {native_architecture()})
REFUSED = HostError("cannot run sh: it failed with exit status 113", details=("mount: permission denied", "noise"))


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
    (tmp_path / REGISTERED.relative_to("/")).mkdir(parents=True)
    (tmp_path / "proc/sys/kernel").mkdir()
    (tmp_path / "proc/sys/kernel/osrelease").write_text("6.12.48+deb13-amd64\n")
    return Machine(root=tmp_path, environ={"PATH": ""}, uid=1000, python=(3, 11), tools=FakeTools(sh=b""))


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
    old = replace(machine, uid=0, python=(3, 9))
    assert seen(old)["python"].fatal


def test_forbidden_user_namespaces_are_denied_not_missing(machine: Machine) -> None:
    switch = machine.root / "proc/sys/kernel/unprivileged_userns_clone"
    switch.write_text("0\n")
    assert seen(machine)["user namespaces"].state == "denied"


def test_root_needs_no_user_namespaces(machine: Machine) -> None:
    root = replace(machine, uid=0)
    assert "newuidmap" not in seen(root)


def test_kvm_that_may_not_be_opened_is_denied(machine: Machine) -> None:
    (machine.root / "dev").mkdir()
    (machine.root / "dev/kvm").touch()
    assert seen(replace(machine, access=lambda path, mode: False))["kvm"].state == "denied"


def test_programs_of_every_other_architecture_are_tried_as_pack_tries_them(machine: Machine) -> None:
    assert native_architecture() not in FOREIGN and len(FOREIGN) == 2
    tools = FakeTools(sh=lambda script, line, program: Path(line).read_bytes())
    checks = seen(replace(machine, tools=tools))
    assert {checks[f"binfmt {name}"].state for name in FOREIGN} == {"ok"}
    assert {checks[f"binfmt {name}"].needed for name in FOREIGN} == {False}
    assert [(Path(call.args[0]).name, call.args[2]) for call in tools.calls] == [("namespace", "true")] * 2
    assert not Path(tools.calls[0].args[1]).exists()


def test_registration_for_the_whole_machine_counts_for_its_architecture_alone(machine: Machine) -> None:
    first, second = FOREIGN
    (machine.root / REGISTERED.relative_to("/") / f"qemu-{EMULATORS[first]}").write_text("enabled\nflags: OCF\n")
    checks = seen(replace(machine, tools=FakeTools(sh=REFUSED)))
    assert checks[f"binfmt {first}"].state == "ok"
    assert "whole machine" in checks[f"binfmt {first}"].found
    assert checks[f"binfmt {second}"].state == "denied"


@pytest.mark.parametrize(("release", "loaded", "state"), [
    ("6.7.0", True, "denied"), ("6.12.48+deb13-amd64", True, "denied"), ("7.0.0-rc1", True, "denied"),
    ("6.1.0-40-amd64", True, "missing"), ("6.12.48", False, "missing"), ("", True, "missing"),
])
def test_denied_namespace_is_told_from_a_linux_that_has_none(machine: Machine, release: str, loaded: bool,
                                                             state: str) -> None:
    (machine.root / "proc/sys/kernel/osrelease").write_text(release)
    if not loaded:
        (machine.root / REGISTERED.relative_to("/")).rmdir()
    checks = seen(replace(machine, tools=FakeTools(sh=REFUSED)))
    for name in FOREIGN:
        found = checks[f"binfmt {name}"]
        assert (found.state, found.fatal, found.found) == (state, False, "mount: permission denied")
        allow = "Linux 6.7" if loaded else "as root: modprobe binfmt_misc"
        assert f"for bases of {name} (mount: permission denied): {allow}" in str(found.remedy)
    assert install_line(checks.values(), uid=0) is None


@pytest.mark.parametrize(("answer", "state", "told"), [
    (b"IK", "ok", ""), (b"NO", "broken", "QEMU emulates the processor"),
    (HostError("cannot run qemu: it did not end within 5 s"), "broken", "it did not end"),
])
def test_kvm_is_judged_by_the_guest_that_ran_under_it(machine: Machine, answer: bytes | HostError, state: str,
                                                      told: str) -> None:
    (machine.root / "dev").mkdir()
    (machine.root / "dev/kvm").touch()
    emulator = f"{machine.root}/usr/sbin/qemu-system-x86_64"

    def ran(*words: str) -> bytes:
        if words != ("--version",) and isinstance(answer, HostError):
            raise answer
        return b"QEMU emulator version 10.0.13" if words == ("--version",) else bytes(answer)

    tools = FakeTools(sh=b"")
    tools.answers[emulator] = ran
    found = seen(replace(machine, tools=tools))["kvm"]
    assert (found.state, found.fatal) == (state, False)
    assert told in found.found


def test_folder_without_room_is_fatal_and_says_how_much_is_needed(machine: Machine) -> None:
    checks = {item.name: item for item in examine(machine, cache=Path("/proc/cache"), here=Path("/proc"))}
    for name in ("free space here", "free space for the cache"):
        assert (checks[name].state, checks[name].fatal) == ("low", True)
        assert checks[name].remedy == "make room: 3 GiB are needed"
        assert checks[name].found == "0 B at /proc"


def test_cache_that_may_not_be_written_is_denied(machine: Machine) -> None:
    found = seen(replace(machine, access=lambda path, mode: not mode & os.W_OK))["cache"]
    assert (found.state, found.fatal) == ("denied", True)
    assert "name another folder" in str(found.remedy)


def test_cache_that_is_no_folder_is_told_beside_all_else(machine: Machine) -> None:
    (machine.root / "cache").write_bytes(b"")
    (machine.root / "dev").mkdir()
    (machine.root / "dev/kvm").touch()
    tools = FakeTools(sh=b"")
    tools.answers[f"{machine.root}/usr/sbin/qemu-system-x86_64"] = b"QEMU emulator version 10.0.13"
    checks = seen(replace(machine, tools=tools))
    assert (checks["cache"].state, checks["cache"].fatal) == ("denied", True)
    assert f"{machine.root}/cache is no folder: name another" in str(checks["cache"].remedy)
    assert checks["kvm"].found.startswith("not tried: cannot write")


def test_size_of_the_cache_counts_its_files(machine: Machine) -> None:
    (machine.root / "cache/parts").mkdir(parents=True)
    (machine.root / "cache/parts/blob").write_bytes(b"x" * 2048)
    assert seen(machine)["cache"].found.endswith("2 KiB")


def test_json_says_the_same_as_the_exit_code(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["doctor", "--json", "-o", str(tmp_path / "machine.json")])
    document = json.loads(result.stdout)
    assert (tmp_path / "machine.json").read_text() == result.stdout
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


# ---- boards

GROUP = "root:x:0:\ndialout:x:20:alice\nplugdev:x:46:\ndisk:x:6:bob\n"


@pytest.mark.parametrize(("name", "state", "told"), [
    ("dialout", "denied", "log in again"), ("plugdev", "ok", "USB devices"),
    ("disk", "denied", "sudo adduser $USER disk"), ("kvm", "none", "no such group"),
])
def test_group_that_lacks_is_told_from_one_that_needs_a_login(machine: Machine, name: str, state: str,
                                                              told: str) -> None:
    (machine.root / "etc/group").write_text(GROUP)
    found = seen(replace(machine, groups=frozenset({46, 100}), user="alice"))[f"group {name}"]
    assert (found.state, found.fatal) == (state, False)
    assert told in (found.remedy or found.found)


def test_root_needs_no_groups(machine: Machine) -> None:
    assert seen(replace(machine, uid=0))["group dialout"].state == "ok"


def test_udev_rules_are_looked_at(machine: Machine) -> None:
    assert seen(machine)["udev rules"].state == "missing"
    path = machine.root / RULES.removeprefix("/")
    path.parent.mkdir(parents=True)
    path.write_text(udev_rules(rom_ids()))
    assert seen(machine)["udev rules"].state == "ok"
    path.write_text(udev_rules(["dead:beef"]))
    assert seen(machine)["udev rules"].state == "low"


def test_udev_rules_name_every_boot_rom_and_fastboot() -> None:
    done = CliRunner().invoke(main, ["doctor", "--udev-rules"])
    assert done.exit_code == 0, done.output
    rules = done.stdout.splitlines()
    assert len(rom_ids()) >= 6
    for word in rom_ids():
        vendor, product = word.split(":")
        assert sum(f'ATTR{{idVendor}}=="{vendor}", ATTR{{idProduct}}=="{product}"' in line for line in rules) == 1
    assert any('ENV{ID_USB_INTERFACES}=="*:ff4203:*"' in line for line in rules)


def test_programs_that_load_boards_are_never_in_the_line(machine: Machine) -> None:
    found = seen(machine)["uuu"]
    assert (found.state, found.needed) == ("missing", False)
    assert "apt-get install uuu" in str(found.remedy)
    assert install_line([found], uid=0) is None
