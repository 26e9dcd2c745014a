"""The shape of both sides: everything that belongs to the tables of the migration, and what replication leaves out."""

from comparators.checks import shape_columns, shape_guards, shape_made, shape_parts, shape_tables
from comparators.checks.judges import judged
from comparators.checks.schema import Both
from comparators.preflight import Check, Item

_JUDGES = (
    *shape_tables.JUDGES,
    *shape_columns.JUDGES,
    *shape_parts.JUDGES,
    *shape_guards.JUDGES,
    *shape_made.JUDGES,
)
CHECKS: tuple[Check, ...] = tuple(judge.check for judge in _JUDGES)


def judge_shape(both: Both) -> tuple[Item, ...]:
    """Make every check of the group."""
    return tuple(judged(_JUDGES, both, (both.source.denied, both.target.denied)))
