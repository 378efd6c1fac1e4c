"""What every base gets: complete, runnable, and with no way in."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
OVERLAY = ROOT / "imagekit/build/base-overlay"
UNITS = OVERLAY / "root/usr/lib/systemd/system"


def parsed(path: Path) -> configparser.RawConfigParser:
    found = configparser.RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment, method-assign]
    found.read_string(path.read_text())
    return found


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((OVERLAY / "manifest.yaml").read_text())
    return loaded


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body
                 if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def file_of(module: str) -> Path | None:
    base = ROOT / module.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


def test_modules_of_the_device_are_just_those_that_its_program_imports(manifest: dict[str, Any]) -> None:
    waiting, seen = ["imagekit.device.cli"], set()
    while waiting:
        path = file_of(waiting.pop())
        if path is None or path in seen:
            continue
        seen.add(path)
        waiting += [name for name in imports_of(path) if name.partition(".")[0] == "imagekit"]
        parents = path.relative_to(ROOT).parent.parts
        waiting += [".".join(parents[:depth]) for depth in range(1, len(parents) + 1)]
    assert sorted(manifest["python"]["modules"]) == sorted(str(path.relative_to(ROOT)) for path in seen)


def test_device_needs_no_more_python_than_the_base_has(manifest: dict[str, Any]) -> None:
    absent = {"click", "rich", "pyudev", "serial", "invoke"}
    for module in manifest["python"]["modules"]:
        assert not {name.partition(".")[0] for name in imports_of(ROOT / module)} & absent, module


@pytest.mark.parametrize("module", ["health", "grow", "cli"])
def test_boot_pays_for_no_import_that_only_updates_need(module: str) -> None:
    told = subprocess.run([sys.executable, "-c", f"import imagekit.device.{module}, imagekit.device.history, sys;"
                           "print(*sys.modules)"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not {"imagekit.assertions", "yaml", "cryptography", "zstandard", "argparse", "jsonschema"} & set(told)


def test_programs_are_executable_and_nothing_else_is(manifest: dict[str, Any]) -> None:
    programs = {str(path.relative_to(OVERLAY / "root")) for path in (OVERLAY / "root").rglob("*")
                if path.is_file() and path.read_bytes().startswith(b"#!")}
    assert {path for path, mode in manifest["modes"].items() if int(mode, 8) & 0o111} == programs


def test_units_are_wanted_and_start_what_is_there(manifest: dict[str, Any]) -> None:
    links = {link.rpartition("/")[2] for link in manifest["links"] if ".wants/" in link}
    units = sorted(UNITS.glob("*.service"))
    rules = "".join(path.read_text() for path in (OVERLAY / "root/usr/lib/udev/rules.d").glob("*.rules"))
    timers = {timer.name for timer in UNITS.glob("*.timer")}
    started = {timer.replace(".timer", ".service") for timer in timers}
    theirs = {"systemd-networkd.service", "systemd-resolved.service"}  # a device asks its store over the network
    assert started <= {unit.name for unit in units}
    assert links == {unit.name for unit in units if "@" not in unit.name} - started | timers | theirs
    assert all(unit.name.replace("@", "@%k") in rules for unit in units if "@" in unit.name), "udev starts these"
    for unit in units:
        said = parsed(unit)
        for key in ("ExecStart", "ExecStopPost"):
            if program := said["Service"].get(key, "").split(" ")[0]:
                assert (OVERLAY / "root" / program.lstrip("/")).is_file(), f"{unit.name}: {program}"
        assert "multi-user.target" in said["Unit"]["After"].split(), "or it would hold the target up, in a circle"


def test_judge_follows_boot_complete_and_is_started_without_it() -> None:
    """Required, it would never start where a unit of the OEM's fails: no verdict, no reboot."""
    unit = parsed(UNITS / "imagekit-health.service")["Unit"]
    assert "boot-complete.target" in unit["Wants"].split()
    assert "boot-complete.target" in unit["After"].split()
    assert not {"Requires", "Requisite", "BindsTo"} & set(unit)


