"""Gadget packages: files from beside the recipe and out of Debian parts, nothing made."""

from __future__ import annotations

from pathlib import Path

from imagekit.build.tree import Tree, file
from imagekit.errors import PlanError
from imagekit.gadget import GADGET_YAML, Era, parse_gadget
from imagekit.gadget.typos import refuse_typos
from imagekit.packages.recipe import Recipe
from imagekit.schema import load_yaml


def gadget_tree(recipe: Recipe, *, folder: Path, roots: dict[str, Path]) -> Tree:
    """The content of the package; `roots` part name -> its unpacked tree.

    Raises:
        PlanError: a file that the recipe names does not exist.
        DocumentError: no image can be built from the gadget.yaml.
    """
    tree = Tree()
    for wanted in recipe.files:
        if wanted.part is not None and wanted.part not in roots:
            raise PlanError(f"cannot pack {recipe.name}: {wanted.target} comes from {wanted.part}, which is none of "
                            "its parts")
        source = (roots[wanted.part] if wanted.part is not None else folder) / wanted.source
        if not source.is_file():
            where = f"part {wanted.part}" if wanted.part is not None else str(folder)
            raise PlanError(f"cannot pack {recipe.name}: {where} has no file {wanted.source}")
        tree.add(file(wanted.target, source.read_bytes()))
        if wanted.target == GADGET_YAML:
            document = load_yaml(source.read_bytes(), name=str(source))
            refuse_typos(document)
            parse_gadget(document, era=Era.UC20)
    if tree.get(GADGET_YAML) is None:
        raise PlanError(f"cannot pack {recipe.name}: a gadget needs meta/gadget.yaml, no file of the recipe fills it")
    return tree
