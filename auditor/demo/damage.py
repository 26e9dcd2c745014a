"""Damage to rows and transactions: inside apply, where replication itself seems to have done it, or by a stranger.

Inside apply means: a trigger on the target that fires ALWAYS changes or drops what the apply worker writes. The rows
are the fault's own, new ones, so that no later change of the workload writes over the damage.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from auditor.demo.database import Session, literal, one, run
from auditor.demo.schema import PUBLICATION, SUBSCRIPTION
from auditor.demo.stage import Harm, Stage, commit, insert_lsn

ATTEMPTS = 3000
"""Transactions until one falls into the sample; at 1 % a hundred are needed on average."""
SKIP_ATTEMPTS = 30
"""The same where each attempt stops replication for a moment."""
VICTIMS = {
    "public.customers": (
        "INSERT INTO customers (id, email, name, tier, preferences, credit) VALUES"
        " (md5('fault {n}')::uuid, 'fault{n}@example.org', 'Fault', 'silver', '{{\"lang\": \"en\", \"n\": 1}}', 10.50)",
        "NEW.email LIKE 'fault%'",
    ),
    "public.products": (
        "INSERT INTO products VALUES ('fault-{n}', 'Fault', 1.10, ARRAY['one', 'two'], ARRAY[1, NULL, 3], 0.3, 1)",
        "NEW.sku LIKE 'fault-%'",
    ),
    "public.orders": (
        "INSERT INTO orders (id, customer_id, total, placed_at, deliver_within, note) VALUES"
        " (-{n}, md5('fault')::uuid, 99.99, '2026-03-01 12:00:00.123456+00', '1 day', '')",
        "NEW.id < 0",
    ),
    "public.order_items": (
        "INSERT INTO order_items SELECT -{n}, i, 'sku-1', 1, 20.00, 10.00, '{{\"n\": 1}}' FROM generate_series(1, 3) i",
        "NEW.order_id < 0 AND NEW.line_no = 2",
    ),
    "public.payments": (
        "INSERT INTO payments VALUES ('fault-{n}', -{n}, 99.99, '{{created,captured}}', NULL)",
        "NEW.reference LIKE 'fault-%'",
    ),
    "public.documents": (
        "INSERT INTO documents SELECT -{n}, 'fault', 1, string_agg(md5(i || 'fault {n}'), ''),"
        " decode(string_agg(md5(i || 'scan {n}'), ''), 'hex') FROM generate_series(1, 200) i",
        "NEW.id < 0",
    ),
    "public.deliveries": (
        "INSERT INTO deliveries VALUES (-{n}, 'north', -{n}, 1, '[2026-03-01,2026-03-05)', '10.0.0.1')",
        "NEW.id < 0",
    ),
    "public.stock_levels": (
        "INSERT INTO stock_levels VALUES (9, 'fault-{n}', 7, '2026-03-01 12:00:00.123456+00')",
        "NEW.sku LIKE 'fault-%'",
    ),
    "public.visits": (
        "INSERT INTO visits SELECT 'fault-{n}', date '2026-03-01', 1.5 FROM generate_series(1, 3)",
        "NEW.page LIKE 'fault-%'",
    ),
    "Back Office.Staff Notes": (
        'INSERT INTO "Back Office"."Staff Notes" VALUES (-{n}, \'Fault\', NULL, \'2026-03-01 12:00:00+00\')',
        'NEW."Id" < 0',
    ),
    "public.reviews": (
        "INSERT INTO reviews VALUES (-{n}, 'sku-1', 5, 'fault', NULL, '2026-03-01 12:00:00+00')",
        "NEW.id < 0",
    ),
}  # fmt: skip
"""For each table the statement that writes the fault's own rows, and how its trigger knows them."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One way in which one column of a row can come out wrong."""

    table: str
    column: str
    damage: str
    """What the trigger assigns to the column."""


