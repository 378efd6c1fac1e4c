"""YAML and JSON documents."""

from __future__ import annotations

import contextlib

from imagekit.assertions.drafts import parse_draft
from imagekit.errors import ImagekitError
from imagekit.gadget import Era, parse_gadget
from imagekit.packages.kernelyaml import parse_kernel_yaml
from imagekit.packages.snapyaml import encode_snap_yaml, read_snap_yaml
from imagekit.schema import load_yaml


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


def model_draft(raw: bytes) -> None:
    parse_draft(raw[1:], name="model.json" if raw[:1] == b"j" else "model.yaml")
