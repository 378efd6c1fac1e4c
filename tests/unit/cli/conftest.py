"""The program as a user starts it, with folders of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.host.files import write_atomic
from imagekit.host.keyring import Keyring
from imagekit.testing.documents import Brand, signing_key

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "data" / "imagekit"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    env = {name: value for name, value in os.environ.items() if not name.startswith("IMAGEKIT")}
    env |= {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_STATE_HOME": str(tmp_path / "state"),
            "PYTHONPATH": str(Path(__file__).parents[3])}
    env.pop("SOURCE_DATE_EPOCH", None)

    def start(*args: object, code: int = 0, stdin: str | None = None, **more: str) -> subprocess.CompletedProcess[str]:
        fed = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
        done = subprocess.run([sys.executable, "-m", "imagekit.cli", *map(str, args)], cwd=tmp_path, text=True,
                              capture_output=True, check=False, env=env | more, timeout=120, **fed)  # type: ignore[call-overload]
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done
    return start


@pytest.fixture
def acme(home: Path) -> str:
    """The test brand's key, and its root in the folder of trust."""
    pem = signing_key("brand").rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Keyring(home / "keys").add("acme", pem, passphrase=lambda: b"")
    brand = Brand()
    write_atomic(home / "trust" / "acme.account", brand.account.encode())
    write_atomic(home / "trust" / "acme.account-key", brand.account_key.encode())
    return "acme"
