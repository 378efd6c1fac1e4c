"""`imagekit flash`: images onto cards and disks, one or twenty, and back again to be compared."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from imagekit.cli.options import json_option, trust_option

F = TypeVar("F", bound=Callable[..., Any])

IMAGE = click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path, exists=True, dir_okay=False))
TARGETS = click.argument("targets", metavar="[TARGET]...", nargs=-1, type=click.Path(path_type=Path))
FOREIGN = click.option("--foreign", is_flag=True, help="It is no image of imagekit: nothing in it can be checked.")


def list_options(function: F) -> F:
    """`--serial` and `--port`: a station's list of what may be written to."""
    function = click.option("--port", "ports", metavar="PORT", multiple=True,
                            help="What is plugged in here may be written to; no question is asked.")(function)
    return click.option("--serial", "serials", metavar="SERIAL", multiple=True,
                        help="The medium with this serial number may be written to; no question is asked.")(function)


@click.group(no_args_is_help=True)
def flash() -> None:
    """Write images to cards and disks, and read them back."""


@flash.command("list")
@click.option("--all", "everything", is_flag=True, help="Partitions too.")
@json_option
def list_(everything: bool, as_json: bool) -> None:
    """List the media of this machine: what they are, what is on them, and why some are refused."""
    from imagekit.cli.flash_show import show_devices
    from imagekit.cli.output import emit_json
    from imagekit.host.devices import SystemInventory
    from imagekit.plan.flash import device_json, refusals_json
    from imagekit.plan.flash_device import Allowed, Demand, Kind, judge

    found = [(item, judge(item, Demand(), Allowed())) for item in SystemInventory().devices()]
    if as_json:
        emit_json({"devices": [{**device_json(item), "refusals": refusals_json(refusals)}
                               for item, refusals in found]})
        return
    show_devices([entry for entry in found if everything or entry[0].kind is not Kind.PARTITION])


@flash.command("plan")
@IMAGE
@TARGETS
@list_options
@FOREIGN
@trust_option
@json_option
def plan_(image: Path, targets: tuple[Path, ...], serials: tuple[str, ...], ports: tuple[str, ...], foreign: bool,
          trust: tuple[Path, ...], as_json: bool) -> None:
    """Show what `write` would do, and what it would refuse. Writes nothing and holds nothing.

    The word after "this plan is" confirms exactly this image on exactly these media: `write --confirm WORD`.
    """
    from imagekit.cli.flash_run import Request, refuse, show_and_plan
    from imagekit.cli.flash_show import show_plan
    from imagekit.cli.output import emit_json
    from imagekit.plan.flash import as_json as plan_json
    from imagekit.plan.flash_device import Allowed

    allowed = Allowed(serials=frozenset(serials), ports=frozenset(ports))
    made, about = show_and_plan(Request(image=image, targets=targets, allowed=allowed, trust=trust, foreign=foreign))
    if as_json:
        emit_json({**plan_json(made), "about": about})
    else:
        show_plan(made, about=about)
    refuse(made)


@flash.command("write")
@IMAGE
@TARGETS
@list_options
@click.option("--confirm", metavar="WORD", help="The word of a plan that was shown by `flash plan`.")
@click.option("--update", is_flag=True, help="Read, compare, and write only what differs.")
@click.option("--resume", is_flag=True, help="Go on where writing this image to this medium was interrupted.")
@click.option("--boot-from-it", is_flag=True, help="Of an eMMC boot partition: make the eMMC boot from it.")
@click.option("--no-verify", is_flag=True, help="Do not read back what was written.")
@FOREIGN
@trust_option
@json_option
def write_(image: Path, targets: tuple[Path, ...], serials: tuple[str, ...], ports: tuple[str, ...],
           confirm: str | None, update: bool, resume: bool, boot_from_it: bool, no_verify: bool, foreign: bool,
           trust: tuple[Path, ...], as_json: bool) -> None:
    """Write IMAGE to cards, disks or files, and read it back.

    IMAGE may be compressed (.zst, .xz, .gz). First it is looked into and its signatures are verified; then the plan is
    shown and you are asked. What was interrupted does not boot. Without TARGET, the media that --serial and --port name
    are written.
    """
    from imagekit.cli.flash_run import Request, write
    from imagekit.flash.job import How
    from imagekit.plan.flash_device import Allowed

    allowed = Allowed(serials=frozenset(serials), ports=frozenset(ports))
    write(Request(image=image, targets=targets, allowed=allowed, trust=trust, foreign=foreign, confirm=confirm,
                  resume=resume, boot_from_it=boot_from_it,
                  how=How(update=update, verify=not no_verify), as_json=as_json))


@flash.command("verify")
@IMAGE
@TARGETS
@FOREIGN
@trust_option
@json_option
def verify_(image: Path, targets: tuple[Path, ...], foreign: bool, trust: tuple[Path, ...], as_json: bool) -> None:
    """Read cards, disks or files, and compare them with IMAGE. Writes nothing."""
    from imagekit.cli.flash_run import Request, verify
    from imagekit.plan.flash_device import Allowed

    verify(Request(image=image, targets=targets, allowed=Allowed(), trust=trust, foreign=foreign, as_json=as_json))


@flash.command("compress")
@IMAGE
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="Where it goes; without it, IMAGE.zst.")
@click.option("--level", metavar="N", type=click.IntRange(1, 19), default=6, show_default=True,
              help="How hard zstd tries.")
@json_option
def compress_(image: Path, output: Path | None, level: int, as_json: bool) -> None:
    """Compress IMAGE so that it is written quickly: zstd in many frames, each decoded by itself, empty space skipped.

    Any zstd program unpacks it.
    """
    from imagekit.cli.flash_tools import compress

    compress(image, output or image.with_name(image.name + ".zst"), level=level, as_json=as_json)


@flash.command("os-list")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--url", metavar="URL", required=True, help="Where the images will be fetched from.")
@click.option("--icon", metavar="URL", default="", help="Address of a picture for the list.")
@click.option("-o", "--output", metavar="FILE", default=Path("os_list.json"), show_default=True,
              type=click.Path(path_type=Path), help="Where it goes.")
@json_option
def os_list_(images: tuple[Path, ...], url: str, icon: str, output: Path, as_json: bool) -> None:
    """Write a list of images that Raspberry Pi Imager reads: its option --repo, or "custom repository".

    Each IMAGE needs its manifest.json beside it.
    """
    from imagekit.cli.flash_tools import offer

    offer(images, output, url=url, icon=icon, as_json=as_json)
