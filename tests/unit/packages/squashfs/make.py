"""Makes the package beside this script: `python make.py`, with the host's mksquashfs."""

from __future__ import annotations

from pathlib import Path

from imagekit.testing.squashfs import write_squashfs

FILES = {"meta/snap.yaml": b"name: hello\nversion: 1.10\nbase: core22\narchitectures: [amd64]\n"
                           b"apps: {hello: {command: bin/hello}}\n",
         "bin/hello": b"#!/bin/sh\necho hello\n" * 200}

if __name__ == "__main__":
    write_squashfs(Path(__file__).with_name("hello.squashfs"), FILES, links={"bin/hi": "hello"})
