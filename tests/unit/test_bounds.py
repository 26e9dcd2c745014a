"""The upper bound is the exact one: neither too kind nor needlessly strict."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comparators.bounds import at_most, upper_bound

samples = st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@given(st.integers(1, 10**9))
def test_no_difference_gives_the_closed_form_and_at_most_three_over_n(checked: int) -> None:
    assert upper_bound(0, checked) == pytest.approx(1 - 0.05 ** (1 / checked), rel=1e-6)
    assert upper_bound(0, checked) <= 3 / checked


@given(samples)
def test_at_the_bound_so_few_differences_have_five_percent_odds(sample: tuple[int, int]) -> None:
    differing, checked = sample
    bound = upper_bound(differing, checked)
    if differing == checked:
        assert bound == 1.0
        return
    exact = math.fsum(_term(k, checked, bound) for k in range(differing + 1))
    assert exact == pytest.approx(0.05, rel=1e-6)
    assert at_most(differing, checked, bound) == pytest.approx(exact, rel=1e-6)


def _term(k: int, n: int, share: float) -> float:
    log_choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return math.exp(log_choose + k * math.log(share) + (n - k) * math.log1p(-share))


@given(samples)
def test_more_differences_raise_it_and_more_samples_lower_it(sample: tuple[int, int]) -> None:
    differing, checked = sample
    assert upper_bound(differing, checked + 1) <= upper_bound(differing, checked)
    assert upper_bound(differing + 1, checked + 1) >= upper_bound(differing, checked + 1)


@pytest.mark.parametrize(("sample", "bound"), [((1, 100), 0.0465598), ((5, 100), 0.1022534), ((2, 10), 0.5069013)])
def test_it_agrees_with_published_values(sample: tuple[int, int], bound: float) -> None:
    assert upper_bound(*sample) == pytest.approx(bound, abs=1e-7)


@pytest.mark.parametrize("sample", [(0, 0), (7, 7)])
def test_without_an_equal_transaction_nothing_is_bounded(sample: tuple[int, int]) -> None:
    assert upper_bound(*sample) == 1.0


@pytest.mark.parametrize("sample", [(-1, 5), (6, 5)])
def test_what_is_no_sample_is_refused(sample: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a sample"):
        upper_bound(*sample)
