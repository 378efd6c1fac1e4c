"""Where the user's things lie, and the day that the environment sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import UsageError
from imagekit.host.folders import (
    data_folder,
    default_cache_folder,
    default_keys_dir,
    default_trust_dir,
    log_folder,
    source_date_epoch,
)


@pytest.mark.parametrize(("environ", "folder"), [
    ({"XDG_DATA_HOME": "/data"}, Path("/data/imagekit")),
    ({"XDG_DATA_HOME": "relative", "HOME": "/h"}, Path("/h/.local/share/imagekit")),
    ({}, Path.home() / ".local/share/imagekit"),
])
def test_own_data_follow_the_base_directory_specification(environ: dict[str, str], folder: Path) -> None:
    assert data_folder(environ) == folder
    assert default_trust_dir(environ) == folder / "trust"
    assert default_keys_dir(environ) == folder / "keys"


@pytest.mark.parametrize(("environ", "folder"), [
    ({"IMAGEKIT_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, Path("/c")), ({"XDG_CACHE_HOME": "/x"}, Path("/x/imagekit")),
    ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, Path("/h/.cache/imagekit")), ({}, Path.home() / ".cache/imagekit"),
])
def test_cache_is_named_or_the_users(environ: dict[str, str], folder: Path) -> None:
    assert default_cache_folder(environ) == folder


def test_logs_lie_in_the_state_folder() -> None:
    assert log_folder({"XDG_STATE_HOME": "/s"}) == Path("/s/imagekit/logs")
    assert log_folder({"XDG_STATE_HOME": "s", "HOME": "/h"}) == Path("/h/.local/state/imagekit/logs")


@pytest.mark.parametrize("text", ["soon", "today", "-1", "1.5", "1e9", "4294967296", "9" * 5000, "\u0663"])
def test_source_date_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="SOURCE_DATE_EPOCH"):
        source_date_epoch({"SOURCE_DATE_EPOCH": text})


def test_source_date_is_taken_where_it_is_set() -> None:
    assert source_date_epoch({"SOURCE_DATE_EPOCH": "1700000000"}) == 1_700_000_000
    assert source_date_epoch({"SOURCE_DATE_EPOCH": ""}) is None
    assert source_date_epoch({}) is None
