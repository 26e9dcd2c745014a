"""Say how rare a difference must be when a sample of transactions held so few of them.

Source: Clopper and Pearson, "The use of confidence or fiducial limits", Biometrika 26 (1934): the exact upper bound.
"""

import math

CONFIDENCE = 0.95


def upper_bound(differing: int, checked: int) -> float:
    """Give the share of differing transactions that is not exceeded at 95 % confidence.

    Args:
        differing: transactions found different among those checked.
        checked: independently sampled transactions that were settled; unsettled ones do not belong in here.
    Returns:
        A share from 0 to 1; 1 when nothing was checked.
    """
    if differing < 0 or checked < differing:
        raise ValueError(f"{differing} of {checked} is not a sample")
    if differing == checked:
        return 1.0
    if differing == 0:
        return -math.expm1(math.log1p(-CONFIDENCE) / checked)
    return _bisect(differing, checked)


def _bisect(differing: int, checked: int) -> float:
    low, high = differing / checked, 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if at_most(differing, checked, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def at_most(differing: int, checked: int, share: float) -> float:
    """Give the probability of at most `differing` among `checked` when each differs with this share."""
    if share <= 0:
        return 1.0
    if share >= 1:
        return float(differing >= checked)
    equal = checked - differing
    last = math.exp(_log_choose(checked, differing) + differing * math.log(share) + equal * math.log1p(-share))
    return min(1.0, last * _sum_downwards(differing, checked, (1 - share) / share))


def _sum_downwards(differing: int, checked: int, odds_against: float) -> float:
    """Add the terms for differing, differing - 1, ... 0 in units of the first until they no longer count."""
    total = term = 1.0
    for k in range(differing, 0, -1):
        term *= k * odds_against / (checked - k + 1)
        total += term
        if term < total * 1e-17:
            break
    return total


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
