"""What every test gets: a home of its own, so that none reads or writes the user's keys, cache or logs."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

XDG = {"XDG_DATA_HOME": "data", "XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config"}


class Teller:
    """Names what failed at once: a whole run takes most of an hour, and its summary comes at the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if report.failed and terminal:
            lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
            terminal.write_line("\n".join([f"\n{report.nodeid} ({report.when}):", *lines[:12]]))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Teller(config))


@pytest.fixture(autouse=True, scope="session")
def home_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    home = tmp_path_factory.mktemp("home")
    saved = {name: os.environ.get(name) for name in XDG}
    os.environ.update({name: str(home / folder) for name, folder in XDG.items()})
    yield
    for name, value in saved.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_works() -> None:
    """A shell starts what it runs in the background with SIGINT ignored, and children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def repository() -> Path:
    return Path(__file__).parent.parent


@pytest.fixture
def program() -> Callable[[str], str]:
    """Finds a program by name; a missing one skips the test at home and fails it in CI."""

    def find(name: str) -> str:
        found = shutil.which(name, path=os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin")))
        if found is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
        return found

    return find
