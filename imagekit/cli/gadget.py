"""`imagekit gadget check`: everything that is wrong with a gadget, at once, each with its line."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.build.gadget_check import CheckedGadget, check_gadget_tree
from imagekit.build.package_tree import FoundTree, Kind, find_gadget, read_kernel
from imagekit.cli.findings import Findings, report
from imagekit.cli.gadget_layout import diff, show
from imagekit.cli.options import json_option, report_option
from imagekit.errors import DocumentError
from imagekit.gadget.values import Era
from imagekit.packages.kernelyaml import KernelContents
from imagekit.schema import Problem

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
@report_option
@json_option
def check(paths: tuple[Path, ...], rules: str | None, kernel: Path | None, strict: bool, output: Path | None,
          as_json: bool) -> None:
    """Check gadgets: each PATH is a gadget.yaml, the folder of a gadget, or a package.

    All problems are told at once, each as FILE:LINE: where.it.is: what came, what is allowed. Warnings are about what
    is accepted and will hurt. In folders and packages the files of the content are checked too.
    """
    beside = read_kernel(kernel) if kernel is not None else None
    checked = [_checked(path, era=RULES[rules] if rules else None, kernel=beside) for path in paths]
    report([_findings(item) for item in checked], what="gadgets", strict=strict, output=output, as_json=as_json)


def _checked(path: Path, *, era: Era | None, kernel: KernelContents | None) -> CheckedGadget:
    """What a check of one PATH finds; a folder or package without a gadget keeps nobody from the others."""
    try:
        return check_gadget_tree(find_gadget(path), era=era, kernel=kernel)
    except DocumentError as error:
        found = FoundTree(path=path, kind=Kind.DOCUMENT, name=str(path), text=None, files=None)
        problem = Problem(name=str(path), line=1, path=(), text=error.message)
        return CheckedGadget(found=found, era=None, problems=(problem,), warnings=())


def _findings(item: CheckedGadget) -> Findings:
    """One gadget (docs/reference/gadget-yaml.md)."""
    rules = item.era.name.lower() if item.era is not None else None
    return Findings(name=item.found.name, text=item.found.text or b"", problems=item.problems, warnings=item.warnings,
                    remark=f"rules {rules}" if rules else "not read to its end", more={"rules": rules})
