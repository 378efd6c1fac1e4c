"""`imagekit sign`; `key`, `verify` and `trust` are in `imagekit.cli.keys`, `.verify` and `.roots`."""

from __future__ import annotations

from pathlib import Path

import click

from imagekit.build.sign import Signed, sign_file
from imagekit.cli.chain import name_of
from imagekit.cli.keyring import complete_key, open_authority, passphrase_option
from imagekit.cli.keys import key
from imagekit.cli.options import json_option, output_option, trust_option
from imagekit.cli.output import detail, emit_json, say, write
from imagekit.cli.verify import named
from imagekit.digests import short
from imagekit.errors import UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.trust import signing_time

__all__ = ["key", "sign"]


@click.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True,
                type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("-k", "--key", "key_name", metavar="KEY", required=True, shell_complete=complete_key,
              help="The key that signs.")
@passphrase_option
@trust_option
@output_option
@json_option
def sign(files: tuple[Path, ...], key_name: str, passphrase_file: Path | None, trust: tuple[Path, ...],
         output: Path | None, as_json: bool) -> None:
    """Sign headers in YAML or JSON, or packages (.snap).

    A model becomes NAME.model, a package NAME_REVISION.snap gets NAME_REVISION.assert beside it. What is left out of
    the headers is filled in: who signs, the time (SOURCE_DATE_EPOCH, or now), for a model the brand and the snaps' ids.
    """
    if output is not None and len(files) > 1 and not output.is_dir():
        raise UsageError(f"cannot write {len(files)} results into {output}: it is not a folder",
                         hint="name an existing folder with -o")
    clock = SystemClock()
    authority = open_authority(key_name, passphrase_file, trust)
    key_id = authority.key.public.key_id
    results: list[Signed] = []
    for path in files:
        done = sign_file(path, authority, output=output, timestamp=signing_time(clock), now=clock.now(),
                         taken=[item.path for item in results])
        results.append(done)
        if not as_json:
            write(str(done.path))
            say(f"{path.name}: {'already signed' if done.unchanged else 'signed'} by {authority.account_id} with key"
                f" {short(key_id)}")
            detail(f"  holds {_labels(done)}")
    if as_json:
        emit_json({"key_id": key_id, "account_id": authority.account_id,
                   "signed": [{"file": str(done.source), "result": str(done.path), "unchanged": done.unchanged,
                               "assertions": [named(item) for item in done.assertions]} for done in results]})


def _labels(done: Signed) -> str:
    return ", ".join(f"{item.type} {name_of(item)}" for item in done.assertions)
