"""`imagekit gadget check`: everything that is wrong with a gadget, at once, each with its line."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.build.gadget_check import CheckedGadget, check_gadget_tree
from imagekit.build.package_tree import FoundTree, Kind, find_gadget, read_kernel
from imagekit.cli.gadget_layout import diff, show
from imagekit.cli.options import json_option
from imagekit.cli.output import console, drawn, emit_json, say, write
from imagekit.errors import DocumentError
from imagekit.gadget.values import Era
from imagekit.packages.kernelyaml import KernelContents
from imagekit.schema import Problem, dotted

if TYPE_CHECKING:
    from rich.text import Text

RULES = {era.name.lower(): era for era in Era}


@click.group(no_args_is_help=True)
def gadget() -> None:
    """Check, show and compare gadgets."""


gadget.add_command(show)
gadget.add_command(diff)


@gadget.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rules", type=click.Choice(list(RULES)), help="The generation of the model it is for.  [default: what"
              " its contents ask for]")
@click.option("--kernel", metavar="PATH", type=click.Path(path_type=Path, exists=True),
              help="Hold $kernel: sources to this kernel: a package, a folder, or its kernel.yaml.")
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@json_option
def check(paths: tuple[Path, ...], rules: str | None, kernel: Path | None, strict: bool, as_json: bool) -> None:
    """Check gadgets: each PATH is a gadget.yaml, the folder of a gadget, or a package.

    All problems are told at once, each as FILE:LINE: where.it.is: what came, what is allowed. Warnings are about what
    is accepted and will hurt. In folders and packages the files of the content are checked too.
    """
    beside = read_kernel(kernel) if kernel is not None else None
    checked = [_checked(path, era=RULES[rules] if rules else None, kernel=beside) for path in paths]
    if as_json:
        emit_json({"files": [_json(item, strict=strict) for item in checked]})
    else:
        for item in checked:
            _tell(item)
    bad = [item for item in checked if item.problems or (strict and item.warnings)]
    if bad:
        count = sum(len(item.problems) + (len(item.warnings) if strict else 0) for item in bad)
        raise DocumentError(f"cannot use {bad[0].found.name if len(bad) == 1 else f'{len(bad)} gadgets'}:"
                            f" {count} problem{'s' if count > 1 else ''}")


def _checked(path: Path, *, era: Era | None, kernel: KernelContents | None) -> CheckedGadget:
    """What a check of one PATH finds; a folder or package without a gadget keeps nobody from the others."""
    try:
        return check_gadget_tree(find_gadget(path), era=era, kernel=kernel)
    except DocumentError as error:
        found = FoundTree(path=path, kind=Kind.DOCUMENT, name=str(path), text=None, files=None)
        problem = Problem(name=str(path), line=1, path=(), text=error.message)
        return CheckedGadget(found=found, era=None, problems=(problem,), warnings=())


def _rules_name(item: CheckedGadget) -> str | None:
    return item.era.name.lower() if item.era is not None else None


def _json(item: CheckedGadget, *, strict: bool) -> dict[str, Any]:
    """One gadget (docs/reference/gadget-yaml.md)."""
    return {"file": item.found.name, "rules": _rules_name(item),
            "ok": not item.problems and not (strict and item.warnings),
            "problems": [_problem_json(problem) for problem in item.problems],
            "warnings": [_problem_json(problem) for problem in item.warnings]}


def _problem_json(problem: Problem) -> dict[str, Any]:
    return {"file": problem.name, "line": problem.line, "path": dotted(problem.path),
            "rule": problem.rule.id if problem.rule else None, "text": problem.text}


def _tell(item: CheckedGadget) -> None:
    """One gadget for people: lines that other programs understand, or with its source on a terminal."""
    if drawn(sys.stdout):
        console().print(_drawing(item), soft_wrap=True)
    else:
        for problem in item.problems:
            write(str(problem))
        for problem in item.warnings:
            write(f"{problem.name}:{problem.line}: {dotted(problem.path)}: warning: {problem.text}")
    rules = f"rules {_rules_name(item)}" if item.era else "not read to its end"
    say(f"{item.found.name}: {_count(item.problems, 'problem')}, {_count(item.warnings, 'warning')} ({rules})")


def _count(found: Sequence[Problem], what: str) -> str:
    return f"{len(found) or 'no'} {what}{'' if len(found) == 1 else 's'}"


def _drawing(item: CheckedGadget) -> Text:
    """Each problem with its line of the document and a mark below what it is about."""
    from rich.text import Text

    lines = (item.found.text or b"").decode("utf-8", "replace").split("\n")
    text = Text()
    for problem, style, word in (*((problem, "bold red", "error") for problem in item.problems),
                                 *((problem, "bold yellow", "warning") for problem in item.warnings)):
        text.append(f"{word}", style=style)
        text.append(f": {problem.text}", style="bold")
        text.append(f" [{problem.rule.id}]\n" if problem.rule else "\n", style="dim")
        text.append(f"  --> {problem.name}:{problem.line}: {dotted(problem.path)}\n", style="cyan")
        row = lines[problem.line - 1].rstrip("\r") if problem.line <= len(lines) else ""
        shown = "".join(letter if letter.isprintable() else " " for letter in row[:200])
        start, width = mark(shown, problem)
        number = str(problem.line)
        text.append(f"  {number} | ", style="dim")
        text.append(f"{shown}\n")
        text.append(f"  {' ' * len(number)} | ", style="dim")
        text.append(" " * start + "^" * width + "\n\n", style=style)
    return text


def mark(row: str, problem: Problem) -> tuple[int, int]:
    """Where in its line a problem is: the key it ends in, or all of the line; column and width."""
    start = len(row) - len(row.lstrip())
    for part in reversed(problem.path):
        found = re.search(rf"(?<![\w-]){re.escape(part)}(?=[\"']?\s*:)", row) if isinstance(part, str) else None
        if found is not None:
            return found.start(), found.end() - found.start()
    return start, max(len(row.strip()), 1)
