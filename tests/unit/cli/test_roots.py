"""`imagekit trust` as a user meets it."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import encode_stream
from imagekit.host.files import write_atomic
from imagekit.testing.documents import REAL, REAL_ROOT_KEY, Brand

Run = Callable[..., subprocess.CompletedProcess[str]]
CHAIN = [REAL / "valid-for-testing-pc-20.model", REAL / "valid-for-testing.account",
         REAL / "valid-for-testing.account-key", REAL / "store-key-and-publisher.assertions"]


def test_canonical_is_believed_after_one_command_and_not_before(run: Run, home: Path) -> None:
    run("verify", *CHAIN, code=4)
    added = run("trust", "add", "canonical")
    assert added.stdout == REAL_ROOT_KEY + "\n"
    assert f"trusted: root key {REAL_ROOT_KEY} of canonical (root), since 2016-04-01T00:00:00Z" in added.stderr
    run("verify", *CHAIN)
    assert sorted(path.name for path in (home / "trust").iterdir()) == [
        f"canonical-{REAL_ROOT_KEY[:12]}.account-key", "canonical.account"]
    assert "already trusted: root key" in run("trust", "add", "canonical").stderr
    assert "no longer trusted: account-key" in run("trust", "remove", "canonical").stderr
    run("verify", *CHAIN, code=4)
    assert list((home / "trust").iterdir()) == []


def test_brand_is_believed_by_its_own_root_from_a_file(run: Run, tmp_path: Path) -> None:
    brand = Brand()
    write_atomic(tmp_path / "acme.assert", encode_stream(brand.roots))
    write_atomic(tmp_path / "pc.model", brand.model().encode())
    run("verify", "pc.model", code=4)
    run("trust", "add", "acme.assert")
    run("verify", "pc.model")
    run("trust", "remove", brand.key.public.key_id[:8])
    run("verify", "pc.model", code=4)


def test_list_for_people_and_programs(run: Run, acme: str) -> None:
    key_id = Brand(acme).key.public.key_id
    run("trust", "add", "canonical")
    header, *rows = run("trust", "list").stdout.splitlines()
    assert header.split() == ["account", "name", "in", "force", "since", "until", "file", "key", "id"]
    assert {row.split()[0]: row.split()[-1] for row in rows} == {"acme": key_id, "canonical": REAL_ROOT_KEY}
    shown = json.loads(run("trust", "list", "--json").stdout)
    assert [(root["account_id"], root["in_force"]) for root in shown["roots"]] == [("canonical", True), ("acme", True)]
    assert {other["type"] for other in shown["others"]} == {"account"}


def test_no_roots_yet_is_no_error(run: Run) -> None:
    listed = run("trust", "list")
    assert listed.stdout == "" and "imagekit trust add" in listed.stderr
    assert json.loads(run("trust", "list", "--json").stdout)["roots"] == []


def test_add_and_remove_as_json(run: Run) -> None:
    added = json.loads(run("trust", "add", "canonical", "--json").stdout)["added"]
    assert [(item["type"], item["root"], item["known"]) for item in added] == [
        ("account", False, False), ("account-key", True, False)]
    removed = json.loads(run("trust", "remove", REAL_ROOT_KEY[1:], "--json").stdout)["removed"]
    assert {item["type"] for item in removed} == {"account", "account-key"}


@pytest.mark.parametrize(("args", "code", "text"), [
    (("add", "cannonical"), 2, "no root of that name comes with imagekit"),
    (("add", "pc.model"), 2, "only an account-key and its account make a root"),
    (("add", "changed.account-key"), 4, "changed after it was signed"),
    (("add", "vouched.account-key"), 4, "no account-key at hand has its key"),
    (("remove", "canonical"), 2, "no account and no key in"),
    (("remove", "XhDW"), 2, "no account and no key in"),
])
def test_misuse_is_told_with_its_exit_code(
        run: Run, acme: str, home: Path, tmp_path: Path, args: tuple[str, ...], code: int, text: str) -> None:
    write_atomic(tmp_path / "pc.model", Brand(acme).model().encode())
    stranger = Brand("stranger").account_key.encode()
    write_atomic(tmp_path / "changed.account-key", stranger.replace(b"name: root", b"name: toor"))
    write_atomic(tmp_path / "vouched.account-key", (REAL / "valid-for-testing.account-key").read_bytes())
    before = sorted((home / "trust").iterdir())
    assert text in run("trust", *args, code=code).stderr
    assert sorted((home / "trust").iterdir()) == before


@pytest.mark.parametrize(("reply", "code"), [(b"y\n", 0), (b"n\n", 2)])
def test_terminal_shows_the_key_and_asks(home: Path, tmp_path: Path, reply: bytes, code: int) -> None:
    master, slave = pty.openpty()
    env = {**os.environ, "XDG_DATA_HOME": str(home.parent), "XDG_STATE_HOME": str(tmp_path / "state"), "COLUMNS": "300",
           "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "trust", "add", "canonical"], stdin=slave,
                               stdout=slave, stderr=slave, env=env, start_new_session=True, cwd=tmp_path)
    os.close(slave)
    shown, answered = b"", False
    while True:
        ready, _, _ = select.select([master], [], [], 60)
        assert ready, shown
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
        if not answered and b"Trust this?" in shown:
            assert REAL_ROOT_KEY.encode() in shown
            os.write(master, reply)
            answered = True
    os.close(master)
    assert process.wait() == code, shown
    assert answered and (home / "trust" / "canonical.account").exists() == (code == 0)
