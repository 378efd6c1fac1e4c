"""Boards: the gadgets of the project, each with its disk, its description and the models that ask for it.

A board is data only: `gadgets/NAME` with gadget.yaml and recipe.yaml, models in `models`. Its machine for QEMU is
called as it is (`qemu/NAME.yaml`) and is looked up by who shows it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imagekit.build.package_tree import read_gadget
from imagekit.build.project import GADGETS, PROJECT
from imagekit.build.recipes import load_recipe
from imagekit.errors import HostError, UsageError
from imagekit.gadget import Gadget
from imagekit.host.files import reason
from imagekit.packages.recipe import Recipe
from imagekit.plan.gadget_show import ShownVolume, show_gadget
from imagekit.plan.new_board import BoardFiles, NewFile, plan_new_board
from imagekit.schema import load_yaml, near

MODELS, MACHINES = PROJECT / "models", PROJECT / "qemu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A gadget with all that is known of it; `models` by name, those that ask for this gadget."""

    name: str
    folder: Path
    recipe: Recipe
    gadget: Gadget
    volumes: tuple[ShownVolume, ...]
    models: tuple[str, ...]

    @property
    def title(self) -> str:
        return self.recipe.board.title if self.recipe.board else self.recipe.summary

    @property
    def bootloader(self) -> str:
        """The loader that chooses the slot."""
        extension = self.gadget.extension
        return extension.bootloader if extension else "none that imagekit drives"


def board_names() -> tuple[str, ...]:
    """The boards of the project."""
    return tuple(sorted(path.parent.name for path in GADGETS.glob("*/recipe.yaml")))


def load_board(word: str) -> Board:
    """The board called `word`, or the gadget's folder that it is the path of.

    Raises:
        UsageError: there is none.
        DocumentError: its gadget.yaml or recipe.yaml is wrong.
    """
    folder = GADGETS / word if word in board_names() else Path(word)
    if not (folder / "recipe.yaml").is_file():
        raise UsageError(f"cannot find board {word!r}: there is no such board or folder{near(word, board_names())}",
                         hint=f"boards: {', '.join(board_names())}")
    recipe = load_recipe(str(folder)).recipe
    found = read_gadget(folder)
    return Board(name=recipe.name, folder=folder, recipe=recipe, gadget=found.gadget,
                 volumes=show_gadget(found.gadget), models=models_of(recipe.name))


def models_of(gadget: str, folder: Path = MODELS) -> tuple[str, ...]:
    """The models of the project that ask for this gadget."""
    return tuple(path.stem for path in sorted(folder.glob("*.yaml")) if gadget in _gadgets(path))


def _gadgets(path: Path) -> list[str]:
    """The gadgets that the text of a model names; what is wrong with it is `imagekit sign`'s to say."""
    value = load_yaml(path.read_bytes(), name=str(path)).value
    snaps = value.get("snaps") if isinstance(value, dict) else None
    return [str(snap.get("name")) for snap in (snaps if isinstance(snaps, list) else [])
            if isinstance(snap, dict) and snap.get("type") == "gadget"]


def called_after(board: str, machines: Iterable[str], *, boards: Iterable[str]) -> tuple[str, ...]:
    """The machines called BOARD or BOARD-SOMETHING, but for those of another board with a longer such name."""
    def fits(machine: str, name: str) -> bool:
        return machine == name or machine.startswith(f"{name}-")

    longer = [name for name in boards if name != board and fits(name, board)]
    return tuple(item for item in machines if fits(item, board) and not any(fits(item, name) for name in longer))


def new_board(name: str, *, like: Board, target: Path) -> tuple[Path, ...]:
    """Write the files of a new board below `target`, all or none, and read them back.

    Raises:
        UsageError: the name is none, or one of the files is there already.
        PlanError: the other board has its name in places where it is not looked for.
        HostError: a file cannot be written.
    """
    files = plan_new_board(name, _files_of(like))
    for path in (target / "gadgets" / name, *(target / file.path for file in files)):
        if path.exists():
            raise UsageError(f"cannot make board {name!r}: there is a {path} already",
                             hint="choose another name, or remove it first")
    written: list[Path] = []
    try:
        for file in files:
            written.append(_write(target, file))
        load_board(str(target / "gadgets" / name))
    except BaseException as error:
        for path in written:
            path.unlink(missing_ok=True)
        shutil.rmtree(target / "gadgets" / name, ignore_errors=True)
        if isinstance(error, OSError):
            raise HostError(f"cannot write board {name!r}: {reason(error)}") from error
        raise
    return tuple(written)


def _write(target: Path, file: NewFile) -> Path:
    path = target / file.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        stream.write(file.content)
    return path


def _files_of(board: Board) -> BoardFiles:
    folder = {path.relative_to(board.folder).as_posix(): path.read_bytes()
              for path in sorted(board.folder.rglob("*")) if path.is_file()}
    machine = MACHINES / f"{board.name}.yaml"
    models = sorted(board.models, key=lambda item: item != board.name)  # the one that is called as the board, first
    model = MODELS / f"{models[0]}.yaml" if models else None
    return BoardFiles(name=board.name, folder=folder, model=model.read_bytes() if model else None,
                      machine=machine.read_bytes() if machine.is_file() else None)
