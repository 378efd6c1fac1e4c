"""Every format that is kept on a disk by a device, a store or a station, by example.

tests/frozen/VERSION/formats holds the bytes, one file for each of `FORMATS`. A program that is older or newer meets
them: a new base finds what the old one wrote, and after a rollback the old one what the new one wrote.
"""

from __future__ import annotations

from collections.abc import Mapping

from tests.frozen.disk import DISK
from tests.frozen.format import Format
from tests.frozen.memory import MEMORY
from tests.frozen.station import STATION
from tests.frozen.store import STORE

FORMATS: Mapping[str, Format] = {**DISK, **MEMORY, **STORE, **STATION}
