"""The bill of materials of an image: CycloneDX 1.6 JSON, equal bytes for equal images.

Decides what is a component (the image, each package in it, each Debian package in those) and how it is named: purl with
architecture, distribution and source package, SHA-512, the file's name. Vulnerabilities are no part of it (BSI
TR-03183-2 section 5.1). Source: CycloneDX 1.6 JSON; the `deb` type of the package-URL specification.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from imagekit import __version__
from imagekit.digests import derived_uuid
from imagekit.errors import DocumentError

SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"
_FIELDS = ("name", "version", "architecture", "source", "source_version", "sha256", "sha512", "filename")
_TYPES = {"kernel": "operating-system", "base": "operating-system", "gadget": "firmware"}


@dataclass(frozen=True, slots=True, kw_only=True)
class DebianPackage:
    """One entry of a package's `meta/packages.json`."""

    name: str
    version: str
    architecture: str
    source: str
    source_version: str
    sha256: str
    sha512: str
    filename: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomPackage:
    """A package of the image and what it is made of; `sha3_384` is hexadecimal."""

    name: str
    version: str
    revision: int
    type: str
    sha3_384: str
    contents: tuple[DebianPackage, ...] | None  # None: it does not say

    @property
    def ref(self) -> str:
        return f"snap:{self.name}_{self.revision}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SbomSubject:
    """The image."""

    brand: str
    model: str
    revision: int
    digest: str  # of the image
    timestamp: datetime
    distro: str | None  # `debian-13`


def parse_packages(text: bytes, *, where: str) -> tuple[DebianPackage, ...]:
    """Read `meta/packages.json`.

    Raises:
        DocumentError: not a list of objects with the fields of `DebianPackage`, all texts.
    """
    try:
        entries = json.loads(text)
    except ValueError as error:
        raise DocumentError(f"cannot read {where}: not valid JSON: {error}") from error
    if not isinstance(entries, list):
        raise DocumentError(f"cannot read {where}: a list of packages is needed")
    result = []
    for index, entry in enumerate(entries):
        wrong = [name for name in _FIELDS if not isinstance(entry, dict) or not isinstance(entry.get(name), str)]
        if wrong:
            raise DocumentError(f"cannot read {where}: [{index}]: {', '.join(wrong)} must be given as text")
        result.append(DebianPackage(**{name: entry[name] for name in _FIELDS}))
    return tuple(result)


def purl(package: DebianPackage, *, distro: str | None) -> str:
    """`pkg:deb/debian/NAME@VERSION?arch=…&distro=…&upstream=SOURCE@VERSION`, percent-encoded, qualifiers sorted."""
    qualifiers = [f"arch={quote(package.architecture, safe='')}"]
    if distro:
        qualifiers.append(f"distro={quote(distro, safe='')}")
    upstream = quote(f"{package.source}@{package.source_version}", safe="")
    return (f"pkg:deb/debian/{quote(package.name, safe='')}@{quote(package.version, safe='')}"
            f"?{'&'.join((*qualifiers, f'upstream={upstream}'))}")


def encode_sbom(subject: SbomSubject, packages: Sequence[SbomPackage]) -> bytes:
    """The document, with every list in a fixed order."""
    ordered = sorted(packages, key=lambda item: item.ref)
    debian = {purl(item, distro=subject.distro): item for package in ordered
              for item in package.contents or ()}
    document: dict[str, Any] = {
        "$schema": SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{derived_uuid('sbom', subject.brand, subject.model, subject.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": subject.timestamp.isoformat(),
            "tools": {"components": [{"type": "application", "name": "imagekit", "version": __version__}]},
            "component": {
                "type": "firmware", "bom-ref": "image", "name": subject.model, "version": str(subject.revision),
                "supplier": {"name": subject.brand},
                "properties": [{"name": "imagekit:image-digest", "value": subject.digest}],
            },
        },
        "components": [*(_package(item) for item in ordered),
                       *(_debian(ref, item) for ref, item in sorted(debian.items()))],
        "dependencies": _dependencies(ordered, sorted(debian), subject.distro),
        "compositions": [{"aggregate": kind, "assemblies": refs} for kind, refs in (
            ("complete", ["image", *(item.ref for item in ordered if item.contents is not None)]),
            ("unknown", [item.ref for item in ordered if item.contents is None])) if refs],
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def _package(package: SbomPackage) -> Mapping[str, Any]:
    return {
        "type": _TYPES.get(package.type, "application"), "bom-ref": package.ref, "name": package.name,
        "version": package.version, "hashes": [{"alg": "SHA3-384", "content": package.sha3_384}],
        "properties": [{"name": "imagekit:revision", "value": str(package.revision)},
                       {"name": "imagekit:type", "value": package.type}],
    }


def _debian(ref: str, package: DebianPackage) -> Mapping[str, Any]:
    return {
        "type": "library", "bom-ref": ref, "supplier": {"name": "Debian"}, "name": package.name,
        "version": package.version, "hashes": [{"alg": "SHA-256", "content": package.sha256},
                                               {"alg": "SHA-512", "content": package.sha512}],
        "purl": ref,
        "properties": [{"name": "imagekit:filename", "value": package.filename},
                       {"name": "imagekit:source", "value": package.source},
                       {"name": "imagekit:source-version", "value": package.source_version}],
    }


def _dependencies(packages: Iterable[SbomPackage], debian: Iterable[str], distro: str | None) -> list[dict[str, Any]]:
    result: list[dict[str, Any]] = [{"ref": "image", "dependsOn": [item.ref for item in packages]}]
    for package in packages:
        result.append({"ref": package.ref,
                       "dependsOn": sorted({purl(item, distro=distro) for item in package.contents or ()})})
    return [*result, *({"ref": ref} for ref in debian)]
