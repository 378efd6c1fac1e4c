"""YAML and JSON documents."""

from __future__ import annotations

import contextlib

from imagekit.assertions.drafts import parse_draft
from imagekit.errors import ImagekitError
from imagekit.gadget import Era, parse_gadget
from imagekit.packages.kernelyaml import parse_kernel_yaml
from imagekit.packages.lockfile import encode_lock, parse_lock
from imagekit.packages.snapyaml import encode_snap_yaml, read_snap_yaml
from imagekit.plan.channelmap import encode_channel_map, parse_channel_map
from imagekit.plan.channels import parse_channel
from imagekit.plan.factory_job import parse_job
from imagekit.plan.factory_log import decode_log
from imagekit.plan.manifest import parse_manifest
from imagekit.plan.rollout import Asking, DeviceId, choose
from imagekit.schema import load_yaml

DEVICE = DeviceId(brand="acme", model="pc", serial="0001")


def gadget_yaml(raw: bytes) -> None:
    source = load_yaml(raw, name="gadget.yaml", repeated_keys=True)
    for era in (None, *Era):
        with contextlib.suppress(ImagekitError):
            parse_gadget(source, era=era)


def snap_yaml(raw: bytes) -> None:
    info = read_snap_yaml(raw, name="snap.yaml")
    again = read_snap_yaml(encode_snap_yaml(info), name="snap.yaml")
    assert (again.name, again.version, again.architectures, again.summary) == (
        info.name, info.version, info.architectures, info.summary)
    for app in info.apps[:20]:
        info.plugs_of(app)
        info.slots_of(app)


def kernel_yaml(raw: bytes) -> None:
    parse_kernel_yaml(load_yaml(raw, name="kernel.yaml", repeated_keys=True))


def factory_job(raw: bytes) -> None:
    parse_job(load_yaml(raw, name="job.yaml"))


def factory_log(raw: bytes) -> None:
    decode_log(raw, name="log")


def manifest(raw: bytes) -> None:
    parse_manifest(raw, name="manifest")


def lock(raw: bytes) -> None:
    found = parse_lock(raw, name="lock")
    assert parse_lock(encode_lock(found), name="lock") == found


def model_draft(raw: bytes) -> None:
    parse_draft(raw[1:], name="model.json" if raw[:1] == b"j" else "model.yaml")


def channel_map(raw: bytes) -> None:
    """A map that is read is written and read again as the same; whatever a device asks of it has an answer."""
    found = parse_channel_map(raw, name="debian-13")
    assert parse_channel_map(encode_channel_map(found), name="debian-13") == found
    for current in (None, *(item.revision for item in found.revisions[:5])):
        for channel in ("stable", "edge"):
            choice = choose(found, Asking(device=DEVICE, architecture="amd64", channel=parse_channel(channel),
                                          current=current))
            assert choice.revision is None or choice.revision in found.revisions
