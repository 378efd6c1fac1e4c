"""`imagekit lock` and `imagekit pack`: Debian parts pinned, packages made from them."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from imagekit.build.pack import Packed
from imagekit.build.pack import pack as make_package
from imagekit.build.parts import Parts, Policy
from imagekit.build.project import GADGETS, LOCK, RECIPES, load_lock
from imagekit.build.recipes import load_recipe, project_recipes
from imagekit.cli.options import folder_option, json_option
from imagekit.cli.output import emit_json, say, short_path, table
from imagekit.cli.progress import progress
from imagekit.errors import UsageError
from imagekit.host.cache import Cache
from imagekit.host.files import write_atomic
from imagekit.host.folders import default_cache_folder
from imagekit.host.ports import Progress
from imagekit.packages.lockfile import encode_lock, part_changes
from imagekit.units import iec


def complete_recipe(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The project's recipes by name, for the shell; where none fits, files."""
    names = sorted([*(path.stem for path in RECIPES.glob("*.yaml")),
                    *(path.parent.name for path in GADGETS.glob("*/recipe.yaml"))])
    fitting = [CompletionItem(name) for name in names if name.startswith(incomplete)]
    return fitting or [CompletionItem(incomplete, type="file")]


OFFLINE = click.option("--offline", is_flag=True, help="Use the cache only, no network.")


def _parts(told: Progress, *, locked: bool = False, offline: bool = False) -> tuple[Parts, Cache]:
    cache = Cache(default_cache_folder(os.environ))
    return Parts(cache, load_lock(), policy=Policy(locked=locked, offline=offline), environment=os.environ,
                 progress=told), cache


@click.command()
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...", shell_complete=complete_recipe)
@click.option("--update", is_flag=True, help="Write what the mirror offers into the lock.")
@json_option
def lock(recipes: tuple[str, ...], update: bool, as_json: bool) -> None:
    """Compare the lock with what the mirror offers today, or write that into it.

    The lock (packages/parts.lock) says for each RECIPE, all of them when none is named, exactly which Debian packages
    it is made of.
    """
    sources = [load_recipe(word) for word in recipes] or project_recipes()
    old = new = load_lock()
    with progress() as told:
        parts, _ = _parts(told)
        for source in sources:
            recipe = source.recipe
            new = new.with_section(recipe.name, parts.resolve(recipe) if update else parts.offered(recipe))
    rows = [change for source in sorted(sources, key=lambda source: source.recipe.name)
            for change in part_changes(old, new, source.recipe.name)]
    if update:
        write_atomic(LOCK, encode_lock(new))
    if as_json:
        emit_json({"lock": str(LOCK), "updated": update,
                   "changes": [{**asdict(row), "older": row.older} for row in rows]})
        return
    if rows:
        table(("recipe", "package", "locked", "offered"),
              [(row.recipe, row.package, row.locked or "-", f"{row.offered or '-'}{' (older)' if row.older else ''}")
               for row in rows])
    if older := sorted({row.package for row in rows if row.older}):
        say(f"older than what is locked: {', '.join(older)}; a mirror that lags behind, or went back, lacks fixes that"
            " the lock has")
    if not rows:
        say("the lock is what the mirror offers")
    elif update:
        say(f"written to {short_path(LOCK)}")
    else:
        say("to write this into the lock: imagekit lock --update")


@click.command()
@click.argument("recipes", nargs=-1, required=True, metavar="RECIPE...", shell_complete=complete_recipe)
@folder_option
@click.option("--locked", is_flag=True, help="Take the parts of the lock and no others, even if one has vanished.")
@OFFLINE
@json_option
def pack(recipes: tuple[str, ...], output: Path | None, locked: bool, offline: bool, as_json: bool) -> None:
    """Make packages: NAME_REVISION.snap and its compressed twin for the seed.

    A RECIPE is a file, a folder with a recipe.yaml, or the name of one in packages/ or gadgets/.
    """
    if output is None:
        raise UsageError("cannot pack: no folder for the packages is named",
                         hint=f"imagekit pack {' '.join(recipes)} -o packages-out")
    sources = [load_recipe(word) for word in recipes]
    with progress() as told:
        parts, cache = _parts(told, locked=locked, offline=offline)
        made = [make_package(source, parts=parts, cache=cache, out=output, progress=told) for source in sources]
    if as_json:
        emit_json({"packages": [asdict(item) for item in made]})
    else:
        table(("package", "version", "size", "compressed", "parts", ""), [_row(item) for item in made],
              right=("size", "compressed", "parts"))


def _row(item: Packed) -> tuple[str, ...]:
    return (str(item.path), item.version, iec(item.size), iec(item.compressed_size), str(item.parts),
            "from the cache" if item.cached else "made")
