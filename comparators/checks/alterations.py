"""Whether a subscription was altered: only so can somebody have apply pass over a transaction.

`ALTER SUBSCRIPTION ... SKIP` may be set and used up between two looks. What remains of it is that the subscription's
row was written: its version, the transaction that wrote it, is another. Nothing says what was altered, so whatever it
was, the tables have to be swept after it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

VERSION = "version/"
ALTERED = "altered_at"


@dataclass(frozen=True, slots=True)
class Alterations:
    """What is remembered from look to look, and from one prober to the next."""

    versions: Mapping[str, int]
    """Of each subscription's row, where the role may see it."""
    altered_at: float | None = None
    """Unix seconds of the look that first saw the newest alteration."""


def followed(before: Alterations | None, versions: Mapping[str, int | None], stopped: bool, now: float) -> Alterations:
    """Take one more look into account.

    Args:
        versions: of each configured subscription that exists; `None` where the role may not see it.
        stopped: some apply failed, was started again or is disabled. Without that nobody skips anything, so it
            stands for an alteration where versions cannot be seen.
    """
    known = {name: version for name, version in versions.items() if version is not None}
    if before is None:
        return Alterations(known)
    altered = any(before.versions.get(name, version) != version for name, version in known.items())
    unseen = len(known) < len(versions) and stopped
    return Alterations({**before.versions, **known}, now if altered or unseen else before.altered_at)


def figures_of(alterations: Alterations) -> dict[str, float | None]:
    """Write it as figures of the probe's record."""
    versions = {f"{VERSION}{name}": float(version) for name, version in alterations.versions.items()}
    return {**versions, ALTERED: alterations.altered_at}


def resumed(figures: Mapping[str, float | None], now: float) -> Alterations:
    """Read what an earlier prober wrote; a record that says nothing of it may hide anything."""
    versions = {
        name.removeprefix(VERSION): int(version)
        for name, version in figures.items()
        if name.startswith(VERSION) and version is not None
    }
    return Alterations(versions, figures.get(ALTERED, now))
