"""Tables, their keys and partitions, and what replication does not carry."""

from comparators.checks.judges import Grade, graded, in_shape
from comparators.checks.schema import TABLES, Both
from comparators.preflight import Item, ItemStatus, found, unknown

BLOCKS, WARN, OK = ItemStatus.BLOCKS_CORRECTNESS, ItemStatus.WARN, ItemStatus.OK


def _tables_present(name: str, both: Both) -> Item:
    if not both.tables:
        return unknown(name, "no table of the publications is in the configuration's scope",
                       "name the publications that the subscriptions read, and check tables.include")  # fmt: skip
    return found(
        name, BLOCKS, both.tables - both.common - both.inner, "the target has no such table",
        "create them on the target as in: pg_dump --schema-only --table=SCHEMA.TABLE",
        f"all {len(both.tables)} tables and partitions are there",
    )  # fmt: skip


def _tables_extra(name: str, both: Both) -> Item:
    known = both.source.relations
    extra = {
        table for table, relation in both.target.relations.items()
        if relation.kind in TABLES and not relation.of_extension
        and (table not in known or known[table].kind not in TABLES)
        and relation.parent not in both.divided_otherwise and both.selects(relation.parent or table)
    }  # fmt: skip
    return found(
        name, WARN, extra, "only the target has these tables: nothing brings them rows, and nobody audits them",
        "drop them on the target, or leave them out by name in tables.exclude",
    )  # fmt: skip


def _tables_published(name: str, both: Both) -> Item:
    rest = {table for table in both.rest if both.source.relations[table].kind in TABLES and _logged(both, table)}
    rest |= {table for table in both.tables if not both.carried(table) and both.source.relations[table].kind == "r"}
    return found(
        name, WARN, rest, "these tables are in the configuration's scope and no publication shows them",
        "ALTER PUBLICATION NAME ADD TABLE SCHEMA.TABLE, then ALTER SUBSCRIPTION NAME REFRESH PUBLICATION; "
        "or leave them out by name in tables.exclude",
        "every table of the scope is published",
    )  # fmt: skip


def _logged(both: Both, table: str) -> bool:
    return not both.source.relations[table].unlogged


def _identities(name: str, both: Both) -> Item:
    changing = {table for table in both.tables if both.source.relations[table].kind == "r" and _changes(both, table)}
    return graded(
        name,
        "every table with updates and deletes has one",
        Grade(BLOCKS, {table for table in changing if not both.source.relations[table].identified},
              "the source refuses their updates and deletes: no usable replica identity",
              "on the source: add a primary key, or ALTER TABLE SCHEMA.TABLE REPLICA IDENTITY FULL"),
        Grade(BLOCKS, {table for table in changing & both.common if _not_found(both, table)},
              "the target cannot find the rows that updates and deletes mean",
              "on the target: add the primary key, or name the same index by "
              "ALTER TABLE SCHEMA.TABLE REPLICA IDENTITY USING INDEX INDEX_NAME"),
    )  # fmt: skip


def _changes(both: Both, table: str) -> bool:
    """Say whether updates or deletes of a table are published, under its own name or that of a root."""
    shown = both.published.get(both.travels_as(table))
    return shown is not None and bool(shown.operations & {"update", "delete"})


def _not_found(both: Both, table: str) -> bool:
    """Say whether apply has neither key nor index to look for a row, and was not sent the whole row either."""
    source, target = both.source.relations[table], both.target.relations[table]
    searchable = bool(target.key_types) or (target.identity == "i" and target.identified)
    return source.identity != "f" and target.kind == "r" and not searchable


def _primary_keys(name: str, both: Both) -> Item:
    lacking = {table for table in both.tables if not both.source.relations[table].key_types}
    return found(
        name, WARN, lacking, "these tables have no primary key: a unique index or the whole row tells their rows apart",
        "ALTER TABLE SCHEMA.TABLE ADD PRIMARY KEY (COLUMN) on both sides, the target first",
        "every table has one",
    )  # fmt: skip


def _key_types(name: str, both: Both) -> Item:
    """Note keys whose order or equality rests on a collation, or that are long."""
    noted = sorted(table for table in both.tables if any(map(_textual, both.source.relations[table].key_types)))
    if not noted:
        return Item(name, OK, "no key is of a text or array type")
    return Item(name, OK, "a note: keys of a text or array type rest on collations", "", tuple(noted[:20]), len(noted))


def _textual(type_name: str) -> bool:
    return type_name.endswith("[]") or type_name.split("(")[0] in ("text", "character varying", "character", "citext")


