"""HTTP as a device speaks it, with servers that may mean harm.

Decides when a server is left: it is silent, too slow, or says too much beside what it was asked for. That is counted
where bytes come in, below HTTP, so that nothing around a body goes uncounted: status lines, answers before the answer
(RFC 9110 section 15.2), headers, the frames and trailers of chunks (RFC 9112 section 7.1), what a redirect carries.
A certificate counts whatever its time: what is believed is signed and ends by itself, TLS hides no more than what is
asked for, and a device whose clock is dead or far ahead would find every store's certificate not valid yet, or expired.
Nothing is unpacked: an answer with a content coding (RFC 9110 section 8.4) was not asked for, and may be a bomb.

Whatever is wrong with an answer, or with the address that it sends on to, is a `DownloadError`, and nothing else is.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from tuf.api.exceptions import DownloadError
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from imagekit.assertions.wire import printable
from imagekit.units import KIB

PIECE = 16 * KIB  # at most at once
NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, openssl/x509_vfy.h
TOLD = 300  # characters of what is wrong; the server may have written them


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What is put up with: `stall_s` without a byte; less than `least_rate` bytes/s of body over `window_s`; `beside`
    bytes without one of body among them.

    Only the time that is spent waiting for a server counts.
    """

    stall_s: float = 30.0
    window_s: float = 120.0
    least_rate: int = 512
    beside: int = 64 * KIB


PATIENCE = Patience()


class Pace:
    """What has come of one request, against the time that it was waited for."""

    def __init__(self, patience: Patience, *, seconds: Callable[[], float] = time.monotonic) -> None:
        self._patience, self._seconds = patience, seconds
        self.begin()

    def begin(self) -> None:
        """Count from nothing, for the next request."""
        self._waited, self._came, self._total, self._beside = 0.0, 0, 0, 0

    def wait(self, read: Callable[[], int | None]) -> int | None:
        """Read from the line. Raises: DownloadError: patience is at its end."""
        patience = self._patience
        if self._waited >= patience.window_s:
            if self._came < patience.least_rate * patience.window_s:
                raise DownloadError(f"it came too slowly, {self._came} bytes in {self._waited:.0f} s,"
                                    f" after {self._total} bytes")
            self._waited, self._came = 0.0, 0
        if self._beside > patience.beside:
            raise DownloadError(f"the server sent {self._beside} bytes beside what it was asked for,"
                                f" after {self._total} bytes")
        began = self._seconds()
        count = read()
        self._waited += self._seconds() - began
        self._beside += count or 0
        return count

    def count(self, body: int) -> None:
        """So many bytes of body have come."""
        self._came, self._total, self._beside = self._came + body, self._total + body, 0


class _Line(io.RawIOBase):
    """A connection that is read at a pace."""

    def __init__(self, line: Any, pace: Pace) -> None:
        self._line, self._pace = line, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:
        return self._pace.wait(lambda: self._line.readinto(buffer))

    def fileno(self) -> int:
        return int(self._line.fileno())

    def close(self) -> None:
        self._line.close()
        super().close()


def refuse_packed(answer: HTTPResponse) -> None:
    """Of errors the body is never read. Raises: DownloadError."""
    packed = answer.headers.get("Content-Encoding", "identity")
    if answer.status < HTTPStatus.BAD_REQUEST and packed.strip().lower() != "identity":
        raise DownloadError(f"the server packed it ({packed[:20]!r}), which it was asked not to do")


def _pools(pace: Pace) -> dict[str, type[HTTPConnectionPool]]:
    """Of connections whose answers come at this pace, and as they are."""
    class Answer(HTTPResponse):
        def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
            super().__init__(sock, *args, **kwargs)
            self.fp = io.BufferedReader(_Line(self.fp.detach(), pace))

        def begin(self) -> None:
            super().begin()
            refuse_packed(self)

    class Plain(HTTPConnection):
        response_class = Answer

    class Secure(HTTPSConnection):
        response_class = Answer

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


def _timeless() -> ssl.SSLContext:
    """What urllib3 asks of TLS, but for the time of certificates."""
    context = create_urllib3_context()
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    return context


class _Adapter(HTTPAdapter):
    """Puts these connections below requests, through a proxy too."""

    def __init__(self, pace: Pace) -> None:
        self._pools = _pools(pace)
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=_timeless(), **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, ssl_context=_timeless(), **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


@contextmanager
def its_fault(what: str, error_of: Callable[[str], Exception] = DownloadError) -> Iterator[None]:
    """All that the libraries raise while they read what a server sent counts as its fault: what is not foreseen too.

    They do not say what that may be. Of a redirect to a host that cannot be one, some of it is a `ValueError`.
    """
    try:
        yield
    except DownloadError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, requests.RequestException) else f"{type(error).__name__}: "
        raise error_of(printable(f"{what}: {kind}{error}"[:TOLD])) from error


class Web:
    """Files of web servers, one after the other, and no longer than patience lasts."""

    def __init__(self, patience: Patience) -> None:
        self._patience, self._pace = patience, Pace(patience)
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "imagekit", "Accept-Encoding": "identity"})
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._pace))

    def get(self, url: str, headers: Mapping[str, str] | None = None) -> requests.Response:
        """The head of an answer. Raises: DownloadError: there is none."""
        self._pace.begin()
        with its_fault("no answer"):
            return self._session.get(url, headers=headers, stream=True, timeout=self._patience.stall_s)

    def pieces(self, response: requests.Response) -> Iterator[bytes]:
        """The body of the last answer. Raises: DownloadError: it breaks off."""
        with response:
            while piece := self._piece(response):
                yield piece

    def _piece(self, response: requests.Response) -> bytes:
        with its_fault("it broke off"):
            piece: bytes = response.raw.read1(PIECE, decode_content=False)
        self._pace.count(len(piece))
        return piece
