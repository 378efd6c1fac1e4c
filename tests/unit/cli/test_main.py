"""The frame from outside: help, options, errors, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from imagekit.cli import main as main_module
from imagekit.cli.main import COMMANDS, main
from imagekit.cli.output import emit_json, say
from imagekit.errors import DocumentError, ExitCode, TargetError
from tests.patience import WALL_S

HELP_FACTOR = 3  # of a bare interpreter's start


def run(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "imagekit.cli", *args], capture_output=True, text=True, check=False,
                          env={**os.environ, **env}, timeout=60)


@pytest.fixture
def plug(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Put a function under the name `trial` into the table, as a command of its own module."""

    def put(function) -> None:
        name = "imagekit_trial_command"
        module = type(sys)(name)
        module.trial = click.command("trial")(function)
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setitem(main_module.COMMANDS, "trial", ("Images", name, "trial", "a trial"))

    return put


def invoke(*args: str) -> Result:
    return CliRunner().invoke(main, list(args))


def test_help_lists_every_command_with_its_line_under_its_group() -> None:
    result = run("--help")
    assert result.returncode == 0 and result.stderr == ""
    for name, (group, _, _, text) in COMMANDS.items():
        assert f"{group}:\n" in result.stdout
        assert any(line.split(maxsplit=1) == [name, text] for line in result.stdout.splitlines())


@pytest.mark.parametrize("words", [["-h"], ["help"], ["-v", "--help"]])
def test_other_ways_to_ask_for_help_print_the_same(words: list[str]) -> None:
    assert run(*words).stdout == run("--help").stdout


def test_no_command_prints_the_help_as_talk_and_exits_2() -> None:
    result = run()
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: imagekit" in result.stderr


def test_help_of_a_command_by_the_word_help() -> None:
    assert run("help", "doctor").stdout == run("doctor", "--help").stdout != ""


def test_version_is_the_packages() -> None:
    from imagekit import __version__

    assert run("--version").stdout == f"imagekit {__version__}\n"


def test_help_imports_nothing_but_the_table() -> None:
    result = subprocess.run([sys.executable, "-X", "importtime", "-m", "imagekit.cli", "--help"], capture_output=True,
                            text=True, check=True)
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in result.stderr.splitlines()}
    assert not imported & {"click", "rich", "yaml", "cryptography", "jsonschema", "logging", "dataclasses", "typing"}


def test_help_starts_within_three_times_a_bare_interpreter() -> None:
    def cpu(*words: str) -> float:
        before = os.times()
        subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    script = "from imagekit.cli.main import main; main()"  # what the installed program runs
    bare = sum(cpu("-c", "pass") for _ in range(8))
    assert sum(cpu("-c", script, "--help") for _ in range(8)) <= HELP_FACTOR * max(bare, 0.08)


def test_mistyped_command_gets_a_suggestion() -> None:
    result = run("biuld")
    assert result.returncode == 2
    assert result.stderr == "imagekit: cannot run 'biuld': no such command\nhint: did you mean 'build'?\n"


def test_mistyped_option_gets_a_suggestion() -> None:
    result = run("doctor", "--jsn")
    assert result.returncode == 2
    assert "no such option '--jsn'" in result.stderr and "did you mean '--json'?" in result.stderr


