"""`key`, `sign` and `verify` as a user meets them."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import decode_one, decode_stream
from imagekit.testing.documents import MODEL_DRAFT, Brand, signing_key

KERNEL = Path(__file__).parent.parent / "build" / "packages" / "small-kernel.erofs"
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_from_a_new_key_to_a_verified_model_and_package(run: Run, home: Path, tmp_path: Path) -> None:
    (tmp_path / "pc-demo.yaml").write_text(MODEL_DRAFT)
    shutil.copyfile(KERNEL, tmp_path / "small_1.snap")
    created = run("key", "create", "first", "--brand", "acme")
    key_id = created.stdout.strip()
    assert len(key_id) == 64
    assert stat.S_IMODE((home / "keys" / "first.pem").stat().st_mode) == 0o600
    assert sorted(path.name for path in (home / "trust").iterdir()) == ["acme.account", "first.account-key"]
    assert run("sign", "pc-demo.yaml", "small_1.snap", "-k", "first").stdout == "pc-demo.model\nsmall_1.assert\n"
    lines = run("verify", "pc-demo.model", "small_1.snap").stdout.splitlines()
    assert lines[0].startswith(f"account-key {key_id[:12]} of acme (first), revision 0, since ")
    assert lines[0].endswith(": trusted root (pc-demo.model)")
    assert lines[1:] == [
        "├── model 16/acme/pc, revision 0: verified (pc-demo.model)",
        "├── account acme, revision 0: verified (pc-demo.model)",
        f"└── package small_1.snap, snap-revision signed by key {key_id[:12]}: verified (small_1.snap)"]


def test_source_date_makes_signing_reproducible(run: Run, acme: str, tmp_path: Path) -> None:
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    for name in ("one", "two"):
        run("sign", "pc.yaml", "-k", acme, "-o", name, SOURCE_DATE_EPOCH="1767225600")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    model = decode_stream((tmp_path / "one").read_bytes(), name="one")[0]
    assert model.text("timestamp") == "2026-01-01T00:00:00Z"


def test_key_list_and_show_know_the_brand(run: Run, acme: str) -> None:
    key_id = signing_key("brand").public.key_id
    lines = run("key", "list").stdout.splitlines()
    assert lines[0].split() == ["name", "brand", "kind", "bits", "passphrase", "key", "id"]
    assert lines[1].split() == ["acme", "acme", "local", "4096", "no", key_id[:12]]
    assert json.loads(run("key", "list", "--json").stdout)["keys"][0]["account_keys"][0]["self_signed"] is True
    assert f"key-id: {key_id}\n" in run("key", "show", acme).stdout
    assert json.loads(run("key", "show", acme, "--json").stdout)["key_id"] == key_id


def test_no_keys_yet_is_no_error(run: Run) -> None:
    assert run("key", "list").stdout == ""
    assert json.loads(run("key", "list", "--json").stdout) == {"keys": []}


def test_export_is_the_public_part_unless_asked_otherwise(run: Run, acme: str, tmp_path: Path) -> None:
    exported = run("key", "export", acme)
    assert decode_one(exported.stdout.encode(), name="x") == Brand().account_key
    assert "PRIVATE" not in exported.stdout + exported.stderr
    run("key", "export", acme, "--private", "-o", "copy.pem")
    assert stat.S_IMODE((tmp_path / "copy.pem").stat().st_mode) == 0o600
    private = run("key", "export", acme, "--private")
    assert "-----BEGIN PRIVATE KEY-----" in private.stdout and "warning: this is the private key" in private.stderr
    run("key", "import", "copy.pem")
    assert "copy" in run("key", "list").stdout


def test_no_private_key_and_no_passphrase_is_ever_logged(run: Run, acme: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame\n")
    run("key", "export", acme, "--private")
    run("key", "create", "second", "--brand", "acme2", "--passphrase-file", "secret")
    run("key", "show", "second", "-v")
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("sign", "pc.yaml", "-k", "second", "--passphrase-file", "secret")
    logs = b"".join(path.read_bytes() for path in (tmp_path / "state").rglob("*") if path.is_file())
    assert logs
    private = (tmp_path / "data" / "imagekit" / "keys" / "second.pem").read_bytes().splitlines()[1]
    for secret in (b"sesame", b"BEGIN PRIVATE", b"BEGIN ENCRYPTED", private):
        assert secret not in logs


def test_key_with_a_passphrase_is_opened_by_file_or_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame\n")
    (tmp_path / "wrong").write_text("open barley\n")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("key", "create", "acme", IMAGEKIT_PASSPHRASE_FILE="secret")
    assert "there is no terminal to ask" in run("sign", "pc.yaml", "-k", "acme", code=2).stderr
    assert "not the right one" in run("sign", "pc.yaml", "-k", "acme", "--passphrase-file", "wrong", code=4).stderr
    assert "first line" in run("sign", "pc.yaml", "-k", "acme", "--passphrase-file", "empty", code=2).stderr
    assert not (tmp_path / "pc.model").exists()
    run("sign", "pc.yaml", "-k", "acme", "--passphrase-file", "secret")
    assert not [name for name in run("sign", "--help").stdout.split() if name == "--passphrase"]


def test_prompt_at_a_terminal_shows_no_passphrase(run: Run, home: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    env = {**os.environ, "XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state")}
    process = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "key", "create", "acme"], stdin=slave,
                               stdout=slave, stderr=slave, env=env, start_new_session=True)
    os.close(slave)
    shown = b""
    answers = [b"open sesame\n", b"open sesame\n"]
    while True:
        ready, _, _ = select.select([master], [], [], 60)
        assert ready, shown
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
        if answers and shown.count(b": ") == 3 - len(answers):
            os.write(master, answers.pop(0))
    os.close(master)
    assert process.wait() == 0, shown
    assert b"Passphrase for key acme" in shown and b"sesame" not in shown
    assert b"ENCRYPTED" in (home / "keys" / "acme.pem").read_bytes()


def test_key_that_others_may_read_is_refused_with_the_remedy(run: Run, acme: str, home: Path, tmp_path: Path) -> None:
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    (home / "keys" / "acme.pem").chmod(0o640)
    failed = run("sign", "pc.yaml", "-k", acme, code=4)
    assert "others may get at it (mode 0640)" in failed.stderr and "hint: chmod 600" in failed.stderr


@pytest.mark.parametrize(("args", "code", "text"), [
    (("key", "create", "../up"), 2, "cannot use '../up' as an account id"),
    (("key", "create", "../up", "--brand", "acme"), 2, "cannot name a key '../up'"),
    (("key", "create", "X"), 2, "as an account id"),
    (("key", "create", "acme"), 2, "there is one of that name"),
    (("key", "create", "n", "--brand", "acme", "--since", "tomorrow"), 2, "not a time of RFC 3339"),
    (("key", "create", "n", "--brand", "acme", "--until", "2001-01-01T00:00:00Z"), 2, "ends 2001-01-01"),
    (("key", "show", "other"), 2, "there is acme"),
    (("key", "export", "other"), 2, "there is acme"),
    (("key", "import", "pc.yaml"), 2, "is an assertion, not a private key"),
    (("key", "import", "junk"), 3, "not a private key in PEM"),
    (("sign", "pc.yaml", "-k", "other"), 2, "there is acme"),
    (("sign", "pc.yaml"), 2, "-k"),
    (("sign", "junk", "-k", "acme"), 3, "a map of headers is expected"),
    (("sign", "pc.yaml", "junk", "-k", "acme", "-o", "out"), 2, "it is not a folder"),
    (("verify", "junk"), 3, "ends before a blank line"),
    (("verify", "pc.yaml", "--trust", "absent"), 2, "absent"),
])
def test_misuse_is_told_with_its_exit_code(
        run: Run, acme: str, tmp_path: Path, args: tuple[str, ...], code: int, text: str) -> None:
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    (tmp_path / "junk").write_text("junk\n")
    assert text in run(*args, code=code).stderr


def test_root_that_cannot_be_stored_leaves_no_key_behind(run: Run, home: Path) -> None:
    (home / "trust").mkdir(parents=True)
    (home / "trust" / "acme.account-key").write_bytes(Brand().account_key.encode())
    assert "such a root of trust already" in run("key", "create", "acme", code=2).stderr
    assert run("key", "list").stdout == ""


def test_sign_as_json(run: Run, acme: str, tmp_path: Path) -> None:
    shutil.copyfile(KERNEL, tmp_path / "small_1.snap")
    shown = json.loads(run("sign", "small_1.snap", "-k", acme, "--json").stdout)
    assert shown["account_id"] == "acme" and shown["signed"][0]["unchanged"] is False
    assert [item["type"] for item in shown["signed"][0]["assertions"]][-1] == "snap-revision"
    assert json.loads(run("sign", "small_1.snap", "-k", acme, "--json").stdout)["signed"][0]["unchanged"] is True


def test_no_option_switches_trust_off(run: Run) -> None:
    for command in (("sign",), ("verify",), ("trust", "add"), ("build",)):
        words = run(*command, "--help").stdout.lower()
        assert not [word for word in ("insecure", "no-verify", "force", "skip", "ignore") if word in words]


def test_control_characters_of_a_document_do_not_reach_the_terminal(run: Run, acme: str, tmp_path: Path) -> None:
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    run("sign", "pc.yaml", "-k", acme)
    raw = (tmp_path / "pc.model").read_bytes()
    (tmp_path / "pc.model").write_bytes(raw.replace(b"model: pc", b"model: p\x1b[2Jc", 1))
    failed = run("verify", "pc.model", code=3)
    assert "\x1b" not in failed.stdout + failed.stderr
