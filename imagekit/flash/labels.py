"""Labels of units: an SVG file for each, and the printer's program, where the job names one.

A label that cannot be printed is told, and is no reason to hold the unit back: the file is there, and the record too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imagekit.errors import HostError
from imagekit.host.files import write_atomic
from imagekit.host.ports import Tools
from imagekit.plan.factory_label import Label, encode_label

PRINT_S = 60.0


class LabelPrinter:
    """Makes and prints labels; `folder` is the job's, from which relative paths count."""

    def __init__(self, label: Label, folder: Path, *, station: str, image: str, model: str,
                 tools: Tools) -> None:
        self._label, self._folder, self._tools = label, folder, tools
        self._station, self._image, self._model = station, image, model

    def __call__(self, number: int, said: Mapping[str, Any]) -> str:
        """Make the label of a record; what went wrong, or nothing."""
        values = {"serial": str((said.get("identity") or {}).get("serial", "")), "model": self._model,
                  "number": str(number), "station": self._station, "image": self._image,
                  "date": str(said["began"])[:10], "record": str(said["record"])}
        path = self._folder / self._label.folder / f"{number:06}.svg"
        try:
            write_atomic(path, encode_label(self._label, values).encode())
            if self._label.command:
                name, *words = (word.replace("{file}", str(path)) for word in self._label.command)
                name = str(self._folder / name) if "/" in name else name
                self._tools.run(name, *words, cwd=self._folder, timeout_s=PRINT_S)
        except HostError as error:
            return f"its label: {error.message}"
        return ""
