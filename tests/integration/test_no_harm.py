"""The audit never stands in the way of the servers that it watches."""

import os
import signal
from typing import Any

import pytest

from tests.audits import Audit
from tests.helpers import Pair, wait_for


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_server_shuts_down_while_the_audit_waits_for_the_other_side(
    private_pair: Pair, tmp_path: Any, side: str
) -> None:
    pair = private_pair
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.source.execute("INSERT INTO t SELECT i, 'a' FROM generate_series(1, 100) i")
    pair.replicate()
    with Audit(pair, tmp_path) as audit:
        pair.source.execute("UPDATE t SET v = 'b'")
        audit.wait_verdict("PASS")
        blocker = pair.target.connect(autocommit=False)
        blocker.execute("LOCK TABLE t")
        pair.source.execute("UPDATE t SET v = 'c'")
        position = pair.source.value("SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint")
        wait_for(lambda: audit.records()["sampler/source"]["position"] >= position, 20, "the source to be read")
        pair.target.execute("SELECT pg_logical_emit_message(false, 'x', 'y', true)")
        server = getattr(pair, side).server
        if side == "source":
            # the user's own stream waits for its flush; the worker hangs in its lock and does not come back
            own = "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = %s"
            pair.source.execute(own, pair.subscription)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGINT)
        wait_for(lambda: not server.running, 20, f"the {side} to shut down")
        blocker.close()
        assert [] == audit.findings()


def test_our_publication_gives_way_when_a_key_is_dropped(pair: Pair, tmp_path: Any) -> None:
    """With the whole old row on the source, apply needs no key on the target; only a publication there would."""
    pair.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    pair.source.execute("ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a')")
    pair.replicate()
    with Audit(pair, tmp_path) as audit:
        pair.source.execute("UPDATE t SET v = 'b'")
        audit.wait_verdict("PASS")
        pair.target.execute("ALTER TABLE t DROP CONSTRAINT t_pkey")
        pair.source.execute("UPDATE t SET v = 'c'")
        wait_for(lambda: pair.target.value("SELECT v FROM t") == "c", 60, "apply to go on")
        audit.wait_verdict("INCONCLUSIVE")
        assert any("public.t" in reason for reason in audit.verdict()["reasons"])
        wait_for(lambda: all(f.state == "healed" for f in audit.findings()), 30, "the unseen update to be read again")
