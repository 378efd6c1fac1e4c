"""Every rule of assertions, broken once: folder name -> the files of the folder.

The documents begin as the samples of `tests.documents.assertions`; each line here says what is changed.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping

from imagekit.assertions.headers import Header
from tests.documents.assertions import (
    FOLDER,
    KEY_TEXT,
    RULES,
    SAMPLES,
    SNAPS,
    TIME,
    VALID,
    Tree,
    edit,
    entry,
    made,
    more,
    problems,
    wire,
)

APP: Tree = {"name": "app-one", "id": "d" * 32}
DRAFT = ("type: model\nmodel: pc\narchitecture: amd64\nbase: core24\nsnaps:\n  - {name: pc, type: gadget}\n"
         "  - {name: pc-kernel, type: kernel}\n")

INDENTED = "".join(f"  {line}\n" for line in KEY_TEXT.split("\n"))


def snaps(*more_snaps: Tree, **changes: Header) -> str:
    """The sample model with more snaps."""
    return wire("model", snaps=(*SNAPS, *more_snaps), **changes)


def rule(side: str, value: Header) -> str:
    """The sample declaration with one rule of an interface."""
    return wire("snap-declaration", **{"plugs": (), side: {"network": value}})


def draft(text: str) -> dict[str, str]:
    return {"draft.yaml": text}


NOTATION: Mapping[str, dict[str, str]] = {
    "assertion-empty": {"document.nothing": ""},
    "assertion-single": made(wire("model") + "\n" + wire("model-uc16")),
    "assertion-headers-end": made("type: model\nauthority-id: acme\nlong: ", more_json=more("x", 131072)),
    "assertion-headers-end--no-signature": made("type: model\nauthority-id: acme\n"),
    "assertion-headers-end--carriage-returns": made(wire("account").replace("\n", "\r\n")),
    "assertion-headers-utf8": made(edit("account", "ACME", "AC\udcffME")),
    "assertion-body-size": made(edit("account-key", "body-length: 717", "body-length: 4294967296")),
    "assertion-body-end": made(edit("account-key", "body-length: 717", "body-length: 700")),
    "assertion-body-end--beyond-the-file": made(edit("account-key", "body-length: 717", "body-length: 99999")),
    "assertion-body-utf8": made(edit("repair", "#!/bin/sh", "#!/bin/\udcff\udcfe")),
    "assertion-signature-size": made(wire("account").rpartition("\n\n")[0] + "\n\n", more_json=more("AAAA", 32769)),
    "assertion-signature-size--none": made(wire("account").rpartition("\n\n")[0] + "\n\n"),
    "assertion-signature-size--blank-lines": made(wire("account").rpartition("\n\n")[0] + "\n\n\n"),
    "assertion-signature-base64": made(edit("account", "ASBz", "A.Bz")),
    "assertion-signature-base64--no-blank-line": made(wire("account") + wire("model")),
    "assertion-type--carriage-returns": made(wire("account").replace("\n", "\r\n").replace(
        "\r\n\r\n", "\n\n")),
    "assertion-header-colon": made(edit("account", "display-name: ACME", "display-name ACME")),
    "assertion-header-name": made(edit("account", "display-name: ACME", "Display-Name: ACME")),
    "assertion-header-name--byte-order-mark": made("\ufeff" + wire("account")),
    "assertion-header-repeated": made(edit("account", "display-name: ACME", "display-name: ACME\ndisplay-name: UMA")),
    "assertion-header-repeated--in-a-map": made(edit("model", "    name: pc\n", "    name: pc\n    name: pi\n")),
    "assertion-header-space": made(edit("account", "display-name: ACME", "display-name:ACME")),
    "assertion-header-nested": made(edit("account", "display-name: ACME", "display-name:\n ACME")),
    "assertion-header-depth": made("type: model\ndeep:\n" + "\n".join(
        "  " * depth + "-" for depth in range(1, 70)) + " x\n\n"),
    "assertion-type": made(edit("model", "type: model", "type: modle")),
    "assertion-type--missing": made(edit("model", "type: model\n", "")),
    "assertion-format": made(edit("account-key", "format: 1", "format: 2")),
    "assertion-count": made(edit("model", "type: model\n", "type: model\nrevision: 01\n")),
    "assertion-authority": made(edit("model", "authority-id: acme\n", "")),
    "assertion-authority--of-a-request": made(edit("serial-request", "type: serial-request",
                                                   "type: serial-request\nauthority-id: acme")),
    "assertion-primary-key": made(edit("model", "model: pc\n", "model: ../pc\n")),
    "assertion-sign-key": made(edit("model", "sign-key-sha3-384: X", "sign-key-sha3-384: +")),
    "assertion-json-body": made(wire("confdb-schema", body=b'{"storage": {}}')),
    "assertion-json-body--not-json": made(wire("confdb-schema", body=b"storage:")),
    "assertion-json-body--none": made(wire("confdb-schema", body=b"")),
}

HEADERS: Mapping[str, dict[str, str]] = {
    "assertion-header-missing": made(wire("account", display_name=())),
    "assertion-header-text": made(wire("account", display_name=("ACME",))),
    "assertion-header-list": made(wire("model-uc16", required_snaps="app-one")),
    "assertion-header-map": made(snaps(APP | {"components": "extra"})),
    "assertion-header-flag": made(wire("model", classic="yes")),
    "assertion-header-number": made(wire("snap-revision", snap_revision="0")),
    "assertion-header-number--sequence": made(edit("validation-set", "sequence: 1\n", "sequence: 0\n")),
    "assertion-header-number--plus": made(wire("snap-revision", snap_revision="+3")),
    "assertion-header-number--too-large": made(wire("snap-build", snap_size="18446744073709551616")),
    "assertion-header-time": made(wire("account", timestamp="2026-01-01")),
    "assertion-header-time--no-such-day": made(wire("account", timestamp="2026-02-30T00:00:00Z")),
    "assertion-header-digest": made(wire("snap-revision", snap_sha3_384="D" * 63)),
    "assertion-account-id": made(wire("serial", brand_id="ACME")),
    "assertion-snap-id": made(snaps(APP | {"id": "d" * 31})),
    "assertion-snap-name": made(snaps(APP | {"name": "App_One"})),
    "assertion-model-name": made(wire("model", model="PC")),
    "assertion-set-name": made(wire("validation-set", name="Base")),
    "assertion-provenance": made(wire("snap-revision", provenance="of ours")),
    "assertion-presence": made(snaps(APP | {"presence": "invalid"})),
    "assertion-twice": made(snaps(APP, APP | {"id": "e" * 32})),
    "assertion-twice--id": made(snaps(APP, {"name": "app-two", "id": "d" * 32})),
    "assertion-period": made(wire("account-key", until="2025-12-31T00:00:00Z")),
    "assertion-public-key": made(wire("account-key", body=b"AXh4eA==")),
    "assertion-public-key--other-id": made(wire("account-key", public_key_sha3_384="K" * 64)),
    "assertion-public-key--of-a-serial": made(wire("serial", device_key="no key")),
    "assertion-device-scope": made(entry("snap-declaration", "revision-authority", 0, on_model=("pc",))),
    "assertion-pattern": made(wire("account-key", constraints=({"headers": {"type": "model", "model": "pc-("}},))),
    "assertion-pattern--special-word": made(wire(
        "account-key", constraints=({"headers": {"type": "model", "model": "$SLOT(model)"}},))),
    "assertion-pattern--no-map": made(rule("plugs", {"allow-connection": {"plug-attributes": "x"}})),
    "assertion-pattern--list-in-list": made(rule("plugs", {"allow-connection": {"plug-attributes": {
        "a": (("x", "y"), "z")}}})),
    "assertion-pattern--name": made(rule("slots", {"allow-connection": {"slot-names": ("$interface", "a b", "[")}})),
}

TYPES: Mapping[str, dict[str, str]] = {
    "account-key-name": made(wire("account-key", name="Models")),
    "account-key-constraints": made(wire("account-key", constraints=({"headers": {"type": "mod.*"}},))),
    "account-key-constraints--no-type": made(wire("account-key", constraints=({"headers": {"model": "pc"}},))),
    "declaration-alias": made(wire("snap-declaration", aliases=({"name": "-one", "target": "run/it"},))),
    "declaration-rule": made(rule("plugs", "maybe")),
    "declaration-rule--says-nothing": made(rule("plugs", {"allow": "true"})),
    "declaration-rule--no-constraint": made(rule("slots", {"deny-auto-connection": {"plug-snap": ("x",)}})),
    "declaration-rule--constraints": made(rule("slots", {
        "allow-installation": {"slot-snap-type": ("app", "base"), "slots-per-plug": "*", "on-classic": "perhaps"},
        "deny-connection": ({"plug-publisher-id": ("$plug",)}, {"plug-snap-id": ("short",), "on-core-desktop": "no"}),
        "allow-auto-connection": {"slots-per-plug": "0"}, "deny-installation": "never"})),
    "declaration-revision-authority": made(wire("snap-declaration", revision_authority=(
        {"account-id": "A", "provenance": ("a b",), "min-revision": "9", "max-revision": "3"},))),
    "revision-integrity": made(entry("snap-revision", "integrity", 0, version="2", hash_algorithm="md5")),
    "revision-verity-root": made(wire("snap-revision", verity_root="0F" * 32)),
    "developer-revoked": made(wire("snap-developer", developers=(
        {"developer-id": "smith", "since": TIME}, {"developer-id": "smith", "since": TIME, "until": TIME}))),
    "validation-set-authority": made(wire("validation-set", account_id="umbrella")),
    "validation-set-revision": made(entry("validation-set", "snaps", 1, revision="2")),
    "validation-set-revision--component": made(entry("validation-set", "snaps", 0, revision=())),
    "validation-set-revision--component-without": made(entry("validation-set", "snaps", 0,
                                                             components={"extra": "required"})),
    "system-user-email": made(wire("system-user", email="jo at example.com")),
    "system-user-username": made(wire("system-user", username="Jo")),
    "system-user-password": made(wire("system-user", password="secret")),
    "system-user-password--md5": made(wire("system-user", password="$1$salt$hash")),
    "system-user-password--rounds": made(wire("system-user", password="$6$rounds=10$salt$hash")),
    "system-user-force-password-change": made(wire("system-user", password=())),
    "system-user-serials": made(wire("system-user", models=("pc", "pi"))),
    "system-user-serials--format": made(wire("system-user", format="0", user_presence=())),
    "system-user-presence": made(wire("system-user", user_presence="always")),
    "system-user-presence--format": made(wire("system-user", format="1")),
    "system-user-period": made(wire("system-user", models=(), serials=(), until="2027-01-01T00:00:01Z")),
    "store-url": made(wire("store", url="ftp://shop.example.com/")),
    "store-url--mirror": made(wire("store", mirrors=("https://mirror.example.org/", "mirror.example.net"))),
    "store-url--query": made(wire("store", url="https://shop.example.com/?a=b")),
    "preseed-system-label": made(wire("preseed", system_label="First_Boot")),
    "preseed-snap": made(entry("preseed", "snaps", 0, revision=())),
    "preseed-snap--component": made(entry("preseed", "snaps", 0, components=({"name": "extra"},))),
    "serial-request-key": made(wire("serial-request", key_id="K" * 64)),
    "repair-authority": made(wire("repair", brand_id="umbrella")),
    "repair-summary": made(wire("repair", summary="two\nlines")),
    "repair-modes": made(wire("repair", modes=("run", "walk"))),
    "repair-modes--base": made(wire("repair", bases=("core18",))),
}

MODELS: Mapping[str, dict[str, str]] = {
    "model-authority": made(wire("model", brand_id="umbrella")),
    "model-generation": made(wire("model", kernel="pc-kernel")),
    "model-generation--grade": made(wire("model-uc16", grade="signed")),
    "model-generation--classic": made(wire("model-classic", kernel="pc-kernel")),
    "model-distribution": made(wire("model", distribution="debian")),
    "model-distribution--form": made(wire("model-hybrid", distribution="Debian 13")),
    "model-grade": made(wire("model", grade="secure")),
    "model-storage-safety": made(wire("model-secured", storage_safety="prefer-encrypted")),
    "model-storage-safety--word": made(wire("model", storage_safety="encrypt")),
    "model-snap-id": made(snaps({"name": "app-one"})),
    "model-snap-type": made(snaps(APP | {"type": "application"})),
    "model-snap-type--base": made(wire("model", snaps=(*SNAPS[:2], {"name": "core24", "id": "c" * 32}))),
    "model-essential": made(entry("model", "snaps", 0, modes=("run",), presence="optional")),
    "model-default-channel": made(snaps(APP | {"default-channel": "stable"})),
    "model-default-channel--risk": made(snaps(APP | {"default-channel": "latest/fast"})),
    "model-track": made(wire("model-uc16", gadget="pc=18/edge")),
    "model-track--risk": made(wire("model-uc16", kernel="pc-kernel=edge")),
    "model-modes": made(snaps(APP | {"modes": ("Run",)})),
    "model-classic-snap": made(snaps(APP | {"classic": "true"})),
    "model-component": made(snaps(APP | {"components": {"extra": {"presence": "required", "modes": ("recover",)}}})),
    "model-component--keys": made(snaps(APP | {"components": {"extra": {"revision": "3"}}})),
    "model-one-each": made(snaps({"name": "pi", "id": "d" * 32, "type": "gadget"})),
    "model-needs": made(wire("model", snaps=SNAPS[1:])),
    "model-needs--hybrid": made(wire("model-hybrid", snaps=SNAPS[1:])),
    "model-base": made(wire("model", base="debian-13")),
    "model-validation-sets": made(wire("model", validation_sets=({"name": "base-set", "mode": "monitor"},))),
    "model-validation-sets--no-mode": made(wire("model", validation_sets=({"name": "base-set"},))),
    "model-signers": made(wire("model", serial_authority="generic")),
    "model-signers--id": made(wire("model", system_user_authority=("Umbrella Ltd",))),
}

DRAFTS: Mapping[str, dict[str, str]] = {
    "assertion-format-least": draft("type: account-key\nformat: 0\nname: models\nconstraints:\n"
                                    "  - headers: {type: model}\nbody: |-\n" + INDENTED),
    "assertion-series": draft(DRAFT + "series: '18'\n"),
    "account-validation": draft("type: account\naccount-id: acme\nvalidation: verifed\n"),
    "model-architecture": draft(DRAFT.replace("amd64", "amd46")),
    "model-reserved-header": draft(DRAFT + "class: fridge\n"),
    "draft-map": draft("- type: model\n"),
    "draft-scalar": draft(DRAFT + "display-name: 22.04\n"),
    "draft-set-by-signing": draft(DRAFT + "body-length: 3\n"),
    "draft-body": draft(DRAFT + "body: [a]\n"),
    "draft-authority": draft(DRAFT + "authority-id: umbrella\n"),
    "draft-header-unknown": draft(DRAFT + "grad: signed\n"),
    "draft-header-unknown--deep": draft("type: validation-set\nname: base-set\nsequence: 1\nsnaps:\n"
                                        "  - {name: pc, revison: 3}\n"
                                        "  - {name: app-one, components: {extra: {presense: required}}}\n"),
}

CASES: Mapping[str, dict[str, str]] = {**NOTATION, **HEADERS, **TYPES, **MODELS, **DRAFTS}


def write_all() -> None:
    """Write every folder anew."""
    for old in [path for path in FOLDER.iterdir() if path.name.partition("--")[0] in RULES]:
        shutil.rmtree(old)
    for name, files in CASES.items():
        case = FOLDER / name
        case.mkdir()
        for file, text in files.items():
            (case / file).write_bytes(text.encode("utf-8", "surrogateescape"))
        (case / "error.txt").write_text(problems(case)[0])
    for name in SAMPLES:
        case = VALID / (name if name.startswith("model") else f"assertion-{name}")
        case.mkdir(exist_ok=True)
        (case / "document.assert").write_text(wire(name))


if __name__ == "__main__":
    write_all()
