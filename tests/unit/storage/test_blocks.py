"""Block checksums: the same however the bytes arrive, different for any damage."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from xxhash import xxh3_64

from entrepot.domain.objects import BLOCK_SIZE, DIGEST_SIZE
from entrepot.storage.blocks import BlockHasher, checksums, verify

DATA = random.Random(1).randbytes(3 * BLOCK_SIZE + 100)
BLOCKS = checksums(DATA)


def test_a_checksum_is_the_big_endian_xxh3_of_its_block():
    assert BLOCKS[:DIGEST_SIZE] == xxh3_64(DATA[:BLOCK_SIZE]).intdigest().to_bytes(8, "big")
    assert BLOCKS[-DIGEST_SIZE:] == xxh3_64(DATA[3 * BLOCK_SIZE :]).intdigest().to_bytes(8, "big")
    assert len(BLOCKS) == 4 * DIGEST_SIZE


def test_no_bytes_have_no_blocks():
    assert BlockHasher().blocks() == checksums(b"") == b""
    assert verify(b"", 0, b"")


@given(st.lists(st.sampled_from([0, 1, 99, BLOCK_SIZE - 1, BLOCK_SIZE, BLOCK_SIZE + 1, 2 * BLOCK_SIZE]), max_size=6))
def test_pieces_of_any_size_give_the_same_checksums(sizes):
    hasher, whole = BlockHasher(), b""
    for size in sizes:
        hasher.update(memoryview(DATA)[:size])
        whole += DATA[:size]
        assert hasher.blocks() == checksums(whole)


@given(st.integers(0, 4), st.integers(0, 4))
def test_any_run_of_whole_blocks_verifies_where_it_belongs(first, last):
    chunk = DATA[first * BLOCK_SIZE : last * BLOCK_SIZE]
    assert verify(chunk, first, BLOCKS)
    assert verify(memoryview(chunk), first, BLOCKS)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_any_changed_byte_is_noticed(place, change):
    damaged = bytearray(DATA)
    damaged[place] ^= change
    assert not verify(memoryview(damaged), 0, BLOCKS)


@pytest.mark.parametrize(
    "chunk, first",
    [
        (DATA[:BLOCK_SIZE], 1),
        (DATA[: BLOCK_SIZE - 1], 0),
        (DATA[:-1], 0),
        (DATA + b"x", 0),
        (DATA, 1),
        (DATA[:BLOCK_SIZE], 4),
    ],
    ids=["other place", "cut block", "cut end", "longer", "shifted", "past the end"],
)
def test_bytes_in_the_wrong_place_or_number_do_not_verify(chunk, first):
    assert not verify(chunk, first, BLOCKS)
