"""Which transactions are sampled, and which partition they belong to: the source's commit timestamp decides both."""

import struct

import xxhash

_TIMESTAMP = struct.Struct("<q")


def seed_of(migration: str) -> int:
    """Derive the seed that keeps two migrations from sampling the same instants."""
    return xxhash.xxh3_64_intdigest(migration.encode())


def share_of(commit_timestamp: int, seed: int) -> int:
    """Place a transaction on the unit interval, scaled to 64 bits.

    Args:
        commit_timestamp: microseconds as PostgreSQL counts them; equal on both sides under native replication.
        seed: from `seed_of`.
    """
    return xxhash.xxh3_64_intdigest(_TIMESTAMP.pack(commit_timestamp), seed)


def threshold_of(rate: float) -> int:
    """Turn a share of transactions into the bound that `share_of` is compared with: sampled when below it."""
    return int(rate * 2**64)


def partition_of(share: int, partitions: int) -> int:
    """Choose the partition by bits that the sampling decision does not use up."""
    return (share * 0x9E3779B97F4A7C15 >> 29 & 0xFFFFFFFF) % partitions
