"""`imagekit-device`: the words a device knows. Plain, because every import costs its boot some time.

health   judge this boot (the health service runs it; a person may look with `status`)
status   slot, roots, slot-state record and verdict; `--json` for programs
grow     give the data partition the rest of the disk

and those about updates, which are `imagekit.device.words`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from imagekit.device.machine import Machine
from imagekit.errors import ExitCode, HostError, ImagekitError, TargetError, UsageError, message_of

USAGE = """\
Usage: imagekit-device COMMAND

  health          judge this boot, confirm the slot when it is well
  status          print the slots, what runs, the slot-state record and the verdict
  grow            give the data partition the rest of the disk

  install FILE... install an update: packages with their assertions, a newer model (NAME.model), a folder of them, or
                  a FAT stick (/dev/sda1)
    --check       verify and plan, and write nothing
    --no-reboot   leave the reboot into the new slot to others
    --again       also what failed here before
    --unattended  as the service does that watches for sticks: a hold counts
  refresh         take an update from this device's store, if one is meant for it
    --check       ask and tell, and take nothing
    --no-reboot, --again, --unattended: as above
    --scheduled   as the timer does: only when this device's moment has come, and unattended
  model           print what this device is and whom it believes
  changes         print the updates so far and how they ended
  factory-reset --yes
                  reboot, and empty the data partition; what runs stays; --no-reboot
  revert          go back to the other slot, if that was healthy once; --no-reboot
  hold [DAYS]     keep unattended updates away, for 90 days at most; --off ends it
  windows [TEXT]  when updates may begin: 'Mon..Fri 22:00-04:00; Sun 00:00-24:00', or always
    --urgent WHEN at-once or wait: what an urgent update does about windows
    --clear       as the model has it
  automatic [on|off]
                  off: updates are told, and installed when a person says refresh
    --clear       as the model has it

All but health and grow take --json.
"""
ALONE = {"health": "nothing more", "grow": "nothing more", "status": "--json and nothing more"}
PIPE_CLOSED = 141  # as shells count SIGPIPE
WORDS = ("install", "refresh", "model", "changes", "revert", "factory-reset", "hold", "windows", "automatic")


def main(words: Sequence[str], *, machine: Machine | None = None) -> int:
    """Run one command, on this device or on another `machine`; the exit status."""
    try:
        return _run(tuple(words), machine or Machine())
    except KeyboardInterrupt:
        _complain("interrupted: the running slot is untouched\n")
        return ExitCode.INTERRUPTED
    except BrokenPipeError:  # nobody reads any more
        return PIPE_CLOSED
    except Exception as error:
        if not isinstance(error, ImagekitError):
            import traceback

            _complain(traceback.format_exc())  # the journal has it
            error = ImagekitError(f"cannot go on: {message_of(error)}", hint="report it with its trace")
        if {"--unattended", "--scheduled"} & {*words}:  # nobody reads its standard error; somebody may see the console
            _say(f"update: {error.message}")
        _tell(error, as_json="--json" in words)
        return error.exit_code


def _tell(error: ImagekitError, *, as_json: bool) -> None:
    """For people; for programs on standard output too, as `imagekit` has it (docs/reference/exit-codes.md)."""
    lines = (f"error: {error.message}", *(f"  {detail}" for detail in error.details))
    _complain("\n".join((*lines, *((f"hint: {error.hint}",) if error.hint else ()))) + "\n")
    if as_json:
        import json

        with suppress(BrokenPipeError, HostError):
            _print(json.dumps({"error": {
                "details": list(error.details), "exit_code": int(error.exit_code), "hint": error.hint,
                "kind": error.exit_code.name.lower(), "message": error.message}}, indent=2) + "\n")


def _complain(text: str) -> None:
    """On standard error, if that is anywhere."""
    with suppress(OSError):
        if sys.stderr is not None:
            sys.stderr.write(_shown(text))


def _shown(text: str) -> str:
    """What a terminal may get. Others wrote parts of it: a publisher its advisory, a hook its reason."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)


def _print(text: str) -> None:
    """Data, at once. Raises: BrokenPipeError: nobody reads it. HostError: it finds no room."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.write(_shown(text))
        sys.stdout.flush()
    except OSError as error:
        _forget_stdout()
        if isinstance(error, BrokenPipeError):
            raise
        raise HostError(f"cannot print: {(error.strerror or str(error)).lower()}") from error


def _forget_stdout() -> None:
    """What waits in it would fail once more while the interpreter exits, and change the status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _run(words: tuple[str, ...], machine: Machine) -> int:
    if {"-h", "--help"} & {*words}:
        _print(USAGE)
    elif words == ("health",):
        return _judged(machine)
    elif words in (("status",), ("status", "--json")):
        from imagekit.device.status import as_json, as_text, collect

        found = collect(machine)
        _print(as_json(found) if "--json" in words else as_text(found))
    elif words == ("grow",):
        from imagekit.device.grow import grow

        grow(machine, _say)
    elif words[:1] and words[0] in WORDS:
        from imagekit.device.words import run_word

        run_word(words, machine, _say, _print)
    else:
        _complain(USAGE)
        name = words[0] if words else ""
        raise UsageError(f"cannot run imagekit-device {name}: it takes {ALONE[name]}" if name in ALONE else
                         f"cannot run {name!r}: no such command")
    return ExitCode.DONE


def _judged(machine: Machine) -> int:
    """Status 7 is a judgement. Raises: HostError: there was none, which `health-stopped` has to know by the status."""
    from imagekit.device.health import judge

    try:
        return ExitCode.DONE if judge(machine, _say).healthy else ExitCode.TARGET
    except TargetError as error:
        raise HostError(error.message, hint=error.hint, details=error.details) from error


def _say(line: str) -> None:
    """One line for the journal and for whoever watches the console, at once and in this form."""
    with suppress(BrokenPipeError, HostError):
        _print(f"imagekit: {line}\n")
    with suppress(OSError):
        console = _console()
        if console is not None:
            console.write(_shown(f"imagekit: {line}\n"))
            console.flush()


def _console() -> TextIO | None:
    """The console, unless that is where this program was called by hand."""
    with suppress(OSError):
        return None if sys.stdout is not None and sys.stdout.isatty() else Path("/dev/console").open("w")
    return None
