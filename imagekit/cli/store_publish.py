"""`imagekit store publish`, `promote`, `release`, `revoke`, `close`: what devices get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
from click.core import ParameterSource

from imagekit.assertions import Chain
from imagekit.build.unsquash import open_package
from imagekit.build.verify import Finding, examine
from imagekit.cli.keyring import passphrase_option, trusted
from imagekit.cli.options import json_option, trust_option
from imagekit.cli.output import say
from imagekit.cli.store_options import Channels, Percent, open_store, store_option, tell, text_of
from imagekit.errors import UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.tools import LocalTools
from imagekit.packages.package import read_info
from imagekit.plan.channelmap import ChannelMap, Release, UpdateClass
from imagekit.plan.channels import Channel
from imagekit.plan.releases import Terms, changed, closed, floored, released, revoked, top_of
from imagekit.store.commit import Outcome
from imagekit.store.publishing import Offer, Wanted, change, publish_address, publish_model, publish_set
from imagekit.store.publishing import publish as publish_packages
from imagekit.store.repository import Store

ALONE = {".validation-set": publish_set, ".store": publish_address, ".model": publish_model}  # files of their own
PERCENT = click.option("--percent", "share", type=Percent(), default="100", show_default=True, metavar="P",
                       help="The share of devices that get it; the same ones each time it is raised.")
LEAST = click.option("--least", type=click.IntRange(0), default=0, metavar="REVISION",
                     help="Devices below that revision take another step first.")


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="PACKAGE...",
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--channel", type=Channels(), metavar="CHANNEL", help="Release it there: edge, latest/stable, 2.0/beta.")
@PERCENT
@LEAST
@click.option("--class", "update_class", type=click.Choice([item.value for item in UpdateClass]),
              default=UpdateClass.FEATURE.value, show_default=True, help="Why this revision was made.")
@click.option("--advisory", metavar="TEXT", help="What an owner should know about it.")
@click.option("--advisory-file", metavar="FILE", type=click.Path(path_type=Path, exists=True, dir_okay=False),
              help="The same, from a file.")
@store_option
@trust_option
@passphrase_option
@json_option
def publish(files: tuple[Path, ...], channel: Channel | None, share: int, least: int, update_class: str,
            advisory: str | None, advisory_file: Path | None, store: Path, trust: tuple[Path, ...],
            passphrase_file: Path | None, as_json: bool) -> None:
    """Publish signed packages, a validation set (NAME.validation-set), where the store moves to (NAME.store), or a
    newer revision of a model (NAME.model), which its devices go by from then on.

    The assertions of a package are taken from NAME_REVISION.assert beside it. All PACKAGEs become visible at once.
    """
    alone = next((path for path in files if path.suffix in ALONE), None)
    if alone is not None and (len(files) > 1 or channel is not None):
        raise UsageError(f"cannot publish a {alone.suffix[1:].replace('-', ' ')} along with others, or to a channel:"
                         " publish it alone")
    given = click.get_current_context().get_parameter_source
    if channel is None and ParameterSource.COMMANDLINE in (given("share"), given("least")):
        raise UsageError("cannot publish: --percent and --least say who gets it of a channel's devices",
                         hint="say which with --channel")
    report = examine(files, trusted(trust), now=SystemClock().now())
    report.raise_if_any()
    with open_store(store, passphrase_file) as held:
        if alone is not None:
            chain = _chain_of(report.findings, alone.suffix[1:])
            tell(ALONE[alone.suffix](held, chain, alone), store, as_json=as_json)
            return
        offers = [_offer(path, report.findings) for path in files]
        wanted = Wanted(channel=channel, terms=Terms(share=share, least=least), update_class=UpdateClass(update_class),
                        advisory=text_of(advisory, advisory_file, option="advisory"))
        outcome = publish_packages(held, offers, wanted)
        if outcome.published and not as_json:
            for offer in offers:
                where = f"released to {channel}" if channel else "in no channel yet"
                say(f"{offer.path.name}: {where}")
        tell(outcome, store, as_json=as_json)


def _chain_of(findings: tuple[Finding, ...], kind: str) -> Chain:
    """The proof of the one assertion of a type that a file is about."""
    found = [item.chain for item in findings if item.assertion is not None and item.assertion.type == kind]
    if len(found) != 1 or found[0] is None:
        raise UsageError(f"cannot publish: {len(found)} assertions of type {kind} came, one is needed")
    return found[0]


def _offer(path: Path, findings: tuple[Finding, ...]) -> Offer:
    chain = next((item.chain for item in findings if item.file == path and item.chain is not None), None)
    if chain is None:
        raise UsageError(f"cannot publish {path}: it is neither a package nor a validation set")
    with open_package(path, name=path.name, tools=LocalTools()) as inside:
        return Offer(path=path, info=read_info(inside), chain=chain)


@click.command()
@click.argument("name")
@click.option("--from", "source", type=Channels(), metavar="CHANNEL", help="The channel that has it now.")
@click.option("--revision", type=click.IntRange(1), metavar="N", help="This revision, wherever it is.")
@click.option("--to", "target", type=Channels(), metavar="CHANNEL", required=True, help="The channel that gets it too.")
@PERCENT
@LEAST
@store_option
@passphrase_option
@json_option
def promote(name: str, source: Channel | None, revision: int | None, target: Channel, share: int, least: int,
            store: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Release what one channel has to another too: the same bytes, nothing is made again."""
    if (source is None) == (revision is None):
        raise UsageError("cannot promote: say which revision with --from or with --revision, one of them")
    if source == target:
        raise UsageError(f"cannot promote {name} from {source} to itself",
                         hint=f"for more devices there: imagekit store release {name} N --channel {target} --percent P")

    def step(held: Store) -> Callable[[ChannelMap], ChannelMap]:
        def to_channel(channels: ChannelMap) -> ChannelMap:
            numbers = (revision,) if revision is not None else top_of(channels, source) if source else ()
            for number in numbers:
                channels = released(channels, number, target, Terms(share=share, least=least), sets=held.sets())
            return channels
        return to_channel

    _change(store, name, step, passphrase_file, as_json=as_json)


