"""`verify` as a user meets it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from imagekit.assertions import encode_stream
from imagekit.assertions.wire import armor
from imagekit.host.files import write_atomic
from imagekit.testing.documents import REAL, REAL_ROOT_KEY, Brand, signing_key

Run = Callable[..., subprocess.CompletedProcess[str]]
FILES = [*sorted(REAL.glob("valid-for-testing*.[am]*")), REAL / "store-key-and-publisher.assertions"]


def test_tree_leads_from_the_trusted_root_to_the_documents(run: Run) -> None:
    shown = run("verify", *FILES, "--trust", REAL).stdout
    assert shown.splitlines()[0] == (f"account-key {REAL_ROOT_KEY[:12]} of canonical (root), revision 2,"
                                     " since 2016-04-01T00:00:00Z: trusted root")
    assert shown.splitlines()[1].startswith("└── account-key BWDEoaqyr25n of canonical (store), revision 2, since ")
    assert "\n    │   └── model 16/test-snapd/my-model, revision 0: verified (" in shown
    assert shown == run("verify", *FILES, IMAGEKIT_TRUST=str(REAL)).stdout
    ascii_only = run("verify", *FILES, "--trust", REAL, PYTHONIOENCODING="ascii").stdout
    assert "\n    |   `-- model 16/test-snapd/my-model, revision 0: verified (" in ascii_only


def test_chain_without_a_root_is_unproven_and_its_end_is_told_once(run: Run) -> None:
    failed = run("verify", *FILES, code=4)
    lines = failed.stdout.splitlines()
    assert lines[0].startswith("authority unproven: its signature is valid, but leads to key BWDEoaqyr25n")
    assert len([line for line in lines if not line.startswith(("├", "└"))]) == 2
    assert failed.stderr.count("no account-key at hand") == 2
    assert "cannot verify 7 of 7 assertions and packages" in failed.stderr


def test_key_that_is_known_by_its_numbers_alone(run: Run, tmp_path: Path) -> None:
    brand = Brand()
    write_atomic(tmp_path / "pc.model", brand.model().encode())
    write_atomic(tmp_path / "key.pub", armor(brand.key.public.encode()) + b"\n")
    pem = signing_key("brand").rsa.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_atomic(tmp_path / "key.pem", pem)
    assert "unknown key: " in run("verify", "pc.model", code=4).stdout
    for name in ("key.pub", "key.pem"):
        shown = run("verify", "pc.model", "--public-key", name, code=4).stdout
        assert shown.startswith("authority unproven: its signature by key ") and "by its numbers alone" in shown
    private = tmp_path / "private.pem"
    private.write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
    assert "not a public key in PEM" in run("verify", "pc.model", "--public-key", private, code=3).stderr


def test_stream_on_stdin(run: Run, acme: str) -> None:
    brand = Brand()
    text = encode_stream((brand.model(), brand.account)).decode()
    shown = run("verify", "-", stdin=text).stdout
    assert "├── model 16/acme/pc, revision 0: verified (-)" in shown
    assert acme in shown
    assert "stdin:1: document: it is empty" in run("verify", "-", stdin="", code=3).stderr


def test_problems_of_all_files_are_told_and_trust_is_the_worst(run: Run, acme: str, tmp_path: Path) -> None:
    brand = Brand(acme)
    write_atomic(tmp_path / "good.model", brand.model().encode())
    write_atomic(tmp_path / "changed.model", brand.model().encode().replace(b"amd64", b"arm64"))
    write_atomic(tmp_path / "foreign.model", Brand(acme, key="stranger").model().encode())
    write_atomic(tmp_path / "junk.model", b"junk\n")
    failed = run("verify", "good.model", "changed.model", "foreign.model", "junk.model", code=4)
    assert "verified (good.model)" in failed.stdout
    for words in ("refused (changed.model)", "unknown key (foreign.model)", "malformed (junk.model)"):
        assert words in failed.stdout
    assert "cannot verify 3 of 4 assertions and packages" in failed.stderr
    assert "malformed (junk.model)" in run("verify", "good.model", "junk.model", code=3).stdout


def test_json_has_chain_roots_and_causes(run: Run, acme: str, tmp_path: Path) -> None:
    brand = Brand(acme)
    path = tmp_path / "pc.model"
    write_atomic(path, brand.model().encode())
    shown = json.loads(run("verify", "pc.model", "--json").stdout)
    model = shown["findings"][0]
    assert shown["verified"] is True and model["state"] == "verified" and model["error"] is None
    assert [root["account_id"] for root in shown["roots"]] == ["acme"] and shown["causes"] == []
    assert model["assertion"]["primary_key"] == {"series": "16", "brand-id": "acme", "model": "pc"}
    assert [(link["type"], link["verdict"]) for link in model["chain"]] == [
        ("account-key", "trusted root"), ("model", "verified")]
    write_atomic(path, path.read_bytes().replace(b"amd64", b"arm64"))
    shown = json.loads(run("verify", "pc.model", "--json", code=4).stdout)
    finding = shown["findings"][0]
    assert finding["state"] == "refused" and finding["chain"] is None
    assert "changed after it was signed" in finding["error"]["message"]
    assert [cause["subjects"] for cause in shown["causes"]] == [["model 16/acme/pc"]]


def test_tree_on_a_terminal_is_drawn(run: Run, acme: str, home: Path, tmp_path: Path) -> None:
    write_atomic(tmp_path / "pc.model", Brand(acme).model().encode())
    master, slave = pty.openpty()
    env = {**os.environ, "XDG_DATA_HOME": str(home.parent), "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "xterm",
           "COLUMNS": "200", "PYTHONPATH": str(Path(__file__).parents[3])}
    process = subprocess.Popen([sys.executable, "-m", "imagekit.cli", "verify", "pc.model"], stdin=slave, stdout=slave,
                               stderr=subprocess.PIPE, cwd=tmp_path, env=env)
    os.close(slave)
    shown = b""
    while True:
        try:
            shown += (piece := os.read(master, 4096))
        except OSError:
            break
        if not piece:
            break
    os.close(master)
    assert process.wait() == 0, process.stderr.read() if process.stderr else b""
    text = shown.decode()
    assert "└── " in text and "\x1b[" in text and "model 16/acme/pc, revision 0: verified (pc.model)" in text


def test_control_characters_of_a_name_do_not_reach_the_terminal(run: Run, acme: str, tmp_path: Path) -> None:
    raw = Brand(acme).model().encode()
    write_atomic(tmp_path / "pc.model", raw.replace(b"model: pc", b"model: p\x1b[2Jc", 1))
    failed = run("verify", "pc.model", code=3)
    assert "\x1b" not in failed.stdout + failed.stderr
