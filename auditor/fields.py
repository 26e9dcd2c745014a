"""Read single fields of records; whatever is not what it should be is `None`: not known."""

from collections.abc import Mapping
from typing import Any

Records = Mapping[str, Any]
LARGEST = 2**64
"""Nothing that is counted, dated or a position is as large; what is makes no sense."""


def record_of(records: Records, key: str) -> Mapping[str, Any] | None:
    """Give a record that is one."""
    value = records.get(key)
    return value if isinstance(value, Mapping) else None


def below(records: Records, area: str) -> dict[str, Mapping[str, Any]]:
    """Give the records `area/...` by the rest of their key, sorted: the order of arrival must not show."""
    found = {
        key.removeprefix(area): value if isinstance(value, Mapping) else {}
        for key, value in records.items()
        if key.startswith(area) and value is not None
    }
    return dict(sorted(found.items()))


def number(record: Mapping[str, Any], name: str) -> float | None:
    """Give a finite number."""
    value = record.get(name)
    fits = isinstance(value, int | float) and not isinstance(value, bool) and -LARGEST < value < LARGEST
    return value if fits else None


def whole(record: Mapping[str, Any], name: str) -> int | None:
    """Give a whole number from 0 upwards."""
    value = record.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST else None


def flag(record: Mapping[str, Any], name: str) -> bool | None:
    """Give a truth value."""
    value = record.get(name)
    return value if isinstance(value, bool) else None


def text(record: Mapping[str, Any], name: str) -> str | None:
    """Give whatever is there as text for people."""
    value = record.get(name)
    return None if value is None else str(value)


def name(record: Mapping[str, Any], name: str) -> str | None:
    """Give a text that was written as one; a number or a list in its place names nothing."""
    value = record.get(name)
    return value if isinstance(value, str) else None


def names(record: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    """Give a list of names, sorted."""
    value = record.get(name)
    return tuple(sorted({str(item) for item in value})) if isinstance(value, list | tuple) else None


def inner(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Give a record within; an empty one where there is none."""
    value = record.get(name)
    return value if isinstance(value, Mapping) else {}
