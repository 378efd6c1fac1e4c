"""Signed A/B disk images from Debian packages, proved in QEMU, flashed to boards and kept updated."""

__version__ = "0.1.0"
