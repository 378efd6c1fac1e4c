"""`imagekit factory`: a station that makes units of media, one after another or many at once, and records each."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.keyring import complete_key, passphrase_option
from imagekit.cli.options import json_option, trust_option

JOB = click.argument("job", metavar="JOB.yaml", type=click.Path(path_type=Path, exists=True, dir_okay=False))
LOG = click.argument("log", metavar="LOG", type=click.Path(path_type=Path, exists=True, dir_okay=False))
STATION_KEY = click.option("--key", metavar="KEY", shell_complete=complete_key,
                           help="The station's key: a name in your keyring, or a file with its public key."
                                "  [default: any key of your keyring]")


@click.group(no_args_is_help=True)
def factory() -> None:
    """Run a station that flashes, personalises and records units."""


@factory.command("plan")
@JOB
@trust_option
@json_option
def plan_(job: Path, trust: tuple[Path, ...], as_json: bool) -> None:
    """Show what `run` would do now: the image, every port and what is in it, what is refused. Writes nothing."""
    from imagekit.cli.factory_run import show_plan

    show_plan(job, trust=trust, as_json=as_json)


@factory.command("run")
@JOB
@click.option("--once", is_flag=True, help="Make a unit of what is in each port now, and end.")
@click.option("--units", metavar="N", type=click.IntRange(1), help="End after so many good units.")
@click.option("--no-page", is_flag=True, help="Show nothing in a browser.")
@passphrase_option
@trust_option
@json_option
def run_(job: Path, once: bool, units: int | None, no_page: bool, passphrase_file: Path | None,
         trust: tuple[Path, ...], as_json: bool) -> None:
    """Wait at the ports of JOB.yaml, and make a unit of every medium that is put in.

    Each is written, read back, given its identity and recorded in the log; then its label is printed. Nobody is asked:
    the ports of the job are the list of what may be erased. Ctrl-C takes no further unit and ends when those in work
    are finished; a second one ends at once. Then the batch's report is written.
    """
    from imagekit.cli.factory_run import Wanted, run

    run(job, Wanted(once=once, units=units, page=not no_page, passphrase_file=passphrase_file, trust=trust,
                    as_json=as_json))


@factory.command("check")
@LOG
@STATION_KEY
@click.option("--head", metavar="DIGEST", help="A last digest that was noted before: the log must still hold it.")
@json_option
def check_(log: Path, key: str | None, head: str | None, as_json: bool) -> None:
    """Verify a station's log: every signature, every link, no serial twice.

    A torn line at the end is told; the station sets it aside when it starts again.
    """
    from imagekit.cli.factory_log import check

    check(log, key=key, head=head, as_json=as_json)


@factory.command("report")
@LOG
@STATION_KEY
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
              help="Where it goes; without it, LOG with the suffix .html.")
@json_option
def report_(log: Path, key: str | None, output: Path | None, as_json: bool) -> None:
    """Verify a station's log, and write its report: one HTML file, to be kept or printed."""
    from imagekit.cli.factory_log import report

    report(log, output or log.with_suffix(".html"), key=key, as_json=as_json)


@factory.command("prepare")
@click.argument("model", metavar="BRAND/MODEL")
@click.option("--first", metavar="SERIAL", required=True, help="The first serial number; its last digits are counted.")
@click.option("--count", metavar="N", type=click.IntRange(1, 100_000), required=True, help="How many.")
@click.option("-k", "--key", "key_name", metavar="KEY", required=True, shell_complete=complete_key,
              help="The brand's key, or that of an account which the model lets sign serials.")
@click.option("-o", "--output", metavar="DIR", required=True, type=click.Path(path_type=Path, file_okay=False),
              help="The folder that a station takes them from.")
@passphrase_option
@trust_option
@json_option
def prepare_(model: str, first: str, count: int, key_name: str, output: Path, passphrase_file: Path | None,
             trust: tuple[Path, ...], as_json: bool) -> None:
    """Make identities in advance, on the brand's machine: for each a device key and a serial assertion about it."""
    from imagekit.cli.factory_prepare import prepare_all

    prepare_all(model, first, count, key_name=key_name, output=output, passphrase_file=passphrase_file, trust=trust,
                as_json=as_json)
