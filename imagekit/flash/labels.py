"""Labels of units: an SVG file for each, and the printer's program, where the job names one.

    NUMBER-RECORD.svg             a label that is printed, or only to be had where the job names no program
    NUMBER-RECORD.unprinted.svg   one that is on its way to the printer, or came back

A label that cannot be printed is told, and is no reason to hold the unit back: the file is there, and the record too.
What was cut off before its end has no file of the first kind, and so may be found and made again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from imagekit.errors import HostError
from imagekit.host.files import flush_folder, no_space, write_atomic
from imagekit.host.ports import Tools
from imagekit.plan.factory_label import Label, Unit, encode_label

PRINT_S = 60.0


class Labels(Protocol):
    """Where units get their labels from."""

    def has(self, unit: Unit) -> bool:
        """Whether it was made, and printed."""

    def __call__(self, unit: Unit) -> str:
        """Make and print it, once more if need be; what went wrong, or nothing."""


class LabelPrinter:
    """Makes and prints labels; `folder` is the job's, from which relative paths count."""

    def __init__(self, label: Label, folder: Path, *, tools: Tools) -> None:
        self._label, self._folder, self._tools = label, folder, tools

    def file(self, unit: Unit) -> Path:
        """Where a unit's label is once it is printed."""
        return self._folder / self._label.folder / f"{unit.name}.svg"

    def has(self, unit: Unit) -> bool:
        """Whether it was made, and printed."""
        return self.file(unit).exists()

    def __call__(self, unit: Unit) -> str:
        """Make and print the label of a unit; what went wrong, or nothing."""
        path = self.file(unit)
        waiting = path.with_suffix(".unprinted.svg")
        try:
            write_atomic(waiting, encode_label(self._label, unit.values).encode())
            if self._label.command:
                name, *words = (word.replace("{file}", str(waiting)) for word in self._label.command)
                name = str(self._folder / name) if "/" in name else name
                self._tools.run(name, *words, cwd=self._folder, timeout_s=PRINT_S)
            _rename(waiting, path)
        except HostError as error:
            return f"its label: {error.message}"
        return ""


def _rename(waiting: Path, path: Path) -> None:
    try:
        waiting.replace(path)
        flush_folder(path.parent)
    except OSError as error:
        raise no_space(path, error) from error
