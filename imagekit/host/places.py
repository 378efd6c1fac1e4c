"""Where a store's public files are put for devices: a folder, a WebDAV server, an S3 bucket.

A `Place` says what is there and takes files one by one; each appears whole or not at all. The order and what is left
out are `imagekit.plan.upload`'s. Credentials are those that the libraries find by themselves (`.netrc`, the AWS
environment and files): none is taken on the command line, printed or logged.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from imagekit.errors import HostError, UsageError
from imagekit.host.addresses import refuse_credentials, refuse_unaskable
from imagekit.host.files import atomic_file, flush_folder, no_space, read_file
from imagekit.host.web import its_fault
from imagekit.plan.upload import Upload
from imagekit.units import MIB

TIMEOUT_S = 60.0
LIMIT = 64 * MIB  # of what is read back
_BUCKET = re.compile(r"[A-Za-z0-9._-]{1,255}\Z|arn:\S+\Z")  # as boto3 has it
_HIDDEN = "."  # what begins with it is a file in the making, or somebody else's


class Place(Protocol):
    """A place for files with names like `metadata/timestamp.json`. Whatever goes wrong is a `HostError`."""

    def sizes(self, names: Mapping[str, int]) -> dict[str, int]:
        """The size of each file of these names that is there."""

    def read(self, name: str) -> bytes | None:
        """The content of a small file; None if there is none."""

    def put(self, upload: Upload, source: Path) -> None:
        """Put a file; its bytes are those of `source`."""

    def listing(self) -> tuple[str, ...] | None:
        """Every file that is there; None where the place cannot tell."""

    def remove(self, name: str) -> None:
        """Take a file away."""


class FolderPlace:
    """A folder, on this machine or mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def sizes(self, names: Mapping[str, int]) -> dict[str, int]:
        return {name: path.stat().st_size for name in names if (path := self._root / name).is_file()}

    def read(self, name: str) -> bytes | None:
        path = self._root / name
        return read_file(path, limit=LIMIT) if path.is_file() else None

    def put(self, upload: Upload, source: Path) -> None:
        path = self._root / upload.name
        try:
            with source.open("rb") as stream, atomic_file(path) as copy:
                while chunk := stream.read(1 << 20):
                    copy.write(chunk)
            flush_folder(path.parent)
        except OSError as error:
            raise no_space(path, error) from error

    def listing(self) -> tuple[str, ...] | None:
        return tuple(sorted(str(path.relative_to(self._root)) for top in ("metadata", "targets")
                            for path in (self._root / top).rglob("*")
                            if path.is_file() and not path.name.startswith(_HIDDEN)))

    def remove(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)


class DavPlace:
    """A WebDAV server (RFC 4918) below a URL: HEAD, GET, PUT, MKCOL, DELETE.

    A server that takes a PUT in one go shows the file whole or not at all; what came is measured afterwards.
    """

    def __init__(self, url: str) -> None:
        import requests

        self._base = url.rstrip("/")
        self._session = requests.Session()
        self._made: set[str] = set()

    def sizes(self, names: Mapping[str, int]) -> dict[str, int]:
        return {name: size for name in names if (size := self._size(name)) is not None}

    def _size(self, name: str) -> int | None:
        answer = self._ask("HEAD", name, accepted=(200, 404), headers={"Accept-Encoding": "identity"})
        length = answer.headers.get("Content-Length", "")
        return int(length) if answer.status_code == 200 and length.isdecimal() else None

    def read(self, name: str) -> bytes | None:
        answer = self._ask("GET", name, accepted=(200, 404), stream=True)
        with answer:
            if answer.status_code == 404:
                return None
            with its_fault(f"cannot read {name} from {self._base}", HostError):
                raw: bytes = answer.raw.read(LIMIT + 1, decode_content=True)
        if len(raw) > LIMIT:
            raise HostError(f"cannot read {name} from {self._base}: it has more than {LIMIT} bytes")
        return raw

    def put(self, upload: Upload, source: Path) -> None:
        self._make_folders(upload.name)
        try:
            stream = source.open("rb")
        except OSError as error:
            raise no_space(source, error) from error
        with stream:
            self._ask("PUT", upload.name, accepted=(200, 201, 204), data=stream,
                      headers={"Content-Type": upload.content_type, "Content-Length": str(upload.size)})
        if (came := self._size(upload.name)) != upload.size:
            raise HostError(f"cannot upload {upload.name}: {came} of {upload.size} bytes are there afterwards",
                            hint="run it again: it goes on where it stopped")

    def _make_folders(self, name: str) -> None:
        """Make the folders of a name, where the server does not make them by itself (405: it is there)."""
        parts = name.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            folder = "/".join(parts[:end]) + "/"
            if folder not in self._made:
                self._ask("MKCOL", folder, accepted=(200, 201, 204, 301, 405, 409, 501))
                self._made.add(folder)

    def listing(self) -> tuple[str, ...] | None:
        return None

    def remove(self, name: str) -> None:
        self._ask("DELETE", name, accepted=(200, 204, 404))

    def _ask(self, method: str, name: str, *, accepted: tuple[int, ...], **more: Any) -> Any:
        with its_fault(f"cannot reach {self._base}", HostError):
            answer = self._session.request(method, f"{self._base}/{quote(name)}", timeout=TIMEOUT_S,
                                           allow_redirects=False, **more)
        if answer.status_code not in accepted:
            raise HostError(f"cannot {method} {name} at {self._base}: the server says {answer.status_code}"
                            f" {answer.reason}", hint="credentials for it go into ~/.netrc"
                            if answer.status_code in (401, 403) else None)
        return answer


