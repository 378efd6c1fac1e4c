"""`imagekit boot`: boot an image in QEMU and tell whether it is healthy."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imagekit.cli.emulators import tools_for
from imagekit.cli.options import json_option, trust_option
from imagekit.cli.output import detail, emit_json, say, short_path, warn, write
from imagekit.cli.progress import progress
from imagekit.errors import DocumentError, HostError, ImagekitError, TargetError, UsageError
from imagekit.host.cache import default_cache_folder
from imagekit.host.clock import SystemClock
from imagekit.host.files import reason
from imagekit.host.trust import default_trust_dir, load_trust
from imagekit.qemu.console import clean
from imagekit.qemu.expectation import read_expectation
from imagekit.qemu.machine import HealthWay, load_machine, machine_folders, machine_names, machine_of
from imagekit.qemu.phases import Phase
from imagekit.qemu.record import record_boot
from imagekit.qemu.session import Acceleration, Outcome, Wish, choose, run_boot
from imagekit.qemu.transcript import Transcript, new_transcript_path
from imagekit.qemu.watch import Boot, Watch
from imagekit.qemu.workbench import workbench

if TYPE_CHECKING:
    from imagekit.host.ports import Progress
    from imagekit.qemu.judge import Expectation
    from imagekit.qemu.machine import Machine

DEADLINE_S = 180.0


def complete_machine(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The machines there are, for the shell."""
    return [name for name in machine_names(machine_folders()) if name.startswith(incomplete)]


@click.command()
@click.argument("image", metavar="IMAGE", type=click.Path(path_type=Path))
@click.option("--machine", "machine_name", metavar="NAME", shell_complete=complete_machine,
              help="A machine of qemu/, of your own (machines/ in the config folder), or the path of a .yaml file."
              "  [default: the one that is called as the image's gadget]")
@click.option("--deadline", metavar="SECONDS", type=click.FloatRange(min=1, max=86400), default=DEADLINE_S,
              show_default=True, help="Not healthy by then is not healthy.")
@click.option("--accel", type=click.Choice([wish.value for wish in Wish]), default=Wish.AUTO.value, show_default=True,
              envvar="IMAGEKIT_ACCEL", show_envvar=True, help="auto: KVM where a tiny guest proved it, else TCG.")
