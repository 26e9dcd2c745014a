"""What stands against a way back: asked long before anything is held, by reading only."""

from collections.abc import Sequence
from typing import Any

from comparators.errors import AuditorError, NeedsOperator
from orchestrator.adapters.sessions import Session
from orchestrator.adapters.subscriptions import subscriptions
from orchestrator.deadlines import Deadline
from orchestrator.ports import Blocker

CHECK_SECONDS = 20.0

_CARRIED = """
SELECT format('%%s.%%s', n.nspname, c.relname), r.srsubstate, c.relpersistence,
       (SELECT coalesce(bool_and(leaf.relreplident = 'f' OR EXISTS (
            SELECT FROM pg_index i WHERE i.indrelid = leaf.oid AND i.indisvalid
            AND CASE leaf.relreplident WHEN 'd' THEN i.indisprimary WHEN 'i' THEN i.indisreplident END)), true)
        FROM pg_class leaf
        WHERE leaf.oid = c.oid AND c.relkind <> 'p'
           OR leaf.oid IN (SELECT relid FROM pg_partition_tree(c.oid) WHERE isleaf) AND c.relkind = 'p')
FROM pg_subscription s JOIN pg_subscription_rel r ON r.srsubid = s.oid
JOIN pg_class c ON c.oid = r.srrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE s.subname = ANY (%s) AND n.nspname <> %s
  AND s.subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_COLUMNS = """
SELECT format('%%s.%%s', n.nspname, c.relname), array_agg(a.attname::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid
WHERE format('%%s.%%s', n.nspname, c.relname) = ANY (%s) AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
GROUP BY 1
"""
_FREE_SLOTS = """SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots
WHERE NOT starts_with(slot_name::text, %s)"""
_RIGHTS = """
SELECT current_setting('wal_level'), current_setting('max_logical_replication_workers')::int,
       rolsuper OR EXISTS (SELECT FROM pg_roles p WHERE p.rolname = 'pg_create_subscription'
                           AND pg_has_role(r.oid, p.oid, 'USAGE')),
       has_database_privilege(current_database(), 'CREATE')
FROM pg_roles r WHERE rolname = current_user
"""


def carried_tables(target: Session, forward: Sequence[str], own_schema: str, deadline: Deadline) -> list[str]:
    """List the tables that the migration's subscriptions bring, which go back.

    Raises:
        NeedsOperator: one of them could not go back whole.
    """
    rows = target.execute(_CARRIED, [list(forward), own_schema], deadline=deadline)
    if stopped := [blocker for row in rows for blocker in _table_blockers(row)]:
        raise NeedsOperator(stopped[0].reason, hint=stopped[0].remedy)
    return sorted(row[0] for row in rows)


def blockers(source: Session, target: Session, forward: Sequence[str], own_schema: str, name: str) -> list[Blocker]:
    """List what stands against a way back; a side that cannot be asked does too.

    Args:
        name: how the names of its slots begin: those that are made already need no other.
    """
    deadline = Deadline.within(CHECK_SECONDS, "check the way back")
    try:
        rows = target.execute(_CARRIED, [list(forward), own_schema], deadline=deadline)
        found = [blocker for row in rows for blocker in _table_blockers(row)]
        found += _columns(source, target, [row[0] for row in rows], deadline)
        found += _subscriptions(target, forward, deadline)
        return found + _servers(source, target, name, deadline)
    except AuditorError as error:
        return [Blocker("reverse-path", f"the way back cannot be checked: {error}", "see that both sides answer")]


def _table_blockers(row: tuple[Any, ...]) -> list[Blocker]:
    table, state, persistence, identified = row
    found = []
    if state != "r":
        found.append(Blocker("reverse-table", f"{table}: its initial copy is not finished", "wait for it"))
    if persistence != "p":
        found.append(
            Blocker("reverse-table", f"{table} is not logged on the target: its rows could not come back",
                    f"ALTER TABLE {table} SET LOGGED on the target")
        )  # fmt: skip
    if not identified:
        found.append(
            Blocker("reverse-table", f"{table} has no replica identity on the target: updates could not come back",
                    "give it a primary key there, or REPLICA IDENTITY FULL")
        )  # fmt: skip
    return found


def _columns(source: Session, target: Session, tables: Sequence[str], deadline: Deadline) -> list[Blocker]:
    """Find columns that only the target has: replication back would stop at the first row."""
    there = _columns_of(source, tables, deadline)
    here = _columns_of(target, tables, deadline)
    more = {table: sorted(columns - there.get(table, set())) for table, columns in here.items()}
    return [
        Blocker("reverse-columns", f"{table}: only the target has {', '.join(columns)}",
                "add the columns on the source too; replication back stops without them")
        for table, columns in more.items() if columns
    ]  # fmt: skip


def _columns_of(side: Session, tables: Sequence[str], deadline: Deadline) -> dict[str, set[str]]:
    return {table: set(names) for table, names in side.execute(_COLUMNS, [list(tables)], deadline=deadline)}


def _subscriptions(target: Session, forward: Sequence[str], deadline: Deadline) -> list[Blocker]:
    seen = subscriptions(target, forward, deadline)
    found = [
        Blocker("forward-subscription", f"subscription {name} is not on the target", "correct replication.subscription")
        for name in forward if name not in seen
    ]  # fmt: skip
    for one in seen.values():
        if not one.enabled:
            found.append(Blocker("forward-subscription", f"subscription {one.name} is disabled", "enable it"))
        if not one.owned:
            reason = f"the control role may not stop subscription {one.name}"
            found.append(Blocker("forward-subscription", reason, "grant it the role of the subscription's owner"))
    return found


def _servers(source: Session, target: Session, name: str, deadline: Deadline) -> list[Blocker]:
    ((level, _, _, creates),) = target.execute(_RIGHTS, deadline=deadline)
    ((_, workers, subscribes, _),) = source.execute(_RIGHTS, deadline=deadline)
    found = []
    if level != "logical":
        found.append(Blocker("reverse-server", f"wal_level of the target is {level}", "set it to logical, restart"))
    if not creates:
        reason = "the control role may not create publications on the target"
        found.append(Blocker("reverse-server", reason, "GRANT CREATE ON DATABASE to it"))
    if int(target.value(_FREE_SLOTS, [name], deadline=deadline)) < 2:
        reason = "fewer than two replication slots are free on the target, for the way back and its audit"
        found.append(Blocker("reverse-server", reason, "raise max_replication_slots there, restart"))
    if int(source.value(_FREE_SLOTS, [name], deadline=deadline)) < 2:
        # an origin counts as a slot before PostgreSQL 18
        reason = "fewer than two replication slots are free on the source, for the way back's origin and its audit"
        found.append(Blocker("reverse-server", reason, "raise max_replication_slots there, restart"))
    if not workers:
        reason = "max_logical_replication_workers of the source is 0"
        found.append(Blocker("reverse-server", reason, "raise it and restart"))
    if not subscribes:
        reason = "the control role may not create subscriptions on the source"
        found.append(Blocker("reverse-server", reason, "GRANT pg_create_subscription TO it, or make it superuser"))
    return found
