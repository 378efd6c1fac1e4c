"""The errors a user may meet, and the exit code of each kind.

Everything that is the user's, a document's or the machine's fault is an `ImagekitError`; anything else
that escapes is a bug of ours and keeps its traceback. Messages read `cannot <verb> <object>: <reason>`,
lower case, without a full stop; the remedy is the hint. Only `imagekit.cli` prints them and exits.
"""

from __future__ import annotations

from enum import IntEnum

_LONGEST = 300  # characters of an error that is none of ours


class ExitCode(IntEnum):
    """What the program's exit status tells a script (docs/reference/exit-codes.md)."""

    DONE = 0
    BUG = 1
    USAGE = 2
    DOCUMENT = 3
    TRUST = 4
    PLAN = 5
    HOST = 6
    TARGET = 7
    INTERRUPTED = 130


class ImagekitError(Exception):
    """A failure that a person can act on.

    `details` are further lines: the other problems of the same document, or the last words of a program.
    """

    exit_code: ExitCode = ExitCode.BUG

    def __init__(self, message: str, *, hint: str | None = None, details: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details


class UsageError(ImagekitError):
    """The command line asks for something that makes no sense."""

    exit_code = ExitCode.USAGE


class DocumentError(ImagekitError):
    """A document (assertion, YAML file, package, disk image) is not what its format demands."""

    exit_code = ExitCode.DOCUMENT


class TrustError(ImagekitError):
    """A signature, digest or authority does not hold. Fatal: no option skips it."""

    exit_code = ExitCode.TRUST


class PlanError(ImagekitError):
    """Valid documents that cannot be brought together: nothing fits, something is missing."""

    exit_code = ExitCode.PLAN


class HostError(ImagekitError):
    """This machine lacks a program, a right, space or the network."""

    exit_code = ExitCode.HOST


class TargetError(ImagekitError):
    """The target (guest, card, board) refused or failed."""

    exit_code = ExitCode.TARGET


def message_of(error: Exception) -> str:
    """Its message, in one line; of what is none of the above, that it is a bug of ours, and which."""
    return error.message if isinstance(error, ImagekitError) else f"a mistake in imagekit itself: {error!r}"[:_LONGEST]