class S3Place:
    """A bucket of S3, or of anything that speaks it (`endpoint`), below a prefix."""

    def __init__(self, bucket: str, prefix: str, *, endpoint: str | None) -> None:
        """Raises: HostError: boto3 is not installed, or set up wrongly. UsageError: it does not take `endpoint`."""
        try:
            import boto3
            import botocore.exceptions
        except ImportError as error:
            raise HostError("cannot upload to S3: the Python package boto3 is not installed",
                            hint="pip install 'imagekit[s3]'") from error
        self._errors: tuple[type[Exception], ...] = (botocore.exceptions.BotoCoreError,
                                                     botocore.exceptions.ClientError)
        try:
            self._client = boto3.client("s3", endpoint_url=endpoint)
        except botocore.exceptions.BotoCoreError as error:
            raise HostError(f"cannot upload to S3: {error}") from error
        except ValueError as error:
            raise UsageError(f"cannot use {endpoint!r} as the address of an S3: {error}") from error
        self._bucket, self._prefix = bucket, prefix
        self._there: dict[str, int] | None = None

    def sizes(self, names: Mapping[str, int]) -> dict[str, int]:
        there = self._list()
        return {name: there[name] for name in names if name in there}

    def _list(self) -> dict[str, int]:
        if self._there is None:
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
            self._there = self._told("list", lambda: {
                item["Key"].removeprefix(self._prefix): item["Size"]
                for page in pages for item in page.get("Contents", ())})
        return self._there

    def read(self, name: str) -> bytes | None:
        if name not in self._list():
            return None
        answer = self._told(f"read {name}", lambda: self._client.get_object(Bucket=self._bucket,
                                                                            Key=self._prefix + name))
        raw: bytes = self._told(f"read {name}", lambda: answer["Body"].read(LIMIT))
        return raw

    def put(self, upload: Upload, source: Path) -> None:
        self._told(f"upload {upload.name}", lambda: self._client.upload_file(
            str(source), self._bucket, self._prefix + upload.name,
            ExtraArgs={"CacheControl": upload.cache_control, "ContentType": upload.content_type}))
        self._list()[upload.name] = upload.size

    def listing(self) -> tuple[str, ...] | None:
        return tuple(sorted(name for name in self._list() if name.startswith(("metadata/", "targets/"))))

    def remove(self, name: str) -> None:
        self._told(f"remove {name}", lambda: self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name))
        self._list().pop(name, None)

    def _told(self, what: str, act: Callable[[], Any]) -> Any:
        from boto3.exceptions import Boto3Error

        try:
            return act()
        except (*self._errors, Boto3Error) as error:
            raise HostError(f"cannot {what} in bucket {self._bucket}: {error}") from error


def place_of(target: str, *, endpoint: str | None = None) -> Place:
    """The place that a word on the command line means: a folder, `https://...` for WebDAV, `s3://BUCKET/PREFIX`.

    Raises:
        UsageError: neither, or an address that cannot be asked.
    """
    if not target:
        raise UsageError("cannot upload to '': a folder, http(s)://, or s3:// is needed")
    scheme, colon, rest = target.partition(":")
    scheme = scheme.lower() if colon else ""
    if scheme in ("http", "https"):
        refuse_credentials(target, hint="put them into ~/.netrc")
        refuse_unaskable(target, what="a WebDAV server")
        return DavPlace(target)
    if scheme == "s3":
        bucket, _, prefix = rest.removeprefix("//").partition("/")
        if not _BUCKET.match(bucket):
            raise UsageError(f"cannot upload to {target}: it names no bucket, as s3://BUCKET/PREFIX does")
        if endpoint is not None:
            refuse_credentials(endpoint, hint="put them where the AWS tools look")
            refuse_unaskable(endpoint, what="an S3")
        prefix = prefix.strip("/")
        return S3Place(bucket, f"{prefix}/" if prefix else "", endpoint=endpoint)
    if "://" in target:
        raise UsageError(f"cannot upload to {target}: a folder, http(s)://, or s3:// is needed")
    return FolderPlace(Path(target).expanduser())
