"""A key that never leaves its token: SoftHSM in the place of an HSM, by the program of docs/how-to."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from imagekit.assertions import Database, decode_stream, parse_account_key
from imagekit.assertions.wire import unarmor
from imagekit.host.clock import SystemClock
from imagekit.keys import decode_signature
from imagekit.testing.documents import MODEL_DRAFT, TESTS

pytestmark = pytest.mark.tools

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PROGRAM = TESTS.parent / "docs" / "how-to" / "sign-with-pkcs11.py"
KERNEL = TESTS / "unit" / "build" / "packages" / "small-kernel.erofs"
PIN = "1234"
Imagekit = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a token in which a key was made, and the token's settings."""
    for name in ("softhsm2-util", "pkcs11-tool"):
        if shutil.which(name) is None:
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{name} is not installed")
    folder = tmp_path_factory.mktemp("token")
    (folder / "tokens").mkdir()
    (folder / "conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nobjectstore.backend = file\n")
    env = {**os.environ, "SOFTHSM2_CONF": str(folder / "conf")}
    tool = ["pkcs11-tool", "--module", str(MODULE), "--token-label", "factory", "--login", "--pin", PIN]
    for argv in (["softhsm2-util", "--init-token", "--free", "--label", "factory", "--pin", PIN, "--so-pin", "5678"],
                 [*tool, "--keypairgen", "--key-type", "rsa:4096", "--label", "acme", "--usage-sign"],
                 [*tool, "--read-object", "--type", "pubkey", "--label", "acme", "-o", str(folder / "acme.der")]):
        subprocess.run(argv, env=env, check=True, capture_output=True)
    return folder


@pytest.fixture
def imagekit(token: Path, tmp_path: Path) -> Imagekit:
    """The program, with the key of the token in its keyring."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEKIT")}
    env |= {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state"),
            "PYTHONPATH": str(TESTS.parent), "SOFTHSM2_CONF": str(token / "conf"), "PKCS11_PIN": PIN}

    def start(*args: object, code: int = 0, **more: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run([sys.executable, "-m", "imagekit.cli", *map(str, args)], cwd=tmp_path, text=True,
                              capture_output=True, check=False, env=env | more, stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == code, done.stderr
        return done

    start("key", "add", "hsm", "--signer", f"{PROGRAM} {MODULE} factory acme", "--public", token / "acme.der")
    return start


def test_key_in_the_token_cannot_be_taken_out(token: Path) -> None:
    env = {**os.environ, "SOFTHSM2_CONF": str(token / "conf")}
    tool = ["pkcs11-tool", "--module", str(MODULE), "--token-label", "factory", "--login", "--pin", PIN]
    listed = subprocess.run([*tool, "--list-objects", "--type", "privkey"], env=env, check=True, capture_output=True,
                            text=True)
    assert "sensitive, always sensitive, never extractable" in listed.stdout


def test_model_and_package_are_signed_in_the_token(imagekit: Imagekit, tmp_path: Path, token: Path) -> None:
    imagekit("key", "vouch", "hsm", "--brand", "acme")
    (tmp_path / "pc.yaml").write_text(MODEL_DRAFT)
    shutil.copyfile(KERNEL, tmp_path / "small_1.snap")
    imagekit("sign", "pc.yaml", "small_1.snap", "-k", "hsm")
    assert imagekit("verify", "pc.model", "small_1.snap").stdout.count(": verified (") >= 3
    found = [item for name in ("pc.model", "small_1.assert")
             for item in decode_stream((tmp_path / name).read_bytes(), name=name)]
    root = next(item for item in found if item.type == "account-key")
    database = Database([root])
    for item in found:
        database.add(item)
    for item in found:
        database.verify(item, now=SystemClock().now())
        head, _, number = decode_signature(unarmor(item.signature, what="signature"))
        (tmp_path / "signature").write_bytes(number.to_bytes(512, "big"))
        (tmp_path / "hashed").write_bytes(item.content + head + b"\x04\xff" + len(head).to_bytes(4, "big"))
        done = subprocess.run(["openssl", "dgst", "-sha512", "-verify", token / "acme.der", "-keyform", "DER",
                               "-signature", "signature", "hashed"], cwd=tmp_path, capture_output=True, text=True,
                              check=False)
        assert done.stdout == "Verified OK\n", item.label
    assert parse_account_key(root).key.bits == 4096
    private = [path for path in (tmp_path / "data").rglob("*") if path.is_file() and b"PRIVATE" in path.read_bytes()]
    assert private == []


def test_wrong_pin_and_missing_token_fail_and_write_nothing(imagekit: Imagekit, tmp_path: Path) -> None:
    failed = imagekit("key", "check", "hsm", code=6, PKCS11_PIN="4321")
    assert "refused: pkcs11-tool ended with 1" in failed.stderr and "CKR_PIN_INCORRECT" in failed.stderr
    (tmp_path / "empty").mkdir()
    (tmp_path / "conf").write_text(f"directories.tokendir = {tmp_path / 'empty'}\n")
    assert "refused" in imagekit("key", "check", "hsm", code=6, SOFTHSM2_CONF=str(tmp_path / "conf")).stderr
    assert json.loads(imagekit("key", "show", "hsm", "--json").stdout)["kind"] == "external"


def test_pin_is_asked_for_at_the_terminal(imagekit: Imagekit, token: Path, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name != "PKCS11_PIN"}
    env |= {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state"),
            "PYTHONPATH": str(TESTS.parent), "SOFTHSM2_CONF": str(token / "conf")}
    pid, master = pty.fork()
    if not pid:
        os.execve(sys.executable, [sys.executable, "-m", "imagekit.cli", "key", "check", "hsm"], env)
    shown = b""
    asked = False
    while select.select([master], [], [], 60)[0]:
        try:
            shown += os.read(master, 4096)
        except OSError:
            break
        if b"PIN" in shown and not asked:
            asked = True
            time.sleep(0.5)  # it switches the echo off, and throws away what was typed before
            os.write(master, PIN.encode() + b"\n")
    os.close(master)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
    assert asked and b"key hsm signs" in shown and PIN.encode() not in shown
