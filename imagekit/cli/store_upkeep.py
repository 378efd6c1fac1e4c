"""`imagekit store sync`, `delta`, `prune`: bring a store to its place, make it cheap to follow, and keep it small."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.cli.keyring import passphrase_option
from imagekit.cli.options import json_option
from imagekit.cli.output import emit_json, say, table, warn
from imagekit.cli.progress import progress
from imagekit.cli.store_options import open_store, store_option
from imagekit.host.places import place_of
from imagekit.plan.releases import KEPT_REVISIONS
from imagekit.plan.upload import UploadPlan
from imagekit.store import prune as pruning
from imagekit.store import sync as uploading
from imagekit.store.deltas import publish_deltas
from imagekit.units import iec

DRY_RUN = click.option("--dry-run", is_flag=True, help="Only say what would be done.")


@click.command()
@click.argument("target", metavar="FOLDER|URL")
@DRY_RUN
@click.option("--delete", is_flag=True, help="Afterwards take away there what `store prune` took away here.")
@click.option("--endpoint", metavar="URL", help="Where the S3 is, if it is not Amazon's.")
@store_option
@json_option
def sync(target: str, dry_run: bool, delete: bool, endpoint: str | None, store: Path, as_json: bool) -> None:
    """Upload what is published: to a folder, to WebDAV (https://...), or to s3://BUCKET/PREFIX.

    Files go up in the only safe order, with the timestamp last, and with their cache headers where the place takes
    any. Run it again after it was cut short: it goes on.
    """
    place = place_of(target, endpoint=endpoint)
    with open_store(store) as held, progress() as told:
        told.step("comparing")
        planned = uploading.plan(held, place)
        surplus = uploading.surplus(place, uploading.public_files(held.public)) if delete else ()
        if surplus is None:
            warn("nothing is taken away there: WebDAV does not tell what lies there")
            surplus = ()
        if surplus and uploading.is_first(planned):
            warn(f"nothing is taken away there: {len(surplus)} files lie there, and this store was never uploaded to"
                 " it")
            surplus = ()
        if not dry_run:
            uploading.carry_out(held, place, planned, told)
            for name in surplus:
                place.remove(name)
    _tell_sync(target, planned, surplus, done=not dry_run, as_json=as_json)


def _tell_sync(target: str, planned: UploadPlan, surplus: tuple[str, ...], *, done: bool, as_json: bool) -> None:
    if as_json:
        emit_json({"target": target, "done": done, "there": planned.there, "bytes": planned.size,
                   "uploads": planned.uploads, "removals": surplus})
        return
    if not done:
        table(("size", "cache", "file"), [(item.size, item.cache_control, item.name) for item in planned.uploads],
              right=("size",))
        for name in surplus:
            say(f"would be taken away: {name}")
    say(f"{'uploaded' if done else 'to upload'}: {len(planned.uploads)} files, {iec(planned.size)};"
        f" {planned.there} were there" + (f"; {len(surplus)} taken away" if surplus and done else ""))


@click.command()
@DRY_RUN
@click.option("--keep", type=click.IntRange(2), default=KEPT_REVISIONS, show_default=True, metavar="N",
              help="How many revisions stay to go back to, besides those that are released.")
@store_option
@passphrase_option
@json_option
def prune(dry_run: bool, keep: int, store: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Take away what no device can need: old revisions, and files that nothing names any more.

    All that an unexpired snapshot leads to stays, and security fixes stay for ten years.
    """
    with open_store(store, passphrase_file) as held:
        planned = pruning.plan(held, keep=keep)
        outcome = None if dry_run else pruning.carry_out(held, planned, keep=keep)
    if as_json:
        emit_json({"done": not dry_run, "revisions": planned.revisions, "files": planned.files,
                   "bytes": planned.size, "published": outcome is None or outcome.published})
        return
    for name, numbers in sorted(planned.revisions.items()):
        say(f"{name}: revisions {', '.join(map(str, numbers))} leave the store")
    if dry_run:
        for name in planned.files:
            say(f"would be taken away: {name}")
    say(f"{'to take away' if dry_run else 'taken away'}: {len(planned.files)} files, {iec(planned.size)}")
    if outcome is not None and not outcome.published:
        say("the smaller channel maps wait for signatures: imagekit store apply")


@click.command()
@click.argument("name")
@click.argument("revision", type=click.IntRange(1), required=False)
@click.option("--from", "sources", type=click.IntRange(1), multiple=True, metavar="N",
              help="From this revision.  [default: what is released, three at most]")
@store_option
@passphrase_option
@json_option
def delta(name: str, revision: int | None, sources: tuple[int, ...], store: Path, passphrase_file: Path | None,
          as_json: bool) -> None:
    """Make deltas to REVISION of a package, the newest unless said otherwise, and publish them.

    Each is applied once before it is published. One that is not well below the whole download is left out.
    """
    with open_store(store, passphrase_file) as held, progress() as told:
        made, outcome = publish_deltas(held, name, target=revision, sources=sources, progress=told)
    if as_json:
        emit_json({"package": name, "deltas": made, "published": outcome is None or outcome.published})
        return
    table(("from", "to", "size", "of the whole", ""),
          [(item.source, item.target, iec(item.size), f"{100 * item.size / item.whole:.1f} %",
            "published" if item.published else "not worth it") for item in made],
          right=("from", "to", "size", "of the whole"))
    if not made:
        say(f"{name}: there is no revision from which devices would come")
