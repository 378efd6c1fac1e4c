"""`imagekit boot`, up to the moment when QEMU would start."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from imagekit.cli.boot import Talker, cleaned
from imagekit.cli.boot import boot as boot_command
from imagekit.cli.main import main
from imagekit.errors import ExitCode
from imagekit.qemu.machine import MACHINES
from imagekit.qemu.phases import Phase
from imagekit.testing.documents import Brand
from tests.unit.qemu.seeds import Seed


def boot(*args: str | Path) -> Result:
    return CliRunner().invoke(main, ["boot", *map(str, args)])  # type: ignore[arg-type]  # Program has a command's face


@pytest.fixture
def trust(tmp_path: Path) -> Path:
    folder = tmp_path / "trust"
    folder.mkdir()
    for assertion in Brand("acme").roots:
        (folder / f"acme.{assertion.type}").write_bytes(assertion.encode())
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "pc.img"
    path.write_bytes(Seed(Brand("acme")).image().getvalue())
    return path


def test_file_that_is_no_image_of_ours_is_a_document_error(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no image")
    result = boot(path)
    assert result.exit_code == ExitCode.DOCUMENT
    assert str(path) in result.output


def test_folder_is_refused_with_the_way_out(tmp_path: Path) -> None:
    result = boot(tmp_path)
    assert result.exit_code == ExitCode.DOCUMENT
    assert "folder" in result.output


def test_image_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert boot(tmp_path / "none.img").exit_code == ExitCode.USAGE


def test_image_of_a_brand_that_is_not_trusted_is_refused_before_anything_runs(image: Path) -> None:
    result = boot(image)
    assert result.exit_code == ExitCode.TRUST
    assert "trust" in result.output


def test_missing_qemu_is_the_hosts_fault_with_the_line_that_installs_it(image: Path, trust: Path,
                                                                        tmp_path: Path) -> None:
    machine = tmp_path / "none.yaml"
    machine.write_text((MACHINES / "pc.yaml").read_text().replace("qemu-system-x86_64", "qemu-system-none"))
    result = boot(image, "--trust", trust, "--machine", machine, "--accel", "tcg", "--transcript", tmp_path / "t.log")
    assert result.exit_code == ExitCode.HOST
    assert "qemu-system-none" in result.output


def test_missing_firmware_is_the_hosts_fault_with_the_line_that_installs_it(image: Path, trust: Path,
                                                                            tmp_path: Path) -> None:
    machine = tmp_path / "none.yaml"
    machine.write_text((MACHINES / "pc.yaml").read_text().replace("/usr/share", "/nowhere"))
    result = boot(image, "--trust", trust, "--machine", machine, "--accel", "tcg", "--transcript", tmp_path / "t.log")
    assert result.exit_code == ExitCode.HOST
    assert "ovmf" in result.output


def test_unknown_machine_names_those_there_are(image: Path) -> None:
    result = boot(image, "--machine", "px")
    assert result.exit_code == ExitCode.USAGE
    assert "pc-nvme" in result.output


def test_words_of_a_device_have_nothing_that_a_terminal_obeys() -> None:
    told = cleaned({"reasons": ("\x1b[2Jx\u009b31m\u202e",), "phases": {"\u009bkernel": 1.5}, "healthy": True})
    assert told == {"reasons": ["[2Jx31m"], "phases": {"kernel": 1.5}, "healthy": True}


class Steps:
    def __init__(self) -> None:
        self.names: list[str] = []

    def step(self, name: str, *, total: int | None = None, unit: str = "B") -> None:
        self.names.append(name)

    def advance(self, amount: int) -> None:
        raise AssertionError("phases have no amount")

    def note(self, text: str) -> None:
        raise AssertionError("phases have no notes")


def test_steps_do_not_claim_to_tell_a_quiet_kernel_from_its_loader() -> None:
    steps = Steps()
    for number, phase in ((1, Phase.FIRMWARE), (1, Phase.LOADER), (2, Phase.LOADER), (2, Phase.INITRD)):
        Talker(steps).phase(number, phase)
    Talker(None).phase(1, Phase.FIRMWARE)  # with --console nothing is told
    assert steps.names == ["firmware", "loader and kernel", "boot 2: loader and kernel", "boot 2: initrd"]


def test_shell_completes_the_machines() -> None:
    context = click.Context(boot_command)
    option = next(param for param in boot_command.params if param.name == "machine_name")
    assert [item.value for item in option.shell_complete(context, "pc-")] == ["pc-ahci", "pc-nvme", "pc-usb"]


def test_transcript_that_cannot_be_written_is_said(image: Path, trust: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = boot(image, "--trust", trust, "--accel", "tcg", "--transcript", tmp_path / "file" / "t.log")
    assert result.exit_code == ExitCode.HOST
    assert "transcript" in result.output
