"""What may be left out of a draft, and which headers a type knows.

A draft is what a person writes to be signed. Who speaks, when, and what follows from other headers is filled in here;
what the file says wins. A header that only looks like a known one would be signed and mean nothing, so it is refused;
other unknown ones stay. Sources: snapd's asserts/*.go, for the headers that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType

from imagekit.assertions.careful import least_format
from imagekit.assertions.fields import format_time
from imagekit.assertions.headers import Header
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.snaps import SERIES, snap_id
from imagekit.assertions.wire import Assertion, unarmor
from imagekit.errors import DocumentError
from imagekit.keys import decode_public_key
from imagekit.schema import Path, near

_ALL = frozenset({"type", "format", "authority-id", "revision", "body-length", "sign-key-sha3-384"})
_SCOPE = frozenset({"on-store", "on-brand", "on-model"})
_CONSTRAINTS = _SCOPE | {"on-classic", "on-core-desktop", "slots-per-plug", "plugs-per-slot", *(
    f"{side}-{what}" for side in ("plug", "slot")
    for what in ("names", "attributes", "snap-type", "snap-id", "publisher-id"))}
_PARTS = frozenset(f"{verdict}-{what}" for verdict in ("allow", "deny")
                   for what in ("installation", "connection", "auto-connection"))
_RULES: dict[str, frozenset[str]] = {
    f"{side}.*{rest}": known for side in ("plugs", "slots")
    for rest, known in (("", _PARTS), *((f".{part}", _CONSTRAINTS) for part in _PARTS))}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Type, then place: the headers themselves are at "", a list's maps and a map at its name, "*" is any name.
KNOWN: Mapping[str, Mapping[str, frozenset[str]]] = MappingProxyType({
    "account": {"": _names("display-name validation timestamp username")},
    "account-key": {"": _names("account-id name since until constraints"), "constraints": _names("headers")},
    "account-key-request": {"": _names("account-id name since until")},
    "base-declaration": {"": _names("plugs slots timestamp"), **_RULES},
    "device-session-request": {"": _names("nonce timestamp")},
    "model": {
        "": _names("display-name architecture base classic distribution grade storage-safety store snaps"
                   " validation-sets timestamp kernel gadget required-snaps system-user-authority serial-authority"
                   " preseed-authority"),
        "snaps": _names("name id type default-channel presence modes classic components"),
        "snaps.components.*": _names("presence modes"),
        "validation-sets": _names("account-id name sequence mode")},
    "preseed": {"": _names("artifact-sha3-384 snaps timestamp"), "snaps": _names("name id revision components"),
                "snaps.components": _names("name revision")},
    "repair": {"": _names("summary series architectures models modes bases disabled timestamp")},
    "serial": {"": _names("device-key device-key-sha3-384 timestamp")},
    "serial-request": {"": _names("brand-id model serial request-id device-key")},
    "snap-build": {"": _names("snap-id grade snap-size timestamp")},
    "snap-declaration": {
        "": _names("snap-name publisher-id refresh-control auto-aliases aliases plugs slots revision-authority"
                   " timestamp"),
        "aliases": _names("name target"),
        "revision-authority": _names("account-id provenance min-revision max-revision") | _SCOPE, **_RULES},
    "snap-developer": {"": _names("developers"), "developers": _names("developer-id since until")},
    "snap-resource-pair": {"": _names("developer-id timestamp")},
    "snap-resource-revision": {"": _names("resource-size resource-revision developer-id timestamp")},
    "snap-revision": {
        "": _names("snap-id snap-revision snap-size developer-id integrity verity-root timestamp"),
        "integrity": _names("type version hash-algorithm data-block-size hash-block-size digest salt")},
    "store": {"": _names("operator-id url mirrors friendly-stores location timestamp")},
    "system-user": {"": _names("series models serials name username password force-password-change ssh-keys since until"
                               " user-presence")},
    "validation": {"": _names("revoked timestamp")},
    "validation-set": {"": _names("snaps timestamp"), "snaps": _names("name id presence revision components"),
                       "snaps.components.*": _names("presence revision")},
})
_OWN_ACCOUNT = MappingProxyType({  # headers that name the account whose key signs, unless they say otherwise
    "account-key": "account-id", "account-key-request": "account-id", "validation-set": "account-id",
    "model": "brand-id", "serial": "brand-id", "preseed": "brand-id", "system-user": "brand-id", "repair": "brand-id",
    "snap-declaration": "publisher-id", "snap-revision": "developer-id", "snap-resource-revision": "developer-id",
    "snap-resource-pair": "developer-id", "snap-developer": "publisher-id", "store": "operator-id"})


def typos(kind: str, headers: Mapping[str, Header]) -> Iterator[tuple[Path, str]]:
    """The headers, at any depth, that look like a known one and are not."""
    known = KNOWN.get(kind)
    if known is not None:
        own = {**known, "": known[""] | _ALL | {"body"} | set(KINDS[kind].primary_key)}
        yield from _typos(own, "", (), headers)


def _typos(known: Mapping[str, frozenset[str]], place: str, path: Path, value: Header) -> Iterator[tuple[Path, str]]:
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from _typos(known, place, (*path, index), item)
    elif isinstance(value, Mapping):
        names = known.get(place)
        for name, item in value.items():
            if names is not None and name not in names and (meant := near(name, names)):
                yield (*path, name), f"there is no such header{meant}"
            below = f"{place}.{name}" if place else name
            free = f"{place}.*"
            yield from _typos(known, below if names is not None or below in known else free, (*path, name), item)


def fill_in(kind: str, headers: Mapping[str, Header], *, account_id: str, timestamp: datetime,
            body: bytes) -> dict[str, Header]:
    """The headers with what may be left out."""
    found: dict[str, Header] = {"authority-id": account_id, **headers} if KINDS[kind].has_authority else dict(headers)
    known = KNOWN.get(kind, {"": frozenset()})[""]
    when = format_time(timestamp)
    if kind in _OWN_ACCOUNT:
        found.setdefault(_OWN_ACCOUNT[kind], account_id)
    if "series" in KINDS[kind].primary_key:
        found.setdefault("series", SERIES)
    for name in ("timestamp", "since"):
        if name in known:
            found.setdefault(name, when)
    if kind in _MORE:
        _MORE[kind](found, body)
    if "format" not in found and (least := _least_format(kind, found)):
        found["format"] = str(least)
    return found


def _account(found: dict[str, Header], _: bytes) -> None:
    found.setdefault("validation", "unproven")
    if isinstance(name := found.get("account-id"), str):
        found.setdefault("display-name", name)


def _key(found: dict[str, Header], body: bytes) -> None:
    if (key_id := _key_id(body)) is not None:
        found.setdefault("public-key-sha3-384", key_id)


def _serial(found: dict[str, Header], _: bytes) -> None:
    key = found.get("device-key")
    if isinstance(key, str) and (key_id := _key_id(key.encode())) is not None:
        found.setdefault("device-key-sha3-384", key_id)


def _declaration(found: dict[str, Header], _: bytes) -> None:
    name, publisher = found.get("snap-name"), found.get("publisher-id")
    if isinstance(name, str) and isinstance(publisher, str):
        found.setdefault("snap-id", snap_id(publisher, name))


def _model(found: dict[str, Header], _: bytes) -> None:
    _with_ids(found, "brand-id")


def _set(found: dict[str, Header], _: bytes) -> None:
    _with_ids(found, "account-id")


def _with_ids(found: dict[str, Header], owner: str) -> None:
    """Give the snaps that have no id the one that the owner's own snap of that name has."""
    if isinstance(snaps := found.get("snaps"), tuple):
        found["snaps"] = tuple(
            {**snap, "id": snap_id(str(found[owner]), name)}
            if isinstance(snap, Mapping) and "id" not in snap and isinstance(name := snap.get("name"), str) else snap
            for snap in snaps)


def _key_id(text: bytes) -> str | None:
    try:
        return decode_public_key(unarmor(text.strip(), what="key")).key_id
    except DocumentError:
        return None  # told later, with its place


def _least_format(kind: str, headers: Mapping[str, Header]) -> int:
    return least_format(Assertion(type=kind, headers=headers, body=b"", content=b"", signature=b""))


_MORE: Mapping[str, Callable[[dict[str, Header], bytes], None]] = MappingProxyType({
    "account": _account, "account-key": _key, "account-key-request": _key, "serial": _serial,
    "snap-declaration": _declaration, "model": _model, "validation-set": _set,
})
