"""Real images for the tests that boot: packages packed from this tree, signed by the test brand, built once a session.

Everything is made by the program itself, as a user would. The parts come from the cache; where they are not there and
cannot be fetched the tests skip at home and fail in CI.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.tools import LocalTools
from imagekit.testing.documents import Brand
from tests.boot.stock import ROOT, Stock, done, missing_tool

RECIPES = ("packages/pc-kernel.yaml", "packages/debian-13.yaml", "gadgets/pc/recipe.yaml")


@pytest.fixture(scope="session", autouse=True)
def qemu_is_there() -> None:
    tools = LocalTools()
    for name in ("qemu-system-x86_64", "qemu-img"):
        try:
            tools.find(name)
        except HostError as error:
            missing_tool(error.message)


@pytest.fixture(scope="session")
def stock(tmp_path_factory: pytest.TempPathFactory) -> Stock:
    """Signed packages, the image `pc-demo.img` of them, and the folder of trust."""
    folder = tmp_path_factory.mktemp("stock")
    data, trust, packages = folder / "data", folder / "trust", folder / "packages"
    trust.mkdir()
    for assertion in Brand("acme").roots:
        (trust / f"acme.{assertion.type}").write_bytes(assertion.encode())
    done("key", "import", ROOT / "tests/keys/TEST-ONLY-brand.pem", "--name", "acme", data=data)
    done("pack", *RECIPES, "-o", packages, data=data)
    done("sign", *sorted(packages.glob("*.snap")), "-k", "acme", "--trust", trust, data=data)
    done("sign", "models/pc-demo.yaml", "-k", "acme", "-o", folder / "pc-demo.model", "--trust", trust, data=data)
    done("build", folder / "pc-demo.model", "--packages", packages, "-o", folder / "out", "--trust", trust, data=data)
    return Stock(folder=folder, data=data, trust=trust, packages=packages, image=folder / "out" / "pc-demo.img")


@pytest.fixture
def imagekit_image(stock: Stock) -> Path:
    return stock.image


@pytest.fixture
def imagekit_trust(stock: Stock) -> tuple[Path, ...]:
    return (stock.trust,)