@click.option("--console", is_flag=True, help="Show the guest's console as it comes, unfiltered, on stderr.")
@click.option("--transcript", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Keep the console there, instead of in the state folder.")
@click.option("--keep", is_flag=True, help="Keep the disk that the guest wrote to, and say where it is.")
@trust_option
@json_option
def boot(image: Path, machine_name: str | None, deadline: float, accel: str, console: bool, transcript: Path | None,
         keep: bool, trust: tuple[Path, ...], as_json: bool) -> None:
    """Boot an IMAGE in QEMU and tell whether it is healthy.

    Exit 0 only when the guest itself reports healthy (over its health port, or framed on its console where there is
    none), repeats a number that only this boot was given, and runs the kernel and base that the image's signed model
    asks for; otherwise 7. The image is not changed.
    """
    if machine_name is not None:
        load_machine(machine_name, machine_folders())  # a name that is wrong is told before the image is read
    expectation = expectation_of(image, trust)
    machine = machine_of(machine_name, machine_folders(), gadget=expectation.gadget,
                         architecture=expectation.architecture)
    with progress() as told:
        tools = tools_for(machine, told=told)
    acceleration = choose(tools, machine, Wish(accel), cache=default_cache_folder(os.environ))
    detail(f"{acceleration.accelerator.value}: {acceleration.reason}")
    path = transcript or new_transcript_path(image, SystemClock().now())
    kept = open_transcript(path)
    watch = Watch(expectation=expectation, transcript=kept, new_nonce=lambda: secrets.token_hex(32),
                  in_band=machine.health is HealthWay.CONSOLE)
    try:
        # With the console on the screen there is no place for a bar, and its lines tell how far it is.
        with workbench(tools, machine, image, keep=keep) as bench, nullcontext() if console else progress() as told:
            outcome = asyncio.run(run_boot(
                tools=tools, machine=machine, bench=bench, accelerator=acceleration.accelerator, watch=watch,
                deadline_s=deadline, console=sys.stderr.buffer if console else None,
                on_phase=Talker(told).phase))
    finally:
        kept.close()
    recorded = outcome.healthy and note_boot(image, machine)
    if as_json:
        emit_json(document(image, machine, acceleration, watch, outcome, recorded=recorded))
    if keep:
        say(f"kept: {bench.disk}")
    if not outcome.healthy:
        raise unhealthy(image, watch)
    if not as_json:
        tell(machine, acceleration, watch, outcome)


class Talker:
    """Tells phases as steps of the progress."""

    def __init__(self, told: Progress | None) -> None:
        self._told = told

    def phase(self, number: int, phase: Phase) -> None:
        # A quiet kernel is told apart from its loader only by the verdict.
        name = "loader and kernel" if phase is Phase.LOADER else phase.value
        if self._told is not None:
            self._told.step(name if number == 1 else f"boot {number}: {name}")


def expectation_of(image: Path, trust: tuple[Path, ...]) -> Expectation:
    """What a healthy boot of this image must show."""
    try:
        with image.open("rb") as stream:
            return read_expectation(stream, name=str(image), now=SystemClock().now(),
                                    trusted=load_trust((default_trust_dir(), *trust)))
    except IsADirectoryError as error:
        raise DocumentError(f"cannot use {image}: it is a folder, not a disk image",
                            hint=f"name the image in it: {image / 'NAME.img'}") from error
    except FileNotFoundError as error:
        raise UsageError(f"cannot use {image}: there is no such file", hint="imagekit build makes one") from error
    except OSError as error:
        raise HostError(f"cannot read {image}: {reason(error)}") from error


def open_transcript(path: Path) -> Transcript:
    try:
        return Transcript(path)
    except OSError as error:
        raise HostError(f"cannot write the transcript {path}: {reason(error)}",
                        hint="name another file with --transcript") from error


def note_boot(image: Path, machine: Machine) -> bool:
    """Write the boot into the manifest; an image that has none, or is another by now, is said and no failure."""
    try:
        return record_boot(image, machine=machine.name, time=SystemClock().now())
    except (ImagekitError, OSError) as error:
        warn(f"the manifest does not record this boot: {error}")
        return False


def tell(machine: Machine, acceleration: Acceleration, watch: Watch, outcome: Outcome) -> None:
    """A healthy boot, for people."""
    last, expected = watch.boot, watch.expectation
    slot = last.verdict.slot if last.verdict else "?"
    write(f"healthy: slot {slot}, {expected.kernel}, {expected.base}")
    reboots = f", {after(watch)}" if watch.reboots else ""
    write(f"{outcome.seconds:.1f} s on machine {machine.name} under {acceleration.accelerator.value}{reboots}: "
          + ", ".join(f"{time.phase.value} {time.seconds:.1f} s" for time in last.phases))
    if last.verdict and last.verdict.degraded:
        warn("the device runs degraded: its data partition cannot be used")
    say(f"transcript: {transcript_of(watch)}")


def after(watch: Watch) -> str:
    """`after 1 reboot`."""
    return f"after {watch.reboots} reboot{'s' if watch.reboots > 1 else ''}"


def transcript_of(watch: Watch) -> str:
    """Its path, as short as a shell here understands it."""
    return short_path(watch.transcript.path or "")


def unhealthy(image: Path, watch: Watch) -> TargetError:
    """A boot that failed: the phase by name, the reasons, the last lines, what to try."""
    failure = watch.failure()
    reboots = f" {after(watch)}" if watch.reboots else ""
    details = [*failure.reasons[1:], *(f"  | {line}" for line in failure.lines), f"transcript: {transcript_of(watch)}"]
    return TargetError(f"cannot call {image} healthy: {failure.phase.value}: {failure.reasons[0]}{reboots}",
                       hint=failure.hint, details=tuple(details))


def document(image: Path, machine: Machine, acceleration: Acceleration, watch: Watch, outcome: Outcome, *,
             recorded: bool) -> dict[str, Any]:
    """What `--json` prints (docs/reference/health-protocol.md)."""
    last, expected = watch.boot, watch.expectation
    return {
        "version": 1, "healthy": outcome.healthy, "image": str(image), "model": expected.model,
        "machine": machine.name, "accelerator": acceleration.accelerator.value, "reason": acceleration.reason,
        "seconds": outcome.seconds, "timed_out": outcome.timed_out, "reboots": watch.reboots,
        "slot": last.verdict.slot if last.verdict else None,
        "expected": {"slot": expected.slot, "kernel": asdict(expected.kernel), "base": asdict(expected.base)},
        "phases": {time.phase.value: time.seconds for time in last.phases},
        "boots": [boot_document(item) for item in watch.boots],
        "verdict": cleaned(asdict(last.verdict)) if last.verdict else None,
        "failure": None if outcome.healthy else asdict(watch.failure()),
        "transcript": str(watch.transcript.path), "recorded": recorded,
    }


def cleaned(told: Any) -> Any:
    """What a guest told, with nothing in it that a terminal obeys."""
    if isinstance(told, str):
        return clean(told)
    if isinstance(told, Mapping):
        return {clean(key): cleaned(item) for key, item in told.items()}
    return [cleaned(item) for item in told] if isinstance(told, list | tuple) else told


def boot_document(item: Boot) -> dict[str, Any]:
    return {
        "number": item.number, "cause": item.cause, "began": round(item.start_s, 3), "healthy": item.healthy,
        "slot": item.verdict.slot if item.verdict else None, "phase": item.clock.current.value, "ended": item.ended,
        "reasons": list(item.judgement.reasons) if item.judgement else [],
        "phases": {time.phase.value: time.seconds for time in item.phases},
    }