@click.command()
@click.argument("name")
@click.argument("revision", type=click.IntRange(1))
@click.option("--channel", type=Channels(), metavar="CHANNEL", required=True, help="The channel that has it.")
@click.option("--percent", "share", type=Percent(), metavar="P", help="The share of devices that get it from now on.")
@click.option("--hold/--resume", "held", default=None, help="No new device gets it for now; or go on.")
@click.option("--least", type=click.IntRange(0), metavar="REVISION",
              help="Devices below that revision take another step first.")
@store_option
@passphrase_option
@json_option
def release(name: str, revision: int, channel: Channel, share: int | None, held: bool | None, least: int | None,
            store: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Change how a revision is released: to more devices, to no new ones, or on.

    Devices that have it keep it, whatever the share is. To take it back, revoke it.
    """
    if share is None and held is None and least is None:
        raise UsageError("cannot release: say --percent, --hold, --resume or --least")

    def adjust(item: Release) -> Release:
        return replace(item, share=item.share if share is None else share, held=item.held if held is None else held,
                       least=item.least if least is None else least)

    def step(_: Store) -> Callable[[ChannelMap], ChannelMap]:
        return lambda channels: changed(channels, revision, channel, adjust)

    _change(store, name, step, passphrase_file, as_json=as_json)


@click.command()
@click.argument("name")
@click.argument("revision", type=click.IntRange(1), required=False)
@click.option("--reason", metavar="TEXT", help="Why; devices show it.")
@click.option("--below", type=click.IntRange(1), metavar="REVISION",
              help="Instead of one: never install anything below REVISION again.")
@store_option
@passphrase_option
@json_option
def revoke(name: str, revision: int | None, reason: str | None, below: int | None, store: Path,
           passphrase_file: Path | None, as_json: bool) -> None:
    """Take a revision back for good: no device installs it, and those that run it leave it for a newer one.

    Devices take nothing older than what they run: publish what was good before once more, under a higher revision.
    """
    if (revision is None) == (below is None):
        raise UsageError("cannot revoke: name one REVISION, or all with --below")
    reason = (reason or "").strip()
    if revision is not None and not reason:
        raise UsageError("cannot revoke: say why with --reason; owners of devices read it")
    if below is not None and reason:
        raise UsageError("cannot revoke: --reason goes with one REVISION; of what lies below another none is shown")
    now = SystemClock().now().replace(microsecond=0)

    def apply(channels: ChannelMap) -> ChannelMap:
        if revision is not None:
            return revoked(channels, revision, reason=reason, now=now)
        assert below is not None
        words = sorted({word for item in channels.revisions for word in item.architectures
                        if item.revision >= below and item.revoked is None})
        return floored(channels, below, words)

    _change(store, name, lambda _: apply, passphrase_file, as_json=as_json)


@click.command()
@click.argument("name")
@click.argument("channel", type=Channels())
@store_option
@passphrase_option
@json_option
def close(name: str, channel: Channel, store: Path, passphrase_file: Path | None, as_json: bool) -> None:
    """Take everything out of a channel: its devices follow the next steadier one."""
    _change(store, name, lambda _: lambda channels: closed(channels, channel), passphrase_file, as_json=as_json)


def _change(folder: Path, name: str, step: Callable[[Store], Callable[[ChannelMap], ChannelMap]],
            passphrase_file: Path | None, *, as_json: bool) -> None:
    with open_store(folder, passphrase_file) as held:
        outcome: Outcome | None = change(held, name, step(held))
        tell(outcome, folder, as_json=as_json, package=name)
