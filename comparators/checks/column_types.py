"""Whether a column's type on the target holds every value of its type on the source."""

import re

_WIDER = {
    "smallint": ("integer", "bigint", "numeric"),
    "integer": ("bigint", "numeric"),
    "bigint": ("numeric",),
    "real": ("double precision",),
    "character varying": ("text",),
}
_MODIFIED = re.compile(r"([a-z ]+)\((\d+)(?:,(-?\d+))?\)")


def holds(source: str, target: str) -> bool:
    """Say whether every value of one type can be stored in the other with the same text.

    Args:
        source, target: as `format_type` prints them.
    """
    if source == target:
        return True
    (name, *limits), (other, *other_limits) = _read(source), _read(target)
    if other_limits and (name != other or not limits):
        return False
    if name != other:
        return other in _WIDER.get(name, ())
    return not other_limits or _within(name, limits, other_limits)


def _read(text: str) -> tuple[str, *tuple[int, ...]]:
    match = _MODIFIED.fullmatch(text)
    if match is None:
        return (text,)
    return (match[1], int(match[2]), int(match[3] or 0))


def _within(name: str, limits: list[int], wider: list[int]) -> bool:
    """Compare modifiers of types whose size only bounds the values; padding and rounding ones must be equal."""
    if name == "numeric":
        return limits[1] == wider[1] and limits[0] <= wider[0]
    return name == "character varying" and limits[0] <= wider[0]
