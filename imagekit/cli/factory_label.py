"""Print labels of a station's units once more, as its log knows them."""

from __future__ import annotations

from pathlib import Path

from imagekit.cli.factory_log import read_log
from imagekit.cli.factory_run import read_job
from imagekit.cli.output import emit_json, short_path, write
from imagekit.errors import HostError, UsageError
from imagekit.flash.labels import LabelPrinter
from imagekit.host.tools import LocalTools
from imagekit.plan.factory_label import Unit, good_units


def label(path: Path, serials: tuple[str, ...], records: tuple[int, ...], *, as_json: bool) -> None:
    """`imagekit factory label`."""
    job, _ = read_job(path)
    if job.label is None:
        raise UsageError(f"cannot print labels of {path}: the job has no `label`")
    if not serials and not records:
        raise UsageError("cannot print labels: no unit is named", hint="SERIAL, or --record with a record's number;"
                         f" they are shown by: imagekit factory check {short_path(job.log)}")
    log, _ = read_log(Path(job.log), key=job.key)
    units = _named(list(good_units(log)), serials, records, log=job.log)
    printer = LabelPrinter(job.label, path.absolute().parent, tools=LocalTools())
    problems = {}
    for unit in units:
        if problem := printer(unit):
            problems[unit.number] = problem
        elif not as_json:
            write(short_path(printer.file(unit)))
    if as_json:
        emit_json({"labels": [{"number": unit.number, "serial": unit.serial or None, "file": str(printer.file(unit)),
                               "problem": problems.get(unit.number)} for unit in units]})
    if problems:
        raise HostError(f"cannot print {len(problems)} of {len(units)} labels",
                        details=tuple(f"record {number}: {problem}" for number, problem in problems.items()))


def _named(units: list[Unit], serials: tuple[str, ...], records: tuple[int, ...], *, log: str) -> list[Unit]:
    """The units that are meant, in the log's order. Raises: UsageError: one of them is not a good unit of the log."""
    missing = [f"serial {serial}" for serial in serials if serial not in {unit.serial for unit in units}]
    missing += [f"record {number}" for number in records if number not in {unit.number for unit in units}]
    if missing:
        raise UsageError(f"cannot print labels: {log} has no good unit with {', '.join(missing)}",
                         hint=f"imagekit factory check {short_path(log)} shows its units")
    return [unit for unit in units if unit.serial in serials or unit.number in records]
