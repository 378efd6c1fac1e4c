"""The bill of materials, read back by CycloneDX's own validator."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from importlib.resources import files

import pytest
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from imagekit.build.sbom import DebianPackage, SbomPackage, SbomSubject, encode_sbom, parse_packages, purl
from imagekit.errors import DocumentError

SUBJECT = SbomSubject(brand="acme", model="pc-demo", revision=3, digest="ab" * 32,
                      timestamp=datetime(2026, 1, 2, tzinfo=UTC), distro="debian-13")


def debian(name: str, version: str = "1:2.0+b1~x") -> DebianPackage:
    return DebianPackage(name=name, version=version, architecture="amd64", source=f"{name}-src", source_version="2.0",
                         sha256="1" * 64, sha512="2" * 128, filename=f"{name}_2.0_amd64.deb")


def package(name: str, *contents: DebianPackage, kind: str = "base") -> SbomPackage:
    return SbomPackage(name=name, version="13", revision=7, type=kind, sha3_384="3" * 96, contents=contents)


def cyclonedx_validator() -> Draft7Validator:
    """CycloneDX's own schema files, as its Python library carries them.

    The library's validator is not used: what it pulls in makes every import of jsonschema a second slower.
    """
    folder = files("cyclonedx.schema._res")
    schemas = {name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text())
               for name in ("bom-1.6", "spdx", "jsf-0.82")}
    resources = [(schema["$id"], DRAFT7.create_resource(schema)) for schema in schemas.values()]
    return Draft7Validator(schemas["bom-1.6"], registry=Registry().with_resources(resources))


def test_document_is_valid_cyclonedx_1_6() -> None:
    text = encode_sbom(SUBJECT, [package("debian-13", debian("libc6"), debian("g++")), package("pc", kind="gadget")])
    assert [error.message for error in cyclonedx_validator().iter_errors(json.loads(text))] == []


def test_validator_of_this_test_refuses_a_component_without_a_type() -> None:
    document = json.loads(encode_sbom(SUBJECT, [package("debian-13", debian("libc6"))]))
    del document["components"][0]["type"]
    assert [error.message for error in cyclonedx_validator().iter_errors(document)] != []


def test_every_debian_package_has_source_purl_and_sha512() -> None:
    document = json.loads(encode_sbom(SUBJECT, [package("debian-13", debian("libc6"))]))
    component = next(item for item in document["components"] if item["name"] == "libc6")
    assert component["purl"] == ("pkg:deb/debian/libc6@1%3A2.0%2Bb1~x"
                                 "?arch=amd64&distro=debian-13&upstream=libc6-src%402.0")
    assert {"alg": "SHA-512", "content": "2" * 128} in component["hashes"]
    assert {"name": "imagekit:source", "value": "libc6-src"} in component["properties"]


def test_package_shared_by_two_is_one_component_with_two_users() -> None:
    document = json.loads(encode_sbom(SUBJECT, [package("a", debian("libc6")), package("b", debian("libc6"))]))
    ref = purl(debian("libc6"), distro="debian-13")
    assert [item["bom-ref"] for item in document["components"]].count(ref) == 1
    users = [item["ref"] for item in document["dependencies"] if ref in item.get("dependsOn", ())]
    assert users == ["snap:a_7", "snap:b_7"]


def test_order_of_the_input_changes_nothing() -> None:
    one, two = package("a", debian("x"), debian("y")), package("b")
    assert encode_sbom(SUBJECT, [one, two]) == encode_sbom(SUBJECT, [two, package("a", debian("y"), debian("x"))])


def test_serial_number_follows_the_image() -> None:
    serial = json.loads(encode_sbom(SUBJECT, []))["serialNumber"]
    assert serial == json.loads(encode_sbom(SUBJECT, []))["serialNumber"]
    assert serial.startswith("urn:uuid:")


@pytest.mark.parametrize(("text", "reason"), [
    (b"{", "not valid JSON"), (b"{}", "a list"), (b'[{"name": 5}]', r"\[0\]: name, version"), (b"[3]", r"\[0\]: name"),
])
def test_list_of_packages_that_is_none_is_refused(text: bytes, reason: str) -> None:
    with pytest.raises(DocumentError, match=reason):
        parse_packages(text, where="base meta/packages.json")
