"""Recipes as files: how a word on the command line becomes one.

A recipe is named by its file, by the folder that holds its `recipe.yaml`, or by its bare name, which is looked for in
`packages/` of the project.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imagekit.build.project import GADGETS, RECIPES
from imagekit.errors import DocumentError, HostError
from imagekit.host.files import reason
from imagekit.packages.recipe import Recipe, liked, parse_recipe, take_over
from imagekit.schema import load_yaml, near


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeFile:
    """A recipe and where it came from; its files lie in `folder`."""

    path: Path
    content: bytes  # with that of the recipe that it is like
    recipe: Recipe

    @property
    def folder(self) -> Path:
        return self.path.parent


def load_recipe(word: str) -> RecipeFile:
    """The recipe that `word` names.

    Raises:
        DocumentError: there is none, or it is wrong.
    """
    path = Path(word)
    candidates = [path / "recipe.yaml", path, RECIPES / f"{word}.yaml", GADGETS / word / "recipe.yaml"]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        known = [source.recipe.name for source in project_recipes()]
        raise DocumentError(f"cannot find recipe {word}: no such file, folder or name{near(word, known)}",
                            hint=f"the recipes of the project are {', '.join(known)}")
    content = _read(found)
    source = load_yaml(content, name=str(found))
    if (name := liked(source)) is not None:
        other = found.parent / f"{name}.yaml"
        if not other.is_file():
            raise DocumentError(f"{source.where(('like',))}: there is no recipe {other}")
        beside = _read(other)
        source, content = take_over(source, load_yaml(beside, name=str(other))), content + beside
    return RecipeFile(path=found, content=content, recipe=parse_recipe(source))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise HostError(f"cannot read {path}: {reason(error)}") from error


def initrd_recipe(architecture: str) -> RecipeFile:
    """The parts of the initrd for kernels of an architecture."""
    return load_recipe("initrd" if architecture == "amd64" else f"initrd-{architecture}")


def project_recipes() -> tuple[RecipeFile, ...]:
    """All recipes of the project, by path."""
    paths = [*sorted(RECIPES.glob("*.yaml")), *sorted(GADGETS.glob("*/recipe.yaml"))]
    return tuple(load_recipe(str(path)) for path in paths)
