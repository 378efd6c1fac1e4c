"""Real images for the tests that boot: packages packed from this tree, signed by the test brand, built once a session.

Everything is made by the program itself, as a user would. The parts come from the cache; where they are not there and
cannot be fetched the tests skip at home and fail in CI.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.errors import HostError
from imagekit.host.tools import LocalTools
from imagekit.qemu.machine import MACHINES, find_firmware, load_machine
from imagekit.testing.documents import Brand
from tests.boot.boards import BOARDS, PC, Board
from tests.boot.stock import ROOT, Stock, StockOf, done, missing_tool


@pytest.fixture(scope="session")
def stock_of(tmp_path_factory: pytest.TempPathFactory) -> StockOf:
    """Makes the stock of a board: signed packages, the image of them, and the folder of trust; once a session."""
    made: dict[Board, Stock] = {}

    def make(board: Board) -> Stock:
        if board not in made:
            made[board] = make_stock(board, tmp_path_factory.mktemp(f"stock-{board}"))
        return made[board]

    return make


def make_stock(board: Board, folder: Path) -> Stock:
    machine = load_machine(board.gadget, [MACHINES])
    tools = LocalTools()
    try:
        for name in (machine.emulator, "qemu-img"):
            tools.find(name)
        find_firmware(machine)
    except HostError as error:
        missing_tool(f"{error.message}: {error.hint}")
    data, trust, packages = folder / "data", folder / "trust", folder / "packages"
    trust.mkdir()
    for assertion in Brand("acme").roots:
        (trust / f"acme.{assertion.type}").write_bytes(assertion.encode())
    done("key", "import", ROOT / "tests/keys/TEST-ONLY-brand.pem", "--name", "acme", data=data)
    done("pack", board.kernel, board.base, board.gadget, "-o", packages, data=data)
    done("sign", *sorted(packages.glob("*.snap")), "-k", "acme", "--trust", trust, data=data)
    model = folder / f"{board.model}.model"
    done("sign", f"models/{board.model}.yaml", "-k", "acme", "-o", model, "--trust", trust, data=data)
    done("build", model, "--packages", packages, "-o", folder / "out", "--trust", trust, data=data)
    return Stock(board=board, folder=folder, data=data, trust=trust, packages=packages,
                 image=folder / "out" / f"{board.model}.img")


@pytest.fixture(scope="session")
def stock(stock_of: StockOf) -> Stock:
    """The stock of the PC."""
    return stock_of(PC)


@pytest.fixture(params=BOARDS, ids=str)
def board_stock(request: pytest.FixtureRequest, stock_of: StockOf) -> Stock:
    """The stock of each board."""
    return stock_of(request.param)


@pytest.fixture
def imagekit_image(stock: Stock) -> Path:
    return stock.image


@pytest.fixture
def imagekit_trust(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ...]:
    """The test brand's roots, which are the same for all boards."""
    folder = tmp_path_factory.mktemp("trust")
    for assertion in Brand("acme").roots:
        (folder / f"acme.{assertion.type}").write_bytes(assertion.encode())
    return (folder,)
