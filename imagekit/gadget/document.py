"""The file that a gadget's package has its document in, and how much of one is read."""

from __future__ import annotations

from imagekit.gadget.parse import parse_gadget
from imagekit.gadget.values import Era, Gadget
from imagekit.schema import load_yaml
from imagekit.units import MIB

GADGET_YAML = "meta/gadget.yaml"
GADGET_MOST = 64 * MIB  # of a package and of each of its files: a device reads them into memory


def parse_gadget_yaml(raw: bytes, *, name: str) -> Gadget:
    """A gadget.yaml, as the builder reads it. Raises: DocumentError."""
    return parse_gadget(load_yaml(raw, name=name, repeated_keys=True), era=Era.UC20)
