"""Running ourselves again."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.again import run_again


def test_modules_come_from_imagekit_and_never_from_the_current_folder(tmp_path: Path,
                                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "click.py").write_text("open('ran', 'w')\nraise SystemExit(0)\n")
    monkeypatch.chdir(tmp_path)
    run_again(["--version"], env={})
    assert not (tmp_path / "ran").exists()


def test_failure_is_told_with_its_last_lines() -> None:
    with pytest.raises(HostError, match="cannot build a second time: it failed with exit status 2") as caught:
        run_again(["no-such-command"], env={})
    assert any("no-such-command" in line for line in caught.value.details)
