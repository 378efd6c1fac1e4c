"""What a server may answer over HTTP: sound, odd and broken, as bytes. `PORT` in it stands for the server's own."""

from __future__ import annotations

from hypothesis import strategies as st

PORT = b"PORT"

SCHEMES = ("http://", "https://", "HTTP://", "//", "", "ftp://", "file://", "http:", "http:/", "mailto:")
HOSTS = ("", "127.0.0.1", "a..b", "a" * 64, "[::1", "[::1]", "]", "[v1.x]", "xn--a", "\xff\xfe", "\xe9", "%", "%00",
         "@", "user:pw@127.0.0.1", "127.0.0.1\x1b[2J", "0x7f.1", "*", "\u2170.example", "\u2100.example")
PORTS = ("", "0", "-1", "99999", "abc", "1_0", "9" * 5000)
PATHS = ("/x", "/x#y", "?", "/\x00", "/%", "/%zz", "/\xa0")
STATUS = (b"HTTP/1.1 302 Found", b"HTTP/1.1 307", b"HTTP/1.0 301 Moved", b"HTTP/1.1 200 OK", b"HTTP/1.1 206 x",
          b"HTTP/1.1 100 Continue", b"HTTP/1.1 204 x", b"HTTP/9.9 200 x", b"HTTP/1.1 -1 x", b"HTTP/1.1 1000 x",
          b"HTTP/1.1 99999999 x", b"HTTP/1.1 \xb2\xb2\xb2 x", b"ICY 200 OK", b"")
CHUNKS = (b"3\r\nabc\r\n", b"-5\r\nabc\r\n", b"-1\r\n", b"f" * 40 + b"\r\nabc", b"0x3\r\nabc\r\n", b"3;x=y\r\nabc\r\n",
          b"0\r\n\r\n", b"\r\n", b"z\r\n", b"0\r\nx\r\n")
HEADERS: dict[bytes, tuple[bytes, ...]] = {
    b"Content-Length": (b"3", b"-1", b"3, 3", b"3, 4", b"9" * 30, b"9" * 5000, b"x", b"\xb2", b""),
    b"Transfer-Encoding": (b"chunked", b"chunked, chunked", b"gzip, chunked", b"identity"),
    b"Content-Encoding": (b"gzip", b"identity", b"br, gzip", b"\xff"),
    b"Set-Cookie": (b"a=b", b"a=b; domain=[::1; expires=x", b"=;=;;", b"\xff"),
    b"Connection": (b"close", b"keep-alive", b"upgrade"),
}


def answers() -> st.SearchStrategy[bytes]:
    """An answer to one request; of some all is whole but the address that it sends on to."""
    header = st.sampled_from(sorted(HEADERS)).flatmap(lambda name: st.builds(
        lambda value: name + b": " + value, st.sampled_from(HEADERS[name]) | st.binary(max_size=12)))
    location = locations().map(lambda value: b"Location: " + value)
    body = st.lists(st.sampled_from(CHUNKS) | st.binary(max_size=8), max_size=4).map(b"".join)
    odd = st.builds(_joined, st.sampled_from(STATUS) | st.binary(max_size=20),
                    st.lists(header | location | st.binary(max_size=12), max_size=4), body)
    return odd | st.builds(_joined, st.just(STATUS[0]), location.map(lambda line: [line, b"Content-Length: 0"]),
                           st.just(b""))


def locations() -> st.SearchStrategy[bytes]:
    """What a redirect may say."""
    some = st.text(max_size=8)
    port = st.just(PORT.decode()) | st.sampled_from(PORTS) | some
    return st.binary(max_size=12) | st.builds(
        lambda scheme, host, port, path: f"{scheme}{host}{':' if port else ''}{port}{path}".encode(),
        st.sampled_from(SCHEMES), st.sampled_from(HOSTS) | some, port, st.sampled_from(PATHS) | some)


def _joined(status: bytes, headers: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([status, *headers, b"", b""]) + body
