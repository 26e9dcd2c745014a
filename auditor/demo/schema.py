"""Create the shop on both servers and let PostgreSQL's own replication carry it from one to the other."""

from collections.abc import Iterator
from importlib.resources import files

from auditor.demo.database import Session, literal, one, run, session, wait_until

PUBLICATION = "app_pub"
SUBSCRIPTION = "app_sub"
TABLES = (
    "customers", "products", "orders", "order_items", "payments", "documents", "deliveries", "stock_levels", "visits",
    '"Back Office"."Staff Notes"', "daily_totals", "price_history", "tax_rates", "currencies", "reviews",
)  # fmt: skip
SIDES = frozenset({"source", "target", "both"})
ODD_SETTINGS = {
    "datestyle": "'SQL, DMY'",
    "timezone": "'Asia/Kolkata'",
    "bytea_output": "'escape'",
    "extra_float_digits": "0",
}  # settings of the databases that must not look like damage; were they different, applications would notice


def create(source: str, target: str, *, via_root: bool = True, options: str = "") -> None:
    """Create the schema on both sides, publish and subscribe it, and wait until every table is copied.

    Args:
        source: conninfo of the database that is written to; also used by the target's apply worker.
        target: conninfo of the database that follows.
        via_root: publish changes of partitions under the name of their root.
        options: more options of the subscription, as in ", streaming = parallel".
    """
    with session(source) as on_source, session(target) as on_target:
        run(on_source, *statements("source"))
        run(on_target, *statements("target"))
        be_odd(on_source)
        be_odd(on_target)
        publish(on_source, via_root)
        subscribe(on_target, source, options)
        wait_until(lambda: copied(on_target), "the initial copy", seconds=60)


def statements(side: str) -> Iterator[str]:
    """Yield what schema.sql holds for one side, a part at a time."""
    text = files("auditor.demo").joinpath("schema.sql").read_text(encoding="utf-8")
    part, of = [], "both"
    for line in (*text.splitlines(), "-- @both"):
        word = line.removeprefix("-- @")
        if word == line or word not in SIDES:
            part.append(line)
            continue
        if of in ("both", side):
            yield "\n".join(part)
        part, of = [], word


def be_odd(database: Session) -> None:
    """Give a database other settings than its server has, as in the field."""
    name = one(database, "SELECT quote_ident(current_database())")
    run(database, *(f"ALTER DATABASE {name} SET {key} = {value}" for key, value in ODD_SETTINGS.items()))


def publish(on_source: Session, via_root: bool) -> None:
    """Publish the shop's tables by name."""
    names = ", ".join(TABLES)
    run(on_source, f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {names} WITH (publish_via_partition_root = {via_root})")


def subscribe(on_target: Session, source: str, options: str) -> None:
    """Subscribe to the shop, with its present rows."""
    place = literal(on_target, source)
    head = f"CREATE SUBSCRIPTION {SUBSCRIPTION} CONNECTION {place} PUBLICATION {PUBLICATION}"
    run(on_target, f"{head} WITH (copy_data = true{options})")


def copied(on_target: Session) -> bool:
    """Say whether every table of the subscription is ready."""
    return bool(one(on_target, "SELECT count(*) > 0 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel"))