CHANGES = {
    "text-space": Variant("public.products", "name", "NEW.name || ' '"),
    "numeric": Variant("public.orders", "total", "NEW.total + 0.01"),
    "numeric-scale": Variant("public.products", "price", "NEW.price::text || '0'"),
    "timestamptz-microsecond": Variant("public.orders", "placed_at", "NEW.placed_at + interval '1 microsecond'"),
    "null-for-empty": Variant("public.orders", "note", "NULL"),
    "empty-for-null": Variant("Back Office.Staff Notes", "Body", "''"),
    "jsonb-key": Variant("public.customers", "preferences", "NEW.preferences - 'lang' || '{\"Lang\": \"en\"}'"),
    "jsonb-number": Variant("public.order_items", "options", "'{\"n\": 1.0}'"),
    "toast-byte": Variant("public.documents", "body", "overlay(NEW.body PLACING 'x' FROM 3000 FOR 1)"),
    "bytea-bit": Variant("public.documents", "scan", "set_bit(NEW.scan, 7777, 1 - get_bit(NEW.scan, 7777))"),
    "enum": Variant("public.customers", "tier", "'gold'"),
    "enum-array": Variant("public.payments", "states", "NEW.states[1:1]"),
    "int-array": Variant("public.products", "size_mm", "array_replace(NEW.size_mm, NULL, 0)"),
    "text-array": Variant("public.products", "tags", "ARRAY[NEW.tags[2], NEW.tags[1]]"),
    "uuid": Variant("public.orders", "customer_id", "overlay(NEW.customer_id::text PLACING '0' FROM 1 FOR 1)"),
    "domain": Variant("public.customers", "email", "upper(NEW.email)"),
    "boolean": Variant("public.orders", "gift", "NOT NEW.gift"),
    "float": Variant("public.products", "weight_kg", "NEW.weight_kg + 5e-17"),
    "interval": Variant("public.orders", "deliver_within", "interval '24 hours'"),
    "range": Variant("public.deliveries", "due", "daterange(lower(NEW.due), upper(NEW.due) + 1)"),
    "inet": Variant("public.deliveries", "driver", "set_masklen(NEW.driver, 24)"),
    "integer": Variant("public.stock_levels", "on_hand", "NEW.on_hand + 1"),
    "smallint": Variant("public.reviews", "stars", "NEW.stars - 1"),
    "quoted-name": Variant("Back Office.Staff Notes", "dueAt", "NEW.\"dueAt\" + interval '1 hour'"),
}
"""By name, as in `changed-column:toast-byte`; the first is what `changed-column` alone does."""


def changed_column(stage: Stage, variant: str) -> Harm:
    """Let apply write one value wrongly."""
    what = CHANGES[variant or next(iter(CHANGES))]
    at = apply_damage(stage, what.table, f'NEW."{what.column}" := {what.damage};', [what.table])
    return Harm(at, what.table, frozenset({what.column}))


def keyless_row_changed(stage: Stage, variant: str) -> Harm:
    """Let apply write a value wrongly in a table whose rows have no key but themselves."""
    body = "NEW.milliseconds := NEW.milliseconds + 1;"
    return Harm(apply_damage(stage, "public.visits", body, ["public.visits"]), "public.visits")


def columns_swapped(stage: Stage, variant: str) -> Harm:
    """Let apply write two values each in the other's place."""
    body = "SELECT NEW.paid_price, NEW.list_price INTO NEW.list_price, NEW.paid_price;"
    at = apply_damage(stage, "public.order_items", body, ["public.order_items"])
    return Harm(at, "public.order_items", frozenset({"list_price", "paid_price"}))


def row_lost(stage: Stage, variant: str) -> Harm:
    """Let apply drop one of three rows of a transaction."""
    return Harm(apply_damage(stage, "public.order_items", "RETURN NULL;", ["public.order_items"]), "public.order_items")


def row_extra(stage: Stage, variant: str) -> Harm:
    """Let apply write a row that the source does not have."""
    body = "INSERT INTO public.order_items VALUES (NEW.order_id, 77, 'sku-2', 1, 1, 1);"
    return Harm(apply_damage(stage, "public.order_items", body, ["public.order_items"]), "public.order_items")


def transaction_incomplete(stage: Stage, variant: str) -> Harm:
    """Let apply drop what a transaction of three tables wrote to one of them."""
    tables = ["public.orders", "public.order_items", "public.payments"]
    return Harm(apply_damage(stage, "public.payments", "RETURN NULL;", tables), "public.payments")


def transaction_skipped(stage: Stage, variant: str) -> Harm:
    """Stop apply by an error, and skip the transaction as a hurried person would."""
    tables = ["public.orders", "public.order_items", "public.payments"]
    write = [VICTIMS[table][0] for table in tables]
    at = _skipped(stage, "public.orders", f"BEFORE INSERT ON {quoted('public.orders')} FOR EACH ROW", write)
    return Harm(at, "public.orders")


def truncate_lost(stage: Stage, variant: str) -> Harm:
    """Skip a transaction that holds nothing but a TRUNCATE."""
    where = f"BEFORE TRUNCATE ON {quoted('public.currencies')} FOR EACH STATEMENT"
    return Harm(_skipped(stage, "public.currencies", where, ["TRUNCATE public.currencies"]), "public.currencies")


def foreign_insert(stage: Stage, variant: str) -> Harm:
    """Insert a row on the target, as an application that was not switched off would."""
    return _foreign(stage, "public.products", VICTIMS["public.products"][0].format(n=fresh_number()))


def foreign_update(stage: Stage, variant: str) -> Harm:
    """Change a replicated row on the target."""
    number = _replicated_victim(stage, "public.products")
    return _foreign(stage, "public.products", f"UPDATE products SET stock = 0 WHERE sku = 'fault-{number}'")


def foreign_delete(stage: Stage, variant: str) -> Harm:
    """Delete a replicated row on the target."""
    number = _replicated_victim(stage, "public.products")
    return _foreign(stage, "public.products", f"DELETE FROM products WHERE sku = 'fault-{number}'")


def foreign_truncate(stage: Stage, variant: str) -> Harm:
    """Empty a table on the target."""
    return _foreign(stage, "public.tax_rates", "TRUNCATE tax_rates")


