"""A model that demands a network: without a cable an update is taken back, with one it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.boot.slotstate import Slot
from imagekit.qemu.machine import Network
from imagekit.qemu.pytest_plugin import MakeDevice
from tests.boot.matrix import ENDURE_S
from tests.boot.stock import ROOT, Stock, done

pytestmark = pytest.mark.boot


@pytest.fixture
def image(stock: Stock, tmp_path: Path) -> Path:
    """One of the same packages, by a model that demands a network."""
    name, of = stock.board.model, {"data": stock.data}
    draft, model = tmp_path / f"{name}.yaml", tmp_path / f"{name}.model"
    draft.write_text((ROOT / f"models/{name}.yaml").read_text() + "x-imagekit: {health: {network: required}}\n")
    done("sign", draft, "-k", "acme", "-o", model, "--trust", stock.trust, **of)
    done("build", model, "--packages", stock.packages, "-o", tmp_path / "out", "--trust", stock.trust, **of)
    return tmp_path / "out" / f"{name}.img"


@pytest.mark.parametrize("cable", [True, False], ids=["cable", "no-cable"])
def test_update_is_kept_with_the_network_that_the_model_demands(
    cable: bool, image: Path, stock: Stock, make_device: MakeDevice
) -> None:
    device = make_device(image, deadline_s=2 * ENDURE_S)
    with device.disk() as disk:
        disk.install(Slot.B, base=stock.base, kernel=stock.kernel, tries=1)
    device.connect(Network(ask=False) if cable else None)
    device.power_on()
    if not cable:
        device.expect(r"imagekit: slot b is NOT healthy; network: not there for 120 s: no default route",
                      timeout_s=ENDURE_S)
    boot = device.wait_healthy(slot="b" if cable else "a")
    assert boot.verdict is not None
    found = next(check for check in boot.verdict.checks if check.name == "network")
    assert (", gateway " if cable else "not demanded of this boot: no default route") in found.detail
