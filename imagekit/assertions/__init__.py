"""Signed statements in the wire format of snapd: reading, writing, signing and believing them."""

from imagekit.assertions.database import Database
from imagekit.assertions.headers import Header
from imagekit.assertions.model import Grade, Model, ModelSnap, Presence, SnapType, parse_model, unbuildable
from imagekit.assertions.proof import AuthorityUnproven, Chain, Disbelief, Link, OutOfTime, UnknownKey
from imagekit.assertions.signing import sign
from imagekit.assertions.types import (
    Account,
    AccountKey,
    SnapDeclaration,
    SnapRevision,
    parse_account,
    parse_account_key,
    parse_snap_declaration,
    parse_snap_revision,
    snap_id,
)
from imagekit.assertions.wire import Assertion, decode_one, decode_stream, encode_content, encode_stream

__all__ = [
    "Account",
    "AccountKey",
    "Assertion",
    "AuthorityUnproven",
    "Chain",
    "Database",
    "Disbelief",
    "Grade",
    "Header",
    "Link",
    "Model",
    "ModelSnap",
    "OutOfTime",
    "Presence",
    "SnapDeclaration",
    "SnapRevision",
    "SnapType",
    "UnknownKey",
    "decode_one",
    "decode_stream",
    "encode_content",
    "encode_stream",
    "parse_account",
    "parse_account_key",
    "parse_model",
    "parse_snap_declaration",
    "parse_snap_revision",
    "sign",
    "snap_id",
    "unbuildable",
]
