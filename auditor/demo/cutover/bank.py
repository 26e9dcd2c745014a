"""The application of the cutover's show: accounts that money moves between, and a ledger of every movement."""

from collections.abc import Sequence

from auditor.demo.database import Session, one, run

APPLICATION = "app"
"""The role that owns the tables and that a fence keeps out."""
ACCOUNTS = 16
TABLES = ("accounts", "ledger", "orders")
PUBLICATION, SUBSCRIPTION = "app_pub", "app_sub"

SCHEMA = (
    "CREATE TABLE accounts (id int PRIMARY KEY, balance bigint NOT NULL DEFAULT 0, moves bigint NOT NULL DEFAULT 0)",
    f"INSERT INTO accounts SELECT n FROM generate_series(0, {ACCOUNTS - 1}) n",
    "CREATE TABLE ledger (id bigserial PRIMARY KEY, client int NOT NULL, serial bigint NOT NULL,"
    " account int NOT NULL, amount bigint NOT NULL)",
    "CREATE TABLE orders (id bigint GENERATED ALWAYS AS IDENTITY (CACHE 20) PRIMARY KEY, client int NOT NULL,"
    " note text NOT NULL)",
)
"""No unique index on (client, serial): a write that is there twice is to be seen, not refused."""

MOVE = (
    "INSERT INTO ledger (client, serial, account, amount) VALUES (%s, %s, %s, %s) RETURNING id",
    "UPDATE accounts SET balance = balance + %s, moves = moves + 1 WHERE id = %s",
)
ORDER = "INSERT INTO orders (client, note) VALUES (%s, %s)"
WRITTEN = "SELECT client, serial, id, account, amount FROM ledger"
UNEVEN = """
    SELECT a.id FROM accounts a LEFT JOIN ledger l ON l.account = a.id
     GROUP BY a.id HAVING a.balance <> coalesce(sum(l.amount), 0) OR a.moves <> count(l.id) ORDER BY 1"""
"""Accounts whose balance is not what the ledger says: half of a transaction is there."""


def create(database: Session, *, rows: bool) -> None:
    """Create the tables as the application's own; `rows` only where replication does not bring them."""
    run(database, f"SET ROLE {APPLICATION}")
    for statement in SCHEMA:
        if rows or not statement.startswith("INSERT"):
            run(database, statement)
    run(database, "RESET ROLE")


def publish(on_source: Session) -> None:
    """Publish the tables by name."""
    run(on_source, f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {', '.join(TABLES)}")


def move(session: Session, client: int, serial: int, account: int, amount: int) -> int:
    """Carry out one movement in a transaction that the caller has begun; give its number in the ledger."""
    insert, update = MOVE
    number = int(one(session, insert, client, serial, account, amount))
    session.execute(update, (amount, account))
    session.execute(ORDER, (client, f"{serial}"))
    return number


def rows_of(session: Session, query: str, values: Sequence[object] | None = None) -> list[tuple[int, ...]]:
    """Read all rows of a query."""
    return [tuple(row) for row in session.execute(query, values).fetchall()]