def _partitions(name: str, both: Both) -> Item:
    unlike = (both.inner - both.common) | {table for table in both.common if _bounds(both, table)}
    lawful = {table for table in unlike & both.inner if both.travels_as(table) in both.divided_otherwise}
    return graded(
        name,
        "the same tree and bounds, or none",
        Grade(BLOCKS, unlike - lawful,
              "these partitions are missing on the target or have another place or bounds there: "
              "rows may be refused or end elsewhere",
              "on the target: CREATE TABLE ... PARTITION OF ROOT FOR VALUES ..., as \\d+ shows it on the source"),
        Grade(WARN, both.divided_otherwise, "the target divides these tables otherwise, as it may",
              "make sure that each row finds a partition on the target"),
    )  # fmt: skip


def _bounds(both: Both, table: str) -> bool:
    one, other = both.source.relations[table], both.target.relations[table]
    return (one.parent, one.bound) != (other.parent, other.bound)


def _unlogged(name: str, both: Both) -> Item:
    return graded(
        name,
        "none",
        Grade(BLOCKS, {table for table in both.common if both.target.relations[table].unlogged},
              "these tables are unlogged on the target: a crash there empties them",
              "on the target: ALTER TABLE SCHEMA.TABLE SET LOGGED"),
        Grade(WARN, {table for table in both.rest if not _logged(both, table)},
              "unlogged tables of the source are not replicated",
              "fill them after the cutover, or leave them out by name in tables.exclude"),
    )  # fmt: skip


def _others(name: str, both: Both) -> Item:
    return graded(
        name,
        "none",
        Grade(WARN, {table for table in both.rest if both.source.relations[table].kind == "f"},
              "foreign tables are not replicated", "check on the target that their servers can be reached"),
    )  # fmt: skip


def _materialized(name: str, both: Both) -> Item:
    views = {view.name for view in both.source.relations.values() if view.kind == "m" and view.name in both.rest}
    lacking = {view for view in views if (there := both.target.relations.get(view)) is None or not there.populated}
    return graded(
        name,
        "none",
        Grade(WARN, lacking, "the target lacks these materialized views, or they are empty there",
              "on the target: create them, then REFRESH MATERIALIZED VIEW SCHEMA.VIEW"),
        Grade(WARN, views - lacking, "materialized views are not replicated",
              "on the target, right before the cutover: REFRESH MATERIALIZED VIEW SCHEMA.VIEW"),
    )  # fmt: skip


def _views(name: str, both: Both) -> Item:
    views = {view.name for view in both.source.relations.values() if view.kind == "v" and view.name in both.rest}
    return found(
        name, WARN, views - set(both.target.relations), "the target has no such view",
        "create them on the target as in: pg_dump --schema-only --table=SCHEMA.VIEW", "all are there",
    )  # fmt: skip


def _large_objects(name: str, both: Both) -> Item:
    count = both.source.large_objects
    if not count:
        return Item(name, OK, "none")
    return Item(
        name, BLOCKS, f"{count} large objects on the source, which logical replication does not carry",
        "on the source: vacuumlo removes those that nothing refers to; move the rest into bytea columns", (), count,
    )  # fmt: skip


JUDGES = (
    in_shape("tables-present", "every table that the migration brings over exists on the target", _tables_present,
             ("relations",)),
    in_shape("tables-extra", "the target has no tables besides the source's", _tables_extra, ("relations",)),
    in_shape("tables-published", "every table of the configuration's scope is published", _tables_published,
             ("relations",)),
    in_shape("replica-identity", "tables whose updates and deletes are published have a usable replica identity, "
             "and the target can find the rows", _identities, ("relations",)),
    in_shape("primary-keys", "tables have primary keys", _primary_keys, ("relations",)),
    in_shape("key-types", "primary keys of text or array types, as a note", _key_types, ("relations",)),
    in_shape("partitions-alike", "partitioned tables have the same partitions and bounds", _partitions, ("relations",),
             overridable=True),
    in_shape("unlogged-tables", "no table is unlogged on the target, and unlogged ones of the source are known",
             _unlogged, ("relations",)),
    in_shape("foreign-tables", "foreign tables, which are not replicated, are known", _others, ("relations",)),
    in_shape("materialized-views", "materialized views, which are not replicated, are known", _materialized,
             ("relations",)),
    in_shape("views-present", "views of the source exist on the target", _views, ("relations",)),
    in_shape("large-objects", "the source has no large objects", _large_objects, ("large_objects",)),
)  # fmt: skip
