"""The limits of a migration's gate, as its configuration has them."""

from auditor.settings import Settings
from orchestrator.policy import Limits


def limits_of(settings: Settings) -> Limits:
    """Take the gate's limits from the settings; the WAL budget is the slots' limit.

    Raises:
        SettingInvalid: a limit that is none.
    """
    overrides = {"slots-in-budget": float(settings.wal_budget_bytes), **settings.gate.limits}
    gate = settings.gate
    return Limits.of(overrides, gate.dwell_seconds, gate.valid_seconds, gate.hysteresis)
