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
MODEL = click.argument("model", metavar="BRAND/MODEL")
FIRST = click.option("--first", metavar="SERIAL", required=True,
                     help="The first serial number; its last digits are counted.")
COUNT = click.option("--count", metavar="N", type=click.IntRange(1, 100_000), required=True, help="How many.")
BRAND_KEY = click.option("-k", "--key", "key_name", metavar="KEY", required=True, shell_complete=complete_key,
                         help="The brand's key, or that of an account which the model lets sign serials.")
FILE = click.Path(path_type=Path, dir_okay=False)


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


@factory.command("label")
@JOB
@click.argument("serials", metavar="[SERIAL]...", nargs=-1)
@click.option("--record", "records", metavar="N", type=click.IntRange(0), multiple=True,
              help="The unit of this record in the log, where it has no serial number.")
@json_option
def label_(job: Path, serials: tuple[str, ...], records: tuple[int, ...], as_json: bool) -> None:
    """Print labels of finished units once more, by the log of JOB.yaml; the station may run meanwhile.

    What a power cut left without a label needs none of this: the station makes it when it starts again.
    """
    from imagekit.cli.factory_label import label

    label(job, serials, records, as_json=as_json)


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
@MODEL
@FIRST
@COUNT
@BRAND_KEY
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


@factory.command("serve")
@MODEL
@FIRST
@COUNT
@BRAND_KEY
@click.option("--log", metavar="FILE", type=FILE, default=Path("serials.log"), show_default=True,
              help="Where every serial that was given is recorded. The next start goes on with it.")
@click.option("--token", "tokens", metavar="STATION.token", type=FILE, multiple=True, required=True,
              help="What a station shows to be let in; made if there is none. One for each station.")
@click.option("--a-minute", metavar="N", type=click.IntRange(1, 10_000), default=120, show_default=True,
              help="The most serials that one station gets in a minute.")
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", metavar="PORT", type=click.IntRange(0, 65535), default=8124, show_default=True,
              help="0 takes a free one.")
@click.option("--tls", metavar="CERT KEY", type=FILE, nargs=2, help="Certificate and its key in PEM: speak TLS.")
@passphrase_option
@trust_option
def serve_(model: str, first: str, count: int, key_name: str, log: Path, tokens: tuple[Path, ...], a_minute: int,
           host: str, port: int, tls: tuple[Path, Path] | None, passphrase_file: Path | None,
           trust: tuple[Path, ...]) -> None:
    """Sign serials while stations ask for them, so that no station has the brand's key or a list; Ctrl-C ends it.

    Only serials of the range are given, each about one device key. To other machines it speaks TLS or nothing.
    """
    from imagekit.cli.factory_prepare import Service, serve

    serve(model, first, count, Service(log=log, tokens=tokens, a_minute=a_minute, host=host, port=port, tls=tls),
          key_name=key_name, passphrase_file=passphrase_file, trust=trust)
