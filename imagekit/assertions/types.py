"""All types of assertions that are understood, by name: `PARSERS` turns one into its value.

A parser checks one assertion by itself, by the rules in `imagekit.assertions.rulebook`, as snapd does when it reads it;
whether it may be believed is decided in `imagekit.assertions.database`. Headers that a type does not know are kept and
mean nothing. Types without a parser are decoded and passed on: confdb-schema, confdb-control, cluster, request-message,
response-message, hardware-identity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from imagekit.assertions.accounts import (
    parse_account,
    parse_account_key,
    parse_account_key_request,
    parse_store,
)
from imagekit.assertions.devices import (
    parse_device_session_request,
    parse_repair,
    parse_serial,
    parse_serial_request,
    parse_system_user,
)
from imagekit.assertions.gating import parse_snap_developer, parse_validation
from imagekit.assertions.model_reader import parse_model
from imagekit.assertions.sets import parse_preseed, parse_validation_set
from imagekit.assertions.snaps import (
    parse_base_declaration,
    parse_snap_build,
    parse_snap_declaration,
    parse_snap_resource_pair,
    parse_snap_resource_revision,
    parse_snap_revision,
)
from imagekit.assertions.wire import Assertion

PARSERS: Mapping[str, Callable[[Assertion], Any]] = MappingProxyType({
    "account": parse_account,
    "account-key": parse_account_key,
    "account-key-request": parse_account_key_request,
    "base-declaration": parse_base_declaration,
    "device-session-request": parse_device_session_request,
    "model": parse_model,
    "preseed": parse_preseed,
    "repair": parse_repair,
    "serial": parse_serial,
    "serial-request": parse_serial_request,
    "snap-build": parse_snap_build,
    "snap-declaration": parse_snap_declaration,
    "snap-developer": parse_snap_developer,
    "snap-resource-pair": parse_snap_resource_pair,
    "snap-resource-revision": parse_snap_resource_revision,
    "snap-revision": parse_snap_revision,
    "store": parse_store,
    "system-user": parse_system_user,
    "validation": parse_validation,
    "validation-set": parse_validation_set,
})