def test_unit_that_hangs_before_boot_complete_does_not_keep_the_judge_away() -> None:
    """And it is the judge who ends the boot, so that a reason is left: no action of the target's own."""
    unit, before = (parsed(UNITS / f"{name}.target.d/10-imagekit.conf")["Unit"]
                    for name in ("boot-complete", "multi-user"))
    assert "JobTimeoutAction" not in unit
    assert minutes(unit) > minutes(before), "a check that waits for multi-user.target has a time of its own"


def minutes(unit: Mapping[str, str]) -> int:
    found = re.fullmatch(r"(\d+)min", unit["JobTimeoutSec"])
    assert found
    return int(found[1])


def test_nobody_blesses_but_the_health_check(manifest: dict[str, Any]) -> None:
    assert "systemd-bless-boot-generator" in manifest["masked"]["etc/systemd/system-generators"]
    assert "systemd-bless-boot.service" in manifest["masked"]["etc/systemd/system"]


@pytest.mark.parametrize("unit", [
    "getty@.service", "serial-getty@.service", "console-getty.service", "container-getty@.service", "autovt@.service",
    "debug-shell.service", "rescue.service", "ctrl-alt-del.target", "getty.target",
])
def test_nothing_that_lets_somebody_in_can_be_started(manifest: dict[str, Any], unit: str) -> None:
    assert unit in manifest["masked"]["etc/systemd/system"]


def test_generators_that_take_units_from_the_kernel_command_line_are_off(manifest: dict[str, Any]) -> None:
    off = manifest["masked"]["etc/systemd/system-generators"]
    for name in ("systemd-debug-generator", "systemd-run-generator", "systemd-fstab-generator",
                 "systemd-getty-generator", "systemd-ssh-generator", "systemd-gpt-auto-generator"):
        assert name in off


def test_emergency_is_a_reboot_and_no_shell() -> None:
    text = (OVERLAY / "root/etc/systemd/system/emergency.service").read_text()
    assert "ExecStart=/usr/bin/systemctl --force reboot" in text
    assert "sulogin" not in text


def test_persistent_files_name_nothing_that_decides_who_may_do_what() -> None:
    names = [line for line in (OVERLAY / "root/usr/lib/imagekit/persistent-etc").read_text().splitlines()
             if line and not line.startswith("#")]
    assert "machine-id" in names
    for name in names:
        assert not name.startswith(("/", "passwd", "shadow", "group", "gshadow", "ssh", "pam", "sudo", "systemd",
                                    "ld.so", "imagekit", "cron", "profile", "."))
        assert ".." not in name


@pytest.mark.parametrize(("report", "verdict", "reboots"), [
    ({"fallback": True}, None, True), ({"fallback": False}, None, False),
    ({"fallback": True}, {"healthy": False, "confirmed": False, "reasons": ['"confirmed": true']}, True),
    ({"fallback": True}, {"healthy": True, "confirmed": True}, False),
])
def test_judge_that_dies_leads_back_unless_the_slot_was_confirmed(
        tmp_path: Path, report: dict[str, Any], verdict: dict[str, Any] | None, reboots: bool) -> None:
    """Confirmed at every boot, and rebooted after it, the device would do nothing else for ever."""
    (tmp_path / "boot.json").write_text(json.dumps(report, separators=(",", ":")))
    if verdict is not None:
        (tmp_path / "health.json").write_text(json.dumps(verdict))
    script = (OVERLAY / "root/usr/lib/imagekit/health-stopped").read_text()
    for real, fake in (("/run/imagekit", str(tmp_path)), ("/dev/console", "/dev/null"), ("/usr/bin/systemctl", "echo")):
        script = script.replace(real, fake)
    for end in ({"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "1"},
                {"SERVICE_RESULT": "timeout", "EXIT_CODE": "killed", "EXIT_STATUS": "TERM"}):
        done = subprocess.run(["sh", "-c", script], env={**end, "PATH": os.environ["PATH"]}, capture_output=True,
                              text=True, check=True)
        assert done.stdout == ("--no-block reboot\n" if reboots else "")


def test_judgement_is_not_made_a_second_time_when_the_service_ends() -> None:
    script = OVERLAY / "root/usr/lib/imagekit/health-stopped"
    env = {"SERVICE_RESULT": "exit-code", "EXIT_CODE": "exited", "EXIT_STATUS": "7", "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", str(script)], env=env, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
