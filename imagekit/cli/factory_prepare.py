"""Wire the making of identities together: whose key, which serials, how far."""

from __future__ import annotations

from pathlib import Path

from imagekit.assertions.fields import MODEL_NAME
from imagekit.cli.keyring import open_authority
from imagekit.cli.output import emit_json, say, short_path, write
from imagekit.cli.progress import progress
from imagekit.errors import UsageError
from imagekit.host.clock import SystemClock
from imagekit.host.prepared import prepare, serial_names
from imagekit.host.trust import signing_time


def prepare_all(model: str, first: str, count: int, *, key_name: str, output: Path, passphrase_file: Path | None,
                trust: tuple[Path, ...], as_json: bool) -> None:
    """`imagekit factory prepare`."""
    brand, _, name = model.partition("/")
    if not brand or not MODEL_NAME.match(name):
        raise UsageError(f"cannot prepare units of {model!r}: a brand and a model are expected, as in acme/pc")
    serials = tuple(serial_names(first, count))
    authority = open_authority(key_name, passphrase_file, trust)
    account = next((item for item in authority.trusted if item.type == "account"
                    and item.text("account-id") == authority.account_id), None)
    proof = tuple(item for item in (authority.account_key.assertion, account) if item is not None)
    with progress() as told:
        told.step("make device keys", total=count, unit="keys")
        for serial in serials:
            prepare(output, serial, authority=authority.account_id, brand=brand, model=name, key=authority.key,
                    now=signing_time(SystemClock()), proof=proof)
            told.advance(1)
    if as_json:
        emit_json({"folder": str(output), "serials": list(serials)})
        return
    write(str(output))
    say(f"{count} identities, {serials[0]} to {serials[-1]}, in {short_path(output)}: whoever reads it has their keys")
