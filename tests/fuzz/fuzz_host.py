"""What somebody hands to imagekit as a file of this machine: keys, signing programs, recipes, machines."""

from __future__ import annotations

import contextlib

from imagekit.errors import ImagekitError
from imagekit.host.keyring import decode_private_pem
from imagekit.host.signer import parse_program
from imagekit.host.storekeys import decode_public, encode_public
from imagekit.packages.recipe import liked, parse_recipe, take_over
from imagekit.qemu.machine import parse_machine
from imagekit.schema import load_yaml


def key_files(raw: bytes) -> None:
    """A private key, and what lies beside or in the place of one: a store's public key, the program that signs."""
    with contextlib.suppress(ImagekitError):
        decode_private_pem(raw, what="key", passphrase=lambda: b"secret")
    with contextlib.suppress(ImagekitError):
        key = decode_public(raw, name="key")
        assert decode_public(encode_public(key), name="key") == key
    with contextlib.suppress(ImagekitError):
        program = parse_program(raw, name="key.signer")
        assert parse_program(program.encode(), name="key.signer") == program


def recipe(raw: bytes) -> None:
    """A recipe, or two of which the first may be like the second."""
    text, _, other = raw.partition(b"\n---\n")
    source = load_yaml(text, name="recipe.yaml")
    if liked(source) is not None:
        source = take_over(source, load_yaml(other, name="other.yaml"))
    parse_recipe(source)


def machine(raw: bytes) -> None:
    parse_machine(load_yaml(raw, name="machine.yaml"))
