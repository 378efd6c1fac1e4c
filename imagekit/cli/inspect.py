"""`imagekit inspect`: what packages and images are, and whether that is right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from imagekit.assertions.wire import printable
from imagekit.build.inspect import PackageReport, inspect_file
from imagekit.build.repair_table import repair_table as make_anew
from imagekit.cli.inspect_image import error_of, image_json, show_image
from imagekit.cli.keyring import trusted
from imagekit.cli.options import json_option, report_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, write, write_report
from imagekit.cli.progress import progress
from imagekit.errors import DocumentError, HostError, ImagekitError, TrustError
from imagekit.host.clock import SystemClock
from imagekit.host.tools import LocalTools
from imagekit.packages.snapvalues import App, Interface
from imagekit.plan.inspection import Inspection
from imagekit.units import iec

GRAVEST = (TrustError, DocumentError, HostError, ImagekitError)  # decide the exit code, in this order
SHOWN = 8  # names of a kind in the text; --json has all

Report = PackageReport | Inspection


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--quick", is_flag=True, help="Of images: leave out what takes reading all of it.")
@click.option("--repair-table", is_flag=True, help="Of images: first make a damaged copy of the partition table anew"
              " from the other one. Nothing else is ever written.")
@trust_option
@report_option
@json_option
def inspect(files: tuple[Path, ...], quick: bool, repair_table: bool, trust: tuple[Path, ...], output: Path | None,
            as_json: bool) -> None:
    """Look into packages (EROFS or squashfs) and disk images, without root, and say what is wrong with them.

    Run it on an image before you flash it: partitions, loader, slots, which of them boots next and why, signatures,
    and every block held to the root that was signed, each with a verdict.

    A package with NAME_REVISION.assert beside it is held against your roots of trust; with --trust, every package is.
    Exit 3: something is wrong; exit 4: it is not what somebody trusted signed.
    """
    roots, now, tools = trusted(trust), SystemClock().now(), LocalTools()
    reports: list[Report] = []
    errors: list[ImagekitError] = []
    for path in files:
        try:
            if repair_table:
                _repair(path)
            with progress() as told:
                report = inspect_file(path, trusted=roots, must_be_signed=bool(trust), now=now, tools=tools,
                                      progress=told, quick=quick)
        except (DocumentError, HostError) as error:
            errors.append(error)
            continue
        reports.append(report)
        if isinstance(report, PackageReport):
            errors += report.errors
        elif (wrong := error_of(report)) is not None:
            errors.append(wrong)
    document = {"files": [image_json(item) if isinstance(item, Inspection) else _package_json(item)
                          for item in reports]}
    write_report(document, output)
    if as_json and (reports or not errors):
        emit_json(document)
    elif not as_json:
        for number, item in enumerate(reports):
            write("") if number else None
            show_image(item) if isinstance(item, Inspection) else _show_package(item)
    _raise(errors)


def _repair(path: Path) -> None:
    copy = make_anew(path)
    other = "backup" if copy == "primary" else "primary"
    say(f"{short_path(path)}: repaired: {copy} partition table, from the {other}" if copy else
        f"{short_path(path)}: both copies of its partition table are whole, nothing to repair")


def _raise(errors: list[ImagekitError]) -> None:
    """Raises: the error, or one of the gravest kind that tells all."""
    if not errors:
        return
    kind = next(kind for kind in GRAVEST if any(isinstance(error, kind) for error in errors))
    worst = next(error for error in errors if isinstance(error, kind))
    if len(errors) == 1:
        raise worst
    details = tuple(line for error in errors for line in (error.message, *error.details))
    raise kind(f"cannot use what was looked into: {len(errors)} problems", hint=worst.hint,
                      details=details) from worst


def _show_package(report: PackageReport) -> None:
    for name, value in _rows(report):
        write(f"{name + ':':15}{value}")
    for warning in report.warnings:
        write(f"warning:       {warning}")


def _rows(report: PackageReport) -> Iterator[tuple[str, str]]:
    info = report.info
    packed = f", {report.compression}" if report.compression else ""
    yield "package", f"{report.path}: {report.format.value}{packed}"
    yield "name", info.name + (f", revision {report.revision}" if report.revision is not None else "")
    yield "version", info.version
    yield "type", info.type
    yield "architectures", ", ".join(info.architectures)
    if info.base:
        yield "base", info.base
    yield "confinement", info.confinement.value
    yield "size", f"{report.size} ({iec(report.size)})"
    yield "SHA3-384", report.digest
    yield "signature", _signature(report)
    if report.verity_root:
        yield "verity root", report.verity_root
    for name, items in (("apps", [_app(app) for app in info.apps]), ("plugs", _interfaces(info.plugs)),
                        ("slots", _interfaces(info.slots)), ("hooks", [hook.name for hook in info.hooks]),
                        ("layout", [layout.path for layout in info.layouts]),
                        ("components", [component.name for component in info.components])):
        if items:
            yield name, _shortened(items)
    if report.binaries is not None:
        foreign = [f"{path} ({architecture})" for path, architecture in report.binaries.foreign]
        others = f", {len(foreign)} for others: {_shortened(foreign)}" if foreign else ""
        yield "binaries", f"{report.binaries.native} for {', '.join(info.architectures)}{others}"


def _app(app: App) -> str:
    return f"{app.name} ({app.daemon})" if app.daemon else app.name


def _interfaces(interfaces: tuple[Interface, ...]) -> list[str]:
    return [item.name if item.name == item.interface else f"{item.name} ({item.interface})" for item in interfaces]


def _shortened(items: list[str]) -> str:
    shown = ", ".join(printable(item) for item in items[:SHOWN])
    return shown + (f" and {len(items) - SHOWN} more" if len(items) > SHOWN else "")


def _signature(report: PackageReport) -> str:
    finding = report.finding
    if finding is None:
        return "not looked for: no assertions beside it"
    return finding.state.value + (f": {finding.cause}" if finding.cause else "")


def _package_json(report: PackageReport) -> dict[str, Any]:
    """One package (docs/reference/output.md)."""
    info, finding, binaries = report.info, report.finding, report.binaries
    plugs, slots = list(info.common_plugs), list(info.common_slots)
    return {
        "file": str(report.path), "kind": "package", "format": report.format.value, "compression": report.compression,
        "name": info.name, "revision": report.revision, "version": info.version, "type": info.type,
        "architectures": list(info.architectures), "base": info.base, "title": info.title or None,
        "summary": info.summary or None, "license": info.license or None, "grade": info.grade or None,
        "confinement": info.confinement, "epoch": {"read": list(info.epoch.read), "write": list(info.epoch.write)},
        "assumes": list(info.assumes), "size": report.size, "filesystem_size": report.inner_size,
        "sha3_384": report.digest, "verity_root": report.verity_root,
        "apps": [{"name": app.name, "command": app.command or None, "daemon": app.daemon,
                  "daemon_scope": app.daemon_scope, "plugs": [*app.plugs, *plugs],
                  "slots": [*app.slots, *app.activates_on, *slots]} for app in info.apps],
        "plugs": [_interface_json(item) for item in info.plugs],
        "slots": [_interface_json(item) for item in info.slots],
        "hooks": [hook.name for hook in info.hooks],
        "layout": [{"path": item.path, "kind": item.kind, "source": item.source or None} for item in info.layouts],
        "components": [{"name": item.name, "type": item.type} for item in info.components],
        "signature": None if finding is None else {"state": finding.state, "cause": finding.cause},
        "binaries": None if binaries is None else {"native": binaries.native, "foreign": [
            {"path": path, "architecture": architecture} for path, architecture in binaries.foreign]},
        "warnings": [{"line": item.line, "text": str(item), "rule": item.rule.id if item.rule else None}
                     for item in report.warnings],
        "problems": [error.message for error in report.errors],
    }


def _interface_json(item: Interface) -> dict[str, Any]:
    return {"name": item.name, "interface": item.interface, "label": item.label or None}
