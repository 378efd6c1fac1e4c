"""What a factory wrote onto a device, read by the device: shown if it holds, told if not, and never in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from imagekit.assertions import encode_stream
from imagekit.assertions.wire import armor
from imagekit.device.anchors import own_anchors
from imagekit.device.cli import main
from imagekit.device.identity import identify
from imagekit.disk.identity import DeviceIdentity, encode_identity
from imagekit.testing.documents import Brand, VouchedBrand, signing_key
from tests.tools.update_rig import SYSTEMD_BOOT, Maker, Rig, make, root_of

STRUCTURE = """\
      - name: identity
        type: 78A5F12C-536E-5C91-A08E-EDD0A1134301
        size: 1M
"""


@pytest.fixture(scope="module")
def maker(tmp_path_factory: pytest.TempPathFactory) -> Maker:
    made = make(tmp_path_factory.mktemp("maker"), SYSTEMD_BOOT)
    made.gadget(1, change=lambda text: text.replace("      - name: seed\n", f"{STRUCTURE}      - name: seed\n", 1))
    made.build(serial_authority=("stranger",))
    made.kernel(2)
    return made


@pytest.fixture
def rig(maker: Maker, tmp_path: Path) -> Rig:
    made = Rig(tmp_path / "device", maker.image, maker.loader)
    made.revisions = {("pc-kernel", number): root_of(maker, maker.workshop.packages / f"pc-kernel_{number}.snap")
                      for number in (1, 2)}
    return made


def identity(brand: Brand, *, model: str = "pc", key: str = "stranger", roots: int = 2) -> DeviceIdentity:
    device, owner = signing_key("stranger"), signing_key(key)
    made = brand.sign({"type": "serial", "authority-id": brand.name, "brand-id": brand.name, "model": model,
                       "serial": "A0001", "device-key": armor(device.public.encode()).decode(),
                       "device-key-sha3-384": device.public.key_id, "timestamp": "2026-01-01T00:00:00Z"})
    return DeviceIdentity(assertions=encode_stream([made, *brand.roots[:roots]]),
                          key=owner.rsa.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def write(rig: Rig, raw: bytes) -> None:
    with rig.device("identity").open("r+b") as out:
        out.write(raw)


def told(rig: Rig, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """What `status` and `model` say, which agree: as a document, and in words."""
    found, texts = [], []
    for word in ("status", "model"):
        assert main([word, "--json"], machine=rig.machine) == 0
        found.append(json.loads(capsys.readouterr().out)["identity"])
        assert main([word], machine=rig.machine) == 0
        texts += [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip().startswith("serial:")]
    assert found[0] == found[1]
    return found[0], "|".join(texts)


def test_device_shows_the_serial_that_its_brand_signed_and_goes_by_it(rig: Rig, capsys: pytest.CaptureFixture[str]
                                                                      ) -> None:
    nameless = identify(rig.machine, own_anchors(rig.machine))
    write(rig, encode_identity(identity(Brand("acme"))))
    found, words = told(rig, capsys)
    assert found == {"serial": "A0001", "device_key": signing_key("stranger").public.key_id, "authority": "acme",
                     "problem": None}
    assert words == "serial: A0001, signed by acme|serial: A0001, signed by acme"
    device = identify(rig.machine, own_anchors(rig.machine))
    assert (device.brand, device.model, device.serial) == ("acme", "pc", "A0001")
    assert len(nameless.serial) == 32


def test_newer_model_that_lets_others_sign_serials_takes_none_away(rig: Rig, capsys: pytest.CaptureFixture[str],
                                                                   tmp_path: Path) -> None:
    """The factory signed it when the model of the seed let it."""
    factory, device = VouchedBrand("stranger", store=Brand("acme")), signing_key("stranger")
    serial = factory.sign({"type": "serial", "authority-id": "stranger", "brand-id": "acme", "model": "pc",
                           "serial": "A0001", "device-key": armor(device.public.encode()).decode(),
                           "device-key-sha3-384": device.public.key_id, "timestamp": "2026-01-01T00:00:00Z"})
    write(rig, encode_identity(replace(identity(Brand("acme")), assertions=encode_stream(
        [serial, *factory.vouched, *Brand("acme").roots]))))
    assert told(rig, capsys)[0]["authority"] == "stranger"
    (tmp_path / "pc.model").write_bytes(encode_stream([Brand("acme").model(revision="1")]))
    assert rig.install(tmp_path / "pc.model").model.changed == ("serial-authority",)
    capsys.readouterr()
    assert told(rig, capsys)[0]["authority"] == "stranger"


def test_device_that_nobody_gave_an_identity_says_nothing_of_one(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert told(rig, capsys) == (None, "")


def flipped(whole: DeviceIdentity) -> DeviceIdentity:
    """The serial in it is another one than was signed."""
    return replace(whole, assertions=whole.assertions.replace(b"serial: A0001", b"serial: A0002", 1))


WRONG: dict[str, tuple[Callable[[], bytes], str]] = {
    "other model": (lambda: encode_identity(identity(Brand("acme"), model="pi")), "it is of acme/pi, this device"),
    "other brand": (lambda: encode_identity(identity(Brand("other"))), "it is of other/pc, this device of acme/pc"),
    "brand of that name": (lambda: encode_identity(identity(Brand("acme", key="stranger"))), "cannot "),
    "brand of that name that brings its key alone": (
        lambda: encode_identity(identity(Brand("acme", key="stranger"), roots=1)), "cannot "),
    "broken signature": (lambda: encode_identity(flipped(identity(Brand("acme")))), "cannot "),
    "other key": (lambda: encode_identity(identity(Brand("acme"), key="store")), "another device key"),
    "no key": (lambda: encode_identity(replace(identity(Brand("acme")), key=b"")), "no RSA key in PEM"),
    "no assertion": (lambda: encode_identity(DeviceIdentity(assertions=b"", key=b"")), "it is empty"),
    "another assertion": (lambda: encode_identity(replace(identity(Brand("acme")), assertions=Brand(
        "acme").account.encode())), "cannot "),
    "cut short": (lambda: encode_identity(identity(Brand("acme")))[:1000], "it is damaged"),
    "cut in its head": (lambda: encode_identity(identity(Brand("acme")))[:20], "it is damaged"),
    "garbage": (lambda: b"\xa5" * 65536, "it begins with"),
    "a later version": (lambda: b"IKIDENT1\2" + bytes(503), "version 2"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_identity_is_told_and_the_device_goes_on_without_it(rig: Rig, capsys: pytest.CaptureFixture[str],
                                                                  wrong: str) -> None:
    nameless = identify(rig.machine, own_anchors(rig.machine))
    raw, why = WRONG[wrong]
    write(rig, raw())
    found, words = told(rig, capsys)
    assert found["serial"] is None and why in found["problem"]
    assert words.count("not believed: ") == 2
    assert identify(rig.machine, own_anchors(rig.machine)) == nameless


def test_wrong_identity_keeps_no_update_away(maker: Maker, rig: Rig, tmp_path: Path) -> None:
    write(rig, WRONG["brand of that name"][0]())
    assert rig.install(maker.stick(tmp_path / "stick", maker.workshop.packages / "pc-kernel_2.snap")).installed
    rig.up()
    assert rig.roots["kernel"] == rig.revisions["pc-kernel", 2]


def test_disk_without_a_place_for_identities_has_none(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    path = next(path for path in (rig.folder / "sys/block/vda").glob("*/uevent") if "identity" in path.read_text())
    path.write_text(path.read_text().replace("=identity", "=something"))
    assert told(rig, capsys) == (None, "")


def test_identity_that_cannot_be_read_is_told(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.device("identity").unlink()
    found, _ = told(rig, capsys)
    assert "No such file" in found["problem"]
