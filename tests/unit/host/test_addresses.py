"""Addresses that people give: what can be asked goes through, the rest is a mistake of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagekit.boot.fastboot import TcpAddress
from imagekit.errors import UsageError
from imagekit.host.addresses import refuse_credentials, refuse_no_host, refuse_unaskable
from imagekit.host.fastboot_tcp import connect
from imagekit.store.serve import make_server

LABEL = "has a label in its host that is empty, longer than 63 characters, or no text"
NO_URL = "is not a URL"


@pytest.mark.parametrize("url", [
    "https://updates.example.com", "http://10.0.2.2:8000/", "http://localhost/a/b", "http://[::1]:80/",
    "HTTPS://Example.COM.", "https://b\u00fccher.example/x", f"https://{'a' * 63}.example", "http://some_host/",
    "http://example.com/\u00e9"])
def test_what_can_be_asked_goes_through(url: str) -> None:
    refuse_unaskable(url, what="a store")


@pytest.mark.parametrize(("url", "reason"), [
    ("nonsense", NO_URL), ("", NO_URL), ("ftp://example.com/", "is not of the schemes"), ("http://", "has no host"),
    ("http://a..b/x", LABEL), (f"http://{'a' * 64}.example/", LABEL), ("http://[::1/x", "has no host"),
    ("http://.a/", NO_URL), ("http://h:99999/", NO_URL), ("http://h:x/", "has no host"),
    ("http://[::g]/", "has no host"), ("http://[1]/", NO_URL), ("http://*/", NO_URL), ("http://h/?x", "has a query"),
    ("http://h/#x", "has a fragment"), ("http://h/a b", NO_URL), ("http://\udcff/", NO_URL)])
def test_what_nobody_can_be_asked_by_is_refused(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match="as the address of a store: it ") as caught:
        refuse_unaskable(url, what="a store")
    assert reason in caught.value.message


@pytest.mark.parametrize("url", ["http://me:secret@h/", "https://me@h", "http://me:secret@[::1/", "http://:secret@h", "x://@h"])
def test_credentials_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UsageError, match="others would see them") as caught:
        refuse_credentials(url)
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("url", ["http://h/@x", "http://h/?@", "h", "http://h/#a@b"])
def test_an_at_elsewhere_is_no_credential(url: str) -> None:
    refuse_credentials(url)


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "\udcff"])
def test_host_that_can_be_no_machine_is_refused(host: str) -> None:
    with pytest.raises(UsageError, match="empty, longer than 63 characters, or no text"):
        refuse_no_host(host)
    for good in ("127.0.0.1", "::1", "localhost", "board.example.", ""):
        refuse_no_host(good)


def test_nobody_listens_there_either(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="as the address of a machine"):
        make_server(tmp_path, host="a..b", port=0, told=print)
    with pytest.raises(UsageError, match="as the address of a machine"):
        connect(TcpAddress(host="a" * 64))
