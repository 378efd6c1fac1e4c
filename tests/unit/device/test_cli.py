"""`imagekit-device`: its words, what it prints, and its exit status."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import imagekit.device
from imagekit.device.cli import main
from imagekit.device.history import Advisory, Change, History, save_history
from imagekit.device.machine import LocalPrograms
from imagekit.errors import TargetError
from tests.unit.device.conftest import Device

ROOT = Path(__file__).parents[3]
Captured = pytest.CaptureFixture[str]


def test_status_before_the_verdict(device: Device, capsys: Captured) -> None:
    assert main(["status"], machine=device.machine) == 0
    assert capsys.readouterr().out == (
        "slot:   a (confirmed)\n"
        f"base:   {'b' * 64}\n"
        f"kernel: {'c' * 64}\n"
        "record: generation 2, slot a, tries 0, confirmed yes, unhealthy 1, other_good no\n"
        "data:   in use\n"
        "health: not judged yet\n"
    )


def test_status_as_json_after_the_verdict(device: Device, capsys: Captured) -> None:
    assert main(["health"], machine=device.machine) == 0
    capsys.readouterr()
    assert main(["status", "--json"], machine=device.machine) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found) == ["imagekit", "slot", "base_root", "kernel_root", "tries_left", "record", "degraded", "health",
                           "slots", "pending", "failed", "hold_until", "store", "waits", "model", "policy",
                           "identity"]
    assert found["record"] == {"generation": 3, "slot": "a", "tries": 0, "confirmed": True, "unhealthy": 0,
                               "other_good": False}
    assert found["health"]["healthy"] is True
    names = [check["name"] for check in found["health"]["checks"]]
    assert names == ["base", "kernel", "boot-complete", "units", "var", "network", "hooks", "image", "store", "scrub"]


def test_status_on_trial_says_how_many_boots_are_left(device: Device, capsys: Captured) -> None:
    device.on_trial()
    main(["status"], machine=device.machine)
    assert "slot:   b (on trial, 2 more boots)" in capsys.readouterr().out


def test_status_of_an_unhealthy_device_names_the_reason(device: Device, capsys: Captured) -> None:
    device.hook("10-pump", "echo dry >&2; exit 4")
    assert main(["health"], machine=device.machine) == 7
    main(["status"], machine=device.machine)
    assert "NOT healthy: hooks: " in (out := capsys.readouterr().out)
    assert "10-pump ended with status 4: dry" in out


def test_what_a_publisher_wrote_moves_no_cursor(device: Device, capsys: Captured) -> None:
    """A stolen key signs any text."""
    advisory = Advisory(name="pc-kernel", revision=2, update_class="security",
                        text="\x1b[2Jall is well\n\x9b1A\tread on")
    save_history(device.machine, History().with_change(
        Change(time="2026-06-01T12:00:00Z", what="install", packages=(("pc-kernel", 2),), outcome="good",
               advisories=(advisory,))))
    assert main(["changes"], machine=device.machine) == 0
    out = capsys.readouterr().out
    assert "pc-kernel 2, security: ?[2Jall is well\n" in out
    assert "?1A\tread on\n" in out
    assert main(["changes", "--json"], machine=device.machine) == 0
    assert json.loads(capsys.readouterr().out)["changes"][0]["advisories"][0]["text"] == advisory.text


def test_status_survives_a_lost_record_and_missing_verity(device: Device, capsys: Captured) -> None:
    device.state_path.write_bytes(b"")
    device.mounted["base"] = TargetError("cannot trust /: not verity")
    assert main(["status"], machine=device.machine) == 0
    out = capsys.readouterr().out
    assert "record: lost\n" in out
    assert "base:   not on verity\n" in out


def test_mistake_of_ours_is_told_with_its_trace(device: Device, capsys: Captured, monkeypatch: pytest.MonkeyPatch
                                                ) -> None:
    def unforeseen(*args: object) -> None:
        raise LookupError("nobody thought of it")

    monkeypatch.setattr("imagekit.device.rhythm.when_due", unforeseen)
    assert main(["refresh", "--scheduled", "--json"], machine=device.machine) == 1
    told = capsys.readouterr()
    message = "cannot go on: a mistake in imagekit itself: LookupError('nobody thought of it')"
    line, _, document = told.out.partition("\n")
    assert line == f"imagekit: update: {message}"
    assert (json.loads(document)["error"]["message"], json.loads(document)["error"]["kind"]) == (message, "bug")
    assert "Traceback" in told.err and "in unforeseen" in told.err and f"error: {message}\n" in told.err


@pytest.mark.parametrize(("words", "told"), [
    (["status"], "cannot read the slot-state record"), (["status", "--json"], "cannot read the slot-state record"),
    (["hold", "--off"], "wishes.json: Permission denied")])
def test_user_who_may_not_is_told_so_and_nothing_is_called_lost_or_full(
        device: Device, words: list[str], told: str) -> None:
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as said:  # of a folder all may enter
        Path(folder).chmod(0o755)
        there = Device(Path(folder) / "device", mounted=device.mounted)
        shutil.copytree(device.folder, there.folder)
        there.folder.chmod(0o755)
        there.report()
        there.state_path.chmod(0)
        (there.folder / "var/lib/imagekit").chmod(0o555)
        import_everything()
        child = os.fork()
        if not child:
            if os.geteuid() == 0:
                os.seteuid(65534)
            sys.stdout = sys.stderr = said
            code = main(words, machine=there.machine)
            said.flush()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        said.seek(0)
        text = said.read()
        (there.folder / "var/lib/imagekit").chmod(0o755)
    assert told in text and "run it as root" in text
    assert not re.search("Traceback|lost|full", text), text


def import_everything() -> None:
    """Before another user does, who may not read Python's own files."""
    for module in pkgutil.iter_modules(imagekit.device.__path__):
        importlib.import_module(f"imagekit.device.{module.name}")


