"""Both sides sample alike, and a rate is what it says."""

from hypothesis import given
from hypothesis import strategies as st

from comparators.sampling import partition_of, seed_of, share_of, threshold_of

SEED = seed_of("orders")


@given(st.integers(-(2**63), 2**63 - 1), st.floats(0.0001, 1), st.floats(0.0001, 1))
def test_a_transaction_of_a_lower_rate_is_in_every_higher_one(timestamp, one, other):
    low, high = sorted((one, other))
    share = share_of(timestamp, SEED)
    assert share >= threshold_of(low) or share < threshold_of(high)
    assert share < threshold_of(1.0)


def test_a_rate_is_met_over_many_transactions():
    sampled = sum(share_of(timestamp, SEED) < threshold_of(0.01) for timestamp in range(100_000))
    assert 900 < sampled < 1100


def test_partitions_are_used_alike_among_the_sampled_too():
    shares = [share for share in (share_of(t, SEED) for t in range(100_000)) if share < threshold_of(0.1)]
    counts = [sum(partition_of(share, 4) == number for share in shares) for number in range(4)]
    assert min(counts) > 0.9 * len(shares) / 4


def test_two_migrations_sample_other_transactions():
    half, other = threshold_of(0.5), seed_of("users")
    both = [share_of(t, SEED) < half and share_of(t, other) < half for t in range(4000)]
    assert 800 < sum(both) < 1200
