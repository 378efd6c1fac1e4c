"""Pytest fixtures for everybody's tests of everybody's images: `device`, and `make_device` for more than one.

    def test_power_cut(device):
        device.boot()
        device.power_cut()
        assert device.boot().healthy

Run as `pytest --imagekit-image out/pc-demo.img`; a suite that makes its own images overrides the fixture
`imagekit_image`. What a device can do is in `imagekit.qemu.device`; docs/testing-with-pytest.md tells the rest. Nothing
of imagekit is imported until a test asks for a fixture.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from imagekit.host.ports import Tools
    from imagekit.qemu.device import Device
    from imagekit.qemu.machine import Machine

ToolsFor = Callable[["Machine"], "Tools"]
MakeDevice = Callable[..., "Device"]
CONSOLE_LINES = 60
ACCELERATORS = ("auto", "tcg", "kvm")
_DEVICES = pytest.StashKey[list["Device"]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("imagekit", "devices in QEMU")
    group.addoption("--imagekit-image", metavar="PATH", default=os.environ.get("IMAGEKIT_IMAGE"),
                    help="the image that `device` boots (IMAGEKIT_IMAGE)")
    group.addoption("--imagekit-machine", metavar="NAME",
                    help="a machine of qemu/, or a .yaml file; else the one that is called as the image's gadget")
    group.addoption("--imagekit-accel", choices=ACCELERATORS,
                    default=os.environ.get("IMAGEKIT_ACCEL", "auto"),
                    help="auto: KVM where it proved itself (IMAGEKIT_ACCEL)")
    group.addoption("--imagekit-deadline", metavar="SECONDS", type=float, default=180.0,
                    help="how long a device may take until it is healthy")
    group.addoption("--imagekit-trust", metavar="DIR", action="append", default=[],
                    help="folder with roots of trust, besides your own")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "imagekit(image=, machine=, deadline_s=, accel=): what `device` is in a test")


@pytest.fixture
def imagekit_image(request: pytest.FixtureRequest) -> Path:
    """The image to boot: the marker's, or --imagekit-image. Override it to make one."""
    given = _marked(request, "image") or request.config.getoption("--imagekit-image")
    if not given:
        raise pytest.UsageError("no image for `device`: give --imagekit-image PATH, or override imagekit_image")
    return Path(given)


@pytest.fixture
def imagekit_trust(request: pytest.FixtureRequest) -> tuple[Path, ...]:
    """Folders with roots of trust: the user's own, and those of --imagekit-trust."""
    from imagekit.host.trust import default_trust_dir

    return (default_trust_dir(), *map(Path, request.config.getoption("--imagekit-trust")))


@pytest.fixture
def imagekit_tools() -> ToolsFor:
    """The programs for a machine, QEMU among them: the host's. Override it to run another QEMU."""
    from imagekit.host.tools import LocalTools

    return lambda _: LocalTools()


@pytest.fixture
def make_device(request: pytest.FixtureRequest, tmp_path: Path, imagekit_tools: ToolsFor,
                imagekit_trust: tuple[Path, ...]) -> Iterator[MakeDevice]:
    """Makes devices: `make_device(image, machine=..., deadline_s=..., accel=...)`, all switched off after the test."""
    made: list[Device] = []
    request.node.stash[_DEVICES] = made
    with ExitStack() as stack:
        def make(image: Path, *, machine: str | None = None, deadline_s: float | None = None,
                 accel: str | None = None) -> Device:
            device = stack.enter_context(_device(
                request, image, tmp_path / f"console-{len(made)}.log", imagekit_tools, imagekit_trust,
                machine=machine, deadline_s=deadline_s, accel=accel))
            made.append(device)
            return device

        yield make


@pytest.fixture
def device(make_device: MakeDevice, imagekit_image: Path) -> Device:
    """A device with its own copy of the image's disk, switched off."""
    return make_device(imagekit_image)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the end of the console with every test that failed, in a fixture that boots too, and the likely cause."""
    outcome: Any = yield
    report = outcome.get_result()
    if not report.failed:
        return
    error = call.excinfo.value if call.excinfo else None
    hint, details = getattr(error, "hint", None), getattr(error, "details", ())
    ours = any(kind.__module__ == "imagekit.errors" for kind in type(error).__mro__)
    if ours and (hint or details):
        report.sections.append(("imagekit", "\n".join((*details, *((f"hint: {hint}",) if hint else ())))))
    devices = item.stash.get(_DEVICES, None)
    for number, device in enumerate(devices or ()):
        text = "\n".join(f"[{line.time_s:8.3f}] {line.text}" for line in device.transcript.lines[-CONSOLE_LINES:])
        report.sections.append((f"console of device {number} ({device.transcript.path})", text))


def _marked(request: pytest.FixtureRequest, name: str) -> Any:
    marker = request.node.get_closest_marker("imagekit")
    return marker.kwargs.get(name) if marker else None


def _device(request: pytest.FixtureRequest, image: Path, transcript: Path, tools_for: ToolsFor,
            trust: tuple[Path, ...], *, machine: str | None, deadline_s: float | None, accel: str | None) -> Device:
    from imagekit.host.cache import default_cache_folder
    from imagekit.host.clock import SystemClock
    from imagekit.host.trust import load_trust
    from imagekit.qemu.device import Device
    from imagekit.qemu.expectation import read_expectation
    from imagekit.qemu.machine import machine_folders, machine_of
    from imagekit.qemu.session import Wish, choose

    def setting(given: Any, name: str, option: str) -> Any:
        return given or _marked(request, name) or request.config.getoption(option)

    wish = setting(accel, "accel", "--imagekit-accel")
    if wish not in ACCELERATORS:
        raise pytest.UsageError(f"no accelerator {wish!r}: there is {', '.join(ACCELERATORS)}")
    if not image.is_file():
        raise pytest.UsageError(f"no image at {image}: build one, or name another with --imagekit-image")
    with image.open("rb") as stream:
        expectation = read_expectation(stream, name=str(image), trusted=load_trust(trust), now=SystemClock().now())
    hardware = machine_of(setting(machine, "machine", "--imagekit-machine"), machine_folders(),
                          gadget=expectation.gadget, architecture=expectation.architecture)
    tools = tools_for(hardware)
    chosen = choose(tools, hardware, Wish(wish),
                    cache=default_cache_folder(os.environ))
    return Device(image, tools=tools, machine=hardware, accelerator=chosen.accelerator, expectation=expectation,
                  transcript=transcript, deadline_s=setting(deadline_s, "deadline_s", "--imagekit-deadline"))
