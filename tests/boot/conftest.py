"""Real images for the tests that boot: packages packed from this tree, signed by the test brand, built once a session.

Everything is made by the program itself, as a user would. The parts come from the cache; where they are not there and
cannot be fetched the tests skip at home and fail in CI.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from imagekit.cli.emulators import tools_for
from imagekit.errors import HostError
from imagekit.qemu.pytest_plugin import ToolsFor
from imagekit.testing.documents import Brand
from tests.boot.boards import BOARDS, BY_NAME, PC, SABRELITE, Board, is_asked_for
from tests.boot.faults import commit
from tests.boot.stock import Silence, Stock, StockOf, make_stock, missing_tool


@pytest.fixture(scope="session")
def stock_of(tmp_path_factory: pytest.TempPathFactory) -> StockOf:
    """Makes the stock of a board: signed packages, the image of them, and the folder of trust; once a session."""
    of_model: dict[str, Stock] = {}
    of_board: dict[Board, Stock] = {}

    def make(board: Board) -> Stock:
        try:
            if board.model not in of_model:
                of_model[board.model] = make_stock(board, tmp_path_factory.mktemp(f"stock-{board.model}"))
        except HostError as error:
            missing_tool(f"{error.message}: {error.hint}" if error.hint else error.message)
        if board not in of_board:
            of_board[board] = replace(of_model[board.model], board=board)
        return of_board[board]

    return make


@pytest.fixture(scope="session")
def stock(stock_of: StockOf) -> Stock:
    """The stock of the PC."""
    return stock_of(PC)


def booted_boards() -> tuple[Board, ...]:
    """The boards of a plain run: those in CI, and one of the others drawn by IMAGEKIT_BOARD_SEED (else the commit).

    IMAGEKIT_BOARDS names others, or `all`.
    """
    if wish := os.environ.get("IMAGEKIT_BOARDS"):
        if unknown := {*wish.split(",")} - {"all", SABRELITE.name, *BY_NAME}:
            raise pytest.UsageError(f"IMAGEKIT_BOARDS: there is no board {min(unknown)!r}")
        return tuple(board for board in BOARDS if is_asked_for(board.name))
    others = [board for board in BOARDS if board.boots_only and board.drawn_to_boot]
    draw = random.Random(os.environ.get("IMAGEKIT_BOARD_SEED") or commit())
    return (*(board for board in BOARDS if board.in_ci), draw.choice(others))


@pytest.fixture(params=booted_boards(), ids=str)
def board_stock(request: pytest.FixtureRequest, stock_of: StockOf) -> Stock:
    """The stock of each board that is booted."""
    return stock_of(request.param)


@pytest.fixture
def imagekit_tools() -> ToolsFor:
    """The locked QEMU where the host's does not have the machine."""
    return lambda machine: tools_for(machine, told=Silence())


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