@pytest.fixture
def noun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `trial` with the verbs create and list."""
    module = type(sys)("imagekit_trial_group")
    module.trial = click.Group("trial", commands=[click.Command("create"), click.Command("list")])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(main_module.COMMANDS, "trial", ("Trust", module.__name__, "trial", "a trial"))


def test_noun_without_a_verb_prints_its_help_as_talk_and_exits_2(noun) -> None:
    result = invoke("trial")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Commands:\n  create\n  list\n" in result.stderr


def test_mistyped_verb_of_a_noun_gets_a_suggestion(noun) -> None:
    result = invoke("trial", "creat")
    assert result.exit_code == 2
    assert result.stderr == "imagekit: cannot run 'trial creat': no such command\nhint: did you mean 'create'?\n"


def test_missing_argument_is_a_usage_error_with_the_help_as_hint() -> None:
    result = run("completion")
    assert result.returncode == 2
    assert "hint: imagekit completion --help" in result.stderr


def test_user_error_prints_message_details_hint_and_log_on_stderr(plug) -> None:
    def trial() -> None:
        raise DocumentError("cannot parse x: 2 problems", hint="mend x", details=("x:1: a", "x:2: b"))

    plug(trial)
    result = invoke("trial")
    assert result.exit_code == ExitCode.DOCUMENT
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[:4] == ["imagekit: cannot parse x: 2 problems", "  x:1: a", "  x:2: b", "hint: mend x"]
    log = Path(lines[4].removeprefix("log: "))
    assert "run: imagekit trial" in log.read_text()


def test_with_json_the_error_is_an_object_on_stdout_too(plug) -> None:
    def trial(as_json: bool) -> None:
        raise DocumentError("cannot parse x: no", hint="mend x")

    plug(click.option("--json", "as_json", is_flag=True)(trial))
    result = invoke("trial", "--json")
    error = json.loads(result.stdout)["error"]
    assert (error["exit_code"], error["kind"], error["message"]) == (3, "document", "cannot parse x: no")
    assert error["hint"] == "mend x" and Path(error["log"]).is_file()


def test_with_json_a_printed_document_stays_the_only_one(plug) -> None:
    def trial(as_json: bool) -> None:
        emit_json({"healthy": False})
        raise TargetError("cannot call it healthy")

    plug(click.option("--json", "as_json", is_flag=True)(trial))
    result = invoke("trial", "--json")
    assert result.exit_code == ExitCode.TARGET
    assert json.loads(result.stdout) == {"healthy": False}


def test_bug_exits_1_with_its_trace_in_the_log_only(plug) -> None:
    def trial() -> None:
        raise KeyError("surprise")

    plug(trial)
    result = invoke("trial")
    assert result.exit_code == ExitCode.BUG
    assert "Traceback" not in result.stderr and "KeyError: 'surprise'" in result.stderr
    log = Path(result.stderr.splitlines()[-1].removeprefix("log: "))
    assert "Traceback" in log.read_text() and "surprise" in log.read_text()


def test_full_disk_is_the_machines_fault(plug) -> None:
    def trial() -> None:
        with Path("/dev/full").open("w") as stream:
            stream.write("x" * 100_000)

    plug(trial)
    result = invoke("trial")
    assert result.exit_code == ExitCode.HOST
    assert "no space left on device" in result.stderr


@pytest.mark.parametrize("buffered", [True, False], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", ["--help", "--version", "board list", "board list --json"])
def test_output_that_finds_no_room_exits_6_without_a_trace(words: str, buffered: bool) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "imagekit.cli", *words.split()], stdout=full, text=True,
                              stderr=subprocess.PIPE, check=False, timeout=WALL_S,
                              env={**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"})
    assert done.returncode == ExitCode.HOST
    assert "no space left on device" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", ["--help", "board list --json", "biuld", "verify -"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_stream_that_is_closed_leads_nowhere(words: str, closed: str, tmp_path: Path) -> None:
    """A file that is opened later must not get its number, and what is said with it."""
    line = f"exec {sys.executable} -m imagekit.cli {words} {closed}"
    usual = subprocess.run(["sh", "-c", line.removesuffix(closed)], stdin=subprocess.DEVNULL, capture_output=True,
                           text=True, check=False, timeout=WALL_S)
    done = subprocess.run(["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=WALL_S)
    assert done.returncode == usual.returncode, done.stderr
    assert "Traceback" not in done.stderr and "mistake" not in done.stderr


def test_ctrl_c_exits_130_with_one_line(plug) -> None:
    def trial() -> None:
        raise KeyboardInterrupt

    plug(trial)
    result = invoke("trial")
    assert result.exit_code == ExitCode.INTERRUPTED
    assert result.stderr.strip() == "imagekit: interrupted"


def child_script(body: str) -> str:
    """A program with one command, `trial`, whose lines are `body`."""
    return (
        "import os, signal, sys, time, click\n"
        "from imagekit.cli import main as m\n"
        "module = type(sys)('t'); sys.modules['t'] = module\n"
        "@click.command()\n"
        "def trial():\n"
        f"{textwrap.indent(body, '    ')}\n"
        "module.trial = trial\n"
        "m.COMMANDS['trial'] = ('Images', 't', 'trial', '')\n"
        "m.main.main(['trial'])\n"
    )


def test_sigterm_cleans_up_like_ctrl_c_and_exits_143(tmp_path: Path) -> None:
    script = child_script(
        "try:\n"
        "    print('ready', flush=True); time.sleep(60)\n"
        "finally:\n"
        f"    open({str(tmp_path / 'cleaned')!r}, 'w').close()")
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGTERM)
        _, stderr = child.communicate(timeout=30)
    assert child.returncode == 128 + signal.SIGTERM
    assert stderr.strip() == "imagekit: terminated"
    assert (tmp_path / "cleaned").exists()


@pytest.mark.parametrize("module", ["click", "imagekit.cli.group", "imagekit.cli.options"])
def test_ctrl_c_while_the_program_is_still_read_is_told_in_one_line(module: str) -> None:
    script = (
        "import sys\n"
        "from imagekit.cli import main as m\n"
        "class Hasty:\n"
        "    def find_spec(self, name, *_):\n"
        f"        if name == {module!r}: raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Hasty())\n"
        "m.main.main(['doctor'])\n")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "imagekit: interrupted\n")


@pytest.mark.parametrize(("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"),
                                                      (signal.SIGTERM, 143, "terminated")])
def test_interruption_where_python_cannot_raise_is_not_lost(number: signal.Signals, code: int, said: str) -> None:
    script = child_script(
        "class Dying:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        for _ in range(1000): pass\n"
        "Dying()\n"
        "time.sleep(20)\n"
        "print('slept through')")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stdout, result.stderr.strip()) == (code, "", f"imagekit: {said}")


def test_ctrl_c_twice_is_told_once() -> None:
    """The second one comes while the first is told."""
    script = child_script(
        "class Twice:\n"
        "    def __init__(self, stream): self.stream = stream\n"
        "    def __getattr__(self, name): return getattr(self.stream, name)\n"
        "    def write(self, text):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        return self.stream.write(text)\n"
        "sys.stderr = Twice(sys.stderr)\n"
        "raise KeyboardInterrupt")
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr.strip()) == (130, "imagekit: interrupted")


def test_reader_that_leaves_early_causes_no_noise() -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run([sys.executable, "-m", "imagekit.cli", "doctor", "--json"], stdout=write,
                            stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert "Traceback" not in result.stderr and "BrokenPipe" not in result.stderr
    assert result.returncode == 128 + signal.SIGPIPE


@pytest.mark.parametrize("words", [["-q", "trial"], ["trial", "-q"], ["trial", "--quiet"]])
def test_quiet_before_or_after_the_command_silences_talk(plug, words: list[str]) -> None:
    def trial() -> None:
        say("talk")

    plug(trial)
    assert invoke("trial").stderr == "talk\n"
    assert invoke(*words).stderr == ""


def test_log_file_option_names_the_log(plug, tmp_path: Path) -> None:
    def trial() -> None:
        say("written down")

    plug(trial)
    assert invoke("--log-file", str(tmp_path / "run.log"), "trial").exit_code == 0
    assert "written down" in (tmp_path / "run.log").read_text()


def test_log_that_was_asked_for_and_cannot_be_written_is_told(plug, tmp_path: Path) -> None:
    plug(lambda: say("done all the same"))
    (tmp_path / "file").touch()
    result = invoke("-q", "--log-file", str(tmp_path / "file" / "run.log"), "trial")
    assert result.exit_code == 0
    assert result.stderr == f"warning: cannot write {tmp_path}/file/run.log: this run has no log\n"


def test_command_line_with_a_module_that_cannot_be_imported_is_logged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(main_module.COMMANDS, "trial", ("Images", "imagekit_no_such_module", "trial", ""))
    result = invoke("trial")
    assert result.exit_code == ExitCode.BUG
    assert "imagekit_no_such_module" in Path(result.stderr.splitlines()[-1].removeprefix("log: ")).read_text()
