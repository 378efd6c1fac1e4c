"""`imagekit gadget show` and `imagekit gadget diff`: where a gadget puts everything, and what an update of it does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.build.package_tree import read_gadget, read_kernel
from imagekit.cli.options import json_option, report_option
from imagekit.cli.output import emit_json, say, table, write, write_report
from imagekit.errors import PlanError
from imagekit.gadget import Era
from imagekit.host.files import write_atomic
from imagekit.plan.gadget_show import ShownVolume, as_json, drawing_of, show_gadget
from imagekit.plan.gadget_update import Action, GadgetUpdate, Side, StructureChange, plan_gadget_update

if TYPE_CHECKING:
    from imagekit.gadget import Structure

RULES = {era.name.lower(): era for era in Era}
EXISTING = click.Path(path_type=Path, exists=True)
rules_option = click.option("--rules", type=click.Choice(list(RULES)),
                            help="The generation of the model it is for.  [default: what its contents ask for]")


@click.command()
@click.argument("path", metavar="PATH", type=EXISTING)
@click.option("--sector-size", type=click.Choice(["512", "4096"]), default="512", show_default=True,
              help="Bytes of a sector of the disk.")
@rules_option
@click.option("-o", "--output", "--svg", "output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Write a picture of the disks, too.")
@json_option
def show(path: Path, sector_size: str, rules: str | None, output: Path | None, as_json: bool) -> None:
    """Show where a gadget puts everything: PATH is a gadget.yaml, the folder of a gadget, or a package.

    Each volume has a table and a bar. What the gadget leaves to the device is told as the room that there is.
    """
    found = read_gadget(path, era=RULES[rules] if rules else None)
    shown = show_gadget(found.gadget, sector=int(sector_size), files=found.sizes)
    if output is not None:
        write_atomic(output, picture_of(found.name, shown))
    if as_json:
        emit_json(_document(found.name, shown, output))
        return
    if not shown:
        say(f"{found.name} declares no volumes")
    for number, volume in enumerate(shown):
        if number:
            write("")
        show_volume(volume)
    if output is not None:
        say(f"picture in {output}")


def _document(name: str, shown: tuple[ShownVolume, ...], output: Path | None) -> dict[str, Any]:
    return {"file": name, "volumes": [as_json(volume) for volume in shown],
            "picture": str(output) if output is not None else None}


def picture_of(name: str, shown: tuple[ShownVolume, ...]) -> bytes:
    """The disks of a gadget as SVG."""
    from imagekit.plan.svg import draw_volumes

    count = f"{len(shown)} volume{'' if len(shown) == 1 else 's'}"
    return draw_volumes(name, count, [drawing_of(volume) for volume in shown])


def show_volume(shown: ShownVolume) -> None:
    """A volume's line, table, pointers and bar."""
    from imagekit.cli.disk_bar import BarPart, draw_parts

    write(shown.headline + "\n")
    table(("#", "structure", "role", "type", "start", "end", "size", "filesystem", "label", "edition", "content"), [
        (item.number or "-", item.structure.title, _role(item.structure), item.type, item.start_text, item.end_text,
         item.size_text, item.structure.filesystem.value if item.structure.filesystem else "-",
         item.structure.label or "-", item.structure.update.edition, item.content_text)
        for item in shown.structures], right=("#", "start", "end", "size", "edition"))
    if shown.layout is None:
        return
    if shown.layout.pointers:
        write("")
    for pointer in shown.layout.pointers:
        write(f"at byte {pointer.offset} stands {pointer.content.hex(' ')}: {pointer.of.title} begins at sector"
              f" {pointer.sector}")
    write("")
    draw_parts([BarPart(number=item.number, title=item.structure.title, size=item.size or 0, used=item.used,
                        style=drawn.style)
                for item, drawn in zip(shown.structures, drawing_of(shown).structures, strict=True)])


def _role(structure: Structure) -> str:
    return structure.role.value if structure.role is not None else "-"


@click.command()
@click.argument("old", metavar="OLD", type=EXISTING)
@click.argument("new", metavar="NEW", type=EXISTING)
@click.option("--kernel-old", metavar="PATH", type=EXISTING,
              help="The kernel beside OLD: a package, folder or document.")
@click.option("--kernel-new", metavar="PATH", type=EXISTING, help="The kernel beside NEW.")
@rules_option
@report_option
@json_option
def diff(old: Path, new: Path, kernel_old: Path | None, kernel_new: Path | None, rules: str | None,
         output: Path | None, as_json: bool) -> None:
    """Tell whether a device made with gadget OLD may be updated in place to NEW, and what is written then.

    Exit 0 if it may, 5 if not, with every reason. Each is a gadget.yaml, the folder of a gadget, or a package.
    """
    era = RULES[rules] if rules else None
    before, after = read_gadget(old, era=era), read_gadget(new, era=era)
    answer = plan_gadget_update(
        Side(gadget=before.gadget, files=before.files, kernel=read_kernel(kernel_old) if kernel_old else None),
        Side(gadget=after.gadget, files=after.files, kernel=read_kernel(kernel_new) if kernel_new else None))
    document = update_json(before.name, after.name, answer)
    write_report(document, output)
    if as_json:
        emit_json(document)
    else:
        show_update(answer)
    if not answer.allowed:
        count = len(answer.refusals)
        raise PlanError(f"cannot update {before.name} to {after.name} in place:"
                        f" {answer.refusals[0] if count == 1 else f'{count} reasons'}",
                        details=answer.refusals if count > 1 else (),
                        hint="a device needs a new image for this, or the gadget must keep its disk")


def show_update(answer: GadgetUpdate) -> None:
    """A table of every structure, and the verdict."""
    rows = []
    for volume in answer.volumes:
        for item in volume.structures:
            rows.append((volume.name, item.title, _editions(item), _verdict(item), ", ".join(item.written) or "-",
                         "; ".join((*item.reasons, *item.notes, *(f"keeps {path}" for path in item.preserved))) or "-"))
    if rows:
        table(("volume", "structure", "edition", "update", "written", "remarks"), rows)
        write("")
    if answer.allowed:
        writes = [item.title for _, item in answer.writes]
        write(f"may be updated in place: {'writes ' + ', then '.join(writes) if writes else 'nothing is written'}")
    else:
        write("may not be updated in place")


def _editions(item: StructureChange) -> str:
    before, after = (str(side.update.edition) if side is not None else "-" for side in (item.before, item.after))
    return before if before == after else f"{before} -> {after}"


def _verdict(item: StructureChange) -> str:
    if item.reasons or item.before is None or item.after is None:
        return "refused"
    return {Action.REWRITE: "rewritten", Action.ASSETS: "kernel assets", Action.KEEP: "kept"}[item.action]


def update_json(before: str, after: str, answer: GadgetUpdate) -> dict[str, Any]:
    """The answer for programs (docs/reference/gadget-yaml.md)."""
    return {
        "old": before, "new": after, "allowed": answer.allowed, "refusals": list(answer.refusals),
        "writes": [{"volume": volume, "structure": item.title} for volume, item in answer.writes],
        "volumes": [{"name": volume.name, "reasons": list(volume.reasons), "structures": [
            {"structure": item.title,
             "edition": [side.update.edition if side is not None else None for side in (item.before, item.after)],
             "update": item.action.name.lower(), "written": list(item.written), "preserved": list(item.preserved),
             "reasons": list(item.reasons), "notes": list(item.notes)} for item in volume.structures]}
            for volume in answer.volumes],
    }