def test_host_is_no_device(device: Device, capsys: Captured) -> None:
    (device.folder / "run/boot.json").unlink()
    assert main(["status"], machine=device.machine) == 7
    said = capsys.readouterr().err
    assert said.startswith("error: cannot read ")
    assert "hint: this works on a booted device only\n" in said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"imagekit": 2}', "null"])
def test_broken_report_is_an_error_and_no_traceback(device: Device, capsys: Captured, text: str) -> None:
    (device.folder / "run/boot.json").write_text(text)
    assert main(["status"], machine=device.machine) == 7
    assert "not a boot report" in capsys.readouterr().err


def test_boot_that_could_not_be_judged_is_told_apart_from_one_that_was(device: Device, capsys: Captured) -> None:
    """After a judgement `health-stopped` leaves it at that: a trial beside another initrd would stay, unhealthy."""
    device.report(imagekit=2, fallback=True)
    assert main(["health"], machine=device.machine) == 6
    assert "not a boot report: version 2" in capsys.readouterr().err
    device.report()
    device.mounted["base"] = TargetError("cannot trust it")
    assert main(["health"], machine=device.machine) == 7


@pytest.mark.parametrize("words", [[], ["what"], ["status", "--yaml"], ["health", "now"]])
def test_unknown_words_print_the_usage(words: list[str], capsys: Captured) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith("Usage: imagekit-device")


@pytest.mark.parametrize(("words", "told"), [
    (["heath"], "cannot run 'heath': no such command"), ([], "cannot run '--json': no such command"),
    (["status", "--yaml"], "cannot run imagekit-device status: it takes --json and nothing more"),
    (["revert", "--no"], "cannot run imagekit-device revert: unrecognized arguments: --no")])
def test_last_word_says_what_was_not_understood_to_programs_too(words: list[str], told: str, capsys: Captured) -> None:
    assert main([*words, "--json"]) == 2
    said = capsys.readouterr()
    assert f"error: {told}" in said.err
    assert json.loads(said.out)["error"]["message"].startswith(told)


@pytest.mark.parametrize("words", [["install", "--help"], ["factory-reset", "--yes", "-h"], ["health", "-h"]])
def test_help_of_a_word_is_the_help_and_does_nothing(words: list[str], capsys: Captured) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out.startswith("Usage: imagekit-device")


@pytest.mark.parametrize("words", ["--help", "changes", "changes --json", "status --json", "what --json"])
@pytest.mark.parametrize(("stdout", "codes"), [(">/dev/full", {6, 7, 2}), (">&-", {0, 7, 2}), ("2>&-", {0, 7, 2}),
                                               ("| true", {0, 141, 7, 2})])
def test_output_that_goes_nowhere_leaves_no_trace(words: str, stdout: str, codes: set[int]) -> None:
    program = "import sys; from imagekit.device.cli import main; sys.exit(main(sys.argv[1:]))"
    line = f'"$0" -c "$1" {words} {stdout}; exit ${{PIPESTATUS[0]}}'
    done = subprocess.run(["bash", "-c", line, sys.executable, program], capture_output=True, text=True, check=False,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode in codes, done.stderr
    assert not re.search("Traceback|Exception|lost sys", done.stderr), done.stderr


def test_verdict_is_the_exit_status_also_where_nobody_listens(device: Device) -> None:
    """The journal's daemon may be gone when the health service tells how it went."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        for end in (read, write):
            os.close(end)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        code = main(["health"], machine=device.machine)
        try:
            sys.stdout.flush()  # as the interpreter does when it exits
        except OSError:
            code = 120
        os._exit(code)
    os.close(read)
    os.close(write)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_help_is_data(capsys: Captured) -> None:
    assert main(["--help"]) == 0
    assert "grow" in capsys.readouterr().out


def test_growing_runs_repart_on_the_disk_and_takes_the_mark_away(device: Device) -> None:
    (device.folder / "run/grow").touch()
    assert main(["grow"], machine=device.machine) == 0
    repart, growfs = device.programs.ran
    assert repart[0] == "systemd-repart"
    assert repart[-1] == "/dev/vda"
    assert growfs == ("/usr/lib/systemd/systemd-growfs", str(device.folder / "var"))
    assert not (device.folder / "run/grow").exists()


def test_growing_that_fails_leaves_the_mark(device: Device, capsys: Captured) -> None:
    (device.folder / "run/grow").touch()
    device.programs.answers["systemd-repart"] = TargetError("cannot run systemd-repart: busy")
    assert main(["grow"], machine=device.machine) == 7
    assert (device.folder / "run/grow").exists()
    assert "busy" in capsys.readouterr().err


def test_degraded_device_grows_nothing(device: Device, capsys: Captured) -> None:
    device.report(degraded=True)
    assert main(["grow"], machine=device.machine) == 7
    assert device.programs.ran == []


def test_program_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot run /bin/sh: out of cheese") as caught:
        LocalPrograms().run("/bin/sh", "-c", "echo one >&2; echo out of cheese >&2; exit 3")
    assert caught.value.details == ("one", "out of cheese")
    with pytest.raises(TargetError, match="status 3"):
        LocalPrograms().run("/bin/sh", "-c", "exit 3")
    with pytest.raises(TargetError, match="No such file"):
        LocalPrograms().run(str(tmp_path / "absent"))
    assert LocalPrograms().run("/bin/sh", "-c", "printf hi") == "hi"
