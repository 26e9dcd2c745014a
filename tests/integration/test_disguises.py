"""Writes on the target that do not want to be seen, and changes that make the audit see less: named all the same."""

from typing import Any

from tests.audits import Audit
from tests.helpers import Pair, wait_for

SCHEMA = """
CREATE TABLE moved (id int PRIMARY KEY, v text);
CREATE TABLE nokey (id int, v text);
ALTER TABLE nokey REPLICA IDENTITY FULL;
CREATE TABLE plain (id int PRIMARY KEY, v text);
"""


def confirmed(audit: Audit, table: str) -> bool:
    return any(f.table == table and f.kind == "foreign-write" and f.state == "confirmed" for f in audit.findings())


def test_disguised_writes_and_a_narrowed_publication_are_named(pair: Pair, tmp_path: Any) -> None:
    pair.execute(SCHEMA)
    pair.source.execute("INSERT INTO moved VALUES (1, 'a'); INSERT INTO plain VALUES (1, 'a')")
    pair.replicate()
    with Audit(pair, tmp_path) as audit:
        pair.source.execute("UPDATE plain SET v = 'b'; INSERT INTO nokey VALUES (1, 'a')")
        audit.wait_verdict("PASS")

        pair.target.execute("CREATE SCHEMA o; ALTER TABLE moved SET SCHEMA o")
        pair.target.execute("UPDATE o.moved SET v = 'bad'")
        pair.target.execute("ALTER TABLE o.moved SET SCHEMA public")
        wait_for(lambda: confirmed(audit, "o.moved"), 40, "the write under another name")

        pair.target.execute("INSERT INTO nokey VALUES (5000, 'x')")
        wait_for(lambda: confirmed(audit, "public.nokey"), 40, "the row of the keyless table")
        pair.target.execute("UPDATE nokey SET v = 'y' WHERE id = 5000")
        for finding in audit.findings():
            audit.command("findings", "recheck", finding.id)
        wait_for(lambda: len([f for f in audit.findings() if f.table == "public.nokey"]) == 2, 40, "the second write")
        audit.wait_verdict("FAIL")

        oid = pair.target.value("SELECT oid FROM pg_subscription WHERE subname = %s", pair.subscription)
        pair.target.execute(f'ALTER SUBSCRIPTION "{pair.subscription}" DISABLE')
        borrow = pair.target.connect()
        setup = f"SELECT pg_replication_origin_session_setup('pg_{oid}')"

        def borrowed() -> bool:
            try:
                borrow.execute(setup)
            except Exception:
                return False
            return True

        wait_for(borrowed, 30, "apply to let go of its origin")
        borrow.execute("UPDATE plain SET v = 'bad'")
        borrow.close()
        pair.target.execute(f'ALTER SUBSCRIPTION "{pair.subscription}" ENABLE')
        wait_for(lambda: confirmed(audit, "public.plain"), 40, "the write under a borrowed origin")

        pair.source.execute(f"ALTER PUBLICATION \"{pair.publication}\" SET (publish = 'insert')")
        wait_for(lambda: any(k.startswith("gap/publication-") for k in audit.records()), 40, "the narrowed publication")
