"""`imagekit store`: what devices are updated from. Made here, looked at here; keys and releases have modules apart."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from imagekit.cli.keyring import new_passphrase, passphrase_option, trusted
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import emit_json, say, short_path, table, warn, write
from imagekit.cli.progress import progress
from imagekit.cli.store_keys import apply, key, publisher, sign
from imagekit.cli.store_options import (
    KeysAtHand,
    complete_store_key,
    open_store,
    shown_percent,
    store_keyring,
    store_option,
    tell,
)
from imagekit.cli.store_publish import close, promote, publish, release, revoke
from imagekit.cli.store_upkeep import delta, prune, sync
from imagekit.errors import TrustError, UsageError
from imagekit.host.addresses import refuse_credentials, refuse_unaskable
from imagekit.host.clock import SystemClock
from imagekit.host.files import write_atomic
from imagekit.plan.channelmap import ChannelMap
from imagekit.plan.model_update import name_of
from imagekit.store.check import Audit, Level, audit
from imagekit.store.create import create
from imagekit.store.metadata import CONFIG, PUBLIC, Config, Periods, read_config
from imagekit.store.repository import Store
from imagekit.store.roles import Renewal, RoleKeys
from imagekit.store.roles import renew as renew_roles
from imagekit.store.serve import make_server
from imagekit.store.serve import serve as serve_files
from imagekit.store.status import RoleStatus, role_statuses

_OF = re.compile(r"([1-9])/([1-9])\Z")


@click.group(no_args_is_help=True)
def store() -> None:
    """Publish updates for devices.

    A store is a folder; its subfolder public is static files, for any web server. Devices read it by TUF (The Update
    Framework): what is current, from whom, and until when it may be believed.
    """


for _command in (key, publisher, sign, apply, publish, promote, release, revoke, close, sync, delta, prune):
    store.add_command(_command)


@store.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", metavar="NAME",
              help="What the store is called; its keys begin with it.  [default: the folder's name]")
@click.option("--root", "root", metavar="M/N", default="1/2", show_default=True,
              help="Make N root keys, of which M have to sign.")
@click.option("--targets", "targets", metavar="M/N", default="1/1", show_default=True,
              help="Make N targets keys, of which M have to sign.")
@click.option("--root-key", "root_keys", metavar="KEY", multiple=True, shell_complete=complete_store_key,
              help="Use this key of yours instead of making any; with --root M/N for the threshold.")
@click.option("--targets-key", "targets_keys", metavar="KEY", multiple=True, shell_complete=complete_store_key,
              help="The same for targets.")
@click.option("--timestamp-days", metavar="DAYS", type=click.IntRange(1, 365), default=Periods().timestamp,
              show_default=True,
              help="How long a device believes what it saw last; renew it more often than that.")
@passphrase_option
@json_option
def init(folder: Path, name: str | None, root: str, targets: str, root_keys: tuple[str, ...],
         targets_keys: tuple[str, ...], timestamp_days: int, passphrase_file: Path | None, as_json: bool) -> None:
    """Make a store, and the keys that it needs.

    Root and targets keys are for a safe: they get a passphrase, if there is one, and are moved away afterwards. The
    online key signs snapshots and timestamps by itself and has none.
    """
    name = name or folder.resolve().name
    keyring, made = store_keyring(), []
    wanted = {"root": (root, root_keys), "targets": (targets, targets_keys)}
    counts = {role: _m_of_n(text, given, role) for role, (text, given) in wanted.items()}
    names = {role: given or tuple(f"{name}-{role}-{number + 1}" for number in range(counts[role][1]))
             for role, (_, given) in wanted.items()}
    missing = [item for role, (_, given) in wanted.items() if not given for item in names[role]]
    secret = new_passphrase(passphrase_file, name=f"{name}-root and {name}-targets") if missing else None
    there = (folder / CONFIG).exists()
    try:
        for item in (*missing, f"{name}-online"):
            keyring.create(item, passphrase=secret if item in missing else None)
            made.append(item)
        keys = {role: RoleKeys(keys=tuple(keyring.stored(item).public for item in names[role]),
                               threshold=counts[role][0]) for role in names}
        online = RoleKeys(keys=(keyring.stored(f"{name}-online").public,), threshold=1)
        outcome = create(folder, Config(name=name, periods=Periods(timestamp=timestamp_days)),
                         {**keys, "snapshot": online, "timestamp": online}, KeysAtHand(keyring, passphrase_file),
                         now=SystemClock().now())
    except BaseException:  # Ctrl-C too; but not the keys of the store if it is there by now
        if there or not (folder / CONFIG).exists():
            for item in made:
                keyring.remove(item)
        raise
    tell(outcome, folder, as_json=as_json, keys=made, root=str(folder / PUBLIC / "metadata/1.root.json"))
    if not as_json:
        say(f"keys made: {', '.join(made)} in {short_path(keyring.folder)}")
        say(f"devices trust {short_path(folder / PUBLIC / 'metadata/1.root.json')}; next: imagekit store key create"
            f" KEY, and imagekit store publisher add ACCOUNT --package NAME --key KEY --store {short_path(folder)}")


def _m_of_n(text: str, given: tuple[str, ...], role: str) -> tuple[int, int]:
    found = _OF.match(text)
    if found is None:
        raise UsageError(f"cannot use --{role} {text!r}: M/N is needed, for example 2/3")
    threshold, count = int(found[1]), len(given) or int(found[2])
    if given and text in ("1/2", "1/1"):
        threshold = 1
    if threshold > count:
        raise UsageError(f"cannot ask for {threshold} signatures of {count} {role} keys")
    return threshold, count


@store.command()
@click.option("--all", "everything", is_flag=True, help="Also roles that do not expire soon.")
@click.option("--offline", is_flag=True, help="Also roles whose keys are elsewhere: they wait to be signed there.")
@click.option("--clock-is-right", is_flag=True,
              help="Sign though the store was signed last at a time that is still to come: that one was wrong.")
@store_option
@passphrase_option
@json_option
def renew(everything: bool, offline: bool, clock_is_right: bool, store: Path, passphrase_file: Path | None,
          as_json: bool) -> None:
    """Sign again what expires: the timestamp always, other roles when less than a third of their time is left.

    Run it every day where the online key is.
    """
    keys = KeysAtHand(store_keyring(), passphrase_file)
    with open_store(store, passphrase_file) as held:
        draft, done = held.draft_online(clock_is_right=clock_is_right), Renewal(roles=(), left=())
        if not held.pending:
            done = renew_roles(held, draft, has=keys.has, everything=everything, offline=offline)
        outcome = held.commit(draft)
        if not outcome.published:  # devices must not wait for the offline keys
            held.commit(held.draft_online(clock_is_right=clock_is_right))
        tell(outcome, store, as_json=as_json, renewed=list(done.roles), left=list(done.left))
    if done.left:
        warn(f"{', '.join(done.left)} must be renewed, and the keys are not here: imagekit store renew --offline")


@store.command()
@store_option
@json_option
def status(store: Path, as_json: bool) -> None:
    """Show what devices get, who signs it, and until when it holds."""
    with open_store(store) as held:
        channels, roles = held.all_channels(), role_statuses(held)
        if as_json:
            emit_json(_status_json(held, channels, roles))
            return
        rows = [row for role, item in channels for row in _channel_rows(item)]
        if rows:
            table(("package", "channel", "architecture", "revision", "version", "class", "devices"), rows,
                  right=("revision", "devices"))
        else:
            say("nothing is released yet")
        write("")
        table(("role", "version", "signatures", "valid until", "packages"),
              [(item.role, item.version, f"{item.threshold} of {len(item.key_ids)}",
                f"{item.expires:%Y-%m-%d}{' (ended)' if item.ended else ' (soon)' if item.soon else ''}",
                " ".join(item.packages)) for item in roles], right=("version",))
        if models := held.models():
            write("")
            table(("model", "revision", "grade", "signed"),
                  [(name_of(item), item.revision, item.grade, f"{item.timestamp:%Y-%m-%d}") for item in models],
                  right=("revision",))
        for path in held.pending:
            say(f"waits for signatures: {short_path(path)}")


def _channel_rows(channels: ChannelMap) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for entry in sorted(channels.channels, key=lambda item: (str(item.channel), item.architecture)):
        behind = False
        for item in entry.releases:
            revision = channels.find(item.revision)
            assert revision is not None  # the map would not have been read
            devices = "way back" if behind else shown_percent(item.share) + (", held" if item.held else "")
            rows.append((channels.name, entry.channel, entry.architecture, item.revision, revision.version,
                         revision.update_class.value, devices))
            behind |= item.final
    released = {item.revision for entry in channels.channels for item in entry.releases}
    rows += [(channels.name, "revoked" if item.revoked else "-", " ".join(item.architectures), item.revision,
              item.version, item.update_class.value, "-") for item in channels.revisions
             if item.revision not in released]
    return rows


def _status_json(held: Store, channels: tuple[tuple[str, ChannelMap], ...],
                 roles: tuple[RoleStatus, ...]) -> dict[str, Any]:
    return {
        "name": held.config.name, "root": held.published.root.signed.version,
        "pending": [path.stem for path in held.pending], "roles": roles,
        "packages": [{"name": item.name, "snap_id": item.snap_id, "signed_by": role, "floors": dict(item.floors),
                      "revisions": item.revisions,
                      "channels": [{"channel": str(entry.channel), "architecture": entry.architecture,
                                    "releases": entry.releases} for entry in item.channels]}
                     for role, item in channels],
        "sets": [{"account": item.account_id, "name": item.name, "sequence": item.sequence} for item in held.sets()],
        "models": [{"brand": item.brand_id, "model": item.model, "revision": item.revision, "grade": str(item.grade)}
                   for item in held.models()],
    }


@store.command()
@click.option("--url", metavar="URL", help="Read it as a device from there, instead of from the folder.")
@store_option
@trust_option
@json_option
def check(url: str | None, store: Path, trust: tuple[Path, ...], as_json: bool) -> None:
    """Read the whole store: every digest, signature and date, and then all of it as a device.

    Exit status 4 if a device would be refused something.
    """
    if url is not None:
        refuse_credentials(url)
        refuse_unaskable(url, what="a store")
    with progress() as told:
        found = audit(store, trusted(trust), now=SystemClock().now(), progress=told, url=url)
    if as_json:
        emit_json(_audit_json(found))
    else:
        for item in found.findings:
            write(f"{item.level.value}: {item.subject}: {item.text}")
    if not found.sound:
        count = sum(item.level is Level.PROBLEM for item in found.findings)
        raise TrustError(f"cannot vouch for store {store}: {count} problem{'s' if count > 1 else ''}")
    say(f"sound: {found.targets} targets, {found.total_bytes} bytes")


def _audit_json(found: Audit) -> Mapping[str, object]:
    return {"sound": found.sound, "targets": found.targets, "bytes": found.total_bytes,
            "findings": list(found.findings)}


@store.command()
@click.argument("url")
@click.option("--id", "store_id", metavar="ID", help="What models call it.  [default: the store's name]")
@click.option("--mirror", "mirrors", metavar="URL", multiple=True,
              help="Another address of the same files, for devices that URL fails. May be given again.")
@click.option("--revision", type=click.IntRange(0), default=0, show_default=True, metavar="N",
              help="Above that of the last one, when the store moves: devices take later ones only.")
@store_option
@output_option
@json_option
def describe(url: str, store_id: str | None, mirrors: tuple[str, ...], revision: int, store: Path,
             output: Path | None, as_json: bool) -> None:
    """Write what devices need to find this store at URL and to believe it: a draft, to be signed by their brand.

    Without -o it is ID.yaml. It has the newest root in it. A model that says `store: ID`, and the signed draft beside
    the packages when an image is built, make devices ask this store.
    """
    for address in (url, *mirrors):
        refuse_credentials(address)  # what is signed here is on every device
        refuse_unaskable(address, what="a store")
    with open_store(store) as held:
        name, root = store_id or held.config.name, held.published.roots[-1]
    path = output or Path(f"{name}.yaml")
    body = "".join(f"  {line}\n" for line in root.to_bytes().decode().splitlines())
    more = (f"revision: {revision}\n" if revision else "") + (
        "mirrors:\n" + "".join(f"  - {mirror}\n" for mirror in mirrors) if mirrors else "")
    write_atomic(path, f"type: store\nstore: {name}\nurl: {url}\n{more}body: |\n{body}".encode())
    if as_json:
        emit_json({"store": name, "url": url, "mirrors": list(mirrors), "revision": revision,
                   "root": root.signed.version, "file": str(path)})
        return
    say(f"written to {short_path(path)}, with root {root.signed.version}; next: imagekit sign {short_path(path)} -k KEY"
        f" -o {name}.store, and `store: {name}` in the model")


@store.command()
@click.option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen at.")
@click.option("--port", metavar="PORT", type=click.IntRange(0, 65535), default=8099, show_default=True,
              help="0 takes a free one.")
@store_option
def serve(host: str, port: int, store: Path) -> None:
    """Serve the public files, to try out; Ctrl-C ends it. Nothing is written, and there is no TLS."""
    read_config(store)
    server = make_server(store / PUBLIC, host=host, port=port, told=say)
    address = server.server_address
    say(f"serving {short_path(store / PUBLIC)}; Ctrl-C ends it")
    write(f"http://{f'[{host}]' if ':' in host else host}:{address[1]}/")
    serve_files(server)
