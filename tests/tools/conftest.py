"""What tests with other people's programs share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

RunTool = Callable[..., str]

ADMIN_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


@pytest.fixture
def run_tool() -> RunTool:
    """Runs a program and returns what it said; a missing program skips at home and fails in CI."""

    def run(name: str, *args: str | Path, status: int = 0) -> str:
        program = shutil.which(name, path=ADMIN_PATH)
        if program is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is not installed")
            pytest.skip(f"{name} is not installed")
        ended = subprocess.run([program, *map(str, args)], capture_output=True, text=True, check=False,
                               env={**os.environ, "LC_ALL": "C.UTF-8", "TZ": "UTC"})
        said = ended.stdout + ended.stderr
        assert ended.returncode == status, f"{name} ended with {ended.returncode}:\n{said}"
        return said

    return run
