"""The proof of a slot: written, read back, and damaged in every way."""

from __future__ import annotations

import pytest

from imagekit.boot.slotproof import PROOF_MOST, decode_proof, encode_proof
from imagekit.errors import DocumentError

STREAM = b"type: snap-revision\n\nsignature\n" * 40


def test_proof_fills_whole_blocks_and_reads_back() -> None:
    raw = encode_proof(STREAM)
    assert len(raw) % 4096 == 0
    assert raw[:16].hex() == f"494b5046 01000000 {len(STREAM).to_bytes(4, 'little').hex()}".replace(" ", "") + \
        raw[12:16].hex()
    assert decode_proof(raw + b"what lay there before") == STREAM


@pytest.mark.parametrize("length", [0, 3, 15, 16, 200])
def test_proof_cut_short_is_refused(length: int) -> None:
    with pytest.raises(DocumentError, match="cannot read the proof of a slot"):
        decode_proof(encode_proof(STREAM)[:length])


@pytest.mark.parametrize("offset", [0, 4, 8, 12, 16, 500])
def test_proof_with_a_flipped_bit_is_refused(offset: int) -> None:
    raw = bytearray(encode_proof(STREAM))
    raw[offset] ^= 1
    with pytest.raises(DocumentError, match="cannot read the proof of a slot"):
        decode_proof(bytes(raw))


def test_partition_without_a_proof_is_told() -> None:
    with pytest.raises(DocumentError, match="there is none"):
        decode_proof(bytes(8192))


def test_endless_proof_is_not_written() -> None:
    with pytest.raises(DocumentError, match="at most"):
        encode_proof(bytes(PROOF_MOST))
