"""What a store keeps, and what devices fetch of it: its settings, channel maps, names, keys.

The metadata is the TUF specification's and python-tuf's. A name on a store is as lasting as a record on a device: old
devices ask for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from securesystemslib.signer import Key

from imagekit.host import keyring, storekeys
from imagekit.host.signer import Program, parse_program
from imagekit.host.storekeys import StoreKeyring, encode_public
from imagekit.plan import storepaths
from imagekit.plan.channelmap import (
    ChannelEntry,
    ChannelMap,
    Compression,
    Release,
    Revision,
    Revoked,
    UpdateClass,
    encode_channel_map,
    parse_channel_map,
)
from imagekit.plan.channels import parse_channel
from imagekit.store import metadata
from imagekit.store.metadata import Config, Periods, encode_config, read_config
from tests.frozen.format import Format, Holds, in_folder, places

SHA256 = "ab" * 32
CONFIG = Config(name="acme", periods=Periods(root=100, targets=90, publisher=80, snapshot=20, timestamp=5))
WHEN = datetime(2026, 6, 1, 12, 30, tzinfo=UTC)


def revision(number: int, **more: Any) -> Revision:
    return Revision(**{
        "revision": number, "architectures": ("amd64", "arm64"), "type": "base", "version": "13.1",
        "sha3_384": "A" * 63 + str(number), "size": 4096 * number, "compression": Compression.ZSTD,
        "update_class": UpdateClass.URGENT, "advisory": "a hole in the pump", "published": WHEN, **more})


MAP = ChannelMap(
    name="debian-13", snap_id="B" * 32, floors={"amd64": 1, "all": 1},
    revisions=(revision(1, revoked=Revoked(time=WHEN, reason="it leaks")),
               revision(2, compression=Compression.NONE, update_class=UpdateClass.FEATURE),
               revision(3, update_class=UpdateClass.SECURITY)),
    channels=(ChannelEntry(channel=parse_channel("latest/stable"), architecture="amd64", releases=(
        Release(revision=3, share=2500, held=True, least=2), Release(revision=2))),))
KEY = Key.from_dict("cd" * 32, {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "ef" * 32}})
PROGRAM = Program(argv=("/usr/bin/sign", "--slot", "9c"), timeout_s=30.0)


def names() -> dict[str, Any]:
    """What is called what: folders, targets, the names of files by content, roles, key files."""
    return {
        "channels": storepaths.channels_path("small"),
        "package": storepaths.package_path("small", 7, Compression.ZSTD),
        "package-of-squashfs": storepaths.package_path("small", 7, Compression.NONE),
        "assertions": storepaths.assertions_path("small", 7), "delta": storepaths.delta_path("small", 6, 7),
        "set": storepaths.set_path("acme", "tested", 3), "newest-set": storepaths.set_path("acme", "tested"),
        "account": storepaths.account_path("acme"), "store": storepaths.store_path("acme-store"),
        "model": storepaths.model_path("acme", "pc"), "role": storepaths.role_of("acme"),
        "delegated": storepaths.delegated_paths("acme", ("small", "big-*")),
        "stored": storepaths.stored_name("packages/small/small_7.snap.zst", SHA256),
        "folders": [metadata.PUBLIC, metadata.PENDING, storepaths.METADATA, storepaths.TARGETS],
        "store-keys": [storekeys.PRIVATE, storekeys.PUBLIC],
        "keys": [keyring.PRIVATE, keyring.EXTERNAL, keyring.PUBLIC]}


def _config(raw: bytes) -> Config:
    def read(folder: Path) -> Config:
        (folder / "store.json").write_bytes(raw)
        return read_config(folder)

    return in_folder(read)


def _key(raw: bytes) -> dict[str, Any]:
    def read(folder: Path) -> dict[str, Any]:
        (folder / "acme.json").write_bytes(raw)
        found = StoreKeyring(folder).stored("acme").public
        return {"keyid": found.keyid, **found.to_dict()}

    return in_folder(read)


STORE: Mapping[str, Format] = {
    "store-names.json": places(names),
    "store.json": Format(encode=lambda: encode_config(CONFIG), decode=lambda raw: asdict(_config(raw)),
                         value=asdict(CONFIG), holds=Holds.KEYS),
    "channels.json": Format(encode=lambda: encode_channel_map(MAP),
                            decode=lambda raw: parse_channel_map(raw, name="frozen"), value=MAP, holds=Holds.KEYS),
    "store-key.json": Format(encode=lambda: encode_public(KEY), decode=_key, holds=Holds.KEYS,
                             value={"keyid": KEY.keyid, **KEY.to_dict()}),
    "brand.signer": Format(encode=PROGRAM.encode, decode=lambda raw: parse_program(raw, name="frozen"), value=PROGRAM,
                           holds=Holds.KEYS),
}
