"""One place where errors become messages and exit codes.

A user's mistake gets `imagekit: cannot ...`, its details, a hint and the path of the log, on stderr, and never a stack
trace; a bug of ours gets its trace in the log. With `--json` the same stands as an object under `error` on stdout,
unless the command had already printed its document. The codes are `imagekit.errors.ExitCode`; a reader who closes the
pipe early gives 141 and SIGTERM gives 143, as shells count them.
"""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from imagekit.cli.log import close_log
from imagekit.cli.main import forget_stdout
from imagekit.cli.output import Talk, colors_wanted, emit_json, short_path, suggest
from imagekit.errors import ExitCode, HostError, ImagekitError, UsageError

LOG = logging.getLogger("imagekit.cli")

PIPE_CLOSED = 128 + signal.SIGPIPE
TERMINATED = 128 + signal.SIGTERM
AGAIN = 0.01  # s after which a lost interruption is sent once more
MACHINE_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE,
                  errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EISDIR}


class Terminated(KeyboardInterrupt):
    """SIGTERM, taken like Ctrl-C so that the same clean-up runs."""


def run(argv: Sequence[str], *, prog_name: str) -> int:
    """Run one command line; the exit code."""
    talk = Talk(argv=tuple(argv))
    as_json = "--json" in argv
    logging.getLogger("imagekit").addHandler(logging.NullHandler())  # or Python prints what no log takes
    with contextlib.suppress(ValueError):  # not the main thread: a test runner's business
        signal.signal(signal.SIGTERM, _terminate)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name may be any bytes
    before, sys.unraisablehook = sys.unraisablehook, _unraisable
    try:
        from imagekit.cli.group import program

        if "_IMAGEKIT_COMPLETE" in os.environ:
            program.main(args=list(argv), prog_name=prog_name)
        with program.make_context(prog_name, list(argv), obj=talk) as ctx:
            program.invoke(ctx)
        sys.stdout.flush()
        return ExitCode.DONE
    except click.exceptions.Exit as asked:
        return asked.exit_code
    except ImagekitError as error:
        return tell(error, talk=talk, as_json=as_json)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except click.ClickException as error:
        return tell(usage_error(error), talk=talk, as_json=as_json)
    except BrokenPipeError:
        return _pipe_closed()
    except (click.Abort, EOFError, KeyboardInterrupt) as error:
        return _interrupted(error)
    except Exception as error:
        return tell(unexpected(error), talk=talk, as_json=as_json)
    finally:
        sys.unraisablehook = before
        close_log()


def tell(error: ImagekitError, *, talk: Talk, as_json: bool) -> int:
    """Print a failure for people on stderr, with `as_json` also for programs on stdout; its exit code."""
    log_path = None if error.exit_code == ExitCode.USAGE else talk.log_path
    LOG.error("%s", error.message, exc_info=error if error.exit_code != ExitCode.USAGE else None)
    bold, plain = ("\x1b[1;31m", "\x1b[0m") if colors_wanted(sys.stderr, talk=talk) else ("", "")
    lines = [f"{bold}imagekit:{plain} {error.message}", *(f"  {line}" for line in error.details)]
    lines += [f"hint: {error.hint}"] if error.hint else []
    lines += [f"log: {short_path(log_path)}"] if log_path else []
    with _stdout_may_fail():
        sys.stdout.flush()
    click.echo("\n".join(lines), err=True, color=bool(bold) or None)
    if as_json and not talk.emitted:
        with _stdout_may_fail():
            emit_json({"error": {"exit_code": int(error.exit_code), "kind": error.exit_code.name.lower(),
                                 "message": error.message, "details": list(error.details), "hint": error.hint,
                                 "log": log_path}})
    return int(error.exit_code)


@contextlib.contextmanager
def _stdout_may_fail() -> Iterator[None]:
    """It may be what has failed, and what waits in it would fail once more."""
    try:
        yield
    except OSError:
        forget_stdout()


def usage_error(error: click.ClickException) -> ImagekitError:
    """A complaint of click's in our words."""
    text = " ".join(error.format_message().split()).rstrip(".")
    text = (text[:1].lower() + text[1:]).replace("is not a valid float range", "is not a number")
    if isinstance(error, click.FileError):
        return HostError(f"cannot read the file named on the command line: {text}")
    if isinstance(error, click.exceptions.NoSuchCommand) and error.ctx and isinstance(error.ctx.command, click.Group):
        typed = f"{error.ctx.command_path} {error.command_name}".partition(" ")[2]
        return UsageError(f"cannot run {typed!r}: no such command",
                          hint=suggest(error.command_name, error.ctx.command.list_commands(error.ctx)))
    hint = None
    command = "imagekit"
    if isinstance(error, click.UsageError) and error.ctx is not None:
        command = error.ctx.command_path
    if isinstance(error, click.NoSuchOption):
        text = f"no such option {error.option_name!r}"
        if error.ctx is not None:
            known = {name for param in error.ctx.command.get_params(error.ctx) for name in param.opts}
            near = suggest(error.option_name, {name for name in known if name.startswith("--")})
            hint = near if near and near.startswith("did you") else None
    hint = f"{hint} ({command} --help lists all)" if hint else f"{command} --help"
    return UsageError(f"cannot read the command line: {text}", hint=hint)


def unexpected(error: Exception) -> ImagekitError:
    """The machine's faults that nobody foresaw are the machine's; all else is a bug of ours, with its trace logged."""
    if isinstance(error, OSError) and error.errno in MACHINE_FAULTS:
        about = f"cannot use {error.filename}" if error.filename else "cannot go on"
        told = HostError(f"{about}: {(error.strerror or str(error)).lower()}")
        told.__cause__ = error
        return told
    if isinstance(error, FileNotFoundError) and error.filename is None and _is_nowhere():
        gone = HostError("cannot go on: the folder that this was started in was removed", hint="cd to another one")
        gone.__cause__ = error
        return gone
    bug = ImagekitError(f"cannot go on: a mistake in imagekit itself: {type(error).__name__}: {error}",
                        hint="report it with the log, which has the whole trace")
    bug.__cause__ = error
    return bug


def _is_nowhere() -> bool:
    """Whether the current folder was removed."""
    try:
        Path.cwd()
    except FileNotFoundError:
        return True
    return False


def interruption(error: BaseException) -> tuple[int, str]:
    """The exit code of Ctrl-C or SIGTERM, and its word."""
    if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
        return TERMINATED, "terminated"
    return int(ExitCode.INTERRUPTED), "interrupted"


def _interrupted(error: BaseException) -> int:
    code, word = interruption(error)
    with _undisturbed():
        LOG.error("%s", word)
        click.echo(f"imagekit: {word}", err=True)
    return code


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Who presses Ctrl-C twice gets no trace for it: all that is left is to say that it was pressed."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError):  # not the main thread
            for number in (signal.SIGINT, signal.SIGTERM):
                stack.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        yield


def _pipe_closed() -> int:
    """Nobody reads any more."""
    forget_stdout()
    return PIPE_CLOSED


def _unraisable(lost: sys.UnraisableHookArgs) -> None:
    """An interruption that struck where Python cannot raise is sent again, a moment later; all else is as usual.

    Such places are callbacks of weak references, which every import has, and `__del__`.
    """
    if not issubclass(lost.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
        return
    number = signal.SIGTERM if issubclass(lost.exc_type, Terminated) else signal.SIGINT
    again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
    again.daemon = True
    again.start()


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
