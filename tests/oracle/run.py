"""`invoke oracle`: compile, compare as many documents as wanted, and tell what nothing on the list explains.

Exit code 0: every disagreement is explained; 1: some are not, or the list has one that no longer occurs; 6: no compiler
or no parts.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator

import click

from imagekit.build.parts import Parts, Policy
from imagekit.build.recipes import load_recipe
from imagekit.cli.progress import Lines
from imagekit.errors import HostError
from imagekit.host.cache import Cache
from imagekit.host.files import write_atomic
from imagekit.host.folders import default_cache_folder
from imagekit.packages.lockfile import EMPTY, encode_lock
from tests.oracle import assertions, disagreements, gadgets, layouts, library, snaps, verifying, writing
from tests.oracle.ask import Oracle
from tests.oracle.compare import Case, Disagreement, compare

CORPORA = {"gadgets": gadgets.cases, "layouts": layouts.cases, "assertions": assertions.cases,
           "verifying": verifying.cases, "writing": writing.cases, "snaps": snaps.cases}
SHOWN = 200


def all_cases(count: int, seed: int) -> Iterator[Case]:
    for corpus in CORPORA.values():
        yield from corpus(count, seed)


def relock() -> None:
    """Resolve the recipes in `parts/` anew and write the lock."""
    lock = EMPTY
    parts = Parts(Cache(default_cache_folder(os.environ)), EMPTY, policy=Policy(), environment=os.environ,
                  progress=Lines(click.echo))
    for path in sorted(library.PARTS.glob("*.yaml")):
        recipe = load_recipe(str(path)).recipe
        lock = lock.with_section(recipe.name, parts.resolve(recipe))
    write_atomic(library.LOCK, encode_lock(lock))


def compare_one(suite: str, count: int, seed: int) -> list[Disagreement]:
    told = Lines(lambda text: click.echo(text, err=True))
    oracle = Oracle(suite=suite, version=library.version(suite), program=library.build(suite, progress=told))
    told.finish()
    began = time.monotonic()
    cases = list(all_cases(count, seed))
    found = compare(oracle, cases)
    click.echo(f"snapd {oracle.version}: {len(cases)} cases in {time.monotonic() - began:.0f} s,"
               f" {len(found)} disagreements")
    return found


@click.command()
@click.option("--cases", "count", default=2000, help="Mutants of each kind.")
@click.option("--seed", default=1)
@click.option("--suite", type=click.Choice(library.SUITES), multiple=True)
@click.option("--relock", "anew", is_flag=True)
@click.option("--page", is_flag=True)
def main(count: int, seed: int, suite: tuple[str, ...], anew: bool, page: bool) -> None:
    entries = disagreements.load_list()
    if page:
        write_atomic(disagreements.PAGE, disagreements.page(entries).encode())
        return
    try:
        if anew:
            relock()
        found = [item for name in suite or library.SUITES for item in compare_one(name, count, seed)]
    except HostError as error:
        click.echo("\n".join((error.message, *error.details, f"hint: {error.hint}")), err=True)
        sys.exit(error.exit_code)
    result = disagreements.sort(found, entries)
    for item in result.unexplained[:SHOWN]:
        click.echo(f"not on the list: {item}")
    if len(result.unexplained) > SHOWN:
        click.echo(f"and {len(result.unexplained) - SHOWN} more")
    versions = {library.version(name) for name in suite or library.SUITES}
    gone = [f"{entry.id} ({version})" for entry in entries for version in entry.versions
            if version in versions and not result.counts[entry.id, version]]
    for name in gone:
        click.echo(f"on the list, but it no longer occurs: {name}")
    click.echo(f"{sum(result.counts.values())} disagreements are explained by {len(entries)} entries of the list")
    sys.exit(1 if result.unexplained or gone else 0)


if __name__ == "__main__":
    main()
