"""A store for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.testing.stores import StoreRig


@pytest.fixture
def rig(tmp_path: Path) -> StoreRig:
    """A store with the publisher acme, and nothing published."""
    rig = StoreRig(folder=tmp_path / "store", packages=tmp_path / "packages")
    rig.create()
    rig.add_publisher()
    return rig