def untouched_row(stage: Stage, variant: str) -> Harm:
    """Change a row on the target that the workload never writes; before our slots are there, so that no log tells."""
    statement = "UPDATE tax_rates SET percent = percent + 0.01 WHERE country = 'BA' AND valid_from = '2020-01-01'"
    return replace(_foreign(stage, "public.tax_rates", statement), columns=frozenset({"percent"}))


def quoted(table: str) -> str:
    """Quote a table's name as findings write it, for SQL."""
    schema, _, name = table.partition(".")
    return f'"{schema}"."{name}"'


def fresh_number() -> int:
    """Return a number that no fault has used for its rows."""
    return time.time_ns() // 1000


def apply_damage(stage: Stage, table: str, body: str, write: list[str]) -> float:
    """Write the fault's rows on the source while a trigger on the target harms those of one table.

    Args:
        body: what the trigger does to NEW.
        write: tables that get rows, in one transaction.
    Returns:
        When the harmed transaction was committed on the source.
    """
    condition = VICTIMS[table][1]
    where = f"BEFORE INSERT ON {quoted(table)} FOR EACH ROW"
    with trigger(stage, table, where, f"IF {condition} THEN {body} END IF; RETURN NEW;"):
        at, position = _write_until_sampled(stage, [VICTIMS[name][0] for name in write])
        stage.wait_applied(position)
    return at


@contextmanager
def trigger(stage: Stage, table: str, where: str, body: str) -> Iterator[None]:
    """Have a trigger on the target that also fires for the apply worker."""
    name = quoted(table)
    with stage.on_target() as target:
        run(
            target,
            "CREATE SCHEMA IF NOT EXISTS demo_fault",
            f"CREATE OR REPLACE FUNCTION demo_fault.harm() RETURNS trigger LANGUAGE plpgsql"
            f" AS {literal(target, f'BEGIN {body} END')}",
            f"CREATE TRIGGER demo_fault {where} EXECUTE FUNCTION demo_fault.harm()",
            f"ALTER TABLE {name} ENABLE ALWAYS TRIGGER demo_fault",
        )
    try:
        yield
    finally:
        with stage.on_target() as target:
            run(target, f"DROP TRIGGER IF EXISTS demo_fault ON {name}")


def _write_until_sampled(stage: Stage, statements: list[str]) -> tuple[float, str]:
    """Commit the same kind of transaction again and again until the audit looks at one.

    Returns:
        When that one was committed, and a position behind it.
    """
    with stage.on_source() as source:
        for _ in range(ATTEMPTS):
            number = fresh_number()
            at, xid, position = commit(source, *(statement.format(n=number) for statement in statements))
            if stage.is_sampled(source, xid):
                break
        return at, position


def _skipped(stage: Stage, table: str, where: str, statements: list[str]) -> float:
    """Let apply fail on a transaction, and tell the subscription to skip it; again until a sampled one was skipped."""
    for _ in range(1 if "TRUNCATE" in where else SKIP_ATTEMPTS):
        number = fresh_number()
        text = [statement.format(n=number) for statement in statements]
        known = "" if "TRUNCATE" in where else f"IF NOT ({VICTIMS[table][1]}) THEN RETURN NEW; END IF;"
        with trigger(stage, table, where, f"{known} RAISE EXCEPTION 'the demo stops apply here';"):
            at, sampled = _skip_one(stage, text)
        if sampled:
            break
    return at


def _skip_one(stage: Stage, statements: list[str]) -> tuple[float, bool]:
    with stage.on_source() as source, stage.on_target() as target:
        slot = "demo_fault"
        run(source, f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput', true)")
        at, xid, position = commit(source, *statements)
        finish = _commit_lsn(source, slot, xid)
        run(target, f"ALTER SUBSCRIPTION {SUBSCRIPTION} SKIP (lsn = '{finish}')")
        stage.wait_applied(position)
        return at, stage.is_sampled(source, xid)


def _commit_lsn(source: Session, slot: str, xid: str) -> str:
    """Find where a transaction's commit record begins: that is what SKIP wants to know."""
    query = (
        "SELECT encode(substring(data FROM 2 FOR 8), 'hex') FROM pg_logical_slot_peek_binary_changes(%s, NULL, NULL,"
        " 'proto_version', '1', 'publication_names', %s) WHERE xid = %s::xid AND get_byte(data, 0) = ascii('B')"
    )
    final = int(one(source, query, slot, PUBLICATION, xid), 16)
    return f"{final >> 32:X}/{final & 0xFFFFFFFF:X}"


def _foreign(stage: Stage, table: str, statement: str) -> Harm:
    with stage.on_target() as target:
        run(target, statement)
        return Harm(time.time(), table)


def _replicated_victim(stage: Stage, table: str) -> int:
    """Write a row on the source and wait until the target has it."""
    number = fresh_number()
    with stage.on_source() as source:
        run(source, VICTIMS[table][0].format(n=number))
        position = insert_lsn(source)
    stage.wait_applied(position)
    return number
