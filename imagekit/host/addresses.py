"""Addresses that a person gives: refused at once, as a mistake of theirs, where nobody can be asked by them.

Decides by the libraries that will ask: what these take for a host, in an address or by itself, goes through. Nothing
is looked up and nobody is asked.
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from imagekit.assertions.accounts import url_problem
from imagekit.errors import UsageError

_CREDENTIALS = re.compile(r"[^/?#]*//[^/?#]*@")


def refuse_credentials(url: str, *, hint: str | None = None) -> None:
    """Raises: UsageError: a URL has user or password in it."""
    if _CREDENTIALS.match(url):
        raise UsageError("cannot take credentials in a URL: others would see them", hint=hint)


def refuse_unaskable(url: str, *, what: str) -> None:
    """Raises: UsageError: it is no URL that `what` may have, or nothing can be asked there, whoever would answer."""
    problem = url_problem(url) or _ask_problem(url)
    if problem is not None:
        raise UsageError(f"cannot use {url!r} as the address of {what}: it {problem}")


def refuse_no_host(host: str) -> None:
    """Raises: UsageError: it is neither a name nor an address of a machine."""
    if problem := _host_problem(host):
        raise UsageError(f"cannot use {host!r} as the address of a machine: it {problem}")


def _ask_problem(url: str) -> str | None:
    import requests

    try:
        asked = requests.Request("GET", url).prepare().url or ""
        return _host_problem(urlsplit(asked).hostname or "")
    except (requests.RequestException, ValueError):  # what it leaves to those below it is a ValueError
        return "is not a URL that can be asked, as https://HOST:PORT/PATH can"


def _host_problem(host: str) -> str | None:
    try:
        host.encode("idna")  # as whoever looks it up does
    except UnicodeError:
        return "has a label in its host that is empty, longer than 63 characters, or no text"
    return None
