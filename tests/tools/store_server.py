"""nginx for tests: serves one folder on a free port of the loopback, with uploads if asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONFIG = """\
daemon off;
worker_processes {workers};
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{ worker_connections {connections}; }}
http {{
    access_log {work}/access.log;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    client_max_body_size 0;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port};
        root {root};
        location / {{ {dav} }}
{more}
    }}
}}
"""
DAV = "dav_methods PUT DELETE; create_full_put_path on; dav_access user:rw group:r all:r;"
START_S = 10


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def nginx(program: str, root: Path, work: Path, *, dav: bool = False, more: str = "", workers: int = 1,
          connections: int = 64, port: int | None = None) -> Iterator[str]:
    """The base URL, while it runs."""
    work.mkdir(parents=True, exist_ok=True)
    port, config = port or free_port(), work / "nginx.conf"
    text = CONFIG.format(work=work, root=root, port=port, dav=DAV if dav else "", more=more, workers=workers,
                         connections=connections)
    config.write_text(text if os.geteuid() else "user root;\n" + text)
    process = subprocess.Popen([program, "-p", str(work), "-c", str(config), "-e", str(work / "error.log")])
    try:
        deadline = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (work / "error.log").read_text()
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
