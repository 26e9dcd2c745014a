"""Settings of one side as a probe saw them, and how much of what they allow is in use."""

from collections.abc import Mapping
from dataclasses import dataclass

SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}
"""What the units of settings stand for."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting as a new session of an application gets it, before its role's own settings."""

    value: str
    unit: str = ""
    masked: bool = False
    """Something of our own session's hides it: its role's settings or its environment."""
    pending_restart: bool = False

    def __str__(self) -> str:
        return f"{self.value}{self.unit}" if self.value.lstrip("-").isdigit() else self.value or "(empty)"

    @property
    def number(self) -> float | None:
        try:
            return float(self.value)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class ScopedSetting:
    """What ALTER DATABASE or ALTER ROLE sets."""

    role: str
    """Empty: for every role."""
    here: bool
    """For the audited database only."""
    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SideSettings:
    """One side's settings, and how much of what they allow is in use."""

    values: Mapping[str, Setting]
    """By name, lower case."""
    scoped: tuple[ScopedSetting, ...] = ()
    roles: frozenset[str] = frozenset()
    all_seen: bool = True
    """Whether our role sees settings that are for administrators."""
    role: str = "auditor"
    version: int = 160000
    in_recovery: bool = False
    walsenders: int = 0
    origins: int = 0
    subscriptions: int = 0
    """Enabled ones, of all databases."""

    def effective(self, role: str, name: str) -> str | None:
        """Give what a new session of a role gets; `None` where nothing of its own is set and the rest is a quantity.

        Args:
            role: empty: of any role without settings of its own.
            name: lower case.
        """
        own = {one.here: one.value for one in self.scoped if (one.role, one.name.lower()) == (role, name)}
        if own:
            return own[max(own)]
        everybody = self.values.get(name)
        return everybody.value if everybody is not None and not everybody.unit and not everybody.masked else None

    def number(self, name: str) -> float | None:
        """Give a setting's number in its own unit; `None` where it is not seen."""
        setting = self.values.get(name)
        return setting.number if setting is not None else None

    def scaled(self, name: str, units: Mapping[str, float]) -> float | None:
        """Give a setting as a number of seconds or bytes; what is not positive stays as it is."""
        setting, number = self.values.get(name), self.number(name)
        if setting is None or number is None or setting.unit not in units:
            return None
        return number * units[setting.unit] if number > 0 else number


Sides = Mapping[str, SideSettings]
"""By name, `source` and `target`."""
