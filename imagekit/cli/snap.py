"""`imagekit snap check`: everything that is wrong with a snap.yaml or kernel.yaml, at once, each with its line."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.build.snap_check import CheckedDocument, check_package
from imagekit.cli.findings import Findings, report
from imagekit.cli.options import json_option, report_option
from imagekit.errors import DocumentError
from imagekit.schema import Problem


@click.group(no_args_is_help=True)
def snap() -> None:
    """Check what packages say of themselves."""


@snap.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--strict", is_flag=True, help="Take warnings for errors.")
@report_option
@json_option
def check(paths: tuple[Path, ...], strict: bool, output: Path | None, as_json: bool) -> None:
    """Check snap.yaml and kernel.yaml: each PATH is such a file, a folder with meta/snap.yaml, or a package.

    All problems are told at once, each as FILE:LINE: where.it.is: what came, what is allowed. Warnings are about what
    is accepted and will hurt. Of a folder and a package both documents are checked. For signature and contents of a
    package there is `imagekit inspect`; for gadget.yaml, `imagekit gadget check`.
    """
    found = [item for path in paths for item in _found(path)]
    report(found, what="documents", strict=strict, output=output, as_json=as_json)


def _found(path: Path) -> list[Findings]:
    """What a check of one PATH finds; one that is no package keeps nobody from the others."""
    try:
        return [_findings(item) for item in check_package(path)]
    except DocumentError as error:
        text = error.message + (f" ({error.hint})" if error.hint else "")
        problem = Problem(name=str(path), line=1, path=(), text=text)
        return [Findings(name=str(path), text=b"", problems=(problem,), warnings=(), remark="not read",
                         more={"format": None})]


def _findings(item: CheckedDocument) -> Findings:
    """One document (docs/reference/snap-yaml.md)."""
    return Findings(name=item.found.name, text=item.found.text or b"", problems=item.problems, warnings=item.warnings,
                    remark=f"as {item.format}" if item.format else "not read to its end", more={"format": item.format})
