"""Whether a session is on the server on which the audit began."""

from collections.abc import Mapping
from typing import Any

from comparators.errors import PositionLost
from comparators.positions import Side
from samplers.catalog import ServerFacts


def check_server(side: Side, facts: ServerFacts, baseline: Mapping[str, Any]) -> None:
    """Make sure that a session is on the server of the baseline: positions of another one mean something else.

    Raises:
        PositionLost: it was failed over, restored, or is another one.
    """
    if (facts.system_identifier, facts.timeline) != (baseline[f"{side}_system"], baseline[f"{side}_timeline"]):
        raise PositionLost(
            f"{side}: the server was replaced, failed over or restored (timeline {facts.timeline})",
            hint="run `auditor prepare --new-baseline`",
        )
