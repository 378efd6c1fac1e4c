"""The log of every run."""

from __future__ import annotations

import logging
import shlex
from pathlib import Path

import pytest

from imagekit.cli.log import KEPT, close_log, open_log, without_secrets
from imagekit.host.folders import log_folder


def test_values_of_secret_options_are_left_out() -> None:
    assert without_secrets(["key", "create", "--passphrase", "open sesame", "-o", "a b", "--pin=1234"]) == \
        "key create --passphrase ... -o 'a b' --pin=..."


def test_secrets_inside_of_words_are_left_out_too() -> None:
    assert without_secrets(["store", "sync", "https://joe:hunter2@example.com/x"]) == \
        "store sync https://...@example.com/x"
    assert without_secrets(["boot", "rfc2217://token@line:4000"]) == "boot rfc2217://...@line:4000"
    assert without_secrets(["key", "add", "hsm", "--signer", "sign --slot 1 --pin 1234"]) == \
        "key add hsm --signer 'sign --slot 1 --pin ...'"
    for whole in ("https://example.com/a@b:c", "two words", "it's one", "http://[::1]:8000/"):
        assert without_secrets(["x", whole]) == shlex.join(["x", whole])


def test_only_the_newest_logs_are_kept() -> None:
    folder = log_folder()
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(KEPT + 5):
        (folder / f"20000101T0000{number:02}Z-old-1.log").touch()
    new = open_log(["doctor"], command="doctor")
    close_log()
    kept = sorted(folder.glob("*.log"))
    assert new in kept and len(kept) == KEPT
    assert not (folder / "20000101T000000Z-old-1.log").exists()


def test_log_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert open_log([], command="x", path=tmp_path / "file" / "log") is None


def test_log_on_a_full_disk_stops_nothing_and_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert open_log([], command="x", path=Path("/dev/full")) is not None
    logging.getLogger("imagekit.any").error("message")
    close_log()
    assert capsys.readouterr() == ("", "")


def test_second_run_in_one_process_has_its_own_log(tmp_path: Path) -> None:
    for name in ("a", "b"):
        open_log([], command="x", path=tmp_path / name)
        logging.getLogger("imagekit.any").debug("message of %s", name)
        close_log()
    assert "message of b" in (tmp_path / "b").read_text()
    assert "message of b" not in (tmp_path / "a").read_text()


def test_file_name_that_is_no_text_is_logged_quietly(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("imagekit"), "propagate", False)  # no test runner hands such a name on
    path = open_log(["inspect", "\udcff.img"], command="inspect", path=tmp_path / "log")
    logging.getLogger("imagekit.any").info("cannot read %s", "\udcff.img")
    close_log()
    assert path is not None and "cannot read \\udcff.img" in path.read_text()
    assert capsys.readouterr() == ("", "")
