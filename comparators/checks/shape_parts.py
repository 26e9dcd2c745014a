"""Constraints and indexes: there, alike, validated, ready."""

from comparators.checks.judges import Grade, graded, in_shape
from comparators.checks.schema import Both, Part, matched
from comparators.preflight import Item, ItemStatus, found

BLOCKS, CAPACITY, WARN = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.BLOCKS_CAPACITY, ItemStatus.WARN


def _tables(both: Both) -> frozenset[str]:
    """Leave out partitions of tables that the target divides otherwise: they have nothing to be compared with."""
    return frozenset(
        table for table in both.common
        if table not in both.inner or both.travels_as(table) not in both.divided_otherwise
    )  # fmt: skip


def _constraints(both: Both, foreign: bool) -> list[tuple[Part | None, Part | None]]:
    source, target = (
        [part for part in side.constraints if (part.kind == "foreign key") is foreign]
        for side in (both.source, both.target)
    )
    return list(matched(source, target, _tables(both)))


def _kind(part: Part) -> str:
    return f"{part.full_name} ({part.kind})"


def _present(name: str, both: Both) -> Item:
    return _compared(name, _constraints(both, foreign=False), "after the cutover rows come in that the source refuses")


def _foreign_keys(name: str, both: Both) -> Item:
    return _compared(name, _constraints(both, foreign=True), "after the cutover rows come in that refer to nothing")


def _compared(name: str, pairs: list[tuple[Part | None, Part | None]], otherwise: str) -> Item:
    remedy = "on the target: ALTER TABLE SCHEMA.TABLE ADD CONSTRAINT NAME ..., as \\d shows it on the source"
    differing = {
        _kind(one) for one, other in pairs
        if one and other and (one.kind, one.definition) != (other.kind, other.definition)
    }  # fmt: skip
    return graded(
        name,
        "the same on both sides",
        Grade(BLOCKS, {_kind(one) for one, other in pairs if one and not other},
              f"missing on the target: {otherwise}", remedy),
        Grade(BLOCKS, differing, "defined otherwise on the target", remedy),
        Grade(WARN, {_kind(other) for one, other in pairs if other and not one},
              "only the target has these: it may refuse what the source allows",
              "on the target: ALTER TABLE SCHEMA.TABLE DROP CONSTRAINT NAME, or add it on the source"),
    )  # fmt: skip


def _validated(name: str, both: Both) -> Item:
    loose = {
        _kind(other) for pairs in (_constraints(both, True), _constraints(both, False)) for one, other in pairs
        if other and not other.sound and (one is None or one.sound)
    }  # fmt: skip
    return found(
        name, WARN, loose, "not validated on the target, and validated on the source",
        "on the target: ALTER TABLE SCHEMA.TABLE VALIDATE CONSTRAINT NAME", "as on the source",
    )  # fmt: skip


def _indexes(both: Both) -> list[tuple[Part | None, Part | None]]:
    source, target = (
        [part for part in side.indexes if part.sound and not part.implied] for side in (both.source, both.target)
    )
    return list(matched(source, target, _tables(both)))


def _indexes_present(name: str, both: Both) -> Item:
    broken = {(part.table, part.name) for part in both.target.indexes if not part.sound}  # `indexes-valid` names those
    pairs = [(one, other) for one, other in _indexes(both) if one and (one.table, one.name) not in broken]
    unlike = [one for one, other in pairs
              if other is None or (one.kind, one.definition) != (other.kind, other.definition)]  # fmt: skip
    remedy = "on the target: CREATE INDEX CONCURRENTLY ..., as \\d shows it on the source"
    return graded(
        name,
        "the target has all of the source's",
        Grade(BLOCKS, {_index(part) for part in unlike if part.kind == "unique index"},
              "unique indexes are missing on the target or defined otherwise: duplicates may come in", remedy),
        Grade(CAPACITY, {_index(part) for part in unlike if part.kind == "index"},
              "indexes are missing on the target or defined otherwise: queries will be slow after the cutover", remedy),
    )  # fmt: skip


def _index(part: Part) -> str:
    return f"{part.table.rpartition('.')[0]}.{part.name}"


def _indexes_valid(name: str, both: Both) -> Item:
    source, target = (
        [part for part in side.indexes if not part.sound and part.table in both.tables]
        for side in (both.source, both.target)
    )
    remedy = "DROP INDEX CONCURRENTLY SCHEMA.INDEX and create it again, or REINDEX INDEX CONCURRENTLY SCHEMA.INDEX"
    return graded(
        name,
        "all are valid and ready",
        Grade(BLOCKS, {f"{_index(part)} (target)" for part in target if part.kind == "unique index"},
              "invalid unique indexes on the target: duplicates may come in", f"on the target: {remedy}"),
        Grade(CAPACITY, {f"{_index(part)} (target)" for part in target if part.kind != "unique index"},
              "invalid indexes on the target: queries will not use them", f"on the target: {remedy}"),
        Grade(CAPACITY, {f"{_index(part)} (source)" for part in source},
              "invalid indexes on the source: one is being built, or its build has failed", f"on the source: {remedy}"),
    )  # fmt: skip


JUDGES = (
    in_shape("constraints-alike", "primary keys, unique, exclusion and check constraints are the same", _present,
             ("relations", "constraints"), overridable=True),
    in_shape("foreign-keys", "foreign keys are the same", _foreign_keys, ("relations", "constraints"),
             overridable=True),
    in_shape("constraints-validated", "constraints are validated where the source's are", _validated,
             ("relations", "constraints")),
    in_shape("indexes-present", "the target has every index of the source", _indexes_present,
             ("relations", "indexes"), overridable=True),
    in_shape("indexes-valid", "indexes of both sides are valid and ready", _indexes_valid, ("relations", "indexes"),
             overridable=True),
)  # fmt: skip
