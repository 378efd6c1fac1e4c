"""One or more assertions of every type, as headers and body, for the tests to sign.

They are sound: each has what its type demands and most of what it allows, so that mutants of them reach every rule.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

from imagekit.assertions import snap_id
from imagekit.assertions.headers import Header
from imagekit.assertions.wire import armor
from imagekit.testing.documents import signing_key

BRAND = "acme"
TIME = "2026-01-01T00:00:00Z"
DIGEST = "QlqR0uAWEAWF5Nwnzj5kqmmwFslYPu1IL16MKtLKhwhv0kpBv5wKZ_axf_nf_2cL"
HASH = "$6$rounds=100000$saltsalt$" + "a" * 86

Tree = dict[str, Header]


def snap(name: str, kind: str, **more: Header) -> Tree:
    return {"name": name, "id": snap_id(BRAND, name), "type": kind, "default-channel": "latest/stable", **more}


def tree(kind: str, **headers: Header) -> Tree:
    """Headers with underscores for hyphens; an empty authority-id leaves it out."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    found: Tree = {"type": kind, "authority-id": BRAND, **named}
    if not found["authority-id"]:
        del found["authority-id"]
    return found


def models() -> dict[str, Tree]:
    snaps = (snap("pc", "gadget"), snap("pc-kernel", "kernel"), snap("debian-13", "base"))
    more = (*snaps, snap("snapd", "snapd"), snap("app-one", "app", presence="optional", modes=("run", "recover")),
            snap("app-two", "app", components={"drivers": "optional", "tables": {"presence": "required",
                                                                                 "modes": ("run",)}},
                 modes=("run", "ephemeral")))
    base = tree("model", series="16", brand_id=BRAND, model="pc", architecture="amd64", base="debian-13",
                timestamp=TIME)
    return {
        "model-signed": {**base, "grade": "signed", "snaps": snaps},
        "model-dangerous": {**base, "grade": "dangerous", "snaps": snaps, "storage-safety": "prefer-unencrypted"},
        "model-secured": {**base, "grade": "secured", "snaps": more, "storage-safety": "encrypted", "store": "shop",
                          "display-name": "A secured model", "revision": "3", "serial-authority": (BRAND, "generic"),
                          "system-user-authority": "*", "preseed-authority": (BRAND, "other"),
                          "validation-sets": ({"account-id": BRAND, "name": "all", "sequence": "2", "mode": "enforce"},
                                              {"name": "some", "mode": "prefer-enforce"})},
        "model-uc18": tree("model", series="16", brand_id=BRAND, model="old", architecture="amd64", base="core18",
                           gadget="pc=18", kernel="pc-kernel=18", required_snaps=("app-one", "app-two"), timestamp=TIME,
                           system_user_authority=(BRAND, "other"), serial_authority=("generic",)),
        "model-uc16": tree("model", series="16", brand_id=BRAND, model="older", architecture="armhf", gadget="pi",
                           kernel="pi-kernel", timestamp=TIME),
        "model-classic": tree("model", series="16", brand_id=BRAND, model="desk", classic="true", architecture="amd64",
                              gadget="pc", required_snaps=("app-one",), timestamp=TIME),
        "model-hybrid": {**base, "classic": "true", "distribution": "debian", "grade": "dangerous", "model": "hybrid",
                         "snaps": (*snaps, snap("app-one", "app", classic="true"))},
    }


