"""What people write to be signed."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from imagekit.assertions import PARSERS, parse_model, snap_id
from imagekit.assertions.completion import KNOWN
from imagekit.assertions.drafts import check_draft, complete, parse_draft
from imagekit.assertions.headers import Header
from imagekit.assertions.kinds import KINDS
from imagekit.assertions.wire import armor
from imagekit.errors import DocumentError
from imagekit.testing.documents import REAL, SIGNED, real, signing_key

KEY = signing_key("brand").public
MODEL = """\
type: model
model: pc
architecture: amd64
base: debian-13
revision: 3
classic: false
optional: null
snaps:
  - {name: pc, type: gadget}
  - name: pc-kernel
    type: kernel
    id: CJXXVNlxMuHAOsRuGnOOj5BdfrSGRGhA
  - name: debian-13
    type: base
"""


def completed(text: str, name: str = "pc.yaml") -> dict[str, Header]:
    return dict(complete(parse_draft(text.encode(), name=name), account_id="acme", timestamp=SIGNED))


def test_what_is_left_out_of_a_model_is_filled_in() -> None:
    headers = completed(MODEL)
    assert (headers["authority-id"], headers["brand-id"], headers["series"]) == ("acme", "acme", "16")
    assert (headers["timestamp"], headers["revision"], headers["classic"]) == ("2026-01-01T00:00:00Z", "3", "false")
    assert "optional" not in headers
    drafted = parse_draft(MODEL.encode(), name="pc.yaml")
    model = parse_model(check_draft(drafted, headers, key=KEY))
    assert [snap.snap_id for snap in model.snaps] == [
        snap_id("acme", "pc"), "CJXXVNlxMuHAOsRuGnOOj5BdfrSGRGhA", snap_id("acme", "debian-13")]


def test_what_the_file_says_wins() -> None:
    headers = completed(MODEL + "timestamp: 2025-05-05T05:05:05+02:00\n")
    assert headers["timestamp"] == "2025-05-05T05:05:05+02:00"


def test_scalars_are_signed_as_they_are_written() -> None:
    drafted = parse_draft(b'type: account\na: 16\nb: true\nc: "007"\nd: 2026-01-01\ne: |\n  two\n  lines\nf: -3\n'
                          b"g: 2026-01-01T00:00:00Z\nh: '22.04'\ni: ''\n", name="x.yaml")
    assert {name: drafted.headers[name] for name in "abcdefghi"} == {
        "a": "16", "b": "true", "c": "007", "d": "2026-01-01", "e": "two\nlines\n", "f": "-3",
        "g": "2026-01-01T00:00:00Z", "h": "22.04", "i": ""}


@pytest.mark.parametrize(("scalar", "kind"), [
    ("22.04", "float"), ("1e3", None), (".inf", "float"), ("016", "int"), ("0x10", "int"), ("1_000", "int"),
    ("12:30", "int"), ("yes", "bool"), ("Off", "bool"), ("True", "bool"), ("!!binary aGk=", "binary"),
])
def test_scalar_that_yaml_reads_otherwise_must_be_quoted(scalar: str, kind: str | None) -> None:
    text = f"type: model\nlist:\n  - fine\n  - {scalar}\n"
    if kind is None:
        assert parse_draft(text.encode(), name="x.yaml").headers["list"] == ("fine", scalar)
        return
    with pytest.raises(DocumentError, match=rf"^x\.yaml:4: list\[1\]: .*reads it as {kind}\): put it in quotes"):
        parse_draft(text.encode(), name="x.yaml")
    if "!" not in scalar:
        quoted = text.replace(scalar, f"'{scalar}'")
        assert parse_draft(quoted.encode(), name="x.yaml").headers["list"] == ("fine", scalar)


@pytest.mark.parametrize(("text", "message"), [
    ("", "x.yaml:1: document: a map of headers is expected"),
    ("- a\n", "x.yaml:1: document: a map of headers is expected"),
    ("model: pc\n", "'type' is missing"),
    ("type: model\nSnaps: []\n", "x.yaml:2: Snaps: not a header name"),
    ("type: model\nsnaps:\n  - Name: x\n", "x.yaml:3: snaps[0].Name: not a header name"),
    ("type: model\nsign-key-sha3-384: x\n", "x.yaml:2: sign-key-sha3-384: is set by signing"),
    ("type: model\nbody-length: 3\n", "x.yaml:2: body-length: is set by signing"),
    ("type: model\nbody: [a]\n", "x.yaml:2: body: a list is not a text"),
    ("type: model\ntype: model\n", "x.yaml:2: type: key repeated"),
    ("type: *a\nx: &a model\n", "x.yaml:1: type: the alias *a came, but no anchor &a stands above it"),
    ("type: [\n", "not valid YAML"),
    ("type: model\nx: " + "[" * 100, "nested deeper"),
])
def test_malformed_draft_is_refused_at_its_line(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_draft(text.encode(), name="x.yaml")
    assert message in caught.value.message


def test_every_problem_of_a_model_is_told_at_its_line() -> None:
    text = MODEL.replace("type: gadget", "type: gagdet").replace("base: debian-13", "base: Debian") + "grade: best\n"
    drafted = parse_draft(text.encode(), name="pc.yaml")
    with pytest.raises(DocumentError) as caught:
        check_draft(drafted, complete(drafted, account_id="acme", timestamp=SIGNED), key=KEY)
    lines = caught.value.details
    assert any(line.startswith("pc.yaml:4: base: 'Debian'") for line in lines), lines
    assert any(line.startswith("pc.yaml:9: snaps[0].type: 'gagdet'") for line in lines), lines
    assert any(line.startswith("pc.yaml:15: grade: 'best'") for line in lines), lines


def test_what_only_signing_refuses_is_told_along_with_the_rest() -> None:
    drafted = parse_draft((MODEL.replace("architecture: amd64", "architecture: x86_64") + "grade: best\n").encode(),
                          name="pc.yaml")
    with pytest.raises(DocumentError) as caught:
        check_draft(drafted, complete(drafted, account_id="acme", timestamp=SIGNED), key=KEY)
    words = " ".join(caught.value.details)
    assert "grade: 'best'" in words and "'x86_64' is not one of" in words and "did you mean 'amd64'?" in words


@pytest.mark.parametrize("header", ["core", "os", "class", "allowed-modes"])
def test_reserved_header_is_refused(header: str) -> None:
    with pytest.raises(DocumentError, match=rf"pc\.yaml:15: {header}: is a reserved header"):
        completed(MODEL + f"{header}: x\n")


def test_another_authority_than_the_keys_is_refused() -> None:
    with pytest.raises(DocumentError, match=r"pc\.yaml:15: authority-id: 'other' is not 'acme', whose key signs"):
        completed(MODEL + "authority-id: other\n")


def test_brand_of_somebody_else_is_refused() -> None:
    drafted = parse_draft((MODEL + "brand-id: other\n").encode(), name="pc.yaml")
    with pytest.raises(DocumentError, match="not the brand 'other'"):
        check_draft(drafted, complete(drafted, account_id="acme", timestamp=SIGNED), key=KEY)


def test_unknown_type_is_told_with_the_file() -> None:
    with pytest.raises(DocumentError, match=r"pc\.yaml:1: type: 'modem' is not a type of .* did you mean 'model'"):
        parse_draft(b"type: modem\n", name="pc.yaml")


def test_body_is_the_body() -> None:
    drafted = parse_draft(b"type: account-key\nbody: |-\n  AQID\n  BAUG\n", name="x.yaml")
    assert drafted.body == b"AQID\nBAUG" and "body" not in drafted.headers


def test_real_json_becomes_the_real_content() -> None:
    signed = real("valid-for-testing-pc-20.model")[0]
    drafted = parse_draft((REAL / "valid-for-testing-pc-20.json").read_bytes(), name="pc.json")
    headers = complete(drafted, account_id="test-snapd", timestamp=SIGNED)
    made = check_draft(drafted, headers, key=KEY)
    assert made.content == signed.content.replace(signed.key_id.encode(), KEY.key_id.encode())


def test_json_scalars() -> None:
    drafted = parse_draft(b'{"type": "model", "a": 16, "b": true, "c": null, "d": "\\ud83d\\ude00", "e": [false]}',
                          name="x.json")
    assert dict(drafted.headers) == {"type": "model", "a": "16", "b": "true", "d": "\U0001f600", "e": ("false",)}


@pytest.mark.parametrize(("text", "message"), [
    ('{"type": "model",\n "a": 1.5}', "x.json:2: a: '1.5' is not plain text: put it in quotes"),
    ('{"type": "model",\n "a": NaN}', "'NaN' is not plain text"),
    ('{"type": "model",\n}', "x.json:"),
    ('{"type": "a", "type": "b"}', "key repeated: 'type'"),
    ('{"type": "a"} {}', "x.json:1: not valid JSON"),
    ('["type"]', "a map of headers is expected"),
    ('{"type": "a", "x": ' + "[" * 200 + "]" * 200 + "}", "nested deeper than 64"),
    ('{"type": "a", "x": ' + "[" * 200000 + "]" * 200000 + "}", "nested deeper than 64"),
    ("\ufeff", "x.json"),
])
def test_malformed_json_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        parse_draft(text.encode(), name="x.json")
    assert message in caught.value.message


@pytest.mark.parametrize(("right", "wrong"), [("grade:", "grad:"), ("default-channel:", "defaultchannel:")])
def test_mistyped_header_of_a_model_is_refused(right: str, wrong: str) -> None:
    text = (Path(__file__).parents[3] / "models/pc-demo.yaml").read_text().replace(right, wrong)
    with pytest.raises(DocumentError) as refused:
        complete(parse_draft(text.encode(), name="m.yaml"), account_id="acme",
                 timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    said = "\n".join((refused.value.message, *refused.value.details))
    assert f"no such header, did you mean {right.removesuffix(':')!r}?" in said


def test_unknown_header_of_a_model_may_stand() -> None:
    text = (Path(__file__).parents[3] / "models/pc-demo.yaml").read_text() + "x-ours: yes it is\n"
    drafted = parse_draft(text.encode(), name="m.yaml")
    assert complete(drafted, account_id="acme", timestamp=datetime(2026, 1, 1, tzinfo=UTC))["x-ours"] == "yes it is"


ARMORED = armor(KEY.encode()).decode()
INDENTED = "".join(f"  {line}\n" for line in ARMORED.split("\n"))
DRAFTS = {
    "account": ("type: account\naccount-id: acme\n", {"display-name": "acme", "validation": "unproven"}),
    "account-key": (f"type: account-key\nname: models\nbody: |-\n{INDENTED}",
                    {"account-id": "acme", "public-key-sha3-384": KEY.key_id, "since": "2026-01-01T00:00:00Z"}),
    "constrained key": (f"type: account-key\nconstraints:\n  - headers: {{type: model}}\nbody: |-\n{INDENTED}",
                        {"format": "1"}),
    "base-declaration": ("type: base-declaration\nslots: {network: {allow-installation: true}}\n", {"series": "16"}),
    "serial": (f"type: serial\nmodel: pc\nserial: '7'\ndevice-key: |-\n{INDENTED}",
               {"brand-id": "acme", "device-key-sha3-384": KEY.key_id}),
    "snap-declaration": ("type: snap-declaration\nsnap-name: pc\n"
                         "plugs: {network: {deny-connection: {on-store: [a]}}}\n",
                         {"publisher-id": "acme", "snap-id": snap_id("acme", "pc"), "series": "16", "format": "3"}),
    "snap-revision": (f"type: snap-revision\nsnap-sha3-384: {'D' * 64}\nsnap-id: {'a' * 32}\nsnap-revision: 3\n"
                      "snap-size: 4096\n", {"developer-id": "acme"}),
    "snap-build": (f"type: snap-build\nsnap-sha3-384: {'D' * 64}\nsnap-id: {'a' * 32}\ngrade: stable\nsnap-size: 1\n",
                   {}),
    "store": ("type: store\nstore: shop\n", {"operator-id": "acme"}),
    "system-user": ("type: system-user\nemail: jo@example.com\nusername: jo\nmodels: [pc]\nserials: [7]\n"
                    "until: 2036-01-01T00:00:00Z\n",
                    {"brand-id": "acme", "format": "1", "since": "2026-01-01T00:00:00Z"}),
    "lasting user": ("type: system-user\nemail: jo@example.com\nusername: jo\nuntil: 2026-06-01T00:00:00Z\n"
                     "user-presence: until-expiration\n", {"format": "2"}),
    "preseed": (f"type: preseed\nmodel: pc\nsystem-label: '20260101'\nartifact-sha3-384: {'D' * 64}\nsnaps:\n"
                "  - name: local\n", {"brand-id": "acme", "series": "16"}),
    "validation-set": ("type: validation-set\nname: base-set\nsequence: 1\nsnaps:\n  - {name: pc, revision: 3}\n",
                       {"account-id": "acme", "series": "16"}),
    "repair": ("type: repair\nrepair-id: 1\nsummary: mends it\nbody: |\n  #!/bin/sh\n", {"brand-id": "acme"}),
    "snap-developer": (f"type: snap-developer\nsnap-id: {'a' * 32}\n", {"publisher-id": "acme"}),
    "validation": (f"type: validation\nsnap-id: {'a' * 32}\napproved-snap-id: {'b' * 32}\napproved-snap-revision: 1\n",
                   {}),
}


@pytest.mark.parametrize("name", DRAFTS)
def test_draft_of_any_type_is_filled_in_and_sound(name: str) -> None:
    text, expected = DRAFTS[name]
    drafted = parse_draft(text.encode(), name="x.yaml")
    headers = complete(drafted, account_id="acme", timestamp=SIGNED)
    assert {key: headers[key] for key in expected} == expected
    made = check_draft(drafted, headers, key=KEY)
    value = PARSERS[made.type](made)
    assert ("timestamp" in headers) == hasattr(value, "timestamp")
    assert made.authority_id == "acme"


def test_request_has_no_authority_and_no_timestamp() -> None:
    text = f"type: serial-request\nbrand-id: acme\nmodel: pc\nrequest-id: r\ndevice-key: |-\n{INDENTED}"
    drafted = parse_draft(text.encode(), name="x.yaml")
    headers = complete(drafted, account_id="acme", timestamp=SIGNED)
    assert not {"authority-id", "timestamp"} & set(headers)
    assert check_draft(drafted, headers, key=KEY).primary_key == ()


def test_snaps_of_a_validation_set_have_the_ids_of_its_account() -> None:
    headers = completed(DRAFTS["validation-set"][0])
    assert headers["snaps"] == ({"name": "pc", "revision": "3", "id": snap_id("acme", "pc")},)


@pytest.mark.parametrize(("text", "place", "meant"), [
    ("type: account\nacount-id: acme\n", "x.yaml:2: acount-id", "account-id"),
    ("type: store\nstore: shop\noperater-id: acme\n", "x.yaml:3: operater-id", "operator-id"),
    ("type: system-user\nemial: a@b\n", "x.yaml:2: emial", "email"),
    ("type: model\nvalidation-sets:\n  - nmae: x\n", "x.yaml:3: validation-sets[0].nmae", "name"),
    ("type: snap-declaration\nplugs:\n  network:\n    alow-connection: true\n",
     "x.yaml:4: plugs.network.alow-connection", "allow-connection"),
    ("type: snap-declaration\nplugs:\n  network:\n    deny-connection:\n      - on-stor: [a]\n",
     "x.yaml:5: plugs.network.deny-connection[0].on-stor", "on-store"),
    ("type: snap-declaration\nrevision-authority:\n  - provenence: [a]\n", "x.yaml:3: revision-authority[0].provenence",
     "provenance"),
    ("type: account-key\nconstraints:\n  - header: {type: model}\n", "x.yaml:3: constraints[0].header", "headers"),
    ("type: model\nsnaps:\n  - name: pc\n    components: {extra: {mode: [run]}}\n",
     "x.yaml:4: snaps[0].components.extra.mode", "modes"),
])
def test_mistyped_header_of_any_type_is_refused_at_its_line(text: str, place: str, meant: str) -> None:
    with pytest.raises(DocumentError) as caught:
        completed(text, "x.yaml")
    said = "\n".join((caught.value.message, *caught.value.details))
    assert f"{place}: there is no such header, did you mean {meant!r}?" in said


def test_every_header_that_a_type_knows_is_in_the_reference() -> None:
    page = (Path(__file__).parents[3] / "docs/reference/assertions.md").read_text()
    types = page.partition("## Types")[2].partition("## Models")[0]
    rows = {line.split("|")[1].split()[0]: line for line in types.splitlines()
            if line.startswith("| ") and line.count("|") == 5 and line.split("|")[1].split()}
    for kind in set(PARSERS) - {"model"}:
        words = set(re.findall(r"[a-z0-9-]+", rows[kind]))
        assert KNOWN[kind][""] <= words, f"{kind}: {sorted(KNOWN[kind][''] - words)}"
        assert set(KINDS[kind].primary_key) <= words
    models = page.partition("## Models")[2].partition("## Believing")[0]
    assert [name for place in ("", "snaps", "validation-sets") for name in sorted(KNOWN["model"][place])
            if not re.search(rf"\b{name}\b", models)] == []


def test_text_that_only_one_of_two_yaml_parsers_takes_is_judged() -> None:
    with pytest.raises(DocumentError, match=r"snaps\[0\].a\?b: not a header name"):
        parse_draft(b"type: model\nsnaps:\n  - {name: pc, a?b: d}\n", name="m.yaml")
