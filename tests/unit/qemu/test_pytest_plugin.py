"""The plugin in somebody else's test run."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]


def test_device_without_an_image_says_which_option_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(device): pass")
    result = pytester.runpytest("-p", "imagekit.qemu.pytest_plugin")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*give --imagekit-image PATH*"])


def test_options_and_marker_are_known(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import pytest\n\n@pytest.mark.imagekit(machine='pc-nvme')\ndef test_it(): pass\n")
    pytester.runpytest("-p", "imagekit.qemu.pytest_plugin", "--strict-markers", "--imagekit-deadline", "30",
                       "--imagekit-machine", "pc").assert_outcomes(passed=1)


def test_image_that_is_none_of_ours_is_an_error_of_the_fixture(pytester: pytest.Pytester) -> None:
    path = pytester.makefile(".img", "no image")
    pytester.makepyfile("def test_it(device): pass")
    result = pytester.runpytest("-p", "imagekit.qemu.pytest_plugin", "--imagekit-image", str(path), "--imagekit-accel",
                                "tcg")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*cannot use*"])


@pytest.mark.parametrize(("words", "accel", "said"), [
    (["--imagekit-image", "absent.img"], "tcg", "*no image at absent.img*"),
    (["--imagekit-image", "."], "tcg", "*no image at .:*"),
    (["--imagekit-image", "test_it.py"], "kvn", "*no accelerator 'kvn': there is auto, tcg, kvm*")])
def test_image_or_accelerator_that_there_is_not_is_told_in_words(
        pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, words: list[str], accel: str, said: str) -> None:
    monkeypatch.setenv("IMAGEKIT_ACCEL", accel)
    pytester.makepyfile(test_it="def test_it(device): pass")
    result = pytester.runpytest("-p", "imagekit.qemu.pytest_plugin", *words)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([said])


CONSOLE = """
    import pytest
    from types import SimpleNamespace
    from imagekit.errors import TargetError
    from imagekit.qemu.pytest_plugin import _DEVICES

    @pytest.fixture
    def booted(request):
        line = SimpleNamespace(time_s=1.5, text="Kernel panic")
        device = SimpleNamespace(transcript=SimpleNamespace(lines=[line], path="console-0.log"))
        request.node.stash[_DEVICES] = [device]
        raise TargetError("cannot call it healthy", hint="the base is rotten", details=("boot 1 (power): no verdict",))
"""


def test_failure_in_a_fixture_that_boots_shows_console_and_likely_cause(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(f"{CONSOLE}\n    def test_it(booted): pass\n")
    result = pytester.runpytest("-p", "imagekit.qemu.pytest_plugin")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*boot 1 (power): no verdict*", "hint: the base is rotten", "*console-0.log*",
                                 "*Kernel panic*"])


def test_suite_without_devices_imports_nothing_of_qemu(pytester: pytest.Pytester,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    pytester.makepyfile("import sys\n\ndef test_it(): assert 'imagekit.qemu.device' not in sys.modules\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    pytester.runpytest_subprocess("-p", "imagekit.qemu.pytest_plugin").assert_outcomes(passed=1)