@cache
def all_samples() -> Mapping[str, tuple[Tree, bytes]]:
    """Name -> headers and body; the name begins with the type, mostly."""
    key = signing_key("store").public
    encoded = armor(key.encode())
    found: dict[str, tuple[Tree, bytes]] = {name: (headers, b"") for name, headers in models().items()}

    def add(name: str, headers: Tree, body: bytes = b"") -> None:
        found[name] = headers, body

    add("account", tree("account", account_id="store", display_name="A store", username="store", validation="verified",
                        timestamp=TIME))
    add("account-unproven", tree("account", account_id="other", display_name="Ünïcode\nand a second line",
                                 validation="unproven", timestamp="2026-01-01T00:00:00.123456789+02:00"))
    add("account-key", tree("account-key", public_key_sha3_384=key.key_id, account_id="store", name="models",
                            since="2025-01-01T00:00:00Z", until="2030-01-01T00:00:00Z"), encoded)
    add("account-key-constraints", tree(
        "account-key", format="1", public_key_sha3_384=key.key_id, account_id="store", name="models",
        since="2025-01-01T00:00:00Z",
        constraints=({"headers": {"type": "model", "model": ("pc", "desk")}}, {"headers": {"type": "system-user"}})),
        encoded)
    brand = signing_key("brand").public
    add("account-key-request", tree("account-key-request", authority_id="", public_key_sha3_384=brand.key_id,
                                    account_id=BRAND, name="models", since="2025-01-01T00:00:00Z"),
        armor(signing_key("brand").public.encode()))
    add("serial", tree("serial", brand_id=BRAND, model="pc", serial="0001", device_key=encoded.decode(),
                       device_key_sha3_384=key.key_id, timestamp=TIME), b"hardware: yes\n")
    add("serial-request", tree("serial-request", authority_id="", brand_id=BRAND, model="pc", request_id="REQUEST",
                               device_key=armor(signing_key("brand").public.encode()).decode(), serial="0001"))
    add("device-session-request", tree("device-session-request", authority_id="", brand_id=BRAND, model="pc",
                                       serial="0001", nonce="NONCE", timestamp=TIME))
    add("snap-declaration", tree("snap-declaration", series="16", snap_id=snap_id(BRAND, "app-one"),
                                 snap_name="app-one",
                                 publisher_id=BRAND, timestamp=TIME))
    add("snap-declaration-rules", tree(
        "snap-declaration", format="3", series="16", snap_id=snap_id(BRAND, "app-two"), snap_name="app-two",
        publisher_id=BRAND, timestamp=TIME, refresh_control=(snap_id(BRAND, "app-one"),),
        aliases=({"name": "one", "target": "first"}, {"name": "t_wo.2", "target": "second"}), auto_aliases=("a1",
                                                                                                            "b-2"),
        plugs={"home": {"allow-auto-connection": "true", "deny-installation": {"plug-attributes": {"read": "all"}}},
               "network": "true"},
        slots={"dbus": {"allow-installation": ({"slot-attributes": {"name": "org\\.acme\\..*"}},
                                               {"on-classic": ("debian",)}),
                        "deny-connection": "false"}}))
    add("snap-declaration-authority", tree(
        "snap-declaration", format="3", series="16", snap_id=snap_id(BRAND, "app-two"), snap_name="app-two",
        publisher_id=BRAND, timestamp=TIME,
        revision_authority=({"account-id": "other", "provenance": ("prov-one", "prov-two"), "min-revision": "2",
                             "max-revision": "9", "on-store": ("shop",), "on-brand": (BRAND,),
                             "on-model": (f"{BRAND}/pc",)},)))
    add("snap-build", tree("snap-build", snap_sha3_384=DIGEST, snap_id=snap_id(BRAND, "app-one"), grade="stable",
                           snap_size="4096", timestamp=TIME))
    add("snap-revision", tree("snap-revision", snap_sha3_384=DIGEST, snap_id=snap_id(BRAND, "app-one"),
                              snap_size="4096",
                              snap_revision="7", developer_id=BRAND, timestamp=TIME))
    add("snap-revision-provenance", tree("snap-revision", snap_sha3_384=DIGEST, provenance="prov-one",
                                         snap_id=snap_id(BRAND, "app-one"), snap_size="4096", snap_revision="7",
                                         developer_id=BRAND, timestamp=TIME, verity_root="ab" * 32))
    add("snap-resource-revision", tree("snap-resource-revision", snap_id=snap_id(BRAND, "app-two"),
                                       resource_name="drivers",
                                       resource_sha3_384=DIGEST, resource_size="4096", resource_revision="3",
                                       developer_id=BRAND, timestamp=TIME))
    add("snap-resource-pair", tree("snap-resource-pair", snap_id=snap_id(BRAND, "app-two"), resource_name="drivers",
                                   resource_revision="3", snap_revision="7", developer_id=BRAND, timestamp=TIME))
    add("snap-developer", tree("snap-developer", snap_id=snap_id(BRAND, "app-one"), publisher_id=BRAND,
                               developers=({"developer-id": "other", "since": TIME},
                                           {"developer-id": "third", "since": TIME, "until": "2027-01-01T00:00:00Z"})))
    add("system-user", tree("system-user", brand_id=BRAND, email="me@example.com", series=("16",), models=("pc",
                                                                                                           "desk"),
                            name="Me", username="me", password=HASH, ssh_keys=("ssh-ed25519 AAAA me",),
                            since="2026-01-01T00:00:00Z", until="2026-06-01T00:00:00Z"))
    add("system-user-serials", tree("system-user", format="2", brand_id=BRAND, email="me@example.com", series=("16",),
                                    models=("pc",), serials=("0001", "0002"), name="Me", username="me", password=HASH,
                                    force_password_change="true", user_presence="until-expiration", since=TIME,
                                    until="2026-06-01T00:00:00Z"))
    add("validation", tree("validation", series="16", snap_id=snap_id(BRAND, "app-one"),
                           approved_snap_id=snap_id(BRAND, "app-two"), approved_snap_revision="3", revoked="false",
                           timestamp=TIME))
    add("validation-set", tree("validation-set", series="16", account_id=BRAND, name="all", sequence="2",
                               timestamp=TIME,
                               snaps=({"name": "app-one", "id": snap_id(BRAND, "app-one"), "presence": "required",
                                       "revision": "7"},
                                      {"name": "app-two", "id": snap_id(BRAND, "app-two"), "presence": "optional"},
                                      {"name": "app-three", "id": snap_id(BRAND, "app-three"), "presence": "invalid"})))
    add("validation-set-components", tree(
        "validation-set", series="16", account_id=BRAND, name="some", sequence="1", timestamp=TIME,
        snaps=({"name": "app-two", "id": snap_id(BRAND, "app-two"), "presence": "required", "revision": "7",
                "components": {"drivers": {"presence": "required", "revision": "3"}}},)))
    add("store", tree("store", store="shop", operator_id=BRAND, url="https://shop.example.com/api", location="here",
                      friendly_stores=("other-shop",), timestamp=TIME))
    add("repair", tree("repair", brand_id=BRAND, repair_id="42", summary="mends it", series=("16",),
                       models=(f"{BRAND}/pc",),
                       architectures=("amd64",), disabled="false", timestamp=TIME), b"#!/bin/sh\necho done\n\n\nyes\n")
    add("repair-modes", tree("repair", brand_id=BRAND, repair_id="43", summary="mends it", modes=("run", "recover"),
                             bases=("core20", "core22"), timestamp=TIME), b"#!/bin/sh\n")
    add("base-declaration", tree("base-declaration", series="16", timestamp=TIME,
                                 plugs={"network": {"allow-installation": "true"}},
                                 slots={"network": {"allow-installation": {"slot-snap-type": ("core",)},
                                                    "deny-auto-connection": "true"}}))
    add("preseed", tree("preseed", series="16", brand_id=BRAND, model="pc", system_label="20260101",
                        artifact_sha3_384=DIGEST,
                        timestamp=TIME,
                        snaps=({"name": "app-one", "id": snap_id(BRAND, "app-one"), "revision": "7"},
                               {"name": "app-two"})))
    add("confdb-control", tree("confdb-control", authority_id="", brand_id=BRAND, model="pc", serial="0001",
                               groups=({"operators": ("other",), "authentications": ("operator-key",),
                                        "views": ("other/network/control",)},)))
    schema = json.dumps({"storage": {"schema": {"wifi": "string"}}}, indent=2, sort_keys=True).encode()
    add("confdb-schema", tree("confdb-schema", account_id=BRAND, name="network", timestamp=TIME, summary="settings",
                              views={"wifi": {"rules": ({"request": "ssid", "storage": "wifi"},)}}), schema)
    return found
